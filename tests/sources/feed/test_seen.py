"""Keys set aside on disk: exactly the known ones that were never named come back, whatever they are called."""

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirrord.model.fingerprint import Fingerprint
from mirrord.sources.feed.seen import Seen

HERE = Path(__file__).parents[3]  # where `mirrord` can be imported from
V1 = Fingerprint("=1")
KEYS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8) | st.sampled_from(
    ["a", "a/b", "a!", "z", "é", "\ud7ff", "\ue000", "\uffff", "\U00010000", "😀", "a\0b", "a\n"]
)
KILLED = """
import os, signal
from mirrord.sources.feed.seen import Seen
seen = Seen()
seen.add([f"{number}/some/key" for number in range(300_000)])
descriptors = (f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd"))
held = [fd for fd in descriptors if os.path.islink(fd) and os.readlink(fd).startswith(os.environ["TMPDIR"])]
print(sum(os.stat(fd).st_size for fd in held) > 2**22, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
WITHOUT_ROOM = """
import resource
from mirrord.sources.feed.seen import Seen
resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, 2**20))
with Seen() as seen:
    try:
        for number in range(2_000):
            seen.add([f"{number}/{each}" for each in range(1_000)])
    except OSError as exc:
        print(exc.errno is not None, exc)
"""


def known(*keys: str, gone: tuple[str, ...] = ()) -> Iterator[tuple[str, Fingerprint | None]]:
    """As a journal hands them out."""
    return iter([(key, None if key in gone else V1) for key in sorted({*keys, *gone})])


@settings(deadline=None)
@given(st.lists(st.lists(KEYS)), st.sets(KEYS), st.sets(KEYS))
def test_what_is_known_and_there_and_was_never_named_is_missing(
    batches: list[list[str]], there: set[str], gone: set[str]
) -> None:
    named = {key for batch in batches for key in batch}

    with Seen() as seen:
        for batch in batches:
            seen.add(batch)
        missing = list(seen.missing(known(*there, gone=tuple(gone))))
        count = len(seen)

    assert missing == sorted(there - gone - named)
    assert count == len(named)


@pytest.mark.parametrize("count", [0, 1, 30_000])  # more than fits the memory it uses
def test_it_knows_how_many_different_keys_it_has(count: int) -> None:
    keys = [f"{number:05}/{'中😀' * 20}" for number in range(count)]
    with Seen() as seen:
        seen.add(keys)
        seen.add(keys[::-7])

        counts = len(seen), len(seen)

        assert counts == (count, count)
        assert list(seen.missing(known(*keys, "99999"))) == ["99999"]


def test_it_is_false_until_there_is_a_key() -> None:
    with Seen() as seen:
        before = bool(seen)
        seen.add([])
        without = bool(seen)
        seen.add(["a"])

        assert (before, without, bool(seen)) == (False, False, True)


def test_it_may_be_closed_again() -> None:
    with Seen() as seen:
        seen.close()


def test_it_can_be_added_to_after_it_was_asked() -> None:
    with Seen() as seen:
        seen.add(["a"])
        before = len(seen), list(seen.missing(known("a", "b")))

        seen.add(["b"])

        assert before == (1, ["b"])
        assert (len(seen), list(seen.missing(known("a", "b")))) == (2, [])


def test_whoever_stops_asking_half_way_does_no_harm() -> None:
    with Seen() as seen:
        seen.add(["b"])
        asked = seen.missing(known("a", "b", "c"))
        first = next(asked)
        del asked

        seen.add(["c"])

        assert first == "a"
        assert list(seen.missing(known("a", "b", "c"))) == ["a"]


def test_threads_may_take_turns() -> None:
    with Seen() as seen:
        for number in range(3):
            with ThreadPoolExecutor(1) as thread:
                thread.submit(seen.add, [f"{number}"]).result()

        assert len(seen) == 3


def test_nothing_is_left_on_disk(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path), "SQLITE_TMPDIR": str(tmp_path)}

    killed = subprocess.run(
        [sys.executable, "-c", KILLED], cwd=HERE, env=environment, capture_output=True, text=True, check=False
    )

    assert killed.stdout == "True\n", killed.stderr  # it was there, and large
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_an_error_of_the_system() -> None:
    told = subprocess.run([sys.executable, "-c", WITHOUT_ROOM], cwd=HERE, capture_output=True, text=True, check=False)

    assert told.stdout.startswith("True [Errno "), told.stderr
    assert "cannot be set aside on disk" in told.stdout

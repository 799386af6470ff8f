"""`mirrord run` beside people and programs that publish: whatever they do, the bucket has it seconds later."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e.place import GatedOrigin, Place, Program, keys_below, place_at

Publisher = Callable[[Path, Path], None]
"""Publishes into the first directory, which is there and empty; the second is room for what it needs."""


def _contents(count: int, size_bytes: int = 500) -> list[bytes]:
    return [os.urandom(size_bytes) for _ in range(count)]


def writes_in_place(into: Path, _: Path) -> None:
    for _ in range(3):
        for n, content in enumerate(_contents(20)):
            (into / f"{n} 中.txt").write_bytes(content)


def renames_into_place(into: Path, _: Path) -> None:
    for _ in range(3):
        for n, content in enumerate(_contents(40)):
            half = into / f"{n}.tmp"
            half.write_bytes(content)
            half.rename(into / f"{n}.html")


def rsyncs(into: Path, room: Path) -> None:
    if shutil.which("rsync") is None:
        pytest.skip("rsync is not installed here")
    for _ in range(2):
        for n, content in enumerate(_contents(40)):
            (room / f"{n % 4}").mkdir(exist_ok=True)
            (room / f"{n % 4}" / f"{n}.html").write_bytes(content)
        subprocess.run(["rsync", "-a", f"{room}/", f"{into}/"], check=True)


def renames_a_directory(into: Path, _: Path) -> None:
    (into / "old" / "deep").mkdir(parents=True)
    for n, content in enumerate(_contents(20)):
        (into / "old" / "deep" / f"{n}.txt").write_bytes(content)
    (into / "old").rename(into / "new")


def moves_a_directory_in(into: Path, room: Path) -> None:
    for n, content in enumerate(_contents(20)):
        (room / f"{n % 3}" / "deep").mkdir(parents=True, exist_ok=True)
        (room / f"{n % 3}" / "deep" / f"{n}.txt").write_bytes(content)
    room.rename(into / "moved")


def clones(into: Path, room: Path) -> None:
    if shutil.which("git") is None:
        pytest.skip("git is not installed here")
    for n, content in enumerate(_contents(30)):
        (room / f"dir {n % 3}").mkdir(exist_ok=True)
        (room / f"dir {n % 3}" / f"{n}.txt").write_bytes(content)
    as_nobody = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    someone = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.com")
    for command in (["init", "-q"], ["add", "."], [*someone, "commit", "-q", "-m", "All"]):
        subprocess.run(["git", *command], cwd=room, check=True, env=os.environ | as_nobody)
    subprocess.run(["git", "clone", "-q", str(room), str(into / "clone")], check=True, env=os.environ | as_nobody)


def makes_deep_directories(into: Path, _: Path) -> None:
    for n, content in enumerate(_contents(100)):
        deep = into / f"{n}" / "a" / "b" / "c"
        deep.mkdir(parents=True)
        (deep / "page.html").write_bytes(content)


@pytest.fixture(scope="module")
def following(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Place, Program]]:
    """A service at work. Every pull takes a while, so that two of one key would meet."""
    with place_at(tmp_path_factory.mktemp("following")) as place:
        place.kodo.fail(operation="prefetch", delay_s=0.05)
        yield place, place.run()


@pytest.mark.parametrize(
    "publish",
    [
        writes_in_place,
        renames_into_place,
        rsyncs,
        renames_a_directory,
        moves_a_directory_in,
        clones,
        makes_deep_directories,
    ],
)
def test_it_follows_somebody_who(publish: Publisher, following: tuple[Place, Program], tmp_path: Path) -> None:
    place, service = following
    into, room = place.www / publish.__name__, tmp_path / "room"
    into.mkdir()
    room.mkdir()

    publish(into, room)
    keys = {key for key in keys_below(into, place.www) if "/.git/" not in key}
    place.until_equal(service, keys)

    assert len(keys) >= 20
    asked = {call["key"] for call in place.kodo.calls("prefetch") if call["key"].startswith(f"{publish.__name__}/")}
    assert not {key for key in asked if "/.git/" in key or key.endswith(".tmp")}
    assert {key: most for key, most in place.kodo.max_overlap("docs").items() if most > 1} == {}


def test_a_change_during_the_call_leads_to_another_call_after_it(gated: Place, gate: GatedOrigin) -> None:
    service = gated.run()
    gated.write("first.txt")
    service.until_said("refresh.attempted", key="first.txt")
    gate.shut()
    gated.write("a.txt", "old")
    gate.until_asked(2)

    gated.write("a.txt", "new")
    gated.write("b.txt")
    gate.until_asked(3)  # b is called for: the change of a, which came before it, has been seen as well
    asked_meanwhile = list(gate.asked)
    gate.open()
    first, second = service.until_said("refresh.attempted", 2, key="a.txt")
    gated.until_equal(service, {"a.txt", "b.txt"})

    assert asked_meanwhile == ["first.txt", "a.txt", "b.txt"]
    assert gate.asked == ["first.txt", "a.txt", "b.txt", "a.txt"]
    assert (first["next"], second["next"]) == ("done", "done")
    assert first["reqid"] != second["reqid"]
    assert gated.kodo.max_overlap("docs") == {"first.txt": 1, "a.txt": 1, "b.txt": 1}


def test_a_file_that_vanishes_before_its_call_is_not_asked_for(gated: Place, gate: GatedOrigin) -> None:
    gated.configure({"pace": {"concurrency": 1}})
    service = gated.run()
    gate.shut()
    gated.write("a.txt")
    gate.until_asked()

    gated.write("b.txt").unlink()
    gate.open()
    gated.write("c.txt")
    service.until_said("refresh.attempted", key="c.txt")

    assert "b.txt" not in gate.asked
    assert service.said("refresh.attempted", key="b.txt") == []


def test_removed_files_stay_in_the_bucket(place: Place) -> None:
    path = place.write("a.txt", "kept")
    service = place.run()
    service.until_said("refresh.attempted", key="a.txt")

    path.unlink()
    place.write("b.txt")
    service.until_said("refresh.attempted", key="b.txt")
    ended = service.stop()

    assert ended.code == 0
    assert place.kodo.calls("delete") == []
    assert place.kodo.read("docs", "a.txt") == b"kept"


def test_a_rescan_finds_what_nobody_watched(place: Place) -> None:
    place.configure({"source": {"watch": "off", "rescan_every": "1s"}})
    service = place.run()
    service.until_said("scan.finished")

    place.write("a.txt", "hello")
    place.until_equal(service, {"a.txt"})

    assert len(service.said("scan.finished")) > 1

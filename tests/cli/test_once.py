"""What `mirrord once` tells a person of what is left: what keeps the mirror, and of each key how it ended."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.place import Place, place_at


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with place_at(tmp_path) as here:
        yield here


def test_a_mirror_that_kodo_refuses_is_said_and_keys_that_were_not_asked_for_are_just_that(place: Place) -> None:
    place.configure({"pace": {"concurrency": 1}})
    for number in range(5):
        place.write(f"{number}.txt")
    place.kodo.freeze()

    ended = place.once()

    lines = ended.out.splitlines()
    assert (ended.code, lines[0]) == (1, "docs: 5 stale")
    assert lines[1].startswith("docs: when it last ran: Kodo refuses the account or the bucket since")
    asked, *others = [line for line in lines if line.startswith("  stale  ")]
    assert "  refused: 419, the account is frozen" in asked
    assert len(others) == 4
    assert all(line.endswith("  not asked yet") for line in others)
    assert "None" not in ended.out


def test_what_was_wrong_with_a_key_cannot_steer_a_terminal(place: Place) -> None:
    place.write("a\x1b[2J.txt")
    place.kodo.fail(operation="prefetch", status=404, error="gone\x1b[2J")

    ended = place.once()

    assert ended.out.splitlines()[0] == "docs: 1 parked"
    assert " ".join(ended.out.split()).startswith(
        r"docs: 1 parked parked 'a\x1b[2J.txt' origin-missing: 404, the origin has no such resource: gone\x1b[2J "
    )
    assert ended.out.splitlines()[-1] == "docs: what to do about these: mirrord parked docs"
    assert max(map(len, ended.out.splitlines())) <= 80

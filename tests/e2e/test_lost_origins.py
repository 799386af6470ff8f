"""Origins that are not there or not readable: said clearly, in nobody else's way, and followed once they are back."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.place import Place


def _mirrors(place: Place) -> list[dict[str, object]]:
    """`docs` of `www`, and `late`, of a directory below the root of the other origin that is not there yet."""
    source = {"kind": "directory", "path": str(place.www / "late"), "settle": "50ms"}
    return [
        {"exclude": ["/late/"]},
        {"name": "late", "bucket": "pages", "key_prefix": "late/", "source": source},
    ]


def test_a_missing_directory_is_an_error_line_and_is_followed_when_it_appears(place: Place) -> None:
    place.configure(*_mirrors(place))
    place.write("a.txt")
    service = place.run()

    (lost,) = service.until_said("coverage.lost")
    place.until_equal(service, {"a.txt"})
    place.write("late/b.txt", "there now")
    service.until_said("coverage.restored", mirror="late")
    place.write("late/c.txt", "followed")
    service.until_said("refresh.attempted", key="late/c.txt")
    ended = service.stop()

    assert (lost["level"], lost["mirror"]) == ("error", "late")
    assert "does not exist" in lost["reason"]
    assert str(place.www / "late") in lost["reason"]
    assert lost["action"]
    assert ended.code == 0
    assert len(ended.said("coverage.lost")) == 1
    assert place.kodo.read("pages", "late/b.txt") == b"there now"
    assert place.kodo.read("pages", "late/c.txt") == b"followed"


def test_once_does_the_other_mirror_and_says_which_one_it_could_not(place: Place) -> None:
    place.configure(*_mirrors(place))
    place.write("a.txt")

    ended = place.once()
    status = place.start("status", "--json").wait()

    assert ended.code == 1
    assert place.kodo.read("docs", "a.txt") == b"x"
    assert "does not exist" in "".join(ended.noise)
    assert [line["mirror"] for line in ended.said("coverage.lost")] == ["late"]
    assert [mirror["lost_reason"] is None for mirror in status.json["mirrors"]] == [True, False]


def test_check_finds_the_missing_directory_before_anything_runs(place: Place) -> None:
    place.configure(*_mirrors(place))

    ended = place.start("check").wait()

    assert ended.code == 78
    assert str(place.www / "late") in "".join(ended.noise)
    assert place.kodo.calls() == []


def test_a_directory_that_is_removed_and_made_again_is_followed_again(place: Place) -> None:
    place.write("a.txt", "old")
    service = place.run()
    service.until_said("refresh.attempted", key="a.txt")

    shutil.rmtree(place.www)
    service.until_said("coverage.lost")
    place.write("a.txt", "new")
    service.until_said("coverage.restored")
    place.until_equal(service, {"a.txt"})
    place.write("b.txt")
    place.until_equal(service, {"b.txt"})

    assert place.kodo.calls("delete") == []


@pytest.fixture
def shut(place: Place) -> Iterator[Path]:
    """A directory with a file, which the test may shut; it is opened again at the end."""
    directory = place.write("shut/a.txt", "old").parent
    yield directory
    directory.chmod(0o755)


def test_a_directory_without_permission_is_a_hole_that_removes_nothing(
    place: Place, confined: tuple[str, ...], shut: Path
) -> None:
    place.write("open/a.txt")
    place.configure({"on_removed": "delete", "source": {"rescan_every": "1s"}})
    place.once()
    shut.chmod(0)

    service = place.run(confined=confined)
    (lost, *_) = service.until_said("coverage.lost")
    place.write("open/b.txt")
    place.until_equal(service, {"open/b.txt"})
    shut.chmod(0o755)
    (shut / "a.txt").write_text("new")
    service.until_said("coverage.restored")
    place.until_equal(service, {"shut/a.txt"})

    assert lost["level"] == "error"
    assert "shut" in lost["reason"]
    assert "Permission denied" in lost["reason"]
    assert place.kodo.calls("delete") == []

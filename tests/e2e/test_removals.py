"""Files that go: deleted from the bucket where the settings say so, few at a time, and never what is not ours."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.place import Place, Program
from tests.servers import running_origin

DELETE = {"on_removed": "delete"}
MANY = [f"many/{n:02}.txt" for n in range(30)]
OTHERS = [f"others/{n:02}.txt" for n in range(30)]


def _mirrored(place: Place, *keys: str) -> None:
    """The bucket has these files, and nobody remembers how they came there."""
    for key in keys:
        place.write(key, key)
    assert place.once().code == 0
    place.kodo.forget_calls()


def _deleted(place: Place) -> list[str]:
    return sorted(call["key"] for call in place.kodo.calls("delete"))


def _held(place: Place) -> int:
    (docs,) = place.start("status", "--json").wait().json["mirrors"]
    held: int = docs["keys"]["held"]
    return held


def test_a_deleted_file_disappears_from_the_bucket(place: Place) -> None:
    place.configure(DELETE)
    _mirrored(place, "a.txt", "b.txt")
    service = place.run()
    service.until_said("scan.finished")

    (place.www / "a.txt").unlink()
    (line,) = service.until_said("refresh.attempted")
    ended = service.stop()

    assert (line["key"], line["operation"], line["outcome"], line["next"]) == ("a.txt", "delete", "removed", "done")
    assert (line["status"], line["attempt"]) == (200, 1)
    (call,) = place.calls()
    assert (call["operation"], call["key"]) == ("delete", "a.txt")
    assert "/cond/" in call["target"]
    assert place.kodo.read("docs", "a.txt") is None
    assert place.kodo.read("docs", "b.txt") == b"b.txt"
    assert len(ended.said("refresh.attempted")) == 1


def test_what_the_bucket_has_no_longer_is_removed_as_well(place: Place) -> None:
    place.configure(DELETE)
    _mirrored(place, "a.txt", "b.txt")
    place.kodo.fail(operation="delete", status=612, error="no such file or directory")
    (place.www / "a.txt").unlink()

    ended = place.once()

    (line,) = ended.said("refresh.attempted")
    assert ended.code == 0
    assert (line["status"], line["outcome"], line["next"]) == (612, "removed", "done")
    assert len(place.kodo.calls("delete")) == 1


def test_where_the_settings_keep_nothing_is_deleted(place: Place) -> None:
    _mirrored(place, "a.txt", "b.txt")
    (place.www / "a.txt").unlink()

    ended = place.once("--json")

    (docs,) = ended.json["mirrors"]
    assert ended.code == 0
    assert place.calls() == []
    assert (docs["kept"], docs["keys"]["held"]) == (1, 0)


def test_objects_outside_the_prefix_are_never_touched(place: Place) -> None:
    mirrors = [
        {"name": name, "key_prefix": f"{name}/", "source": {"path": str(place.www / name)}, **DELETE}
        for name in ("v1", "v2")
    ]
    place.configure(*mirrors)
    _mirrored(place, "v1/a.txt", "v1/b.txt", "v2/a.txt", "v2/b.txt")
    place.configure(mirrors[1])
    shutil.rmtree(place.www / "v1")
    (place.www / "v2" / "a.txt").unlink()

    ended = place.once()

    assert ended.code == 0
    assert [(call["operation"], call["key"]) for call in place.calls()] == [("delete", "v2/a.txt")]
    assert place.kodo.read("docs", "v1/a.txt") == b"v1/a.txt"


@pytest.fixture
def held(place: Place) -> Program:
    """A service that holds the removals of MANY: they are half of all keys."""
    place.configure(DELETE)
    _mirrored(place, *MANY, *OTHERS)
    service = place.run()
    service.until_said("scan.finished")
    (place.www / "many").rename(place.root / "many")
    service.until_said("removals.held")
    return service


def test_many_removals_are_held_and_said_once_and_go_when_they_are_released(place: Place, held: Program) -> None:
    status, parked = place.start("status", "--json").wait(), place.start("parked", "--json").wait()
    deleted_while_held = _deleted(place)
    released = place.start("release", "docs").wait()
    held.until_said("refresh.attempted", len(MANY), operation="delete", outcome="removed")
    ended = held.stop()

    (line,) = ended.said("removals.held")
    assert (line["level"], line["mirror"], line["count"]) == ("error", "docs", len(MANY))
    assert line["sample"]
    assert set(line["sample"]) <= set(MANY)
    assert "mirrord release docs" in line["action"]
    (docs,) = status.json["mirrors"]
    assert (status.code, docs["keys"]["held"], docs["keys"]["fresh"]) == (1, len(MANY), len(OTHERS))
    assert [row["key"] for row in parked.json["mirrors"][0]["keys"]] == MANY
    assert deleted_while_held == []
    assert (released.code, released.out.split()[:2]) == (0, ["docs:", f"{len(MANY)}"])
    assert _deleted(place) == MANY
    assert place.differing(OTHERS) == set()
    assert _held(place) == 0


def test_files_that_come_back_while_they_are_held_cost_no_call(place: Place, held: Program) -> None:
    (place.root / "many").rename(place.www / "many")
    place.write(MANY[0], "changed meanwhile")
    held.until_said("refresh.attempted", key=MANY[0])
    place.until_equal(held, {MANY[0]})
    ended = held.stop()
    again = place.once()

    assert ended.code == 0
    assert again.code == 0
    assert {call["key"] for call in place.kodo.calls("prefetch")} == {MANY[0]}
    assert _deleted(place) == []
    assert place.differing([*MANY, *OTHERS]) == set()


def test_without_a_service_they_are_held_until_released(place: Place) -> None:
    place.configure(DELETE)
    _mirrored(place, *MANY, *OTHERS)
    shutil.rmtree(place.www / "many")

    first, second = place.once("--json"), place.once()
    calls_before = place.calls()
    place.start("release", "docs").wait()
    third = place.once()

    assert (first.code, second.code, third.code) == (1, 1, 0)
    assert [row["state"] for row in first.json["mirrors"][0]["unfinished"]] == ["held"] * len(MANY)
    assert [len(each.said("removals.held")) for each in (first, second, third)] == [1, 1, 0]
    assert calls_before == []
    assert _deleted(place) == MANY


def test_dropped_removals_are_forgotten_and_the_bucket_keeps_them(place: Place) -> None:
    place.configure(DELETE)
    _mirrored(place, *MANY, *OTHERS)
    shutil.rmtree(place.www / "many")
    place.once()

    dropped = place.start("release", "docs", "--drop").wait()
    ended = place.once("--json")

    (docs,) = ended.json["mirrors"]
    assert (dropped.code, ended.code) == (0, 0)
    assert (docs["kept"], docs["keys"]["held"]) == (len(MANY), 0)
    assert place.calls() == []
    assert place.kodo.read("docs", MANY[0]) is not None


def test_an_object_overwritten_behind_our_back_is_not_deleted(place: Place, tmp_path: Path) -> None:
    place.configure(DELETE)
    _mirrored(place, "a.txt", "b.txt")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "a.txt").write_text("somebody else's")
    with running_origin(elsewhere) as origin:
        other = {"name": "other", "operation": "fetch", "origin_url": origin, "source": {"path": str(elsewhere)}}
        place.configure(other)
        assert place.once().code == 0
    place.configure(DELETE)
    (place.www / "a.txt").unlink()

    ended = place.once("--json")
    parked = place.start("parked", "docs").wait()

    (line,) = ended.said("refresh.attempted")
    (left,) = ended.json["mirrors"][0]["unfinished"]
    assert ended.code == 1
    assert (line["operation"], line["status"], line["outcome"], line["next"]) == ("delete", 608, "refused", "park")
    assert (left["key"], left["state"], left["status"]) == ("a.txt", "parked", 608)
    for said in (line["error"], left["error"], parked.out):
        assert "not the one that was put there" in said
    assert place.kodo.read("docs", "a.txt") == b"somebody else's"


def _chmods(www: Path, _: Path) -> None:
    for path in www.rglob("*.txt"):
        path.chmod(0o600)


def _touches_back(www: Path, _: Path) -> None:
    for path in www.rglob("*.txt"):
        before = path.stat()
        path.touch()
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _copies_and_swaps(www: Path, room: Path) -> None:
    subprocess.run(["cp", "-a", str(www / "sub"), str(room / "copy")], check=True)
    shutil.rmtree(www / "sub")
    (room / "copy").rename(www / "sub")


@pytest.mark.parametrize("touch", [_chmods, _touches_back, _copies_and_swaps])
def test_a_tree_that_was_only_touched_costs_no_call(touch: object, place: Place, tmp_path: Path) -> None:
    assert callable(touch)
    place.configure({"operation": "fetch", "origin_url": place.origin, "verify": "off"})
    keys = [f"sub/{n}.txt" for n in range(10)]
    _mirrored(place, *keys)
    touch(place.www, tmp_path)
    changed, before = place.www / keys[0], (place.www / keys[0]).stat()
    changed.write_text("SUB/0.txt")
    os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns))

    ended = place.once()

    assert ended.code == 0
    assert [call["key"] for call in place.calls()] == [keys[0]]
    assert place.differing(keys) == set()

"""Audits: what became of the bucket behind the journal's back is found and mended, and nothing is deleted."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import bucket
from tests.e2e.place import Place, place_at

NAMES = ("a.txt", "b.txt", "c.txt", "d.txt", "e.txt")
AUDITED = {"first_run": "compare", "audit_every": "300ms"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Five files that the bucket holds and the journal knows; nothing runs there."""
    (tmp_path / "www").mkdir()
    for name in NAMES:
        (tmp_path / "www" / name).write_text(name)
    bucket.put(tmp_path, [(name, name.encode()) for name in NAMES])
    with place_at(tmp_path) as place:
        place.configure(AUDITED)
        assert place.once().code == 0
        assert place.kodo.calls("prefetch") == []
    return tmp_path


@pytest.fixture
def mirrored(root: Path) -> Iterator[Place]:
    with place_at(root) as place:
        yield place


def test_unless_it_is_asked_for_nothing_is_audited(mirrored: Place) -> None:
    program = mirrored.run()
    program.until_said("scan.finished")

    assert program.stop().code == 0
    assert mirrored.kodo.calls("list") == []


def test_an_audit_of_a_true_bucket_finds_nothing_and_comes_again(mirrored: Place) -> None:
    mirrored.configure(AUDITED)

    program = mirrored.run()
    first, second, *_ = program.until_said("audit.finished", 2)

    assert program.stop().code == 0
    for line in (first, second):
        assert (line["mirror"], line["seen"], line["drifted"], line["unknown"]) == ("docs", 5, 0, 0)
        assert (line["level"], line["calls"]) == ("info", 1)
        assert line["duration_s"] >= 0
    assert mirrored.kodo.calls("prefetch") == []


def test_what_drifted_is_refreshed_and_what_is_unknown_stays(root: Path) -> None:
    bucket.remove(root, "a.txt")
    bucket.put(root, [("b.txt", b"B.TXT"), ("c.txt", b"longer than it was"), ("unknown.txt", b"another's")])
    (root / "www" / "e.txt").unlink()
    with place_at(root) as place:
        place.configure(AUDITED)

        program = place.run()
        (line, *_) = program.until_said("audit.finished")
        place.until_equal(program, ["a.txt", "b.txt", "c.txt", "d.txt"])
        program.until_said("audit.finished", 3)

        assert program.stop().code == 0
        assert (line["seen"], line["drifted"], line["unknown"]) == (5, 3, 2)
        assert {line["key"] for line in program.said("refresh.attempted")} == {"a.txt", "b.txt", "c.txt"}
        assert program.said("audit.finished")[-1]["drifted"] == 0
        assert place.kodo.calls("delete") == []
        assert place.kodo.read("docs", "unknown.txt") == b"another's"
        assert place.kodo.read("docs", "e.txt") == b"e.txt"


def test_an_audit_that_kodo_refuses_says_so_and_changes_nothing(mirrored: Place) -> None:
    mirrored.configure(AUDITED)
    mirrored.kodo.fail(operation="list", status=403)

    program = mirrored.run()
    (line, *_) = program.until_said("inventory.failed")

    assert (line["level"], line["status"]) == ("error", 403)
    assert "allow the key pair to list" in line["action"]
    assert program.stop().code == 0
    assert program.said("audit.finished") == []
    assert mirrored.kodo.calls("prefetch") == []

"""`mirrord plan`: what `once` then does, and not a byte changed anywhere."""

import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import bucket
from tests.e2e.place import Place, place_at


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with place_at(tmp_path) as here:
        yield here


@pytest.fixture
def listed(tmp_path: Path) -> Iterator[Place]:
    """A bucket that holds one file as it is and two as they were, and lacks one; no journal yet."""
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "equal.txt").write_text("old")
    bucket.put(tmp_path, [(f"{name}.txt", b"old") for name in ("equal", "size", "hash")])
    with place_at(tmp_path) as here:
        here.write("size.txt", "longer")
        here.write("hash.txt", "new")
        here.write("missing.txt")
        here.configure({"first_run": "compare"})
        yield here


def planned(place: Place) -> dict[str, tuple[str, str]]:
    """Each key's reason and action."""
    ended = place.start("plan", "--json").wait()
    assert ended.code == 0, ended.noise
    (mirror,) = ended.json["mirrors"]
    return {key["key"]: (key["reason"], key["action"]) for key in mirror["keys"]}


def files_of_the_journal(place: Place) -> dict[str, bytes]:
    paths = [place.root / f"journal.db{end}" for end in ("", "-wal", "-shm")]
    return {path.name: path.read_bytes() for path in paths if path.exists()}


def done(place: Place) -> set[str]:
    """The keys that `once` asks for."""
    return {line["key"] for line in place.once().said("refresh.attempted")}


def test_without_a_journal_all_is_new_and_none_is_made(place: Place) -> None:
    place.write("a.txt")
    place.write("sub/b c.txt")

    found = planned(place)

    assert found == {"a.txt": ("new", "refresh"), "sub/b c.txt": ("new", "refresh")}
    assert files_of_the_journal(place) == {}
    assert place.kodo.calls() == []


def test_on_a_first_run_it_says_what_the_listing_leaves_to_do(listed: Place) -> None:
    place = listed

    found = planned(place)

    assert found == {
        "size.txt": ("size", "refresh"),
        "hash.txt": ("hash", "refresh"),
        "missing.txt": ("missing in bucket", "refresh"),
    }
    assert {call["operation"] for call in place.kodo.calls()} == {"list"}
    assert files_of_the_journal(place) == {}
    assert done(place) == set(found)


def test_when_kodo_cannot_be_asked_it_says_so_and_plans_to_refresh(place: Place) -> None:
    place.write("a.txt")
    place.configure({"first_run": "compare"})
    place.kodo.fail(operation="list", status=403)

    told = place.start("plan", "--json").wait()
    shown = place.start("plan").wait()

    assert (told.code, shown.code) == (0, 0)
    assert told.json["mirrors"][0]["bucket"] == "unavailable"
    assert [(key["reason"], key["action"]) for key in told.json["mirrors"][0]["keys"]] == [("new", "refresh")]
    assert "could not be listed" in shown.out
    assert shown.said("inventory.failed")


def test_with_a_journal_it_says_what_changed_and_how(place: Place) -> None:
    for name in ("same.txt", "size.txt", "mtime.txt", "gone.txt"):
        place.write(name, "old")
    place.configure({"on_removed": "delete"})
    place.once()
    place.write("size.txt", "longer")
    place.write("mtime.txt", "new")
    place.write("new.txt")
    (place.www / "gone.txt").unlink()
    before, calls = files_of_the_journal(place), len(place.kodo.calls())

    found = planned(place)

    assert found == {
        "size.txt": ("size", "refresh"),
        "mtime.txt": ("mtime", "refresh"),
        "new.txt": ("new", "refresh"),
        "gone.txt": ("removed", "delete"),
    }
    assert files_of_the_journal(place) == before
    assert len(place.kodo.calls()) == calls
    assert done(place) == set(found)


def test_parked_keys_are_named_with_their_last_answer(place: Place) -> None:
    place.write("a.txt")
    place.kodo.fail(operation="prefetch", status=404)
    place.once()

    told = place.start("plan", "--json").wait()

    (mirror,) = told.json["mirrors"]
    (key,) = mirror["keys"]
    assert (key["state"], key["action"], key["status"], key["outcome"]) == ("parked", "nothing", 404, "origin-missing")
    assert key["reqid"]


def test_beside_a_running_service_it_changes_nothing(listed: Place) -> None:
    for name in ("size.txt", "hash.txt", "missing.txt"):
        (listed.www / name).unlink()
    program = listed.run()
    program.until_said("scan.finished")
    before = files_of_the_journal(listed)

    found = planned(listed)

    assert found == {}
    assert files_of_the_journal(listed)["journal.db"] == before["journal.db"]
    assert program.stop().code == 0


def test_after_a_crash_the_journals_file_and_log_stay_as_they_are(place: Place) -> None:
    place.write("a.txt")
    program = place.run()
    place.until_equal(program, ["a.txt"])
    program.send(signal.SIGKILL)
    program.wait()
    place.write("b.txt")
    before = files_of_the_journal(place)

    found = planned(place)

    after = files_of_the_journal(place)
    assert "b.txt" in found
    assert set(after) == set(before)
    assert {name: after[name] for name in after if not name.endswith("-shm")} == {
        name: before[name] for name in before if not name.endswith("-shm")
    }


def test_an_older_journal_is_read_and_not_migrated(place: Place) -> None:
    place.write("a.txt")
    place.once()
    journal = sqlite3.connect(place.root / "journal.db")
    with journal:
        for column in ("removed_at", "wanted_at", "why", "tries", "pending"):
            journal.execute(f"ALTER TABLE objects DROP COLUMN {column}")
        journal.execute("ALTER TABLE coverage DROP COLUMN root")
        journal.execute("ALTER TABLE cursors DROP COLUMN event_at")
        for table in ("listed", "attempts", "conditions", "orders", "purges", "served"):
            journal.execute(f"DROP TABLE {table}")
        journal.execute("UPDATE alembic_version SET version_num = '0001'")
    journal.close()
    before = files_of_the_journal(place)

    assert planned(place) == {}
    assert files_of_the_journal(place) == before


def test_an_origin_that_is_not_there_is_one_sentence(place: Place, tmp_path: Path) -> None:
    place.configure({"source": {"path": str(tmp_path / "nowhere")}})

    ended = place.start("plan", anew=True).wait()

    assert ended.code == 1
    assert str(tmp_path / "nowhere") in "".join(ended.noise)
    assert files_of_the_journal(place) == {}

"""`mirrord journal`: what vacuum and backup do and say, without a service and beside one."""

import json
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mirrord.cli.journal import in_words
from mirrord.journal import schema, targets
from mirrord.journal.lock import ServiceLock
from tests.cli.asking import asked, settings_in
from tests.e2e.place import Place, place_at
from tests.journal.ledger import MIRROR, Ledger, at, change, ended
from tests.journal.older import STATES, fill

MANY = 3000


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Settings of the mirrors `docs` and `pages`; no secret that can be read, and no journal yet."""
    return settings_in(tmp_path)


@pytest.fixture
def ledger(config: Path) -> Iterator[Ledger]:
    """The journal: a key of `docs`, and many of `gone`, which is not in the settings."""
    ledger = Ledger(config.parent / "journal.db")
    ledger.record(change("a"))
    ledger.record(*(change(f"{number:0300}") for number in range(MANY)), mirror="gone")
    ledger.settle(*(ended(row) for row in ledger.claim(mirror="gone", most=2)))
    yield ledger
    ledger.close()


@pytest.fixture
def service(ledger: Ledger) -> Iterator[ServiceLock]:
    """Somebody who holds the journal's lock, as a service does."""
    lock = ServiceLock(ledger.file)
    assert lock.acquire()
    yield lock
    lock.release()


# -- vacuum ------------------------------------------------------------------------------------------


def test_vacuum_drops_what_nobody_needs_and_says_what_it_was(config: Path, ledger: Ledger) -> None:
    ended = asked(config, "journal", "vacuum", columns=250)

    assert (ended.exit_code, ended.stderr) == (0, "")
    first, second, third = ended.stdout.splitlines()
    assert first == f"gone: no longer in the settings; {MANY + 2} rows dropped"
    assert second == f"dropped: 2 attempts, {MANY} keys"
    assert re.fullmatch(rf"{ledger.file}: \d+\.\d MiB before, \d+\.\d KiB now", third)
    assert ledger.select("SELECT mirror, key FROM objects") == [(MIRROR, "a")]


def test_a_dry_run_says_the_same_and_changes_nothing(config: Path, ledger: Ledger) -> None:
    before = ledger.select("SELECT * FROM objects")

    ended = asked(config, "journal", "vacuum", "--dry-run", columns=250)

    assert ended.exit_code == 0
    first, second, third = ended.stdout.splitlines()
    assert first == f"gone: no longer in the settings; {MANY + 2} rows would be dropped"
    assert second == f"would be dropped: 2 attempts, {MANY} keys"
    assert re.fullmatch(rf"{ledger.file}: \d+\.\d MiB, of which 0 B are free already", third)
    assert ledger.select("SELECT * FROM objects") == before


def test_programs_are_told_in_a_document(config: Path, ledger: Ledger) -> None:
    planned = json.loads(asked(config, "journal", "vacuum", "--dry-run", "--json").stdout)
    done = json.loads(asked(config, "journal", "vacuum", "--json").stdout)

    assert (planned["dry_run"], done["dry_run"]) == (True, False)
    assert planned["pruned"] == done["pruned"] == {"attempts": 2, "objects": MANY}
    assert planned["mirrors_pruned"] == done["mirrors_pruned"] == {"gone": MANY + 2}
    assert done["bytes_after"] < done["bytes_before"] / 10
    assert done == {
        "journal": str(ledger.file),
        "service": False,
        "dry_run": False,
        "pruned": done["pruned"],
        "mirrors_pruned": done["mirrors_pruned"],
        "mirrors_left": {},
        "bytes_before": done["bytes_before"],
        "bytes_after": done["bytes_after"],
        "bytes_free": 0,
        "rebuilt": True,
    }


def test_where_nothing_is_to_be_dropped_that_is_said(config: Path, ledger: Ledger) -> None:
    asked(config, "journal", "vacuum")

    ended = asked(config, "journal", "vacuum")

    assert ended.stdout.startswith("nothing to drop: every row is needed\n")


@pytest.mark.parametrize("also", [[], ["--dry-run"]], ids=["done", "dry-run"])
def test_where_there_is_no_journal_none_is_made(config: Path, also: list[str]) -> None:
    ended = asked(config, "journal", "vacuum", *also, columns=250)

    assert (ended.exit_code, ended.stdout) == (0, f"{config.parent}/journal.db: there is no journal yet\n")
    assert [each.name for each in config.parent.iterdir()] == ["config.toml"]


def test_beside_a_service_it_is_done_in_steps(config: Path, ledger: Ledger, service: ServiceLock) -> None:
    done = json.loads(asked(config, "journal", "vacuum", "--json").stdout)

    assert (done["service"], done["rebuilt"]) == (True, False)
    assert done["mirrors_pruned"] == {"gone": MANY + 2}
    assert done["bytes_after"] < done["bytes_before"] / 10


def test_a_mirror_that_the_service_may_still_have_is_left(config: Path, ledger: Ledger, service: ServiceLock) -> None:
    remembered = targets.remember_all(ledger.journal, ["gone"], at(10**9))
    ledger.run(remembered)

    ended = asked(config, "journal", "vacuum", columns=250)

    assert ended.stdout.startswith("gone: not in the settings, left: the running service had it at 01:46:40Z; ")
    assert ("gone",) in ledger.select("SELECT mirror FROM objects")


def test_a_journal_of_an_older_service_is_left_alone(config: Path) -> None:
    file = config.parent / "journal.db"
    fill(file, "0004")
    lock = ServiceLock(file)
    lock.acquire()

    ended = asked(config, "journal", "vacuum")

    lock.release()
    assert (ended.exit_code, ended.stdout) == (1, "")
    assert "its revision is 0004" in ended.stderr
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("0004",)]


def test_a_journal_of_an_older_version_without_a_service_is_brought_up_to_date(config: Path) -> None:
    fill(config.parent / "journal.db", "0001")

    ended = asked(config, "journal", "vacuum")

    ledger = Ledger(config.parent / "journal.db")
    assert ended.exit_code == 0
    assert set(ledger.states()) == STATES.keys() - {"deleted"}  # long ago
    ledger.close()


# -- backup ------------------------------------------------------------------------------------------


def test_backup_says_what_it_made_and_how_to_restore_it(config: Path, ledger: Ledger, tmp_path: Path) -> None:
    copy = tmp_path / "a copy.db"

    ended = asked(config, "journal", "backup", str(copy), columns=250)

    assert (ended.exit_code, ended.stderr) == (0, "")
    first, *restoring = ended.stdout.splitlines()
    assert re.fullmatch(rf"{copy}: {MANY + 1} keys, \d+\.\d MiB, revision {schema.HEAD}", first)
    assert restoring == [
        "to restore it:",
        "    systemctl stop mirrord",
        f"    rm -f {ledger.file}-wal {ledger.file}-shm",
        f"    cp '{copy}' {ledger.file}",
        f"    chown --reference={tmp_path} {ledger.file}",
        "    systemctl start mirrord",
    ]


def test_what_it_says_restores_the_journal(config: Path, ledger: Ledger, tmp_path: Path) -> None:
    said = asked(config, "journal", "backup", str(tmp_path / "copy.db"), columns=250).stdout.splitlines()
    ledger.record(change("later"))
    ledger.close()

    for line in said[3:-1]:
        assert os.system(line) == 0

    restored = Ledger(ledger.file)
    assert len(restored.states()) == MANY + 1
    assert "later" not in restored.states()
    restored.close()


def test_a_backup_in_a_document(config: Path, ledger: Ledger, tmp_path: Path) -> None:
    ended = asked(config, "journal", "backup", str(tmp_path / "copy.db"), "--json")

    assert json.loads(ended.stdout) == {
        "file": f"{tmp_path}/copy.db",
        "size_bytes": (tmp_path / "copy.db").stat().st_size,
        "revision": schema.HEAD,
        "keys": {MIRROR: 1, "gone": MANY},
    }


def test_a_file_that_is_there_is_replaced_only_by_force(config: Path, ledger: Ledger, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    copy.write_text("precious")

    refused = asked(config, "journal", "backup", str(copy))
    content = copy.read_bytes()
    forced = asked(config, "journal", "backup", "--force", str(copy))

    assert (refused.exit_code, content) == (1, b"precious")
    assert refused.stderr == f"mirrord: {copy}: is there already; name another file, or add --force\n"
    assert (forced.exit_code, copy.read_bytes()[:15]) == (0, b"SQLite format 3")


def test_no_force_replaces_the_journal_itself(config: Path, ledger: Ledger) -> None:
    ended = asked(config, "journal", "backup", "--force", str(ledger.file))

    assert ended.exit_code == 2
    assert "is the journal itself" in ended.stderr


def test_without_a_journal_there_is_nothing_to_copy(config: Path, tmp_path: Path) -> None:
    ended = asked(config, "journal", "backup", str(tmp_path / "copy.db"), columns=250)

    assert (ended.exit_code, ended.stdout) == (1, "")
    assert "there is no journal yet" in ended.stderr
    assert not (tmp_path / "copy.db").exists()


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (5 * 2**20, "5.0 MiB"), (3 * 2**29, "1.5 GiB")],
)
def test_bytes_are_told_for_a_person(count: int, words: str) -> None:
    assert in_words(count) == words


# -- beside a service --------------------------------------------------------------------------------


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with place_at(tmp_path) as here:
        yield here


def test_a_running_service_notices_neither(place: Place) -> None:
    place.write("a.txt")
    program = place.run()
    program.until_said("refresh.attempted", key="a.txt", next="done")

    copied = asked(place.settings, "journal", "backup", str(place.root / "copy.db"))
    vacuumed = asked(place.settings, "journal", "vacuum", "--json")
    place.write("b.txt")
    program.until_said("refresh.attempted", key="b.txt", next="done")

    assert (copied.exit_code, vacuumed.exit_code) == (0, 0)
    assert json.loads(vacuumed.stdout)["service"] is True
    assert program.stop().code == 0
    assert not program.said("journal.unavailable")

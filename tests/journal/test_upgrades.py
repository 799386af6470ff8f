"""Journals of every older revision: no row is lost, work goes on, and whatever ends a migration, the next does it."""

import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from importlib.resources import files
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from mirrord.journal import schema
from mirrord.journal.report import report, report_key
from mirrord.model.row import State
from tests.journal.conftest import OpenLedger
from tests.journal.ledger import DELETE, MIRROR, Ledger, at, change, ended, url_of
from tests.journal.older import REVISIONS, STATES, fill
from tests.journal.processes import start

MIGRATE_AND_WAIT = """
import sys
from mirrord.journal import schema
from mirrord.journal.database import open_engine
with open_engine(f"sqlite:///{sys.argv[1]}", writing=True).connect() as connection, connection.begin():
    schema.bring_up_to_date(connection, sys.argv[1])
    print(schema.current(connection), flush=True)
    sys.stdin.readline()
"""
OPEN_AND_SAY_SO = """
import json, sys
from pathlib import Path
from tests.journal.ledger import Ledger
print("begun", flush=True)
ledger = Ledger(Path(sys.argv[1]))
print(json.dumps(ledger.states()), flush=True)
ledger.close()
"""


def tables(file: Path) -> dict[str, list[dict[str, object]]]:
    """Every row of every table, in the table's order."""
    with closing(sqlite3.connect(file)) as connection:
        connection.row_factory = sqlite3.Row
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: [dict(row) for row in connection.execute(f"SELECT * FROM {name}")] for name in names}


def test_every_revision_is_among_those_that_are_tried() -> None:
    scripts = ScriptDirectory(str(files("mirrord.journal") / "migrations"))

    assert sorted(script.revision for script in scripts.walk_revisions()) == [*REVISIONS, schema.HEAD]


@pytest.mark.parametrize("revision", REVISIONS)
def test_every_row_of_every_table_is_there_as_it_was(file: Path, open_ledger: OpenLedger, revision: str) -> None:
    fill(file, revision)
    before = tables(file)

    open_ledger()

    after = tables(file)
    assert after["alembic_version"] == [{"version_num": schema.HEAD}]
    for name in before.keys() - {"alembic_version"}:
        assert len(before[name]) > 0
        assert [{column: now[column] for column in before[name][0]} for now in after[name]] == before[name]
    assert not any(after[name] for name in after.keys() - before.keys())


@pytest.mark.parametrize("revision", REVISIONS)
def test_work_goes_on_with_the_journal_of_any_older_program(file: Path, open_ledger: OpenLedger, revision: str) -> None:
    fill(file, revision)
    ledger = open_ledger()
    states = ledger.states()

    orphans = ledger.give_back_orphans(10, rules=DELETE)
    claims = ledger.claim(60)
    ledger.settle(*(ended(claim, seconds=61, reqid="s") for claim in claims), rules=DELETE)
    ledger.record(change("fresh", "2", 70), change("kept", "2", 70), change("deleted", "2", 70), rules=DELETE)

    assert states == STATES
    assert (orphans, {claim.key for claim in claims}) == (1, {"claimed", "new", "waiting"})
    (docs,) = report(url_of(file), [MIRROR])
    assert docs.keys == {State.FRESH: 3, State.STALE: 3, State.CLAIMED: 0, State.PARKED: 1, State.HELD: 1}
    assert [place.text for place in docs.sources] == ["17"]
    assert (docs.coverage.complete_as_of, docs.coverage.lost_since) == (at(7), at(8))
    assert report_key(url_of(file), MIRROR, "new").tried[-1].reqid == "s"
    assert ledger.claim_keys(80) == ["deleted", "fresh", "kept"]


@pytest.mark.parametrize("revision", REVISIONS)
def test_a_migration_that_is_killed_leaves_the_journal_as_it_was(
    file: Path, open_ledger: OpenLedger, revision: str
) -> None:
    fill(file, revision)
    before = tables(file)
    with start(MIGRATE_AND_WAIT, file) as process:
        assert process.stdout is not None
        migrated = process.stdout.readline()
        process.kill()

    left = tables(file)
    states = open_ledger().states()

    assert migrated == f"{schema.HEAD}\n"
    assert left == before
    assert states == STATES
    assert tables(file)["alembic_version"] == [{"version_num": schema.HEAD}]


def test_a_process_that_starts_meanwhile_waits_for_the_migration(file: Path, open_ledger: OpenLedger) -> None:
    fill(file, "0001")
    with start(MIGRATE_AND_WAIT, file) as first, start(OPEN_AND_SAY_SO, file) as second:
        assert first.stdout is not None
        assert first.stdin is not None
        assert second.stdout is not None
        first.stdout.readline()
        begun = second.stdout.readline()  # it asks for the lock that the first one has
        first.stdin.write("go on\n")
        first.stdin.flush()
        states = json.loads(second.stdout.readline())

    assert (begun, first.returncode, second.returncode) == ("begun\n", 0, 0)
    assert states == open_ledger().states() == STATES


def test_of_many_that_start_at_once_one_migrates(file: Path) -> None:
    fill(file, "0001")

    with ThreadPoolExecutor(4) as threads:
        ledgers = list(threads.map(lambda _: Ledger(file), range(4)))

    assert [ledger.states() for ledger in ledgers] == [STATES] * 4
    for ledger in ledgers:
        ledger.close()

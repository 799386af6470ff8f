"""Revisions: the newest is HEAD, they lead to the tables as declared, and an unknown one is refused."""

import re
import sqlite3
from contextlib import closing
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from mirrord.journal import schema
from mirrord.journal.database import open_engine
from mirrord.journal.errors import JournalTooNew
from mirrord.journal.listing import Listing, Progress
from mirrord.journal.report import report
from mirrord.journal.tables import metadata, to_microseconds
from mirrord.model.attempt import Outcome
from mirrord.model.change import Recorded
from mirrord.model.coverage import Coverage
from mirrord.model.row import State
from tests.journal.conftest import OpenLedger
from tests.journal.ledger import DELETE, MIRROR, Ledger, at, change, ended, place, url_of


def declared(file: Path) -> dict[str, str]:
    """What SQLite keeps of each table and index, without its white space."""
    with closing(sqlite3.connect(file)) as connection:
        found = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return {name: re.sub(r"\s+", "", sql) for name, sql in found if name != "alembic_version"}


def become(file: Path, revision: str) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", [revision])


def migrations() -> Config:
    config = Config()
    config.set_main_option("script_location", str(files("mirrord.journal") / "migrations"))
    return config


def migrate(file: Path, revision: str) -> None:
    """Make the tables as the program of that revision had them, or bring older ones there."""
    engine = open_engine(url_of(file), writing=True)
    with engine.connect() as connection, connection.begin():
        config = migrations()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()


def write(file: Path, *statements: str) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def micros(seconds: float) -> int:
    count = to_microseconds(at(seconds))
    assert count is not None
    return count


def test_head_is_the_newest_revision() -> None:
    assert ScriptDirectory.from_config(migrations()).get_heads() == [schema.HEAD]


def test_a_new_journal_is_at_head(ledger: Ledger) -> None:
    assert ledger.select("SELECT version_num FROM alembic_version") == [(schema.HEAD,)]
    assert ledger.select("PRAGMA journal_mode") == [("wal",)]


def test_the_migrated_tables_are_those_declared(file: Path) -> None:
    migrate(file, "head")
    engine = open_engine(url_of(file), writing=False)

    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, metadata)

    assert differences == []


@pytest.mark.parametrize("first", ["0001", "0002", "0003", "0004", "0005", "head"])
def test_the_migrated_tables_are_those_declared_to_the_last_index(ledger: Ledger, tmp_path: Path, first: str) -> None:
    migrated = tmp_path / "migrated.db"
    migrate(migrated, first)

    migrate(migrated, "head")

    assert declared(migrated) == declared(ledger.file)


OBJECTS_0002 = (
    "INSERT INTO objects (mirror, key, wanted, generation, confirmed, bucket_hash, state, stale_since, due_at, "
    "attempts, strikes, claims, lease_until, last_at, last_status, last_reqid, last_outcome, last_error, removed_at) "
    "VALUES "
)


@pytest.fixture
def written_by_0002(file: Path) -> Path:
    """A journal as the program of revision 0002 left it: a key in every state, and everything else there was."""
    migrate(file, "0002")
    write(
        file,
        f"""{OBJECTS_0002}
        ('docs', 'claimed', '=2', 3, '=1', 'h', 'claimed', {micros(1)}, {micros(1)}, 0, 0, 4, {micros(500)},
         {micros(1)}, 200, 'r', 'refreshed', NULL, NULL),
        ('docs', 'fresh', '=1', 1, '=1', 'h', 'fresh', NULL, NULL, 0, 0, 1, NULL,
         {micros(2)}, 200, 'r', 'refreshed', NULL, NULL),
        ('docs', 'held', NULL, 2, '=1', 'h', 'held', {micros(3)}, NULL, 0, 0, 1, NULL,
         {micros(2)}, 200, 'r', 'refreshed', NULL, {micros(3)}),
        ('docs', 'new', '=1', 1, NULL, NULL, 'stale', {micros(4)}, {micros(4)}, 0, 0, 0, NULL,
         NULL, NULL, NULL, NULL, NULL, NULL),
        ('docs', 'parked', '=1', 1, NULL, NULL, 'parked', {micros(2)}, NULL, 5, 5, 5, NULL,
         {micros(9)}, 404, 'r', 'origin-missing', 'Ü', NULL),
        ('docs', 'waiting', '=1', 1, '=0', 'h', 'stale', {micros(2)}, {micros(60)}, 5, 4, 5, NULL,
         {micros(9)}, 599, 'r', 'unavailable', 'E', NULL),
        ('other', 'new', '=9', 1, NULL, NULL, 'stale', {micros(4)}, {micros(4)}, 0, 0, 0, NULL,
         NULL, NULL, NULL, NULL, NULL, NULL)""",
        f"INSERT INTO coverage VALUES ('docs', {micros(7)}, {micros(8)}, 'overflow', '8:1')",
        f"INSERT INTO cursors VALUES ('docs', 'listing docs:', 'marker', {micros(5)})",
        "INSERT INTO listed VALUES ('docs', 'fresh', 5, 'h', 17672256000000001)",
    )
    return file


def test_what_an_older_program_wrote_is_there_as_it_was(written_by_0002: Path, open_ledger: OpenLedger) -> None:
    with closing(sqlite3.connect(written_by_0002)) as connection:
        before = connection.execute("SELECT * FROM objects ORDER BY mirror, key").fetchall()

    ledger = open_ledger()

    assert ledger.select("SELECT version_num FROM alembic_version") == [(schema.HEAD,)]
    # nobody knows since when and why those versions are wanted, or how often they were tried
    assert ledger.select("SELECT * FROM objects ORDER BY mirror, key") == [
        (*row, None, None, 0, None) for row in before
    ]
    assert ledger.select("SELECT * FROM listed") == [("docs", "fresh", 5, "h", 17672256000000001)]
    assert ledger.select("SELECT count(*) FROM attempts UNION ALL SELECT count(*) FROM conditions") == [(0,), (0,)]
    progress = Progress(marker="marker", objects=1, moved_at=at(5))
    assert ledger.run(Listing(ledger.journal, MIRROR, "docs:").progress()) == progress
    assert ledger.run(ledger.journal.covered(MIRROR)) == Coverage(
        complete_as_of=at(7), lost_since=at(8), lost_reason="overflow", root="8:1"
    )


def test_claims_go_on_where_an_older_program_left_them(written_by_0002: Path, open_ledger: OpenLedger) -> None:
    ledger = open_ledger()
    ledger.give_back_orphans(10, rules=DELETE)

    claims = ledger.claim(60)
    rows = ledger.settle(*(ended(claim, seconds=61, reqid="s") for claim in claims), rules=DELETE)

    assert [(row.key, row.wanted_at, row.why, row.tries, row.pending) for row in claims] == [
        ("new", None, None, 0, None),
        ("claimed", None, None, 0, None),
        ("waiting", None, None, 0, None),
    ]
    assert {(row.key, row.state, row.tries) for row in rows} == {
        (key, State.FRESH, 1) for key in ("new", "claimed", "waiting")
    }
    assert set(ledger.select("SELECT key, slot, reqid FROM attempts")) == {
        (key, 1, "s") for key in ("new", "claimed", "waiting")
    }
    assert ledger.states()["held"] == "held"


def test_what_changes_after_a_migration_has_its_reason(written_by_0002: Path, open_ledger: OpenLedger) -> None:
    ledger = open_ledger()

    ledger.record(change("fresh", "2", 70), change("parked", None, 70), change("held", "1", 70), rules=DELETE)

    assert set(ledger.select(f"SELECT key, why FROM objects WHERE wanted_at = {micros(70)}")) == {
        ("fresh", "changed"),
        ("parked", "removed"),
        ("held", "new"),
    }


def test_keys_that_an_older_program_saw_fail_are_brought_forward(
    written_by_0002: Path, open_ledger: OpenLedger
) -> None:
    ledger = open_ledger()

    brought = ledger.run(ledger.journal.bring_forward(MIRROR, [Outcome.UNAVAILABLE]))

    assert brought == 1
    assert ledger.claim_keys(5) == ["waiting", "new"]


@pytest.fixture
def written_by_0003(written_by_0002: Path) -> Path:
    """The same journal after a while under revision 0003: cursors of two mirrors, and a key's attempt."""
    migrate(written_by_0002, "0003")
    write(
        written_by_0002,
        f"INSERT INTO cursors VALUES ('docs', 'feed http://o/f', '17', {micros(6)}), ('other', 'audit', '', 1)",
        f"INSERT INTO attempts VALUES ('docs', 'fresh', 1, {micros(2)}, 'prefetch', 200, 'r', 'refreshed', NULL, 5)",
    )
    return written_by_0002


def test_cursors_of_an_older_program_are_there_without_an_events_time(
    written_by_0003: Path, open_ledger: OpenLedger
) -> None:
    ledger = open_ledger()

    found = ledger.run(ledger.journal.cursor(MIRROR, "feed http://o/f"))

    assert found == place("feed http://o/f", "17", 6)
    assert ledger.run(Listing(ledger.journal, MIRROR, "docs:").progress()).marker == "marker"
    assert ledger.select("SELECT count(*) FROM cursors WHERE event_at IS NULL") == [(3,)]
    assert ledger.select("SELECT key, reqid FROM attempts") == [("fresh", "r")]
    (docs,) = report(url_of(ledger.file), [MIRROR])
    assert docs.sources == (found,)


def test_what_an_older_program_recorded_has_no_order_and_takes_one(
    written_by_0003: Path, open_ledger: OpenLedger
) -> None:
    ledger = open_ledger()
    before = ledger.select("SELECT count(*) FROM orders")

    ledger.record(replace(change("fresh", "2", 70), order="5"), cursor=place("feed http://o/f", "18", 70, event_at=69))
    overtaken = ledger.record(replace(change("fresh", "3", 71), order="4"))

    assert before == [(0,)]
    assert overtaken == Recorded()
    assert ledger.cursor("feed http://o/f") == "18"
    assert ledger.select("SELECT key, at_text FROM orders") == [("fresh", "5")]


def test_of_what_was_refreshed_before_there_was_a_cdn_it_is_told_nothing(
    written_by_0003: Path, open_ledger: OpenLedger
) -> None:
    migrate(written_by_0003, "0004")
    ledger = open_ledger()
    before = ledger.select("SELECT count(*) FROM purges")

    ledger.give_back_orphans(10, rules=DELETE)
    ledger.settle(*(ended(claim, seconds=61, purge=True) for claim in ledger.claim(60)), rules=DELETE)

    assert before == [(0,)]
    assert set(ledger.select("SELECT key, asked, strikes FROM purges")) == {
        (key, 1, 0) for key in ("new", "claimed", "waiting")
    }


def test_opening_a_journal_again_keeps_what_it_holds(ledger: Ledger, open_ledger: OpenLedger) -> None:
    ledger.record(change("a"))

    assert open_ledger().known() == [("a", "=1")]


def test_a_journal_of_an_unknown_revision_is_refused_and_left_alone(
    ledger: Ledger, file: Path, open_ledger: OpenLedger
) -> None:
    ledger.record(change("a"))
    become(file, "9999")

    with pytest.raises(JournalTooNew) as refusal:
        open_ledger()

    assert str(file) in str(refusal.value)
    assert "9999" in str(refusal.value)
    assert schema.HEAD in str(refusal.value)
    assert ledger.states() == {"a": "stale"}


def test_a_report_of_a_journal_of_an_unknown_revision_is_refused(ledger: Ledger, file: Path) -> None:
    become(file, "9999")

    with pytest.raises(JournalTooNew) as refusal:
        report(url_of(ledger.file), ["docs"])

    assert str(file) in str(refusal.value)
    assert "9999" in str(refusal.value)
    assert schema.HEAD in str(refusal.value)

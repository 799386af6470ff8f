"""Revisions: the newest is HEAD, they lead to the tables as declared, and an unknown one is refused."""

import re
import sqlite3
from contextlib import closing
from importlib.resources import files
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from mirrord.journal import schema
from mirrord.journal.database import open_engine
from mirrord.journal.errors import JournalTooNew
from mirrord.journal.report import report
from mirrord.journal.tables import metadata
from tests.journal.conftest import OpenLedger
from tests.journal.ledger import Ledger, change, url_of


def declared(file: Path) -> dict[str, str]:
    """What SQLite keeps of each table and index, without its white space."""
    with closing(sqlite3.connect(file)) as connection:
        found = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return {name: re.sub(r"\s+", "", sql) for name, sql in found if name != "alembic_version"}


def become(file: Path, revision: str) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", [revision])


def test_head_is_the_newest_revision() -> None:
    config = Config()
    config.set_main_option("script_location", str(files("mirrord.journal") / "migrations"))

    assert ScriptDirectory.from_config(config).get_heads() == [schema.HEAD]


def test_a_new_journal_is_at_head(ledger: Ledger) -> None:
    assert ledger.select("SELECT version_num FROM alembic_version") == [(schema.HEAD,)]
    assert ledger.select("PRAGMA journal_mode") == [("wal",)]


def test_the_migrated_tables_are_those_declared(ledger: Ledger) -> None:
    engine = open_engine(url_of(ledger.file), writing=False)

    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, metadata)

    assert differences == []


def test_the_migrated_tables_are_those_declared_to_the_last_index(ledger: Ledger, tmp_path: Path) -> None:
    engine = sa.create_engine(url_of(tmp_path / "declared.db"))

    metadata.create_all(engine)
    engine.dispose()

    assert declared(ledger.file) == declared(tmp_path / "declared.db")


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

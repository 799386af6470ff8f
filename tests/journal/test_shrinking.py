"""Room that rows have left: given back in steps while others write, or all at once; a WAL does not stay big."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import pytest
import sqlalchemy as sa

from mirrord.journal import shrinking
from mirrord.journal.database import WAL_KEPT_BYTES
from mirrord.journal.errors import JournalUnavailable
from mirrord.journal.shrinking import Room, room
from tests.journal.conftest import OpenLedger
from tests.journal.ledger import RULES, Ledger, change, url_of

T = TypeVar("T")

MANY = 3000
LONG = "x" * 400


def room_of(ledger: Ledger) -> Room:
    found: Room = ledger.run(ledger.journal.transact(room))
    return found


def emptied(ledger: Ledger) -> None:
    """A journal that had many rows, and has one."""
    ledger.record(*(change(f"{number:04}{LONG}") for number in range(MANY)))
    with closing(sqlite3.connect(ledger.file)) as connection, connection:
        connection.execute("DELETE FROM objects WHERE key > '0001'")


@pytest.fixture
def whole(file: Path, open_ledger: OpenLedger) -> Ledger:
    """A journal of an earlier version: its room cannot be given back in steps."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE t (a)")
        connection.execute("DROP TABLE t")
    return open_ledger()


def test_a_new_journal_gives_its_room_back_in_steps(ledger: Ledger) -> None:
    emptied(ledger)
    before = room_of(ledger)

    ledger.run(shrinking.give_back(ledger.journal))
    shrinking.empty_wal(url_of(ledger.file))

    assert before.incremental
    assert before.free_bytes > MANY * len(LONG) / 2
    after = room_of(ledger)
    assert after.free_bytes == 0
    assert ledger.file.stat().st_size == after.pages_bytes <= before.used_bytes
    assert len(ledger.known()) == 1


def test_others_write_between_the_steps(ledger: Ledger, open_ledger: OpenLedger) -> None:
    other = open_ledger()
    emptied(ledger)

    class Interrupted:
        async def transact(self, work: Callable[[sa.Connection], T]) -> T:
            result = await ledger.journal.transact(work)
            await other.journal.record("other", [change("between")], RULES)
            return result

    ledger.run(shrinking.give_back(Interrupted()))

    assert room_of(ledger).free_bytes == 0
    assert ("between",) in ledger.select("SELECT key FROM objects")


def test_a_journal_of_an_earlier_version_is_left_as_it_is_beside_a_service(whole: Ledger) -> None:
    emptied(whole)
    before = room_of(whole)

    whole.run(shrinking.give_back(whole.journal))

    assert not before.incremental
    assert before.free_bytes > 0
    assert room_of(whole) == before


def test_a_journal_that_is_rebuilt_gives_room_back_in_steps_from_then_on(whole: Ledger, file: Path) -> None:
    emptied(whole)
    before = room_of(whole)

    shrinking.rebuild(url_of(file))
    shrinking.empty_wal(url_of(file))
    emptied(whole)
    whole.run(shrinking.give_back(whole.journal))

    after = room_of(whole)
    assert (after.incremental, after.free_bytes) == (True, 0)
    assert after.pages_bytes < before.pages_bytes / 4
    assert len(whole.known()) == 1


def test_nobody_rebuilds_a_journal_that_somebody_writes_to(ledger: Ledger) -> None:
    with closing(sqlite3.connect(ledger.file, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")

        with pytest.raises(JournalUnavailable, match="locked"):
            shrinking.rebuild(url_of(ledger.file), busy_timeout=shrinking.CHECKPOINT_WAIT)


def test_a_wal_that_a_reader_let_grow_is_cut_when_the_reader_has_gone(ledger: Ledger) -> None:
    wal = ledger.file.with_name(ledger.file.name + "-wal")
    ledger.record(*(change(f"{number:04}{LONG}") for number in range(MANY)))
    with closing(sqlite3.connect(ledger.file, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM objects").fetchone()
        for seconds in range(12):
            ledger.record(*(change(f"{number:04}{LONG}", f"{seconds}", seconds) for number in range(MANY)))
        grown = wal.stat().st_size

    ledger.record(change("a"))  # moves the rest of the WAL to its place,
    ledger.record(change("b"))  # and this one begins it anew

    assert grown > WAL_KEPT_BYTES
    assert wal.stat().st_size <= WAL_KEPT_BYTES

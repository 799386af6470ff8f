"""Room that rows have left, given back to the disk: a little at a time beside a service, or all at once alone."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import sqlalchemy as sa

from mirrord.journal.asking import PAUSE_S, Transacting
from mirrord.journal.database import BUSY_TIMEOUT, file_of, open_engine, translated

STEP = 500
"""Pages given back in one transaction: some 3 ms."""
CHECKPOINT_WAIT = timedelta(milliseconds=300)
"""How long a service may have to wait for the WAL to be emptied."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What a journal takes of the disk, in bytes."""

    pages_bytes: int
    """The tables and what is free between them."""
    free_bytes: int
    """What rows have left: used again before the file grows."""
    incremental: bool
    """Whether it can be given back a little at a time; journals of earlier versions are rebuilt whole once."""

    @property
    def used_bytes(self) -> int:
        return self.pages_bytes - self.free_bytes


def room(connection: sa.Connection) -> Room:
    size, pages, free, kind = (
        connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
        for name in ("page_size", "page_count", "freelist_count", "auto_vacuum")
    )
    return Room(pages_bytes=pages * size, free_bytes=free * size, incremental=kind == _INCREMENTAL)


def on_disk(url: str) -> int:
    """Bytes of the file and its WAL."""
    file = file_of(url)
    if file is None:
        return 0
    return sum(_size(each) for each in (file, file.with_name(file.name + "-wal")))


async def give_back(journal: Transacting) -> None:
    """Let the file end with what is used, in short transactions; it is cut when the WAL is next emptied into it.

    Nothing for a journal that has to be rebuilt. Raises JournalUnavailable.
    """
    more = True
    while more:
        more = await journal.transact(_give_back_some)
        await asyncio.sleep(PAUSE_S)


def _give_back_some(connection: sa.Connection) -> bool:
    """Whether there is more."""
    before = room(connection)
    if not (before.incremental and before.free_bytes):
        return False
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    for _ in range(STEP):  # the driver takes one step of a statement without columns, and that is one page
        driver.execute("PRAGMA incremental_vacuum(1)")
    return 0 < room(connection).free_bytes < before.free_bytes


def rebuild(url: str, *, busy_timeout: timedelta = BUSY_TIMEOUT) -> None:
    """Write the whole journal anew, without room between rows; from now on it can be given back in steps.

    Nobody can write meanwhile: half a second for 300,000 keys. It needs as much room as the journal for a while,
    twice. Blocks. Raises JournalUnavailable.
    """
    with _alone(url, busy_timeout) as connection:
        connection.execute(f"PRAGMA auto_vacuum = {_INCREMENTAL}")
        connection.execute("VACUUM")


def empty_wal(url: str) -> None:
    """Move what is in the WAL to its place, as far as nobody is in the way. Blocks. Raises JournalUnavailable."""
    with _alone(url) as connection:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()  # the most of it, in nobody's way
        connection.execute(f"PRAGMA busy_timeout = {CHECKPOINT_WAIT // timedelta(milliseconds=1)}")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()  # says, not raises, that it is busy


@contextlib.contextmanager
def _alone(url: str, busy_timeout: timedelta = BUSY_TIMEOUT) -> Iterator[sqlite3.Connection]:
    """A connection that begins no transaction."""
    engine = open_engine(url, writing=False, busy_timeout=busy_timeout)
    try:
        with translated(url), engine.connect() as connection:
            driver = connection.connection.driver_connection
            assert isinstance(driver, sqlite3.Connection)
            yield driver
    finally:
        engine.dispose()


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


_INCREMENTAL = 2
"""As `PRAGMA auto_vacuum` tells it."""

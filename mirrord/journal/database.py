"""A journal URL to SQLAlchemy engines that behave: WAL, immediate writes, errors translated."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from mirrord.journal.errors import JournalCorrupt, JournalUnavailable

BUSY_TIMEOUT_S = 10.0
"""How long a write waits for another process, such as `mirrord refresh`, to end its own."""


def open_engine(url: str, *, writing: bool) -> sa.Engine:
    """An engine whose connections are set up for a journal. Connects to nothing yet.

    Writers begin with IMMEDIATE: they read rows and then write what they decided, and a deferred
    transaction that finds somebody else's write in between fails instead of waiting.
    """
    engine = sa.create_engine(url, poolclass=sa.pool.QueuePool if writing else sa.pool.NullPool)
    if engine.dialect.name == "sqlite":
        begin = "BEGIN IMMEDIATE" if writing else "BEGIN"
        sa.event.listen(engine, "connect", _set_up_sqlite)
        sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    return engine


def _set_up_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # the begin event says BEGIN itself
    for pragma in (
        f"busy_timeout = {int(BUSY_TIMEOUT_S * 1000)}",
        "journal_mode = WAL",
        "synchronous = NORMAL",  # in WAL a power cut may lose the newest commits, never the file; kill -9 loses none
        "cache_size = -8192",
    ):
        connection.execute(f"PRAGMA {pragma}")


def name_of(url: str) -> str:
    """The file, for a person; a server's URL without its password."""
    parsed = sa.make_url(url)
    return parsed.database or url if parsed.get_backend_name() == "sqlite" else parsed.render_as_string()


def file_of(url: str) -> Path | None:
    """The journal's file; None for a server."""
    parsed = sa.make_url(url)
    return Path(parsed.database) if parsed.get_backend_name() == "sqlite" and parsed.database else None


@contextlib.contextmanager
def translated(url: str) -> Iterator[None]:
    """Turn what the driver raises into a sentence that names the file and what to do."""
    name = name_of(url)
    try:
        yield
    except sa.exc.DBAPIError as exc:
        raise _translation(name, exc.orig or exc) from exc
    except sqlite3.Error as exc:  # raised while connecting, before SQLAlchemy wraps it
        raise _translation(name, exc) from exc


def _translation(name: str, cause: BaseException) -> JournalUnavailable:
    code: Any = getattr(cause, "sqlite_errorcode", None)
    said = str(cause)
    if code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return JournalCorrupt(
            f"{name}: the journal is damaged or is no journal ({said}); stop mirrord, move the file and its -wal and "
            "-shm away, start again: a scan rebuilds it, at the price of asking for every key once"
        )
    if code is not None and code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return JournalUnavailable(f"{name}: locked by another process for over {BUSY_TIMEOUT_S:.0f} s")
    if code is not None and code & 0xFF == sqlite3.SQLITE_FULL:
        return JournalUnavailable(f"{name}: no space left on the disk that holds the journal; make room there")
    if code is not None and code & 0xFF == sqlite3.SQLITE_CANTOPEN:
        return JournalUnavailable(
            f"{name}: cannot be opened; its directory must exist and be writable by the user that mirrord runs as"
        )
    if code is not None and code & 0xFF == sqlite3.SQLITE_READONLY:
        return JournalUnavailable(
            f"{name}: it or its directory is read-only for the user that mirrord runs as, or its disk is"
        )
    return JournalUnavailable(f"{name}: {said}")

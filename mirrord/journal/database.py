"""A journal URL to SQLAlchemy engines that behave: WAL, immediate writes, errors translated."""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from mirrord.journal.errors import JournalCorrupt, JournalForbidden, JournalFull, JournalReplaced, JournalUnavailable

BUSY_TIMEOUT = timedelta(seconds=10)
"""How long a write waits for another process, such as `mirrord refresh`, to end its own."""
WAL_KEPT_BYTES = 16 * 2**20
"""What the WAL may keep of the disk once nobody needs it: it grows past that while somebody reads for long."""


def open_engine(url: str, *, writing: bool, busy_timeout: timedelta = BUSY_TIMEOUT) -> sa.Engine:
    """An engine whose connections are set up for a journal. Connects to nothing yet.

    Writers begin with IMMEDIATE: they read rows and then write what they decided, and a deferred
    transaction that finds somebody else's write in between fails instead of waiting.
    """
    engine = sa.create_engine(url, poolclass=sa.pool.QueuePool if writing else sa.pool.NullPool)
    if engine.dialect.name == "sqlite":
        begin = "BEGIN IMMEDIATE" if writing else "BEGIN"
        sa.event.listen(
            engine, "connect", lambda connection, _record: _set_up_sqlite(connection, busy_timeout, writing=writing)
        )
        sa.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    return engine


def _set_up_sqlite(connection: sqlite3.Connection, busy_timeout: timedelta, *, writing: bool) -> None:
    connection.isolation_level = None  # the begin event says BEGIN itself
    connection.execute(f"PRAGMA busy_timeout = {busy_timeout // timedelta(milliseconds=1)}")
    if writing and connection.execute("PRAGMA page_count").fetchone() == (0,):
        # before the first page there is: so that room is given back a little at a time, beside a service; costs nothing
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    for pragma in (
        "journal_mode = WAL",
        f"journal_size_limit = {WAL_KEPT_BYTES}",
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


def identity_of(file: Path) -> tuple[int, int] | None:
    """What a file keeps while it is written to and loses when another takes its name; None: there is none.

    By name only: to close a descriptor of it would drop the locks that SQLite has on it.
    """
    try:
        found = file.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as exc:
        raise JournalUnavailable(f"{file}: {exc.strerror}", action=_SHUT[1], may_heal=True) from exc
    return found.st_dev, found.st_ino


def replaced(file: Path) -> JournalReplaced:
    return JournalReplaced(
        f"{file}: another file, or none, is where the journal was that mirrord works with",
        action=f"put the journal back; or {_REBUILD}",
    )


@contextlib.contextmanager
def translated(url: str, *, writing: bool = True) -> Iterator[None]:
    """Turn what the driver raises into a sentence that names the file and what to do."""
    try:
        yield
    except sa.exc.DBAPIError as exc:
        raise _translation(url, exc.orig or exc, writing=writing) from exc
    except sqlite3.Error as exc:  # raised while connecting, before SQLAlchemy wraps it
        raise _translation(url, exc, writing=writing) from exc


def _translation(url: str, cause: BaseException, *, writing: bool) -> JournalUnavailable:
    name, file = name_of(url), file_of(url)
    extended: Any = getattr(cause, "sqlite_errorcode", None)
    code = None if extended is None else extended & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return JournalCorrupt(f"{name}: the journal is damaged or is no journal ({cause})", action=_REBUILD)
    if code in _OF_PERMISSION and file is not None and _is_forbidden(file, writing=writing):
        reason = _OF_PERMISSION[code] if writing else "may not be read by the user that asks"
        return JournalForbidden(
            f"{name}: {reason}", action=ASK_AS_OWNER if _is_there(file) else _SHUT[1], may_heal=True
        )
    if code in _MAY_HEAL:
        reason, action = _MAY_HEAL[code]
        kind = JournalFull if code == sqlite3.SQLITE_FULL else JournalUnavailable
        return kind(f"{name}: {reason}", action=action, may_heal=True)
    return JournalUnavailable(f"{name}: {cause}")


def _is_forbidden(file: Path, *, writing: bool) -> bool:
    """Whether it is this user's permissions that are in the way. To read a WAL, too, is to write beside it."""
    try:
        if os.statvfs(file.parent).f_flag & os.ST_RDONLY:
            return False
    except OSError as exc:
        return isinstance(exc, PermissionError)
    wanted = os.R_OK | os.W_OK if writing else os.R_OK
    return not os.access(file.parent, os.W_OK | os.X_OK) or (_is_there(file) and not os.access(file, wanted))


def _is_there(file: Path) -> bool:
    """Whether there is such a file, as far as this user can see."""
    try:
        return file.exists()
    except PermissionError:
        return True


ASK_AS_OWNER = "ask as root or as the user that the service runs as"
_REBUILD = (
    "stop mirrord, move the file and its -wal and -shm away, start again: a scan rebuilds it, "
    "at the price of asking for every key once"
)
_LOCKED = ("locked by another process for too long", "end what keeps it locked; `fuser` with the file's name shows it")
_SHUT = ("cannot be opened", "its directory must exist and be writable by the user that mirrord runs as")
_OF_PERMISSION = {
    sqlite3.SQLITE_CANTOPEN: _SHUT[0],
    sqlite3.SQLITE_PERM: _SHUT[0],
    sqlite3.SQLITE_READONLY: "it or its directory is read-only for the user that asks",
}
_MAY_HEAL = {
    sqlite3.SQLITE_FULL: ("no space left on the disk that holds the journal", "make room there"),
    sqlite3.SQLITE_BUSY: _LOCKED,
    sqlite3.SQLITE_LOCKED: _LOCKED,
    sqlite3.SQLITE_PROTOCOL: _LOCKED,
    sqlite3.SQLITE_CANTOPEN: _SHUT,
    sqlite3.SQLITE_PERM: _SHUT,
    sqlite3.SQLITE_READONLY: (
        "it or its directory is read-only for the user that mirrord runs as, or its disk is",
        "make it writable; a disk that turned read-only by itself has failed: see the kernel's log",
    ),
    sqlite3.SQLITE_IOERR: ("the disk that holds the journal fails", "see the kernel's log, and make sure of the disk"),
}
"""SQLite's primary result codes (sqlite.org/rescode.html) that a person can mend while mirrord waits."""

"""A journal to one whole file beside it or elsewhere, while a service writes on: copied, looked over, then named.

The copy is `VACUUM INTO`: one read transaction, so it is of one moment, no write waits for it, and no write makes it
begin again, as SQLite's online backup would after each (measured: not done in 10 s beside a busy service). It has no
WAL, and no empty pages. Meanwhile the service's WAL cannot be emptied: it grows by what is written in those seconds.
"""

import contextlib
import os
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa

from mirrord.journal import schema
from mirrord.journal.database import file_of, name_of, open_engine, translated
from mirrord.journal.errors import JournalForbidden, JournalUnavailable
from mirrord.journal.tables import objects

_SIDES = ("", "-wal", "-shm", ".lock", "-journal")
"""Names beside the journal's own that SQLite and mirrord use."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """What was copied, as it was read back from the copy."""

    file: Path
    size_bytes: int
    revision: str
    keys: Mapping[str, int]
    """Rows by mirror, also those that are no longer in the settings."""


def objection(url: str, file: Path) -> str | None:
    """Why no backup can ever be written there; None: nothing is against it."""
    journal = file_of(url)
    if journal is not None and any(_is_same(file, journal.with_name(journal.name + side)) for side in _SIDES):
        return "is the journal itself"
    if file.is_dir():
        return "is a directory; name a file in it"
    if file.exists() and not file.is_file():
        return "is no regular file"
    return None


def back_up(url: str, file: Path, *, replacing: bool = False) -> Backup:
    """Copy the journal to `file`, readable by its owner alone; on return it is there even after a power cut.

    A journal of any revision is copied as it is. `replacing`: whether a file of that name may go; else, and on any
    failure, what was there is still there. Blocks. Raises JournalUnavailable.
    """
    if not replacing and os.path.lexists(file):
        raise JournalUnavailable(f"{file}: is there already", action="name another file, or add --force")
    with _unfinished_beside(file) as unfinished:
        _copy(url, unfinished)
        found = _read_back(unfinished, file)
        _flush(unfinished)
        _give_name(unfinished, file, replacing=replacing)
        _flush(file.parent)
    return found


def _copy(url: str, to: Path) -> None:
    journal = file_of(url)
    if journal is None or not _is_filled(journal):
        raise JournalUnavailable(f"{name_of(url)}: there is no journal yet", action="nothing was copied")
    engine = open_engine(url, writing=False)
    try:
        with translated(url, writing=False), engine.connect() as connection:
            if schema.current(connection) is None:
                raise JournalUnavailable(f"{name_of(url)}: is no journal of mirrord")
            connection.rollback()
            driver = connection.connection.driver_connection
            assert isinstance(driver, sqlite3.Connection)
            _vacuum_into(driver, to)
    finally:
        engine.dispose()


def _vacuum_into(connection: sqlite3.Connection, to: Path) -> None:
    try:
        connection.execute("VACUUM INTO ?", [os.fspath(to)])
    except sqlite3.OperationalError as exc:
        if exc.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL:  # nothing is written anywhere else
            raise JournalUnavailable(f"{to.parent}: no space left for the backup", action="make room there") from exc
        raise


def _is_filled(journal: Path) -> bool:
    try:
        return journal.stat().st_size > 0
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as exc:
        raise _of(journal, exc) from exc


def _read_back(copy: Path, file: Path) -> Backup:
    """What is in the copy, all of which is looked at. Raises JournalUnavailable."""
    named = f"file:{quote(os.fspath(copy.absolute()))}?mode=ro"
    engine = sa.create_engine("sqlite://", creator=lambda: sqlite3.connect(named, uri=True), poolclass=sa.pool.NullPool)
    try:
        with engine.connect() as connection:
            wrong = connection.exec_driver_sql("PRAGMA quick_check(3)").scalars().all()
            if wrong != ["ok"]:
                said = "; ".join(map(str, wrong))
                raise JournalUnavailable(f"{file}: the copy is damaged, and removed again: {said}")
            revision = schema.current(connection)
            assert revision is not None
            counted = connection.execute(sa.select(objects.c.mirror, sa.func.count()).group_by(objects.c.mirror))
            keys = {mirror: count for mirror, count in counted}  # noqa: C416  # rows are no pairs to mypy
    except sa.exc.DBAPIError as exc:
        raise JournalUnavailable(f"{file}: the copy cannot be read back, and is removed again: {exc.orig}") from exc
    finally:
        engine.dispose()
    return Backup(file=file, size_bytes=copy.stat().st_size, revision=revision, keys=keys)


@contextlib.contextmanager
def _unfinished_beside(file: Path) -> Iterator[Path]:
    """An empty file, for its owner alone, in the directory of `file`; gone in the end unless it was renamed."""
    try:
        descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name[:100]}.", suffix=".part")
    except OSError as exc:
        raise _of(file.parent, exc) from exc
    os.close(descriptor)
    try:
        yield Path(name)
    except OSError as exc:
        raise _of(file, exc) from exc
    finally:
        for each in (name, f"{name}-journal"):
            Path(each).unlink(missing_ok=True)


def _give_name(unfinished: Path, file: Path, *, replacing: bool) -> None:
    if replacing:
        unfinished.replace(file)
        return
    try:
        os.link(unfinished, file)  # unlike a rename it never takes the place of another
    except FileExistsError as exc:
        raise JournalUnavailable(f"{file}: has come to be meanwhile", action="name another file") from exc
    except OSError:  # a file system without links
        if os.path.lexists(file):
            raise
        unfinished.replace(file)


def _flush(path: Path) -> None:
    """To the disk: a file's content, or the names in a directory."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return one.absolute() == other.absolute()


def _of(path: Path, exc: OSError) -> JournalUnavailable:
    kind = JournalForbidden if isinstance(exc, PermissionError) else JournalUnavailable
    return kind(f"{path}: {exc.strerror}")

"""The table `served`: which bucket each mirror was about, and when it was last in the settings of a service."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
import structlog

from mirrord.journal.asking import Transacting
from mirrord.journal.sweeping import delete, drop, tables
from mirrord.journal.tables import conditions, coverage, cursors, from_microseconds, served, to_microseconds

log = structlog.get_logger()

REMEMBERED_EVERY = timedelta(minutes=5)
"""How often a running service says which mirrors it has."""
SERVED_LATELY = 3 * REMEMBERED_EVERY
"""A mirror that was remembered within this may be at work, whatever the settings on disk say by now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a mirror's keys are."""

    bucket: str | None
    """None: nobody knows; the mirror was gone from the settings before this was remembered."""
    key_prefix: str | None
    """None: a change of the target has begun and not ended."""
    last_at: datetime
    """When a service last had the mirror in its settings, or first noticed that it has not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retargeted:
    """A mirror whose rows were of another bucket, or of keys that it has no longer."""

    mirror: str
    before: Target
    rows: int
    """What was dropped, of all tables."""


async def adopt(journal: Transacting, mirror: str, bucket: str, key_prefix: str, now: datetime) -> Retargeted | None:
    """Remember what the mirror is about; what the journal has of another bucket or other keys goes. None: nothing.

    Of another bucket all rows go, and the mirror begins as one that nobody has seen; when only the prefix differs,
    those outside it go, and the mirror is not complete before the next look. Only for the one who holds the
    journal's service lock, before anything of the mirror runs. Whatever ends it in between, the next call goes on.
    Raises JournalUnavailable.
    """
    before = await journal.transact(lambda connection: find(connection, mirror))
    known = before is not None and before.bucket is not None
    if before is None or not known or (before.bucket, before.key_prefix) == (bucket, key_prefix):
        await journal.transact(lambda connection: _remember(connection, mirror, bucket, key_prefix, now))
        return None
    rows = await journal.transact(_begin(mirror, before, anew=before.bucket != bucket))
    for table in _with_keys():
        outside = sa.true() if before.bucket != bucket else ~_starts_with(table.c.key, key_prefix)
        rows += await drop(journal, table, mirror, outside)
    await journal.transact(lambda connection: _remember(connection, mirror, bucket, key_prefix, now))
    log.warning(
        "mirror.retargeted",
        mirror=mirror,
        bucket=bucket,
        before=before.bucket,
        key_prefix=key_prefix,
        key_prefix_before=before.key_prefix,
        rows=rows,
    )
    return Retargeted(mirror=mirror, before=before, rows=rows)


async def remember_all(journal: Transacting, mirrors: Sequence[str], now: datetime) -> None:
    """These mirrors are in the settings now; of others that have rows, their absence begins to count."""

    def remember(connection: sa.Connection) -> None:
        at = to_microseconds(now)
        connection.execute(sa.update(served).where(served.c.mirror.in_(mirrors)).values(last_at=at))
        noticed = [name for name in named(connection) if find(connection, name) is None]
        if noticed:
            connection.execute(sa.insert(served), [{"mirror": name, "last_at": at} for name in noticed])

    await journal.transact(remember)


def find(connection: sa.Connection, mirror: str) -> Target | None:
    """What is remembered of the mirror; None: nothing yet."""
    row = connection.execute(sa.select(served).where(served.c.mirror == mirror)).one_or_none()
    if row is None:
        return None
    last_at = from_microseconds(row.last_at)
    assert last_at is not None
    return Target(bucket=row.bucket, key_prefix=row.key_prefix, last_at=last_at)


def named(connection: sa.Connection) -> list[str]:
    """Every mirror that has rows of any kind, by name."""
    return sorted({mirror for table in (*tables(), served) for mirror in _distinct(connection, table)})


def forget(connection: sa.Connection, mirror: str) -> None:
    delete(connection, served, served.c.mirror == mirror)


def _remember(connection: sa.Connection, mirror: str, bucket: str, key_prefix: str, now: datetime) -> None:
    forget(connection, mirror)
    values = {"mirror": mirror, "bucket": bucket, "key_prefix": key_prefix, "last_at": to_microseconds(now)}
    connection.execute(sa.insert(served).values(values))


def _begin(mirror: str, before: Target, *, anew: bool) -> Callable[[sa.Connection], int]:
    """The first transaction: from now on nothing claims that the mirror is complete, or that its feed has been read.

    So the settings may be taken back after a crash, too: what was dropped until then is found again.
    """

    def begin(connection: sa.Connection) -> int:
        connection.execute(sa.update(served).where(served.c.mirror == mirror).values(key_prefix=None))
        rows = delete(connection, coverage, coverage.c.mirror == mirror)
        rows += delete(connection, conditions, conditions.c.mirror == mirror)
        if anew or before.key_prefix is None:  # else its place says by itself for which keys it was read
            rows += delete(connection, cursors, cursors.c.mirror == mirror)
        return rows

    return begin


def _with_keys() -> Iterator[sa.Table]:
    return (table for table in tables() if "key" in table.c)


def _starts_with(column: sa.ColumnElement[str], prefix: str) -> sa.ColumnElement[bool]:
    return sa.func.substr(column, 1, len(prefix)) == prefix  # LIKE would take letters of either case


def _distinct(connection: sa.Connection, table: sa.Table) -> Iterator[str]:
    """The mirrors that a table names: a step of the primary key each, where DISTINCT would read every row."""
    smallest = sa.select(sa.func.min(table.c.mirror))
    mirror = connection.execute(smallest).scalar()
    while mirror is not None:
        yield mirror
        mirror = connection.execute(smallest.where(table.c.mirror > mirror)).scalar()

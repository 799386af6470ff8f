"""What bounds the journal: rows that nobody needs any more are found and dropped, in short transactions.

What is kept is a row for each key that the origin has or the bucket may have, and its last attempts. Of a key that
is gone at both ends nothing is needed but its order: an event that comes late must not bring it back. That one goes
when the key has had neither row nor event for 30 days, more than queues keep what they could not deliver; after
that a late event would be asked for once, be told that there is no such thing, and be parked.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import sqlalchemy as sa

from mirrord.journal import targets
from mirrord.journal.asking import Transacting
from mirrord.journal.sweeping import Turn, delete, sweep, tables
from mirrord.journal.tables import attempts, cursors, objects, orders, served, to_microseconds
from mirrord.model.attempt import Outcome
from mirrord.model.cursor import FEED
from mirrord.model.row import State

OLD = timedelta(days=30)
"""How long what is gone is remembered."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A mirror that is in the settings."""

    mirror: str
    feed: str | None
    """The cursor's source of the feed that it follows now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """What was dropped, or would be."""

    rows: Mapping[str, int] = field(default_factory=dict)
    """By table; those of which there were none are not there."""
    mirrors: Mapping[str, int] = field(default_factory=dict)
    """Rows of mirrors that are no longer in the settings, which are counted above, too."""
    left: Mapping[str, datetime] = field(default_factory=dict)
    """Mirrors that are not in the settings, and when a service last had them: not long enough ago."""


async def prune(journal: Transacting, mirrors: Sequence[Kept], now: datetime, *, unserved_since: datetime) -> Pruned:
    """Drop what nobody needs; of mirrors that are not among `mirrors`, what no service has had since then.

    Raises JournalUnavailable; what was dropped until then stays dropped.
    """
    rows, dropped, left = Counter[str](), dict[str, int](), dict[str, datetime]()
    kept = {each.mirror for each in mirrors}
    for name, at in await journal.transact(lambda connection: _absent(connection, kept)):
        if at is not None and at > unserved_since:
            left[name] = at
            continue
        of_mirror = await _drop_mirror(journal, name, unserved_since)
        dropped[name] = of_mirror.total()
        rows += of_mirror
    for each in mirrors:
        for table, turn in _turns(each, now):
            rows[table.name] += await sweep(journal, table, each.mirror, turn)
    return Pruned(rows=_plain(rows), mirrors=dropped, left=left)


def prunable(connection: sa.Connection, mirrors: Sequence[Kept], now: datetime, *, unserved_since: datetime) -> Pruned:
    """What `prune` would drop, counted in one go."""
    rows, dropped, left = Counter[str](), dict[str, int](), dict[str, datetime]()
    for name, at in _absent(connection, {each.mirror for each in mirrors}):
        if at is not None and at > unserved_since:
            left[name] = at
            continue
        of_mirror = Counter({table.name: _count(connection, table, table.c.mirror == name) for table in tables()})
        dropped[name] = of_mirror.total()
        rows += of_mirror
    for each in mirrors:
        gone = sa.and_(objects.c.mirror == each.mirror, _gone(now))
        rows[objects.name] += _count(connection, objects, gone)
        of_gone = sa.and_(attempts.c.mirror == each.mirror, ~_has_row(attempts) | _has_row(attempts, _gone(now)))
        rows[attempts.name] += _count(connection, attempts, of_gone)
        rows[orders.name] += _count(connection, orders, orders.c.mirror == each.mirror, _forgotten(now))
        rows[cursors.name] += _count(connection, cursors, cursors.c.mirror == each.mirror, _left_feed(each, now))
    return Pruned(rows=_plain(rows), mirrors=dropped, left=left)


# -- mirrors that are gone from the settings -------------------------------------------------------------


def _absent(connection: sa.Connection, kept: set[str]) -> list[tuple[str, datetime | None]]:
    """Mirrors that have rows and are not kept, and when each was last served, as far as anybody knows."""
    found = [(name, targets.find(connection, name)) for name in targets.named(connection) if name not in kept]
    return [(name, target.last_at if target else None) for name, target in found]


async def _drop_mirror(journal: Transacting, mirror: str, unserved_since: datetime) -> Counter[str]:
    # asked in every transaction: the settings may have it again by now, and a service may have begun with it
    absent = ~sa.exists().where(served.c.mirror == mirror, served.c.last_at > to_microseconds(unserved_since))
    rows = Counter[str]()
    for table in tables():
        rows[table.name] += await sweep(journal, table, mirror, _dropping(table, absent))
    await journal.transact(lambda connection: delete(connection, served, served.c.mirror == mirror, absent))
    return rows


def _dropping(table: sa.Table, *which: sa.ColumnElement[bool]) -> Turn:
    return lambda connection, page: delete(connection, table, page, *which)


# -- mirrors that are there ------------------------------------------------------------------------------


def _turns(mirror: Kept, now: datetime) -> list[tuple[sa.Table, Turn]]:
    return [
        (objects, _dropping(objects, _gone(now))),
        (attempts, _dropping(attempts, ~_has_row(attempts))),  # also those of the keys that have just gone
        (orders, lambda connection, page: _age_orders(connection, page, now)),
        (cursors, _dropping(cursors, _left_feed(mirror, now))),
    ]


def _gone(now: datetime) -> sa.ColumnElement[bool]:
    """Keys that the origin has no longer and that were deleted from the bucket, both long ago."""
    old = to_microseconds(now - OLD)
    return sa.and_(
        objects.c.state == State.FRESH.value,
        objects.c.wanted.is_(None),
        objects.c.pending.is_(None),
        objects.c.last_outcome == Outcome.REMOVED.value,
        objects.c.last_at < old,
        sa.func.coalesce(objects.c.removed_at, 0) < old,
    )


def _has_row(table: sa.Table, *such: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """Whether there is a row of the key, and such a one."""
    return sa.exists().where(objects.c.mirror == table.c.mirror, objects.c.key == table.c.key, *such)


def _age_orders(connection: sa.Connection, page: sa.ColumnElement[bool], now: datetime) -> int:
    """Note since when keys have no row, and drop the orders of those that have had none for long."""
    noted = orders.c.ownerless_since.is_not(None)
    changed = sa.update(orders).where(page)
    connection.execute(changed.where(noted, _has_row(orders)).values(ownerless_since=None))
    connection.execute(changed.where(~noted, ~_has_row(orders)).values(ownerless_since=to_microseconds(now)))
    return delete(connection, orders, page, _forgotten(now))


def _forgotten(now: datetime) -> sa.ColumnElement[bool]:
    return sa.and_(orders.c.ownerless_since < to_microseconds(now - OLD), ~_has_row(orders))


def _left_feed(mirror: Kept, now: datetime) -> sa.ColumnElement[bool]:
    """Places in feeds that the mirror does not follow any more."""
    return sa.and_(
        cursors.c.source.startswith(FEED, autoescape=True),
        cursors.c.source != (mirror.feed or ""),
        cursors.c.moved_at < to_microseconds(now - OLD),
    )


def _plain(rows: Counter[str]) -> dict[str, int]:
    """Without those of which there are none; their names are the library's own kind of text."""
    return {str(name): count for name, count in rows.items() if count}


def _count(connection: sa.Connection, table: sa.Table, *which: sa.ColumnElement[bool]) -> int:
    return connection.execute(sa.select(sa.func.count()).select_from(table).where(*which)).scalar_one()

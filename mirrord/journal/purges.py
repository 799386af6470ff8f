"""The table `purges`: settlements in, what a CDN is still to be told of out; it is forgotten once it was told."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from mirrord.decisions.purging import LINGER
from mirrord.decisions.staleness import Settlement
from mirrord.journal.asking import Transacting
from mirrord.journal.statements import Prepared
from mirrord.journal.tables import from_microseconds, purges, to_microseconds
from mirrord.model.purge import Purge


class Notes:
    """Writes for one database what settlements made necessary, in their transaction."""

    def __init__(self, dialect: sa.Dialect) -> None:
        make = postgresql.insert if dialect.name == "postgresql" else sqlite.insert
        insert = make(purges)
        once_more = {"asked": purges.c.asked + sa.literal_column("1")}  # it goes when it would have gone anyway
        names = ["mirror", "key", "since", "due_at", "asked", "strikes"]
        keys = [column.name for column in purges.primary_key]
        statement = insert.on_conflict_do_update(index_elements=keys, set_=once_more)
        self._write = Prepared(statement, dialect, names)

    def write(self, connection: sa.Connection, ends: Sequence[Settlement]) -> None:
        if ends:
            self._write.run_many(connection, [_noted(end) for end in ends])


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why keys were not taken."""

    status: int | None
    reqid: str | None
    error: str | None


async def first(journal: Transacting, mirror: str, most: int) -> list[Purge]:
    """Up to `most` keys, those due first given first."""
    query = sa.select(purges).where(purges.c.mirror == mirror).order_by(purges.c.due_at, purges.c.key).limit(most)
    return await journal.transact(lambda connection: [_purge(row) for row in connection.execute(query)])


async def told(journal: Transacting, mirror: str, done: Sequence[Purge], since: datetime) -> bool:
    """Forget keys that were told, but not those that came to need it again after `since`, when that was sent.

    Whether keys are left that were refused.
    """
    again = {"since": to_microseconds(since), "due_at": to_microseconds(since + LINGER), "strikes": 0}

    def forget(connection: sa.Connection) -> bool:
        of = (purges.c.mirror == mirror, purges.c.key == sa.bindparam("of_key"))
        if done:
            connection.execute(
                sa.delete(purges).where(*of, purges.c.asked == sa.bindparam("as_of")),
                [{"of_key": each.key, "as_of": each.asked} for each in done],
            )
            connection.execute(sa.update(purges).where(*of).values(again), [{"of_key": each.key} for each in done])
        left = sa.select(sa.exists().where(purges.c.mirror == mirror, purges.c.strikes > 0))
        return bool(connection.execute(left).scalar())

    return await journal.transact(forget)


async def failed(journal: Transacting, mirror: str, keys: Sequence[Purge], why: Refusal) -> None:
    """Remember why keys were not taken, with their strikes, and when they are due, as they are given."""
    statement = (
        sa.update(purges)
        .where(purges.c.mirror == mirror, purges.c.key == sa.bindparam("of_key"))
        .values(
            strikes=sa.bindparam("by_now"),
            due_at=sa.bindparam("at"),
            last_status=why.status,
            last_reqid=why.reqid,
            last_error=why.error,
        )
    )
    values = [{"of_key": each.key, "by_now": each.strikes, "at": to_microseconds(each.due_at)} for each in keys]
    await journal.transact(lambda connection: connection.execute(statement, values) and None)


def waiting(connection: sa.Connection, mirror: str) -> tuple[int, datetime | None]:
    """How many keys a CDN is still to be told of, and since when the first of them waits."""
    query = sa.select(sa.func.count(), sa.func.min(purges.c.since)).where(purges.c.mirror == mirror)
    count, since = connection.execute(query).one()
    return count, from_microseconds(since)


def _noted(end: Settlement) -> dict[str, object]:
    return {
        "mirror": end.mirror,
        "key": end.key,
        "since": to_microseconds(end.at),
        "due_at": to_microseconds(end.at + LINGER),
        "asked": 1,
        "strikes": 0,
    }


def _purge(row: sa.Row[tuple[object, ...]]) -> Purge:
    since, due_at = from_microseconds(row.since), from_microseconds(row.due_at)
    assert since is not None
    assert due_at is not None
    return Purge(key=row.key, asked=row.asked, since=since, due_at=due_at, strikes=row.strikes)

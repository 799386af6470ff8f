"""What a listing of the bucket found: pages in with the marker after them, one transaction each; comparisons out."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import sqlalchemy as sa

from mirrord.decisions.comparing import Differs, drifted
from mirrord.journal import places
from mirrord.journal.listed import CELLS, object_of, values_of
from mirrord.journal.statements import Statements, row_from
from mirrord.journal.store import Journal
from mirrord.journal.tables import cursors, listed, objects
from mirrord.model.cursor import Cursor
from mirrord.model.listing import ListedObject
from mirrord.model.row import ObjectRow, State, Why

PAGE = 2000
"""Rows compared or dropped in one transaction: some 10 ms, so that claims need not wait."""
_SOURCE = "listing"
_AUDIT = "audit"

_INSERT = sa.insert(listed)
_REPLACED = sa.delete(listed).where(listed.c.mirror == sa.bindparam("of"), listed.c.key == sa.bindparam("of_key"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a listing has come."""

    marker: str
    """Where the next page begins; "" when there is none: the listing is whole."""
    objects: int
    moved_at: datetime


@dataclass(frozen=True, slots=True)
class Stretch:
    """What one step of a comparison saw."""

    last: str | None
    """The key to go on after; None at the end."""
    seen: int = 0
    found: int = 0


class Listing:
    """One mirror's listing of `of`, a bucket and a prefix; one of anything else counts as none."""

    def __init__(self, journal: Journal, mirror: str, of: str) -> None:
        self._journal = journal
        self._mirror = mirror
        self._source = f"{_SOURCE} {of}"

    # -- filling ---------------------------------------------------------------------------------------

    async def progress(self) -> Progress | None:
        """How far it is; None when it has not begun."""

        def read(connection: sa.Connection) -> Progress | None:
            place = places.find(connection, self._mirror, self._source)
            if place is None:
                return None
            count = sa.select(sa.func.count()).select_from(listed).where(listed.c.mirror == self._mirror)
            return Progress(marker=place.text, objects=connection.execute(count).scalar_one(), moved_at=place.moved_at)

        return await self._journal.transact(read)

    async def keep(self, page: Sequence[ListedObject], marker: str, now: datetime) -> None:
        """Take in a page and where the next one begins."""

        def write(connection: sa.Connection) -> None:
            latest = {each.key: each for each in page}
            if latest:
                connection.execute(_REPLACED, [{"of": self._mirror, "of_key": key} for key in latest])
                connection.execute(_INSERT, [values_of(self._mirror, each) for each in latest.values()])
            self._move(connection, self._source, marker, now)

        await self._journal.transact(write)

    async def drop(self) -> None:
        """Forget it, also one of another bucket or prefix."""
        of = listed.c.mirror == self._mirror

        def forget_cursor(connection: sa.Connection) -> None:
            connection.execute(
                sa.delete(cursors).where(cursors.c.mirror == self._mirror, cursors.c.source.startswith(_SOURCE))
            )

        def forget_some(connection: sa.Connection) -> bool:
            end = sa.select(listed.c.key).where(of).order_by(listed.c.key).offset(PAGE).limit(1)
            key = connection.execute(end).scalar()
            connection.execute(sa.delete(listed).where(of, sa.true() if key is None else listed.c.key < key))
            return key is not None

        await self._journal.transact(forget_cursor)  # first: rows without it count for nothing
        while await self._journal.transact(forget_some):
            pass

    # -- audits ----------------------------------------------------------------------------------------

    async def audited_at(self) -> datetime | None:
        """When the last audit ended, or the waiting for the first one began."""

        def read(connection: sa.Connection) -> datetime | None:
            place = places.find(connection, self._mirror, _AUDIT)
            return place.moved_at if place else None

        return await self._journal.transact(read)

    async def set_audited_at(self, at: datetime) -> None:
        await self._journal.transact(lambda connection: self._move(connection, _AUDIT, "", at))

    async def mark_drift(self, after: str, below: str, listed_since: datetime, now: datetime) -> Stretch:
        """Compare the next keys after `after` with the listing; make what drifted stale. `found` counts those.

        Keys that do not start with `below` are none of the listing's.
        """

        def compare(connection: sa.Connection) -> Stretch:
            pairs = connection.execute(
                sa.select(*objects.c, *CELLS)
                .select_from(objects.outerjoin(listed, _SAME))
                .where(objects.c.mirror == self._mirror, objects.c.key > after)
                .order_by(objects.c.key)
                .limit(PAGE)
            ).all()
            rows = [(row_from(pair[: -len(CELLS)]), object_of(pair[-len(CELLS) :])) for pair in pairs]
            stale = [
                _made_stale(row, now)
                for row, found in rows
                if row.key.startswith(below) and drifted(row, found, listed_since)
            ]
            if stale:
                Statements(connection.dialect).update(connection, stale)
            return Stretch(rows[-1][0].key if len(rows) == PAGE else None, len(rows), len(stale))

        return await self._journal.transact(compare)

    async def count_unknown(self, after: str) -> Stretch:
        """Look at the next listed keys after `after`; `found` counts those that the origin has not, or never had."""

        def count(connection: sa.Connection) -> Stretch:
            pairs = connection.execute(
                sa.select(listed.c.key, objects.c.wanted)
                .select_from(listed.outerjoin(objects, _SAME))
                .where(listed.c.mirror == self._mirror, listed.c.key > after)
                .order_by(listed.c.key)
                .limit(PAGE)
            ).all()
            return Stretch(
                pairs[-1][0] if len(pairs) == PAGE else None, len(pairs), sum(wanted is None for _, wanted in pairs)
            )

        return await self._journal.transact(count)

    # -- plumbing --------------------------------------------------------------------------------------

    def _move(self, connection: sa.Connection, source: str, cursor: str, at: datetime) -> None:
        places.move(connection, self._mirror, Cursor(source=source, text=cursor, moved_at=at))


_SAME = sa.and_(objects.c.mirror == listed.c.mirror, objects.c.key == listed.c.key)


def _made_stale(row: ObjectRow, now: datetime) -> ObjectRow:
    return replace(
        row,
        state=State.STALE,
        stale_since=now,
        due_at=now,
        attempts=0,
        strikes=0,
        confirmed=None,
        bucket_hash=None,
        why=Why.DRIFTED,
        last_error=Differs.DRIFTED.value,
    )

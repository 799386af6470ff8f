"""Changes, claims and settlements in, rows out; what a method returned survives `kill -9`."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any, TypeVar

import sqlalchemy as sa

from mirrord.decisions.staleness import IntakeRules, Settlement, given_back, settled, take_in
from mirrord.journal import schema
from mirrord.journal.database import file_of, name_of, open_engine, translated
from mirrord.journal.lock import ServiceLock
from mirrord.journal.statements import Statements, row_from
from mirrord.journal.tables import IS_CLAIMED, IS_STALE, coverage, from_microseconds, objects, to_microseconds
from mirrord.model.change import Change, Recorded
from mirrord.model.coverage import Coverage
from mirrord.model.fingerprint import Fingerprint
from mirrord.model.row import ObjectRow, State

T = TypeVar("T")

PAGE = 5000
"""Rows a scan reads at a time: a reader that stays in one transaction would keep the WAL from shrinking."""


class Journal:
    """One writer thread; every method that writes is one transaction and returns after its commit.

    Everything raises JournalUnavailable when the database cannot do it.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._writer = open_engine(url, writing=True)
        self._reader = open_engine(url, writing=False)
        self._connection: sa.Connection | None = None
        self._statements = Statements(self._writer.dialect)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        file = file_of(url)
        self._lock = ServiceLock(file) if file else None

    @property
    def name(self) -> str:
        return name_of(self._url)

    def open(self) -> None:
        """Create or migrate the tables. Blocks; call it before the loop has anything else to do."""
        with translated(self._url), self._writer.connect() as connection, connection.begin():
            schema.bring_up_to_date(connection, self.name)

    def close(self) -> None:
        """Wait for the last write. Blocks."""
        self._thread.shutdown()
        if self._connection is not None:
            self._connection.close()
        self._writer.dispose()
        self._reader.dispose()
        if self._lock:
            self._lock.release()

    def become_service(self) -> bool:
        """Whether no other process works on this journal's claims; see ServiceLock."""
        return self._lock is None or self._lock.acquire()

    # -- the left half -------------------------------------------------------------------------------

    async def record(self, mirror: str, changes: Sequence[Change], rules: IntakeRules) -> Recorded:
        """Make `changes` durable, one row per key; what a later one of the same key says replaces an earlier."""
        return await self._write(lambda connection: self._record(connection, mirror, changes, rules))

    def _record(
        self, connection: sa.Connection, mirror: str, changes: Sequence[Change], rules: IntakeRules
    ) -> Recorded:
        latest = {change.key: change for change in changes}
        rows = self._statements.look_up(connection, mirror, list(latest))
        inserts, updates = list[ObjectRow](), list[ObjectRow]()
        removed = stale = 0
        for key, change in latest.items():
            row = take_in(rows.get(key), mirror, change, rules)
            if row is None:
                continue
            if key in rows:
                updates.append(row)
            else:
                inserts.append(row)
            removed += change.version is None
            stale += row.state is State.STALE
        self._statements.insert(connection, inserts)
        self._statements.update(connection, updates)
        return Recorded(new=len(inserts), changed=len(updates) - removed, removed=removed, stale=stale)

    def known(self, mirror: str, below: str = "") -> Iterator[tuple[str, Fingerprint | None]]:
        """Every key that starts with `below`, in code point order, with its wanted version.

        For a scan's own thread: blocks, and reads on a connection of its own.
        """
        ends = _after_all_below(below)
        with translated(self._url), self._reader.connect() as connection:
            page = self._page(connection, mirror, objects.c.key >= below, ends)
            while page:
                yield from page
                if len(page) < PAGE:
                    return
                page = self._page(connection, mirror, objects.c.key > page[-1][0], ends)

    def _page(
        self, connection: sa.Connection, mirror: str, begins: sa.ColumnElement[bool], ends: str | None
    ) -> list[Any]:
        query = sa.select(objects.c.key, objects.c.wanted).where(objects.c.mirror == mirror, begins)
        if ends is not None:
            query = query.where(objects.c.key < ends)
        result = connection.execute(query.order_by(objects.c.key).limit(PAGE))
        page = [] if result.cursor is None else result.cursor.fetchall()  # the driver's tuples: a row costs 1 us more
        result.close()
        connection.rollback()  # ends the read transaction; the page is here
        return list(page)

    # -- the right half ------------------------------------------------------------------------------

    async def claim(self, mirror: str, now: datetime, most: int, lease: timedelta) -> list[ObjectRow]:
        """Take up to `most` due keys, oldest first. Nobody else gets them until they settle or the lease ends."""
        return await self._write(lambda connection: self._claim(connection, mirror, now, most, lease))

    async def settle(self, ends: Sequence[Settlement], rules: IntakeRules) -> list[ObjectRow]:
        """Write down how claims of one mirror ended; the new rows, without those whose claim had lapsed."""
        return await self._write(lambda connection: self._settle(connection, ends, rules))

    async def settle_and_claim(
        self,
        ends: Sequence[Settlement],
        rules: IntakeRules,
        *,
        mirror: str,
        now: datetime,
        most: int,
        lease: timedelta,
    ) -> list[ObjectRow]:
        """`settle`, then `claim`, in one transaction: what a busy dispatcher does all day."""

        def turn(connection: sa.Connection) -> list[ObjectRow]:
            self._settle(connection, ends, rules)
            return self._claim(connection, mirror, now, most, lease) if most else []

        return await self._write(turn)

    def _claim(
        self, connection: sa.Connection, mirror: str, now: datetime, most: int, lease: timedelta
    ) -> list[ObjectRow]:
        rows = self._statements.claim(connection, mirror, now=now, most=most, until=now + lease)
        return sorted(rows, key=lambda row: (row.due_at or now, row.key))

    def _settle(self, connection: sa.Connection, ends: Sequence[Settlement], rules: IntakeRules) -> list[ObjectRow]:
        if not ends:
            return []
        before = self._statements.look_up(connection, ends[0].mirror, [end.key for end in ends])
        moved = (settled(before[end.key], end, rules) for end in ends if end.key in before)
        after = [row for row in moved if row is not None]
        self._statements.update(connection, after)
        return after

    async def give_back_orphans(self, mirror: str, now: datetime) -> int:
        """Make claims that a dead service left due again; how many there were. Only after `become_service`."""

        def give_back(connection: sa.Connection) -> int:
            orphans = connection.execute(
                sa.select(objects).where(objects.c.mirror == mirror, IS_CLAIMED).with_for_update()
            ).all()
            self._statements.update(connection, [given_back(row_from(values), now) for values in orphans])
            return len(orphans)

        return await self._write(give_back)

    async def next_due(self, mirror: str) -> datetime | None:
        """When the next stale key is due or the next lease ends; None while there is neither."""

        def soonest(connection: sa.Connection) -> datetime | None:
            due = connection.execute(
                sa.select(sa.func.min(objects.c.due_at)).where(objects.c.mirror == mirror, IS_STALE)
            ).scalar()
            lapse = connection.execute(
                sa.select(sa.func.min(objects.c.lease_until)).where(objects.c.mirror == mirror, IS_CLAIMED)
            ).scalar()
            return from_microseconds(min((at for at in (due, lapse) if at is not None), default=None))

        return await self._write(soonest)

    # -- coverage ------------------------------------------------------------------------------------

    async def cover(self, mirror: str, state: Coverage) -> None:
        """Remember how complete the mirror is."""

        def replace(connection: sa.Connection) -> None:
            connection.execute(sa.delete(coverage).where(coverage.c.mirror == mirror))
            connection.execute(
                sa.insert(coverage).values(
                    mirror=mirror,
                    complete_as_of=to_microseconds(state.complete_as_of),
                    lost_since=to_microseconds(state.lost_since),
                    lost_reason=state.lost_reason,
                    root=state.root,
                )
            )

        await self._write(replace)

    async def covered(self, mirror: str) -> Coverage:
        """How complete the mirror is, as last remembered."""
        return await self._write(lambda connection: read_coverage(connection, mirror))

    # -- plumbing ------------------------------------------------------------------------------------

    async def _write(self, work: Callable[[sa.Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._transaction, work)

    def _transaction(self, work: Callable[[sa.Connection], T]) -> T:
        with translated(self._url):
            if self._connection is None or self._connection.invalidated:
                self._connection = self._writer.connect()  # kept: to fetch it anew costs a tenth of a settlement
            with self._connection.begin():
                return work(self._connection)


def _after_all_below(below: str) -> str | None:
    """The first text, in code point order, after all that start with `below`; None when there is none."""
    stem = below.rstrip("\U0010ffff")
    if not stem:
        return None
    following = ord(stem[-1]) + 1
    return stem[:-1] + chr(0xE000 if following == 0xD800 else following)  # surrogates are no text


def read_coverage(connection: sa.Connection, mirror: str) -> Coverage:
    row = connection.execute(sa.select(coverage).where(coverage.c.mirror == mirror)).one_or_none()
    if row is None:
        return Coverage()
    return Coverage(
        complete_as_of=from_microseconds(row.complete_as_of),
        lost_since=from_microseconds(row.lost_since),
        lost_reason=row.lost_reason,
        root=row.root,
    )

"""Changes, claims and settlements in, rows out; what a method returned survives `kill -9`."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any, TypeVar

import sqlalchemy as sa

from mirrord.decisions.comparing import first_compared
from mirrord.decisions.removals import Decision, RemovalLimit
from mirrord.decisions.staleness import Doubt, IntakeRules, NewKeys, Settlement, given_back, settled, take_in
from mirrord.journal import asking, conditions, listed, places, removals, schema
from mirrord.journal.database import BUSY_TIMEOUT, file_of, identity_of, name_of, open_engine, replaced, translated
from mirrord.journal.history import History
from mirrord.journal.lock import ServiceLock
from mirrord.journal.orders import Orders
from mirrord.journal.purges import Notes
from mirrord.journal.statements import Statements, row_from
from mirrord.journal.tables import IS_CLAIMED, IS_STALE, coverage, from_microseconds, objects, to_microseconds
from mirrord.model.attempt import Outcome
from mirrord.model.change import Change, Recorded
from mirrord.model.condition import Condition
from mirrord.model.coverage import Coverage
from mirrord.model.cursor import Cursor
from mirrord.model.fingerprint import Fingerprint
from mirrord.model.row import ObjectRow, State

T = TypeVar("T")

PAGE = 5000
"""Rows a scan reads at a time: a reader that stays in one transaction would keep the WAL from shrinking."""


class Journal:
    """One writer thread; every method that writes is one transaction and returns after its commit.

    Everything raises JournalUnavailable when the database cannot do it.
    """

    def __init__(
        self,
        url: str,
        *,
        busy_timeout: timedelta = BUSY_TIMEOUT,
        committed: Callable[[float], None] = lambda _seconds: None,
    ) -> None:
        """`committed`: told, on the writer's thread, the seconds from each BEGIN to the end of its COMMIT."""
        self._url = url
        self._committed = committed
        self._writer = open_engine(url, writing=True, busy_timeout=busy_timeout)
        self._reader = open_engine(url, writing=False, busy_timeout=busy_timeout)
        self._connection: sa.Connection | None = None
        self._statements = Statements(self._writer.dialect)
        self._history = History(self._writer.dialect)
        self._orders = Orders(self._writer.dialect)
        self._purges = Notes(self._writer.dialect)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        self._file = file_of(url)
        self._identity: tuple[int, int] | None = None
        self._lock = ServiceLock(self._file) if self._file else None

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

    async def record(
        self, mirror: str, changes: Sequence[Change], rules: IntakeRules, cursor: Cursor | None = None
    ) -> Recorded:
        """Make `changes` durable, one row per key; what a later one of the same key says replaces an earlier.

        `cursor`: how far their source has been read with them, remembered in the same transaction. It stays
        where it is while some of them are doubtful: those are recorded by the call that brings their hashes.
        Of changes that have an order, one that is not newer than its key's newest, here or before, is left out.
        """

        def take_in(connection: sa.Connection) -> Recorded:
            recorded = self._record(connection, mirror, changes, rules)
            if cursor is not None and not recorded.doubtful:
                places.move(connection, mirror, cursor)
            return recorded

        return await self._write(take_in)

    async def cursor(self, mirror: str, source: str) -> Cursor | None:
        """How far `source` has been read; None when it has not been begun."""
        return await self._write(lambda connection: places.find(connection, mirror, source))

    def _record(
        self, connection: sa.Connection, mirror: str, changes: Sequence[Change], rules: IntakeRules
    ) -> Recorded:
        ordered = any(change.order is not None for change in changes)
        if ordered:
            changes = self._orders.newer(connection, mirror, changes)
        latest = {change.key: change for change in changes}
        rows = self._statements.look_up(connection, mirror, list(latest))
        inserts, updates = list[ObjectRow](), list[ObjectRow]()
        doubtful = list[Change]()
        removed = stale = 0
        compared = rules.new_keys is NewKeys.COMPARED
        in_bucket = listed.look_up(connection, mirror, [key for key in latest if key not in rows]) if compared else {}
        for key, change in latest.items():
            if compared and key not in rows:
                row = first_compared(mirror, change, in_bucket.get(key), thorough=rules.thorough)
            else:
                row = take_in(rows.get(key), mirror, change, rules)
            if row is None:
                continue
            if isinstance(row, Doubt):
                doubtful.append(change)
                continue
            if key in rows:
                updates.append(row)
            else:
                inserts.append(row)
            removed += change.version is None
            stale += row.state is State.STALE
        self._statements.insert(connection, inserts)
        self._statements.update(connection, updates)
        if ordered:
            self._orders.remember(connection, mirror, changes, but={change.key for change in doubtful})
        return Recorded(
            new=len(inserts),
            changed=len(updates) - removed,
            removed=removed,
            stale=stale,
            doubtful=tuple(doubtful),
        )

    def known(self, mirror: str, below: str = "") -> Iterator[tuple[str, Fingerprint | None]]:
        """Every key that starts with `below`, in code point order, with its wanted version.

        For a scan's own thread: blocks, and reads on a connection of its own.
        """
        ends = _after_all_below(below)
        page = self._page(mirror, objects.c.key >= below, ends)
        while page:
            yield from page
            if len(page) < PAGE:
                return
            page = self._page(mirror, objects.c.key > page[-1][0], ends)

    def _page(self, mirror: str, begins: sa.ColumnElement[bool], ends: str | None) -> list[Any]:
        query = sa.select(objects.c.key, objects.c.wanted).where(objects.c.mirror == mirror, begins)
        if ends is not None:
            query = query.where(objects.c.key < ends)
        # a connection a page, 0.2 ms: one from before a fault would leave its read-only WAL to all that come after
        with translated(self._url), self._reader.connect() as connection:
            result = connection.execute(query.order_by(objects.c.key).limit(PAGE))
            page = [] if result.cursor is None else result.cursor.fetchall()  # the driver's tuples: 1 us less a row
            result.close()
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
        after, tried, purged = list[ObjectRow](), list[tuple[int, Settlement]](), list[Settlement]()
        for end in ends:
            row = settled(before[end.key], end, rules) if end.key in before else None
            if row is None:
                continue
            after.append(row)
            if end.attempted:
                tried.append((row.tries, end))
            if end.purge and row.state is State.FRESH:
                purged.append(end)
        self._statements.update(connection, after)
        self._history.write(connection, tried)
        self._purges.write(connection, purged)
        return after

    async def give_back_orphans(self, mirror: str, now: datetime, rules: IntakeRules) -> int:
        """Make claims that a dead service left due again; how many there were. Only after `become_service`."""

        def give_back(connection: sa.Connection) -> int:
            orphans = connection.execute(
                sa.select(objects).where(objects.c.mirror == mirror, IS_CLAIMED).with_for_update()
            ).all()
            self._statements.update(connection, [given_back(row_from(values), now, rules) for values in orphans])
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

    async def bring_forward(self, mirror: str, outcomes: Sequence[Outcome]) -> int:
        """Make keys due whose last attempt ended so, in the order in which they became stale; how many there were."""

        def bring(connection: sa.Connection) -> int:
            waiting = (
                objects.c.mirror == mirror,
                IS_STALE,
                objects.c.pending.is_(None),
                objects.c.due_at > objects.c.stale_since,
                objects.c.last_outcome.in_([outcome.value for outcome in outcomes]),
            )
            return connection.execute(sa.update(objects).where(*waiting).values(due_at=objects.c.stale_since)).rowcount

        return await self._write(bring)

    async def revive(
        self, mirror: str, outcomes: Sequence[Outcome], since: datetime, now: datetime, attempts_most: int
    ) -> int:
        """Make keys due that were parked since, when their last attempt ended so; how many there were.

        Once only for each version: a key that has made more attempts than `attempts_most` stays where it is.
        """

        def revive(connection: sa.Connection) -> int:
            given_up = (
                objects.c.mirror == mirror,
                objects.c.state == State.PARKED.value,
                objects.c.last_outcome.in_([outcome.value for outcome in outcomes]),
                objects.c.last_at >= to_microseconds(since),
                objects.c.attempts <= attempts_most,
            )
            values = {"state": State.STALE.value, "due_at": to_microseconds(now), "strikes": 0}
            return connection.execute(sa.update(objects).where(*given_up).values(values)).rowcount

        return await self._write(revive)

    async def set_conditions(self, mirror: str, in_force: Sequence[Condition]) -> None:
        """Say what keeps the mirror from calling now, for those who ask from outside."""
        await self._write(lambda connection: conditions.set_all(connection, mirror, in_force))

    # -- what a person asks for ----------------------------------------------------------------------

    async def retry(self, mirror: str, keys: Sequence[str] | None, now: datetime) -> asking.Asked:
        """Make parked keys due; `keys` None: all of them. See `asking.retry`."""
        return await asking.retry(self, mirror, keys, now)

    async def refresh(self, mirror: str, keys: Sequence[str] | None, now: datetime) -> asking.Asked:
        """Make keys due whatever their state; `keys` None: all that the origin has. See `asking.refresh`."""
        return await asking.refresh(self, mirror, keys, now)

    # -- removals ------------------------------------------------------------------------------------

    async def decide_removals(self, mirror: str, now: datetime, limit: RemovalLimit) -> Decision:
        """Let the removals that are waiting go, or keep them held when they are more than `limit`."""
        return await self._write(lambda connection: removals.decide(connection, mirror, now, limit))

    async def release(self, mirror: str, now: datetime, *, drop: bool) -> int:
        """Let held removals go, or forget them; how many there were."""
        return await self._write(lambda connection: removals.release(connection, mirror, now, drop=drop))

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

    async def transact(self, work: Callable[[sa.Connection], T]) -> T:
        """`work` as one transaction on the writer's thread; for what has its tables in this journal."""
        return await self._write(work)

    async def _write(self, work: Callable[[sa.Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._transaction, work)

    def _transaction(self, work: Callable[[sa.Connection], T]) -> T:
        with translated(self._url), contextlib.ExitStack() as unless_it_ends_well:
            connection = self._connected()
            unless_it_ends_well.callback(self._drop, connection)
            began = time.perf_counter()  # the wait for another process's lock is part of it
            with connection.begin():
                result = work(connection)
            unless_it_ends_well.pop_all()
        self._committed(time.perf_counter() - began)
        return result

    def _drop(self, connection: sa.Connection) -> None:
        """Let go of it in whatever state it is: the next transaction opens the file anew."""
        self._connection = None
        connection.invalidate()
        connection.close()

    def _connected(self) -> sa.Connection:
        """The writer's connection, kept: to fetch it anew costs a tenth of a settlement. Raises JournalReplaced."""
        if self._file is not None and self._identity is not None and identity_of(self._file) != self._identity:
            raise replaced(self._file)  # SQLite would go on writing to a file that has no name any more
        if self._connection is None:
            self._connection = self._writer.connect()
            self._identity = identity_of(self._file) if self._file else None
        return self._connection


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

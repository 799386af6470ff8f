"""The service's own care for its journal: which mirrors there are is remembered, what nobody needs is dropped daily."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from mirrord.journal.pruning import Kept, prune
from mirrord.journal.shrinking import Room, give_back, room
from mirrord.journal.store import Journal
from mirrord.journal.targets import REMEMBERED_EVERY, remember_all

log = structlog.get_logger()

ABSENT = timedelta(days=7)
"""A mirror that has been gone from the settings for so long does not come back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timetable:
    """When the journal is swept."""

    every: timedelta = timedelta(days=1)
    quiet: timedelta = timedelta(minutes=5)
    """It waits until no key has been due for so long,"""
    busy_most: timedelta = timedelta(hours=6)
    """but no longer than this: a service that is always busy has the more to drop."""
    look_every: timedelta = timedelta(minutes=1)


TIMETABLE = Timetable()


class Housekeeping:
    """One journal's. A sweep looks at every row: with a million keys 12 s, of which nobody waits longer than 6 ms."""

    def __init__(
        self,
        *,
        journal: Journal,
        mirrors: Callable[[], Sequence[Kept]],
        now: Callable[[], datetime],
        timetable: Timetable = TIMETABLE,
    ) -> None:
        """`mirrors`: those of the settings that are in force now; asked again before every sweep."""
        self._journal = journal
        self._mirrors = mirrors
        self._now = now
        self._timetable = timetable
        self._remembered_at: datetime | None = None

    async def run(self) -> None:
        """Sweep when it is time, until cancelled. Raises JournalUnavailable as its journal does."""
        due_at = self._now()
        while True:
            await self._until_quiet(due_at)
            due_at = self._now() + self._timetable.every
            await self.sweep()

    async def sweep(self) -> None:
        """Drop what nobody needs, and give back its room when that is a good part of the file."""
        await self._remember()
        now, before = self._now(), await self._journal.transact(room)
        pruned = await prune(self._journal, self._mirrors(), now, unserved_since=now - ABSENT)
        after = await self._journal.transact(room)
        if _is_wasteful(after):
            await give_back(self._journal)
        if pruned.rows:
            log.info(
                "journal.pruned",
                bytes=max(0, before.used_bytes - after.used_bytes),
                mirrors=sorted(pruned.mirrors),
                **dict(sorted(pruned.rows.items())),
            )

    async def _until_quiet(self, due_at: datetime) -> None:
        """Until `due_at`, and on until nothing has been due for a while. Meanwhile the mirrors are remembered."""
        quiet_since: datetime | None = None
        while True:
            now = self._now()
            if self._remembered_at is None or now - self._remembered_at >= REMEMBERED_EVERY:
                await self._remember()
            quiet_since = None if await self._is_busy(now) else quiet_since or now
            is_quiet = quiet_since is not None and now - quiet_since >= self._timetable.quiet
            if now >= due_at and (is_quiet or now - due_at >= self._timetable.busy_most):
                return
            await asyncio.sleep(self._timetable.look_every.total_seconds())

    async def _is_busy(self, now: datetime) -> bool:
        """Whether a key is due or being asked for."""
        for each in self._mirrors():
            due_at = await self._journal.next_due(each.mirror)
            if due_at is not None and due_at <= now:
                return True
        return False

    async def _remember(self) -> None:
        self._remembered_at = self._now()
        await remember_all(self._journal, [each.mirror for each in self._mirrors()], self._remembered_at)


def _is_wasteful(found: Room) -> bool:
    """Whether the journal will not soon fill what is free; what is little is left for the rows to come."""
    return found.free_bytes > max(16 * 2**20, found.pages_bytes // 4)

"""Removals that wait, to removals that may go: judged together once a burst is over, and held when they are many."""

import asyncio
import contextlib
from collections.abc import Callable
from datetime import datetime

import structlog

from mirrord.decisions.removals import SETTLE, SETTLE_MOST, Decision, RemovalLimit
from mirrord.decisions.staleness import OnRemoved
from mirrord.journal.store import Journal

log = structlog.get_logger()


class RemovalGuard:
    """One mirror's word on what may be deleted from its bucket."""

    def __init__(
        self,
        *,
        mirror: str,
        journal: Journal,
        on_removed: OnRemoved,
        limit: RemovalLimit,
        now: Callable[[], datetime],
        due: Callable[[], None],
    ) -> None:
        self._mirror = mirror
        self._journal = journal
        self._on_removed = on_removed
        self._limit = limit
        self._now = now
        self._due = due
        self._noticed = asyncio.Event()
        self._said = Decision()

    def adjust(self, limit: RemovalLimit) -> None:
        """From now on this many may go at once; what is held is judged again."""
        self._limit = limit
        self._noticed.set()

    def notice(self) -> None:
        """A removal was recorded."""
        self._noticed.set()

    async def watch(self) -> None:
        """Decide what an earlier service left undecided, then whenever a burst of removals is over; until cancelled."""
        await self.decide()
        while True:
            await self._noticed.wait()
            await self._burst_is_over()
            await self.decide()

    async def decide(self) -> None:
        """Let what waits go, or say that it is held."""
        self._noticed.clear()
        if self._on_removed is OnRemoved.KEEP:
            await self._journal.release(self._mirror, self._now(), drop=True)  # of a time when the settings said delete
            return
        decision = await self._journal.decide_removals(self._mirror, self._now(), self._limit)
        if decision.going:
            self._due()
        if decision.held and decision != self._said:  # as many may be others
            log.error(
                "removals.held",
                mirror=self._mirror,
                count=decision.held,
                sample=list(decision.sample),
                limit_count=self._limit.count,
                limit_fraction=self._limit.fraction,
                action=f"if the origin really dropped them: mirrord release {self._mirror}; if not: add --drop",
            )
        self._said = decision

    async def _burst_is_over(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_MOST.total_seconds()):
                while self._noticed.is_set():
                    self._noticed.clear()
                    await asyncio.sleep(SETTLE.total_seconds())

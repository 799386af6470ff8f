"""What the bucket holds against what the journal believes, now and then: drift becomes stale, nothing is deleted."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from mirrord.inventory import Inventory, Unlisted
from mirrord.journal.listing import Listing
from mirrord.journal.store import Journal

log = structlog.get_logger()

AGAIN = timedelta(minutes=10)
"""When an audit that could not be made is tried again, unless audits are more frequent anyway."""


class Audit:
    """One mirror's audits, every `every`; a restart does not begin the wait anew."""

    def __init__(
        self,
        *,
        mirror: str,
        prefix: str,
        every: timedelta,
        journal: Journal,
        listing: Listing,
        inventory: Inventory,
        now: Callable[[], datetime],
        stale: Callable[[], None],
    ) -> None:
        self._mirror = mirror
        self._prefix = prefix
        self._every = every
        self._journal = journal
        self._listing = listing
        self._inventory = inventory
        self._now = now
        self._stale = stale

    async def run(self) -> None:
        """Audit whenever it is time, until cancelled."""
        last = await self._listing.audited_at()
        if last is None:
            last = self._now()
            await self._listing.set_audited_at(last)
        due_at = min(last, self._now()) + self._every  # the clock may have been set back since
        while True:
            await asyncio.sleep(max(0.0, (due_at - self._now()).total_seconds()))
            # before the first complete look the listing is the first run's, and every key would be unknown
            first_run = (await self._journal.covered(self._mirror)).complete_as_of is None
            if not first_run and await self.audit():
                due_at = self._now() + self._every
                await self._listing.set_audited_at(self._now())
            else:
                due_at = self._now() + min(AGAIN, self._every)

    async def audit(self) -> bool:
        """Audit now; False, and said, when Kodo does not give the listing."""
        began = self._now()
        end = await self._inventory.read_anew()
        if isinstance(end, Unlisted):
            await self._inventory.drop()
            self._inventory.say(end, f"the audit is tried again later; {end.advice}")
            return False
        drifted = await self._drifted(began)
        seen, unknown = await self._unknown()
        await self._inventory.drop()
        log.info(
            "audit.finished",
            mirror=self._mirror,
            seen=seen,
            drifted=drifted,
            unknown=unknown,
            calls=end.calls,
            duration_s=round((self._now() - began).total_seconds(), 3),
        )
        return True

    async def _drifted(self, listed_since: datetime) -> int:
        after: str | None = ""
        drifted = 0
        while after is not None:
            stretch = await self._listing.mark_drift(after, self._prefix, listed_since, self._now())
            after = stretch.last
            drifted += stretch.found
            if stretch.found:
                self._stale()
        return drifted

    async def _unknown(self) -> tuple[int, int]:
        after: str | None = ""
        seen = unknown = 0
        while after is not None:
            stretch = await self._listing.count_unknown(after)
            after, seen, unknown = stretch.last, seen + stretch.seen, unknown + stretch.found
        return seen, unknown

"""Sources to journal: every change is recorded, every gap is remembered; what is stale wakes the other half."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime

import structlog

from mirrord.decisions.staleness import IntakeRules, NewKeys
from mirrord.guard import RemovalGuard
from mirrord.inventory import Inventory
from mirrord.journal.store import Journal
from mirrord.model.change import Change, Recorded, Rejection
from mirrord.model.coverage import Coverage
from mirrord.model.cursor import Cursor
from mirrord.model.fingerprint import Fingerprint
from mirrord.sources.contract import Source

log = structlog.get_logger()

REJECTIONS_REMEMBERED = 10_000
"""Names said once; past this many the oldest are forgotten and may be said again."""


class Intake:
    """One mirror's left half. Implements the sources' Receiver."""

    def __init__(
        self,
        *,
        mirror: str,
        source: Source,
        journal: Journal,
        rules: IntakeRules,
        now: Callable[[], datetime],
        stale: Callable[[], None],
        guard: RemovalGuard,
        inventory: Inventory,
    ) -> None:
        self._mirror = mirror
        self._source = source
        self._journal = journal
        self._rules = rules
        self._now = now
        self._stale = stale
        self._guard = guard
        self._inventory = inventory
        self._listed: bool | None = None
        self._following = False
        self._coverage = Coverage()
        self._rejected: dict[str, None] = {}
        self._taken = 0
        self._read = 0
        self._started = asyncio.Event()

    async def follow(self) -> None:
        """Take changes in until cancelled."""
        await self._resume()
        self._following = True
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._guard.watch(), name=f"guard {self._mirror}")
            await self._source.follow(self)

    async def survey(self) -> None:
        """Look at the whole origin once. Raises SourceUnavailable."""
        await self._resume()
        await self._source.survey(self)
        await self._guard.decide()

    async def started(self) -> None:
        """Wait until the source listens, or has said why it cannot."""
        await self._started.wait()

    @property
    def has_started(self) -> bool:
        """Whether the source listens, or has said why it cannot."""
        return self._started.is_set()

    @property
    def rules(self) -> IntakeRules:
        """How changes of this mirror are taken in."""
        return self._rules

    @property
    def read(self) -> int:
        """Files read since the start, because only their content could tell whether they changed."""
        return self._read

    @property
    def taken(self) -> int:
        """Keys found stale since the start."""
        return self._taken

    @property
    def listed(self) -> bool | None:
        """Whether the bucket's listing was there to compare with; None when none was needed."""
        return self._listed

    @property
    def coverage(self) -> Coverage:
        return self._coverage

    async def _resume(self) -> None:
        self._coverage = await self._journal.covered(self._mirror)

    # -- Receiver ------------------------------------------------------------------------------------

    async def cursor(self, source: str) -> Cursor | None:
        return await self._journal.cursor(self._mirror, source)

    async def take(self, changes: Sequence[Change], cursor: Cursor | None = None, *, news: bool = False) -> Recorded:
        if changes and not news and self._listed is None and self._compares:
            # only now: an origin without files needs none
            self._listed = await self._inventory.take(patient=self._following)
        recorded = await self._journal.record(self._mirror, changes, self._rules_now(news=news), cursor)
        if recorded.doubtful:
            hashed = await self._with_hashes(recorded.doubtful)
            recorded = _sum(
                recorded, await self._journal.record(self._mirror, hashed, self._rules_now(news=news), cursor)
            )
        if recorded.stale:
            self._taken += recorded.stale
            self._stale()
        if recorded.removed:
            self._guard.notice()
        return recorded

    async def _with_hashes(self, changes: Sequence[Change]) -> list[Change]:
        """The same changes, each with its content's hash, of the very version that was read."""
        hashes = await self._source.hash_of([change.key for change in changes])
        self._read += len(changes)
        return [
            replace(change, version=hashes[change.key][0], content_hash=hashes[change.key][1])
            if change.key in hashes
            else replace(change, content_hash="")
            for change in changes
        ]

    def reject(self, rejection: Rejection) -> None:
        if rejection.name in self._rejected:
            return
        if len(self._rejected) >= REJECTIONS_REMEMBERED:
            del self._rejected[next(iter(self._rejected))]
        self._rejected[rejection.name] = None
        log.warning("change.rejected", mirror=self._mirror, name=rejection.name, reason=rejection.reason)

    def known(self, below: str) -> Iterator[tuple[str, Fingerprint | None]]:
        return self._journal.known(self._mirror, below)

    def listening(self) -> None:
        self._started.set()

    async def lost(self, reason: str) -> None:
        self._started.set()
        if self._coverage.lost_reason == reason:
            return
        self._coverage = replace(
            self._coverage, lost_since=self._coverage.lost_since or self._now(), lost_reason=reason
        )
        await self._journal.cover(self._mirror, self._coverage)
        log.error(
            "coverage.lost",
            mirror=self._mirror,
            reason=reason,
            complete_as_of=self._coverage.complete_as_of,
            action="the mirror goes on with what it can see and looks again by itself; mend what the reason names",
        )

    @property
    def root(self) -> str | None:
        return self._coverage.root

    async def moved_to(self, root: str) -> None:
        self._coverage = replace(self._coverage, root=root)
        await self._journal.cover(self._mirror, self._coverage)

    async def complete(self, as_of: datetime, root: str | None = None) -> None:
        if self._compares:
            await self._inventory.drop()  # before the word that all is seen: a crash in between lists once more
        before, self._coverage = self._coverage, Coverage(complete_as_of=as_of, root=root)
        await self._journal.cover(self._mirror, self._coverage)
        if before.lost_since is not None:
            log.info("coverage.restored", mirror=self._mirror, lost_since=before.lost_since, reason=before.lost_reason)

    def _rules_now(self, *, news: bool) -> IntakeRules:
        """Adoption and comparison are for what the first complete look finds; what comes later is news anyway."""
        as_set = self._listed if self._compares else self._coverage.complete_as_of is None
        return self._rules if as_set and not news else replace(self._rules, new_keys=NewKeys.STALE)

    @property
    def _compares(self) -> bool:
        """Whether new keys are held against what the bucket holds already."""
        return self._rules.new_keys is NewKeys.COMPARED and self._coverage.complete_as_of is None


def _sum(first: Recorded, second: Recorded) -> Recorded:
    return Recorded(
        new=first.new + second.new,
        changed=first.changed + second.changed,
        removed=first.removed + second.removed,
        stale=first.stale + second.stale,
    )

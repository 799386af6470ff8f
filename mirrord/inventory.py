"""Kodo's listing of a bucket to the journal: page by page, from where an earlier try stopped."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from mirrord.decisions.retry import RetryPolicy, backoff, hold_after
from mirrord.decisions.statuses import SUPPORT_ADVICE
from mirrord.decisions.verdict import FAILURES, NOT_KODO, advice, is_clock_wrong, judge, wording
from mirrord.journal.listing import Listing
from mirrord.kodo.replies import ListPage
from mirrord.model.attempt import Fault, Operation, Outcome, Reply, Silence
from mirrord.model.condition import Condition
from mirrord.sources.contract import SourceUnavailable

log = structlog.get_logger()

PATIENCE = RetryPolicy(first_delay=timedelta(milliseconds=500), max_delay=timedelta(seconds=10), max_attempts=5)
"""For one page; Kodo pages a listing in well under a second."""
PAGE_MOST = timedelta(seconds=60)
"""How long to wait for one page."""
AWAY_AT_MOST = timedelta(minutes=10)
"""A Kodo that cannot be reached for so long, be it the one host of all, is not waited for any longer."""
ILL_AT_MOST = timedelta(minutes=1)
"""The same for one that answers and fails: only its listings may be ill."""
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=2), timedelta(minutes=1)
LISTING = "listing"
"""The condition of a mirror whose first run waits."""
KEPT = timedelta(hours=1)
"""A listing that has not moved for so long is begun anew: the bucket has moved on."""
BAD_MARKER = 640


class Lister(Protocol):
    """The part of the client that an inventory needs."""

    async def list_page(self, bucket: str, prefix: str, marker: str) -> tuple[Reply, ListPage | None]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """Every object below the prefix is in the journal's listing."""

    objects: int
    calls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unlisted:
    """Kodo does not give the listing; what of it was read stays."""

    reason: str
    status: int | None
    reqid: str | None
    calls: int
    fault: Fault
    advice: str
    """What a person can do about it."""

    def may_pass(self, waited: timedelta) -> bool:
        """Whether to wait longer: for the account as long as it takes, since nothing else can be done either."""
        if self.fault is Fault.SERVICE:
            return waited < (AWAY_AT_MOST if self.status is None else ILL_AT_MOST)
        return self.fault is Fault.ACCOUNT

    def pause_after(self, previous: timedelta | None) -> timedelta:
        """How long to wait before the next try, after that one."""
        if self.fault is Fault.ACCOUNT:
            return hold_after(previous)
        return FIRST_PAUSE if previous is None else min(previous * 2, LONGEST_PAUSE)


class Inventory:
    """One mirror's way to know what its bucket holds without asking for every key."""

    def __init__(
        self,
        *,
        mirror: str,
        bucket: str,
        prefix: str,
        listing: Listing,
        kodo: Lister,
        now: Callable[[], datetime],
        chance: Callable[[], float],
        patience: RetryPolicy = PATIENCE,
        tell: Callable[[Condition | None], None] = lambda _: None,
    ) -> None:
        """`tell`: what keeps the mirror from being compared, None when nothing does any more."""
        self._mirror = mirror
        self._bucket = bucket
        self._prefix = prefix
        self._listing = listing
        self._kodo = kodo
        self._now = now
        self._chance = chance
        self._patience = patience
        self._tell = tell

    async def take(self, *, patient: bool = False) -> bool:
        """Have the whole listing in the journal, from an earlier try or asked for now; False, and said, when not.

        `patient`: wait while Kodo is out of reach or refuses the account. To ask for a million keys that the
        bucket may hold already is the dearer way. Who is not patient gets SourceUnavailable then.
        """
        began, pause = self._now(), None
        while not isinstance(end := await self._try(), Whole) and end.may_pass(self._now() - began):
            if not patient:
                raise SourceUnavailable(f"bucket {self._bucket} cannot be compared with: {end.reason}; {end.advice}")
            if pause is None:
                self._say_postponed(end)
            pause = end.pause_after(pause)
            self._tell(_waiting(end, began, self._now() + pause))
            await asyncio.sleep(pause.total_seconds())
        self._tell(None)
        if isinstance(end, Whole):
            return True
        await self._listing.drop()
        self.say(end, f"every key is refreshed instead; to compare after all: {end.advice}")
        return False

    async def _try(self) -> Whole | Unlisted:
        began = self._now()
        progress = await self._listing.progress()
        if progress is not None and began - progress.moved_at > KEPT:
            progress = None
        if progress is not None and not progress.marker:
            return Whole(objects=progress.objects, calls=0)
        if progress is None:
            await self._listing.drop()
        end = await self._read(progress.marker if progress else "", progress.objects if progress else 0)
        duration_s = round((self._now() - began).total_seconds(), 3)
        if isinstance(end, Whole):
            log.info(
                "inventory.finished",
                mirror=self._mirror,
                bucket=self._bucket,
                objects=end.objects,
                calls=end.calls,
                resumed=progress is not None,
                duration_s=duration_s,
            )
        return end

    async def read_anew(self) -> Whole | Unlisted:
        """Replace whatever listing there is by one of now."""
        await self._listing.drop()
        return await self._read("", 0)

    async def drop(self) -> None:
        """The listing has been compared: let go of it."""
        await self._listing.drop()

    def _say_postponed(self, end: Unlisted) -> None:
        tell = log.error if end.fault is Fault.ACCOUNT else log.warning
        tell(
            "inventory.postponed",
            mirror=self._mirror,
            bucket=self._bucket,
            reason=end.reason,
            status=end.status,
            reqid=end.reqid,
            action=f"{end.advice}; asked again by itself, and nothing is refreshed before it has been compared",
        )

    def say(self, end: Unlisted, action: str) -> None:
        """Log that there is no listing, and what follows."""
        log.error(
            "inventory.failed",
            mirror=self._mirror,
            bucket=self._bucket,
            reason=end.reason,
            status=end.status,
            reqid=end.reqid,
            calls=end.calls,
            action=action,
        )

    async def _read(self, marker: str, objects: int) -> Whole | Unlisted:
        calls = failures = restarts = 0
        while True:
            reply, page = await self._ask(marker)
            calls += 1
            if page is not None and not (page.marker and page.marker == marker):
                failures = 0
                objects += len(page.items)
                marker = page.marker
                await self._listing.keep(page.items, marker, self._now())
                log.debug("page.listed", mirror=self._mirror, objects=objects, reqid=reply.reqid, more=bool(marker))
                if not marker:
                    return Whole(objects=objects, calls=calls)
                continue
            failures += 1
            if reply.status == BAD_MARKER and marker and not restarts:
                await self._listing.drop()  # of a listing that Kodo does not remember
                marker, objects, restarts = "", 0, 1
            elif _is_final(reply) or failures >= self._patience.max_attempts:
                return _unlisted(reply, calls)
            await asyncio.sleep(self._pause_s(failures, reply))

    async def _ask(self, marker: str) -> tuple[Reply, ListPage | None]:
        try:
            async with asyncio.timeout(PAGE_MOST.total_seconds()):
                return await self._kodo.list_page(self._bucket, self._prefix, marker)
        except TimeoutError:
            error = f"no answer within {PAGE_MOST.total_seconds():.0f} s"
            return Reply(status=None, silence=Silence.TIMED_OUT, error=error), None

    def _pause_s(self, failures: int, reply: Reply) -> float:
        asked_for = min(reply.retry_after_s or 0.0, self._patience.max_delay.total_seconds())
        return max(backoff(failures, self._patience, self._chance()).total_seconds(), asked_for)


def _waiting(end: Unlisted, since: datetime, until: datetime) -> Condition:
    return Condition(name=LISTING, since=since, until=until, reason=end.reason, status=end.status, reqid=end.reqid)


def _unlisted(reply: Reply, calls: int) -> Unlisted:
    verdict = judge(_LIKE, reply)
    reason, fault, todo = _why(reply), verdict.fault or Fault.KEY, SUPPORT_ADVICE
    if reply.status == 403 and not is_clock_wrong(_LIKE, reply):
        fault = Fault.KEY  # who may not list may still be allowed to pull
        todo = "allow the key pair to list the bucket"
    elif fault is Fault.ACCOUNT:
        reason = wording(_LIKE, reply, verdict) or reason
        todo = advice(_LIKE, reply, verdict) or todo
    elif fault is Fault.SERVICE:
        todo = "see whether Kodo can be reached from here"
    return Unlisted(reason=reason, status=reply.status, reqid=reply.reqid, calls=calls, fault=fault, advice=todo)


_LIKE = Operation.DELETE
"""To list asks no origin, as to delete does not: what an answer says of account and Kodo is the same."""


def _is_final(reply: Reply) -> bool:
    """Whether asking again cannot end otherwise."""
    verdict = FAILURES.get(reply.status or 0)
    if verdict is None or verdict.outcome is Outcome.TIMED_OUT:
        return False
    return verdict.fault in {Fault.ACCOUNT, Fault.KEY}


def _why(reply: Reply) -> str:
    if reply.status != 200:
        return reply.error or f"status {reply.status}"
    return NOT_KODO if reply.reqid is None and reply.xlog is None else "the answer is no page of a listing"

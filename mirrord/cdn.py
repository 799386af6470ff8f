"""What became fresh, from the journal, to those who keep copies of it: told in batches until they took it."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol, assert_never

import structlog

from mirrord.decisions.purging import (
    ADVICE,
    URLS_MOST,
    OverQuota,
    Owed,
    Send,
    Verdict,
    Wait,
    choose,
    cost_of,
    judge,
    left_after,
    pause_after,
    quota_returns,
    struck,
)
from mirrord.journal import purges
from mirrord.journal.asking import Transacting
from mirrord.journal.purges import Refusal
from mirrord.kodo.entry import origin_url
from mirrord.model.attempt import Reply
from mirrord.model.condition import Condition
from mirrord.model.purge import Purge, PurgeAnswer

log = structlog.get_logger()

LONGEST_WAIT_S = 60.0
"""Then it looks again: the machine may have slept, or another process, such as `mirrord once`, left something."""
APART_S = 0.25
"""Between two requests that were taken: Qiniu takes 240 URLs a second, and five requests of one user."""


class Kodo(Protocol):
    """The part of the client that this needs."""

    async def purge(self, bucket: str, urls: Sequence[str]) -> tuple[Reply, PurgeAnswer | None]: ...


@dataclass(frozen=True, slots=True)
class _Told:
    """A request, and what came of it."""

    batch: Send
    reply: Reply
    said: PurgeAnswer | None
    at: datetime

    @property
    def keys(self) -> list[Purge]:
        return [part.purge for part in self.batch.parts]

    @property
    def error(self) -> str | None:
        """In the CDN's own words."""
        said, reply = self.said, self.reply
        if said is None:
            return reply.error or f"the answer, with status {reply.status}, has no code"
        return f"{said.error or 'no error text in the reply'} ({said.code})"

    def fields(self) -> dict[str, Any]:
        said = self.said
        return {
            "urls": len(self.batch.urls),
            "keys": len(self.batch.parts),
            "status": self.reply.status,
            "code": None if said is None else said.code,
            "reqid": self.reply.reqid,
            "request_id": None if said is None else said.request_id,
            "quota_day": None if said is None else said.quota_day,
            "surplus_day": None if said is None else said.surplus_day,
            "duration_s": round(self.reply.duration_s, 3),
        }


class Cdn:
    """One mirror's. Keys wait in the journal: what is told twice costs quota, what is lost shows old bytes for long."""

    def __init__(
        self,
        *,
        mirror: str,
        bucket: str,
        urls: Sequence[str],
        journal: Transacting,
        kodo: Kodo,
        now: Callable[[], datetime],
        chance: Callable[[], float],
    ) -> None:
        """`urls`: the addresses under which a key is found, each followed by a slash and the whole key."""
        self._mirror = mirror
        self._bucket = bucket
        self._addresses = tuple(dict.fromkeys(urls))
        self._journal = journal
        self._kodo = kodo
        self._now = now
        self._chance = chance
        self._woken = asyncio.Event()
        self._done: dict[str, tuple[int, frozenset[str]]] = {}
        """Of keys that still wait: URLs that need not be sent again, while the key is asked for no more often."""
        self._failures = 0
        self._pause_until: datetime | None = None
        self._failure: Condition | None = None
        self._person_told = False
        self._postponed: Condition | None = None
        self._quota_day: int | None = None
        self._left: int | None = None
        self._left_until: datetime | None = None

    # -- what others see of it -----------------------------------------------------------------------------

    @property
    def condition(self) -> Condition | None:
        """What keeps the CDN from being told, named "cdn"; None while nothing does."""
        return self._failure or self._postponed

    @property
    def surplus(self) -> int | None:
        """What was left of the day's quota, as last said; None: it was not said yet."""
        return self._left

    def wake(self) -> None:
        """Something may have to be told."""
        self._woken.set()

    def adjust(self, urls: Sequence[str]) -> None:
        """From now on a key is found under these addresses; under none: what waits, goes on waiting."""
        self._addresses = tuple(dict.fromkeys(urls))
        self._done.clear()
        self.wake()

    async def run(self) -> None:
        """Tell what waits and what comes, until cancelled. Raises JournalUnavailable."""
        while True:
            self._woken.clear()
            match await self._next(hurried=False):
                case Send() as batch:
                    if await self._send(batch):
                        await asyncio.sleep(APART_S)
                case Wait(until):
                    await self._wait(until)

    async def finish(self) -> None:
        """Tell what waits now, with nothing more to come, until it is done or cannot be; `run` must have ended."""
        while isinstance(batch := await self._next(hurried=True), Send):
            if await self._send(batch):
                await asyncio.sleep(APART_S)

    # -- taking turns ----------------------------------------------------------------------------------------

    async def _next(self, *, hurried: bool) -> Send | Wait:
        now = self._now()
        if not self._addresses:
            return Wait(None)
        if self._pause_until is not None and now < self._pause_until:
            return Wait(self._pause_until)
        if self._left_until is not None and now >= self._left_until:
            self._left = self._left_until = None
        waiting = await purges.first(self._journal, self._mirror, URLS_MOST)
        plan = choose([self._owed(each) for each in waiting], now, left=self._left, hurried=hurried)
        match plan:
            case OverQuota():
                return await self._postpone(now)
            case Send() | Wait():
                return plan
            case _:
                assert_never(plan)

    def _owed(self, purge: Purge) -> Owed:
        asked, done = self._done.get(purge.key, (0, frozenset[str]()))
        urls = dict.fromkeys(origin_url(address, purge.key) for address in self._addresses)
        return Owed(purge, tuple(url for url in urls if asked != purge.asked or url not in done))

    async def _wait(self, until: datetime | None) -> None:
        seconds = LONGEST_WAIT_S if until is None else (until - self._now()).total_seconds()
        with suppress(TimeoutError):
            async with asyncio.timeout(min(max(0.0, seconds), LONGEST_WAIT_S)):
                await self._woken.wait()

    async def _send(self, batch: Send) -> bool:
        """Whether it was taken."""
        sent_at = self._now()
        reply, said = await self._kodo.purge(self._bucket, batch.urls)
        told = _Told(batch, reply, said, self._now())
        verdict = judge(reply, said)
        self._count(verdict, told)
        invalid = set() if said is None else set(said.invalid_urls) & set(batch.urls)
        match verdict:
            case Verdict.TAKEN:
                log.info("cdn.refreshed", mirror=self._mirror, bucket=self._bucket, **told.fields())
                await self._take(told, set(batch.urls), invalid, sent_at)
            case Verdict.OVER_QUOTA:
                log.debug("cdn.refused", mirror=self._mirror, error=told.error, **told.fields())
                self._recover(told.at)  # it can be told again, if not today
            case Verdict.REFUSED if invalid:
                await self._take(told, invalid, invalid, sent_at)
            case Verdict.FORBIDDEN | Verdict.REFUSED | Verdict.UNAVAILABLE:
                await self._fail(told, verdict)
            case _:
                assert_never(verdict)
        return verdict is Verdict.TAKEN

    # -- what came of it -------------------------------------------------------------------------------------

    def _count(self, verdict: Verdict, told: _Told) -> None:
        self._left = left_after(verdict, told.said, self._left, cost_of(told.batch.urls))
        self._left_until = quota_returns(told.at)
        if told.said is not None and told.said.quota_day is not None:
            self._quota_day = told.said.quota_day

    async def _take(self, told: _Told, done: set[str], invalid: set[str], sent_at: datetime) -> None:
        """`done` need not be sent again; of those, the CDN does not serve the `invalid` ones."""
        if invalid:
            log.warning(
                "cdn.rejected",
                mirror=self._mirror,
                bucket=self._bucket,
                **told.fields()
                | {"urls": len(invalid), "keys": sum(bool(invalid & {*p.urls}) for p in told.batch.parts)},
                rejected=sorted(invalid),
            )
        ended = list[Purge]()
        for purge in told.keys:
            asked, before = self._done.get(purge.key, (purge.asked, frozenset[str]()))
            left = set(self._owed(purge).urls) - done
            if left:
                known = before if asked == purge.asked else frozenset[str]()
                self._done[purge.key] = (purge.asked, known | done)
            else:
                ended.append(purge)
                self._done.pop(purge.key, None)
        refused_left = await purges.told(self._journal, self._mirror, ended, sent_at)
        self._postponed = None
        if refused_left:
            self._failures = 0
        else:
            self._recover(told.at)

    async def _fail(self, told: _Told, verdict: Verdict) -> None:
        """Nothing is sent for a while. Only what was refused itself has to wait for longer than that."""
        now, reply = told.at, told.reply
        self._failures += 1
        pause = pause_after(verdict, failures=self._failures, chance=self._chance(), retry_after_s=reply.retry_after_s)
        self._pause_until = now + pause
        self._say_failed(told, verdict, pause)
        refused = verdict is Verdict.REFUSED
        keys = [struck(each, now, self._chance()) if refused else each for each in told.keys]
        why = Refusal(status=reply.status, reqid=reply.reqid, error=told.error)
        await purges.failed(self._journal, self._mirror, keys, why)

    def _say_failed(self, told: _Told, verdict: Verdict, pause: timedelta) -> None:
        fields = {
            "mirror": self._mirror,
            "bucket": self._bucket,
            **told.fields(),
            "error": told.error,
            "retry_in_s": round(pause.total_seconds(), 3),
        }
        if verdict is Verdict.FORBIDDEN and not self._person_told:
            self._person_told = True
            log.error("cdn.failed", **fields, action=ADVICE)
        elif self._failure is None:
            log.warning("cdn.failed", **fields)
        else:
            log.debug("cdn.retried", **fields)
        self._failure = Condition(
            name="cdn",
            since=told.at if self._failure is None else self._failure.since,
            until=self._pause_until,
            reason=f"the CDN could not be told: {told.error}",
            status=told.reply.status,
            reqid=told.reply.reqid,
        )

    def _recover(self, now: datetime) -> None:
        if self._failure is not None:
            lasted_s = round((now - self._failure.since).total_seconds(), 3)
            log.info("cdn.recovered", mirror=self._mirror, bucket=self._bucket, lasted_s=lasted_s)
        self._failure = None
        self._failures = 0
        self._person_told = False

    async def _postpone(self, now: datetime) -> Wait:
        until = quota_returns(now)
        keys, _ = await self._journal.transact(lambda connection: purges.waiting(connection, self._mirror))
        log.warning(
            "cdn.postponed",
            mirror=self._mirror,
            bucket=self._bucket,
            urls_left=keys * len(self._addresses),
            quota=self._quota_day,
            until=until,
        )
        self._pause_until = until
        self._postponed = Condition(
            name="cdn",
            since=now if self._postponed is None else self._postponed.since,
            until=until,
            reason="the day's quota of the CDN is used up"
            if not self._left
            else "what is left of the day's quota is too little",
        )
        return Wait(until)

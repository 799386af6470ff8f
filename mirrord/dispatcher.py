"""Journal to Kodo: claim what is due, ask once, write down how each attempt ended, one log line each."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

import structlog
from aiolimiter import AsyncLimiter

from mirrord.decisions.retry import RetryPolicy, hold_after, next_step
from mirrord.decisions.staleness import IntakeRules, OnRemoved, Settlement
from mirrord.decisions.verdict import ADVICE, NOT_KODO, judge
from mirrord.journal.store import Journal
from mirrord.kodo import protocol
from mirrord.kodo.entry import origin_url
from mirrord.kodo.protocol import Request
from mirrord.model.attempt import Fault, Operation, Outcome, Reply, Silence, Verdict
from mirrord.model.fingerprint import Fingerprint
from mirrord.model.row import ObjectRow
from mirrord.model.step import Done, Hold, NextStep, Park, Retry

log = structlog.get_logger()

IDLE_S = 1.0
"""How often an idle dispatcher looks whether another process, such as `mirrord refresh`, made something due."""

TICK_S = 0.01
"""While there is a queue, what ends within this time is settled together."""
PROBE_PATIENCE = timedelta(seconds=2)
"""An account is refused at once: a probe still unanswered after this is only a slow pull."""

Observe = Callable[[Sequence[str]], Awaitable[dict[str, Fingerprint | None]]]


class Kodo(Protocol):
    """The part of the client that a dispatcher needs."""

    async def ask(self, bucket: str, request: Request) -> Reply: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is asked, and how fast."""

    mirror: str
    bucket: str
    operation: Operation
    origin_url: str | None
    """What a key is appended to; None only for prefetch, where the bucket itself knows."""
    rules: IntakeRules
    retry: RetryPolicy
    lease: timedelta
    call_limit: timedelta
    """The longest one call can take; nothing is sent under a lease that ends sooner."""
    concurrency: int
    per_second: float
    """0: no limit of our own."""


@dataclass(frozen=True, slots=True)
class _Claim:
    row: ObjectRow
    version: Fingerprint | None
    """The origin's version just before the call."""


@dataclass(frozen=True, slots=True)
class _Ended:
    claim: _Claim
    at: datetime
    operation: Operation | None
    reply: Reply | None
    """None: nothing was asked, the claim is given back."""


class Dispatcher:
    """One mirror's right half: at most `concurrency` calls, never two for one key."""

    def __init__(
        self,
        *,
        target: Target,
        journal: Journal,
        kodo: Kodo,
        observe: Observe,
        now: Callable[[], datetime],
        chance: Callable[[], float],
    ) -> None:
        self._target = target
        self._journal = journal
        self._kodo = kodo
        self._observe = observe
        self._now = now
        self._chance = chance
        self._limiter = _limiter(target.per_second)
        self._queue: asyncio.Queue[_Claim | None] = asyncio.Queue()
        self._ended: list[_Ended] = []
        self._woken = asyncio.Event()
        self._in_flight: set[asyncio.Task[None]] = set()
        self._cut = False
        self._unsettled = 0
        self._stopping = False
        self._finishing = False
        self._settled = 0
        self._turned_at = now()
        # until the first answer that is not about the account, one key at a time asks for all
        self._probing = True
        self._probed_at = now()
        self._hold: timedelta | None = None
        self._held_until: datetime | None = None

    # -- lifetime --------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Work until `stop`, or until `finish` was called and nothing is or becomes due."""
        async with asyncio.TaskGroup() as calling:
            for number in range(self._target.concurrency):
                calling.create_task(self._call_forever(), name=f"call {self._target.mirror} {number}")
            try:
                await self._turn_forever()
            finally:
                for _ in range(self._target.concurrency):
                    self._queue.put_nowait(None)

    def wake(self) -> None:
        """Something may be due."""
        self._woken.set()

    def finish(self) -> None:
        """Nothing new will be recorded: `run` returns once all is fresh or parked, or the mirror is held."""
        self._finishing = True
        self._woken.set()

    def stop(self) -> None:
        """Claim nothing more; `run` returns when the calls in flight have ended and are settled."""
        self._stopping = True
        self._woken.set()

    def cut_short(self) -> None:
        """End the calls in flight now. Kodo may go on with them: their keys stay stale."""
        self._cut = True
        for call in self._in_flight:
            call.cancel()

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    @property
    def settled(self) -> int:
        """Keys made fresh, removed or parked since the start."""
        return self._settled

    @property
    def held(self) -> bool:
        """Whether Kodo refuses the account or the bucket, so that nothing can be done for any key."""
        return self._hold is not None

    def stuck_for(self, now: datetime) -> timedelta:
        """How long this half has not taken a turn; idle and waiting for slow calls are turns."""
        return now - self._turned_at

    # -- taking turns ----------------------------------------------------------------------------------

    async def _turn_forever(self) -> None:
        """Settle what has ended and claim what is due, in one transaction, again and again."""
        while True:
            self._woken.clear()
            now = self._turned_at = self._now()
            ended, self._ended = self._ended, []
            room = self._room(now, self._unsettled - len(ended))
            rows = await self._settle_and_claim(ended, now, room) if ended or room else []
            if self._stopping and self._unsettled == 0:
                return
            if rows:
                await self._queue_up(rows)
                await self._wait(now, None)
            else:
                due_at = await self._journal.next_due(self._target.mirror) if room else self._held_until
                if self._finishing and self._unsettled == 0 and (due_at is None or self.held):
                    return
                await self._wait(now, due_at)
            if self._unsettled > self._target.concurrency:
                await asyncio.sleep(TICK_S)  # many more are about to end: one transaction for all of them

    def _room(self, now: datetime, unsettled: int) -> int:
        """How many more keys to claim."""
        if self._stopping or self._holding(now):
            return 0
        if self._probing:
            if unsettled == 0:
                self._probed_at = now
                return 1
            if now - self._probed_at < PROBE_PATIENCE:
                return 0
        # twice as many again as can be in flight, so that a free slot never waits for the journal
        room = 3 * self._target.concurrency - unsettled
        return room if room >= self._target.concurrency else 0

    def _holding(self, now: datetime) -> bool:
        return self._held_until is not None and now < self._held_until

    async def _settle_and_claim(self, ended: Sequence[_Ended], now: datetime, room: int) -> list[ObjectRow]:
        asked = [end.claim.row.key for end in ended if end.reply is not None]
        versions = await self._observe(asked) if asked else {}
        ends = [self._settlement(end, versions) for end in ended]
        target = self._target
        rows = await self._journal.settle_and_claim(
            ends, target.rules, mirror=target.mirror, now=now, most=room, lease=target.lease
        )
        self._unsettled += len(rows) - len(ends)
        return rows

    async def _queue_up(self, rows: Sequence[ObjectRow]) -> None:
        versions = await self._observe([row.key for row in rows])
        for row in rows:
            self._queue.put_nowait(_Claim(row, versions.get(row.key, row.wanted)))

    async def _wait(self, now: datetime, due_at: datetime | None) -> None:
        if self._ended:
            return
        seconds = IDLE_S if due_at is None or due_at <= now else min(IDLE_S, (due_at - now).total_seconds())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._woken.wait()

    # -- calling ---------------------------------------------------------------------------------------

    async def _call_forever(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        while (claim := await self._queue.get()) is not None:
            operation, reply = await self._call(claim, task)
            self._ended.append(_Ended(claim, self._now(), operation, reply))
            self._woken.set()

    async def _call(self, claim: _Claim, task: "asyncio.Task[None]") -> tuple[Operation | None, Reply | None]:
        if self._limiter is not None and self._may_ask(claim):
            await self._limiter.acquire()
        if not self._may_ask(claim):
            return None, None
        operation, request = self._request(claim.row)
        self._in_flight.add(task)
        try:
            return operation, await self._kodo.ask(self._target.bucket, request)
        except asyncio.CancelledError:
            if not self._cut or task.uncancel():
                raise  # not ours: whoever cancels the service wants this task to end
            error = "cut short because the service stopped; Kodo may still be pulling"
            return operation, Reply(status=None, silence=Silence.TIMED_OUT, error=error)
        finally:
            self._in_flight.discard(task)

    def _may_ask(self, claim: _Claim) -> bool:
        """Whether the claim still stands, for long enough, and what was claimed is still so at the origin."""
        row, now = claim.row, self._now()
        if self._stopping or self._holding(now) or (row.wanted is None) != (claim.version is None):
            return False
        if row.wanted is None and self._target.rules.on_removed is OnRemoved.KEEP:
            return False  # removed while a claim was out that nobody settled: the bucket keeps its copy
        return (row.lease_until or now) - now >= self._target.call_limit

    def _request(self, row: ObjectRow) -> tuple[Operation, Request]:
        bucket, key = self._target.bucket, row.key
        if row.wanted is None:
            return Operation.DELETE, protocol.delete(bucket, key)
        if self._target.operation is Operation.PREFETCH:
            return Operation.PREFETCH, protocol.prefetch(bucket, key)
        url = origin_url(self._target.origin_url or "", key)
        if self._target.operation is Operation.FETCH:
            return Operation.FETCH, protocol.fetch(url, bucket, key)
        return Operation.GLB_FETCH, protocol.glb_fetch(url, bucket, key)

    # -- settling --------------------------------------------------------------------------------------

    def _settlement(self, end: _Ended, versions: dict[str, Fingerprint | None]) -> Settlement:
        row, version, reply = end.claim.row, end.claim.version, end.reply
        if reply is None or end.operation is None:
            return Settlement(
                mirror=row.mirror,
                key=row.key,
                claims=row.claims,
                generation=row.generation,
                step=Retry(timedelta(0)),
                at=end.at,
                asked_for=row.wanted,
                found=version,
                attempted=False,
            )
        verdict = judge(end.operation, reply)
        step = self._step(row, verdict, reply)
        self._learn(verdict, end.at)
        self._settled += isinstance(step, Done | Park)
        found = versions.get(row.key, version)
        self._say(end, end.operation, verdict, step)
        return Settlement(
            mirror=row.mirror,
            key=row.key,
            claims=row.claims,
            generation=row.generation,
            step=step,
            at=end.at,
            asked_for=version,
            found=found,
            counts=verdict.counts,
            status=reply.status,
            reqid=reply.reqid,
            outcome=verdict.outcome,
            error=reply.error,
            bucket_hash=reply.hash,
        )

    def _step(self, row: ObjectRow, verdict: Verdict, reply: Reply) -> NextStep:
        step = next_step(
            verdict,
            attempt=row.attempts + 1,
            strikes=row.strikes + (1 if verdict.counts else 0),
            policy=self._target.retry,
            chance=self._chance(),
            retry_after=timedelta(seconds=reply.retry_after_s) if reply.retry_after_s else None,
        )
        return Hold(self._hold or step.delay) if isinstance(step, Hold) else step

    def _learn(self, verdict: Verdict, at: datetime) -> None:
        """What one answer says of the account: refused, everything waits but one probe; else everything goes."""
        if verdict.fault is Fault.ACCOUNT:
            if self._held_until is None or at >= self._held_until:
                self._hold = hold_after(self._hold)
                self._held_until = at + self._hold
            self._probing = True
        elif verdict.outcome is not Outcome.UNAVAILABLE:
            if self._probing:
                self._woken.set()  # the turn that learns this has claimed one more key at most
            self._probing, self._hold, self._held_until = False, None, None

    def _say(self, end: _Ended, operation: Operation, verdict: Verdict, step: NextStep) -> None:
        row, reply = end.claim.row, end.reply
        assert reply is not None
        level, word, delay = _step_in_words(step)
        fields: dict[str, Any] = {
            "mirror": row.mirror,
            "bucket": self._target.bucket,
            "key": row.key,
            "operation": operation.value,
            "attempt": row.attempts + 1,
            "status": reply.status,
            "reqid": reply.reqid,
            "xlog": reply.xlog,
            "outcome": verdict.outcome.value,
            "next": word,
            "retry_in_s": None if delay is None else round(delay.total_seconds(), 3),
            "duration_s": round(reply.duration_s, 6),
            "lag_s": round((end.at - (row.stale_since or end.at)).total_seconds(), 3),
            "error": NOT_KODO if reply.status == 200 and verdict.fault else reply.error,
        }
        if reply.headers:
            fields["headers"] = dict(reply.headers)
        if isinstance(step, Hold):
            fields["action"] = ADVICE.get(reply.status or 0, "ask Qiniu's support, with the reqid")
        getattr(log, level)("refresh.attempted", **fields)


def _step_in_words(step: NextStep) -> tuple[str, str, timedelta | None]:
    """Log level, the log's `next`, and its delay."""
    match step:
        case Done():
            return "info", "done", None
        case Retry(delay):
            return "info", "retry", delay
        case Park():
            return "warning", "park", None
        case Hold(delay):
            return "error", "hold", delay


def _limiter(per_second: float) -> AsyncLimiter | None:
    if not per_second:
        return None
    burst = max(1.0, per_second)
    return AsyncLimiter(burst, burst / per_second)

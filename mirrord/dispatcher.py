"""Journal to Kodo: claim what is due, ask once, have it verified, settle what came of it."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from aiolimiter import AsyncLimiter

from mirrord.attempts import Attempts, Claim, Ended
from mirrord.decisions.retry import RetryPolicy, hold_after
from mirrord.decisions.staleness import IntakeRules, OnRemoved
from mirrord.decisions.verdict import judge
from mirrord.journal.store import Journal
from mirrord.kodo import protocol
from mirrord.kodo.entry import origin_url
from mirrord.kodo.protocol import Request
from mirrord.model.attempt import Fault, Operation, Outcome, Reply, Silence, Verdict
from mirrord.model.fingerprint import Fingerprint
from mirrord.model.row import ObjectRow
from mirrord.model.step import Done, Park
from mirrord.verifier import Verifier

IDLE_S = 1.0
"""How often an idle dispatcher looks whether another process, such as `mirrord refresh`, made something due."""

TICK_S = 0.01
"""While there is a queue, what ends within this time is settled together."""
PROBE_PATIENCE = timedelta(seconds=2)
"""An account is refused at once: a probe still unanswered after this is only a slow pull."""
VERIFYING_MOST = 4000
"""Claims that may wait for their verification; they do not count among those that wait for a call."""
LONELY_S = 0.2
"""How long a success still waits for others to be verified with, when nothing else is in flight."""

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
        verifier: Verifier | None = None,
        removed: Callable[[], None] = lambda: None,
    ) -> None:
        self._target = target
        self._journal = journal
        self._kodo = kodo
        self._observe = observe
        self._now = now
        self._attempts = Attempts(bucket=target.bucket, policy=target.retry, chance=chance)
        self._verifier = verifier
        self._removed = removed
        self._verifying = 0
        self._limiter = _limiter(target.per_second)
        self._queue: asyncio.Queue[Claim | None] = asyncio.Queue()
        self._ended: list[Ended] = []
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
            if self._verifier is not None:
                calling.create_task(self._verifier.run(self._take_back), name=f"verify {self._target.mirror}")
            try:
                await self._turn_forever()
            finally:
                for _ in range(self._target.concurrency):
                    self._queue.put_nowait(None)
                if self._verifier is not None:
                    self._verifier.close()

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
        if self._verifier is not None:
            self._verifier.hurry()
        self._woken.set()

    def cut_short(self) -> None:
        """End the calls in flight now. Kodo may go on with them: their keys stay stale."""
        self._cut = True
        for call in self._in_flight:
            call.cancel()
        if self._verifier is not None:
            self._verifier.cut_short()

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    @property
    def settled(self) -> int:
        """Keys made fresh, removed or parked since the start."""
        return self._settled

    @property
    def stopping(self) -> bool:
        return self._stopping

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
            room = self._room(now, self._unsettled - self._verifying - len(ended))
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
                self._verify_alone()
                await self._wait(now, due_at)
            if self._unsettled - self._verifying > self._target.concurrency:
                await asyncio.sleep(TICK_S)  # many more are about to end: one transaction for all of them

    def _room(self, now: datetime, working: int) -> int:
        """How many more keys to claim, while so many are claimed and not only waiting for their verification."""
        if self._stopping or self._holding(now):
            return 0
        if self._probing:
            if working == 0:
                self._probed_at = now
                return 1
            if now - self._probed_at < PROBE_PATIENCE:
                return 0
        # twice as many again as can be in flight, so that a free slot never waits for the journal
        room = min(3 * self._target.concurrency - working, VERIFYING_MOST - self._verifying)
        return room if room >= self._target.concurrency else 0

    def _holding(self, now: datetime) -> bool:
        return self._held_until is not None and now < self._held_until

    def _verify_alone(self) -> None:
        """Wait no longer for successes to verify together, once none can come."""
        if self._verifier is not None and self._unsettled == self._verifying:
            self._verifier.ask_within(0 if self._finishing else LONELY_S)

    async def _settle_and_claim(self, ended: Sequence[Ended], now: datetime, room: int) -> list[ObjectRow]:
        asked = [end.claim.row.key for end in ended if end.asked is not None]
        versions = await self._observe(asked) if asked else {}
        ends = [self._attempts.settlement(end, versions.get(end.claim.row.key, end.claim.version)) for end in ended]
        target = self._target
        rows = await self._journal.settle_and_claim(
            ends, target.rules, mirror=target.mirror, now=now, most=room, lease=target.lease
        )
        self._settled += sum(isinstance(end.step, Done | Park) for end in ends)
        if any(end.found is None and end.asked_for is not None for end in ends):
            self._removed()  # it waits for the guard now, who may have looked while it was claimed
        self._unsettled += len(rows) - len(ends)
        return rows

    async def _queue_up(self, rows: Sequence[ObjectRow]) -> None:
        versions = await self._observe([row.key for row in rows])
        for row in rows:
            self._queue.put_nowait(Claim(row, versions.get(row.key, row.wanted), seen=row.key in versions))

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
            self._end(claim, operation, reply)

    def _end(self, claim: Claim, operation: Operation | None, reply: Reply | None) -> None:
        now = self._now()
        self._woken.set()
        if operation is None or reply is None:
            self._ended.append(Ended(claim, now))
            return
        verdict = judge(operation, reply)
        self._learn(verdict, now)
        end = self._attempts.asked(claim, now, operation, reply, verdict, hold=self._hold)
        if self._verifier is not None and verdict.outcome is Outcome.REFRESHED:
            self._verifying += 1
            self._verifier.take(end)
        else:
            self._ended.append(end)

    def _take_back(self, verified: Sequence[Ended]) -> None:
        self._verifying -= len(verified)
        self._ended += verified
        self._woken.set()

    async def _call(self, claim: Claim, task: "asyncio.Task[None]") -> tuple[Operation | None, Reply | None]:
        if self._limiter is not None and self._may_ask(claim):
            await self._limiter.acquire()
        if not self._may_ask(claim):
            return None, None
        operation, request = self._request(claim.row)
        began = self._now()
        self._in_flight.add(task)
        try:
            return operation, await self._kodo.ask(self._target.bucket, request)
        except asyncio.CancelledError:
            if not self._cut or task.uncancel():
                raise  # not ours: whoever cancels the service wants this task to end
            error = "cut short because the service stopped; Kodo may still be pulling"
            duration_s = (self._now() - began).total_seconds()
            return operation, Reply(status=None, silence=Silence.TIMED_OUT, error=error, duration_s=duration_s)
        finally:
            self._in_flight.discard(task)

    def _may_ask(self, claim: Claim) -> bool:
        """Whether the claim still stands, for long enough, and what was claimed is still so at the origin."""
        row, now = claim.row, self._now()
        if self._stopping or self._holding(now) or (row.wanted is None) != (claim.version is None):
            return False
        if row.wanted is None and self._target.rules.on_removed is OnRemoved.KEEP:
            return False  # removed while a claim was out that nobody settled: the bucket keeps its copy
        if row.wanted is None and not claim.seen:
            return False
        return (row.lease_until or now) - now >= self._target.call_limit

    def _request(self, row: ObjectRow) -> tuple[Operation, Request]:
        bucket, key = self._target.bucket, row.key
        if row.wanted is None:
            return Operation.DELETE, protocol.delete(bucket, key, row.bucket_hash)
        if self._target.operation is Operation.PREFETCH:
            return Operation.PREFETCH, protocol.prefetch(bucket, key)
        url = origin_url(self._target.origin_url or "", key)
        if self._target.operation is Operation.FETCH:
            return Operation.FETCH, protocol.fetch(url, bucket, key)
        return Operation.GLB_FETCH, protocol.glb_fetch(url, bucket, key)

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


def _limiter(per_second: float) -> AsyncLimiter | None:
    if not per_second:
        return None
    burst = max(1.0, per_second)
    return AsyncLimiter(burst, burst / per_second)

"""Journal to Kodo: claim what is due, ask once, have it verified, settle what came of it."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta

import structlog

from mirrord.attempts import Attempts, Claim, Ended
from mirrord.confirmation import Confirmation
from mirrord.decisions.pulling import Look
from mirrord.decisions.staleness import OnRemoved
from mirrord.decisions.verdict import judge, wording
from mirrord.gate import NOTHING_LEARNT, Gate
from mirrord.journal.store import Journal
from mirrord.model.attempt import Operation, Outcome, Reply, Silence
from mirrord.model.fingerprint import Fingerprint
from mirrord.model.pending import Pending
from mirrord.model.row import ObjectRow
from mirrord.model.step import Done, Park
from mirrord.outages import Heard, Ticket
from mirrord.pulls import Pulls, Seen
from mirrord.target import Target
from mirrord.verifier import Verifier

log = structlog.get_logger()

IDLE_S = 1.0
"""How often an idle dispatcher looks whether another process, such as `mirrord refresh`, made something due."""

TICK_S = 0.01
"""While there is a queue, what ends within this time is settled together."""
VERIFYING_MOST = 4000
"""Claims that may wait for their verification; they do not count among those that wait for a call."""
LONELY_S = 0.2
"""How long a success still waits for others to be verified with, when nothing else is in flight."""

Observe = Callable[[Sequence[str]], Awaitable[dict[str, Fingerprint | None]]]


class Dispatcher:
    """One mirror's right half: at most `concurrency` calls, never two for one key."""

    def __init__(
        self,
        *,
        target: Target,
        journal: Journal,
        pulls: Pulls,
        gate: Gate,
        observe: Observe,
        now: Callable[[], datetime],
        chance: Callable[[], float],
        verifier: Verifier | None = None,
        confirmation: Confirmation | None = None,
        removed: Callable[[], None] = lambda: None,
        purged: Callable[[], None] = lambda: None,
    ) -> None:
        self._target = target
        self._journal = journal
        self._pulls = pulls
        self._gate = gate
        self._observe = observe
        self._now = now
        self._chance = chance
        self._attempts = _attempts(target, chance)
        self._verifier = verifier
        self._confirmation = confirmation
        self._removed = removed
        self._purged = purged
        self._verifying = 0
        self._queue: asyncio.Queue[Claim | None] = asyncio.Queue()
        self._ended: list[Ended] = []
        self._woken = asyncio.Event()
        self._in_flight: set[asyncio.Task[None]] = set()
        self._cut = False
        self._unsettled = 0
        self._stopping = False
        self._finishing = False
        self._settled = 0
        self._calling: asyncio.TaskGroup | None = None
        self._callers = 0
        self._turned_at: datetime | None = None

    # -- lifetime --------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Work until `stop`, or until `finish` was called and nothing is or becomes due."""
        async with asyncio.TaskGroup() as calling:
            self._calling = calling
            self._employ(self._target.concurrency)
            if self._verifier is not None:
                calling.create_task(self._verifier.run(self._take_back), name=f"verify {self._target.mirror}")
            try:
                await self._turn_forever()
            finally:
                self._employ(0)
                if self._verifier is not None:
                    self._verifier.close()

    def adjust(self, target: Target) -> None:
        """From now on it is asked in this way: with other retries, by more callers or fewer."""
        self._target = target
        self._attempts = _attempts(target, self._chance)
        if self._calling is not None and not self._stopping:
            self._employ(target.concurrency)
        self.wake()

    def _employ(self, callers: int) -> None:
        """Have so many of them; who is one too many leaves when what was queued before has been asked."""
        assert self._calling is not None
        for number in range(self._callers, callers):
            self._calling.create_task(self._call_forever(), name=f"call {self._target.mirror} {number}")
        for _ in range(callers, self._callers):
            self._queue.put_nowait(None)
        self._callers = callers

    def wake(self) -> None:
        """Something may be due."""
        self._woken.set()

    def finish(self) -> None:
        """Nothing new will be recorded: `run` returns once all is fresh or parked, or to wait is hopeless."""
        self._finishing = True
        self._woken.set()

    def stop(self) -> None:
        """Claim nothing more; `run` returns when the calls in flight have ended and are settled."""
        self._stopping = True
        self._gate.stop()
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
        return self._gate.held

    def stuck_for(self, now: datetime) -> timedelta:
        """How long this half, once it runs, has not taken a turn; idle and waiting for slow calls are turns."""
        return now - self._turned_at if self._turned_at else timedelta(0)

    # -- taking turns ----------------------------------------------------------------------------------

    async def _turn_forever(self) -> None:
        """Settle what has ended and claim what is due, in one transaction, again and again."""
        self._turned_at = self._now()
        await self._journal.bring_forward(self._target.mirror, _OF_AN_EARLIER_DAY)
        while True:
            self._woken.clear()
            now = self._turned_at = self._now()
            ended, self._ended = self._ended, []
            room = self._room(now, self._unsettled - self._verifying - len(ended))
            await self._tell(now)  # first: what is healed goes before what is newer
            rows = await self._settle_and_claim(ended, now, room) if ended or room else []
            if self._stopping and self._unsettled == 0:
                return
            if rows:
                await self._queue_up(rows)
                await self._wait(now, None)
            else:
                due_at = await self._journal.next_due(self._target.mirror) if room else self._gate.shut_until(now)
                if self._finishing and self._unsettled == 0 and (due_at is None or self._gate.hopeless):
                    return
                self._verify_alone()
                await self._wait(now, due_at)
            if self._unsettled - self._verifying > self._target.concurrency:
                await asyncio.sleep(TICK_S)  # many more are about to end: one transaction for all of them

    def _room(self, now: datetime, working: int) -> int:
        """How many more keys to claim, while so many are claimed and not only waiting for their verification."""
        if self._stopping:
            return 0
        room = self._gate.room(now, working)
        return 0 if room > 1 and self._verifying >= VERIFYING_MOST else room

    async def _tell(self, now: datetime) -> None:
        """Tell the journal what has changed for the mirror as a whole."""
        healed = self._gate.take_healed()
        if healed:
            await self._journal.bring_forward(self._target.mirror, tuple(healed))
        for recovery in self._gate.take_recoveries():
            keys = await self._journal.revive(
                self._target.mirror, recovery.outcomes, recovery.since, now, self._target.retry.max_attempts
            )
            if keys:
                log.info("keys.revived", mirror=self._target.mirror, keys=keys, since=recovery.since)
                self._woken.set()
        conditions = None if self._stopping else self._gate.take_conditions(now)  # the word may be a successor's now
        if conditions is not None:
            await self._journal.set_conditions(self._target.mirror, conditions)

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
        if target.tells_cdn and any(end.purge for end in ends):
            self._purged()
        self._unsettled += len(rows) - len(ends)
        return rows

    async def _queue_up(self, rows: Sequence[ObjectRow]) -> None:
        versions = await self._observe([row.key for row in rows])
        for row in rows:
            seen = row.key in versions or not self._target.sees_origin
            self._queue.put_nowait(Claim(row, versions.get(row.key, row.wanted), seen=seen))

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
            end = await (self._ask if claim.row.pending is None else self._look_first)(claim, task)
            self._woken.set()
            if self._verifier is not None and end.asked is not None and end.asked.verdict.outcome is Outcome.REFRESHED:
                self._verifying += 1
                self._verifier.take(end)
            else:
                self._ended.append(end)

    async def _look_first(self, claim: Claim, task: "asyncio.Task[None]") -> Ended:
        """Ask what the claim is for, once no earlier pull of the key can be running any more."""
        pending = claim.row.pending
        assert pending is not None
        if not self._may_ask(claim, self._now()):
            return Ended(claim, self._now())
        seen = await self._pulls.look(claim.row.key, pending)
        return self._judged(claim, seen) or await self._ask(claim, task, before=pending)

    def _judged(self, claim: Claim, seen: Seen) -> Ended | None:
        """How a claim ends whose key had a pull running; None: by asking for it again."""
        now, pending = self._now(), seen.pending
        if seen.look is Look.RUNNING:
            return Ended(claim, now, awaited=pending)
        if pending.generation != claim.row.generation or claim.version != claim.row.wanted:
            return None  # it was of a version that is wanted no longer
        if seen.look is Look.ENDED:
            return self._attempts.found(claim, now, pending, seen.reply)
        return self._attempts.given_up(claim, now, pending) if pending.task is not None else None

    async def _ask(self, claim: Claim, task: "asyncio.Task[None]", before: Pending | None = None) -> Ended:
        """`before`: what has ended, and was of another version if it was asynchronous."""
        if self._confirmation is not None and self._may_ask(claim, self._now()):
            pause = await self._confirmation.pause(claim)
            if pause is not None:
                return Ended(claim, self._now(), pause=pause)
        ticket = await self._gate.enter(claim.row.key) if self._may_ask(claim, self._now()) else None
        if ticket is None:
            return Ended(claim, self._now())
        try:
            if not self._may_ask(claim, ticket.began_at):  # it may have waited for its turn
                return Ended(claim, self._now())
            if before is not None and before.task is not None:
                self._attempts.overtaken(claim, ticket.began_at, before)  # only now: given back, it is looked at again
            operation, reply = await self._call(claim, ticket, task)
        finally:
            self._gate.leave()
        now = self._now()
        pending = self._pulls.pending_after(claim, operation, reply, ticket.began_at)
        verdict = judge(operation, reply)
        heard = Heard(operation, verdict, reply, wording(operation, reply, verdict))
        # a call that was cut says nothing of anybody
        lesson = NOTHING_LEARNT if reply.silence is Silence.CUT else self._gate.learn(ticket, heard)
        if pending is not None and verdict.fault is None:
            return self._attempts.accepted(claim, now, reply, pending)
        return self._attempts.asked(claim, ticket.began_at, now, heard, lesson=lesson, pending=pending)

    def _take_back(self, verified: Sequence[Ended]) -> None:
        self._verifying -= len(verified)
        self._ended += verified
        self._woken.set()

    async def _call(self, claim: Claim, ticket: Ticket, task: "asyncio.Task[None]") -> tuple[Operation, Reply]:
        self._in_flight.add(task)
        try:
            return await self._pulls.ask(claim)
        except asyncio.CancelledError:
            if not self._cut or task.uncancel():
                raise  # not ours: whoever cancels the service wants this task to end
            error = "cut short because the service stopped; Kodo may still be pulling"
            duration_s = (self._now() - ticket.began_at).total_seconds()
            reply = Reply(status=None, silence=Silence.CUT, error=error, duration_s=duration_s)
            return self._pulls.operation_for(claim.row), reply
        finally:
            self._in_flight.discard(task)

    def _may_ask(self, claim: Claim, now: datetime) -> bool:
        """Whether the claim still stands, for long enough, and what was claimed is still so at the origin."""
        row = claim.row
        if self._stopping or (row.wanted is None) != (claim.version is None):
            return False
        if row.wanted is None and self._target.rules.on_removed is OnRemoved.KEEP:
            return False  # removed while a claim was out that nobody settled: the bucket keeps its copy
        if row.wanted is None and not claim.seen:
            return False
        return (row.lease_until or now) - now >= self._target.call_limit


def _attempts(target: Target, chance: Callable[[], float]) -> Attempts:
    return Attempts(bucket=target.bucket, policy=target.retry, chance=chance, cdn=target.tells_cdn)


_OF_AN_EARLIER_DAY = (Outcome.REFUSED, Outcome.UNAVAILABLE, Outcome.ORIGIN_FAILING, Outcome.THROTTLED)
"""What an earlier service was told says nothing now: a person may have mended it, and then started this one."""

"""What the answers so far say of account, origin and Kodo: how many calls may go now, and when the next."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from aiolimiter import AsyncLimiter

from mirrord.decisions import pacing
from mirrord.decisions.pacing import Pace
from mirrord.decisions.retry import hold_after
from mirrord.model.attempt import Fault, Outcome, Reply, Verdict
from mirrord.model.condition import Condition
from mirrord.outages import Heard, Outages, Recovery, Ticket

log = structlog.get_logger()

PROBE_PATIENCE = timedelta(seconds=2)
"""An account is refused at once: a probe still unanswered after this is only a slow pull."""
RAMP = 16
"""Calls in flight at first, and after an outage; every success lets one more go."""
AHEAD_S = 10.0
"""Keys are claimed for so many seconds of a paced mirror's calls; the others stay in the journal, in order."""
LATE_S = 0.01
"""How late a timer may be for a call without the next ones being late, too."""
HOT_KEY = 573
"""A single resource was asked for too often (Qiniu's error page), or the account: who else is refused tells."""
OTHERS_WITHIN = timedelta(seconds=10)
HOT_IN_VAIN = timedelta(seconds=60)
"""When nothing else has been answered for so long, who waits at a terminal is told instead."""
RATE_TOLD_ANEW = 1.25
"""How much a rate must have changed for those who ask from outside to be told."""

HELD, THROTTLED, PACED = "held", "throttled", "paced"


@dataclass(frozen=True, slots=True)
class Lesson:
    """What an answer's failure is to its own key, after what the others have said."""

    isolated: bool = True
    """Whether it may be the key's own: while all fail alike, it is not."""
    pause: timedelta | None = None
    """When the key may be the next probe; None: its own pace counts."""
    repeated: bool = False
    """Whether it is only one more refusal of an account that a person has been told about."""
    hot: bool = False
    """Whether this one key is asked for too often, and no other."""


NOTHING_LEARNT = _ISOLATED = Lesson()
_HOT = Lesson(hot=True)


@dataclass(frozen=True, slots=True)
class _Held:
    since: datetime
    refused_at: datetime
    pause: timedelta
    reply: Reply
    words: str | None

    @property
    def until(self) -> datetime:
        return self.refused_at + self.pause


class Gate:
    """One mirror's. Everything that a refusal, an outage or throttling forbids is forbidden here, and told once."""

    def __init__(
        self,
        *,
        mirror: str,
        bucket: str,
        concurrency: int,
        per_second: float,
        now: Callable[[], datetime],
        chance: Callable[[], float],
    ) -> None:
        self._names = {"mirror": mirror, "bucket": bucket}
        self._concurrency = concurrency
        self._now = now
        self._limiter = _limiter(per_second)
        self._slowest = per_second
        self._held: _Held | None = None
        self._outages = Outages(self._names, chance)
        self._pace = Pace()
        self._paced_at = now()
        self._told_rate = 0.0
        self._next_s = 0.0
        self._paused_at = now()
        self._pause_until: datetime | None = None
        self._refused_key: tuple[str, datetime] | None = None
        self._ramp = min(RAMP, concurrency)
        # until the first answer that is not about the account, one key at a time asks for all
        self._probing = True
        self._probed_at = now()
        self._in_flight = 0
        self._stopped = asyncio.Event()
        self._moved = asyncio.Event()
        self._in_turn = asyncio.Lock()
        self._healed: set[Outcome] = set()
        self._said: tuple[Condition, ...] | None = None
        self._elsewhere: Condition | None = None
        self._hot_since: datetime | None = None

    def adjust(self, *, concurrency: int, per_second: float) -> None:
        """From now on the settings allow this; what the answers have shown so far stays known."""
        if per_second != self._slowest:
            self._limiter, self._slowest = _limiter(per_second), per_second
        self._concurrency = concurrency
        self._ramp = min(self._ramp, concurrency)
        self._moved.set()

    # -- who may go ------------------------------------------------------------------------------------

    def room(self, now: datetime, working: int) -> int:
        """How many more keys to claim, while so many are claimed and wait for a call or for its end."""
        if not self.is_open(now):
            return 0
        if self._outages.probing(now):
            return 1 if working == 0 else 0
        if self._probing:
            if working == 0:
                self._probed_at = now
                return 1
            if now - self._probed_at < PROBE_PATIENCE:
                return 0
        # twice as many again as can be in flight, so that a free slot never waits for the journal
        slots = self.allowed
        most = 3 * slots
        rate = min((each for each in (self._pace.rate, self._slowest) if each), default=0.0)
        if rate:
            most = min(most, max(slots, int(rate * AHEAD_S)))
        room = most - working
        return room if room >= slots else 0

    def is_open(self, now: datetime) -> bool:
        """Whether any call may go now."""
        return self._is_calm() or self.shut_until(now) is None

    def _is_calm(self) -> bool:
        """Asked before every call, and nearly always so."""
        return self._held is None and self._pause_until is None and not self._outages.open

    def shut_until(self, now: datetime) -> datetime | None:
        """When the next call may go, be it as a probe; None: now."""
        pauses = [self._pause_until, self._held.until if self._held else None, *self._outages.waits(now)]
        return max((until for until in pauses if until is not None and until > now), default=None)

    @property
    def allowed(self) -> int:
        """Calls that may be in flight together."""
        return pacing.concurrency(self._pace, self._ramp)

    @property
    def held(self) -> bool:
        """Whether Kodo refuses the account or the bucket, so that nothing can be done for any key."""
        return self._held is not None

    @property
    def hopeless(self) -> bool:
        """Whether to wait longer is nothing for somebody at a terminal."""
        hot_for = self._now() - self._hot_since if self._hot_since else timedelta(0)
        return self.held or hot_for >= HOT_IN_VAIN or self._outages.hopeless(self._now())

    async def enter(self, key: str) -> Ticket | None:
        """Wait for a place and for its time; None: nothing may go any more, the key waits in the journal."""
        if self._limiter is not None and not self._shut():
            await self._limiter.acquire()
        if not self._pace.rate:
            if self._in_flight >= self._ramp:  # which is what is allowed then
                await self._wait_for_place()
            return self._begin(key)
        async with self._in_turn:  # one after the other: a rate that is cut while some wait holds for them, too
            await self._wait_for_time()
            await self._wait_for_place()
            return self._begin(key)

    def leave(self) -> None:
        """The call has ended, however."""
        self._in_flight -= 1
        self._moved.set()

    def stop(self) -> None:
        """Nothing goes any more; who waits to enter is sent back."""
        self._stopped.set()
        self._moved.set()

    def _begin(self, key: str) -> Ticket | None:
        now = self._now()
        if self._stopped.is_set() or not self.is_open(now):
            return None
        if self._outages.open:
            self._outages.probe_sent(now)
        self._in_flight += 1
        return Ticket(key, now, asyncio.get_running_loop().time())

    def _shut(self) -> bool:
        return self._stopped.is_set() or not self.is_open(self._now())

    async def _wait_for_place(self) -> None:
        while self._in_flight >= self.allowed and not self._shut():
            self._moved.clear()
            with contextlib.suppress(TimeoutError):  # an allowance that grows with the rate sets no event
                async with asyncio.timeout(1):
                    await self._moved.wait()

    async def _wait_for_time(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._next_s):
                await self._stopped.wait()
        # a timer is late now and then; what that costs is made up for at once, or the rate would never be reached
        now_s = asyncio.get_running_loop().time()
        self._next_s = max(self._next_s, now_s - LATE_S) + pacing.spacing_s(self._pace)

    # -- what an answer tells --------------------------------------------------------------------------

    def learn(self, ticket: Ticket, heard: Heard) -> Lesson:
        """What one answer that has just come says of all the others, and they of it."""
        now, verdict, reply = self._now(), heard.verdict, heard.reply
        if verdict.fault is None and not self._probing and self._outages.quiet and self._is_calm():
            self._learn_of_pace(ticket, verdict, reply, now)
            self._hot_since = None
            return _ISOLATED
        was_held = self.held
        self._learn_of_account(ticket, verdict, _Held(now, now, hold_after(None), reply, heard.words))
        if reply.status == HOT_KEY and self._is_hot(ticket.key, now):
            self._hot_since = self._hot_since or now
            return _HOT
        self._hot_since = None
        self._learn_of_pace(ticket, verdict, reply, now)
        if verdict.fault is Fault.ACCOUNT:  # says nothing of the health of Kodo or the origin
            return Lesson(pause=self._held.pause if self._held else None, repeated=was_held)
        pause = self._outages.learn(ticket, heard, now)
        if pause is None:
            return _ISOLATED
        self._ramp = min(self._ramp, RAMP)
        return Lesson(isolated=False, pause=pause)

    def _learn_of_account(self, ticket: Ticket, verdict: Verdict, refusal: _Held) -> None:
        held, now = self._held, refusal.since
        if verdict.fault is Fault.ACCOUNT:
            self._probing = True
            if held is None:
                self._held = refusal
            elif now >= held.until:
                self._held = _Held(held.since, now, hold_after(held.pause), refusal.reply, refusal.words)
            return
        if verdict.outcome is Outcome.UNAVAILABLE:
            return
        if held is not None and ticket.began_at < held.refused_at:
            return  # it was on its way before the account was refused
        self._probing = False
        if held is not None:
            self._held = None
            self._healed.add(Outcome.REFUSED)
            log.info("mirror.resumed", **self._names, held_s=round((now - held.since).total_seconds(), 3))

    def _is_hot(self, key: str, now: datetime) -> bool:
        """Whether the key alone is asked for too often: no other was refused lately."""
        last, self._refused_key = self._refused_key, (key, now)
        return last is None or last[0] == key or now - last[1] > OTHERS_WITHIN

    def _learn_of_pace(self, ticket: Ticket, verdict: Verdict, reply: Reply, now: datetime) -> None:
        now_s, before = asyncio.get_running_loop().time(), self._pace
        if verdict.outcome is Outcome.THROTTLED:
            pause_s = reply.retry_after_s or 0.0
            self._pace = pacing.after_refusal(before, began_s=ticket.began_s, now_s=now_s, pause_s=pause_s)
            if pause_s:
                self._paused_at = now
                self._pause_until = max(self._pause_until or now, now + timedelta(seconds=pause_s))
        elif verdict.outcome is not Outcome.UNAVAILABLE:
            self._pace = pacing.after_success(before, now_s=now_s, duration_s=now_s - ticket.began_s)
            if self._ramp < self._concurrency and verdict.fault is None:
                self._ramp += 1
                self._moved.set()
        if self._pace.rate and not before.rate:
            self._paced_at = now
            log.warning(
                "pace.lowered",
                **self._names,
                per_second=round(self._pace.rate, 2),
                status=reply.status,
                reqid=reply.reqid,
                retry_after_s=reply.retry_after_s,
            )
        elif before.rate and not self._pace.rate:
            log.info("pace.restored", **self._names)

    # -- for the journal ------------------------------------------------------------------------------

    def take_healed(self) -> frozenset[Outcome]:
        """Outcomes whose keys need not wait any longer; told once."""
        healed, self._healed = self._outages.take_healed() | self._healed, set()
        return healed

    def take_recoveries(self) -> list[Recovery]:
        """Outages that are over, during which keys may have been given up; told once."""
        return self._outages.take_recoveries()

    def tell(self, condition: Condition | None) -> None:
        """Something that is not the gate's business keeps the mirror waiting; None: no longer."""
        self._elsewhere = condition

    def take_conditions(self, now: datetime) -> tuple[Condition, ...] | None:
        """What keeps the mirror from calling; None when it is what was taken last."""
        if self._pause_until is not None and self._pause_until <= now:
            self._pause_until = None
        found: tuple[Condition, ...] = ()
        if not self._is_calm() or self._pace.rate:
            found = (*self._conditions(), *self._outages.conditions())
        if self._elsewhere is not None:
            found = (self._elsewhere, *found)
        if found == self._said:
            return None
        self._said = found
        return found

    @property
    def in_force(self) -> tuple[Condition, ...]:
        """What was taken last."""
        return self._said or ()

    def _conditions(self) -> list[Condition]:
        found = []
        if self._held is not None:
            held = self._held
            found.append(
                Condition(
                    name=HELD,
                    since=held.since,
                    until=held.until,
                    reason=": ".join(filter(None, ("Kodo refuses the account or the bucket", held.words))),
                    status=held.reply.status,
                    reqid=held.reply.reqid,
                )
            )
        if self._pause_until is not None:
            reason = "Kodo has said how long it wants to be left alone"
            found.append(Condition(name=THROTTLED, since=self._paused_at, until=self._pause_until, reason=reason))
        if self._pace.rate:
            rate, told = self._pace.rate, self._told_rate
            if not (told / RATE_TOLD_ANEW <= rate <= told * RATE_TOLD_ANEW):
                self._told_rate = rate
            reason = f"Kodo refuses more than about {self._told_rate:.3g} calls a second"
            found.append(Condition(name=PACED, since=self._paced_at, until=None, reason=reason))
        return found


def _limiter(per_second: float) -> AsyncLimiter | None:
    if not per_second:
        return None
    burst = max(1.0, per_second)
    return AsyncLimiter(burst, burst / per_second)

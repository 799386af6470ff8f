"""How one mirror's calls end, to whether its origin and Kodo are well: breakers, and keys that an outage gave up."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType

import structlog

from mirrord.decisions import breaker
from mirrord.decisions.breaker import Breaker, Phase
from mirrord.model.attempt import PULLS, Fault, Operation, Outcome, Reply, Verdict
from mirrord.model.condition import Condition

log = structlog.get_logger()

ORIGIN, KODO = "origin", "kodo"
PROBES_IN_VAIN = 5
"""After so many, half a minute, who waits at a terminal is told instead."""
AWAY_IN_VAIN = timedelta(seconds=20)
"""The same for a Kodo that has not answered any call for so long, where there are too few keys to judge by."""
STREAK_LEAST = 2
"""Keys that must have failed, and nothing gone well in between, for it not to have been their own fault."""

_ADVICE: Mapping[str, str] = MappingProxyType(
    {
        ORIGIN: "see why the origin fails; its keys wait and are asked for, oldest first, once it answers again",
        KODO: "see whether Kodo can be reached from here; all keys wait until it answers again",
    }
)
_WORDS: Mapping[str, str] = MappingProxyType(
    {ORIGIN: "most calls fail because of the origin", KODO: "Kodo, or the way there, fails most calls"}
)
_OUTCOMES: Mapping[str, tuple[Outcome, ...]] = MappingProxyType(
    {ORIGIN: (Outcome.ORIGIN_FAILING, Outcome.TIMED_OUT), KODO: (Outcome.UNAVAILABLE,)}
)
"""Whose keys need not wait any longer once it is over."""


@dataclass(frozen=True, slots=True)
class Ticket:
    """A call that may go, or has gone."""

    key: str
    began_at: datetime
    began_s: float


@dataclass(frozen=True, slots=True)
class Heard:
    """An answer, and what it means."""

    operation: Operation
    verdict: Verdict
    reply: Reply
    words: str | None = None
    """What was wrong."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """Calls of several keys failed and nothing went well, since `since`; now something has."""

    outcomes: tuple[Outcome, ...]
    since: datetime


@dataclass(frozen=True, slots=True)
class _Streak:
    since: datetime
    keys: frozenset[str]
    """Up to `STREAK_LEAST` of those that failed."""


class Outages:
    """One mirror's. Each beginning and each end is told once."""

    def __init__(self, names: Mapping[str, str], chance: Callable[[], float]) -> None:
        self._names = names
        self._chance = chance
        self._breakers = {ORIGIN: Breaker(), KODO: Breaker()}
        self._causes: dict[str, Heard] = {}
        self._streaks: dict[str, _Streak] = {}
        self._away_since: datetime | None = None
        self._healed: set[Outcome] = set()
        self._recoveries: list[Recovery] = []
        # two words for who asks before and after every call
        self.open = False
        """Whether there is an outage, so that nothing but probes may go."""
        self.quiet = True
        """Whether nothing has failed lately, so that one more success says nothing."""

    # -- who may go ------------------------------------------------------------------------------------

    def probing(self, now: datetime) -> bool:
        """Whether one call may go, to see how things are."""
        return any(breaker.phase(each, now) is Phase.PROBING for each in self._breakers.values())

    def waits(self, now: datetime) -> Iterator[datetime]:
        """When the next probes may go, where it is not time yet."""
        for each in self._breakers.values():
            if each.probe_at is not None and breaker.phase(each, now) is Phase.OPEN:
                yield each.probe_at

    def probe_sent(self, now: datetime) -> None:
        """A call goes, which is a probe if there is an outage."""
        for cause in self._causes:
            self._breakers[cause] = breaker.probe_sent(self._breakers[cause], now, self._chance())

    def hopeless(self, now: datetime) -> bool:
        """Whether to wait longer is nothing for somebody at a terminal."""
        in_vain = any(each.probe_at and each.probes >= PROBES_IN_VAIN for each in self._breakers.values())
        away_for = now - self._away_since if self._away_since else timedelta(0)
        return in_vain or away_for >= AWAY_IN_VAIN

    # -- what an answer tells --------------------------------------------------------------------------

    def learn(self, ticket: Ticket, heard: Heard, now: datetime) -> timedelta | None:
        """What one answer says; for a failure in an outage, how far away the next probe is, else None."""
        verdict = heard.verdict
        away = verdict.outcome is Outcome.UNAVAILABLE
        self._away_since = (self._away_since or now) if away else None
        cause = KODO
        self._learn_of(KODO, ticket, now, heard if away else None)
        if heard.operation in PULLS and not away and verdict.outcome is not Outcome.THROTTLED:
            cause = ORIGIN
            ill = verdict.fault is Fault.ORIGIN or verdict.outcome is Outcome.TIMED_OUT
            self._learn_of(ORIGIN, ticket, now, heard if ill else None)
        self.open = bool(self._causes)
        suspected = self._streaks or self._away_since or any(each.results for each in self._breakers.values())
        self.quiet = not (self.open or suspected)
        return self._breakers[cause].pause if verdict.fault is not None and cause in self._causes else None

    def _learn_of(self, name: str, ticket: Ticket, now: datetime, failure: Heard | None) -> None:
        before, began_at = self._breakers[name], ticket.began_at
        self._learn_of_streak(name, ticket.key, now, failed=failure is not None)
        if failure is None:
            after = breaker.after_success(before, ticket.key, began_at=began_at, now=now)
        else:
            after = breaker.after_failure(before, ticket.key, began_at=began_at, now=now, chance=self._chance())
        self._breakers[name] = after
        if failure is not None and after.probe_at is not None:
            self._causes[name] = failure  # the latest is the truest
        if failure is not None and after.probe_at is not None and before.probe_at is None:
            log.warning(
                "breaker.opened",
                **self._names,
                cause=name,
                status=failure.reply.status,
                reqid=failure.reply.reqid,
                error=failure.words,
                retry_in_s=round(after.pause.total_seconds(), 3),
                action=_ADVICE[name],
            )
        elif before.probe_at is not None and after.probe_at is None:
            del self._causes[name]
            self._healed.update(_OUTCOMES[name])
            lasted_s = round((now - (before.opened_at or now)).total_seconds(), 3)
            log.info("breaker.closed", **self._names, cause=name, lasted_s=lasted_s, probes=after.probes)

    def _learn_of_streak(self, name: str, key: str, now: datetime, *, failed: bool) -> None:
        streak = self._streaks.get(name)
        if failed:
            keys = streak.keys if streak else frozenset()
            if len(keys) < STREAK_LEAST:
                self._streaks[name] = _Streak(streak.since if streak else now, keys | {key})
        elif streak is not None:
            del self._streaks[name]
            if len(streak.keys) >= STREAK_LEAST:
                self._recoveries.append(Recovery(_OUTCOMES[name], streak.since))

    # -- for the journal ------------------------------------------------------------------------------

    def take_healed(self) -> frozenset[Outcome]:
        """Outcomes whose keys need not wait any longer; told once."""
        healed, self._healed = frozenset(self._healed), set()
        return healed

    def take_recoveries(self) -> list[Recovery]:
        """Outages that are over, during which keys may have been given up; told once."""
        recovered, self._recoveries = self._recoveries, []
        return recovered

    def conditions(self) -> Iterator[Condition]:
        """What is to be told of a mirror that may only probe."""
        for name, cause in self._causes.items():
            found = self._breakers[name]
            if found.opened_at is not None:
                yield Condition(
                    name=name,
                    since=found.opened_at,
                    until=found.probe_at,
                    reason=": ".join(filter(None, (_WORDS[name], cause.words))),
                    status=cause.reply.status,
                    reqid=cause.reply.reqid,
                )

"""Log lines in, what a person asks of the last hours out: the last attempts, refreshes and failures by the minute."""

from array import array
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from operator import itemgetter
from statistics import median
from threading import RLock
from typing import Any

from mirrord.model.attempt import Outcome

HOURS = 6
MINUTES_MOST = HOURS * 60
ATTEMPTS_MOST = 200
ATTEMPTS_MOST_EACH = 50
"""Of one mirror: a busy one must not take the place of those of the others."""
REMARKS_MOST = 50
MIRRORS_MOST = 1000
"""Names that are remembered though nobody asks which of them there still are."""
TEXT_MOST = 4000
"""Characters of one field: the memory that all this takes must not depend on what others write."""

_SAMPLES = 32
_SHOWN = (
    *("mirror", "outcome", "next", "lag_s", "key", "operation", "attempt", "status", "reqid"),
    *("retry_in_s", "duration_s", "error"),
)
_picked = itemgetter(*_SHOWN)
_Attempt = tuple[datetime, str, tuple[Any, ...]]
"""When, the level, and the fields _SHOWN: a tenth of a Line's cost, and most are never looked at."""

_ARRIVED = frozenset({Outcome.REFRESHED.value, Outcome.REMOVED.value})
_REMARKABLE = frozenset({"warning", "error", "critical"})
_NOT_KEPT = frozenset({"exc_info", "exception", "stack", "stack_info"})
"""They hold on to whatever was alive when something was raised."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the log; its fields are as they were given to it: nobody has covered a secret."""

    at: datetime
    level: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Minute:
    """What ended within one minute."""

    number: int
    """Minutes since 1970, UTC."""
    refreshed: int = 0
    """Keys that are in the bucket, or gone from it, as the origin wants."""
    failed: int = 0
    """Attempts that came to something else."""
    lag_s: float | None = None
    """Seconds from a change to the end of its attempt, the median of a sample; None: nothing arrived."""
    worst_lag_s: float | None = None


class Recent:
    """Hears on whatever thread, and forgets: its memory has a bound, however many keys there are."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._attempts = deque[_Attempt](maxlen=ATTEMPTS_MOST)
        self._remarks = deque[Line](maxlen=REMARKS_MOST)
        self._mirrors: dict[str, _Heard] = {}
        self._lock = RLock()  # a line may be written while another is heard, by the garbage collector for one

    def hear(self, level: str, fields: Mapping[str, Any]) -> None:
        """One line of info or above, its fields as they were given to structlog."""
        attempted = fields.get("event") == "refresh.attempted"
        if not attempted and level not in _REMARKABLE:
            return
        at = self._now()
        with self._lock:
            if attempted:  # kept with the attempts alone: keys that are given up must not crowd out what is rare
                self._hear_attempt(at, level, fields)
            else:
                kept = {name: _bounded(value) for name, value in islice(fields.items(), 40) if name not in _NOT_KEPT}
                self._remarks.append(Line(at, level, kept))

    def attempts(self, mirrors: Collection[str], most: int) -> list[Line]:
        """The last ones of these mirrors, the newest first."""
        with self._lock:
            if len(mirrors) == 1:
                heard = [self._mirrors[each].attempts for each in mirrors if each in self._mirrors]
                found = list(heard[0]) if heard else []
            else:
                found = [each for each in self._attempts if each[2][0] in mirrors]
        return [_line(*each) for each in found[: -most - 1 : -1]]

    def remarks(self, mirrors: Collection[str]) -> list[Line]:
        """The last warnings and errors but those of attempts, of these mirrors and of none, the newest first."""
        with self._lock:
            found = list(self._remarks)
        return [line for line in reversed(found) if line.fields.get("mirror") in {None, *mirrors}]

    def minutes(self, mirrors: Collection[str]) -> list[Minute]:
        """Those of the last HOURS in which something of these mirrors ended, in order; theirs taken together."""
        since = _minute(self._now() - timedelta(hours=HOURS))
        with self._lock:
            heard = [self._mirrors[each] for each in mirrors if each in self._mirrors]
            found = [minute for each in heard for minute in each.minutes() if minute.number > since]
        return taken_together(found)

    def keep_only(self, mirrors: Collection[str]) -> None:
        """Forget all others: they are served no longer."""
        with self._lock:
            for name in self._mirrors.keys() - set(mirrors):
                del self._mirrors[name]

    def _hear_attempt(self, at: datetime, level: str, fields: Mapping[str, Any]) -> None:
        picked = _picked(fields)
        if picked[-1] is not None and len(picked[-1]) > TEXT_MOST:
            picked = (*picked[:-1], _bounded(picked[-1]))
        attempt = (at, level, picked)
        mirror = attempt[2][0]
        heard = self._mirrors.get(mirror)
        if heard is None:
            if len(self._mirrors) >= MIRRORS_MOST:
                del self._mirrors[next(iter(self._mirrors))]
            heard = self._mirrors[mirror] = _Heard()
        self._attempts.append(attempt)
        heard.take_in(attempt)


def taken_together(minutes: Iterable[Minute]) -> list[Minute]:
    """One for each number, in order. The median of several is near the middle of theirs."""
    by_number: dict[int, list[Minute]] = {}
    for each in minutes:
        by_number.setdefault(each.number, []).append(each)
    return [_sum(number, by_number[number]) for number in sorted(by_number)]


def _sum(number: int, minutes: list[Minute]) -> Minute:
    if len(minutes) == 1 and minutes[0].number == number:
        return minutes[0]
    worst = [each.worst_lag_s for each in minutes if each.worst_lag_s is not None]
    middle = sorted((each.lag_s, each.refreshed) for each in minutes if each.lag_s is not None)
    half, passed, lag_s = sum(weight for _, weight in middle) / 2, 0, None
    for lag_s, weight in middle:  # noqa: B007 - where it stops is what is looked for
        passed += weight
        if passed >= half:
            break
    return Minute(
        number=number,
        refreshed=sum(each.refreshed for each in minutes),
        failed=sum(each.failed for each in minutes),
        lag_s=lag_s,
        worst_lag_s=max(worst, default=None),
    )


@dataclass(slots=True)
class _Open:
    """The minute that goes on. Of the lags every n-th is kept, and n doubles whenever there is no more room."""

    number: int
    until: datetime
    refreshed: int = 0
    failed: int = 0
    worst_lag_s: float = 0.0
    lags: "array[float]" = field(default_factory=lambda: array("d"))
    every: int = 1

    def take_in(self, outcome: str, step: str, lag_s: float) -> None:
        if outcome not in _ARRIVED:
            self.failed += 1
        elif step == "done":
            if self.refreshed % self.every == 0:
                if len(self.lags) == _SAMPLES:
                    self.lags, self.every = self.lags[::2], self.every * 2
                self.lags.append(lag_s)
            self.refreshed += 1
            if lag_s > self.worst_lag_s:  # noqa: PLR1730 - as a call it costs three times as much
                self.worst_lag_s = lag_s

    def closed(self) -> Minute:
        return Minute(
            number=self.number,
            refreshed=self.refreshed,
            failed=self.failed,
            lag_s=median(self.lags) if self.lags else None,
            worst_lag_s=self.worst_lag_s if self.lags else None,
        )


@dataclass(slots=True)
class _Heard:
    """Of one mirror."""

    attempts: deque[_Attempt] = field(default_factory=lambda: deque(maxlen=ATTEMPTS_MOST_EACH))
    past: deque[Minute] = field(default_factory=lambda: deque(maxlen=MINUTES_MOST))
    open: _Open | None = None

    def take_in(self, attempt: _Attempt) -> None:
        at, _, picked = attempt
        minute = self.open
        if minute is None or at >= minute.until:  # a clock that was set back does not open a minute again
            if minute is not None:
                self.past.append(minute.closed())
            minute = self.open = _Open(_minute(at), at.replace(second=0, microsecond=0) + timedelta(minutes=1))
        minute.take_in(*picked[1:4])
        self.attempts.append(attempt)

    def minutes(self) -> list[Minute]:
        return [*self.past, *([self.open.closed()] if self.open else [])]


def _line(at: datetime, level: str, picked: tuple[Any, ...]) -> Line:
    return Line(at, level, {name: _bounded(value) for name, value in zip(_SHOWN, picked, strict=True)})


def _minute(at: datetime) -> int:
    return int(at.timestamp()) // 60


def _bounded(value: Any, depth: int = 0) -> Any:
    """`value`, or what is said in the place of one that would take too much memory, or hold on to other things."""
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, str):
        # not shortened: half a secret would not be known for one
        return value if len(value) <= TEXT_MOST else f"(left out: {len(value)} characters)"
    if isinstance(value, Mapping) and depth < 3:
        return {str(name): _bounded(item, depth + 1) for name, item in islice(value.items(), 40)}
    if isinstance(value, list | tuple | set | frozenset) and depth < 3:
        return [_bounded(item, depth + 1) for item in islice(value, 40)]
    return _bounded(str(value))

"""One mirror's circuit breaker: how its calls ended, to how many more may go while the origin seems to be down.

Only what says something about the origin is reported here. A 404 of the origin is a success: it answered.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import assert_never

RESULTS_MOST = 20
WINDOW = timedelta(seconds=60)
"""Results older than this say nothing. An outage that comes back within this is still the same one."""
KEYS_LEAST = 10
"""So many keys are needed to judge an origin: a few broken pages, however often they are tried, are not an outage."""
FIRST_PAUSE = timedelta(seconds=1)
LONGEST_PAUSE = timedelta(seconds=60)

Result = tuple[datetime, str, bool]
"""When a call ended, its key, whether it failed. A tuple: thousands are made a second."""


class Phase(StrEnum):
    """What may go now."""

    CLOSED = "closed"  # everything
    OPEN = "open"  # nothing
    PROBING = "probing"  # one call


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """Where a mirror stands with its origin."""

    results: tuple[Result, ...] = ()
    """The last ones, in the order they came, from the first failure on; empty unless closed."""
    opened_at: datetime | None = None
    """None: closed."""
    closed_at: datetime | None = None
    """When it closed last; None: it has never been open, or is."""
    probe_at: datetime | None = None
    """When the next probe may go; None while closed."""
    pause: timedelta = FIRST_PAUSE
    """Between the last probe, or the opening, and `probe_at`."""
    probes: int = 0
    """How many were sent in the present outage, or in the last one."""


def phase(breaker: Breaker, now: datetime) -> Phase:
    if breaker.probe_at is None:
        return Phase.CLOSED
    # further away than it was put: the clock was set back, and nobody knows how long it really is
    due = now >= breaker.probe_at or breaker.probe_at - now > breaker.pause
    return Phase.PROBING if due else Phase.OPEN


def room(breaker: Breaker, now: datetime) -> int | None:
    """How many calls may go now, whatever is in flight; None: any number. After one went, see `probe_sent`."""
    match phase(breaker, now):
        case Phase.CLOSED:
            return None
        case Phase.PROBING:
            return 1
        case Phase.OPEN:
            return 0
        case other:
            assert_never(other)


def probe_sent(breaker: Breaker, now: datetime, chance: float) -> Breaker:
    """The call that `room` allowed has gone; the next one may after a pause, whether this one has ended or not.

    The pause is doubled here, not when the probe fails: one that hangs, or that is never settled, must neither
    stop the mirror nor be followed by another every second.
    """
    if breaker.opened_at is None:
        return breaker
    return _paused(breaker, breaker.probes + 1, now, chance)


def after_success(breaker: Breaker, key: str, *, began_at: datetime, now: datetime) -> Breaker:
    """A call ended well. One that began while the breaker was open was a probe, and closes it.

    One that began before proves nothing of the origin now, which may well finish what it had begun to serve
    and take nothing new. The first probe is only a second away and asks that very question.
    """
    if breaker.opened_at is not None:
        if _is_older(began_at, breaker.opened_at, now):
            return breaker
        return Breaker(closed_at=now, probes=breaker.probes)
    if breaker.closed_at is not None and _is_older(began_at, breaker.closed_at, now):
        return breaker
    if not breaker.results:
        return breaker  # nothing has failed for a while: then success is not counted
    return _with(breaker, (now, key, False))


def after_failure(breaker: Breaker, key: str, *, began_at: datetime, now: datetime, chance: float) -> Breaker:
    """The origin failed a call. `chance`: anything in [0, 1), for the pause if this opens the breaker.

    While it is open a failure changes nothing: a probe's pause began when it was sent, and what was in flight
    when it opened only says again why it did. That also holds once it is closed again.
    """
    if breaker.opened_at is not None:
        return breaker
    if breaker.closed_at is not None and _is_older(began_at, breaker.closed_at, now):
        return breaker
    breaker = _with(breaker, (now, key, True))
    if not _is_outage(breaker.results, now):
        return breaker
    comes_back = breaker.closed_at is not None and abs(now - breaker.closed_at) <= WINDOW
    # an origin that bears one probe but not what follows it would else be run down every second
    probes = breaker.probes if comes_back else 0
    return _paused(Breaker(opened_at=now), probes, now, chance)


def _is_older(began_at: datetime, changed_at: datetime, now: datetime) -> bool:
    """Whether a call that ended now began before the breaker changed; with a clock that was set back, none did."""
    return began_at < changed_at <= now


def _with(breaker: Breaker, result: Result) -> Breaker:
    results = (*breaker.results[1 - RESULTS_MOST :], result)
    if not any(failed for _, _, failed in results):
        results = ()
    return replace(breaker, results=results)


def _is_outage(results: Iterable[Result], now: datetime) -> bool:
    """Whether at least half of at least ten keys failed; of each key the last result counts."""
    failed = {key: failed for at, key, failed in results if abs(now - at) <= WINDOW}
    return len(failed) >= KEYS_LEAST and 2 * sum(failed.values()) >= len(failed)


def _paused(breaker: Breaker, probes: int, now: datetime, chance: float) -> Breaker:
    doubled: timedelta = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(probes, 16))
    pause = doubled * (0.75 + 0.5 * chance)
    return replace(breaker, probes=probes, pause=pause, probe_at=now + pause)

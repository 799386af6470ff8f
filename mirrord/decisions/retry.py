"""After an attempt: done, again and when, parked, or the whole mirror held."""

from dataclasses import dataclass
from datetime import timedelta
from typing import assert_never

from mirrord.model.attempt import Fault, Outcome, Verdict
from mirrord.model.step import Done, Hold, NextStep, Park, Retry

HOLD_FOR = timedelta(seconds=30)
"""How long a mirror whose account or bucket is refused waits before one key tries again, at first."""
ORPHAN_MOST = timedelta(days=1)
"""No pull lasts longer, whatever size a sparse file claims to have."""
THROTTLED_MOST = 3
"""The pause of a key that was refused for its number does not grow further: all calls are fewer by then."""
HOLD_AT_MOST = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """The settings' `[mirror.retry]`."""

    first_delay: timedelta = timedelta(seconds=1)
    max_delay: timedelta = timedelta(minutes=10)
    max_attempts: int = 12


def backoff(failures: int, policy: RetryPolicy, chance: float) -> timedelta:
    """Exponential with full jitter: any time up to the doubled delay. `failures` counts from 1."""
    doubled: timedelta = policy.first_delay * 2 ** min(failures - 1, 24)
    return min(policy.max_delay, doubled) * chance


def next_step(
    verdict: Verdict,
    *,
    attempt: int,
    strikes: int,
    policy: RetryPolicy,
    chance: float,
    retry_after: timedelta | None = None,
    alone: bool = False,
) -> NextStep:
    """What follows attempt number `attempt` (from 1), with `strikes` of them, this one included, counted.

    `alone`: of all keys only this one is throttled.

    Only strikes park a key: nobody wants ten thousand parked keys because Kodo was out of reach for an hour.
    """
    match verdict.fault:
        case None:
            return Done()
        case Fault.ACCOUNT:
            return Hold(HOLD_FOR)
        case Fault.KEY if verdict.outcome is not Outcome.TIMED_OUT:
            return Park()  # asking the same again cannot end otherwise
        case Fault.KEY | Fault.ORIGIN | Fault.SERVICE:
            if strikes >= policy.max_attempts:
                return Park()
            least = orphan_grace(None) if verdict.outcome is Outcome.TIMED_OUT else timedelta(0)
            of_many = verdict.outcome is Outcome.THROTTLED and not alone
            pause = backoff(min(attempt, THROTTLED_MOST) if of_many else attempt, policy, chance)
            return Retry(max(pause, retry_after or timedelta(0), least))
        case _:
            assert_never(verdict.fault)


def hold_after(previous: timedelta | None) -> timedelta:
    """The next pause of a held mirror: doubled while its probes keep being refused."""
    return HOLD_FOR if previous is None else min(previous * 2, HOLD_AT_MOST)


def orphan_grace(size_bytes: int | None) -> timedelta:
    """How long to leave a key alone whose claimer was killed, or got no answer in time.

    Kodo does not notice that the client is gone and goes on pulling. Of two pulls of one key the last to
    finish wins, so a new one waits until the old one has probably ended: 10 s and a second per MiB.
    """
    return min(ORPHAN_MOST, timedelta(seconds=10) + timedelta(seconds=(size_bytes or 0) / 2**20))

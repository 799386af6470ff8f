"""A pull whose end nobody saw: how long it may run, when to look at the bucket, and what a look tells."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import Enum

from mirrord.model.attempt import Operation, Reply, Silence
from mirrord.model.pending import Pending

LATE_AGAIN = 2
"""After so many pulls in a row that did not end in time, the next is asynchronous."""
GROWTH_MOST = timedelta(minutes=10)
"""The most that a size adds to the time a call may take: a lease must outlast it."""
FIRST_LOOK = timedelta(seconds=1)
LOOK_AT_LEAST_EVERY = timedelta(seconds=15)
TRIED_LOOKS = 4
"""An asynchronous fetch that says it was tried may be tried again by itself: so many looks it gets, at least."""
LONGEST = timedelta(days=1)
"""No pull is waited for longer: a sparse file may claim a size whose seconds no calendar has."""
UNSEEN_MOST = timedelta(minutes=10)
"""A bucket that may not be looked at, which is for a person to mend, keeps no key longer than this."""
MARGIN = timedelta(seconds=1)
"""X-Reqid and our clock name a moment of one call only as well as the network lets them."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_TICKS_PER_MICROSECOND = 10
_PER_MIB = timedelta(seconds=1)

# how long a pull may go on after its end was not seen, without what its size adds
_CLIENT_GAVE_UP = timedelta(minutes=5)
_SERVER_GAVE_UP = timedelta(seconds=10)
_BROKEN = timedelta(seconds=3)
_QUEUED = timedelta(minutes=10)

_UNKNOWN = frozenset({Silence.TIMED_OUT, Silence.CUT, Silence.BROKEN})


class Look(Enum):
    """What the bucket shows of a pull that was asked for."""

    ENDED = "ended"  # something has been stored since
    RUNNING = "running"  # nothing yet; look again
    OVER = "over"  # nothing, and nothing is to be expected any more: ask again


def read_timeout(least: timedelta, size_bytes: int | None) -> timedelta:
    """How long to wait for an answer: `least`, and a second per MiB when the size is known."""
    return least + min(GROWTH_MOST, _for(size_bytes))


def is_asynchronous(size_bytes: int | None, *, above: int | None, before: Pending | None) -> bool:
    """Whether to have Kodo pull without waiting. `above` None: there is no URL that it could be given."""
    if above is None:
        return False
    return (size_bytes or 0) > above or (before is not None and before.timeouts >= LATE_AGAIN)


def leaves_running(reply: Reply) -> bool:
    """Whether the pull that was asked for may have been begun and not ended."""
    return reply.task is not None or reply.status == 504 or reply.silence in _UNKNOWN


def pending_after(
    reply: Reply,
    *,
    operation: Operation,
    began_at: datetime,
    now: datetime,
    skew: timedelta,
    size_bytes: int | None,
    hash_before: str | None,
    before: Pending | None,
) -> Pending:
    """What to remember of a call after which a pull may be running, or is queued.

    `skew`: how far Kodo's clock is ahead of the one that `began_at` was read from.
    """
    queued = operation is Operation.ASYNC_FETCH  # also where no answer came: then nobody knows its id
    if queued:
        window = _QUEUED + 2 * _for(size_bytes)
    elif reply.status is not None:
        window = _SERVER_GAVE_UP + _for(size_bytes)
    elif reply.silence is Silence.BROKEN:
        window = _BROKEN + _for(size_bytes)
    else:
        window = _CLIENT_GAVE_UP + _for(size_bytes)
    late = not queued and reply.silence not in {Silence.BROKEN, Silence.CUT}
    return Pending(
        operation=operation,
        began_at=began_at,
        until=now + min(window, LONGEST),
        put_after=_ticks(began_at + skew - MARGIN - _EPOCH),
        hash_before=hash_before,
        timeouts=(before.timeouts if before else 0) + late,
        reqid=reply.reqid,
        task=reply.task,
    )


def next_look(pending: Pending, now: datetime) -> timedelta:
    """How long to wait before the next look: longer and longer, with one when it is over, at the latest."""
    doubled: timedelta = FIRST_LOOK * 2 ** min(pending.looks, 10)
    pause = min(LOOK_AT_LEAST_EVERY, doubled)
    left = pending.until - now
    # over, and still the bucket did not say: who throttles us must not be asked without a pause
    return min(pause, left) if left > timedelta(0) else pause


def looked(pending: Pending, now: datetime, *, waiting: int | None = None) -> Pending:
    """What to remember after a look that told nothing; `waiting`: what an asynchronous fetch's own state says."""
    until = pending.until
    if waiting is not None and waiting < 0:
        until = min(until, now + TRIED_LOOKS * LOOK_AT_LEAST_EVERY)
    return replace(pending, looks=pending.looks + 1, until=until)


def judge_look(pending: Pending, found: Reply, now: datetime) -> Look:
    """What a stat's reply says."""
    if found.status == 200 and _put_since(pending, found):
        return Look.ENDED
    if now < pending.until:
        return Look.RUNNING
    # nobody knows what the bucket holds: while it does not say, nothing more is asked of it, but not for ever
    return Look.OVER if found.status in {200, 612} or now >= pending.until + UNSEEN_MOST else Look.RUNNING


def _put_since(pending: Pending, found: Reply) -> bool:
    known = found.hash is not None and found.hash == pending.hash_before
    if pending.hash_before is not None and found.hash is not None and not known:
        return True
    # put at about the time of the call, the same bytes are the old object: one just stored, and changed again
    least = pending.put_after + (2 * _ticks(MARGIN) if known else 0)
    return (found.put_time or 0) >= least


def _ticks(span: timedelta) -> int:
    return span // _MICROSECOND * _TICKS_PER_MICROSECOND


def _for(size_bytes: int | None) -> timedelta:
    return _PER_MIB * ((size_bytes or 0) / 2**20)

"""How fast a mirror may call a server whose limit nobody publishes: how calls ended, to the time between two.

Never refused, it is not paced at all. The first refusal says that there is a limit, and the successes of the
last second about what it is. From there the rate is doubled every other second until it is refused again: now
the limit is known. Then each refusal takes a tenth off, and successes give it back, most of it soon and the rest
slowly, so that one call in a hundred is refused, or fewer. A limit that rose, which two such cycles without a refusal
tell, is sought by doubling again.

What grows the rate is successes, not time: an idle mirror keeps what it knows. Seconds are those of one
monotonic clock; nothing is published about Kodo's limits (no document or SDK names a rate or a window), so
nothing here is fitted to one.
"""

import math
from dataclasses import dataclass, replace

CUT = 0.9
"""What a refusal leaves of the rate."""
HARD_CUT = 0.7
"""The same, when the cut before was too small and too few calls ended since to say by how much."""
HARDEST_CUT = 0.1
"""The most that one measurement is believed."""
MEASURED_CALLS = 10.0
"""Calls a second from which the flow of the last second or two is a measurement."""
SOON_S = 3.0
"""A refusal of a call that began so soon after a cut says that the cut was too small."""
DEAF_S = 1.0
"""Refusals of calls that began so soon after a cut say nothing new: a window of a second may still be used up."""
SLOWEST = 0.5
"""Calls a second."""
CYCLE_S = 40.0
CYCLE_CALLS = 130.0
CYCLE_ROUNDS = 80.0
"""In so many seconds the rate is back where it was refused, or in so many calls and rounds if that is longer.

A round is what the refusal took to arrive. Until then calls go on to be refused: the more of them there are to
each try of the limit, the seldomer it is tried.
"""
RETURN = 4.0
"""How many times the gap to where it was refused the rate grows by in a cycle: most of it soon, the last bit late."""
CREEP = 0.05
"""And by how much of itself it grows besides, there and beyond."""
BELIEVED = 1.5
"""A rate so many times what is left of it was far too high: where it was refused says nothing."""
CALM_CYCLES = 2.0
"""After so many without a refusal the limit is not where it was."""
DOUBLING_S = 2.0
"""While the limit is sought."""
USED = 4.0
"""A rate that is more than so many times what really flows grows no further: nothing has tried it."""
NO_LIMIT = 2000.0
"""Calls a second. A rate above this that is not used up is dropped: no timer keeps such spaces anyway."""

BUCKET_S = 1.0
LATENCY_WEIGHT = 1 / 16
SLACK = 2.0
"""How many times the calls that the rate keeps in flight on average may be in flight: latencies vary."""
LATENCY_LEAST_S = 0.25
"""A latency below this is taken for this: two slow pulls must not fill all the room of quick ones."""


@dataclass(frozen=True, slots=True)
class Flow:
    """The successes of the last second or two, and how long they took. Made anew after each: kept small."""

    first_s: float | None = None
    """When the present bucket began; None: nothing has ended yet."""
    count: int = 0
    before: int = 0
    """The count of the whole second before the present bucket; 0 if there was none."""
    before_s: float = 0.0
    """How much time `before` covers: one bucket, or nothing at the beginning."""
    latency_s: float = 0.0
    """Smoothed; 0: no success yet."""


@dataclass(frozen=True, slots=True)
class Cut:
    """When the rate was cut last, and where it should return to."""

    at_s: float = -math.inf
    ceiling: float = 0.0
    """The rate that was refused."""
    cycle_s: float = CYCLE_S
    """In which it returns there."""
    resumes_s: float = -math.inf
    """The end of the pause that the server asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What is known of a server's limit."""

    flow: Flow = Flow()
    rate: float = 0.0
    """Calls a second; 0: no limit known."""
    seek_in_s: float = 0.0
    """When nothing is refused so long, the limit is sought, by doubling the rate; 0 or less: it is being sought.

    Counted by successes: each is worth what its call had to wait.
    """
    cut: Cut = Cut()


def spacing_s(pace: Pace) -> float:
    """Seconds between the starts of two calls; 0: no limit known."""
    return 1 / pace.rate if pace.rate else 0.0


def concurrency(pace: Pace, most: int) -> int:
    """How many calls may be in flight: with a limit known, not many more than the rate needs (Little's law)."""
    if not pace.rate:
        return most
    needed = pace.rate * max(LATENCY_LEAST_S, pace.flow.latency_s)
    return min(most, math.ceil(SLACK * needed))


def after_success(pace: Pace, *, now_s: float, duration_s: float) -> Pace:
    """A call was answered and not refused for its rate, whatever else came of it."""
    flow = _flowed(pace.flow, now_s, duration_s)
    rate, seek_in_s, cut = pace.rate, pace.seek_in_s, pace.cut
    if not rate:
        return Pace(flow=flow)
    waited_s = 1 / rate
    flows = measured(flow, now_s)
    if rate <= USED * flows:
        seek_in_s -= waited_s
        if seek_in_s > 0:
            gap = RETURN * (cut.ceiling - rate) if rate < cut.ceiling else 0.0
            rate += (gap + CREEP * cut.ceiling) / cut.cycle_s * waited_s
        else:  # or more at once, when calls that went before the first cut end well after it
            rate = max(rate * 2 ** (waited_s / DOUBLING_S), CUT * flows)
    elif rate > NO_LIMIT:
        return Pace(flow=flow)
    return Pace(flow=flow, rate=rate, seek_in_s=seek_in_s, cut=cut)


def after_refusal(pace: Pace, *, began_s: float, now_s: float, pause_s: float = 0.0) -> Pace:
    """A call that began at `began_s` was refused because there were too many (429, 503 with Retry-After, 509, 57x).

    `pause_s`: for how long nobody will call at all now, because the server asked for that.
    """
    if began_s >= max(pace.cut.at_s + DEAF_S, pace.cut.resumes_s):
        pace = _slower(pace, began_s, now_s)
    return _paused(pace, now_s, now_s + pause_s) if pause_s else pace


def _slower(pace: Pace, began_s: float, now_s: float) -> Pace:
    rate = max(SLOWEST, _cut(pace, began_s, now_s))
    if not pace.rate:
        return Pace(flow=pace.flow, rate=rate, cut=Cut(now_s))  # a guess, and improved by seeking at once
    cycle_s = max(CYCLE_S, CYCLE_CALLS / rate + CYCLE_ROUNDS * (now_s - began_s))
    cut = Cut(now_s, min(pace.rate, BELIEVED * rate), cycle_s)
    return Pace(flow=pace.flow, rate=rate, seek_in_s=CALM_CYCLES * cycle_s, cut=cut)


def _paused(pace: Pace, now_s: float, until_s: float) -> Pace:
    """That nothing flows in a pause says nothing of the server: for the flow it is no time at all."""
    more_s = until_s - max(now_s, pace.cut.resumes_s)
    if more_s <= 0:
        return pace  # it is already known to be as long
    first_s = pace.flow.first_s
    flow = replace(pace.flow, first_s=None if first_s is None else first_s + more_s)
    return replace(pace, flow=flow, cut=replace(pace.cut, resumes_s=until_s))


def measured(flow: Flow, now_s: float) -> float:
    """Successes a second in the last one to two seconds."""
    if flow.first_s is None:
        return 0.0
    past_s = now_s - flow.first_s
    if past_s >= BUCKET_S:
        return flow.count / past_s
    return (flow.before + flow.count) / max(BUCKET_S, flow.before_s + past_s)


def _cut(pace: Pace, began_s: float, now_s: float) -> float:
    rate, flows = pace.rate, measured(pace.flow, now_s)
    if not rate:
        return CUT * flows
    if began_s < max(pace.cut.at_s, pace.cut.resumes_s) + SOON_S:
        hardest = HARDEST_CUT if rate >= MEASURED_CALLS else HARD_CUT
        return min(CUT * rate, max(CUT * flows, hardest * rate))
    if pace.seek_in_s <= 0:  # it has grown since the call began
        return float(CUT * rate * 2 ** ((began_s - now_s) / DOUBLING_S))
    return CUT * rate


def _flowed(flow: Flow, now_s: float, duration_s: float) -> Flow:
    latency_s = flow.latency_s + LATENCY_WEIGHT * (duration_s - flow.latency_s) if flow.latency_s else duration_s
    first_s = flow.first_s
    if first_s is None:
        return Flow(now_s, 1, 0, 0.0, latency_s)
    past_s = now_s - first_s
    if past_s < BUCKET_S:
        return Flow(first_s, flow.count + 1, flow.before, flow.before_s, latency_s)
    if past_s < 2 * BUCKET_S:
        return Flow(first_s + BUCKET_S, 1, flow.count, BUCKET_S, latency_s)
    return Flow(now_s, 1, 0, BUCKET_S, latency_s)

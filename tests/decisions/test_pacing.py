"""Pacing against servers that keep their limit to themselves, call by call in simulated time."""

import heapq
import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirrord.decisions.pacing import (
    CUT,
    DEAF_S,
    SLOWEST,
    Cut,
    Pace,
    after_refusal,
    after_success,
    concurrency,
    measured,
    spacing_s,
)

MOST = 64
SETTLED_S = 30
REFUSED_MOST = 0.02
USED_LEAST = 0.85

UNPACED = Pace()


# -- servers --------------------------------------------------------------------------------------------


class Server(Protocol):
    def admits(self, now_s: float) -> bool: ...

    def ended(self) -> None:
        """A call that was admitted."""


@dataclass
class Bucket:
    """`rate` tokens a second, at most `burst` saved up."""

    rate: Callable[[float], float]
    burst: float
    filled_s: float = 0.0
    tokens: float = math.inf

    def admits(self, now_s: float) -> bool:
        self.tokens = min(self.burst, self.tokens + (now_s - self.filled_s) * self.rate(now_s))
        self.filled_s = now_s
        if self.tokens < 1 - 1e-9:
            return False
        self.tokens -= 1
        return True

    def ended(self) -> None: ...


@dataclass
class Windows:
    """So many calls in each second of the server's clock."""

    most: float
    second: int = -1
    seen: int = 0

    def admits(self, now_s: float) -> bool:
        if int(now_s) != self.second:
            self.second, self.seen = int(now_s), 0
        self.seen += 1
        return self.seen <= self.most

    def ended(self) -> None: ...


@dataclass
class AtOnce:
    """So many calls at the same time, at whatever rate."""

    most: int
    running: int = 0

    def admits(self, now_s: float) -> bool:
        admitted = self.running < self.most
        self.running += admitted
        return admitted

    def ended(self) -> None:
        self.running -= 1


@dataclass
class RefusesOnce:
    """Has no limit, but does not like one call: one hot key."""

    number: int
    seen: int = 0

    def admits(self, now_s: float) -> bool:
        self.seen += 1
        return self.seen != self.number

    def ended(self) -> None: ...


def bucket(rate: float, burst: float) -> Bucket:
    return Bucket(lambda _: rate, max(1.0, burst))


# -- the client -----------------------------------------------------------------------------------------


@dataclass
class Run:
    """What became of the calls, by the second in which they were made."""

    accepted: list[int]
    refused: list[int]
    pace: Pace

    def refused_share(self, since_s: int = SETTLED_S) -> float:
        refused = sum(self.refused[since_s:])
        return refused / (refused + sum(self.accepted[since_s:]))

    def per_second(self, since_s: int = SETTLED_S, until_s: int | None = None) -> float:
        accepted = self.accepted[since_s:until_s]
        return sum(accepted) / len(accepted)


@dataclass
class Client:
    """A dispatcher: calls in flight, the earliest next start, and keys that wait. A refused key waits again."""

    server: Server
    latency_s: float
    slow_refusals: bool
    jitter: float
    pause_s: float = 0.0
    """What the server asks for with each refusal."""
    pace: Pace = UNPACED
    most: int = MOST
    waiting: float = 0
    free_s: float = 0.0
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    calls: list[tuple[float, int, float, bool]] = field(default_factory=list)
    number: int = 0

    def may_call(self) -> bool:
        return self.waiting > 0 and len(self.calls) < concurrency(self.pace, self.most)

    def call(self, now_s: float) -> bool:
        """Whether it will be accepted."""
        admitted = self.server.admits(now_s)
        latency_s = self.latency_s * (1 + self.jitter * (2 * self.chance.random() - 1))
        if not admitted and not self.slow_refusals:
            latency_s = min(latency_s, 0.002)
        self.waiting -= 1
        self.number += 1
        heapq.heappush(self.calls, (now_s + latency_s, self.number, now_s, admitted))
        self.free_s = now_s + spacing_s(self.pace)
        return admitted

    def end_one(self) -> None:
        ended_s, _, began_s, admitted = heapq.heappop(self.calls)
        if admitted:
            self.server.ended()
            self.pace = after_success(self.pace, now_s=ended_s, duration_s=ended_s - began_s)
        else:
            self.waiting += 1
            self.pace = after_refusal(self.pace, began_s=began_s, now_s=ended_s, pause_s=self.pause_s)
            if self.pause_s:
                self.free_s = max(self.free_s, ended_s + self.pause_s)


def simulate(
    server: Server,
    *,
    latency_s: float,
    seconds: int,
    slow_refusals: bool = False,
    jitter: float = 0.2,
    pause_s: float = 0.0,
    arrivals: Sequence[float] | None = None,
) -> Run:
    """`arrivals`: when keys become stale; None: there are always more than enough."""
    client = Client(server, latency_s, slow_refusals, jitter, pause_s)
    client.waiting = math.inf if arrivals is None else 0
    run = Run([0] * seconds, [0] * seconds, client.pace)
    keys, arrived, now_s = arrivals or (), 0, 0.0
    while now_s < seconds:
        while arrived < len(keys) and keys[arrived] <= now_s:
            arrived += 1
            client.waiting += 1
        while client.calls and client.calls[0][0] <= now_s:
            client.end_one()
        while client.may_call() and client.free_s <= now_s:
            (run.accepted if client.call(now_s) else run.refused)[int(now_s)] += 1
        now_s = _next_s(client, keys[arrived : arrived + 1], seconds)
    run.pace = client.pace
    return run


def _next_s(client: Client, keys: Iterable[float], end_s: float) -> float:
    next_s = min(end_s, *keys) if keys else end_s
    if client.calls:
        next_s = min(next_s, client.calls[0][0])
    return min(next_s, client.free_s) if client.may_call() else next_s


# -- limits that stay -----------------------------------------------------------------------------------

PROFILES = [
    pytest.param(lambda n: bucket(n, 1), 0.001, False, id="one-token-1ms"),
    pytest.param(lambda n: bucket(n, n / 10), 0.025, False, id="tenth-of-a-second-saved-25ms"),
    pytest.param(Windows, 0.3, True, id="windows-300ms"),
    pytest.param(lambda n: bucket(n, n), 2.0, False, id="a-second-saved-2s-refused-at-once"),
    pytest.param(lambda n: bucket(n, 1), 2.0, True, id="one-token-2s-refused-as-late"),
]


@pytest.mark.parametrize(("server", "latency_s", "slow_refusals"), PROFILES)
@pytest.mark.parametrize(("limit", "seconds"), [(1, 300), (2, 300), (5, 240), (10, 180), (50, 120), (200, 75)])
def test_an_unknown_limit_is_used_and_seldom_overstepped(
    limit: int, seconds: int, server: Callable[[float], Server], latency_s: float, slow_refusals: bool
) -> None:
    run = simulate(server(limit), latency_s=latency_s, slow_refusals=slow_refusals, seconds=seconds)

    assert run.refused_share() < REFUSED_MOST
    assert run.per_second() >= USED_LEAST * min(limit, MOST / latency_s)


@pytest.mark.parametrize(
    ("server", "limit", "latency_s"),
    [
        pytest.param(bucket(1000, 1), 1000, 0.025, id="1000-one-token"),
        pytest.param(Windows(3000), 3000, 0.001, id="3000-windows"),
    ],
)
def test_a_high_limit_is_found_within_half_a_minute(server: Server, limit: int, latency_s: float) -> None:
    run = simulate(server, latency_s=latency_s, seconds=SETTLED_S + 10)

    assert run.refused_share() < REFUSED_MOST
    assert run.per_second() >= USED_LEAST * limit


@pytest.mark.parametrize(("limit", "seconds"), [(2, 300), (10, 180), (100, 90)])
def test_a_server_that_wants_a_pause_after_each_refusal_is_used_nearly_as_well(limit: int, seconds: int) -> None:
    run = simulate(bucket(limit, limit / 10), latency_s=0.025, pause_s=1.0, seconds=seconds)

    assert run.refused_share() < REFUSED_MOST
    assert run.per_second() >= USED_LEAST * limit


def test_a_limit_that_is_known_is_tried_gently() -> None:
    run = simulate(bucket(50, 5), latency_s=0.025, seconds=200)

    calls = [accepted + refused for accepted, refused in zip(run.accepted, run.refused, strict=True)]
    assert max(calls[SETTLED_S:]) <= 1.1 * 50
    assert max(run.refused[SETTLED_S:]) <= 2


def test_who_is_never_refused_is_never_paced() -> None:
    run = simulate(bucket(10_000, 10_000), latency_s=0.05, seconds=10)

    assert sum(run.refused) == 0
    assert spacing_s(run.pace) == 0
    assert concurrency(run.pace, MOST) == MOST
    assert run.per_second(1) >= 0.98 * MOST / 0.05


# -- limits that move -----------------------------------------------------------------------------------


@pytest.mark.parametrize("burst", [1, 50])
def test_a_limit_that_drops_is_obeyed_at_once_and_found_again_when_it_rises(burst: int) -> None:
    server = Bucket(lambda now_s: 50 if 60 <= now_s < 120 else 500, burst)

    run = simulate(server, latency_s=0.025, seconds=220)

    assert sum(run.refused[60:120]) < 2 * 500  # what two seconds at the old rate come to
    assert sum(run.refused[63:120]) < 0.02 * 50 * 57
    assert run.per_second(65, 120) >= 0.8 * 50
    assert run.per_second(200, 220) >= USED_LEAST * 500


@pytest.mark.parametrize("period_s", [7, 60])
@pytest.mark.parametrize("limit", [5, 50])
def test_a_limit_that_sways_is_followed_from_below(limit: float, period_s: float) -> None:
    server = Bucket(lambda now_s: limit * (1 + 0.1 * math.sin(2 * math.pi * now_s / period_s)), max(1, limit / 10))

    run = simulate(server, latency_s=0.025, seconds=180)

    assert run.refused_share() < REFUSED_MOST
    assert run.per_second() >= 0.8 * limit


# -- what only looks like a rate ------------------------------------------------------------------------


def test_one_refusal_in_quiet_times_does_not_cripple_a_backlog_for_long() -> None:
    quiet = [5.0 * number for number in range(8)]

    run = simulate(RefusesOnce(3), latency_s=0.025, seconds=70, arrivals=[*quiet, *[40.0] * 100_000])

    assert sum(run.refused) == 1
    assert sum(run.accepted[40:52]) >= 400  # a usual deployment is through
    assert run.per_second(67) >= 0.9 * MOST / 0.025


def test_one_refusal_at_full_speed_is_hardly_felt_and_forgotten() -> None:
    run = simulate(RefusesOnce(15_000), latency_s=0.025, seconds=20)

    assert min(run.accepted[1:]) >= 0.85 * MOST / 0.025
    assert spacing_s(run.pace) == 0


@pytest.mark.parametrize("jitter", [0.05, 0.5], ids=["steady-latency", "varying-latency"])
@pytest.mark.parametrize(("most", "latency_s"), [(4, 0.3), (20, 0.025), (50, 0.3)])
def test_a_server_that_refuses_by_concurrency_is_seldom_overrun(most: int, latency_s: float, jitter: float) -> None:
    run = simulate(AtOnce(most), latency_s=latency_s, jitter=jitter, seconds=90)

    assert run.refused_share() < REFUSED_MOST
    # with a rate alone there must be room for calls that take longer than usual
    assert run.per_second() >= (0.85 if jitter < 0.1 else 0.6) * most / latency_s


def test_a_quiet_mirror_keeps_what_it_knows() -> None:
    backlog, seldom = [0.0] * 1000, [60 + 2.0 * number for number in range(270)]

    run = simulate(bucket(20, 10), latency_s=0.025, seconds=660, arrivals=[*backlog, *seldom, *[600.0] * 2000])

    assert sum(run.refused[60:600]) == 0
    assert run.refused_share(600) < REFUSED_MOST
    assert run.per_second(601) >= USED_LEAST * 20


# -- one step -------------------------------------------------------------------------------------------


def test_the_first_refusal_takes_a_tenth_off_what_flowed() -> None:
    pace = UNPACED
    for number in range(1, 201):
        pace = after_success(pace, now_s=number / 100, duration_s=0.05)

    pace = after_refusal(pace, began_s=1.99, now_s=2.0)

    assert 1 / spacing_s(pace) == pytest.approx(CUT * 100, rel=0.02)


def test_what_went_before_the_first_refusal_and_ends_after_it_still_tells_the_rate() -> None:
    pace = after_refusal(UNPACED, began_s=0.0, now_s=0.001)
    for _ in range(50):
        pace = after_success(pace, now_s=2.0, duration_s=2.0)

    assert 1 / spacing_s(pace) >= CUT * 50


@pytest.mark.parametrize(
    ("ends", "now_s", "expected"),
    [
        pytest.param([], 5.0, 0, id="nothing-yet"),
        pytest.param([5.0, 5.1], 5.2, 2, id="less-than-a-second-counts-as-one"),
        pytest.param([5.0, 5.5, 6.1, 6.2], 6.5, 4 / 1.5, id="a-second-and-a-half"),
        pytest.param([5.0] * 9 + [6.0] * 3, 7.5, 2, id="an-earlier-second-no-longer-counts"),
        pytest.param([5.0] * 9 + [8.0], 8.0, 1, id="nor-does-one-before-a-silence"),
    ],
)
def test_the_flow_is_that_of_the_last_second_or_two(ends: list[float], now_s: float, expected: float) -> None:
    pace = UNPACED
    for ended_s in ends:
        pace = after_success(pace, now_s=ended_s, duration_s=0.1)

    assert measured(pace.flow, now_s) == pytest.approx(expected)


def test_a_pause_that_the_server_asked_for_is_no_sign_that_nothing_flows() -> None:
    pace = Pace(rate=100, seek_in_s=1)
    for number in range(100):
        pace = after_success(pace, now_s=1 + number / 100, duration_s=0.05)

    early = after_refusal(pace, began_s=2.0, now_s=2.0, pause_s=10.0)
    again = after_refusal(early, began_s=1.99, now_s=2.0, pause_s=10.0)

    assert again == early
    assert measured(early.flow, 12.0) == pytest.approx(measured(pace.flow, 2.0))
    assert after_refusal(early, began_s=11.9, now_s=12.5).rate == early.rate
    assert after_refusal(early, began_s=12.0, now_s=12.5).rate < early.rate


def test_refusals_of_calls_from_before_a_cut_do_not_cut_again() -> None:
    pace = after_refusal(Pace(rate=100, seek_in_s=1), began_s=9.9, now_s=10.0)

    again = after_refusal(pace, began_s=9.95, now_s=60.0)
    new = after_refusal(pace, began_s=10.0 + DEAF_S, now_s=60.0)

    assert again == pace
    assert new.rate < pace.rate


@pytest.mark.parametrize(
    ("rate", "latency_s", "expected"),
    [
        pytest.param(0, 0.02, MOST, id="no-limit-known"),
        pytest.param(SLOWEST, 0.02, 1, id="slowest"),
        pytest.param(10, 0.02, 5, id="quick-calls-have-room-beside-slow-ones"),
        pytest.param(10, 2, 40, id="slow-calls-overlap"),
        pytest.param(1000, 2, MOST, id="never-more-than-allowed"),
    ],
)
def test_as_many_calls_are_in_flight_as_the_rate_needs(rate: float, latency_s: float, expected: int) -> None:
    pace = Pace(flow=after_success(UNPACED, now_s=0, duration_s=latency_s).flow, rate=rate)

    assert concurrency(pace, MOST) == expected


def test_one_slow_pull_among_quick_ones_makes_little_more_room() -> None:
    pace = Pace(rate=100)
    for number in range(100):
        pace = after_success(pace, now_s=number / 100, duration_s=0.3)
    before = concurrency(pace, 1000)

    pace = after_success(pace, now_s=1.0, duration_s=3.0)

    assert before < concurrency(pace, 1000) < 2 * before


times = st.floats(min_value=0, max_value=5, allow_nan=False)


@given(st.lists(st.tuples(times, times, st.booleans()), max_size=60), st.integers(min_value=1, max_value=1024))
def test_whatever_happens_calls_go_on_and_no_refusal_raises_the_rate(
    steps: list[tuple[float, float, bool]], most: int
) -> None:
    pace, now_s = UNPACED, 1000.0
    for wait_s, duration_s, refused in steps:
        now_s += wait_s
        before = pace
        if refused:
            pace = after_refusal(pace, began_s=now_s - duration_s, now_s=now_s)
            assert pace.rate <= (before.rate or math.inf)
        else:
            pace = after_success(pace, now_s=now_s, duration_s=duration_s)

        assert 0 <= spacing_s(pace) <= 1 / SLOWEST
        assert 1 <= concurrency(pace, most) <= most
        assert any(refused for *_, refused in steps) or pace.rate == 0


@given(times, times)
def test_a_success_never_lowers_a_rate(wait_s: float, duration_s: float) -> None:
    pace = Pace(rate=10, seek_in_s=1, cut=Cut(1000.0, 11))

    after = after_success(pace, now_s=1000 + wait_s, duration_s=duration_s)

    assert after.rate >= pace.rate

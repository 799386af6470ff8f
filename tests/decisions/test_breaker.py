"""The circuit breaker: an origin that is down is left alone but for a probe now and then; a broken page is not one."""

import heapq
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mirrord.decisions.breaker import (
    FIRST_PAUSE,
    KEYS_LEAST,
    LONGEST_PAUSE,
    RESULTS_MOST,
    WINDOW,
    Breaker,
    Phase,
    after_failure,
    after_success,
    phase,
    probe_sent,
    room,
)

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
CALL = timedelta(milliseconds=30)

chances = st.floats(min_value=0, max_value=1, exclude_max=True)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def failed(breaker: Breaker, key: str, seconds: float, *, began_s: float | None = None) -> Breaker:
    began_at = at(seconds) - CALL if began_s is None else at(began_s)
    return after_failure(breaker, key, began_at=began_at, now=at(seconds), chance=0.5)


def succeeded(breaker: Breaker, key: str, seconds: float, *, began_s: float | None = None) -> Breaker:
    began_at = at(seconds) - CALL if began_s is None else at(began_s)
    return after_success(breaker, key, began_at=began_at, now=at(seconds))


def opened(seconds: float = 0) -> Breaker:
    breaker = Breaker()
    for number in range(KEYS_LEAST):
        breaker = failed(breaker, f"page-{number}", seconds)
    assert breaker.opened_at == at(seconds)
    return breaker


# -- opening --------------------------------------------------------------------------------------------


def test_ten_failing_pages_open_it_and_the_first_probe_goes_a_second_later() -> None:
    breaker = opened()

    assert [room(breaker, at(seconds)) for seconds in (0, 0.9, 1, 100)] == [0, 0, 1, 1]
    assert [phase(breaker, at(seconds)) for seconds in (0, 1)] == [Phase.OPEN, Phase.PROBING]


@pytest.mark.parametrize(
    ("failures", "successes", "expected"),
    [
        pytest.param(9, 0, Phase.CLOSED, id="too-few-pages"),
        pytest.param(10, 0, Phase.OPEN, id="all-of-ten"),
        pytest.param(5, 5, Phase.OPEN, id="half-of-ten"),
        pytest.param(9, 10, Phase.CLOSED, id="less-than-half"),
        pytest.param(10, 10, Phase.OPEN, id="half-of-twenty"),
    ],
)
def test_at_least_ten_pages_are_judged_and_half_of_them_must_fail(
    failures: int, successes: int, expected: Phase
) -> None:
    breaker = failed(Breaker(), "bad-0", 0)  # what went well before the first failure does not count
    for number in range(successes):
        breaker = succeeded(breaker, f"good-{number}", 0)

    for number in range(1, failures):
        breaker = failed(breaker, f"bad-{number}", 0)

    assert phase(breaker, at(0)) is expected


@given(st.lists(st.tuples(st.integers(0, KEYS_LEAST - 2), st.floats(0, 10)), max_size=200))
def test_a_few_broken_pages_never_open_it_however_often_they_are_tried(tries: list[tuple[int, float]]) -> None:
    breaker, seconds = Breaker(), 0.0
    for number, wait_s in tries:
        seconds += wait_s
        breaker = failed(breaker, f"broken-{number}", seconds)

        assert room(breaker, at(seconds)) is None


def test_a_page_that_failed_and_works_again_is_a_page_that_works() -> None:
    breaker = Breaker()
    for number in range(KEYS_LEAST - 1):
        breaker = failed(breaker, f"page-{number}", 0)
        breaker = succeeded(breaker, f"page-{number}", 1)

    breaker = failed(breaker, "another", 2)

    assert room(breaker, at(2)) is None


def test_what_is_older_than_a_minute_does_not_count() -> None:
    old_s = WINDOW.total_seconds()
    early = late = Breaker()
    for number in range(KEYS_LEAST - 1):
        early = late = failed(late, f"page-{number}", 0)

    early, late = failed(early, "last", old_s), failed(late, "last", old_s + 0.001)

    assert phase(early, at(old_s)) is Phase.OPEN
    assert phase(late, at(old_s + 0.001)) is Phase.CLOSED


def test_it_remembers_the_last_twenty_results_only() -> None:
    breaker = Breaker()
    for number in range(RESULTS_MOST + 5):
        breaker = (
            succeeded(breaker, f"page-{number}", number) if number % 4 else failed(breaker, f"page-{number}", number)
        )

    assert [key for _, key, _ in breaker.results] == [f"page-{number}" for number in range(5, RESULTS_MOST + 5)]


def test_success_is_not_counted_while_nothing_fails() -> None:
    breaker = failed(Breaker(), "broken", 0)
    for number in range(RESULTS_MOST):
        breaker = succeeded(breaker, f"page-{number}", number)

    assert breaker == Breaker()
    assert succeeded(breaker, "page", RESULTS_MOST) is breaker


# -- while it is open -----------------------------------------------------------------------------------


def test_the_pauses_double_up_to_a_minute() -> None:
    breaker, pauses = opened(), []
    for _ in range(8):
        assert breaker.probe_at is not None
        now = breaker.probe_at
        breaker = probe_sent(breaker, now, 0.5)
        breaker = after_failure(breaker, "page", began_at=now, now=now + CALL, chance=0.5)
        pauses.append(breaker.pause.total_seconds())

    assert pauses == [2, 4, 8, 16, 32, 60, 60, 60]


@given(chances, st.integers(0, 1000))
def test_the_jitter_is_a_quarter_either_way(chance: float, probes: int) -> None:
    breaker = probe_sent(Breaker(opened_at=NOON, probe_at=NOON, probes=probes), NOON, chance)

    doubled = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(probes + 1, 30))
    assert 0.75 * doubled <= breaker.pause < 1.25 * doubled + timedelta(microseconds=1)
    assert breaker.probe_at == NOON + breaker.pause


def test_a_probe_that_hangs_is_followed_by_others_ever_more_seldom() -> None:
    breaker, sent = opened(), []
    for seconds in range(301):
        if room(breaker, at(seconds)):
            sent.append(seconds)
            breaker = probe_sent(breaker, at(seconds), 0.5)

    assert sent == [1, 3, 7, 15, 31, 63, 123, 183, 243]


def test_what_was_in_flight_when_it_opened_neither_closes_it_nor_moves_the_probe() -> None:
    breaker = opened(seconds=10)

    after = succeeded(failed(breaker, "one", 10.5, began_s=9), "two", 10.6, began_s=9.9)

    assert after == breaker


def test_failures_from_the_outage_that_end_late_do_not_open_it_again() -> None:
    breaker = probe_sent(opened(), at(1), 0.5)
    breaker = closed = succeeded(breaker, "page", 1.1, began_s=1)
    for number in range(64):
        breaker = failed(breaker, f"slow-{number}", 30, began_s=-5)

    assert breaker == closed


# -- closing --------------------------------------------------------------------------------------------


def test_the_first_probe_that_ends_well_closes_it_with_nothing_remembered() -> None:
    breaker = probe_sent(opened(), at(1), 0.5)

    breaker = succeeded(breaker, "page", 1.1, began_s=1)

    assert room(breaker, at(1.1)) is None
    assert breaker.results == ()


def test_an_origin_that_is_still_ill_opens_it_again_and_is_not_asked_sooner_for_it() -> None:
    breaker = opened()
    for _ in range(3):
        assert breaker.probe_at is not None
        breaker = probe_sent(breaker, breaker.probe_at, 0.5)
    assert breaker.probe_at is not None
    breaker = after_success(breaker, "page", began_at=breaker.probe_at, now=breaker.probe_at + CALL)

    assert breaker.closed_at is not None
    for number in range(KEYS_LEAST):
        now = breaker.closed_at + timedelta(seconds=1)
        breaker = after_failure(breaker, f"page-{number}", began_at=now - CALL, now=now, chance=0.5)

    assert breaker.opened_at is not None
    assert breaker.pause == timedelta(seconds=8)


def test_another_outage_begins_with_a_short_pause() -> None:
    breaker = Breaker(closed_at=at(0), probes=9)
    for number in range(KEYS_LEAST):
        breaker = failed(breaker, f"page-{number}", WINDOW.total_seconds() + 1)

    assert breaker.pause == FIRST_PAUSE


# -- an outage ------------------------------------------------------------------------------------------


@settings(max_examples=30)
@given(st.lists(chances, min_size=1, max_size=20), st.integers(1, 64))
def test_ten_minutes_of_outage_cost_some_dozens_of_calls_and_end_within_75_s(
    dice: list[float], concurrency: int
) -> None:
    end_s, keys = 600.0, iter(range(10_000))
    in_flight: list[tuple[float, float, str]] = []
    healed_s: float | None = None
    breaker, seconds, calls = Breaker(), 0.0, 0
    while healed_s is None:
        now = at(seconds)
        allowed = room(breaker, now)
        while len(in_flight) < concurrency and (allowed is None or allowed > 0):
            heapq.heappush(in_flight, (seconds + 0.03, seconds, f"page-{next(keys)}"))
            calls += seconds < end_s
            if allowed is not None:
                breaker = probe_sent(breaker, now, dice[calls % len(dice)])
            allowed = room(breaker, now)
        probe_s = (breaker.probe_at - NOON).total_seconds() if breaker.probe_at else seconds + 1
        seconds = min(in_flight[0][0], probe_s) if in_flight else probe_s
        while in_flight and in_flight[0][0] <= seconds:
            _, began_s, key = heapq.heappop(in_flight)
            if began_s < end_s:
                breaker = failed(breaker, key, seconds, began_s=began_s)
            else:
                breaker = succeeded(breaker, key, seconds, began_s=began_s)
                healed_s = seconds

    assert calls <= concurrency + KEYS_LEAST + 18  # what was in flight, what opens it, and the probes
    assert healed_s <= end_s + 76
    assert room(breaker, at(seconds)) is None


# -- whatever happens -----------------------------------------------------------------------------------


class AnyOrder(RuleBasedStateMachine):
    """Calls that begin, end well or ill and late, and a clock that may be set back."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker()
        self.now = NOON
        self.calls: list[tuple[str, datetime]] = []
        self.may_probe_at: datetime | None = None

    @rule(seconds=st.floats(0, 100))
    def time_passes(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(seconds=st.sampled_from([0.001, 1, 59, 3600]))
    def the_clock_is_set_back(self, seconds: float) -> None:
        self.now -= timedelta(seconds=seconds)
        self.may_probe_at = None

    @rule(number=st.integers(0, 30), chance=chances)
    def a_call_goes_if_it_may(self, number: int, chance: float) -> None:
        allowed = room(self.breaker, self.now)
        if allowed == 0:
            return
        self.calls.append((f"page-{number}", self.now))
        if allowed is None:
            return
        assert self.may_probe_at is None or self.now >= self.may_probe_at, "a second probe in one pause"
        self.breaker = probe_sent(self.breaker, self.now, chance)
        self.may_probe_at = self.now + 0.75 * FIRST_PAUSE
        assert room(self.breaker, self.now) == 0

    @precondition(lambda self: self.calls)
    @rule(data=st.data(), chance=chances, good=st.booleans())
    def a_call_ends(self, data: st.DataObject, chance: float, good: bool) -> None:
        key, began_at = self.calls.pop(data.draw(st.integers(0, len(self.calls) - 1)))
        before = self.breaker
        if good:
            self.breaker = after_success(before, key, began_at=began_at, now=self.now)
        else:
            self.breaker = after_failure(before, key, began_at=began_at, now=self.now, chance=chance)
            assert before.opened_at is None or self.breaker == before, "a failure lengthened the pause"
        if self.breaker.opened_at is None or before.opened_at is None:
            self.may_probe_at = None

    @rule(chance=chances)
    def everything_fails(self, chance: float) -> None:
        for number in range(2 * KEYS_LEAST):
            self.breaker = after_failure(self.breaker, f"page-{number}", began_at=self.now, now=self.now, chance=chance)

        assert room(self.breaker, self.now) is not None

    @invariant()
    def it_is_open_or_closed(self) -> None:
        breaker = self.breaker
        assert (breaker.opened_at is None) == (breaker.probe_at is None) == (room(breaker, self.now) is None)
        assert len(breaker.results) <= RESULTS_MOST

    @invariant()
    def it_never_blocks_for_good(self) -> None:
        for set_back in (timedelta(0), timedelta(seconds=30), timedelta(days=1)):
            then = self.now - set_back
            assert room(self.breaker, then) != 0 or room(self.breaker, then + 1.25 * LONGEST_PAUSE) != 0


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=40)

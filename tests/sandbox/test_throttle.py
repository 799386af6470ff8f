"""How many calls pass: the law of the bucket of tokens."""

from datetime import UTC, datetime
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirrord.sandbox.throttle import Allowance, Throttle, parse_throttle


def test_a_burst_passes_at_once_and_then_as_many_as_time_brings() -> None:
    allowance = Allowance(Throttle(per_second=50), 100.0)

    at_once = [allowance.take(100.0) for _ in range(6)]
    soon = [allowance.take(100.04) for _ in range(3)]

    assert at_once == [True] * 5 + [False]
    assert soon == [True, True, False]


@given(
    per_second=st.floats(0.1, 100),
    gaps_s=st.lists(st.floats(0, 5), min_size=1, max_size=60),
)
def test_no_stretch_of_time_sees_more_than_the_rate_and_one_burst(per_second: float, gaps_s: list[float]) -> None:
    throttle = Throttle(per_second=per_second)
    allowance = Allowance(throttle, 0.0)

    passed_s = [now_s for now_s in accumulate(gaps_s) if allowance.take(now_s)]

    for first, start_s in enumerate(passed_s):
        for count, end_s in enumerate(passed_s[first:], 1):
            assert count <= throttle.burst + (end_s - start_s) * per_second + 1e-6


def test_who_waits_long_enough_always_passes() -> None:
    allowance = Allowance(Throttle(per_second=2), 0.0)

    assert all(allowance.take(n * 0.5) for n in range(100))


@pytest.mark.parametrize(("per_second", "burst"), [(0.5, 1), (5, 1), (50, 5), (500, 50)])
def test_the_burst_is_a_tenth_of_a_second_and_never_less_than_a_call(per_second: float, burst: float) -> None:
    assert Throttle(per_second=per_second).burst == burst


@pytest.mark.parametrize(
    ("throttle", "said"),
    [
        (Throttle(per_second=1), None),
        (Throttle(per_second=1, retry_after=3), "3"),
        (Throttle(per_second=1, retry_after="3"), "3"),
        (Throttle(per_second=1, retry_after=60, as_date=True), "Fri, 20 Nov 2026 12:01:00 GMT"),
    ],
    ids=["nothing", "seconds", "text", "date"],
)
def test_when_to_come_again_is_said_as_asked(throttle: Throttle, said: str | None) -> None:
    headers = throttle.headers(datetime(2026, 11, 20, 12, tzinfo=UTC))

    assert headers.get("Retry-After") == said


@pytest.mark.parametrize(
    ("text", "throttle"),
    [("50", Throttle(per_second=50)), ("0.5:429", Throttle(per_second=0.5, status=429))],
)
def test_a_throttle_is_written_in_one_word(text: str, throttle: Throttle) -> None:
    assert parse_throttle(text) == throttle


@pytest.mark.parametrize("text", ["", "fast", "0", "-1", "nan", "inf", "50:", "50:often", "50:200"])
def test_what_is_no_throttle_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not calls per second"):
        parse_throttle(text)

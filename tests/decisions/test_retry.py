"""What follows an attempt: jitter within its bounds, strikes that park, pauses that are honoured."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirrord.decisions.retry import (
    HOLD_AT_MOST,
    HOLD_FOR,
    THROTTLED_MOST,
    RetryPolicy,
    backoff,
    hold_after,
    next_step,
    orphan_grace,
)
from mirrord.model.attempt import Fault, Outcome, Verdict
from mirrord.model.step import Done, Hold, NextStep, Park, Retry

POLICY = RetryPolicy(first_delay=timedelta(seconds=1), max_delay=timedelta(minutes=10), max_attempts=3)
UNAVAILABLE = Verdict(outcome=Outcome.UNAVAILABLE, fault=Fault.SERVICE)
THROTTLED = Verdict(outcome=Outcome.THROTTLED, fault=Fault.SERVICE, counts=False)
TIMED_OUT = Verdict(outcome=Outcome.TIMED_OUT, fault=Fault.KEY)

chances = st.floats(min_value=0, max_value=1)
counts = st.integers(min_value=1, max_value=10_000)
pauses = st.timedeltas(min_value=timedelta(0), max_value=timedelta(days=1))


def step(
    verdict: Verdict,
    *,
    attempt: int = 1,
    strikes: int = 1,
    chance: float = 1.0,
    retry_after: timedelta | None = None,
) -> NextStep:
    return next_step(verdict, attempt=attempt, strikes=strikes, policy=POLICY, chance=chance, retry_after=retry_after)


@pytest.mark.parametrize(
    ("failures", "most_s"),
    [(1, 1), (2, 2), (3, 4), (4, 8), (10, 512), (11, 600), (12, 600), (1_000_000, 600)],
)
def test_the_delay_doubles_up_to_its_maximum(failures: int, most_s: float) -> None:
    assert backoff(failures, POLICY, 1.0) == timedelta(seconds=most_s)


@given(counts, chances)
def test_the_jitter_is_full_anywhere_between_nothing_and_the_doubled_delay(failures: int, chance: float) -> None:
    most = backoff(failures, POLICY, 1.0)

    delay = backoff(failures, POLICY, chance)

    assert timedelta(0) <= delay <= most <= POLICY.max_delay
    assert abs(delay - most * chance) <= timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        pytest.param(Verdict(outcome=Outcome.REFRESHED), Done(), id="refreshed"),
        pytest.param(Verdict(outcome=Outcome.REMOVED), Done(), id="removed"),
        pytest.param(UNAVAILABLE, Retry(timedelta(seconds=1)), id="unavailable"),
        pytest.param(THROTTLED, Retry(timedelta(seconds=1)), id="throttled"),
        pytest.param(
            Verdict(outcome=Outcome.ORIGIN_FAILING, fault=Fault.ORIGIN), Retry(timedelta(seconds=1)), id="origin"
        ),
        pytest.param(TIMED_OUT, Retry(orphan_grace(None)), id="timed-out"),
        pytest.param(Verdict(outcome=Outcome.ORIGIN_MISSING, fault=Fault.KEY), Park(), id="origin-missing"),
        pytest.param(Verdict(outcome=Outcome.REFUSED, fault=Fault.KEY), Park(), id="key-refused"),
        pytest.param(Verdict(outcome=Outcome.REFUSED, fault=Fault.ACCOUNT), Hold(HOLD_FOR), id="account-refused"),
    ],
)
def test_after_the_first_attempt_comes(verdict: Verdict, expected: NextStep) -> None:
    assert step(verdict) == expected


@pytest.mark.parametrize(
    "verdict",
    [
        pytest.param(UNAVAILABLE, id="unavailable"),
        pytest.param(THROTTLED, id="throttled"),
        pytest.param(TIMED_OUT, id="timed-out"),
        pytest.param(Verdict(outcome=Outcome.ORIGIN_FAILING, fault=Fault.ORIGIN), id="origin-failing"),
    ],
)
def test_as_many_strikes_as_the_settings_allow_park_the_key(verdict: Verdict) -> None:
    assert isinstance(step(verdict, attempt=2, strikes=2), Retry)
    assert step(verdict, attempt=3, strikes=3) == Park()
    assert step(verdict, attempt=4, strikes=4) == Park()


@given(counts)
def test_attempts_that_are_no_strikes_never_park_the_key(attempt: int) -> None:
    assert isinstance(step(THROTTLED, attempt=attempt, strikes=0), Retry)


@given(counts, counts)
def test_a_refused_account_parks_no_key_however_often_it_is_asked(attempt: int, strikes: int) -> None:
    verdict = Verdict(outcome=Outcome.REFUSED, fault=Fault.ACCOUNT)

    assert step(verdict, attempt=attempt, strikes=strikes) == Hold(HOLD_FOR)


@given(counts, chances, pauses)
def test_a_pause_that_kodo_asks_for_is_never_cut_short(attempt: int, chance: float, pause: timedelta) -> None:
    after = step(THROTTLED, attempt=attempt, strikes=0, chance=chance, retry_after=pause)

    assert after == Retry(max(pause, backoff(min(attempt, THROTTLED_MOST), POLICY, chance)))


def test_a_held_mirror_probes_ever_more_seldom_up_to_a_limit() -> None:
    holds = [hold_after(None)]
    while holds[-1] < HOLD_AT_MOST:
        holds.append(hold_after(holds[-1]))

    assert [hold.total_seconds() for hold in holds] == [30, 60, 120, 240, 480, 600]
    assert hold_after(HOLD_AT_MOST) == HOLD_AT_MOST


@pytest.mark.parametrize(
    ("size_bytes", "seconds"),
    [
        pytest.param(None, 10, id="size-unknown"),
        pytest.param(0, 10, id="empty"),
        pytest.param(2**20, 11, id="one-mebibyte"),
        pytest.param(2**30, 1034, id="one-gibibyte"),
    ],
)
def test_a_dead_claimers_pull_gets_ten_seconds_and_one_a_mebibyte(size_bytes: int | None, seconds: float) -> None:
    assert orphan_grace(size_bytes) == timedelta(seconds=seconds)

"""When a feed counts as silent: after twenty of its usual intervals, within bounds, and never before it has a habit."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirrord.decisions.rhythm import INTERVALS_KNOWN, INTERVALS_NEEDED, LATEST, SOONEST, TIMES, TOGETHER, Rhythm

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def heard(*intervals: timedelta) -> Rhythm:
    """A feed that brought something at START and after each of `intervals`."""
    rhythm, at = Rhythm(), START
    rhythm.note(at)
    for interval in intervals:
        at += interval
        rhythm.note(at)
    return rhythm


@pytest.mark.parametrize("count", range(INTERVALS_NEEDED))
def test_without_a_habit_nobody_knows_silence(count: int) -> None:
    rhythm = heard(*[HOUR] * count)

    assert (rhythm.usual(), rhythm.usual_s, rhythm.silent_at()) == (None, None, None)
    assert rhythm.last == START + count * HOUR


def test_a_feed_that_never_brought_anything_is_never_silent() -> None:
    assert Rhythm().last is None
    assert (Rhythm().silent_at(), Rhythm().silent_at(HOUR)) == (None, None)


@pytest.mark.parametrize(
    ("usual", "silence"),
    [
        pytest.param(timedelta(seconds=1), SOONEST, id="busy"),
        pytest.param(SOONEST / TIMES, SOONEST, id="just-the-soonest"),
        pytest.param(timedelta(minutes=2), timedelta(minutes=40), id="between"),
        pytest.param(LATEST / TIMES, LATEST, id="just-the-latest"),
        pytest.param(timedelta(days=2), LATEST, id="rare"),
    ],
)
def test_silence_is_twenty_times_the_usual_within_bounds(usual: timedelta, silence: timedelta) -> None:
    rhythm = heard(*[usual] * INTERVALS_NEEDED)

    assert (rhythm.usual(), rhythm.usual_s) == (usual, usual.total_seconds())
    assert rhythm.last is not None
    assert rhythm.silent_at() == rhythm.last + silence


def test_one_long_pause_does_not_change_the_habit() -> None:
    rhythm = heard(*[HOUR] * 4, timedelta(days=300), *[HOUR] * 2)

    assert rhythm.usual() == HOUR


def test_only_the_last_intervals_count() -> None:
    rhythm = heard(*[HOUR] * 1000, *[2 * HOUR] * (INTERVALS_KNOWN // 2 + 1))

    assert rhythm.usual() == 2 * HOUR


def test_what_one_read_brings_in_parts_is_one_arrival() -> None:
    rhythm = heard(*[HOUR, TOGETHER / 100, TOGETHER / 100] * INTERVALS_NEEDED)

    assert rhythm.usual() == HOUR + TOGETHER / 50
    assert rhythm.last == START + INTERVALS_NEEDED * (HOUR + TOGETHER / 50)


def test_a_feed_that_never_pauses_has_a_habit_all_the_same() -> None:
    rhythm = heard(*[TOGETHER / 10] * 10 * INTERVALS_NEEDED)

    assert rhythm.usual() == TOGETHER
    assert rhythm.last is not None
    assert rhythm.silent_at() == rhythm.last + SOONEST


def test_a_clock_that_was_set_back_is_no_interval() -> None:
    before = heard(*[HOUR] * INTERVALS_NEEDED, -1000 * HOUR)
    after = heard(*[HOUR] * INTERVALS_NEEDED, -1000 * HOUR, *[2 * HOUR] * (INTERVALS_NEEDED + 1))

    assert (before.usual(), after.usual()) == (HOUR, 2 * HOUR)
    assert before.last == START - (1000 - INTERVALS_NEEDED) * HOUR


@pytest.mark.parametrize("count", [0, INTERVALS_NEEDED], ids=["without-a-habit", "whatever-the-habit"])
@pytest.mark.parametrize("after", [timedelta(seconds=5), timedelta(days=30)], ids=str)
def test_a_person_may_say_how_long(count: int, after: timedelta) -> None:
    rhythm = heard(*[HOUR] * count)

    assert rhythm.last is not None
    assert rhythm.silent_at(after) == rhythm.last + after


def test_a_person_may_say_never() -> None:
    assert heard(*[HOUR] * INTERVALS_NEEDED).silent_at(timedelta(0)) is None


@settings(max_examples=100)
@given(st.lists(st.timedeltas(timedelta(days=-9), timedelta(days=900)), max_size=80))
def test_whatever_comes_silence_is_between_ten_minutes_and_a_week_after_the_last_arrival(
    intervals: list[timedelta],
) -> None:
    rhythm = heard(*intervals)

    silent_at = rhythm.silent_at()

    assert rhythm.last == START + sum(intervals, timedelta(0))
    assert silent_at is None or SOONEST <= silent_at - rhythm.last <= LATEST

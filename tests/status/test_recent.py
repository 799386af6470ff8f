"""What was heard last is remembered, of each mirror and of all, and memory has a bound whatever is said."""

import threading
import tracemalloc
from datetime import timedelta
from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirrord.status.recent import (
    ATTEMPTS_MOST,
    ATTEMPTS_MOST_EACH,
    HOURS,
    MIRRORS_MOST,
    REMARKS_MOST,
    TEXT_MOST,
    Minute,
    Recent,
    taken_together,
)
from tests.journal.ledger import at
from tests.status.shown import attempted


class _Clock:
    def __init__(self) -> None:
        self.at = at(60_000)

    def __call__(self) -> "object":
        return self.at


@pytest.fixture
def clock() -> _Clock:
    return _Clock()


@pytest.fixture
def recent(clock: _Clock) -> Recent:
    return Recent(clock)


def test_the_last_attempts_come_newest_first(recent: Recent) -> None:
    for number in range(3):
        recent.hear("info", attempted(key=f"k{number}"))

    found = recent.attempts(["docs"], 2)

    assert [line.fields["key"] for line in found] == ["k2", "k1"]


def test_a_busy_mirror_does_not_take_the_place_of_a_quiet_ones_attempts(recent: Recent) -> None:
    recent.hear("info", attempted(mirror="quiet", key="q"))
    for number in range(1000):
        recent.hear("info", attempted(mirror="busy", key=f"k{number}"))

    assert [line.fields["key"] for line in recent.attempts(["quiet"], 10)] == ["q"]
    assert len(recent.attempts(["busy"], 1000)) == ATTEMPTS_MOST_EACH
    assert len(recent.attempts(["busy", "quiet"], 1000)) == ATTEMPTS_MOST


def test_what_ended_is_counted_by_the_minute(recent: Recent, clock: _Clock) -> None:
    for lag_s in (1.0, 2.0, 9.0):
        recent.hear("info", attempted(lag_s=lag_s))
    recent.hear("info", attempted(outcome="origin-failing", next="retry", lag_s=100.0))
    clock.at += timedelta(minutes=2)
    recent.hear("info", attempted(outcome="removed", lag_s=4.0))

    first, second = recent.minutes(["docs"])

    assert (first.refreshed, first.failed, first.lag_s, first.worst_lag_s) == (3, 1, 2.0, 9.0)
    assert (second.number - first.number, second.refreshed, second.lag_s) == (2, 1, 4.0)


def test_a_success_that_nobody_wants_any_more_is_no_refresh(recent: Recent) -> None:
    recent.hear("info", attempted(next="retry"))

    (minute,) = recent.minutes(["docs"])

    assert (minute.refreshed, minute.failed, minute.lag_s) == (0, 0, None)


def test_what_is_older_than_the_hours_that_are_shown_is_left_out(recent: Recent, clock: _Clock) -> None:
    recent.hear("info", attempted())
    clock.at += timedelta(hours=HOURS)

    assert recent.minutes(["docs"]) == []


def test_a_clock_that_is_set_back_loses_nothing(recent: Recent, clock: _Clock) -> None:
    recent.hear("info", attempted())
    clock.at -= timedelta(minutes=10)
    recent.hear("info", attempted())
    clock.at += timedelta(minutes=10)

    assert sum(minute.refreshed for minute in recent.minutes(["docs"])) == 2


def test_a_mirror_that_is_gone_is_forgotten(recent: Recent) -> None:
    recent.hear("info", attempted(mirror="old"))
    recent.hear("warning", {"event": "feed.stuck", "mirror": "old"})
    recent.hear("info", attempted(mirror="new"))

    recent.keep_only(["new", "other"])

    assert [line.fields["mirror"] for line in recent.attempts(["new", "other"], 10)] == ["new"]
    assert recent.remarks(["new", "other"]) == []
    assert recent.attempts(["old"], 10) == []
    assert recent.minutes(["old"]) == []


def test_warnings_and_errors_of_any_event_are_kept_with_their_fields(recent: Recent) -> None:
    recent.hear("info", {"event": "scan.finished", "mirror": "docs"})
    recent.hear("warning", {"event": "feed.stuck", "mirror": "docs", "path": b"x", "headers": {"a": [1, None]}})
    recent.hear("error", {"event": "listener.failed", "action": "free the address"})

    found = recent.remarks(["docs"])

    assert [line.fields["event"] for line in found] == ["listener.failed", "feed.stuck"]
    assert found[1].fields["headers"] == {"a": [1, None]}
    assert found[1].fields["path"] == "b'x'"


def test_ten_thousand_keys_that_are_given_up_do_not_crowd_out_another_warning(recent: Recent) -> None:
    recent.hear("error", {"event": "breaker.opened", "mirror": "docs"})
    for number in range(10_000):
        recent.hear("warning", attempted(key=f"{number}", outcome="origin-missing", next="park"))

    assert [line.fields["event"] for line in recent.remarks(["docs"])] == ["breaker.opened"]


def test_what_a_line_raised_is_not_held_on_to(recent: Recent) -> None:
    recent.hear("error", {"event": "a.b", "exc_info": ValueError("x"), "stack": "y", "exception": "z"})

    assert recent.remarks([])[0].fields == {"event": "a.b"}


def test_a_text_without_end_is_left_out_and_not_cut(recent: Recent) -> None:
    long = "x" * (TEXT_MOST + 1)
    recent.hear("info", attempted(error=long))
    recent.hear("warning", {"event": "a.b", "reason": long, "facts": {"deep": [long]}})

    said = f"(left out: {len(long)} characters)"
    assert recent.attempts(["docs"], 1)[0].fields["error"] == said
    assert recent.remarks([])[0].fields == {"event": "a.b", "reason": said, "facts": {"deep": [said]}}


def test_memory_does_not_grow_with_keys_or_time(recent: Recent, clock: _Clock) -> None:
    def hear(minutes: int) -> int:
        for number in range(minutes * 20):
            if number % 20 == 0:
                clock.at += timedelta(minutes=1)
            recent.hear("info", attempted(key=f"{number:0700}", mirror=f"m{number % 10}"))
            recent.hear("warning", {"event": "a.b", "key": f"{number:0700}"})
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        full = hear(HOURS * 60 + 10)
        later = hear(HOURS * 60)
    finally:
        tracemalloc.stop()

    assert later < full * 1.05
    assert full < 4_000_000  # of ten mirrors that are busy all the time


def test_names_of_mirrors_have_a_bound_too(recent: Recent) -> None:
    for number in range(MIRRORS_MOST + 5):
        recent.hear("info", attempted(mirror=f"m{number}"))

    assert recent.minutes(["m0"]) == []
    assert len(recent.minutes([f"m{MIRRORS_MOST + 4}"])) == 1


def test_threads_may_say_things_at_once(recent: Recent) -> None:
    def say() -> None:
        for _ in range(2000):
            recent.hear("info", attempted())
            recent.hear("warning", {"event": "a.b"})
            recent.minutes(["docs"])

    threads = [threading.Thread(target=say) for _ in range(3)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert sum(minute.refreshed for minute in recent.minutes(["docs"])) == 6000
    assert len(recent.remarks([])) == REMARKS_MOST


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=300))
def test_the_middle_of_a_minutes_lags_is_one_of_the_middle_ones(lags: list[float]) -> None:
    recent = Recent(lambda: at(0))
    for lag_s in lags:
        recent.hear("info", attempted(lag_s=lag_s))

    (minute,) = recent.minutes(["docs"])

    assert minute.worst_lag_s == max(lags)
    assert minute.lag_s is not None
    assert min(lags) <= minute.lag_s <= max(lags)
    if len(lags) <= 32:
        assert minute.lag_s == median(lags)


@given(st.lists(st.builds(Minute, number=st.integers(0, 5), refreshed=st.integers(0, 9), failed=st.integers(0, 9))))
def test_minutes_taken_together_lose_no_attempt(minutes: list[Minute]) -> None:
    found = taken_together(minutes)

    assert [each.number for each in found] == sorted({each.number for each in minutes})
    assert sum(each.refreshed for each in found) == sum(each.refreshed for each in minutes)
    assert sum(each.failed for each in found) == sum(each.failed for each in minutes)

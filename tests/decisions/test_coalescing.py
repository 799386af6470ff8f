"""Hints become one look each: whole or quiet for the settle time, at the latest after the limit, and none is lost."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirrord.decisions.coalescing import Coalescing

SETTLE, LIMIT = timedelta(seconds=2), timedelta(seconds=10)
ALL = 1000
WRITING, TOUCHED, WHOLE, GONE = True, None, False, False
"""What each kind of hint says of the writer."""


def at(seconds: float) -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)


def coalescing(*hints: tuple[str, float]) -> Coalescing:
    pending = Coalescing(SETTLE, LIMIT)
    for path, seconds in hints:
        pending.note(path, at(seconds))
    return pending


def test_a_path_is_let_go_once_it_has_been_quiet() -> None:
    pending = coalescing(("a", 0))

    early, due = pending.due(at(1.999), ALL), pending.due(at(2), ALL)

    assert early == {}
    assert due == {"a": at(0)}
    assert len(pending) == 0


def test_a_path_is_let_go_once_only() -> None:
    pending = coalescing(("a", 0), ("a", 0.5), ("a", 1))

    first, second = pending.due(at(5), ALL), pending.due(at(100), ALL)

    assert first == {"a": at(0)}
    assert second == {}
    assert pending.next_at() is None


def test_another_hint_starts_the_quiet_time_again() -> None:
    pending = coalescing(("a", 0), ("a", 1.5))

    early, due = pending.due(at(3), ALL), pending.due(at(3.5), ALL)

    assert early == {}
    assert due == {"a": at(0)}


def test_a_path_that_never_gets_quiet_is_let_go_at_the_limit() -> None:
    pending = coalescing(*(("a", n) for n in range(10)))

    early, due = pending.due(at(9.9), ALL), pending.due(at(10), ALL)

    assert early == {}
    assert due == {"a": at(0)}


def test_a_hint_after_the_look_begins_anew() -> None:
    pending = coalescing(("a", 0))
    pending.due(at(2), ALL)

    pending.note("a", at(3))

    assert pending.due(at(4), ALL) == {}
    assert pending.due(at(5), ALL) == {"a": at(3)}


def test_a_busy_path_holds_back_no_other() -> None:
    pending = coalescing(("busy", 0), ("quiet", 0.5), ("busy", 1), ("busy", 2))

    due = pending.due(at(2.5), ALL)

    assert due == {"quiet": at(0.5)}
    assert len(pending) == 1


@pytest.mark.parametrize(
    ("hints", "ready"),
    [
        pytest.param([(0, WHOLE)], 2, id="whole: after the settle time"),
        pytest.param([(0, WRITING)], 10, id="open: at the limit"),
        pytest.param([(0, WRITING), (9, WRITING)], 10, id="open and written again: at the limit after the first"),
        pytest.param([(0, WRITING), (1, WHOLE)], 3, id="closed: settle after that"),
        pytest.param([(0, WRITING), (5, WHOLE)], 7, id="closed late: settle after that"),
        pytest.param([(0, WRITING), (9, WHOLE)], 10, id="closed just before the limit: at the limit"),
        pytest.param([(0, WRITING), (5, TOUCHED)], 10, id="open and touched: still open"),
        pytest.param([(0, WRITING), (5, WHOLE), (6, TOUCHED)], 8, id="closed and touched: quiet after that"),
        pytest.param([(0, TOUCHED), (1, WRITING)], 10, id="linked, then open: at the limit"),
        pytest.param([(0, TOUCHED), (1, TOUCHED)], 3, id="touched: quiet after that"),
        pytest.param([(0, WRITING), (5, GONE)], 7, id="gone while open: settle after that"),
        pytest.param([(0, WRITING), (5, GONE), (6, TOUCHED)], 8, id="gone and linked anew: quiet after that"),
        pytest.param([(n, n % 2 == 0) for n in range(10)], 10, id="closed and opened again and again: at the limit"),
        pytest.param([(0, WRITING), (5, WHOLE), (6, WRITING)], 10, id="opened again: at the limit after the first"),
    ],
)
@pytest.mark.parametrize("asked_often", [True, False])
def test_a_path_waits_for_its_writer(hints: list[tuple[int, bool | None]], ready: int, *, asked_often: bool) -> None:
    pending = Coalescing(SETTLE, LIMIT)

    early: dict[str, datetime] = {}
    for tenth in range(ready * 10):
        for seconds, being_written in hints:
            if seconds * 10 == tenth:
                pending.note("a", at(seconds), being_written=being_written)
        if asked_often:
            early |= pending.due(at(tenth / 10), ALL)
    asked_at, due = pending.next_at(), pending.due(at(ready), ALL)

    assert early == {}
    assert asked_at is not None
    assert asked_at <= at(ready)
    assert due == {"a": at(0)}
    assert pending.next_at() is None


def test_what_was_said_of_a_writer_is_forgotten_with_the_look() -> None:
    pending = Coalescing(SETTLE, LIMIT)
    pending.note("a", at(0), being_written=WRITING)
    pending.due(at(10), ALL)

    pending.note("a", at(11), being_written=TOUCHED)

    assert pending.due(at(13), ALL) == {"a": at(11)}


def test_an_open_path_holds_back_no_other() -> None:
    pending = Coalescing(SETTLE, LIMIT)
    pending.note("open", at(0), being_written=WRITING)
    pending.note("whole", at(1), being_written=WHOLE)

    assert pending.due(at(3), 1) == {"whole": at(1)}
    assert pending.next_at() == at(10)


def test_what_was_touched_first_comes_first() -> None:
    pending = coalescing(("c", 0), ("a", 1), ("b", 2))

    due = pending.due(at(10), ALL)

    assert list(due) == ["c", "a", "b"]


def test_no_more_are_let_go_than_asked_for_and_the_rest_next_time() -> None:
    pending = coalescing(("c", 0), ("a", 1), ("b", 2))

    first, second = pending.due(at(10), 2), pending.due(at(10), 2)

    assert list(first) == ["c", "a"]
    assert list(second) == ["b"]


def test_a_limit_below_the_settle_time_does_not_cut_it_short() -> None:
    pending = Coalescing(SETTLE, timedelta(0))
    pending.note("a", at(0))

    assert pending.due(at(1), ALL) == {}
    assert pending.due(at(2), ALL) == {"a": at(0)}


def test_asking_again_is_worth_it_when_the_first_path_may_be_quiet() -> None:
    pending = coalescing(("a", 3), ("b", 1))

    assert pending.next_at() == at(3)


@dataclass
class Told:
    """What a list of all hints says of one path."""

    first_at: datetime
    last_at: datetime
    being_written: bool

    @property
    def ready_at(self) -> datetime:
        limit_at = self.first_at + LIMIT
        return limit_at if self.being_written else min(self.last_at + SETTLE, limit_at)


hints = st.tuples(st.sampled_from("abc"), st.sampled_from([WRITING, TOUCHED, WHOLE]))
steps = st.lists(st.tuples(st.floats(min_value=0, max_value=4), hints | st.integers(min_value=0, max_value=3)))


@given(steps)
def test_it_lets_go_what_a_list_of_all_hints_says(history: list[tuple[float, tuple[str, bool | None] | int]]) -> None:
    pending = Coalescing(SETTLE, LIMIT)
    told: dict[str, Told] = {}
    now = at(0)

    for pause, what in history:
        now += timedelta(seconds=pause)
        if isinstance(what, tuple):
            path, being_written = what
            pending.note(path, now, being_written=being_written)
            so_far = told.setdefault(path, Told(now, now, being_written=False))
            so_far.last_at = now
            so_far.being_written = so_far.being_written if being_written is None else being_written
            continue
        ready = {path for path, of_path in told.items() if of_path.ready_at <= now}
        due = pending.due(now, what)
        assert set(due) <= ready
        assert len(due) == min(what, len(ready))
        assert all(since == told.pop(path).first_at for path, since in due.items())

    assert len(pending) == len(told)
    next_at = pending.next_at()
    assert (next_at is None) == (not told)
    if next_at is not None:
        assert next_at <= min(of_path.ready_at for of_path in told.values())

"""Hints become one look each: after the settle time, at the latest after the limit, and none is lost."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from mirrord.decisions.coalescing import Coalescing

SETTLE, LIMIT = timedelta(seconds=2), timedelta(seconds=10)
ALL = 1000


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


hints = st.tuples(st.just("note"), st.sampled_from("abc"))
looks = st.tuples(st.just("due"), st.integers(min_value=0, max_value=3))
steps = st.lists(st.tuples(st.floats(min_value=0, max_value=4), hints | looks), max_size=40)


@given(steps)
def test_it_lets_go_what_a_list_of_all_hints_says(history: list[tuple[float, tuple[str, str | int]]]) -> None:
    pending = Coalescing(SETTLE, LIMIT)
    hinted: dict[str, list[datetime]] = {}
    now = at(0)

    for pause, (what, detail) in history:
        now += timedelta(seconds=pause)
        if what == "note":
            assert isinstance(detail, str)
            pending.note(detail, now)
            hinted.setdefault(detail, []).append(now)
            continue
        quiet = {p for p, times in hinted.items() if min(times[-1] + SETTLE, times[0] + LIMIT) <= now}
        due = pending.due(now, int(detail))
        assert set(due) <= quiet
        assert len(due) == min(int(detail), len(quiet))
        assert all(since == hinted.pop(path)[0] for path, since in due.items())

    assert len(pending) == len(hinted)
    next_at = pending.next_at()
    assert (next_at is None) == (not hinted)
    if next_at is not None:
        assert next_at <= min(min(times[-1] + SETTLE, times[0] + LIMIT) for times in hinted.values())

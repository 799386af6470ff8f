"""Every line of the log is counted once, under labels of which there are few; scrapes see one moment."""

import threading
import timeit
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirrord.status.meters import COMMIT_S, EVENTS_MOST, LAG_S, Meters, Spread
from tests.journal.ledger import at


def attempted(**different: Any) -> dict[str, Any]:
    """The line of an attempt that went well."""
    return {
        "event": "refresh.attempted",
        "mirror": "docs",
        "bucket": "newdocs",
        "key": "a/b.html",
        "operation": "prefetch",
        "attempt": 1,
        "status": 200,
        "reqid": "abc",
        "xlog": None,
        "outcome": "refreshed",
        "next": "done",
        "retry_in_s": None,
        "duration_s": 0.2,
        "lag_s": 1.5,
        "error": None,
        **different,
    }


@pytest.fixture
def meters() -> Meters:
    return Meters(lambda: at(7))


def test_attempts_are_counted_by_what_came_of_them(meters: Meters) -> None:
    for line in (
        attempted(),
        attempted(),
        attempted(status=None, outcome="timed-out", next="retry"),
        attempted(mirror="other", operation="delete", outcome="removed"),
    ):
        meters.hear("info", line)

    assert meters.counted().attempts == {
        ("docs", "prefetch", "200", "refreshed"): 2,
        ("docs", "prefetch", "none", "timed-out"): 1,
        ("other", "delete", "200", "removed"): 1,
    }


def test_every_attempt_has_a_duration_and_only_what_arrived_a_lag(meters: Meters) -> None:
    for line in (
        attempted(duration_s=0.3, lag_s=2.0),
        attempted(duration_s=400.0, lag_s=9.0, outcome="timed-out", next="retry"),
        attempted(duration_s=0.1, lag_s=99.0, next="retry"),  # the origin had another version by then
        attempted(duration_s=0.1, lag_s=98.0, outcome="origin-missing"),
        attempted(duration_s=0.1, lag_s=100_000.0, outcome="removed", operation="delete"),
    ):
        meters.hear("info", line)

    counts = meters.counted()
    assert counts.durations["docs", "prefetch"].sum == pytest.approx(400.5)
    assert sum(counts.durations["docs", "prefetch"].counts) == 4
    assert counts.durations["docs", "prefetch"].counts[-1] == 1
    assert sum(counts.durations["docs", "delete"].counts) == 1
    assert counts.lags["docs",].sum == pytest.approx(100_002.0)
    assert (sum(counts.lags["docs",].counts), counts.lags["docs",].counts[-1]) == (2, 1)


def test_scans_and_snapshots_leave_their_last_and_their_sum(meters: Meters) -> None:
    found = {"new": 2, "changed": 1, "removed": 0, "duration_s": 3.5}
    meters.hear("info", {"event": "scan.finished", "mirror": "docs", "files": 10, "skipped": 4, **found})
    meters.hear("info", {"event": "scan.finished", "mirror": "docs", "files": 12, "skipped": 4, **found})
    meters.hear("info", {"event": "snapshot.compared", "mirror": "feed", "entries": 5, "snapshot": "x", **found})

    counts = meters.counted()

    assert counts.scans == {("docs",): 2, ("feed",): 1}
    assert counts.differences["docs", "new"] == 4
    assert counts.differences["feed", "removed"] == 0
    assert (counts.last_scans["docs"].files, counts.last_scans["feed"].files) == (12, 5)
    assert (counts.last_scans["docs"].ended_at, counts.last_scans["docs"].duration_s) == (at(7), 3.5)


def test_events_of_ours_are_counted_by_level_and_nobody_else_s(meters: Meters) -> None:
    for level, event in (
        ("error", "removals.held"),
        ("warning", "verification.failed"),
        ("warning", "verification.failed"),
        ("error", "verification.failed"),
        ("debug", "removals.held"),
        ("warning", "Unclosed client session"),
        ("warning", "a.b.c"),
        ("warning", ""),
        ("warning", None),
        ("warning", "x.y\n"),
    ):
        meters.hear(level, {"event": event})
    meters.hear("warning", {})

    assert meters.counted().events == {
        ("removals.held", "error"): 1,
        ("verification.failed", "warning"): 2,
        ("verification.failed", "error"): 1,
    }


def test_names_that_never_end_are_not_all_kept(meters: Meters) -> None:
    letters = "abcdefghijklmnopqrst"
    for first in letters:
        for second in letters:
            meters.hear("info", {"event": f"{first}.{second}"})
    meters.hear("info", {"event": "a.a"})
    meters.hear("info", {"event": "verification.failed"})

    events = meters.counted().events

    assert len({name for name, _ in events}) == EVENTS_MOST
    assert (events["a.a", "info"], events["verification.failed", "info"]) == (2, 1)


def test_lines_that_were_lost_are_summed(meters: Meters) -> None:
    meters.hear("warning", {"event": "lines.lost", "lines": 3})
    meters.hear("warning", {"event": "lines.lost", "lines": 4})

    assert meters.counted().lines_lost == 7


def test_what_was_counted_does_not_change_any_more(meters: Meters) -> None:
    meters.hear("info", attempted())
    meters.committed(0.01)
    before = meters.counted()

    meters.hear("info", attempted())
    meters.committed(0.01)

    assert before.attempts["docs", "prefetch", "200", "refreshed"] == 1
    assert sum(before.durations["docs", "prefetch"].counts) == 1
    assert sum(before.lags["docs",].counts) == 1
    assert sum(before.commits.counts) == 1
    assert meters.counted().commits.sum == pytest.approx(0.02)


def test_threads_that_count_together_lose_nothing(meters: Meters) -> None:
    def count() -> None:
        for _ in range(5000):
            meters.hear("info", attempted())
            meters.committed(0.001)

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    counts = meters.counted()
    assert counts.attempts["docs", "prefetch", "200", "refreshed"] == 20_000
    assert sum(counts.lags["docs",].counts) == sum(counts.commits.counts) == 20_000


@given(st.lists(st.floats(0, 1e6), max_size=50), st.sampled_from([LAG_S, COMMIT_S]))
def test_a_value_is_in_the_first_bucket_that_is_not_below_it(values: list[float], bounds: tuple[float, ...]) -> None:
    spread = Spread.over(bounds)
    for value in values:
        spread.add(value)

    for number, bound in enumerate(bounds):
        assert sum(spread.counts[: number + 1]) == sum(value <= bound for value in values)
    assert sum(spread.counts) == len(values)


def test_to_count_an_attempt_costs_little(meters: Meters) -> None:
    line = attempted()

    each = min(timeit.repeat(lambda: meters.hear("info", line), number=2000, repeat=5)) / 2000

    assert timedelta(seconds=each) < timedelta(microseconds=25)  # 1.4 us; a loaded machine is forgiven the rest

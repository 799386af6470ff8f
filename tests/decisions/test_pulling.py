"""A pull whose end nobody saw: how long it may take, when the bucket is looked at, what a look tells."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirrord.decisions.pulling import (
    FIRST_LOOK,
    GROWTH_MOST,
    LATE_AGAIN,
    LONGEST,
    LOOK_AT_LEAST_EVERY,
    MARGIN,
    TRIED_LOOKS,
    UNSEEN_MOST,
    Look,
    is_asynchronous,
    judge_look,
    leaves_running,
    looked,
    next_look,
    pending_after,
    read_timeout,
)
from mirrord.model.attempt import Operation, Reply, Silence
from mirrord.model.pending import Pending
from tests.decisions.claims import at, running

MIB = 2**20
TICKS_A_SECOND = 10**7
NO_TIME = timedelta(0)

ANSWERED = Reply(status=200)
KODO_GAVE_UP = Reply(status=504, reqid="r")
TIMED_OUT = Reply(status=None, silence=Silence.TIMED_OUT)
BROKEN = Reply(status=None, silence=Silence.BROKEN)
UNREACHED = Reply(status=None, silence=Silence.CONNECT_FAILED)
ACCEPTED = Reply(status=200, task="t", waiting=14, reqid="r")

sizes = st.none() | st.integers(min_value=0, max_value=2**63)
instants = st.timedeltas(timedelta(-9999), timedelta(9999)).map(lambda span: at(0) + span)
spans = st.timedeltas(timedelta(days=-2), timedelta(days=2))
lost_answers = st.sampled_from([KODO_GAVE_UP, TIMED_OUT, BROKEN])


def ticks(moment: datetime) -> int:
    """As Kodo writes it, counted another way than the code under test does."""
    whole_seconds = int(moment.replace(microsecond=0).timestamp())
    return whole_seconds * TICKS_A_SECOND + moment.microsecond * 10


def after(reply: Reply, operation: Operation = Operation.PREFETCH, **also: object) -> Pending:
    """What is remembered of a call that began at 0 and ended at 10."""
    values: dict[str, object] = {
        "began_at": at(0), "now": at(10), "skew": NO_TIME, "size_bytes": None, "hash_before": None, "before": None,
    }  # fmt: skip
    return pending_after(reply, operation=operation, **(values | also))  # type: ignore[arg-type]  # as a test spells it


# -- how long to wait for an answer, and whether to wait at all ---------------------------------------------


@pytest.mark.parametrize(
    ("size_bytes", "seconds"),
    [
        pytest.param(None, 30, id="unknown"),
        pytest.param(0, 30, id="empty"),
        pytest.param(MIB // 2, 30.5, id="half-a-mebibyte"),
        pytest.param(90 * MIB, 120, id="a-second-a-mebibyte"),
        pytest.param(600 * MIB, 630, id="the-most"),
        pytest.param(600 * MIB + 1, 630, id="more-than-the-most"),
        pytest.param(2**63, 630, id="as-big-as-a-file-can-be"),
    ],
)
def test_an_answer_is_waited_for_as_long_as_the_size_asks_up_to_a_bound(size_bytes: int | None, seconds: float) -> None:
    assert read_timeout(timedelta(seconds=30), size_bytes) == timedelta(seconds=seconds)


@given(sizes, sizes, st.timedeltas(NO_TIME, timedelta(hours=1)))
def test_a_bigger_file_is_never_waited_for_less(one: int | None, other: int | None, least: timedelta) -> None:
    shorter, longer = sorted([one or 0, other or 0])

    assert least <= read_timeout(least, shorter) <= read_timeout(least, longer) <= least + GROWTH_MOST


@pytest.mark.parametrize(
    ("size_bytes", "above", "before", "answer"),
    [
        pytest.param(1000, 1000, None, False, id="as-big-as-can-be-waited-for"),
        pytest.param(1001, 1000, None, True, id="bigger"),
        pytest.param(None, 0, None, False, id="of-unknown-size"),
        pytest.param(5, 0, None, True, id="all-are-too-big"),
        pytest.param(5, 9, running(timeouts=LATE_AGAIN - 1), False, id="late-once"),
        pytest.param(5, 9, running(timeouts=LATE_AGAIN), True, id="late-again"),
        pytest.param(None, 9, running(timeouts=LATE_AGAIN + 1), True, id="late-and-of-unknown-size"),
        pytest.param(2**63, None, running(timeouts=99), False, id="there-is-no-url"),
    ],
)
def test_a_pull_that_will_be_late_is_not_waited_for(
    size_bytes: int | None, above: int | None, before: Pending | None, answer: bool
) -> None:
    assert is_asynchronous(size_bytes, above=above, before=before) is answer


# -- which calls leave a pull running, and for how long ------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        pytest.param(KODO_GAVE_UP, True, id="kodo-gave-up"),
        pytest.param(TIMED_OUT, True, id="we-gave-up"),
        pytest.param(BROKEN, True, id="broken"),
        pytest.param(ACCEPTED, True, id="accepted"),
        pytest.param(UNREACHED, False, id="never-asked"),
        pytest.param(ANSWERED, False, id="done"),
        pytest.param(Reply(status=478), False, id="the-origin-failed"),
        pytest.param(Reply(status=503), False, id="kodo-was-busy"),
        pytest.param(Reply(status=573), False, id="throttled"),
        pytest.param(Reply(status=599), False, id="kodo-failed"),
    ],
)
def test_a_call_leaves_a_pull_running(reply: Reply, answer: bool) -> None:
    assert leaves_running(reply) is answer


ASYNC = Operation.ASYNC_FETCH


@pytest.mark.parametrize(
    ("reply", "operation", "size_bytes", "seconds"),
    [
        pytest.param(TIMED_OUT, Operation.PREFETCH, None, 300, id="we-gave-up"),
        pytest.param(TIMED_OUT, Operation.FETCH, 7 * MIB, 307, id="we-gave-up-by-size"),
        pytest.param(KODO_GAVE_UP, Operation.PREFETCH, 7 * MIB, 17, id="kodo-gave-up"),
        pytest.param(BROKEN, Operation.PREFETCH, 7 * MIB, 10, id="broken"),
        pytest.param(ACCEPTED, ASYNC, 7 * MIB, 614, id="accepted"),
        pytest.param(TIMED_OUT, ASYNC, 7 * MIB, 614, id="perhaps-accepted"),
        pytest.param(KODO_GAVE_UP, ASYNC, 7 * MIB, 614, id="perhaps-accepted-though-kodo-gave-up"),
        pytest.param(BROKEN, ASYNC, 7 * MIB, 614, id="perhaps-accepted-though-broken"),
        pytest.param(TIMED_OUT, Operation.PREFETCH, 2**63, 86_400, id="a-sparse-file"),
        pytest.param(ACCEPTED, ASYNC, 2**63, 86_400, id="a-sparse-file-accepted"),
    ],
)
def test_a_pull_may_go_on_from_the_time_when_its_call_ended(
    reply: Reply, operation: Operation, size_bytes: int | None, seconds: float
) -> None:
    pending = after(reply, operation, size_bytes=size_bytes)

    assert pending.until == at(10 + seconds)


@given(lost_answers | st.just(ACCEPTED), st.sampled_from(Operation), sizes, instants, instants, spans)
def test_no_size_or_clock_makes_a_pull_end_before_its_call_or_never(
    reply: Reply, operation: Operation, size_bytes: int | None, began_at: datetime, now: datetime, skew: timedelta
) -> None:
    pending = after(reply, operation, size_bytes=size_bytes, began_at=began_at, now=now, skew=skew)

    assert now < pending.until <= now + LONGEST


@pytest.mark.parametrize(
    ("reply", "operation", "timeouts"),
    [
        pytest.param(KODO_GAVE_UP, Operation.PREFETCH, 1, id="kodo-gave-up"),
        pytest.param(TIMED_OUT, Operation.FETCH, 1, id="we-gave-up"),
        pytest.param(BROKEN, Operation.PREFETCH, 0, id="broken"),
        pytest.param(ACCEPTED, ASYNC, 0, id="accepted"),
        pytest.param(TIMED_OUT, ASYNC, 0, id="perhaps-accepted"),
    ],
)
@pytest.mark.parametrize("before", [None, running(timeouts=1), running(timeouts=5)], ids=["first", "second", "sixth"])
def test_only_pulls_that_were_waited_for_count_as_late(
    reply: Reply, operation: Operation, timeouts: int, before: Pending | None
) -> None:
    pending = after(reply, operation, before=before)

    assert pending.timeouts == (before.timeouts if before else 0) + timeouts


def test_what_a_pull_is_told_by_is_remembered_and_its_looks_are_counted_from_none() -> None:
    pending = after(ACCEPTED, ASYNC, hash_before="h", before=running(looks=7, task="old", reqid="old"))

    assert pending == Pending(
        operation=ASYNC, began_at=at(0), until=at(610), put_after=ticks(at(0) - MARGIN), hash_before="h",
        looks=0, timeouts=0, reqid="r", task="t",
    )  # fmt: skip


@pytest.mark.parametrize(
    "skew_s",
    [0, 0.000001, 900, -900, 86_400 * 1.5, -0.25],
    ids=["none", "a-microsecond", "ahead", "behind", "days", "a-bit-behind"],
)
def test_the_time_after_which_an_object_is_ours_is_told_by_kodos_clock(skew_s: float) -> None:
    pending = after(TIMED_OUT, skew=timedelta(seconds=skew_s))

    assert pending.put_after == ticks(at(skew_s)) - TICKS_A_SECOND


@given(instants, spans)
def test_no_tick_is_lost(began_at: datetime, skew: timedelta) -> None:
    pending = after(TIMED_OUT, began_at=began_at, skew=skew)

    assert type(pending.put_after) is int
    assert pending.put_after == ticks(began_at + skew) - TICKS_A_SECOND


# -- when to look ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("looks", "left_s", "wait_s"),
    [
        pytest.param(0, 300, 1, id="first"),
        pytest.param(1, 300, 2, id="second"),
        pytest.param(2, 300, 4, id="third"),
        pytest.param(3, 300, 8, id="fourth"),
        pytest.param(4, 300, 15, id="at-least-every-15-s"),
        pytest.param(10**9, 300, 15, id="still-every-15-s"),
        pytest.param(4, 0.5, 0.5, id="when-it-is-over"),
        pytest.param(0, 0.5, 0.5, id="when-it-is-over-though-soon"),
        # over, and the bucket did not say: nobody is asked without a pause
        pytest.param(4, 0, 15, id="over"),
        pytest.param(0, -60, 1, id="long-over"),
        pytest.param(9, -(10**9), 15, id="over-for-thirty-years"),
    ],
)
def test_the_next_look_waits(looks: int, left_s: float, wait_s: float) -> None:
    pending = running(looks=looks, until=at(1000 + left_s))

    assert next_look(pending, at(1000)) == timedelta(seconds=wait_s)


pulls = st.builds(
    running,
    until=instants,
    looks=st.integers(min_value=0, max_value=10**6),
    put_after=st.integers(min_value=2**53, max_value=2**60),
    hash_before=st.none() | st.sampled_from(["old", "new"]),
    task=st.none() | st.just("t"),
)


@given(pulls, instants)
def test_a_look_comes_soon_never_at_once_and_never_later_than_it_is_over(pending: Pending, now: datetime) -> None:
    wait = next_look(pending, now)

    assert NO_TIME < wait <= LOOK_AT_LEAST_EVERY
    assert now >= pending.until or now + wait <= pending.until


@given(pulls, instants)
def test_looks_become_rarer_as_long_as_it_may_run(pending: Pending, now: datetime) -> None:
    pending = replace(pending, until=now + timedelta(minutes=5))

    assert FIRST_LOOK <= next_look(pending, now) <= next_look(looked(pending, now), now)


# -- what a look tells -------------------------------------------------------------------------------------

BEGAN = 17_954_388_123_456_785  # odd and above 2**53: a float would round it
PULL = running(put_after=BEGAN, hash_before="old")
MISSING = Reply(status=612)
SURE = BEGAN + 2 * TICKS_A_SECOND


def holds(put_time: int | None, hash_: str | None = None) -> Reply:
    return Reply(status=200, put_time=put_time, hash=hash_)


@pytest.mark.parametrize(
    ("found", "hash_before", "ended"),
    [
        pytest.param(holds(BEGAN), None, True, id="put-at-the-first-tick"),
        pytest.param(holds(BEGAN - 1), None, False, id="put-a-tick-before"),
        pytest.param(holds(BEGAN - 1, "new"), None, False, id="put-before-and-nothing-known-of-what-was"),
        pytest.param(holds(None), None, False, id="nobody-says-when"),
        pytest.param(holds(BEGAN, "new"), "old", True, id="other-bytes-put-since"),
        pytest.param(holds(BEGAN - 1, "new"), "old", True, id="other-bytes-whatever-the-clocks-say"),
        pytest.param(holds(None, "new"), "old", True, id="other-bytes-and-nobody-says-when"),
        pytest.param(holds(SURE, "old"), "old", True, id="the-same-bytes-put-since"),
        pytest.param(holds(SURE - 1, "old"), "old", False, id="the-same-bytes-put-at-about-that-time"),
        pytest.param(holds(BEGAN - 1, "old"), "old", False, id="as-it-was"),
        pytest.param(holds(BEGAN), "old", True, id="put-since-without-a-hash"),
        pytest.param(holds(BEGAN - 1), "old", False, id="put-before-without-a-hash"),
        pytest.param(MISSING, None, False, id="missing"),
        pytest.param(MISSING, "old", False, id="missing-that-was-there"),
    ],
)
def test_a_pull_has_ended_when_the_bucket_has_something_newer(
    found: Reply, hash_before: str | None, ended: bool
) -> None:
    pull = replace(PULL, hash_before=hash_before)

    early, late = judge_look(pull, found, at(1)), judge_look(pull, found, at(300))

    assert (early, late) == ((Look.ENDED, Look.ENDED) if ended else (Look.RUNNING, Look.OVER))


@given(st.integers(min_value=2**53, max_value=2**62), st.integers(min_value=-3, max_value=3))
def test_not_a_tick_is_rounded(put_after: int, ticks_later: int) -> None:
    pull = running(put_after=put_after)

    look = judge_look(pull, holds(put_after + ticks_later), at(1))

    assert look is (Look.ENDED if ticks_later >= 0 else Look.RUNNING)


SILENT = [
    pytest.param(Reply(status=573), id="throttled"),
    pytest.param(Reply(status=599), id="kodo-failed"),
    pytest.param(Reply(status=401), id="account-refused"),
    pytest.param(Reply(status=631), id="no-such-bucket"),
    pytest.param(TIMED_OUT, id="no-answer"),
    pytest.param(UNREACHED, id="out-of-reach"),
]


@pytest.mark.parametrize("found", SILENT)
@pytest.mark.parametrize("seconds", [1, 300, 899], ids=["running", "over", "long-over"])
def test_while_the_bucket_does_not_say_a_pull_counts_as_running(found: Reply, seconds: float) -> None:
    assert judge_look(PULL, found, at(seconds)) is Look.RUNNING


@pytest.mark.parametrize("found", SILENT)
def test_a_bucket_that_never_says_keeps_a_key_for_ten_minutes_more(found: Reply) -> None:
    assert judge_look(PULL, found, PULL.until + UNSEEN_MOST) is Look.OVER


@pytest.mark.parametrize("found", [MISSING, holds(BEGAN - 1, "old")], ids=["missing", "as-it-was"])
def test_a_pull_is_over_at_its_time_and_not_a_moment_before(found: Reply) -> None:
    assert judge_look(PULL, found, at(299.999999)) is Look.RUNNING
    assert judge_look(PULL, found, at(300)) is Look.OVER


def test_of_an_object_that_was_stored_just_before_the_call_nobody_thinks_that_the_call_did_it() -> None:
    stored = ticks(at(0) - timedelta(milliseconds=400))  # by the pull of the version before
    pending = after(TIMED_OUT, hash_before="old")

    assert judge_look(pending, holds(stored, "old"), at(11)) is Look.RUNNING
    assert judge_look(pending, holds(stored, "new"), at(11)) is Look.ENDED


replies = st.builds(
    Reply,
    status=st.sampled_from([None, 200, 401, 573, 599, 612, 631]),
    put_time=st.none() | st.integers(min_value=0, max_value=2**61),
    hash=st.none() | st.sampled_from(["old", "new"]),
)


@given(pulls, replies, instants, instants)
def test_what_has_ended_or_is_over_stays_so(pending: Pending, found: Reply, one: datetime, other: datetime) -> None:
    earlier, later = sorted([one, other])
    before, then = judge_look(pending, found, earlier), judge_look(pending, found, later)

    assert before is Look.RUNNING or then is before
    patience = timedelta(0) if found.status in {200, 612} else UNSEEN_MOST
    assert then is not Look.OVER or later >= pending.until + patience
    assert (then is Look.ENDED) is (before is Look.ENDED)


# -- an asynchronous fetch that was tried --------------------------------------------------------------------

TASK = replace(PULL, task="t", until=at(600))


@pytest.mark.parametrize("waiting", [None, 0, 14], ids=["nobody-says", "running", "queued"])
def test_a_look_at_a_fetch_that_was_not_tried_is_only_counted(waiting: int | None) -> None:
    assert looked(TASK, at(5), waiting=waiting) == replace(TASK, looks=1)


@pytest.mark.parametrize("looks", [0, 3, 40], ids=["tried-at-once", "tried-soon", "tried-late"])
def test_a_fetch_that_was_tried_gets_some_more_looks_and_is_then_over(looks: int) -> None:
    pending, now, more = replace(TASK, looks=looks), at(5), 0
    pending = looked(pending, now, waiting=-1)

    while judge_look(pending, MISSING, now) is Look.RUNNING:
        now += next_look(pending, now)
        pending, more = looked(pending, now, waiting=-1), more + 1

    assert TRIED_LOOKS <= more <= TRIED_LOOKS + 4  # the first ones come sooner
    assert now == at(5) + TRIED_LOOKS * LOOK_AT_LEAST_EVERY


def test_a_fetch_that_is_tried_shortly_before_it_is_over_is_over_then() -> None:
    assert looked(TASK, at(590), waiting=-1).until == at(600)


def test_a_fetch_that_is_tried_again_by_itself_may_still_end() -> None:
    pending = looked(looked(TASK, at(5), waiting=-1), at(20), waiting=0)

    assert judge_look(pending, holds(SURE), at(30)) is Look.ENDED


@given(pulls, instants, st.none() | st.integers(min_value=-3, max_value=99))
def test_a_look_never_makes_a_pull_last_longer(pending: Pending, now: datetime, waiting: int | None) -> None:
    after_it = looked(pending, now, waiting=waiting)

    assert after_it.looks == pending.looks + 1
    assert after_it.until <= pending.until


@given(lost_answers, sizes, instants, spans)
def test_a_pull_of_which_nothing_is_seen_is_over_after_a_bounded_number_of_looks(
    reply: Reply, size_bytes: int | None, now: datetime, skew: timedelta
) -> None:
    pending = after(reply, size_bytes=size_bytes, began_at=now, now=now, skew=skew)
    window = pending.until - now

    while judge_look(pending, MISSING, now) is Look.RUNNING:
        now += next_look(pending, now)
        pending = looked(pending, now)

    assert now == pending.until
    assert pending.looks <= window / LOOK_AT_LEAST_EVERY + 5

"""A pull whose end nobody saw: looked at on its schedule, never asked for beside itself, never lost."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import orjson
import pytest
from structlog.testing import capture_logs

from mirrord.kodo.protocol import Request
from mirrord.model.attempt import Outcome, Reply, Silence
from mirrord.model.fingerprint import Fingerprint, of_file
from mirrord.model.row import State
from mirrord.pulls import LOOK_MOST
from tests.fakes.kodo import OK, FakeKodo, accepted, failing
from tests.test_dispatcher import DELETING, START, TARGET, Bench, hash_of, holding, with_bench

MIB = 2**20
HUNG = Reply(status=None, silence=Silence.TIMED_OUT, error="no answer in time")
CUT_OFF = Reply(status=None, silence=Silence.BROKEN, error="the connection broke")
GAVE_UP = failing(504, "timeout")
LARGE = of_file(100 * MIB, 1, 1, 1)
FETCHING = replace(TARGET, origin_url="https://origin.example.com/x", async_above=50 * MIB)
LOOKS = [1.0, 3.0, 7.0, 15.0, *(15.0 * n for n in range(2, 21))]
"""Seconds after a call without an answer, up to the 300 within which it ends."""


def stored_at(moment: datetime, version: str = "1") -> Reply:
    """A stat of an object with this version's content, put then."""
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return replace(holding(version), put_time=since // timedelta(microseconds=1) * 10)


def diary(bench: Bench) -> list[tuple[float, str]]:
    """Every call from now on: seconds since the start, and what it was."""
    said = list[tuple[float, str]]()

    def note(request: Request) -> None:
        name = request.target.strip("/").split("/")[0]
        what = {"sisyphus": "queue" if request.method == "POST" else "state"}.get(name, name)
        said.append(((bench.now - START).total_seconds(), what))

    bench.kodo.on_call = note
    return said


def asked(calls: list[tuple[float, str]]) -> list[tuple[float, str]]:
    """Those that change something."""
    return [(at, what) for at, what in calls if what not in {"stat", "state"}]


def first_look_at(calls: list[tuple[float, str]], least_s: float) -> float:
    return next(at for at, what in calls if what == "stat" and at >= least_s)


def put_when(bench: Bench, ready: Callable[[], bool], key: str = "a", version: str = "1") -> None:
    """The bucket holds the key, put just then, from the first look on at which `ready` is so."""
    before = bench.kodo.on_call

    def put(request: Request) -> None:
        before(request)
        if key not in bench.kodo.holds and ready():
            bench.kodo.holds[key] = stored_at(bench.now, version)

    bench.kodo.on_call = put


def is_fresh(bench: Bench, keys: int = 1) -> Callable[[], bool]:
    return lambda: bench.fresh() == keys


def looked(bench: Bench, times: int) -> Callable[[], bool]:
    """So often, and what the last look showed is settled."""
    return lambda: len(bench.kodo.looks) >= times and all(row.state is State.STALE for row in bench.left().values())


# -- a pull that was waited for ------------------------------------------------------------------------


@with_bench
async def test_without_an_answer_a_key_is_looked_at_on_its_schedule_and_asked_again_when_it_must_have_ended(
    bench: Bench,
) -> None:
    bench.kodo = FakeKodo({"a": [HUNG]})
    calls = diary(bench)
    await bench.publish("a")
    dispatcher = bench.dispatcher()

    async with bench.at_work(dispatcher):
        await bench.pass_time(dispatcher, is_fresh(bench))

    assert calls == [(0.0, "prefetch"), *((at, "stat") for at in LOOKS), (300.0, "prefetch")]
    assert set(bench.kodo.look_reads) == {LOOK_MOST}


@pytest.mark.parametrize(
    ("lost", "ends_s"), [(HUNG, 300.0), (CUT_OFF, 3.0), (GAVE_UP, 10.0)], ids=["no-answer", "broken", "504"]
)
def test_how_long_a_pull_may_go_on_depends_on_who_gave_up(tmp_path: Path, lost: Reply, ends_s: float) -> None:
    @with_bench
    async def scenario(bench: Bench) -> None:
        bench.kodo = FakeKodo({"a": [lost]})
        calls = diary(bench)
        await bench.publish("a")
        dispatcher = bench.dispatcher()

        async with bench.at_work(dispatcher):
            await bench.pass_time(dispatcher, is_fresh(bench))

        assert asked(calls) == [(0.0, "prefetch"), (ends_s, "prefetch")]

    scenario(tmp_path)


@with_bench
async def test_what_the_bucket_has_got_since_is_fresh_and_told_in_one_line(bench: Bench) -> None:
    bench.kodo = FakeKodo({"a": [replace(HUNG, reqid="r-1")]})
    calls = diary(bench)
    put_when(bench, lambda: bench.now >= START + timedelta(seconds=7))
    await bench.publish("a")
    dispatcher = bench.dispatcher()

    with capture_logs() as lines:
        async with bench.at_work(dispatcher):
            await bench.pass_time(dispatcher, is_fresh(bench))

    late, found = lines
    assert (late["event"], late["outcome"], late["next"], late["retry_in_s"]) == (
        "refresh.attempted", "timed-out", "retry", 1.0,
    )  # fmt: skip
    expected = {
        "event": "pull.confirmed", "log_level": "info", "mirror": "docs", "bucket": "newdocs", "key": "a",
        "operation": "prefetch", "reqid": "r-1", "looks": 3, "duration_s": 7.0,
        "stat_reqid": "stat",
    }  # fmt: skip
    assert found == expected
    assert calls == [(0.0, "prefetch"), (1.0, "stat"), (3.0, "stat"), (7.0, "stat")]


@pytest.mark.parametrize("put_s", [-60.0, -2.0], ids=["a-minute-before", "just-before"])
def test_what_was_there_before_the_call_is_not_taken_for_its_end(tmp_path: Path, put_s: float) -> None:
    @with_bench
    async def scenario(bench: Bench) -> None:
        bench.kodo = FakeKodo({"a": [HUNG]})
        bench.kodo.holds["a"] = stored_at(START + timedelta(seconds=put_s))
        await bench.publish("a")
        dispatcher = bench.dispatcher()

        async with bench.at_work(dispatcher):
            await bench.pass_time(dispatcher, looked(bench, 5))

        assert bench.kodo.asked == ["a"]
        assert (bench.fresh(), bench.left()["a"].attempts, bench.left()["a"].confirmed) == (0, 1, None)

    scenario(tmp_path)


@pytest.mark.parametrize("where", ["said-by-an-answer", "our-wall-clock-is-wrong"])
def test_when_an_object_was_put_is_told_by_kodos_clock(tmp_path: Path, where: str) -> None:
    @with_bench
    async def scenario(bench: Bench) -> None:
        ahead = timedelta(minutes=2)
        if where == "said-by-an-answer":
            bench.kodo = FakeKodo({"0": [replace(OK, skew_s=ahead.total_seconds())], "a": [HUNG]})
        else:
            bench.wall_ahead = ahead
            bench.kodo = FakeKodo({"a": [HUNG]})
        await bench.publish("0", "a")
        # a minute before the call, although our clock takes it for later
        bench.kodo.holds["a"] = stored_at(START + timedelta(minutes=1))
        dispatcher = bench.dispatcher(replace(TARGET, concurrency=1))

        async with bench.at_work(dispatcher):
            await bench.pass_time(dispatcher, looked(bench, 3))
            fresh_too_early = bench.fresh()
            bench.kodo.holds["a"] = stored_at(START + ahead + timedelta(seconds=5))
            await bench.pass_time(dispatcher, is_fresh(bench, 2))

        assert fresh_too_early == 1
        assert bench.kodo.asked.count("a") == 1

    scenario(tmp_path)


@with_bench
async def test_another_hash_than_the_known_one_tells_it_whatever_the_clocks_say(bench: Bench) -> None:
    old = stored_at(START - timedelta(days=1), "old")
    bench.kodo = FakeKodo({"a": [replace(OK, hash=old.hash), HUNG]})
    await bench.publish("a", version="old")
    await bench.finish(bench.dispatcher())
    await bench.publish("a", version="1")
    bench.kodo.holds["a"] = old
    dispatcher = bench.dispatcher()

    async with bench.at_work(dispatcher):
        await bench.pass_time(dispatcher, looked(bench, 3))
        fresh_too_early = bench.fresh()
        bench.kodo.holds["a"] = stored_at(START - timedelta(hours=1), "1")
        await bench.pass_time(dispatcher, is_fresh(bench))

    assert fresh_too_early == 0
    assert bench.kodo.asked == ["a", "a"]


@with_bench
async def test_a_restart_goes_on_looking_where_it_was(bench: Bench) -> None:
    bench.kodo = FakeKodo({"a": [HUNG]})
    calls = diary(bench)
    await bench.publish("a")
    first = bench.dispatcher()
    async with bench.at_work(first):
        await bench.pass_time(first, looked(bench, 2))
    put_when(bench, lambda: bench.now >= START + timedelta(seconds=20))
    second = bench.dispatcher()

    with capture_logs() as lines:
        async with bench.at_work(second):
            await bench.pass_time(second, is_fresh(bench))

    (line,) = lines
    assert (line["event"], line["looks"], line["duration_s"]) == ("pull.confirmed", 5, 30.0)
    assert calls == [(0.0, "prefetch"), *((at, "stat") for at in LOOKS[:5])]


@with_bench
async def test_a_change_during_it_is_asked_for_once_it_has_ended(bench: Bench) -> None:
    bench.kodo = FakeKodo({"a": [HUNG]})
    calls = diary(bench)
    await bench.publish("a")
    dispatcher = bench.dispatcher()

    with capture_logs() as lines:
        async with bench.at_work(dispatcher):
            await bench.pass_time(dispatcher, looked(bench, 2))
            await bench.publish("a", version="2")
            put_when(bench, lambda: bench.now >= START + timedelta(seconds=20))
            await bench.pass_time(dispatcher, is_fresh(bench))

    assert asked(calls) == [(0.0, "prefetch"), (first_look_at(calls, 20), "prefetch")]
    assert [(line["event"], line["outcome"]) for line in lines] == [
        ("refresh.attempted", "timed-out"),
        ("refresh.attempted", "refreshed"),
    ]


@pytest.mark.parametrize("put_s", [20.0, 4.0], ids=["noticed-by-an-earlier-look", "noticed-by-the-same-look"])
def test_a_file_that_changed_unnoticed_during_it_is_asked_for_once_it_has_ended(tmp_path: Path, put_s: float) -> None:
    @with_bench
    async def scenario(bench: Bench) -> None:
        bench.kodo = FakeKodo({"a": [HUNG]})
        calls = diary(bench)
        put_when(bench, lambda: bench.now >= START + timedelta(seconds=put_s))
        await bench.publish("a")
        dispatcher = bench.dispatcher()

        async with bench.at_work(dispatcher):
            await bench.pass_time(dispatcher, looked(bench, 2))
            bench.origin["a"] = Fingerprint("=2")
            await bench.pass_time(dispatcher, is_fresh(bench))

        assert asked(calls) == [(0.0, "prefetch"), (first_look_at(calls, put_s), "prefetch")]

    scenario(tmp_path)


@with_bench
async def test_a_removal_during_it_is_a_delete_once_it_has_ended(bench: Bench) -> None:
    bench.kodo = FakeKodo({"a": [HUNG]})
    calls = diary(bench)
    await bench.publish("a", rules=DELETING.rules)
    dispatcher = bench.dispatcher(DELETING)

    async with bench.at_work(dispatcher):
        await bench.pass_time(dispatcher, looked(bench, 2))
        await bench.publish("a", version=None, rules=DELETING.rules)
        put_when(bench, lambda: bench.now >= START + timedelta(seconds=20))
        await bench.pass_time(dispatcher, lambda: not bench.left())

    assert asked(calls) == [(0.0, "prefetch"), (first_look_at(calls, 20), "delete")]
    assert "/cond/" not in bench.kodo.requests[-1].target


@pytest.mark.parametrize("lost", [HUNG, CUT_OFF, GAVE_UP], ids=["no-answer", "broken", "504"])
def test_a_delete_without_an_answer_is_asked_again_and_not_looked_for(tmp_path: Path, lost: Reply) -> None:
    @with_bench
    async def scenario(bench: Bench) -> None:
        bench.kodo = FakeKodo({"a": [OK, lost]})
        calls = diary(bench)
        await bench.remove("a")
        await bench.journal.release("docs", bench.now, drop=False)
        dispatcher = bench.dispatcher(DELETING)

        async with bench.at_work(dispatcher):
            await bench.pass_time(dispatcher, lambda: not bench.left())

        assert [what for _, what in calls] == ["prefetch", "delete", "delete"]

    scenario(tmp_path)


@with_bench
async def test_while_the_origin_cannot_be_asked_a_removal_neither_looks_nor_deletes(bench: Bench) -> None:
    bench.kodo = FakeKodo({"a": [HUNG]})
    calls = diary(bench)
    await bench.publish("a", rules=DELETING.rules)
    dispatcher = bench.dispatcher(DELETING)

    async with bench.at_work(dispatcher):
        await bench.pass_time(dispatcher, looked(bench, 1))
        await bench.publish("a", version=None, rules=DELETING.rules)
        del bench.origin["a"]
        await bench.pass_time(dispatcher, lambda: bench.now >= START + timedelta(seconds=400))
        blindly = list(calls)
        bench.origin["a"] = None
        await bench.pass_time(dispatcher, lambda: not bench.left())

    assert blindly == [(0.0, "prefetch"), (1.0, "stat")]
    assert [what for _, what in calls[2:]] == ["stat", "delete"]


@with_bench
async def test_what_it_stored_is_verified_and_other_bytes_are_asked_for_again(bench: Bench) -> None:
    bench.kodo = FakeKodo({"a": [HUNG]})
    calls = diary(bench)
    put_when(bench, lambda: True, version="old")
    await bench.publish("a")
    dispatcher = bench.verifying()

    with capture_logs() as lines:
        async with bench.at_work(dispatcher):
            await bench.pass_time(dispatcher, lambda: len(asked(calls)) == 2)
            bench.kodo.holds["a"] = stored_at(bench.now)
            await bench.pass_time(dispatcher, is_fresh(bench))

    assert [line["event"] for line in lines] == [
        "refresh.attempted", "pull.confirmed", "verification.failed", "refresh.attempted",
    ]  # fmt: skip
    assert lines[2]["found_hash"] == stored_at(START, "old").hash
    assert lines[2]["attempt"] == 2
    assert lines[-1]["next"] == "done"


@with_bench
async def test_a_pull_that_ended_well_is_verified_by_the_look_itself(bench: Bench) -> None:
    bench.kodo = FakeKodo({"a": [HUNG]})
    put_when(bench, lambda: True)
    await bench.publish("a")
    dispatcher = bench.verifying()

    async with bench.at_work(dispatcher):
        await bench.pass_time(dispatcher, is_fresh(bench))

    assert (bench.kodo.asked, bench.kodo.looks, bench.kodo.batches) == (["a"], ["a"], [])


@pytest.mark.parametrize("said", [failing(599), failing(573), HUNG], ids=["599", "573", "silence"])
def test_while_the_bucket_does_not_say_nothing_is_asked_and_looks_go_on(tmp_path: Path, said: Reply) -> None:
    @with_bench
    async def scenario(bench: Bench) -> None:
        bench.kodo = FakeKodo({"a": [HUNG]})
        bench.kodo.holds["a"] = said
        calls = diary(bench)
        await bench.publish("a")
        dispatcher = bench.dispatcher()

        async with bench.at_work(dispatcher):
            await bench.pass_time(dispatcher, lambda: bench.now >= START + timedelta(seconds=400))
            blindly = list(calls)
            bench.kodo.holds.clear()
            await bench.pass_time(dispatcher, is_fresh(bench))

        assert asked(blindly) == [(0.0, "prefetch")]
        later = [at for at, _ in blindly if at >= 15]
        assert [after - before for before, after in pairwise(later)] == [15.0] * (len(later) - 1)

    scenario(tmp_path)


@with_bench
async def test_a_stop_leaves_a_running_pull_to_the_next_service(bench: Bench) -> None:
    bench.kodo.shut()
    calls = diary(bench)
    await bench.publish("a")
    first = bench.dispatcher()
    async with bench.at_work(first):
        await bench.kodo.until_asked(1)
        first.stop()
        first.cut_short()
    bench.kodo.open()
    put_when(bench, lambda: bench.now >= START + timedelta(seconds=2))
    second = bench.dispatcher()

    async with bench.at_work(second):
        await bench.pass_time(second, is_fresh(bench))

    assert calls == [(0.0, "prefetch"), (1.0, "stat"), (3.0, "stat")]


@with_bench
async def test_once_stopped_nothing_more_is_looked_at(bench: Bench) -> None:
    bench.kodo = FakeKodo({key: [HUNG] for key in ("a", "b", "c")})
    await bench.publish("a", "b", "c")
    target = replace(TARGET, concurrency=1)
    first = bench.dispatcher(target)
    async with bench.at_work(first):
        await bench.kodo.until_asked(3)
    await bench.publish("first")  # once that has been answered, the others are claimed together
    bench.now += timedelta(seconds=1)
    second = bench.dispatcher(target)
    bench.kodo.on_call = lambda request: second.stop() if request.method == "GET" else None

    async with bench.at_work(second):
        await bench.kodo.until_looked(1)

    assert len(bench.kodo.looks) == 1
    assert {row.state for row in bench.left().values()} == {State.STALE}


@pytest.mark.parametrize(
    ("size_mib", "seconds"), [(0, None), (1, 301.0), (100, 400.0), (2000, 900.0)], ids=["empty", "1M", "100M", "2G"]
)
def test_an_answer_may_take_longer_the_larger_the_file_is(tmp_path: Path, size_mib: int, seconds: float | None) -> None:
    @with_bench
    async def scenario(bench: Bench) -> None:
        await bench.publish_as(of_file(size_mib * MIB, 1, 1, 1), "a")

        await bench.finish(bench.dispatcher(replace(TARGET, call_limit=timedelta(seconds=10))))

        assert bench.kodo.reads == [None if seconds is None else timedelta(seconds=seconds)]

    scenario(tmp_path)


# -- a pull that is not waited for ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("above", "operations"),
    [(50 * MIB, ["prefetch", "prefetch", "queue"]), (None, ["prefetch"] * 3)],
    ids=["set", "off"],
)
def test_after_two_504_a_file_of_any_size_is_queued_if_it_may_be(
    tmp_path: Path, above: int | None, operations: list[str]
) -> None:
    @with_bench
    async def scenario(bench: Bench) -> None:
        bench.kodo = FakeKodo({"a": [GAVE_UP, GAVE_UP]})
        calls = diary(bench)
        put_when(bench, lambda: len(bench.kodo.asked) == 3)
        await bench.publish("a")
        dispatcher = bench.dispatcher(replace(FETCHING, async_above=above))

        async with bench.at_work(dispatcher):
            await bench.pass_time(dispatcher, is_fresh(bench))

        assert [what for _, what in asked(calls)] == operations

    scenario(tmp_path)


@with_bench
async def test_504s_with_an_end_between_them_are_not_in_a_row(bench: Bench) -> None:
    bench.kodo = FakeKodo({"a": [GAVE_UP, failing(503), GAVE_UP]})
    calls = diary(bench)
    await bench.publish("a")
    target = replace(FETCHING, retry=replace(FETCHING.retry, max_attempts=9))
    dispatcher = bench.dispatcher(target)

    async with bench.at_work(dispatcher):
        await bench.pass_time(dispatcher, is_fresh(bench))

    assert [what for _, what in asked(calls)] == ["prefetch"] * 4


@with_bench
async def test_a_large_file_is_queued_with_the_hash_of_what_is_here(bench: Bench) -> None:
    put_when(bench, lambda: bool(bench.kodo.looks))
    await bench.publish_as(LARGE, "a b")
    await bench.publish_as(of_file(50 * MIB, 1, 1, 1), "small")
    dispatcher = bench.dispatcher(FETCHING)

    async with bench.at_work(dispatcher):
        await bench.kodo.until_asked(2)

    said = {request.target: request.body for request in bench.kodo.requests}
    assert orjson.loads(said["/sisyphus/fetch"]) == {
        "url": "https://origin.example.com/x/a%20b", "bucket": "newdocs", "key": "a b", "etag": hash_of(LARGE),
        "file_type": 0, "ignore_same_key": False,
    }  # fmt: skip
    assert len(said) == 2
    assert sorted(bench.kodo.reads, key=bool) == [None, timedelta(seconds=350)]


@with_bench
async def test_no_hash_is_sent_of_a_file_that_is_another_one_by_now(bench: Bench) -> None:
    newer = of_file(100 * MIB, 2, 2, 2)

    async def read_too_late(keys: Sequence[str]) -> dict[str, tuple[Fingerprint, str]]:
        return {key: (newer, hash_of(newer)) for key in keys}

    await bench.publish_as(LARGE, "a")
    dispatcher = bench.dispatcher(FETCHING, hash_of=read_too_late)

    async with bench.at_work(dispatcher):
        await bench.kodo.until_asked(1)

    assert "etag" not in orjson.loads(bench.kodo.requests[0].body)


@with_bench
async def test_an_accepted_fetch_has_its_line_when_the_bucket_has_the_object(bench: Bench) -> None:
    bench.kodo = FakeKodo({"a": [replace(accepted("t 1="), reqid="r-post")]})
    calls = diary(bench)
    put_when(bench, lambda: bench.now >= START + timedelta(seconds=20))
    await bench.publish_as(LARGE, "a")
    dispatcher = bench.dispatcher(FETCHING)

    with capture_logs() as lines:
        async with bench.at_work(dispatcher):
            await bench.pass_time(dispatcher, looked(bench, 1))
            row = bench.left()["a"]
            early = list(lines)
            await bench.pass_time(dispatcher, is_fresh(bench))

    (taken,) = early
    assert taken == {
        "event": "pull.accepted", "log_level": "info", "mirror": "docs", "bucket": "newdocs", "key": "a",
        "task": "t 1=", "waiting": 3, "reqid": "r-post",
    }  # fmt: skip
    assert (row.attempts, row.strikes, row.last_outcome) == (0, 0, None)
    (line,) = lines[1:]
    assert (line["event"], line["operation"], line["status"]) == ("refresh.attempted", "async-fetch", 200)
    assert (line["outcome"], line["next"], line["attempt"]) == ("refreshed", "done", 1)
    assert (line["reqid"], line["duration_s"], line["error"]) == ("r-post", 30.0, None)
    assert calls[0] == (0.0, "queue")
    assert calls[1:] == [(at, what) for at in LOOKS[:5] for what in ("state", "stat")]
    assert set(bench.kodo.states_asked) == {"t 1="}
    assert set(bench.kodo.look_reads) == {LOOK_MOST}


@pytest.mark.parametrize(
    ("waiting", "ends_s"), [(3, 800.0), (0, 800.0), (-1, 61.0)], ids=["still-queued", "its-turn", "tried"]
)
def test_a_fetch_that_comes_to_nothing_is_a_timeout_that_counts(tmp_path: Path, waiting: int, ends_s: float) -> None:
    @with_bench
    async def scenario(bench: Bench) -> None:
        bench.kodo = FakeKodo({"a": [replace(accepted("t1"), reqid="r-post")]})
        bench.kodo.waiting = waiting
        calls = diary(bench)
        await bench.publish_as(LARGE, "a")
        bench.chance = 1.0
        dispatcher = bench.dispatcher(FETCHING)

        with capture_logs() as lines:
            async with bench.at_work(dispatcher):
                await bench.pass_time(dispatcher, lambda: len(lines) == 2 and bench.left()["a"].attempts == 1)
                row = bench.left()["a"]
                await bench.pass_time(dispatcher, lambda: len(asked(calls)) == 2)

        line = lines[1]
        assert (line["event"], line["operation"], line["status"]) == ("refresh.attempted", "async-fetch", 200)
        assert (line["outcome"], line["next"], line["reqid"]) == ("timed-out", "retry", "r-post")
        assert line["duration_s"] == ends_s
        assert "nothing came of it" in line["error"]
        assert "t1" in line["error"]
        assert (row.attempts, row.strikes, row.last_outcome, row.pending) == (1, 1, Outcome.TIMED_OUT, None)
        assert asked(calls) == [(0.0, "queue"), (ends_s + line["retry_in_s"], "queue")]

    scenario(tmp_path)


@with_bench
async def test_a_fetch_that_comes_to_nothing_again_and_again_is_parked(bench: Bench) -> None:
    bench.kodo.waiting = -1
    await bench.publish_as(LARGE, "a")
    dispatcher = bench.dispatcher(FETCHING)

    with capture_logs() as lines:
        async with bench.at_work(dispatcher):
            await bench.pass_time(dispatcher, lambda: bench.left()["a"].state is State.PARKED)

    attempts = [line for line in lines if line["event"] == "refresh.attempted"]
    assert [(line["attempt"], line["next"]) for line in attempts] == [(1, "retry"), (2, "retry"), (3, "park")]
    assert attempts[-1]["log_level"] == "warning"
    assert attempts[-1]["action"]
    assert len(bench.kodo.asked) == 3


@with_bench
async def test_a_refused_fetch_holds_the_mirror_and_leaves_nothing_to_look_at(bench: Bench) -> None:
    bench.kodo = FakeKodo({"a": [failing(401, "bad token")]})
    await bench.publish_as(LARGE, "a")
    dispatcher = bench.dispatcher(FETCHING)

    with capture_logs() as lines:
        await bench.finish(dispatcher)

    (line,) = lines
    assert (line["operation"], line["status"], line["next"], line["log_level"]) == ("async-fetch", 401, "hold", "error")
    assert dispatcher.held
    assert (bench.left()["a"].pending, bench.kodo.looks) == (None, [])


@with_bench
async def test_an_answer_without_a_task_is_tried_again_and_not_looked_for(bench: Bench) -> None:
    bench.kodo = FakeKodo({"a": [OK]})
    put_when(bench, lambda: len(bench.kodo.asked) == 2)
    await bench.publish_as(LARGE, "a")
    dispatcher = bench.dispatcher(FETCHING)

    with capture_logs() as lines:
        async with bench.at_work(dispatcher):
            await bench.pass_time(dispatcher, is_fresh(bench))

    assert [line["event"] for line in lines] == ["refresh.attempted", "pull.accepted", "refresh.attempted"]
    assert (lines[0]["outcome"], lines[0]["next"]) == ("unavailable", "retry")
    assert "no task" in lines[0]["error"]


@pytest.mark.parametrize("lost", [HUNG, CUT_OFF, GAVE_UP], ids=["no-answer", "broken", "504"])
def test_a_fetch_without_an_answer_is_looked_at_for_as_long_as_one_that_was_accepted(
    tmp_path: Path, lost: Reply
) -> None:
    @with_bench
    async def scenario(bench: Bench) -> None:
        bench.kodo = FakeKodo({"a": [lost]})
        calls = diary(bench)
        put_when(bench, lambda: len(bench.kodo.asked) == 2)
        await bench.publish_as(LARGE, "a")
        dispatcher = bench.dispatcher(FETCHING)

        async with bench.at_work(dispatcher):
            await bench.pass_time(dispatcher, is_fresh(bench))

        assert asked(calls) == [(0.0, "queue"), (800.0, "queue")]
        assert [what for at, what in calls if at < 800 and what != "queue"] == ["stat"] * (len(calls) - 5)

    scenario(tmp_path)


@with_bench
async def test_an_accepted_fetch_is_looked_at_over_a_restart(bench: Bench) -> None:
    calls = diary(bench)
    await bench.publish_as(LARGE, "a")
    first = bench.dispatcher(FETCHING)
    async with bench.at_work(first):
        await bench.pass_time(first, looked(bench, 2))
    put_when(bench, lambda: True)
    second = bench.dispatcher(FETCHING)

    with capture_logs() as lines:
        async with bench.at_work(second):
            await bench.pass_time(second, is_fresh(bench))

    assert [(line["event"], line["outcome"], line["duration_s"]) for line in lines] == [
        ("refresh.attempted", "refreshed", 7.0)
    ]
    assert asked(calls) == [(0.0, "queue")]


# -- one line for every call that changes something ----------------------------------------------------


@with_bench
async def test_a_fetch_without_an_answer_that_was_done_has_one_attempt_and_a_confirmation(bench: Bench) -> None:
    bench.kodo = FakeKodo({"a": [HUNG]})
    put_when(bench, lambda: True)
    await bench.publish_as(LARGE, "a")
    dispatcher = bench.dispatcher(FETCHING)

    with capture_logs() as lines:
        async with bench.at_work(dispatcher):
            await bench.pass_time(dispatcher, is_fresh(bench))

    assert [line["event"] for line in lines] == ["refresh.attempted", "pull.confirmed"]


@with_bench
async def test_an_accepted_fetch_of_an_older_version_has_its_line_too(bench: Bench) -> None:
    await bench.publish_as(LARGE, "a")
    dispatcher = bench.dispatcher(FETCHING)

    with capture_logs() as lines:
        async with bench.at_work(dispatcher):
            await bench.pass_time(dispatcher, looked(bench, 1))
            await bench.publish("a", version="2")
            put_when(bench, lambda: True)
            await bench.pass_time(dispatcher, is_fresh(bench))

    attempted = [line["operation"] for line in lines if line["event"] == "refresh.attempted"]
    assert attempted == ["async-fetch", "prefetch"]


@with_bench
async def test_an_older_versions_fetch_has_its_line_once_also_when_the_next_call_has_to_wait(bench: Bench) -> None:
    await bench.publish_as(LARGE, "a")
    first = bench.dispatcher(FETCHING)

    with capture_logs() as lines:
        async with bench.at_work(first):
            await bench.pass_time(first, looked(bench, 1))
            await bench.publish("a", version="2")
            put_when(bench, lambda: first.stop() is None)  # between the look and the call
            first.wake()
            await bench.kodo.until_looked(2)
        second = bench.dispatcher(FETCHING)
        bench.kodo.on_call = lambda _: None
        async with bench.at_work(second):
            await bench.pass_time(second, is_fresh(bench))

    attempted = [line["operation"] for line in lines if line["event"] == "refresh.attempted"]
    assert attempted == ["async-fetch", "prefetch"]

"""Who may call, and when: after refusals of the account, outages, throttling, and their ends."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from mirrord.decisions.verdict import judge, wording
from mirrord.gate import HOT_IN_VAIN, PROBE_PATIENCE, RAMP, Gate, Lesson
from mirrord.model.attempt import Content, Operation, Outcome, Reply, Silence
from mirrord.model.condition import Condition
from mirrord.outages import AWAY_IN_VAIN, PROBES_IN_VAIN, Heard

START = datetime(2026, 11, 20, 12, tzinfo=UTC)
OK = Reply(status=200, reqid="r", xlog="IO:1")
AWAY = Reply(status=None, silence=Silence.CONNECT_FAILED, error="connection refused")
HUNG = Reply(status=None, silence=Silence.TIMED_OUT, error="no answer")


def failing(status: int, error: str = "it failed", **more: Any) -> Reply:
    return Reply(status=status, reqid="r", xlog="IO:1", error=error, content=Content.JSON, **more)


def heard(reply: Reply, operation: Operation = Operation.PREFETCH) -> Heard:
    verdict = judge(operation, reply)
    return Heard(operation, verdict, reply, wording(operation, reply, verdict))


@dataclass
class Bench:
    """A gate, and a clock that stands still until it is moved."""

    concurrency: int = 64
    per_second: float = 0
    now: datetime = START
    gate: Gate = field(init=False)

    def __post_init__(self) -> None:
        self.gate = Gate(
            mirror="docs",
            bucket="newdocs",
            concurrency=self.concurrency,
            per_second=self.per_second,
            now=lambda: self.now,
            chance=lambda: 0.5,
        )

    @property
    def room(self) -> int:
        return self.gate.room(self.now, 0)

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    async def ask(self, key: str, reply: Reply, operation: Operation = Operation.PREFETCH) -> Lesson:
        ticket = await self.gate.enter(key)
        assert ticket is not None, f"{key} may not go"
        self.gate.leave()
        return self.gate.learn(ticket, heard(reply, operation))

    async def ask_together(self, *replies: Reply) -> list[Lesson]:
        """All in flight before the first of them ends."""
        tickets = [await self.gate.enter(f"key {number}") for number in range(len(replies))]
        lessons = []
        for ticket, reply in zip(tickets, replies, strict=True):
            assert ticket is not None
            self.gate.leave()
            lessons.append(self.gate.learn(ticket, heard(reply)))
        return lessons

    async def open_breaker(self, reply: Reply) -> None:
        await self.ask("first", OK)
        await self.ask_together(*[reply] * RAMP)
        assert self.room == 0


def in_loop(scenario: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    @functools.wraps(scenario)
    def test() -> None:
        asyncio.run(scenario())

    return test


@contextmanager
def said() -> Iterator[list[Any]]:
    with capture_logs() as lines:
        yield lines


@in_loop
async def test_until_an_answer_shows_that_the_account_is_right_one_call_asks_for_all() -> None:
    bench = Bench()
    before, beside = bench.room, bench.gate.room(bench.now, 1)
    await bench.ask("a", OK)

    assert (before, beside) == (1, 0)
    assert bench.room >= RAMP


def test_a_first_call_that_is_only_slow_holds_nobody_back_for_long() -> None:
    bench = Bench()
    assert bench.room == 1

    bench.wait(PROBE_PATIENCE.total_seconds())

    assert bench.gate.room(bench.now, 1) > 1


@in_loop
async def test_a_refused_account_shuts_the_gate_is_told_once_and_probed_ever_more_slowly() -> None:
    bench = Bench()
    refused = failing(401, "bad token")
    first = await bench.ask("a", refused)
    shut = bench.room, await bench.gate.enter("b"), bench.gate.shut_until(bench.now)
    bench.wait(30)
    second = await bench.ask("a", refused)
    bench.wait(30)

    assert shut == (0, None, START + timedelta(seconds=30))
    assert (first.repeated, first.pause) == (False, timedelta(seconds=30))
    assert (second.repeated, second.pause) == (True, timedelta(seconds=60))
    assert (bench.room, bench.gate.hopeless) == (0, True)


@in_loop
async def test_of_many_in_flight_that_are_refused_only_the_first_is_news() -> None:
    bench = Bench()
    await bench.ask("a", OK)
    lessons = await bench.ask_together(*[failing(419, "account is frozen")] * RAMP)

    assert [lesson.repeated for lesson in lessons] == [False] + [True] * (RAMP - 1)
    assert {lesson.pause for lesson in lessons} == {timedelta(seconds=30)}


@in_loop
async def test_a_success_that_was_on_its_way_before_the_refusal_does_not_end_the_hold() -> None:
    bench = Bench()
    await bench.ask("a", OK)
    early = await bench.gate.enter("early")
    assert early is not None
    bench.wait(1)
    await bench.ask("b", failing(401))
    bench.gate.learn(early, heard(OK))

    assert bench.gate.held


@in_loop
async def test_the_right_key_opens_the_gate_again_and_those_refused_need_not_wait() -> None:
    bench = Bench()
    await bench.ask("a", failing(401))
    bench.wait(30)
    with said() as lines:
        await bench.ask("a", OK)

    assert [line["event"] for line in lines] == ["mirror.resumed"]
    assert lines[0]["held_s"] == 30
    assert bench.gate.take_healed() == {Outcome.REFUSED}
    assert bench.gate.take_healed() == frozenset()
    assert bench.room > 1
    assert not bench.gate.held


@in_loop
async def test_an_origin_that_fails_for_all_opens_its_breaker_after_few_calls() -> None:
    bench = Bench()
    await bench.ask("first", OK)
    with said() as lines:
        lessons = await bench.ask_together(*[failing(478, "httpGet url failed: E502")] * RAMP)

    (line,) = lines
    assert (line["event"], line["cause"], line["status"]) == ("breaker.opened", "origin", 478)
    assert (line["log_level"], line["error"]) == ("warning", "httpGet url failed: E502")
    assert "origin" in line["action"]
    assert bench.room == 0
    assert [lesson.isolated for lesson in lessons][-1] is False
    assert lessons[-1].pause == timedelta(seconds=1)


@in_loop
async def test_one_probe_at_a_time_asks_whether_the_origin_is_back() -> None:
    bench = Bench()
    await bench.open_breaker(failing(478))
    calls = 0
    end = bench.now + timedelta(minutes=10)
    while bench.now < end:
        bench.wait(0.5)
        while bench.room:
            calls += 1
            lesson = await bench.ask(f"probe {calls}", failing(478))
            assert not lesson.isolated

    assert 5 <= calls <= 20


@in_loop
async def test_a_probe_that_passes_closes_it_and_lets_those_that_failed_go() -> None:
    bench = Bench()
    await bench.open_breaker(failing(478))
    bench.wait(2)
    with said() as lines:
        await bench.ask("probe", OK)

    assert [(line["event"], line["cause"], line["lasted_s"]) for line in lines] == [("breaker.closed", "origin", 2)]
    assert bench.gate.take_healed() == {Outcome.ORIGIN_FAILING, Outcome.TIMED_OUT}
    assert bench.room >= RAMP


@in_loop
async def test_an_origin_that_answers_404_is_well() -> None:
    bench = Bench()
    await bench.ask("first", OK)
    await bench.ask_together(*[failing(404, "no such resource")] * RAMP)

    assert bench.room > 1


@in_loop
async def test_pulls_that_never_end_are_an_outage_of_the_origin() -> None:
    bench = Bench()
    await bench.ask("first", OK)
    with said() as lines:
        await bench.ask_together(*[HUNG] * RAMP)

    assert [(line["event"], line["cause"]) for line in lines] == [("breaker.opened", "origin")]


@in_loop
async def test_kodo_out_of_reach_opens_a_breaker_of_its_own_and_says_nothing_of_the_origin() -> None:
    bench = Bench()
    await bench.open_breaker(AWAY)
    conditions = bench.gate.take_conditions(bench.now)
    bench.wait(2)
    with said() as lines:
        await bench.ask("probe", failing(478))

    assert conditions is not None
    assert [(each.name, each.since) for each in conditions] == [("kodo", START)]
    assert "connection refused" in conditions[0].reason
    assert [(line["event"], line["cause"]) for line in lines] == [("breaker.closed", "kodo")]
    assert bench.gate.take_healed() == {Outcome.UNAVAILABLE}


@in_loop
async def test_deletes_say_nothing_of_the_origin() -> None:
    bench = Bench()
    await bench.ask("first", OK)
    for number in range(RAMP):
        if bench.room:
            await bench.ask(f"key {number}", failing(478), Operation.DELETE)

    conditions = bench.gate.take_conditions(bench.now)
    assert [each.name for each in conditions or ()] == ["kodo"]


@in_loop
async def test_a_few_keys_that_kodo_never_answers_are_hopeless_for_who_waits() -> None:
    bench = Bench()
    for _ in range(20):
        await bench.ask("a", AWAY)
    bench.wait(AWAY_IN_VAIN.total_seconds() - 0.1)
    before = bench.gate.hopeless
    bench.wait(0.1)

    assert (before, bench.gate.hopeless) == (False, True)


@in_loop
async def test_calls_grow_from_a_few_to_the_concurrency_set() -> None:
    bench = Bench(concurrency=64)
    await bench.ask("a", OK)
    first = bench.gate.allowed
    for number in range(100):
        await bench.ask(f"{number}", OK)

    assert first <= RAMP + 1
    assert bench.gate.allowed == 64


def test_a_small_concurrency_is_kept_from_the_beginning() -> None:
    assert Bench(concurrency=3).gate.allowed == 3


@in_loop
async def test_who_finds_no_place_waits_until_one_is_left() -> None:
    bench = Bench(concurrency=1)
    await bench.gate.enter("a")
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        second = tasks.create_task(bench.gate.enter("b"))
        await asyncio.sleep(0)
        waited = not second.done()
        bench.gate.leave()
        for _ in range(10):
            await asyncio.sleep(0)  # the loop's next rounds: nobody waits for a timer
        at_once = second.done()
        ticket = await second

    assert (waited, at_once) == (True, True)
    assert ticket is not None
    assert ticket.key == "b"


@in_loop
async def test_a_stop_sends_back_who_waits() -> None:
    bench = Bench(concurrency=1)
    await bench.gate.enter("a")
    async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
        second = tasks.create_task(bench.gate.enter("b"))
        await asyncio.sleep(0)
        bench.gate.stop()
        assert await second is None


@in_loop
async def test_throttling_lowers_the_pace_and_is_told_once() -> None:
    bench = Bench(concurrency=8)
    await bench.ask("a", OK)
    with said() as lines:
        lessons = await bench.ask_together(*[failing(573, "over limit")] * 8)

    assert [line["event"] for line in lines] == ["pace.lowered"]
    assert (lines[0]["log_level"], lines[0]["status"]) == ("warning", 573)
    assert bench.gate.allowed < 8
    assert all(lesson.isolated for lesson in lessons)


@in_loop
async def test_a_server_that_says_when_to_come_back_is_left_alone_until_then() -> None:
    bench = Bench()
    await bench.ask("a", OK)
    await bench.ask("b", failing(429, retry_after_s=20.0))
    conditions = bench.gate.take_conditions(bench.now)
    shut = bench.room, bench.gate.shut_until(bench.now)
    bench.wait(20)

    assert shut == (0, START + timedelta(seconds=20))
    assert conditions is not None
    assert [(each.name, each.until) for each in conditions] == [
        ("throttled", START + timedelta(seconds=20)),
        ("paced", None),
    ]
    assert bench.room >= 1
    assert [each.name for each in bench.gate.take_conditions(bench.now) or ()] == ["paced"]


@in_loop
async def test_conditions_are_given_only_when_they_have_changed() -> None:
    bench = Bench()
    first = bench.gate.take_conditions(bench.now)
    again = bench.gate.take_conditions(bench.now)
    await bench.ask("a", failing(631, "no such bucket"))
    held = bench.gate.take_conditions(bench.now)

    assert (first, again) == ((), None)
    assert held is not None
    (condition,) = held
    assert (condition.name, condition.status, condition.reqid) == ("held", 631, "r")
    assert "no such bucket" in condition.reason
    assert condition.until == START + timedelta(seconds=30)


@in_loop
async def test_a_paced_mirror_claims_no_more_than_it_can_ask_for_soon() -> None:
    bench = Bench(concurrency=64, per_second=2)
    await bench.ask("a", OK)

    assert bench.room <= 20


# -- the account, again ----------------------------------------------------------------------------------


@in_loop
async def test_a_person_is_told_again_when_the_account_is_refused_again_later() -> None:
    bench = Bench()
    await bench.ask("a", failing(401))
    bench.wait(30)
    await bench.ask("a", OK)
    again = await bench.ask("a", failing(401))

    assert (again.repeated, again.pause) == (False, timedelta(seconds=30))


@in_loop
async def test_the_pauses_of_a_hold_double_up_to_ten_minutes() -> None:
    bench = Bench()
    pauses = []
    for _ in range(7):
        lesson = await bench.ask("a", failing(419))
        assert lesson.pause is not None
        pauses.append(lesson.pause.total_seconds())
        bench.wait(pauses[-1])

    assert pauses == [30, 60, 120, 240, 480, 600, 600]


@in_loop
async def test_a_hold_lasts_from_its_first_refusal_to_the_success_that_ends_it() -> None:
    bench = Bench()
    await bench.ask("a", failing(401))
    bench.wait(30)
    await bench.ask("a", failing(401))
    (condition,) = bench.gate.take_conditions(bench.now) or ()
    bench.wait(60)
    with said() as lines:
        await bench.ask("a", OK)

    assert (condition.since, condition.until) == (START, START + timedelta(seconds=90))
    assert [line["held_s"] for line in lines] == [90]


@in_loop
async def test_refusals_that_were_on_their_way_do_not_lengthen_a_hold() -> None:
    bench = Bench()
    await bench.ask("a", OK)
    late = await bench.gate.enter("late")
    assert late is not None
    await bench.ask("b", failing(401))
    bench.wait(10)
    lesson = bench.gate.learn(late, heard(failing(401)))

    assert (lesson.repeated, lesson.pause) == (True, timedelta(seconds=30))
    assert bench.gate.shut_until(bench.now) == START + timedelta(seconds=30)


@in_loop
async def test_after_a_refusal_one_call_asks_for_all_again() -> None:
    bench = Bench()
    await bench.ask("a", OK)
    await bench.ask("b", failing(401))
    bench.wait(30)
    probe, beside = bench.room, bench.gate.room(bench.now, 1)

    assert (probe, beside) == (1, 0)


@in_loop
async def test_kodo_out_of_reach_says_nothing_of_the_account() -> None:
    bench = Bench()
    await bench.ask("a", failing(401))
    bench.wait(30)
    with said() as lines:
        await bench.ask("a", AWAY)

    assert lines == []
    assert bench.gate.held
    assert bench.room == 1
    assert bench.gate.room(bench.now, 1) == 0


@in_loop
async def test_refusals_of_the_account_say_nothing_of_the_health_of_kodo_or_the_origin() -> None:
    bench = Bench()
    await bench.ask("first", OK)
    with said() as lines:
        lessons = await bench.ask_together(*[failing(401)] * RAMP)

    assert lines == []
    assert all(lesson.isolated for lesson in lessons)
    assert [each.name for each in bench.gate.take_conditions(bench.now) or ()] == ["held"]


@pytest.mark.parametrize("status", [404, 400, 478, 500, 504, 573], ids=str)
def test_any_other_answer_shows_that_the_account_is_right(status: int) -> None:
    async def scenario() -> None:
        bench = Bench()
        await bench.ask("a", failing(401))
        bench.wait(30)
        with said() as lines:
            await bench.ask("a", failing(status))

        # what Kodo itself fails with says that it did not get so far
        assert bench.gate.held is (status == 500)
        assert ("mirror.resumed" in [line["event"] for line in lines]) is (status != 500)

    asyncio.run(scenario())


# -- outages, again --------------------------------------------------------------------------------------


@in_loop
async def test_a_few_keys_that_fail_are_their_own_fault_however_often() -> None:
    bench = Bench()
    lessons = [await bench.ask(f"key {number % 9}", failing(478)) for number in range(100)]

    assert all(lesson.isolated for lesson in lessons)
    assert {lesson.pause for lesson in lessons} == {None}
    assert bench.room > 1


@in_loop
async def test_of_an_origin_that_fails_only_the_failures_that_opened_the_breaker_or_came_later_are_shared() -> None:
    bench = Bench()
    lessons = [await bench.ask(f"{number}", failing(478)) for number in range(10)]

    assert [lesson.isolated for lesson in lessons] == [True] * 9 + [False]
    assert lessons[-1].pause == timedelta(seconds=1)


@in_loop
async def test_while_one_probes_nobody_goes_beside_it_and_nothing_is_ready_before_its_time() -> None:
    bench = Bench()
    await bench.open_breaker(failing(478))
    early = await bench.gate.enter("too early")
    opens_at = bench.gate.shut_until(bench.now)
    bench.wait(1)
    due = bench.room, bench.gate.room(bench.now, 1)
    probe = await bench.gate.enter("probe")

    assert (early, opens_at) == (None, START + timedelta(seconds=1))
    assert due == (1, 0)
    assert probe is not None
    assert bench.room == 0
    assert bench.gate.shut_until(bench.now) == START + timedelta(seconds=3)
    assert await bench.gate.enter("beside it") is None


@in_loop
async def test_a_failed_probe_has_its_key_wait_for_the_next() -> None:
    bench = Bench()
    await bench.open_breaker(failing(478))
    pauses = []
    for _ in range(4):
        bench.now = bench.gate.shut_until(bench.now) or bench.now
        lesson = await bench.ask("probe", failing(478))
        assert not lesson.isolated
        assert lesson.pause is not None
        pauses.append(lesson.pause.total_seconds())

    assert pauses == [2, 4, 8, 16]


@in_loop
async def test_an_outage_that_outlasts_a_few_probes_is_hopeless_for_who_waits_and_no_sooner() -> None:
    bench = Bench()
    await bench.open_breaker(failing(478))
    hopeless = []
    for _ in range(PROBES_IN_VAIN):
        bench.now = bench.gate.shut_until(bench.now) or bench.now
        hopeless.append(bench.gate.hopeless)
        await bench.ask("probe", failing(478))
    hopeless.append(bench.gate.hopeless)
    bench.now = bench.gate.shut_until(bench.now) or bench.now
    await bench.ask("probe", OK)

    assert hopeless == [False] * PROBES_IN_VAIN + [True]
    assert not bench.gate.hopeless


@in_loop
async def test_calls_without_an_answer_are_in_vain_only_in_a_row() -> None:
    bench = Bench()
    for _ in range(3):
        await bench.ask("a", AWAY)
        bench.wait(AWAY_IN_VAIN.total_seconds() - 1)
        await bench.ask("a", failing(478))
    bench.wait(60)

    assert not bench.gate.hopeless


@in_loop
async def test_after_an_outage_calls_grow_from_a_few_again() -> None:
    bench = Bench(concurrency=64)
    for number in range(100):
        await bench.ask(f"{number}", OK)
    before = bench.gate.allowed
    await bench.ask_together(*[failing(478)] * 20)
    bench.wait(1)
    await bench.ask("probe", OK)

    assert before == 64
    assert bench.gate.allowed == RAMP + 1


@in_loop
async def test_failures_let_no_more_calls_go() -> None:
    bench = Bench(concurrency=64)
    await bench.ask("a", OK)
    before = bench.gate.allowed
    for number in range(9):
        await bench.ask(f"{number}", failing(404))
        await bench.ask(f"{number}", failing(478))

    assert bench.gate.allowed == before


@in_loop
async def test_throttling_says_nothing_of_the_origin_and_ends_no_outage_of_it() -> None:
    bench = Bench()
    await bench.open_breaker(failing(478))
    bench.wait(1)
    await bench.ask("probe", failing(573))

    assert [each.name for each in bench.gate.take_conditions(bench.now) or ()] == ["origin"]


@in_loop
async def test_a_delete_that_succeeds_says_nothing_of_the_origin() -> None:
    bench = Bench()
    await bench.open_breaker(failing(478))
    bench.wait(1)
    await bench.ask("gone", OK, Operation.DELETE)

    assert [each.name for each in bench.gate.take_conditions(bench.now) or ()] == ["origin"]


@in_loop
async def test_keys_are_claimed_by_the_batch_not_one_by_one_as_calls_end() -> None:
    bench = Bench(concurrency=4)
    await bench.ask("a", OK)

    assert [bench.gate.room(bench.now, working) for working in (0, 8, 9, 12)] == [12, 4, 0, 0]


# -- throttling, again -----------------------------------------------------------------------------------


@in_loop
async def test_the_longest_pause_asked_for_counts() -> None:
    bench = Bench()
    await bench.ask("a", OK)
    await bench.ask_together(failing(429, retry_after_s=60.0), failing(429, retry_after_s=5.0))

    assert bench.gate.shut_until(bench.now) == START + timedelta(seconds=60)
    assert await bench.gate.enter("b") is None


@in_loop
async def test_a_pause_that_was_asked_for_long_ago_does_not_lengthen_the_next() -> None:
    bench = Bench()
    await bench.ask("a", OK)
    await bench.ask("b", failing(503, retry_after_s=10.0))
    bench.wait(100)
    await bench.ask("b", failing(503, retry_after_s=10.0))
    condition, _ = bench.gate.take_conditions(bench.now) or ()

    assert condition.since == START + timedelta(seconds=100)
    assert condition.until == START + timedelta(seconds=110)


@in_loop
async def test_of_several_reasons_to_wait_the_last_to_end_counts() -> None:
    bench = Bench()
    await bench.ask("a", OK)
    tickets = [await bench.gate.enter(key) for key in ("b", "c")]
    bench.wait(1)
    for ticket, reply in zip(tickets, (failing(401), failing(429, retry_after_s=20.0)), strict=True):
        assert ticket is not None
        bench.gate.learn(ticket, heard(reply))
    names = [each.name for each in bench.gate.take_conditions(bench.now) or ()]

    assert names == ["held", "throttled", "paced"]
    assert bench.gate.shut_until(bench.now) == START + timedelta(seconds=31)


@in_loop
async def test_a_pace_that_is_known_is_told_once_and_its_end_too() -> None:
    bench = Bench(concurrency=8)
    await bench.ask("a", OK)
    with said() as lines:
        for _ in range(3):
            await bench.ask_together(*[failing(573)] * min(2, bench.gate.allowed))

    assert [line["event"] for line in lines] == ["pace.lowered"]
    assert lines[0]["per_second"] > 0
    assert lines[0]["retry_after_s"] is None


@in_loop
async def test_a_stopped_gate_lets_nobody_in_at_any_pace() -> None:
    paced, free = Bench(per_second=2), Bench()
    await free.ask("a", OK)
    await free.ask("b", failing(573))
    for bench in (paced, free):
        bench.gate.stop()
        async with asyncio.timeout(1):
            assert await bench.gate.enter("c") is None


@in_loop
async def test_a_place_is_taken_while_a_call_lasts_and_not_by_who_was_sent_back() -> None:
    bench = Bench(concurrency=1)
    await bench.ask("a", failing(401))
    sent_back = [await bench.gate.enter(f"{number}") for number in range(3)]
    bench.wait(30)
    async with asyncio.timeout(5):
        await bench.ask("a", OK)
        await bench.ask("b", OK)

    assert sent_back == [None] * 3


@in_loop
async def test_one_key_that_is_asked_for_too_often_slows_down_itself_alone() -> None:
    bench = Bench()
    await bench.ask("a", OK)
    with said() as lines:
        lessons = [await bench.ask("hot", failing(573)) for _ in range(5)]

    assert lines == []
    assert {lesson.hot for lesson in lessons} == {True}
    assert bench.gate.take_conditions(bench.now) == ()


@in_loop
async def test_a_second_key_that_is_refused_soon_after_shows_that_all_are_too_many() -> None:
    bench = Bench()
    await bench.ask("a", OK)
    first = await bench.ask("b", failing(573))
    with said() as lines:
        second = await bench.ask("c", failing(573))

    assert (first.hot, second.hot) == (True, False)
    assert [line["event"] for line in lines] == ["pace.lowered"]


@in_loop
async def test_a_pace_that_was_found_is_told_and_told_anew_only_when_it_has_changed() -> None:
    bench = Bench()
    await bench.ask("a", OK)
    await bench.ask("b", failing(429))
    told, again = bench.gate.take_conditions(bench.now), bench.gate.take_conditions(bench.now)
    for _ in range(3):
        await bench.ask("c", OK)
    anew = bench.gate.take_conditions(bench.now)

    assert told is not None
    assert anew is not None
    assert again is None
    assert [each.name for each in told] == [each.name for each in anew] == ["paced"]
    assert "calls a second" in told[0].reason
    assert told[0].reason != anew[0].reason


@in_loop
async def test_keys_that_several_failures_in_a_row_gave_up_come_back_with_the_first_success() -> None:
    bench = Bench()
    await bench.ask("first", OK)
    bench.wait(5)
    await bench.ask("a", failing(478))
    bench.wait(600)
    await bench.ask("b", failing(478))
    early = bench.gate.take_recoveries()
    await bench.ask("c", OK)

    (recovery,) = bench.gate.take_recoveries()
    assert early == []
    assert recovery.since == START + timedelta(seconds=5)
    assert Outcome.ORIGIN_FAILING in recovery.outcomes
    assert bench.gate.take_recoveries() == []


@in_loop
async def test_one_key_that_fails_by_itself_is_no_outage() -> None:
    bench = Bench()
    for _ in range(12):
        await bench.ask("broken", failing(478))
    await bench.ask("c", OK)

    assert bench.gate.take_recoveries() == []


@in_loop
async def test_when_only_one_hot_key_is_left_who_waits_at_a_terminal_is_told() -> None:
    bench = Bench()
    await bench.ask("a", OK)
    await bench.ask("hot", failing(573))
    bench.wait(HOT_IN_VAIN.total_seconds())
    left_alone = bench.gate.hopeless
    await bench.ask("b", OK)

    assert left_alone
    assert not bench.gate.hopeless


def test_what_is_told_from_elsewhere_is_a_condition_until_it_is_taken_back() -> None:
    bench = Bench()
    waiting = Condition(name="listing", since=START, until=None, reason="refused")
    bench.gate.tell(waiting)
    told = bench.gate.take_conditions(bench.now)
    bench.gate.tell(None)

    assert told == (waiting,)
    assert bench.gate.take_conditions(bench.now) == ()

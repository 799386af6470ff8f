"""The right half with a real journal: how many calls at once, when, and what every way to end leaves behind."""

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from mirrord.attempts import UNSEEN_PAUSE
from mirrord.decisions.retry import RetryPolicy
from mirrord.decisions.staleness import MOVED_ON_PAUSE, IntakeRules, OnRemoved
from mirrord.dispatcher import PROBE_PATIENCE, Dispatcher, Target
from mirrord.journal.report import report, unfinished
from mirrord.journal.store import Journal
from mirrord.kodo.entry import decode_url, encode_entry
from mirrord.kodo.etag import etag_of
from mirrord.model.attempt import Operation, Outcome, Reply
from mirrord.model.change import Change
from mirrord.model.fingerprint import Fingerprint
from mirrord.model.row import ObjectRow, State
from mirrord.verifier import Patience, Verifier
from tests.fakes.kodo import FakeKodo, failing

START = datetime(2026, 11, 20, 12, tzinfo=UTC)
KEYS = [f"{n:02}.txt" for n in range(20)]
TARGET = Target(
    mirror="docs",
    bucket="newdocs",
    operation=Operation.PREFETCH,
    origin_url=None,
    rules=IntakeRules(),
    retry=RetryPolicy(first_delay=timedelta(seconds=1), max_attempts=3),
    lease=timedelta(seconds=340),
    call_limit=timedelta(seconds=310),
    concurrency=3,
    per_second=0,
)
DELETING = replace(TARGET, rules=IntakeRules(on_removed=OnRemoved.DELETE))


@dataclass
class Bench:
    """A journal, a fake Kodo, an origin's versions and a clock that stands still until it is moved."""

    journal: Journal
    url: str
    kodo: FakeKodo = field(default_factory=FakeKodo)
    now: datetime = START
    origin: dict[str, Fingerprint | None] = field(default_factory=dict)
    on_observe: Callable[[], object] = lambda: None
    chance: float = 0.0
    on_removed: Callable[[], object] = lambda: None

    def dispatcher(self, target: Target = TARGET) -> Dispatcher:
        return Dispatcher(
            target=target,
            journal=self.journal,
            kodo=self.kodo,
            observe=self._observe,
            now=lambda: self.now,
            chance=lambda: self.chance,
            removed=lambda: self.on_removed(),  # noqa: PLW0108 - a test may say later what is to happen
        )

    def verifying(self, target: Target = TARGET) -> Dispatcher:
        """A dispatcher that believes only what a stat confirms; the local files are those of `hashes`."""
        verifier = Verifier(
            mirror="docs",
            bucket="newdocs",
            kodo=self.kodo,
            hash_of=self._hash_of,
            now=lambda: self.now,
            patience=Patience(pauses_s=()),
        )
        return Dispatcher(
            target=target,
            journal=self.journal,
            kodo=self.kodo,
            observe=self._observe,
            now=lambda: self.now,
            chance=lambda: self.chance,
            verifier=verifier,
        )

    async def _hash_of(self, keys: Sequence[str]) -> dict[str, tuple[Fingerprint, str]]:
        found = {key: self.origin[key] for key in keys}
        return {key: (version, hash_of(version)) for key, version in found.items() if version is not None}

    async def _observe(self, keys: Sequence[str]) -> dict[str, Fingerprint | None]:
        self.on_observe()
        return {key: self.origin[key] for key in keys if key in self.origin}

    async def publish(self, *keys: str, version: str | None = "1", rules: IntakeRules = TARGET.rules) -> None:
        """The origin has this version of the keys (None: has them no longer), and the intake has noticed."""
        found = None if version is None else Fingerprint(f"={version}")
        self.origin |= dict.fromkeys(keys, found)
        changes = [Change(key=key, version=found, seen_at=self.now) for key in keys]
        await self.journal.record("docs", changes, rules)
        if found is None:
            await self.journal.release("docs", self.now, drop=False)  # as the removal guard does

    async def remove(self, *keys: str) -> None:
        """Keys that were mirrored and are gone: their removals wait for the guard."""
        await self.publish(*keys, rules=DELETING.rules)
        await self.finish(self.dispatcher(DELETING))
        self.origin |= dict.fromkeys(keys)
        gone = [Change(key=key, version=None, seen_at=self.now) for key in keys]
        await self.journal.record("docs", gone, DELETING.rules)

    async def finish(self, dispatcher: Dispatcher) -> None:
        """What `mirrord once` does."""
        dispatcher.finish()
        async with asyncio.timeout(20):
            await dispatcher.run()

    @asynccontextmanager
    async def at_work(self, dispatcher: Dispatcher) -> AsyncIterator[None]:
        """The dispatcher runs while the block does, and stops at its end."""
        async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
            tasks.create_task(dispatcher.run(), name="dispatcher")
            yield
            dispatcher.stop()

    def left(self) -> dict[str, ObjectRow]:
        """The rows that are not fresh."""
        return {row.key: row for row in unfinished(self.url, "docs", 1000)}

    def fresh(self) -> int:
        return report(self.url, ["docs"])[0].keys[State.FRESH]


def hash_of(version: Fingerprint) -> str:
    """The hash that a file of this version has in these tests."""
    return etag_of([version.encode()])


def holding(version: str) -> Reply:
    """A stat of an object that was stored when the origin had this version."""
    return Reply(status=200, reqid="stat", hash=hash_of(Fingerprint(f"={version}")), size_bytes=2)


Scenario = Callable[[Bench], Awaitable[None]]


def with_bench(scenario: Scenario) -> Callable[[Path], None]:
    """A test that is a coroutine with a bench of its own."""

    @functools.wraps(scenario, assigned=("__name__", "__qualname__", "__doc__", "__module__"))
    def test(tmp_path: Path) -> None:
        async def run() -> None:
            url = f"sqlite:///{tmp_path}/journal.db"
            journal = Journal(url)
            journal.open()
            try:
                await scenario(Bench(journal, url))
            finally:
                journal.close()

        asyncio.run(run())

    del test.__wrapped__  # type: ignore[attr-defined]  # pytest would read the coroutine's arguments
    return test


@with_bench
async def test_everything_due_is_asked_for_once_and_is_fresh_then(bench: Bench) -> None:
    await bench.publish(*KEYS)

    await bench.finish(bench.dispatcher())

    assert sorted(bench.kodo.asked) == KEYS
    assert (bench.fresh(), bench.left()) == (len(KEYS), {})


@with_bench
async def test_there_are_never_more_calls_at_once_than_the_setting_allows(bench: Bench) -> None:
    await bench.publish(*KEYS)
    dispatcher = bench.dispatcher()
    dispatcher.finish()

    async with bench.at_work(dispatcher):
        await bench.kodo.until_asked(1)
        bench.kodo.shut()
        await bench.kodo.until_asked(4)
        in_flight = dispatcher.in_flight
        bench.kodo.open()
        await bench.kodo.until_asked(len(KEYS))

    assert in_flight == 3
    assert bench.kodo.most_in_flight == 3
    assert bench.fresh() == len(KEYS)


@with_bench
async def test_until_the_first_answer_a_single_key_asks_for_all(bench: Bench) -> None:
    bench.kodo.shut()
    await bench.publish(*KEYS)
    dispatcher = bench.dispatcher()

    async with bench.at_work(dispatcher):
        await bench.kodo.until_asked(1)
        await bench.journal.next_due("docs")  # a round through the journal's thread: whoever claims has claimed
        asked_before_the_answer = list(bench.kodo.asked)
        bench.kodo.open()
        await bench.kodo.until_asked(len(KEYS))

    assert len(asked_before_the_answer) == 1


@with_bench
async def test_a_first_answer_that_takes_long_is_not_waited_for(bench: Bench) -> None:
    bench.kodo.shut()
    await bench.publish(*KEYS)
    dispatcher = bench.dispatcher()

    async with bench.at_work(dispatcher):
        await bench.kodo.until_asked(1)
        bench.now += PROBE_PATIENCE
        dispatcher.wake()
        await bench.kodo.until_asked(3)
        bench.kodo.open()

    assert bench.kodo.most_in_flight == 3


@with_bench
async def test_calls_keep_to_the_pace_that_is_set(bench: Bench) -> None:
    await bench.publish(*(f"{n}" for n in range(30)))

    await bench.finish(bench.dispatcher(replace(TARGET, per_second=20, concurrency=30)))

    began = bench.kodo.times[0]
    assert len(bench.kodo.asked) == 30
    assert sum(at - began < 0.05 for at in bench.kodo.times) <= 22
    assert bench.kodo.times[-1] - began >= 0.4


@with_bench
async def test_a_change_during_the_call_is_called_for_after_it_and_never_beside_it(bench: Bench) -> None:
    bench.kodo.shut()
    await bench.publish("a")
    dispatcher = bench.dispatcher()

    async with bench.at_work(dispatcher):
        await bench.kodo.until_asked(1)
        for version in ("2", "3"):
            await bench.publish("a", version=version)
            dispatcher.wake()
        await bench.publish("b")
        bench.now += PROBE_PATIENCE
        dispatcher.wake()
        await bench.kodo.until_asked(2)
        bench.kodo.open()
        await bench.kodo.until_asked(3)

    assert bench.kodo.asked == ["a", "b", "a"]
    assert bench.kodo.most_of_one_key == 1
    assert bench.fresh() == 2


@with_bench
async def test_a_file_that_moved_on_during_the_call_is_stale_again_without_any_event(bench: Bench) -> None:
    bench.kodo.shut()
    await bench.publish("a")
    dispatcher = bench.dispatcher()
    dispatcher.finish()

    async with bench.at_work(dispatcher):
        await bench.kodo.until_asked(1)
        bench.origin["a"] = Fingerprint("=2")
        bench.kodo.open()
        await _until(lambda: bench.left()["a"].state is State.STALE, bench)
        bench.now += MOVED_ON_PAUSE
        dispatcher.wake()
        await bench.kodo.until_asked(2)

    assert bench.kodo.asked == ["a", "a"]
    assert bench.fresh() == 1


@with_bench
async def test_a_file_that_vanished_before_its_call_is_not_asked_for(bench: Bench) -> None:
    await bench.publish("a", "b")
    bench.origin["a"] = None

    await bench.finish(bench.dispatcher())

    assert bench.kodo.asked == ["b"]
    assert bench.left() == {}


@with_bench
async def test_a_removal_is_a_delete_once_the_guard_lets_it_go(bench: Bench) -> None:
    await bench.remove("a")
    await bench.finish(bench.dispatcher(DELETING))
    asked_while_held = list(bench.kodo.asked)
    await bench.journal.release("docs", bench.now, drop=False)

    with capture_logs() as lines:
        await bench.finish(bench.dispatcher(DELETING))

    (line,) = lines
    assert asked_while_held == ["a"]
    assert bench.kodo.requests[-1].target == f"/delete/{encode_entry('newdocs', 'a')}"
    assert (line["operation"], line["outcome"], line["next"]) == ("delete", "removed", "done")
    assert bench.left() == {}


@with_bench
async def test_only_the_object_that_was_put_there_from_here_is_deleted(bench: Bench) -> None:
    bench.kodo = FakeKodo({"a": [Reply(status=200, reqid="fake", hash="Fh"), failing(608, "file modified")]})
    await bench.remove("a")
    await bench.journal.release("docs", bench.now, drop=False)

    with capture_logs() as lines:
        await bench.finish(bench.dispatcher(DELETING))

    (line,) = lines
    row = bench.left()["a"]
    assert bench.kodo.requests[-1].target == f"/delete/{encode_entry('newdocs', 'a')}/cond/aGFzaD1GaA=="
    assert (line["status"], line["outcome"], line["next"]) == (608, "refused", "park")
    assert (row.state, row.last_status, row.confirmed) == (State.PARKED, 608, None)
    for error in (line["error"], row.last_error):
        assert error is not None
        assert "not the one that was put there" in error


@with_bench
async def test_nothing_is_deleted_while_the_origin_cannot_be_asked(bench: Bench) -> None:
    await bench.remove("a")
    await bench.journal.release("docs", bench.now, drop=False)
    del bench.origin["a"]
    dispatcher = bench.dispatcher(DELETING)

    async with bench.at_work(dispatcher):
        while await bench.journal.next_due("docs") != bench.now + UNSEEN_PAUSE:
            pass
        asked_blindly = list(bench.kodo.asked)
        bench.origin["a"] = None
        bench.now += UNSEEN_PAUSE
        dispatcher.wake()
        await bench.kodo.until_asked(2)

    assert asked_blindly == ["a"]
    assert [request.target.split("/")[1] for request in bench.kodo.requests] == ["prefetch", "delete"]
    assert bench.left() == {}


@pytest.mark.parametrize("when", ["before", "during"])
def test_a_file_that_vanishes_around_its_call_is_the_guards_to_decide(tmp_path: Path, when: str) -> None:
    @with_bench
    async def scenario(bench: Bench) -> None:
        noticed = asyncio.Event()
        bench.on_removed = noticed.set
        await bench.publish("a", rules=DELETING.rules)
        if when == "before":
            bench.origin["a"] = None
        else:
            bench.kodo.shut()
        dispatcher = bench.dispatcher(DELETING)

        async with bench.at_work(dispatcher):
            if when == "during":
                await bench.kodo.until_asked(1)
                bench.origin["a"] = None
                bench.kodo.open()
            await noticed.wait()

        assert bench.left()["a"].state is State.HELD
        assert len(bench.kodo.asked) == (1 if when == "during" else 0)

    scenario(tmp_path)


@with_bench
async def test_a_file_that_came_back_is_not_deleted(bench: Bench) -> None:
    await bench.remove("a")
    await bench.journal.release("docs", bench.now, drop=False)
    bench.origin["a"] = Fingerprint("=2")

    await bench.finish(bench.dispatcher(DELETING))

    assert [request.target.split("/")[1] for request in bench.kodo.requests] == ["prefetch", "prefetch"]
    assert bench.left() == {}


@pytest.mark.parametrize(
    ("operation", "start"), [(Operation.FETCH, "/fetch/"), (Operation.GLB_FETCH, "/glb/fetch/")], ids=str
)
def test_a_fetch_names_the_files_url(tmp_path: Path, operation: Operation, start: str) -> None:
    @with_bench
    async def scenario(bench: Bench) -> None:
        await bench.publish("a b/中.txt")

        target = replace(TARGET, operation=operation, origin_url="https://origin.example.com/x")
        await bench.finish(bench.dispatcher(target))

        (request,) = bench.kodo.requests
        url, entry = request.target.removeprefix(start).split("/to/")
        assert request.target.startswith(start)
        assert decode_url(url) == "https://origin.example.com/x/a%20b/%E4%B8%AD.txt"
        assert entry == encode_entry("newdocs", "a b/中.txt")

    scenario(tmp_path)


@with_bench
async def test_a_failing_key_is_tried_again_and_parked_and_holds_back_nobody(bench: Bench) -> None:
    bench.kodo = FakeKodo({"05.txt": [failing(478)] * 3})
    await bench.publish(*KEYS)

    with capture_logs() as lines:
        await bench.finish(bench.dispatcher())

    told = [(line["attempt"], line["next"], line["log_level"]) for line in lines if line["key"] == "05.txt"]
    parked = bench.left()["05.txt"]
    assert told == [(1, "retry", "info"), (2, "retry", "info"), (3, "park", "warning")]
    assert bench.fresh() == len(KEYS) - 1
    assert (parked.state, parked.attempts, parked.last_status) == (State.PARKED, 3, 478)
    assert (parked.last_outcome, parked.last_error, parked.due_at) == (Outcome.ORIGIN_FAILING, "it failed", None)


@with_bench
async def test_a_retry_waits_for_its_time(bench: Bench) -> None:
    bench.chance = 1.0
    bench.kodo = FakeKodo({"a": [failing(503)]})
    await bench.publish("a")
    dispatcher = bench.dispatcher()

    async with bench.at_work(dispatcher):
        await bench.kodo.until_asked(1)
        while (due_at := await bench.journal.next_due("docs")) != START + timedelta(seconds=1):
            assert due_at in {None, START + TARGET.lease}, due_at
        asked_before = len(bench.kodo.asked)
        bench.now += timedelta(seconds=1)
        dispatcher.wake()
        await bench.kodo.until_asked(2)

    assert asked_before == 1
    assert bench.fresh() == 1


@with_bench
async def test_a_server_that_says_when_is_heeded(bench: Bench) -> None:
    bench.kodo = FakeKodo({"a": [replace(failing(573), retry_after_s=60.0)]})
    await bench.publish("a")
    dispatcher = bench.dispatcher()

    async with bench.at_work(dispatcher):
        await bench.kodo.until_asked(1)

    row = bench.left()["a"]
    assert row.due_at == START + timedelta(seconds=60)
    assert (row.attempts, row.strikes) == (1, 0)


@with_bench
async def test_a_200_that_is_not_kodos_is_not_believed(bench: Bench) -> None:
    bench.kodo = FakeKodo({"a": [Reply(status=200)]})
    await bench.publish("a")

    with capture_logs() as lines:
        await bench.finish(bench.dispatcher())

    hijacked, real = lines
    assert (hijacked["status"], hijacked["outcome"], hijacked["next"]) == (200, "unavailable", "retry")
    assert "did not come from Kodo" in hijacked["error"]
    assert real["next"] == "done"


@with_bench
async def test_a_refused_account_holds_every_key_after_one_call(bench: Bench) -> None:
    bench.kodo = FakeKodo({KEYS[0]: [failing(401, "bad token")]})
    await bench.publish(*KEYS)
    dispatcher = bench.dispatcher()

    with capture_logs() as lines:
        await bench.finish(dispatcher)

    (line,) = lines
    assert bench.kodo.asked == [KEYS[0]]
    assert dispatcher.held
    assert (line["log_level"], line["next"], line["retry_in_s"]) == ("error", "hold", 30.0)
    assert "secret key" in line["action"]
    assert {row.state for row in bench.left().values()} == {State.STALE}


@with_bench
async def test_a_held_mirror_probes_with_one_key_and_then_does_the_rest(bench: Bench) -> None:
    bench.kodo = FakeKodo({KEYS[0]: [failing(631)], KEYS[1]: [failing(631)]})
    await bench.publish(*KEYS)
    dispatcher = bench.dispatcher()

    async with bench.at_work(dispatcher):
        await bench.kodo.until_asked(1)
        await _until(lambda: dispatcher.held and dispatcher.in_flight == 0, bench)
        bench.now += timedelta(seconds=30)
        dispatcher.wake()
        await bench.kodo.until_asked(2)
        await _until(lambda: len(bench.kodo.asked) == 2 and dispatcher.in_flight == 0, bench)
        probed = list(bench.kodo.asked)
        bench.now += timedelta(seconds=60)
        dispatcher.wake()
        await bench.kodo.until_asked(2 + len(KEYS))

    assert len(probed) == 2
    assert not dispatcher.held
    assert bench.fresh() == len(KEYS)


async def _until(condition: Callable[[], bool], bench: Bench) -> None:
    """Wait round by round of the journal's thread; there is no event for what is waited for."""
    async with asyncio.timeout(20):
        while not condition():
            await bench.journal.next_due("docs")


@with_bench
async def test_stopping_lets_calls_end_and_gives_the_other_claims_back(bench: Bench) -> None:
    await bench.publish(*KEYS)
    dispatcher = bench.dispatcher()

    async with bench.at_work(dispatcher):
        await bench.kodo.until_asked(1)
        bench.kodo.shut()
        await bench.kodo.until_asked(4)
        dispatcher.stop()
        bench.kodo.open()

    left = bench.left().values()
    assert len(bench.kodo.asked) == 4
    assert bench.fresh() == 4
    assert {(row.state, row.attempts, row.lease_until) for row in left} == {(State.STALE, 0, None)}


@with_bench
async def test_calls_cut_short_leave_their_keys_stale(bench: Bench) -> None:
    bench.kodo.shut()
    await bench.publish("a")
    dispatcher = bench.dispatcher()

    with capture_logs() as lines:
        async with bench.at_work(dispatcher):
            await bench.kodo.until_asked(1)
            dispatcher.stop()
            dispatcher.cut_short()

    (line,) = lines
    row = bench.left()["a"]
    assert (line["status"], line["outcome"], line["next"]) == (None, "timed-out", "retry")
    assert "cut short" in line["error"]
    assert (row.state, row.attempts, row.lease_until) == (State.STALE, 1, None)
    assert bench.kodo.in_flight.total() == 0


@with_bench
async def test_nothing_is_sent_under_a_lease_that_might_end_before_the_call(bench: Bench) -> None:
    late = iter([timedelta(seconds=31)])

    def pass_time() -> None:
        bench.now += next(late, timedelta(0))

    bench.on_observe = pass_time
    await bench.publish("a")

    with capture_logs() as lines:
        await bench.finish(bench.dispatcher())

    assert bench.kodo.asked == ["a"]
    assert [line["attempt"] for line in lines] == [1]
    assert bench.fresh() == 1


@with_bench
async def test_a_key_of_which_the_origin_cannot_tell_is_asked_for_as_the_journal_knows_it(bench: Bench) -> None:
    await bench.publish("a")
    bench.origin.clear()

    await bench.finish(bench.dispatcher())

    assert bench.kodo.asked == ["a"]
    assert bench.fresh() == 1


@with_bench
async def test_every_attempt_leaves_one_line_with_all_that_is_known(bench: Bench) -> None:
    headers = {"x-reqid": "r", "server": "openresty"}
    answer = Reply(
        status=599, reqid="r", xlog="IO:3/599", error="server operation failed", headers=headers, duration_s=0.25
    )
    bench.kodo = FakeKodo({"a": [answer]})
    await bench.publish("a")
    bench.now += timedelta(seconds=5)

    with capture_logs() as lines:
        await bench.finish(bench.dispatcher())

    failed, done = lines
    expected: dict[str, Any] = {
        "event": "refresh.attempted", "log_level": "info", "mirror": "docs", "bucket": "newdocs", "key": "a",
        "operation": "prefetch", "attempt": 1, "status": 599, "reqid": "r", "xlog": "IO:3/599",
        "outcome": "unavailable", "next": "retry", "retry_in_s": 0.0, "duration_s": 0.25, "lag_s": 5.0,
        "error": "server operation failed", "headers": headers,
    }  # fmt: skip
    assert failed == expected
    assert (done["attempt"], done["next"], done["retry_in_s"], done["error"]) == (2, "done", None, None)


@with_bench
async def test_a_success_is_fresh_once_the_bucket_confirms_it_and_has_one_line(bench: Bench) -> None:
    await bench.publish(*KEYS)
    bench.kodo.holds = dict.fromkeys(KEYS, holding("1"))

    with capture_logs() as lines:
        await bench.finish(bench.verifying())

    assert sorted(bench.kodo.asked) == KEYS
    assert sorted(key for batch in bench.kodo.batches for key in batch) == KEYS
    assert [(line["event"], line["next"]) for line in lines] == [("refresh.attempted", "done")] * len(KEYS)
    assert (bench.fresh(), bench.left()) == (len(KEYS), {})


@with_bench
async def test_what_waits_for_its_verification_holds_back_no_call_and_is_not_fresh(bench: Bench) -> None:
    await bench.publish(*KEYS)
    bench.kodo.holds = dict.fromkeys(KEYS, holding("1"))
    dispatcher = bench.verifying()

    async with bench.at_work(dispatcher):
        await bench.kodo.until_asked(len(KEYS))
        states = {row.state for row in bench.left().values()}
        dispatcher.finish()

    assert states == {State.CLAIMED}
    assert bench.fresh() == len(KEYS)


@with_bench
async def test_old_bytes_in_the_bucket_make_the_key_stale_again_and_are_told(bench: Bench) -> None:
    await bench.publish("a", version="2")
    bench.kodo.holds["a"] = holding("1")
    bench.chance = 0.5
    dispatcher = bench.verifying()

    with capture_logs() as lines:
        async with bench.at_work(dispatcher):
            await bench.kodo.until_batched(1)
            await _until(lambda: any(line["event"] == "verification.failed" for line in lines), bench)
            await bench.journal.next_due("docs")
            row = bench.left()["a"]
            bench.kodo.holds["a"] = holding("2")
            bench.now += timedelta(seconds=1)
            dispatcher.wake()
            await bench.kodo.until_batched(2)

    attempted, failed, again = lines
    expected: dict[str, Any] = {
        "event": "verification.failed", "log_level": "warning", "mirror": "docs", "bucket": "newdocs", "key": "a",
        "wanted_size": None, "wanted_hash": holding("2").hash, "found_size": 2, "found_hash": holding("1").hash,
        "reqid": attempted["reqid"], "attempt": 1, "next": "retry", "retry_in_s": 0.75, "error": row.last_error,
    }  # fmt: skip
    assert failed == expected
    assert (row.state, row.attempts, row.strikes, row.confirmed) == (State.STALE, 1, 1, None)
    assert row.due_at == START + timedelta(seconds=0.75)
    assert "cache" in (row.last_error or "")
    assert (attempted["next"], again["attempt"], again["next"]) == ("done", 2, "done")
    assert bench.fresh() == 1


@with_bench
async def test_old_bytes_for_ever_park_the_key_with_the_reason(bench: Bench) -> None:
    await bench.publish("a", "b", version="2")
    bench.kodo.holds = {"a": holding("1"), "b": holding("2")}

    with capture_logs() as lines:
        await bench.finish(bench.verifying(replace(TARGET, retry=RetryPolicy(first_delay=timedelta(0)))))

    failed = [line for line in lines if line["event"] == "verification.failed"]
    row = bench.left()["a"]
    assert [line["next"] for line in failed] == ["retry"] * 7 + ["park"]
    assert failed[-1]["log_level"] == "error"
    assert failed[-1]["action"]
    assert (row.state, row.strikes, row.last_status) == (State.PARKED, 8, 200)
    assert "the origin, or a cache in front of it" in (row.last_error or "")
    assert bench.fresh() == 1


@with_bench
async def test_what_the_origin_has_no_longer_is_not_held_against_the_bucket(bench: Bench) -> None:
    await bench.publish("a", version="1")
    bench.kodo.holds["a"] = holding("2")
    dispatcher = bench.verifying()

    with capture_logs() as lines:
        async with bench.at_work(dispatcher):
            await bench.kodo.until_asked(1)
            bench.origin["a"] = Fingerprint("=2")
            await _until(lambda: bench.left()["a"].state is State.STALE, bench)
            bench.now += MOVED_ON_PAUSE
            dispatcher.wake()
            await bench.kodo.until_asked(2)

    assert [line["event"] for line in lines] == ["refresh.attempted"] * 2
    assert bench.fresh() == 1


@with_bench
async def test_what_nobody_can_confirm_is_tried_again_without_a_strike(bench: Bench) -> None:
    await bench.publish("a")
    bench.kodo.stat_failures = [failing(599)]
    dispatcher = bench.verifying()
    dispatcher.finish()

    with capture_logs() as lines:
        async with bench.at_work(dispatcher):
            await _until(lambda: bench.left()["a"].state is State.STALE and len(bench.kodo.batches) == 1, bench)
            row = bench.left()["a"]
            bench.kodo.holds["a"] = holding("1")
            bench.now += timedelta(seconds=1)
            dispatcher.wake()
            await bench.kodo.until_batched(2)

    assert [line["event"] for line in lines] == ["refresh.attempted", "verification.postponed", "refresh.attempted"]
    assert (row.attempts, row.strikes, row.confirmed) == (1, 0, None)
    assert (row.last_error or "").startswith("could not be verified: 599")
    assert bench.fresh() == 1


@with_bench
async def test_a_removal_is_never_verified(bench: Bench) -> None:
    bench.kodo.holds["a"] = holding("1")
    deleting = replace(TARGET, rules=IntakeRules(on_removed=OnRemoved.DELETE))
    await bench.publish("a", rules=deleting.rules)
    await bench.finish(bench.verifying(deleting))
    await bench.publish("a", version=None, rules=deleting.rules)

    await bench.finish(bench.verifying(deleting))

    assert [request.target.split("/")[1] for request in bench.kodo.requests] == ["prefetch", "delete"]
    assert bench.kodo.batches == [["a"]]
    assert bench.left() == {}


@with_bench
async def test_stopping_has_verified_what_has_succeeded(bench: Bench) -> None:
    await bench.publish(*KEYS[:3])
    bench.kodo.holds = dict.fromkeys(KEYS, holding("1"))
    dispatcher = bench.verifying()

    async with bench.at_work(dispatcher):
        await bench.kodo.until_asked(3)

    assert bench.fresh() == 3


@with_bench
async def test_stopping_now_leaves_what_is_not_verified_stale(bench: Bench) -> None:
    await bench.publish("a")
    dispatcher = bench.verifying()

    async with bench.at_work(dispatcher):
        await bench.kodo.until_asked(1)
        bench.kodo.shut()
        await bench.kodo.until_batched(1)
        dispatcher.stop()
        dispatcher.cut_short()

    row = bench.left()["a"]
    assert (row.state, row.strikes, row.lease_until) == (State.STALE, 0, None)
    assert row.last_error == "could not be verified: the service stopped"

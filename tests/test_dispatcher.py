"""The right half with a real journal: how many calls at once, when, and what every way to end leaves behind."""

import asyncio
import functools
import math
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from mirrord.attempts import UNSEEN_PAUSE
from mirrord.decisions.retry import RetryPolicy
from mirrord.decisions.staleness import MOVED_ON_PAUSE, IntakeRules, OnRemoved
from mirrord.dispatcher import Dispatcher
from mirrord.gate import PROBE_PATIENCE, Gate
from mirrord.journal import purges
from mirrord.journal.report import report, unfinished
from mirrord.journal.store import Journal
from mirrord.journal.tables import IS_CLAIMED, IS_STALE, from_microseconds, objects
from mirrord.kodo.entry import decode_url, encode_entry
from mirrord.kodo.etag import etag_of
from mirrord.kodo.protocol import Request
from mirrord.model.attempt import Content, Operation, Outcome, Reply, Silence
from mirrord.model.change import Change
from mirrord.model.fingerprint import Fingerprint, of_file
from mirrord.model.row import ObjectRow, State
from mirrord.pulls import HashOf, Pulls
from mirrord.target import Target
from mirrord.verifier import Patience, Verifier
from tests.fakes.kodo import OK, FakeKodo, accepted, failing

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
)
CONNECT_FAILED = Reply(status=None, silence=Silence.CONNECT_FAILED, error="connection refused")
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
    on_purged: Callable[[], object] = lambda: None
    wall_ahead: timedelta = timedelta(0)
    """What the wall clock shows more than the one that nobody sets."""

    def dispatcher(
        self,
        target: Target = TARGET,
        verifier: Verifier | None = None,
        per_second: float = 0,
        hash_of: HashOf | None = None,
    ) -> Dispatcher:
        """One that believes what it is told, unless there is a verifier."""
        self.gate = Gate(
            mirror=target.mirror,
            bucket=target.bucket,
            concurrency=target.concurrency,
            per_second=per_second,
            now=lambda: self.now,
            chance=lambda: self.chance,
        )
        return Dispatcher(
            target=target,
            journal=self.journal,
            pulls=Pulls(
                target,
                self.kodo,
                hash_of=hash_of or self._hash_of,
                now=lambda: self.now,
                wall=lambda: self.now + self.wall_ahead,
            ),
            gate=self.gate,
            observe=self._observe,
            now=lambda: self.now,
            chance=lambda: self.chance,
            verifier=verifier,
            removed=lambda: self.on_removed(),  # noqa: PLW0108 - a test may say later what is to happen
            purged=lambda: self.on_purged(),  # noqa: PLW0108
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
        return self.dispatcher(target, verifier)

    async def _hash_of(self, keys: Sequence[str]) -> dict[str, tuple[Fingerprint, str]]:
        found = {key: self.origin[key] for key in keys}
        return {key: (version, hash_of(version)) for key, version in found.items() if version is not None}

    async def _observe(self, keys: Sequence[str]) -> dict[str, Fingerprint | None]:
        self.on_observe()
        return {key: self.origin[key] for key in keys if key in self.origin}

    async def publish(self, *keys: str, version: str | None = "1", rules: IntakeRules = TARGET.rules) -> None:
        """The origin has this version of the keys (None: has them no longer), and the intake has noticed."""
        await self.publish_as(None if version is None else Fingerprint(f"={version}"), *keys, rules=rules)

    async def publish_as(self, found: Fingerprint | None, *keys: str, rules: IntakeRules = TARGET.rules) -> None:
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

    async def pass_time(self, dispatcher: Dispatcher, until: Callable[[], bool]) -> None:
        """Move the clock from one moment at which something may be asked to the next, until something is so."""
        async with asyncio.timeout(30):
            while not until():
                due_at, claimed = await self.journal.transact(_next_and_claimed)  # a round, for whoever is at work
                if due_at is not None and not claimed:
                    self.now = max(self.now, due_at, self.gate.shut_until(self.now) or self.now)
                    dispatcher.wake()

    def left(self) -> dict[str, ObjectRow]:
        """The rows that are not fresh."""
        return {row.key: row for row in unfinished(self.url, "docs", 1000)}

    def fresh(self) -> int:
        return report(self.url, ["docs"])[0].keys[State.FRESH]


def _next_and_claimed(connection: sa.Connection) -> tuple[datetime | None, bool]:
    """When the next key is due, and whether any is claimed."""
    due = connection.execute(sa.select(sa.func.min(objects.c.due_at)).where(IS_STALE)).scalar()
    claimed = connection.execute(sa.select(sa.func.count()).select_from(objects).where(IS_CLAIMED)).scalar()
    return from_microseconds(due), bool(claimed)


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

    await bench.finish(bench.dispatcher(replace(TARGET, concurrency=30), per_second=20))

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

    left = list[timedelta]()
    bench.kodo.on_call = lambda _: left.extend((row.lease_until or START) - bench.now for row in bench.left().values())
    bench.on_observe = pass_time
    await bench.publish("a")

    with capture_logs() as lines:
        await bench.finish(bench.dispatcher())

    assert left == [TARGET.lease]
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
        status=599,
        reqid="r",
        xlog="IO:3/599",
        error="server operation failed",
        headers=headers,
        duration_s=0.25,
        content=Content.JSON,
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
    bench.kodo.shut_batches()
    dispatcher = bench.verifying()

    async with bench.at_work(dispatcher):
        await bench.kodo.until_asked(len(KEYS))
        states = {row.state for row in bench.left().values()}
        bench.kodo.open()
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
async def test_what_nobody_can_confirm_is_looked_at_again_without_a_strike_or_a_second_pull(bench: Bench) -> None:
    await bench.publish("a")
    bench.kodo.stat_failures = [failing(599)]
    dispatcher = bench.verifying()
    dispatcher.finish()

    with capture_logs() as lines:
        async with bench.at_work(dispatcher):
            await _until(lambda: bench.left()["a"].state is State.STALE and len(bench.kodo.batches) == 1, bench)
            row = bench.left()["a"]
            bench.kodo.holds["a"] = replace(holding("1"), put_time=2**60)
            bench.now += timedelta(seconds=1)
            dispatcher.wake()
            await bench.kodo.until_looked(1)
            await _until(lambda: not bench.left(), bench)

    assert [line["event"] for line in lines] == ["refresh.attempted", "verification.postponed", "pull.confirmed"]
    assert bench.kodo.asked == ["a"]
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


# -- while all fail --------------------------------------------------------------------------------------

NEVER_OFTEN = replace(TARGET, retry=RetryPolicy(first_delay=timedelta(minutes=8), max_attempts=3))
OUTAGE = [*KEYS[:12]]


class Ill(FakeKodo):
    """Answers every call alike, until it is well."""

    def __init__(self, reply: Reply) -> None:
        super().__init__()
        self.reply: Reply | None = reply

    def answer(self, key: str, request: Request) -> Reply:
        return self.reply or super().answer(key, request)


@pytest.mark.parametrize("reply", [failing(478), CONNECT_FAILED], ids=["origin", "kodo"])
def test_no_key_is_parked_by_probing_with_it(tmp_path: Path, reply: Reply) -> None:
    @with_bench
    async def scenario(bench: Bench) -> None:
        kodo = bench.kodo = Ill(reply)
        bench.chance = 0.5
        await bench.publish(*OUTAGE)
        dispatcher = bench.dispatcher()

        with capture_logs() as lines:
            async with bench.at_work(dispatcher):
                await bench.pass_time(dispatcher, lambda: max(row.attempts for row in bench.left().values()) > 12)
                rows = bench.left()
                kodo.reply = None
                await bench.pass_time(dispatcher, lambda: bench.fresh() == len(OUTAGE))

        assert {row.strikes for row in rows.values()} <= {0, 1}
        assert {line["next"] for line in lines if line["event"] == "refresh.attempted"} == {"retry", "done"}
        assert [line["event"] for line in lines if line["log_level"] == "warning"] == ["breaker.opened"]

    scenario(tmp_path)


async def _asked_after_an_outage(bench: Bench, reply: Reply) -> list[str]:
    """Which keys are asked for after the first success, when those stale for longer come last in the alphabet."""
    kodo = bench.kodo = Ill(reply)
    bench.chance = 0.5
    for key in reversed(OUTAGE):
        await bench.publish(key)
        bench.now += timedelta(seconds=1)
    began_at = bench.now
    dispatcher = bench.dispatcher(replace(NEVER_OFTEN, concurrency=1))

    async with bench.at_work(dispatcher):
        await bench.pass_time(dispatcher, lambda: bench.gate.shut_until(bench.now) is not None)
        due = [row.due_at for row in bench.left().values() if row.due_at]
        kodo.reply = None
        failed = len(kodo.asked)
        await bench.pass_time(dispatcher, lambda: bench.fresh() == len(OUTAGE))

    assert max(due) >= began_at + timedelta(minutes=4)
    assert bench.now - began_at < timedelta(seconds=5)
    return kodo.asked[failed + 1 :]


@pytest.mark.parametrize("reply", [failing(478), CONNECT_FAILED], ids=["origin", "kodo"])
def test_after_an_outage_those_that_were_to_wait_are_asked_for_at_once_the_oldest_first(
    tmp_path: Path, reply: Reply
) -> None:
    @with_bench
    async def scenario(bench: Bench) -> None:
        asked = await _asked_after_an_outage(bench, reply)

        to_wait = [*reversed(OUTAGE[3:])]  # the others were ready to be probed with
        assert [key for key in asked if key in to_wait] == to_wait

    scenario(tmp_path)


@with_bench
async def test_after_an_outage_a_key_that_could_have_been_a_probe_is_not_before_older_ones(bench: Bench) -> None:
    asked = await _asked_after_an_outage(bench, failing(478))

    assert asked == [key for key in reversed(OUTAGE) if key in asked]


@with_bench
async def test_an_outage_also_ends_when_only_files_are_left_whose_pulls_are_not_waited_for(bench: Bench) -> None:
    kodo = bench.kodo = Ill(failing(478))
    bench.chance = 0.5
    target = replace(TARGET, origin_url="https://origin.example.com", async_above=2**20)
    large = KEYS[12:]
    await bench.publish(*OUTAGE)
    dispatcher = bench.dispatcher(target)

    with capture_logs() as lines:
        async with bench.at_work(dispatcher):
            await bench.pass_time(dispatcher, lambda: bench.gate.shut_until(bench.now) is not None)
            await bench.publish(*OUTAGE, version=None)
            await bench.publish_as(of_file(2**21, 1, 1, 1), *large)
            kodo.reply, healed_at = None, bench.now
            kodo.on_call = lambda _: kodo.holds.update(
                dict.fromkeys(kodo.asked, replace(OK, hash="new", put_time=_ticks(bench.now)))
            )
            await bench.pass_time(dispatcher, lambda: not bench.left())

    assert "breaker.closed" in [line["event"] for line in lines]
    assert bench.now - healed_at < timedelta(minutes=1)
    assert sorted(key for key in kodo.asked if key in large) == large


@pytest.mark.parametrize(
    "reply",
    [failing(401), failing(403), failing(478), failing(599), failing(502), CONNECT_FAILED],
    ids=["401", "403", "478", "599", "502", "away"],
)
def test_what_an_earlier_service_was_refused_is_asked_for_at_the_start_of_the_next(
    tmp_path: Path, reply: Reply
) -> None:
    @with_bench
    async def scenario(bench: Bench) -> None:
        bench.kodo = Ill(reply)
        bench.chance = 0.5
        await bench.publish(*KEYS[:3])
        first = bench.dispatcher(NEVER_OFTEN)
        async with bench.at_work(first):
            await bench.kodo.until_asked(1)
            await _until(lambda: first.in_flight == 0 and any(row.attempts for row in bench.left().values()), bench)
        left_at = bench.now
        bench.kodo = FakeKodo()

        second = bench.dispatcher(NEVER_OFTEN)
        async with bench.at_work(second):
            await bench.kodo.until_asked(3)

        assert sorted(bench.kodo.asked) == KEYS[:3]
        assert bench.now == left_at
        assert bench.fresh() == 3

    scenario(tmp_path)


@pytest.mark.parametrize("reply", [failing(404), failing(504)], ids=["parked", "may-be-running"])
def test_a_start_hurries_nothing_that_has_its_own_reason_to_wait(tmp_path: Path, reply: Reply) -> None:
    @with_bench
    async def scenario(bench: Bench) -> None:
        bench.kodo = FakeKodo({"a": [reply]})
        await bench.publish("a")
        first = bench.dispatcher()
        async with bench.at_work(first):
            await bench.kodo.until_asked(1)

        async with bench.at_work(bench.dispatcher()):
            await bench.publish("b")
            await bench.kodo.until_asked(2)

        assert bench.kodo.asked == ["a", "b"]
        assert bench.kodo.looks == []

    scenario(tmp_path)


@with_bench
async def test_of_an_account_that_is_refused_for_long_a_person_is_told_once_and_no_key_is_lost(bench: Bench) -> None:
    kodo = bench.kodo = Ill(failing(419, "frozen"))
    await bench.publish(*KEYS[:3])
    dispatcher = bench.dispatcher()

    with capture_logs() as lines:
        async with bench.at_work(dispatcher):
            await bench.pass_time(dispatcher, lambda: len(kodo.asked) == 9)
            kodo.reply = None
            await bench.pass_time(dispatcher, lambda: bench.fresh() == 3)

    refused = [line for line in lines if line.get("next") == "hold"]
    assert [line["log_level"] for line in refused] == ["error"] + ["warning"] * 8
    assert ["Qiniu has frozen" in line.get("action", "") for line in refused] == [True] + [False] * 8
    assert [line["retry_in_s"] for line in refused] == [30, 60, 120, 240, 480, 600, 600, 600, 600]
    assert [line["event"] for line in lines if line["event"] == "mirror.resumed"] == ["mirror.resumed"]


# -- any replies in any order ----------------------------------------------------------------------------

BAD = [
    *(failing(status) for status in (298, 302, 400, 404, 410, 478, 499, 500, 502, 503, 504, 579, 599, 608, 612, 999)),
    Reply(status=200),
    Reply(status=403, reqid="r", xlog="IO", content=Content.FOREIGN, error="a page"),
    CONNECT_FAILED,
    Reply(status=None, silence=Silence.BROKEN, error="broken"),
    Reply(status=None, silence=Silence.TIMED_OUT, error="no answer"),
]
MAY_RUN_S: dict[int | Silence | None, float] = {504: 10.0, Silence.BROKEN: 3.0, Silence.TIMED_OUT: 300.0}


class Wild(FakeKodo):
    """Answers by chance, until it is well. Some pulls without an end go on for a while and may store what they got."""

    def __init__(self, bench: "Bench", seed: int) -> None:
        super().__init__()
        self._bench = bench
        self._dice = random.Random(seed)
        self.well = False
        self.stored: dict[str, Fingerprint | None] = {}
        """Which version the bucket has got of a key."""
        self._running: dict[str, tuple[datetime, datetime | None, Fingerprint | None]] = {}
        """Until when it may run, when it stores something, and what."""
        self.broken_laws: list[str] = []
        self.on_call = self._pass

    def answer(self, key: str, request: Request) -> Reply:
        now, version = self._bench.now, self._bench.origin[key]
        if key in self._running:
            self.broken_laws.append(f"{key} was asked for at {now} while {self._running[key]}")
        queued = request.target == "/sisyphus/fetch"
        reply = accepted(f"{len(self.asked)}") if queued else OK
        if not self.well and self._dice.random() < 0.8:
            reply = self._dice.choice([*BAD, failing(401), reply])
        may_run_s = MAY_RUN_S.get(reply.status or reply.silence)
        if may_run_s is not None or reply.task:
            may_run_s = 600.0 if queued else may_run_s or 0.0
            stores = self.well or self._dice.random() < 0.5
            ends_at = now + timedelta(seconds=may_run_s * self._dice.random()) if stores else None
            self._running[key] = now + timedelta(seconds=may_run_s), ends_at, version
        elif reply.status == 200 and reply.reqid:
            self.stored[key] = version
        return reply

    def _pass(self, _: Request) -> None:
        now = self._bench.now
        for key, (until, ends_at, version) in list(self._running.items()):
            if ends_at is not None and now >= ends_at:
                self.stored[key] = version
                self.holds[key] = replace(OK, hash=f"h{ends_at}", put_time=_ticks(ends_at))
            if now >= until or (ends_at is not None and now >= ends_at):
                del self._running[key]


def _ticks(moment: datetime) -> int:
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 10


@pytest.mark.parametrize("above", [None, 50 * 2**20], ids=["never-queued", "queued-after-two-504"])
@pytest.mark.parametrize("seed", range(4))
def test_after_any_replies_every_key_is_fresh_or_parked_for_a_reason_of_its_own(
    tmp_path: Path, seed: int, above: int | None
) -> None:
    @with_bench
    async def scenario(bench: Bench) -> None:
        keys = [f"{n:02}" for n in range(30)]
        kodo = bench.kodo = Wild(bench, seed)
        bench.chance = 0.5
        policy = RetryPolicy(first_delay=timedelta(seconds=1), max_attempts=6)
        target = replace(TARGET, concurrency=8, retry=policy, origin_url="https://o.example.com", async_above=above)
        for version in ("1", "2", "3", None):  # a service each
            if version:
                await bench.publish(*keys[:: int(version)], version=version)
            kodo.well = version is None
            most = math.inf if kodo.well else len(kodo.asked) + 40
            dispatcher = bench.dispatcher(target)
            async with bench.at_work(dispatcher):
                await bench.pass_time(dispatcher, functools.partial(_is_over, bench, most))

        left = bench.left()
        assert kodo.broken_laws == []
        assert kodo.most_of_one_key == 1
        assert bench.fresh() + len(left) == len(keys)
        for row in left.values():
            own = row.last_outcome in {Outcome.ORIGIN_MISSING, Outcome.REFUSED}
            assert own or row.strikes >= policy.max_attempts, row
        assert {key for key in keys if key not in left and kodo.stored.get(key) != bench.origin[key]} == set()

    scenario(tmp_path)


def _is_over(bench: Bench, calls: float) -> bool:
    return len(bench.kodo.asked) >= calls or {row.state for row in bench.left().values()} <= {State.PARKED}


@pytest.mark.parametrize("tells", [True, False], ids=["with-a-cdn", "without"])
def test_a_verified_key_wakes_who_tells_the_cdn_when_it_is_in_the_journal(tmp_path: Path, tells: bool) -> None:
    @with_bench
    async def scenario(bench: Bench) -> None:
        woken = list[str]()
        bench.on_purged = lambda: woken.append("purged")
        bench.kodo.holds = {"a": holding("1"), "b": holding("1")}
        await bench.publish("a", "b")

        await bench.finish(bench.verifying(replace(TARGET, tells_cdn=tells)))

        waiting = await purges.first(bench.journal, "docs", 10)
        assert bench.fresh() == 2
        assert [each.key for each in waiting] == (["a", "b"] if tells else [])
        assert bool(woken) is tells

    scenario(tmp_path)

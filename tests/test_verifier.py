"""The verifier with a fake bucket: what is asked together, what is never asked, what comes of every kind of answer."""

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from mirrord.attempts import Asked, Claim, Ended
from mirrord.decisions.verification import Contradicted, Unverified, Verification, Verified
from mirrord.kodo.etag import etag_of
from mirrord.model.attempt import Operation, Outcome, Reply, Verdict
from mirrord.model.fingerprint import Fingerprint, of_file
from mirrord.model.row import ObjectRow, State
from mirrord.model.step import Done
from mirrord.verifier import SETTLE_WITHIN, SMALL_BYTES, Patience, Verifier
from tests.fakes.kodo import OK, FakeKodo, failing

START = datetime(2026, 11, 20, 12, tzinfo=UTC)
CONTENT = b"x"
HASH, OLD = etag_of([CONTENT]), etag_of([b"o"])
VERSION = of_file(1, 1, 1, 1)
LARGE = of_file(SMALL_BYTES + 1, 1, 1, 1)
ALONE = Patience(batch_s=60, pauses_s=(0.0, 0.0))
"""Whatever is waited for in these tests must not come of the time."""


def succeeded(
    key: str,
    *,
    reply: Reply = OK,
    version: Fingerprint = VERSION,
    operation: Operation = Operation.PREFETCH,
    lease: timedelta = timedelta(minutes=1),
) -> Ended:
    row = ObjectRow(mirror="docs", key=key, wanted=version, state=State.CLAIMED, lease_until=START + lease)
    asked = Asked(operation, reply, Verdict(outcome=Outcome.REFRESHED), Done(), counts=True)
    return Ended(Claim(row, version, seen=True), START, asked)


@dataclass
class Bench:
    """A bucket, the origin's files, and what came back."""

    kodo: FakeKodo = field(default_factory=FakeKodo)
    files: dict[str, tuple[Fingerprint, str]] = field(default_factory=dict)
    read: list[list[str]] = field(default_factory=list)
    reading: asyncio.Event = field(default_factory=asyncio.Event)
    may_read: asyncio.Event = field(default_factory=asyncio.Event)
    back: dict[str, Verification | None] = field(default_factory=dict)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    now: datetime = START + timedelta(seconds=1)

    def verifier(self, patience: Patience = ALONE) -> Verifier:
        return Verifier(
            mirror="docs",
            bucket="newdocs",
            kodo=self.kodo,
            hash_of=self._hash_of,
            now=lambda: self.now,
            patience=patience,
        )

    async def _hash_of(self, keys: Sequence[str]) -> dict[str, tuple[Fingerprint, str]]:
        self.read.append(list(keys))
        if any(self.files[key][0] == LARGE for key in keys if key in self.files):
            self.reading.set()
            await self.may_read.wait()
        return {key: self.files[key] for key in keys if key in self.files}

    def publish(self, *keys: str, held: Reply | None = None) -> None:
        """Files that the bucket holds, as they are or as `held` says."""
        for key in keys:
            self.files[key] = VERSION, HASH
            self.kodo.holds[key] = held or Reply(status=200, reqid="stat", hash=HASH, size_bytes=1)

    def take_back(self, ends: Sequence[Ended]) -> None:
        for end in ends:
            assert end.claim.row.key not in self.back
            assert end.at == self.now
            self.back[end.claim.row.key] = end.verification
        self.news.set()

    async def until_back(self, times: int) -> None:
        async with asyncio.timeout(20):
            while len(self.back) < times:
                self.news.clear()
                await self.news.wait()

    @asynccontextmanager
    async def at_work(self, verifier: Verifier) -> AsyncIterator[None]:
        async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
            tasks.create_task(verifier.run(self.take_back), name="verifier")
            yield
            verifier.close()

    async def verify(self, *ends: Ended, patience: Patience = ALONE) -> None:
        """All of them, asked about together at once."""
        verifier = self.verifier(patience)
        async with self.at_work(verifier):
            for end in ends:
                verifier.take(end)
            verifier.ask_within(0)
            await self.until_back(len(ends))


def with_bench(scenario: Callable[[Bench], Awaitable[None]]) -> Callable[[], None]:
    @functools.wraps(scenario)
    def test() -> None:
        async def run() -> None:
            await scenario(Bench())

        asyncio.run(run())

    del test.__wrapped__  # type: ignore[attr-defined]  # pytest would read the coroutine's arguments
    return test


@with_bench
async def test_a_thousand_successes_are_one_batch_without_waiting_for_more(bench: Bench) -> None:
    keys = [f"{n:04}" for n in range(2500)]
    bench.publish(*keys)
    verifier = bench.verifier()

    async with bench.at_work(verifier):
        for key in keys:
            verifier.take(succeeded(key))
        await bench.until_back(2000)
        asked = [len(batch) for batch in bench.kodo.batches]
        verifier.ask_within(0)
        await bench.until_back(2500)

    assert asked == [1000, 1000]
    assert [len(batch) for batch in bench.kodo.batches] == [1000, 1000, 500]
    assert set(bench.back.values()) == {Verified(HASH)}


@with_bench
async def test_a_few_are_asked_about_when_the_oldest_has_waited(bench: Bench) -> None:
    bench.publish("a", "b")
    verifier = bench.verifier(Patience(batch_s=0.05, pauses_s=(60.0,)))

    async with bench.at_work(verifier):
        verifier.take(succeeded("a"))
        verifier.take(succeeded("b"))
        verifier.ask_within(60)
        await bench.until_back(2)

    assert bench.kodo.batches == [["a", "b"]]


@with_bench
async def test_a_reply_that_names_hash_and_size_is_not_asked_about(bench: Bench) -> None:
    bench.publish("good", "stale", "bare", "glb", "empty")
    bench.files["empty"] = of_file(0, 1, 1, 1), etag_of([])
    good = replace(OK, hash=HASH, size_bytes=1)
    empty = succeeded("empty", reply=replace(OK, hash=etag_of([]), size_bytes=0), version=of_file(0, 1, 1, 1))

    await bench.verify(
        succeeded("good", reply=good),
        succeeded("stale", reply=replace(good, hash=OLD)),
        succeeded("bare"),
        succeeded("glb", reply=replace(OK, hash=HASH, size_bytes=0), operation=Operation.GLB_FETCH),
        empty,
    )

    assert bench.kodo.batches == [["bare"]]
    assert isinstance(bench.back.pop("stale"), Contradicted)
    assert bench.back.pop("empty") == Verified(etag_of([]))
    assert set(bench.back.values()) == {Verified(HASH)}


@with_bench
async def test_the_bucket_is_held_against_the_local_file(bench: Bench) -> None:
    bench.publish("good", "old", "none", "unreadable", "parts", "moved-on")
    del bench.files["unreadable"], bench.kodo.holds["none"]
    bench.kodo.holds["old"] = bench.kodo.holds["unreadable"] = replace(OK, hash=OLD, size_bytes=1)
    bench.kodo.holds["parts"] = replace(OK, hash="njrefZHapEMPsMusf006i_J0zpnN", size_bytes=1)
    bench.files["moved-on"] = of_file(1, 2, 2, 2), "another"

    await bench.verify(*map(succeeded, bench.kodo.holds), succeeded("none"))

    assert isinstance(bench.back.pop("old"), Contradicted)
    assert isinstance(bench.back.pop("none"), Contradicted)
    assert bench.back == {
        "good": Verified(HASH),
        "unreadable": Verified(OLD),  # its size agrees, and nobody knows more
        "parts": Verified("njrefZHapEMPsMusf006i_J0zpnN"),
        "moved-on": Verified(HASH),  # the hash of another version says nothing of this one
    }


@with_bench
async def test_a_batch_that_fails_is_asked_again_and_then_goes_back_unverified(bench: Bench) -> None:
    bench.publish("a", "b")
    bench.kodo.stat_failures = [failing(503), failing(573), failing(599)]

    with capture_logs() as lines:
        await bench.verify(succeeded("a"), succeeded("b"))
    with capture_logs() as lines_when_healed:
        bench.back.clear()
        await bench.verify(succeeded("a"), succeeded("b"))

    (line,) = lines
    assert bench.kodo.batches == [["a", "b"]] * 4
    assert (line["event"], line["log_level"], line["keys"], line["status"]) == (
        "verification.postponed",
        "warning",
        2,
        599,
    )
    assert lines_when_healed == []
    assert set(bench.back.values()) == {Verified(HASH)}


@with_bench
async def test_only_what_has_no_answer_yet_is_asked_again(bench: Bench) -> None:
    bench.publish("a", "b", "c")
    bench.kodo.holds["b"] = failing(599)

    await bench.verify(*map(succeeded, "abc"))

    assert bench.kodo.batches == [["a", "b", "c"], ["b"], ["b"]]
    assert bench.back["b"] == Unverified("599: it failed")
    assert bench.back["a"] == bench.back["c"] == Verified(HASH)


@with_bench
async def test_an_answer_that_does_not_fit_the_batch_is_none(bench: Bench) -> None:
    bench.publish("a")
    bench.kodo.stat_failures = [Reply(status=200)] * 3

    with capture_logs() as lines:
        await bench.verify(succeeded("a"))

    (line,) = lines
    (verification,) = bench.back.values()
    assert len(bench.kodo.batches) == 3
    assert isinstance(verification, Unverified)
    assert "has 0" in verification.why
    assert line["event"] == "verification.postponed"


@with_bench
async def test_a_key_pair_that_may_not_stat_is_said_at_once(bench: Bench) -> None:
    bench.publish("a")
    bench.kodo.stat_failures = [failing(403, "permission denied")]

    with capture_logs() as lines:
        await bench.verify(succeeded("a"))

    (line,) = lines
    assert line["log_level"] == "error"
    assert "verify" in line["action"]
    assert len(bench.kodo.batches) == 1
    assert bench.back == {"a": Unverified("403: permission denied")}


@with_bench
async def test_a_server_that_never_answers_a_batch_is_not_waited_for(bench: Bench) -> None:
    bench.publish("a")
    bench.kodo.shut()

    with capture_logs():
        await bench.verify(succeeded("a"), patience=Patience(batch_s=0, answer_s=0.01, pauses_s=(0.0,)))

    (verification,) = bench.back.values()
    assert isinstance(verification, Unverified)
    assert "no answer" in verification.why
    assert len(bench.kodo.batches) == 2


@with_bench
async def test_a_large_file_holds_back_no_small_one(bench: Bench) -> None:
    bench.publish("large", "large-and-old", "small")
    for key in ("large", "large-and-old"):
        bench.files[key] = LARGE, HASH
        bench.kodo.holds[key] = replace(OK, hash=HASH, size_bytes=SMALL_BYTES + 1)
    bench.kodo.holds["large-and-old"] = replace(OK, hash=HASH, size_bytes=SMALL_BYTES + 2)
    verifier = bench.verifier()

    async with bench.at_work(verifier):
        for end in (succeeded("large-and-old", version=LARGE), succeeded("small"), succeeded("large", version=LARGE)):
            verifier.take(end)
        verifier.ask_within(0)
        await bench.reading.wait()
        before = dict(bench.back)
        bench.may_read.set()
        await bench.until_back(3)

    assert before["small"] == Verified(HASH)
    assert isinstance(before["large-and-old"], Contradicted)  # its size is enough: it is not even read
    assert bench.back["large"] == Verified(HASH)
    assert bench.read == [["small"], ["large"]]


@with_bench
async def test_what_cannot_be_verified_before_its_lease_ends_goes_back_unverified(bench: Bench) -> None:
    bench.publish("large")
    bench.files["large"] = LARGE, HASH
    bench.kodo.holds["large"] = replace(OK, hash=HASH, size_bytes=SMALL_BYTES + 1)

    lease = timedelta(seconds=1.02) + SETTLE_WITHIN

    await bench.verify(succeeded("large", version=LARGE, lease=lease))

    assert bench.read[-1] == ["large"]
    assert isinstance(bench.back["large"], Unverified)


@with_bench
async def test_stopping_asks_at_once_and_never_twice(bench: Bench) -> None:
    bench.publish("a", "b")
    bench.kodo.stat_failures = [failing(503)]
    verifier = bench.verifier(Patience(batch_s=60, pauses_s=(60.0,)))

    with capture_logs():
        async with bench.at_work(verifier):
            verifier.take(succeeded("a"))
            verifier.hurry()
            await bench.until_back(1)
            verifier.take(succeeded("b"))
            await bench.until_back(2)

    assert bench.kodo.batches == [["a"], ["b"]]
    assert bench.back == {"a": Unverified("503: it failed"), "b": Verified(HASH)}


@pytest.mark.parametrize("already_asked", [True, False])
def test_stopping_now_hands_everything_back(already_asked: bool) -> None:
    @with_bench
    async def scenario(bench: Bench) -> None:
        bench.publish("a")
        bench.kodo.shut()
        verifier = bench.verifier()

        async with bench.at_work(verifier):
            verifier.take(succeeded("a"))
            if already_asked:
                verifier.ask_within(0)
                await bench.kodo.until_batched(1)
            verifier.cut_short()
            await bench.until_back(1)

        assert bench.back == {"a": Unverified("the service stopped")}

    scenario()

"""A mirror's CDN is told of what became fresh: a real journal, a sandbox that answers, a clock that a test moves."""

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from mirrord.cdn import Cdn, Kodo
from mirrord.decisions.purging import FORBIDDEN_PAUSE, LINGER, URLS_MOST
from mirrord.decisions.staleness import IntakeRules, Settlement
from mirrord.journal import purges
from mirrord.journal.store import Journal
from mirrord.kodo.client import KodoClient
from mirrord.kodo.exchange import Timeouts
from mirrord.kodo.hosts import Hosts
from mirrord.kodo.protocol import Host
from mirrord.kodo.wire import Wire
from mirrord.model.attempt import Content, Outcome, Reply
from mirrord.model.change import Change
from mirrord.model.fingerprint import of_token
from mirrord.model.purge import Purge, PurgeAnswer
from mirrord.model.step import Done
from tests.servers import CREDENTIALS, Sandbox, running_sandbox

START = datetime(2026, 11, 20, 12, tzinfo=UTC)
ADDRESS = "http://cdn.example.com"
A_DAY = timedelta(days=1)
Line = dict[str, Any]


@dataclass
class Bench:
    """`kodo` is the sandbox; every other kind of CDN is given to `cdn`."""

    journal: Journal
    kodo: Sandbox
    client: KodoClient
    now: datetime = START
    version: int = 0

    def cdn(self, *urls: str, kodo: Kodo | None = None, journal: Journal | None = None) -> Cdn:
        return Cdn(
            mirror="docs",
            bucket="newdocs",
            urls=urls or (ADDRESS,),
            journal=journal or self.journal,
            kodo=kodo or self.client,
            now=lambda: self.now,
            chance=lambda: 1.0,
        )

    async def refresh(self, *keys: str) -> None:
        """The keys have a new version, which is in the bucket, and verified."""
        self.version += 1
        changes = [Change(key=key, version=of_token(f"{self.version}"), seen_at=self.now) for key in keys]
        await self.journal.record("docs", changes, IntakeRules())
        claims = await self.journal.claim("docs", self.now, len(keys), timedelta(minutes=5))
        ends = [
            Settlement(
                mirror="docs", key=each.key, claims=each.claims, generation=each.generation, step=Done(), at=self.now,
                asked_for=each.wanted, found=each.wanted, outcome=Outcome.REFRESHED, purge=True,
            )
            for each in claims
        ]  # fmt: skip
        await self.journal.settle(ends, IntakeRules())

    async def finish(self, cdn: Cdn, *, after: timedelta = timedelta(0)) -> list[Line]:
        """Let it tell what waits, a while later; its lines."""
        self.now += after
        with capture_logs() as lines:
            async with asyncio.timeout(20):
                await cdn.finish()
        return [dict(line) for line in lines]

    @asynccontextmanager
    async def at_work(self, cdn: Cdn) -> AsyncIterator[None]:
        """It runs while the block does."""
        async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
            running = tasks.create_task(cdn.run(), name="cdn")
            yield
            running.cancel()

    async def waiting(self) -> list[Purge]:
        return await purges.first(self.journal, "docs", 1000)

    async def until_told(self) -> None:
        while await self.waiting():
            pass

    @property
    def purged(self) -> list[list[str]]:
        return [sorted(urls) for urls in self.kodo.purged()]


Scenario = Callable[[Bench], Awaitable[None]]


def with_bench(scenario: Scenario) -> Callable[[Path], None]:
    """A test that is a coroutine with a bench of its own."""

    @functools.wraps(scenario, assigned=("__name__", "__qualname__", "__doc__", "__module__"))
    def test(tmp_path: Path) -> None:
        async def run() -> None:
            with running_sandbox(tmp_path / "kodo", {"newdocs": None}) as kodo:
                journal, client = Journal(f"sqlite:///{tmp_path}/journal.db"), client_of(kodo)
                journal.open()
                try:
                    await scenario(Bench(journal, kodo, client))
                finally:
                    await client.close()
                    journal.close()

        asyncio.run(run())

    del test.__wrapped__  # type: ignore[attr-defined]  # pytest would read the coroutine's arguments
    return test


def client_of(kodo: Sandbox) -> KodoClient:
    long = timedelta(seconds=20)
    wire = Wire(timeouts=Timeouts(connect=long, read=long))
    pins = dict.fromkeys(Host, kodo.url)
    hosts = Hosts(wire=wire, access_key=CREDENTIALS.access_key, pinned=pins, user_agent="ua", clock=float)
    return KodoClient(
        wire=wire, hosts=hosts, credentials=CREDENTIALS, scheme="qbox", user_agent="ua", now=lambda: datetime.now(UTC)
    )


def events(lines: Sequence[Line], but: str = "debug") -> list[str]:
    return [line["event"] for line in lines if line["log_level"] != but]


# -- batches -------------------------------------------------------------------------------------------------


@with_bench
async def test_a_key_is_told_under_every_address_five_seconds_after_the_first_of_its_batch(bench: Bench) -> None:
    cdn = bench.cdn(ADDRESS, "http://other.example.com")

    async with bench.at_work(cdn):
        await bench.refresh("中 #?/a.txt")
        cdn.wake()
        bench.now += LINGER - timedelta(seconds=1)
        await bench.refresh("b")
        cdn.wake()
        early = [await bench.waiting() and bench.purged for _ in range(20)]  # each a round of the loop and the journal
        bench.now += timedelta(seconds=1)
        cdn.wake()
        await bench.until_told()

    escaped = "%E4%B8%AD%20%23%3F/a.txt"
    assert early == [[]] * 20
    assert bench.purged == [[
        f"{ADDRESS}/{escaped}", f"{ADDRESS}/b", f"http://other.example.com/{escaped}", "http://other.example.com/b",
    ]]  # fmt: skip


@with_bench
async def test_fifty_urls_are_told_at_once_and_more_in_further_requests(bench: Bench) -> None:
    cdn = bench.cdn()

    async with bench.at_work(cdn):
        await bench.refresh(*(f"{n:03}" for n in range(2 * URLS_MOST)))
        cdn.wake()
        await bench.until_told()

    assert [len(urls) for urls in bench.purged] == [URLS_MOST, URLS_MOST]
    assert {url for urls in bench.purged for url in urls} == {f"{ADDRESS}/{n:03}" for n in range(2 * URLS_MOST)}


@with_bench
async def test_a_request_that_was_taken_leaves_one_line_with_what_is_left_of_the_quota(bench: Bench) -> None:
    bench.kodo.set_cdn(quota_day=10)
    cdn = bench.cdn("http://cdn.example.com", "https://cdn.example.com")
    await bench.refresh("a", "b")

    (line,) = await bench.finish(cdn)

    (call,) = bench.kodo.calls("cdn-refresh")
    assert (line["event"], line["log_level"], line["mirror"], line["bucket"]) == (
        "cdn.refreshed", "info", "docs", "newdocs",
    )  # fmt: skip
    assert (line["urls"], line["keys"], line["status"], line["code"]) == (4, 2, 200, 200)
    assert (line["reqid"], line["request_id"]) == (call["reqid"], f"cdn {call['reqid']}")
    assert (line["quota_day"], line["surplus_day"]) == (10, 4)
    assert line["duration_s"] >= 0
    assert (cdn.surplus, cdn.condition) == (4, None)
    assert await bench.waiting() == []


@with_bench
async def test_a_key_is_forgotten_when_the_last_of_its_addresses_was_told(bench: Bench) -> None:
    addresses = [f"http://{n:02}.example.com" for n in range(URLS_MOST + 10)]
    bench.kodo.set_cdn(quota_day=URLS_MOST + 5)
    cdn = bench.cdn(*addresses)
    await bench.refresh("a")

    await bench.finish(cdn)
    partly = await bench.waiting()
    bench.kodo.skew(A_DAY.total_seconds())
    await bench.finish(cdn, after=A_DAY)

    assert [each.key for each in partly] == ["a"]
    assert [len(urls) for urls in bench.purged] == [URLS_MOST, 5, 5]
    assert sorted(url for urls in bench.purged for url in urls) == [f"{each}/a" for each in addresses]
    assert await bench.waiting() == []


# -- nothing is lost -----------------------------------------------------------------------------------------


@with_bench
async def test_what_waited_when_the_service_died_is_told_by_the_next_one(bench: Bench) -> None:
    await bench.refresh("a")
    again = Journal(f"sqlite:///{bench.kodo.root.parent}/journal.db")

    await bench.finish(bench.cdn(journal=again))

    again.close()
    assert bench.purged == [[f"{ADDRESS}/a"]]
    assert await bench.waiting() == []


@with_bench
async def test_a_key_that_is_refreshed_while_it_is_told_is_told_again(bench: Bench) -> None:
    class Meanwhile:
        async def purge(self, bucket: str, urls: Sequence[str]) -> tuple[Reply, PurgeAnswer | None]:
            if not bench.purged:
                await bench.refresh("a")
            return await bench.client.purge(bucket, urls)

    cdn = bench.cdn(kodo=Meanwhile())
    await bench.refresh("a", "b")

    await bench.finish(cdn)

    assert bench.purged == [[f"{ADDRESS}/a", f"{ADDRESS}/b"], [f"{ADDRESS}/a"]]
    assert await bench.waiting() == []


@with_bench
async def test_other_addresses_count_for_what_waits_and_under_none_it_goes_on_waiting(bench: Bench) -> None:
    cdn = bench.cdn()
    await bench.refresh("a")

    cdn.adjust([])
    await bench.finish(cdn)
    kept = await bench.waiting()
    cdn.adjust(["http://new.example.com"])
    await bench.finish(cdn)

    assert [each.key for each in kept] == ["a"]
    assert bench.purged == [["http://new.example.com/a"]]


# -- what is not taken ---------------------------------------------------------------------------------------


@with_bench
async def test_urls_that_the_cdn_does_not_serve_are_dropped_with_one_warning(bench: Bench) -> None:
    bench.kodo.set_cdn(domains=["cdn.example.com"])
    cdn = bench.cdn(ADDRESS, "http://foreign.example.com")
    await bench.refresh("a", "b")

    taken, rejected = await bench.finish(cdn)

    assert (taken["event"], rejected["event"], rejected["log_level"]) == ("cdn.refreshed", "cdn.rejected", "warning")
    assert (rejected["urls"], rejected["keys"]) == (2, 2)
    assert rejected["rejected"] == ["http://foreign.example.com/a", "http://foreign.example.com/b"]
    assert bench.purged == [[f"{ADDRESS}/a", f"{ADDRESS}/b"]]
    assert await bench.waiting() == []


@with_bench
async def test_a_request_that_is_refused_for_some_urls_is_sent_again_without_them(bench: Bench) -> None:
    bench.kodo.set_cdn(domains=["cdn.example.com"], whole=True)
    cdn = bench.cdn(ADDRESS, "http://foreign.example.com")
    await bench.refresh("a", "b")

    lines = await bench.finish(cdn)

    assert events(lines) == ["cdn.rejected", "cdn.refreshed"]
    assert bench.purged == [[f"{ADDRESS}/a", f"{ADDRESS}/b"]]
    assert await bench.waiting() == []


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"status": 503}, id="503"),
        pytest.param({"drop": True}, id="hangs-up"),
        pytest.param({"html": True}, id="a-portal"),
        pytest.param({"status": 429}, id="throttled"),
        pytest.param({"code": 500000}, id="a-code-in-a-200"),
    ],
)
def test_a_failure_is_said_once_kept_trying_and_its_end_is_said(tmp_path: Path, fault: dict[str, Any]) -> None:
    @with_bench
    async def scenario(bench: Bench) -> None:
        if "code" in fault:
            bench.kodo.set_cdn(**fault)
        else:
            bench.kodo.fail(operation="cdn-refresh", **fault)
        cdn = bench.cdn()
        await bench.refresh("a")

        first = await bench.finish(cdn)
        condition = cdn.condition
        too_soon = await bench.finish(cdn)
        again = [await bench.finish(cdn, after=timedelta(minutes=10)) for _ in range(3)]
        bench.kodo.heal()
        bench.kodo.set_cdn()
        last = await bench.finish(cdn, after=timedelta(minutes=10))

        assert (events(first), first[0]["log_level"], first[0]["retry_in_s"]) == (["cdn.failed"], "warning", 1.0)
        assert first[0]["error"]
        assert condition is not None
        assert (condition.name, condition.since, condition.until) == ("cdn", START, START + timedelta(seconds=1))
        assert too_soon == []
        assert [(events(lines), [line["retry_in_s"] for line in lines]) for lines in again] == [
            ([], [2.0]), ([], [4.0]), ([], [8.0]),
        ]  # fmt: skip
        assert events(last) == ["cdn.refreshed", "cdn.recovered"]
        assert last[1]["lasted_s"] == timedelta(minutes=40).total_seconds()
        assert cdn.condition is None
        assert await bench.waiting() == []

    scenario(tmp_path)


@pytest.mark.parametrize("status", [401, 403])
def test_a_missing_permission_is_an_error_for_a_person_once_and_tried_every_ten_minutes(
    tmp_path: Path, status: int
) -> None:
    @with_bench
    async def scenario(bench: Bench) -> None:
        bench.kodo.fail(operation="cdn-refresh", status=status)
        cdn = bench.cdn()
        await bench.refresh("a")

        (line,) = await bench.finish(cdn)
        too_soon = await bench.finish(cdn, after=FORBIDDEN_PAUSE - timedelta(seconds=1))
        again = await bench.finish(cdn, after=timedelta(seconds=1))

        assert (line["event"], line["log_level"], line["status"]) == ("cdn.failed", "error", status)
        assert line["action"]
        assert line["retry_in_s"] == FORBIDDEN_PAUSE.total_seconds()
        assert cdn.condition is not None
        assert cdn.condition.status == status
        assert too_soon == []
        assert events(again) == []
        assert len(bench.kodo.calls("cdn-refresh")) == 2
        assert [each.strikes for each in await bench.waiting()] == [0]

    scenario(tmp_path)


class Picky:
    """Refuses every request with one URL in it, and does not say which."""

    def __init__(self, spoilt: str) -> None:
        self.spoilt = spoilt
        self.taken: list[str] = []
        self.sizes: list[int] = []

    async def purge(self, bucket: str, urls: Sequence[str]) -> tuple[Reply, PurgeAnswer | None]:
        self.sizes.append(len(urls))
        code = 400000 if self.spoilt in urls else 200
        if code == 200:
            self.taken += urls
        said = PurgeAnswer(code=code, error="no", request_id=None, invalid_urls=(), quota_day=None, surplus_day=None)
        return Reply(status=200, content=Content.JSON), said


@with_bench
async def test_one_url_that_is_refused_without_a_word_does_not_keep_the_others_from_being_told(bench: Bench) -> None:
    picky = Picky(f"{ADDRESS}/07")
    cdn = bench.cdn(kodo=picky)
    keys = [f"{n:02}" for n in range(URLS_MOST)]
    await bench.refresh(*keys)

    lines = [line for _ in range(40) for line in await bench.finish(cdn, after=timedelta(minutes=10))]

    assert sorted(picky.taken) == [f"{ADDRESS}/{key}" for key in keys if key != "07"]
    assert [each.key for each in await bench.waiting()] == ["07"]
    assert events(lines).count("cdn.failed") == 1
    assert events(lines).count("cdn.recovered") == 0
    assert picky.sizes[0] == URLS_MOST
    assert picky.sizes[-1] == 1
    assert cdn.condition is not None


# -- the quota -------------------------------------------------------------------------------------------------


@with_bench
async def test_what_the_days_quota_has_no_room_for_is_told_the_next_day(bench: Bench) -> None:
    bench.kodo.set_cdn(quota_day=5)
    cdn = bench.cdn("https://cdn.example.com")
    await bench.refresh("a", "b", "c")
    midnight = datetime(2026, 11, 20, 16, tzinfo=UTC)

    refused_and_taken = await bench.finish(cdn)
    condition = cdn.condition
    still_today = await bench.finish(cdn, after=timedelta(hours=3))
    bench.kodo.skew(A_DAY.total_seconds())
    tomorrow = await bench.finish(cdn, after=timedelta(hours=1))

    (postponed,) = [line for line in refused_and_taken if line["event"] == "cdn.postponed"]
    assert events(refused_and_taken) == ["cdn.refreshed", "cdn.postponed"]
    assert (postponed["urls_left"], postponed["quota"], postponed["until"]) == (1, 5, midnight)
    assert condition is not None
    assert (condition.name, condition.since, condition.until) == ("cdn", START, midnight)
    assert still_today == []
    assert events(tomorrow) == ["cdn.refreshed"]
    assert (cdn.condition, cdn.surplus) == (None, 3)
    assert [len(urls) for urls in bench.purged] == [2, 1]
    assert len(bench.kodo.calls("cdn-refresh")) == 3


@with_bench
async def test_a_quota_that_others_used_up_is_noticed_and_said_once_a_day(bench: Bench) -> None:
    bench.kodo.set_cdn(quota_day=1)
    await bench.client.purge("newdocs", ["http://else.example.com/"])
    cdn = bench.cdn()
    await bench.refresh("a")

    today = await bench.finish(cdn)
    tomorrow = await bench.finish(cdn, after=A_DAY)

    assert (events(today), events(tomorrow)) == (["cdn.postponed"], ["cdn.postponed"])
    assert tomorrow[-1]["until"] == today[-1]["until"] + A_DAY
    assert [each.key for each in await bench.waiting()] == ["a"]


@with_bench
async def test_an_answer_about_the_quota_ends_a_failure(bench: Bench) -> None:
    bench.kodo.set_cdn(quota_day=0, code=500000)
    cdn = bench.cdn()
    await bench.refresh("a")

    failed = await bench.finish(cdn)
    bench.kodo.set_cdn(quota_day=1)
    await bench.client.purge("newdocs", ["http://else.example.com/"])
    over = await bench.finish(cdn, after=timedelta(seconds=1))

    assert (events(failed), events(over)) == (["cdn.failed"], ["cdn.recovered", "cdn.postponed"])
    assert cdn.condition is not None
    assert "quota" in cdn.condition.reason


# -- lifetime --------------------------------------------------------------------------------------------------


@with_bench
async def test_it_is_asked_nothing_while_there_is_nothing_to_tell_and_ends_when_cancelled(bench: Bench) -> None:
    cdn = bench.cdn()

    async with bench.at_work(cdn):
        for _ in range(10):
            cdn.wake()
            await bench.waiting()

    assert bench.kodo.calls("cdn-refresh") == []
    assert (cdn.condition, cdn.surplus) == (None, None)


@with_bench
async def test_a_failing_cdn_is_tried_again_when_its_pause_is_over_without_anybody_asking(bench: Bench) -> None:
    bench.kodo.fail(operation="cdn-refresh", status=503, times=1)
    cdn = bench.cdn()
    await bench.refresh("a")
    bench.now += LINGER

    async with bench.at_work(cdn):
        while cdn.condition is None:
            await bench.waiting()
        kept = await bench.waiting()
        bench.now += timedelta(seconds=1)
        await bench.until_told()

    assert [replace(each, due_at=START) for each in kept] == [Purge(key="a", asked=1, since=START, due_at=START)]
    assert bench.purged == [[f"{ADDRESS}/a"]]

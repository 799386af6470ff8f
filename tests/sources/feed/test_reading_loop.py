"""Feeds that break, lie, hang and go in circles: one line each, nothing lost, and on it goes once they are well."""
# ruff: noqa: SIM117 - a feed, and then who follows it

import asyncio
import json
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from structlog.testing import capture_logs

from mirrord.decisions.feed_keys import FeedKeys
from mirrord.decisions.keymap import Selection
from mirrord.model.coverage import UNKNOWN
from mirrord.sources.contract import SourceUnavailable
from mirrord.sources.feed.couchdb import CouchDb
from mirrord.sources.feed.dialect import Dialect, Limits
from mirrord.sources.feed.fetching import Access, Fetcher
from mirrord.sources.feed.jsonl import JsonLines
from mirrord.sources.feed.lane import Manner
from mirrord.sources.feed.pointers import Pointers
from mirrord.sources.feed.shared import SharedFeed
from mirrord.sources.feed.source import FeedSource
from mirrord.sources.feed.sse import Sse
from tests.fakes.receiver import FakeReceiver
from tests.sources.feed.scripted_feed import Answer, ScriptedFeed, scripted

LIMITS = Limits(line=1000)
Lines = list[dict[str, Any]]


def entry(seq: int, key: str, **more: Any) -> bytes:
    return json.dumps({"seq": seq, "key": key, "version": str(seq)} | more).encode() + b"\n"


def lines(*entries: bytes) -> Answer:
    return Answer(b"".join(entries), kind="application/jsonl")


def rows(*changes: tuple[Any, str], last: Any = None, pending: int | None = None) -> Answer:
    """A page of CouchDB's."""
    results = [{"seq": seq, "id": key, "changes": [{"rev": f"1-{seq}"}]} for seq, key in changes]
    document: dict[str, Any] = {"results": results, "last_seq": last if last is not None else changes[-1][0]}
    return Answer(json.dumps(document | ({} if pending is None else {"pending": pending})).encode())


NONE = lines()


def jsonl(url: str) -> JsonLines:
    return JsonLines(f"{url}/feed", pointers=Pointers(), limits=LIMITS)


def couchdb(url: str, *, heartbeat_ms: int = 30_000, page: int = 2) -> CouchDb:
    heartbeat = timedelta(milliseconds=heartbeat_ms)
    return CouchDb(f"{url}/db", page=page, mode="longpoll", heartbeat=heartbeat, limits=LIMITS)


def shared(
    dialect: Dialect, *, waits: bool = False, now: Callable[[], datetime] | None = None, **more: Any
) -> SharedFeed:
    soon = timedelta(milliseconds=10)
    manner = Manner(name="a feed", waits=waits, poll_every=soon, silent_after=timedelta(hours=1), first_pause=soon)
    return SharedFeed(
        dialect,
        Fetcher(Access(user_agent="test")),
        manner,
        LIMITS,
        from_now=more.pop("from_now", False),
        now=now or (lambda: datetime.now(UTC)),
        chance=lambda: 1.0,
        **more,
    )


def source(feed: SharedFeed, mirror: str = "docs", **more: Any) -> FeedSource:
    keys = FeedKeys(origin_url=None, key_prefix="", selection=Selection(), key_from=None)
    return FeedSource(mirror, "it", keys, now=lambda: datetime.now(UTC), feed=feed, **more)


@asynccontextmanager
async def following(followed: FeedSource, receiver: FakeReceiver) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(followed.follow(receiver), name="follow")
        try:
            yield
        finally:
            task.cancel()
    await followed.close()


def events(said: Lines, name: str) -> Lines:
    return [line for line in said if line["event"] == name]


def run(work: Callable[[], Awaitable[None]]) -> Lines:
    """What it said."""

    async def worked() -> None:
        async with asyncio.timeout(30):
            await work()

    with capture_logs() as said:
        asyncio.run(worked())
    return [dict(line) for line in said]


BROKEN = {
    "truncated": (Answer(b'{"results":[{"seq":1,"id":"a"'), "cut off"),
    "a page for people": (Answer(b"<html><body>Log in</body></html>", kind="text/html"), "a page"),
    "not what was asked for": (Answer(b'{"error":"no_db","reason":"missing"}'), "no_db"),
    "a 500": (Answer(b"oops", status=500, kind="text/plain"), "500"),
    "a wrong key": (Answer(b"", status=401), "401"),
    "a bomb": (Answer(b"\x1f\x8b\x08" + bytes(30), headers=("Content-Encoding: gzip",)), "gzip"),
}


@pytest.mark.parametrize(("broken", "why"), BROKEN.values(), ids=BROKEN)
def test_an_answer_that_cannot_be_read_is_one_line_and_is_asked_for_again(broken: Answer, why: str) -> None:
    receiver = FakeReceiver()

    async def work() -> None:
        async with scripted(broken, broken, broken, rows((1, "a"))) as feed:
            async with following(source(shared(couchdb(feed.url))), receiver):
                await receiver.until(lambda: "a" in receiver.versions and bool(receiver.completed))

    said = run(work)

    (failed,) = events(said, "feed.failed")
    assert why in failed["reason"]
    assert "\n" not in failed["reason"]
    assert len(events(said, "feed.recovered")) == 1
    assert receiver.losses
    assert why in receiver.losses[0]


def test_a_feed_that_asks_for_patience_has_it() -> None:
    receiver = FakeReceiver()
    feeds: list[ScriptedFeed] = []

    async def work() -> None:
        async with scripted(Answer(status=429, headers=("Retry-After: 1",)), lines(entry(1, "a"))) as feed:
            feeds.append(feed)
            async with following(source(shared(jsonl(feed.url))), receiver):
                await receiver.until(lambda: "a" in receiver.versions)

    said = run(work)

    assert feeds[0].at[1] - feeds[0].at[0] >= 1
    assert events(said, "feed.failed")[0]["retry_in_s"] == 1.0


def test_a_server_that_falls_silent_is_asked_again_after_two_heartbeats() -> None:
    receiver = FakeReceiver()

    async def work() -> None:
        silent = Answer(parts=(b"\n", 60.0))
        async with scripted(rows((1, "a"), last=1), silent, rows((2, "b"), last=2)) as feed:
            async with following(source(shared(couchdb(feed.url, heartbeat_ms=50), waits=True)), receiver):
                await receiver.until(lambda: "b" in receiver.versions)

    said = run(work)

    (failed,) = events(said, "feed.failed")
    assert "nothing came" in failed["reason"]


def test_a_long_poll_that_does_not_wait_is_not_asked_in_a_rush() -> None:
    feeds: list[ScriptedFeed] = []

    async def work() -> None:
        async with scripted(rows((1, "a"), last=1), rows(last=1)) as feed:
            feeds.append(feed)
            async with following(source(shared(couchdb(feed.url), waits=True)), FakeReceiver()):
                await feed.until_asked(12)

    run(work)

    assert feeds[0].at[11] - feeds[0].at[2] >= 8 * 0.01


def test_an_event_stream_that_ends_after_each_event_loses_nothing_and_is_not_asked_in_a_rush() -> None:
    receiver = FakeReceiver()
    feeds: list[ScriptedFeed] = []
    numbers = count(1)

    def one(_: str) -> Answer:
        number = next(numbers)
        data = json.dumps({"key": f"{number}", "version": f"{number}"})
        return Answer(f"id: {number}\nretry: 20\ndata: {data}\n\n".encode(), kind="text/event-stream")

    async def work() -> None:
        async with scripted(one) as feed:
            feeds.append(feed)
            sse = Sse(f"{feed.url}/events", pointers=Pointers(), heartbeat=timedelta(seconds=5), limits=LIMITS)
            async with following(source(shared(sse, waits=True, has_beginning=False)), receiver):
                await receiver.until(lambda: len(receiver.versions) >= 5)

    run(work)

    assert set(receiver.versions) >= {"1", "2", "3", "4", "5"}
    assert [each.get("last-event-id") for each in feeds[0].headers[:4]] == [None, "1", "2", "3"]
    assert feeds[0].at[4] - feeds[0].at[0] >= 4 * 0.02


def test_a_quiet_event_stream_is_no_failure() -> None:
    receiver = FakeReceiver()

    async def work() -> None:
        quiet = Answer(parts=(60.0,), kind="text/event-stream")
        news = Answer(parts=(b'id: 1\ndata: {"key": "a"}\n\n', 60.0), kind="text/event-stream")
        async with scripted(quiet, quiet, news) as feed:
            sse = Sse(f"{feed.url}/events", pointers=Pointers(), heartbeat=timedelta(milliseconds=50), limits=LIMITS)
            async with following(source(shared(sse, waits=True, from_now=True), from_now=True), receiver):
                await receiver.until(lambda: "a" in receiver.versions)

    said = run(work)

    assert events(said, "feed.failed") == []
    assert receiver.completed
    assert receiver.losses == []


def test_a_cursor_that_runs_backwards_is_one_reset_and_all_is_read_again() -> None:
    receiver = FakeReceiver()

    async def work() -> None:
        old = lines(entry(7, "a"), entry(8, "b"))
        new = lines(entry(1, "a", version="anew"), entry(2, "c"))
        async with scripted(old, new, new) as feed:
            async with following(source(shared(jsonl(feed.url))), receiver):
                await receiver.until(lambda: "c" in receiver.versions)

    said = run(work)

    (reset,) = events(said, "feed.reset")
    assert reset["gap"] is False
    assert receiver.versions["a"] == "=anew"
    assert receiver.completed


def test_a_page_that_leads_nowhere_is_widened_then_said_once_and_gone_on_with_when_it_is_mended() -> None:
    receiver = FakeReceiver()
    feeds: list[ScriptedFeed] = []

    async def work() -> None:
        stuck = rows((5, "a"), (5, "b"), pending=9)
        async with scripted(stuck, stuck, stuck, stuck, stuck, rows((5, "a"), (6, "c"), last=6, pending=0)) as feed:
            feeds.append(feed)
            async with following(source(shared(couchdb(feed.url))), receiver):
                await receiver.until(lambda: "c" in receiver.versions)

    said = run(work)

    assert len(events(said, "feed.stuck")) == 1
    assert [target.partition("limit=")[2] for target in feeds[0].asked[:3]] == ["2", "2", "4"]


def test_cursors_in_a_circle_are_noticed_and_not_followed_in_a_rush() -> None:
    feeds: list[ScriptedFeed] = []

    async def work() -> None:
        here, there = rows(("x", "a"), ("1-x", "b")), rows(("y", "a"), ("2-y", "b"))
        async with scripted(here, there, here, there, here, there) as feed:
            feeds.append(feed)
            async with following(source(shared(couchdb(feed.url))), FakeReceiver()):
                await feed.until_asked(9)

    said = run(work)

    assert len(events(said, "feed.stuck")) == 1
    assert feeds[0].at[8] - feeds[0].at[4] >= 0.03


def test_a_place_that_is_gone_leaves_completeness_unknown_also_after_a_restart() -> None:
    receiver = FakeReceiver()

    async def work() -> None:
        gone = Answer(status=410)
        async with scripted(lines(entry(7, "a")), gone, lines(entry(9, "b")), NONE) as feed:
            async with following(source(shared(jsonl(feed.url))), receiver):
                await receiver.until(lambda: any(UNKNOWN in loss for loss in receiver.losses))
            receiver.completed.clear()
            receiver.losses.clear()
            async with following(source(shared(jsonl(feed.url))), receiver):
                await receiver.until(lambda: bool(receiver.losses))

    said = run(work)

    (reset,) = events(said, "feed.reset")
    assert reset["gap"] is True
    assert "b" in receiver.versions
    assert receiver.completed == []


def test_another_history_is_read_from_its_beginning_and_what_it_has_not_is_gone() -> None:
    receiver = FakeReceiver()

    def histories() -> Callable[[str], Answer]:
        made = iter(["100", "100", "200"])
        latest = [""]

        def answer(target: str) -> Answer:
            if "_changes" not in target:
                latest[0] = next(made, "200")
                return Answer(json.dumps({"instance_start_time": latest[0]}).encode())
            if latest[0] == "200":
                return rows((1, "b"), last=1, pending=0)
            return rows((1, "a"), (2, "b"), last=2, pending=0)

        return answer

    async def work() -> None:
        async with scripted(histories()) as feed:
            for key in ("a", None):
                dialect = couchdb(feed.url)
                async with following(source(shared(dialect, naming=dialect)), receiver):
                    await receiver.until(lambda key=key: receiver.versions.get(key or "a", 0) is not key)  # type: ignore[misc]
                    receiver.completed.clear()
                    await receiver.until(lambda: bool(receiver.completed))
            dialect = couchdb(feed.url)
            async with following(source(shared(dialect, naming=dialect)), receiver):
                await receiver.until(lambda: receiver.versions["a"] is None)

    said = run(work)

    assert len(events(said, "feed.reset")) == 1
    assert receiver.versions["b"] is not None


def test_a_beginning_that_names_no_key_at_all_takes_none_for_removed() -> None:
    receiver = FakeReceiver({"a": None, "b": "=1"})  # type: ignore[dict-item]

    async def work() -> None:
        async with scripted(rows(last=0)) as feed:
            async with following(source(shared(couchdb(feed.url))), receiver):
                await receiver.until(lambda: bool(receiver.losses))

    run(work)

    assert receiver.removed == set()
    assert "names no key at all" in receiver.losses[0]
    assert receiver.completed == []


def test_a_line_of_100_mb_and_other_bad_entries_hold_up_nobody_and_take_no_memory() -> None:
    receiver = FakeReceiver()
    chunk = b"x" * 2**16

    async def work() -> None:
        bad = (b'{"seq": 2, "key": "' + chunk, *[chunk] * 1600, b'"}\n', b'{"seq": 3}\n', b"{nonsense\n")
        async with scripted(Answer(parts=(entry(1, "a"), *bad, entry(5, "b")), kind="application/jsonl")) as feed:
            tracemalloc.start()
            async with following(source(shared(jsonl(feed.url))), receiver):
                await receiver.until(lambda: "b" in receiver.versions)
            assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
            tracemalloc.stop()

    run(work)

    assert set(receiver.versions) == {"a", "b"}
    assert len({(each.name, each.reason) for each in receiver.rejected}) == 3


def test_from_now_on_tells_nothing_from_before() -> None:
    receiver = FakeReceiver()

    async def work() -> None:
        before = lines(entry(1, "old"), entry(2, "older"))
        async with scripted(before, NONE, lines(entry(3, "new"))) as feed:
            async with following(source(shared(jsonl(feed.url), from_now=True), from_now=True), receiver):
                await receiver.until(lambda: "new" in receiver.versions)

    run(work)

    assert set(receiver.versions) == {"new"}
    assert receiver.completed


def test_a_feed_that_has_nothing_to_say_for_long_is_said_to_be_silent_once() -> None:
    receiver = FakeReceiver()
    now = [datetime(2026, 11, 20, tzinfo=UTC)]

    async def work() -> None:
        async with scripted(NONE, lines(entry(1, "a")), NONE) as feed:
            async with following(source(shared(jsonl(feed.url), now=lambda: now[0])), receiver):
                await receiver.until(lambda: "a" in receiver.versions)
                now[0] += timedelta(hours=2)
                await feed.until_asked(len(feed.asked) + 5)

    said = run(work)

    assert len(events(said, "feed.silent")) == 1


def test_a_look_at_a_feed_that_cannot_be_read_says_why() -> None:
    async def work() -> None:
        async with scripted(Answer(status=503)) as feed:
            looked = source(shared(jsonl(feed.url)))
            with pytest.raises(SourceUnavailable, match="503"):
                await looked.survey(FakeReceiver())
            await looked.close()

    run(work)


def test_who_is_served_goes_on_when_its_leader_ends() -> None:
    first, second = FakeReceiver(), FakeReceiver()
    feeds: list[ScriptedFeed] = []

    async def work() -> None:
        news: list[bytes] = [entry(1, "a")]

        def answer(target: str) -> Answer:
            since = int(target.partition("since=")[2] or 0)
            return lines(*news[since:])

        async with scripted(answer) as feed:
            feeds.append(feed)
            feed_of_both = shared(jsonl(feed.url))
            leader, served = source(feed_of_both, "first"), source(feed_of_both, "second")
            async with asyncio.TaskGroup() as tasks:
                leading = tasks.create_task(leader.follow(first))
                following_it = tasks.create_task(served.follow(second))
                await first.until(lambda: "a" in first.versions)
                await second.until(lambda: "a" in second.versions)
                leading.cancel()
                news.append(entry(2, "b"))
                await second.until(lambda: "b" in second.versions)
                following_it.cancel()
            await served.close()

    run(work)

    assert "b" not in first.versions

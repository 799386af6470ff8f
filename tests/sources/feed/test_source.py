"""What one mirror makes of its feed: which keys, how far, and whether it may say that nothing is missing."""
# ruff: noqa: SIM117 - a feed, and then who follows it

import asyncio
import json
from collections.abc import Iterator, Sequence
from datetime import timedelta
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirrord.decisions.staleness import IntakeRules
from mirrord.journal.store import Journal
from mirrord.model.change import Change, Recorded
from mirrord.model.coverage import UNKNOWN
from mirrord.model.cursor import Cursor
from mirrord.model.fingerprint import Fingerprint
from mirrord.sources.feed.completeness import Completeness
from mirrord.sources.feed.place import place_of
from tests.fakes.receiver import FakeReceiver
from tests.sources.feed.scripted import (
    Clock,
    Request,
    Speak,
    answering,
    couchdb,
    entry,
    event,
    events,
    following,
    jsonl,
    lines,
    one_after_the_other,
    rows,
    run,
    serving,
    shared,
    source,
    sse,
)

NONE = lines()
STREAM = "text/event-stream"


def keeping(kept: list[bytes]) -> Speak:
    """A feed that heeds `since`, two entries to a page."""

    async def answer(request: Request) -> None:
        since = int(request.query.get("since", "0"))
        await lines(*kept[since : since + 2])(request)

    return answer


class Reconciling:
    """Counts how often a comparison is asked for, and is never done."""

    def __init__(self) -> None:
        self.hurried = 0

    def hurry(self) -> None:
        self.hurried += 1

    async def run(self, receiver: object, complete: Completeness) -> None:
        self.complete = complete
        await asyncio.Event().wait()

    async def close(self) -> None:
        pass


class Slow(FakeReceiver):
    """Takes only when the gate is open."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.asked = asyncio.Event()

    async def take(self, changes: Sequence[Change], cursor: Cursor | None = None, *, news: bool = False) -> Recorded:
        self.asked.set()
        await self.gate.wait()
        return await super().take(changes, cursor, news=news)


# -- from now on -----------------------------------------------------------------------------------------------------


def test_from_now_on_of_a_feed_without_a_now_tells_what_came_after_its_end_was_seen() -> None:
    receiver, kept = FakeReceiver(), [entry(1, "old"), entry(2, "older"), entry(3, "oldest")]

    async def work() -> None:
        async with serving(keeping(kept)) as feed:
            async with following(
                source(shared(jsonl(feed, limit_param="limit", page=2), from_now=True), from_now=True), receiver
            ):
                await receiver.until(lambda: bool(receiver.completed))
                kept.append(entry(4, "new"))
                await receiver.until(lambda: "new" in receiver.versions)

    run(work)

    assert set(receiver.versions) == {"new"}


def test_from_now_on_of_an_empty_feed_is_from_its_beginning_also_after_a_restart() -> None:
    receiver = FakeReceiver()

    async def work() -> None:
        async with serving(NONE) as feed:
            async with following(source(shared(jsonl(feed), from_now=True), from_now=True), receiver):
                await receiver.until(lambda: bool(receiver.completed))
            feed.speak = lines(entry(1, "meanwhile"))
            async with following(source(shared(jsonl(feed), from_now=True), from_now=True), receiver):
                await receiver.until(lambda: "meanwhile" in receiver.versions)

    run(work)


def test_a_restart_before_now_was_reached_does_not_tell_what_was_before() -> None:
    receiver, kept = FakeReceiver(), [entry(number, f"{number}") for number in range(1, 8)]
    first = asyncio.Event()

    async def paging(request: Request) -> None:
        if int(request.query.get("since", "0")) >= 4 and not first.is_set():
            first.set()
            await request.stall()
        await keeping(kept)(request)

    async def work() -> None:
        async with serving(paging) as feed:
            dialect = jsonl(feed, limit_param="limit", page=2)
            async with following(source(shared(dialect, from_now=True), from_now=True), receiver):
                await first.wait()
            async with following(source(shared(dialect, from_now=True), from_now=True), receiver):
                await receiver.until(lambda: bool(receiver.completed))

    run(work)

    assert receiver.versions == {}


def test_a_reset_on_the_way_to_now_is_nothing_to_be_told() -> None:
    receiver, kept = FakeReceiver(), [entry(number, f"{number}") for number in range(1, 8)]
    gone = asyncio.Event()

    async def paging(request: Request) -> None:
        if request.query.get("since") == "4" and not gone.is_set():
            gone.set()
            await answering(status=410)(request)
        else:
            await keeping(kept)(request)

    async def work() -> None:
        async with serving(paging) as feed:
            dialect = jsonl(feed, limit_param="limit", page=2)
            async with following(source(shared(dialect, from_now=True), from_now=True), receiver):
                await receiver.until(lambda: bool(receiver.completed))

    run(work)

    assert (receiver.versions, receiver.losses) == ({}, [])


def test_from_now_on_of_a_couchdb_is_asked_for_and_kept_as_a_place() -> None:
    receiver = FakeReceiver()

    async def answer(request: Request) -> None:
        await (rows(last=7) if request.query["since"] == "now" else rows((8, "new"), last=8))(request)

    async def work() -> None:
        async with serving(answer) as feed:
            async with following(source(shared(couchdb(feed), from_now=True), from_now=True), receiver):
                await receiver.until(lambda: "new" in receiver.versions)
            assert [request.query["since"] for request in feed.asked[:2]] == ["now", "7"]

    run(work)

    assert receiver.completed
    assert receiver.losses == []


def test_a_reset_is_read_from_the_beginning_by_the_next_service_too() -> None:
    receiver = FakeReceiver()
    reset = asyncio.Event()

    async def answer(request: Request) -> None:
        since = request.query.get("since")
        if since == "7":
            await answering(status=410)(request)
        elif not reset.is_set():
            await lines(entry(7, "a"))(request)
        else:
            await request.stall()

    async def work() -> None:
        async with serving(lines(entry(7, "before"))) as feed:
            async with following(source(shared(jsonl(feed), from_now=True), from_now=True), receiver):
                await receiver.until(lambda: bool(receiver.completed))
                reset.set()
                feed.speak = answer
                await receiver.until(lambda: bool(receiver.losses))
            feed.speak = lines(entry(1, "anew"))
            async with following(source(shared(jsonl(feed), from_now=True), from_now=True), receiver):
                await receiver.until(lambda: "anew" in receiver.versions)

    run(work)


# -- completeness ----------------------------------------------------------------------------------------------------


def test_a_gap_is_unknown_until_a_snapshot_is_compared_also_after_a_restart() -> None:
    receiver = FakeReceiver()

    async def work() -> None:
        gone, anew = answering(status=410), lines(entry(9, "b"))
        async with serving(one_after_the_other(lines(entry(7, "a")), gone, anew, anew)) as feed:
            async with following(source(shared(jsonl(feed))), receiver):
                await receiver.until(lambda: UNKNOWN in "".join(receiver.losses))
            receiver.completed.clear()
            async with following(source(shared(jsonl(feed))), receiver):
                await receiver.until(lambda: len(receiver.losses) >= 3)
            assert receiver.completed == []
            compared = Reconciling()
            async with following(source(shared(jsonl(feed)), reconciling=compared), receiver):
                await feed.until_asked(len(feed.asked) + 3)
                assert receiver.completed == []
                await compared.complete.compared(Clock()())
                await receiver.until(lambda: bool(receiver.completed))

    run(work)


def test_a_stream_that_is_not_there_for_a_moment_has_not_lost_its_place() -> None:
    receiver = FakeReceiver()

    async def work() -> None:
        async with serving(answering(event("a", "1"), STREAM)) as feed:
            async with following(source(shared(sse(feed), waits=True, from_now=True), from_now=True), receiver):
                await receiver.until(lambda: "a" in receiver.versions)
                feed.speak = answering(b"", "text/plain", 404)
                await feed.until_asked(len(feed.asked) + 4)
                feed.speak = answering(event("b", "2"), STREAM)
                await receiver.until(lambda: "b" in receiver.versions)
            assert feed.asked[-1].headers["last-event-id"] in {"1", "2"}

    run(work)

    assert not any(UNKNOWN in loss for loss in receiver.losses)


def test_a_stream_whose_place_is_gone_leaves_completeness_unknown() -> None:
    receiver = FakeReceiver()

    async def answer(request: Request) -> None:
        await (answering(status=404) if "last-event-id" in request.headers else answering(b": hello\n\n", STREAM))(
            request
        )

    async def work() -> None:
        async with serving(answering(event("a", "1"), STREAM)) as feed:
            async with following(source(shared(sse(feed), waits=True, from_now=True), from_now=True), receiver):
                await receiver.until(lambda: "a" in receiver.versions)
                feed.speak = answer
                await receiver.until(lambda: any(UNKNOWN in loss for loss in receiver.losses))

    said = run(work)

    assert len(events(said, "feed.reset")) == 1


def test_a_stream_without_ids_is_complete_until_it_was_not_connected() -> None:
    receiver = FakeReceiver()
    go_on = asyncio.Event()

    async def nameless(request: Request) -> None:
        await request.begin(STREAM)
        await request.say(b": hello\n\n")
        await receiver.until(lambda: bool(receiver.completed))
        await request.say(event("a"))
        await go_on.wait()

    async def work() -> None:
        async with serving(nameless) as feed:
            async with following(source(shared(sse(feed), waits=True, from_now=True), from_now=True), receiver):
                await receiver.until(lambda: "a" in receiver.versions)
                assert receiver.losses == []
                go_on.set()
                await receiver.until(lambda: bool(receiver.losses))
                completed = len(receiver.completed)
                await feed.until_asked(6)
                assert len(receiver.completed) == completed

    run(work)

    assert all(loss.startswith(UNKNOWN) and "no ids" in loss for loss in receiver.losses)
    assert "no ids" in (place_of(receiver.cursors["feed it"].text).unknown or "")


def test_what_a_stream_without_a_place_told_during_a_restart_is_unknown() -> None:
    receiver = FakeReceiver()

    async def work() -> None:
        async with serving(answering(b": hello\n\n", STREAM)) as feed:
            async with following(source(shared(sse(feed), waits=True, from_now=True), from_now=True), receiver):
                await receiver.until(lambda: bool(receiver.completed))
            receiver.completed.clear()
            async with following(source(shared(sse(feed), waits=True, from_now=True), from_now=True), receiver):
                await receiver.until(lambda: bool(receiver.losses))

    run(work)

    assert receiver.completed == []
    assert "nobody followed" in receiver.losses[0]


def test_a_snapshot_is_compared_once_more_when_a_stream_without_a_place_is_connected() -> None:
    hurried: list[int] = []

    async def work() -> None:
        async with serving(answering(event("a", "1"), STREAM)) as feed:
            receiver = FakeReceiver()
            for _ in range(2):
                compared = Reconciling()
                asked = len(feed.asked)
                async with following(source(shared(sse(feed), waits=True), reconciling=compared), receiver):
                    await receiver.until(lambda: "a" in receiver.versions)
                    await feed.until_asked(asked + 3)
                hurried.append(compared.hurried)

    run(work)

    assert hurried == [1, 0]


def test_a_snapshot_is_compared_now_and_then_when_a_stream_misses_something() -> None:
    receiver, clock, compared = FakeReceiver(), Clock(), Reconciling()

    async def work() -> None:
        async with serving(answering(event("a"), STREAM)) as feed:
            following_it = source(shared(sse(feed), waits=True), reconciling=compared, now=clock)
            async with following(following_it, receiver):
                await feed.until_asked(8)
                assert compared.hurried == 1
                clock.ahead += timedelta(minutes=10)
                await feed.until_asked(12)
                assert compared.hurried == 2

    run(work)

    assert receiver.completed == []
    assert "no ids" in receiver.losses[-1]


# -- what is recorded ------------------------------------------------------------------------------------------------


def test_duplicates_and_entries_out_of_order_do_no_harm() -> None:
    receiver = FakeReceiver()

    async def work() -> None:
        mixed = lines(entry(3, "c"), entry(1, "a"), entry(3, "c"), entry(2, "b"), entry(1, "a"))
        async with serving(mixed) as feed:
            async with following(source(shared(jsonl(feed))), receiver):
                await receiver.until(lambda: bool(receiver.completed))
                await feed.until_asked(4)

    said = run(work)

    assert {key: str(version) for key, version in receiver.versions.items()} == {"a": "=1", "b": "=2", "c": "=3"}
    assert events(said, "feed.failed", "feed.reset", "feed.stuck") == []


def test_nothing_is_read_on_before_it_is_recorded() -> None:
    async def work() -> None:
        receiver = Slow()
        async with serving(keeping([entry(1, "a"), entry(2, "b"), entry(3, "c")])) as feed:
            async with following(source(shared(jsonl(feed, limit_param="limit", page=2))), receiver):
                await receiver.asked.wait()
                for _ in range(50):
                    await asyncio.sleep(0)
                assert len(feed.asked) == 1
                assert receiver.cursors == {}
                receiver.gate.set()
                await receiver.until(lambda: "c" in receiver.versions)

    run(work)


def test_a_look_at_an_endless_stream_says_what_would_help() -> None:
    async def work() -> None:
        async with serving(answering(b"", STREAM)) as feed:
            looking = source(shared(sse(feed), waits=True))
            with pytest.raises(Exception, match="has no end to read to; `mirrord run` follows it"):
                await looking.survey(FakeReceiver())
            await looking.close()

    run(work)


# -- with a real journal ---------------------------------------------------------------------------------------------


class Recording(FakeReceiver):
    """Into a journal, for as long as it is open."""

    def __init__(self, journal: Journal) -> None:
        super().__init__()
        self._journal = journal

    async def cursor(self, source: str) -> Cursor | None:
        return await self._journal.cursor("docs", source)

    async def take(self, changes: Sequence[Change], cursor: Cursor | None = None, *, news: bool = False) -> Recorded:
        await super().take(changes, None)
        return await self._journal.record("docs", changes, IntakeRules(), cursor)

    def known(self, below: str) -> Iterator[tuple[str, Fingerprint | None]]:
        return self._journal.known("docs", below)


@settings(max_examples=8, deadline=None)
@given(st.lists(st.integers(0, 120), max_size=6))
def test_however_often_it_is_cancelled_the_journal_has_every_key_up_to_its_cursor(turns: list[int]) -> None:
    kept = [entry(number, f"{number:02}") for number in range(1, 20)]

    async def work() -> None:
        async with serving(keeping(kept)) as feed:
            for number in turns:
                async with following(source(shared(jsonl(feed, limit_param="limit", page=2))), Recording(journal)):
                    for _ in range(number):
                        await asyncio.sleep(0)
                await feed.until(lambda: feed.open == 0)
                cursor = await journal.cursor("docs", "feed it")
                at = json.loads(place_of(cursor.text).cursor or "{}").get("seq", 0) if cursor else 0
                assert [key for key, _ in journal.known("docs", "")][:at] == [f"{n:02}" for n in range(1, at + 1)]
            receiver = Recording(journal)
            async with following(source(shared(jsonl(feed, limit_param="limit", page=2))), receiver):
                await receiver.until(lambda: bool(receiver.completed))

    with TemporaryDirectory() as directory:
        journal = Journal(f"sqlite:///{directory}/journal.db")
        journal.open()
        run(work)
        keys = [key for key, _ in journal.known("docs", "")]
        journal.close()

    assert keys == [f"{number:02}" for number in range(1, 20)]

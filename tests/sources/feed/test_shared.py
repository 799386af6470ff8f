"""Mirrors of one feed: who is at the same place is served by one reader, and nobody holds up or misses anything."""
# ruff: noqa: SIM117 - a feed, and then who follows it

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirrord.model.change import Change, Recorded
from mirrord.model.cursor import Cursor
from mirrord.sources.feed.shared import SharedFeed
from tests.fakes.receiver import FakeReceiver
from tests.sources.feed.scripted import (
    SOON,
    Feed,
    Request,
    answering,
    entry,
    event,
    events,
    jsonl,
    lines,
    run,
    serving,
    shared,
    source,
    sse,
)


class Gated(FakeReceiver):
    """Takes changes only while its gate is open."""

    def __init__(self, *, is_open: bool = True) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.waits = asyncio.Event()
        if is_open:
            self.gate.set()

    async def take(self, changes: Sequence[Change], cursor: Cursor | None = None, *, news: bool = False) -> Recorded:
        if changes:
            self.waits.set()
            await self.gate.wait()
        return await super().take(changes, cursor, news=news)

    @property
    def told(self) -> list[int]:
        return [int(change.key) for change in self.taken]


class Log:
    """A feed that grows, and holds its answers until there is news."""

    def __init__(self) -> None:
        self.last = 0
        self._news = asyncio.Condition()

    async def grow(self, by: int = 1) -> None:
        async with self._news:
            self.last += by
            self._news.notify_all()

    async def answer(self, request: Request) -> None:
        since = int(request.query.get("since", "0"))
        if "wait" in request.query:
            async with self._news:
                await self._news.wait_for(lambda: self.last > since)
        await lines(*[entry(number, f"{number}") for number in range(since + 1, min(self.last, since + 3) + 1)])(
            request
        )


def polling(feed: Feed, *, patience: timedelta = SOON) -> SharedFeed:
    dialect = jsonl(feed, limit_param="limit", page=3, wait_param="wait", mode="longpoll")
    return shared(dialect, waits=True, patience=patience)


class Mirrors:
    """Those that follow one feed, each until it is ended."""

    def __init__(self, feed: SharedFeed, tasks: asyncio.TaskGroup) -> None:
        self._feed = feed
        self._tasks = tasks
        self._following: dict[str, asyncio.Task[None]] = {}

    def begin(self, name: str, receiver: FakeReceiver) -> None:
        async def follow() -> None:
            mirror = source(self._feed, name)
            try:
                await mirror.follow(receiver)
            finally:
                mirror._thread.shutdown()  # as `close` does, which would close the feed of the others too

        self._following[name] = self._tasks.create_task(follow(), name=name)

    async def end(self, name: str) -> None:
        task = self._following.pop(name)
        task.cancel()
        await asyncio.wait([task])

    def end_all(self) -> None:
        for task in self._following.values():
            task.cancel()


@asynccontextmanager
async def followed(feed: SharedFeed) -> AsyncIterator[Mirrors]:
    try:
        async with asyncio.TaskGroup() as tasks:
            mirrors = Mirrors(feed, tasks)
            try:
                yield mirrors
            finally:
                mirrors.end_all()
    finally:
        await feed.close()


def test_two_at_the_same_place_are_one_stream_of_requests() -> None:
    async def work() -> None:
        log, first, second = Log(), Gated(), Gated()
        await log.grow(7)
        async with serving(log.answer) as feed:
            async with followed(polling(feed)) as mirrors:
                mirrors.begin("first", first)
                mirrors.begin("second", second)
                for last in (7, 8):
                    await first.until(lambda last=last: last in first.told)  # type: ignore[misc]
                    await second.until(lambda last=last: last in second.told)  # type: ignore[misc]
                    await log.grow()
                await feed.until(lambda: feed.open == 1)
            asked = [request.target for request in feed.asked]
            assert len(asked) == len(set(asked)) + (asked[-1] in asked[:-1])

    run(work)


def test_who_is_slow_holds_up_nobody_and_comes_back() -> None:
    async def work() -> None:
        log, quick, slow = Log(), Gated(), Gated()
        async with serving(log.answer) as feed:
            async with followed(polling(feed)) as mirrors:
                mirrors.begin("quick", quick)
                mirrors.begin("slow", slow)
                await log.grow()
                await slow.until(lambda: slow.told == [1])
                slow.gate.clear()
                for number in range(2, 9):
                    await log.grow()
                    await quick.until(lambda number=number: number in quick.told)  # type: ignore[misc]
                assert slow.told == [1]
                slow.gate.set()
                await slow.until(lambda: 8 in slow.told)
                await feed.until(lambda: feed.open == 1)
                asked = len(feed.asked)
                await log.grow()
                await quick.until(lambda: 9 in quick.told)
                await slow.until(lambda: 9 in slow.told)
                await feed.until_asked(asked + 1)
                assert feed.open <= 1
        assert [*dict.fromkeys(slow.told)] == quick.told == list(range(1, 10))

    run(work)


def test_a_leader_that_is_slow_holds_up_nobody() -> None:
    async def work() -> None:
        log, leader, other = Log(), Gated(is_open=False), Gated()
        await log.grow(5)
        async with serving(log.answer) as feed:
            async with followed(polling(feed)) as mirrors:
                mirrors.begin("leader", leader)
                mirrors.begin("other", other)
                await other.until(lambda: 5 in other.told)
                assert leader.told == []
                leader.gate.set()
                await leader.until(lambda: 5 in leader.told)
                await feed.until(lambda: feed.open == 1)

    run(work)


@pytest.mark.parametrize("in_the_middle", [False, True], ids=["between answers", "while it records"])
def test_whose_leader_ends_goes_on_without_a_loss(in_the_middle: bool) -> None:
    async def work() -> None:
        log, leader, other = Log(), Gated(), Gated()
        await log.grow(2)
        async with serving(log.answer) as feed:
            async with followed(polling(feed, patience=timedelta(seconds=5))) as mirrors:
                mirrors.begin("leader", leader)
                mirrors.begin("other", other)
                await other.until(lambda: 2 in other.told)
                if in_the_middle:
                    leader.gate.clear()
                    leader.waits.clear()
                    await log.grow()
                    await leader.waits.wait()
                await mirrors.end("leader")
                await log.grow()
                await other.until(lambda: log.last in other.told)
                assert [*dict.fromkeys(other.told)] == list(range(1, log.last + 1))

    run(work)


def test_who_joins_later_is_served_by_itself_until_it_has_caught_up() -> None:
    async def work() -> None:
        log, early, late = Log(), Gated(), Gated()
        await log.grow(10)
        async with serving(log.answer) as feed:
            async with followed(polling(feed)) as mirrors:
                mirrors.begin("early", early)
                await early.until(lambda: 10 in early.told)
                mirrors.begin("late", late)
                await late.until(lambda: 10 in late.told)
                for last in (11, 12):
                    await log.grow()
                    await early.until(lambda last=last: last in early.told)  # type: ignore[misc]
                    await late.until(lambda last=last: last in late.told)  # type: ignore[misc]
                waiting = [request.query["since"] for request in feed.asked if "wait" in request.query]
        assert waiting.count("11") == 1
        assert late.told == early.told == list(range(1, 13))

    run(work)


def test_who_joins_while_something_is_told_hears_that_too() -> None:
    async def work() -> None:
        log, early, late = Log(), Gated(is_open=False), Gated()
        await log.grow(2)
        async with serving(log.answer) as feed:
            async with followed(polling(feed, patience=timedelta(seconds=5))) as mirrors:
                mirrors.begin("early", early)
                await early.waits.wait()
                mirrors.begin("late", late)
                await late.until(lambda: 2 in late.told)
                early.gate.set()
                await early.until(lambda: 2 in early.told)
        assert [*dict.fromkeys(late.told)] == [1, 2]

    run(work)


def test_who_joins_a_feed_without_places_hears_all_that_is_there() -> None:
    """Whose document has not changed since the other one read it."""
    body = b'{"key": "1"}\n{"key": "2"}\n'

    async def answer(request: Request) -> None:
        if "if-none-match" in request.headers:
            await request.answer(b"", "application/jsonl", 304)
        else:
            await request.answer(body, "application/jsonl", 200, 'ETag: "1"')

    async def work() -> None:
        early, late = Gated(), Gated()
        async with serving(answer) as feed:
            async with followed(shared(jsonl(feed))) as mirrors:
                mirrors.begin("early", early)
                await early.until(lambda: bool(early.completed))
                await feed.until_asked(4)
                mirrors.begin("late", late)
                await late.until(lambda: bool(late.completed))
        assert {1, 2} <= set(late.told)

    run(work)


def test_streams_without_ids_are_not_joined_in_the_middle() -> None:
    async def work() -> None:
        early, late, go_on = Gated(), Gated(), asyncio.Event()

        async def streaming(request: Request) -> None:
            await request.begin("text/event-stream")
            await request.say(event("1"))
            await go_on.wait()
            await request.say(event("2"))
            await request.stall()

        async with serving(streaming) as feed:
            async with followed(shared(sse(feed), waits=True)) as mirrors:
                mirrors.begin("early", early)
                await early.until(lambda: 1 in early.told)
                mirrors.begin("late", late)
                await late.until(lambda: 1 in late.told)
                go_on.set()
                await early.until(lambda: 2 in early.told)
                await late.until(lambda: 2 in late.told)
        assert early.told == late.told == [1, 2]

    run(work)


@pytest.mark.parametrize("who_waits", ["skipping", "telling"])
def test_who_skips_what_was_before_and_who_wants_it_are_not_served_together(who_waits: str) -> None:
    """Though both are at the same place for a while."""

    async def work() -> None:
        log, begun, fresh, waits = Log(), Gated(), Gated(), asyncio.Event()
        await log.grow(3)

        async def once_held(request: Request) -> None:
            if request.query.get("since") == "3" and not waits.is_set():
                waits.set()
                await request.stall()
            await log.answer(request)

        async with serving(log.answer) as feed:
            dialect = jsonl(feed, limit_param="limit", page=3)
            async with followed(shared(dialect)) as mirrors:
                mirrors.begin("begun", begun)
                await begun.until(lambda: 3 in begun.told)
            await log.grow(3)
            feed.speak = once_held
            async with followed(shared(dialect, from_now=True)) as mirrors:
                order = {"begun": begun, "fresh": fresh}
                for name in sorted(order, reverse=who_waits == "skipping"):
                    mirrors.begin(name, order[name])
                    await waits.wait()
                if who_waits == "skipping":
                    await begun.until(lambda: 6 in begun.told)
                else:
                    await fresh.until(lambda: bool(fresh.completed))
        assert fresh.told == []

    run(work)


def test_one_line_names_all_who_follow() -> None:
    async def work() -> None:
        first, second = Gated(), Gated()
        async with serving(answering(b"", "text/plain", 500)) as feed:
            async with followed(polling(feed)) as mirrors:
                mirrors.begin("first", first)
                mirrors.begin("second", second)
                await second.until(lambda: bool(second.losses))

    said = run(work)

    (failed,) = events(said, "feed.failed")
    assert failed["mirrors"] == ["first", "second"]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("grow"), st.integers(1, 7)),
        st.tuples(st.sampled_from(["block", "let go", "restart", "turn"]), st.integers(0, 2)),
    ),
    max_size=25,
)


@given(STEPS)
@settings(max_examples=60, deadline=None)
def test_whatever_happens_everybody_hears_everything_in_order(steps: list[tuple[str, int]]) -> None:
    receivers: list[Gated] = []

    async def work() -> None:
        log = Log()
        receivers.extend(Gated() for _ in range(3))
        async with serving(log.answer) as feed:
            async with followed(polling(feed, patience=timedelta(milliseconds=1))) as mirrors:
                for number, receiver in enumerate(receivers):
                    mirrors.begin(f"{number}", receiver)
                for step, number in steps:
                    match step:
                        case "grow":
                            await log.grow(number)
                        case "block":
                            receivers[number].gate.clear()
                        case "let go":
                            receivers[number].gate.set()
                        case "restart":
                            await mirrors.end(f"{number}")
                            mirrors.begin(f"{number}", receivers[number])
                        case _:
                            for _ in range(10 * number):
                                await asyncio.sleep(0)
                await log.grow()
                for receiver in receivers:
                    receiver.gate.set()
                    await receiver.until(lambda receiver=receiver: log.last in receiver.told)  # type: ignore[misc]
        for receiver in receivers:
            assert [*dict.fromkeys(receiver.told)] == list(range(1, log.last + 1))

    run(work)

"""One feed that is read on and on: what it does to us is said once, is not asked for in a rush, and loses nothing."""
# ruff: noqa: SIM117 - a feed, and then who follows it

import asyncio
import json
from datetime import timedelta

import pytest

from mirrord.model.coverage import UNKNOWN
from mirrord.sources.feed.http_feeds import HttpFeeds
from tests.fakes.receiver import FakeReceiver
from tests.sources.feed.scripted import (
    LIMITS,
    Clock,
    Feed,
    Request,
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
GONE = answering(status=410)
MISSING = answering(b"", "text/plain", 404)
STREAM = "text/event-stream"


async def hung_up(request: Request) -> None:
    request.writer.close()


def apart(feed: Feed) -> list[float]:
    """Seconds between requests."""
    return [after.at - before.at for before, after in zip(feed.asked, feed.asked[1:], strict=False)]


# -- failing ---------------------------------------------------------------------------------------------------------


def test_a_server_that_hangs_up_at_once_is_left_alone_longer_and_longer() -> None:
    receiver = FakeReceiver()

    async def work() -> None:
        async with serving(hung_up) as feed:
            async with following(source(shared(jsonl(feed))), receiver):
                await feed.until_asked(12)  # twice each time: the first may have been for a connection that was kept
                lasted = feed.asked[-1].at - feed.asked[0].at
                feed.speak = lines(entry(1, "a"))
                await receiver.until(lambda: bool(receiver.completed))
            assert lasted >= 0.01 * (1 + 2 + 4 + 8 + 16)

    said = run(work)

    assert len(events(said, "feed.failed")) == len(events(said, "feed.recovered")) == 1


@pytest.mark.parametrize("status", [429, 503])
def test_who_asks_for_patience_has_it(status: int) -> None:
    receiver = FakeReceiver()

    async def work() -> None:
        busy = answering(b"", "text/plain", status, "Retry-After: 1")
        async with serving(one_after_the_other(busy, lines(entry(1, "a")))) as feed:
            async with following(source(shared(jsonl(feed))), receiver):
                await receiver.until(lambda: "a" in receiver.versions)
            assert apart(feed)[0] >= 1

    run(work)


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_is_a_loss_at_once_and_says_what_to_do(status: int) -> None:
    receiver = FakeReceiver()

    async def work() -> None:
        refused = answering(b"who are you?", "text/plain", status)
        async with serving(one_after_the_other(lines(entry(1, "a")), refused)) as feed:
            async with following(source(shared(jsonl(feed))), receiver):
                await receiver.until(lambda: bool(receiver.losses))
                await feed.until_asked(5)

    said = run(work)

    (failed,) = events(said, "feed.failed")
    assert failed["log_level"] == "error"
    assert "authorization" in failed["action"]
    assert f"refuses us ({status}): who are you?" in failed["reason"]
    assert f"refuses us ({status})" in receiver.losses[0]


def test_a_hiccup_is_no_loss_and_a_minute_of_it_is() -> None:
    receiver, clock = FakeReceiver(), Clock()

    async def work() -> None:
        failing = answering(b"", "text/plain", 500)
        async with serving(one_after_the_other(lines(entry(1, "a")), failing)) as feed:
            async with following(source(shared(jsonl(feed), now=clock)), receiver):
                await feed.until_asked(4)
                assert receiver.losses == []
                clock.ahead += timedelta(minutes=1)
                await receiver.until(lambda: bool(receiver.losses))

    run(work)


def test_a_feed_that_is_not_there_for_a_while_keeps_its_place() -> None:
    receiver = FakeReceiver()

    async def work() -> None:
        async with serving(lines(entry(7, "a"))) as feed:
            async with following(source(shared(jsonl(feed))), receiver):
                await receiver.until(lambda: bool(receiver.completed))
                feed.speak = MISSING
                await feed.until_asked(len(feed.asked) + 4)
                feed.speak = lines(entry(8, "b"))
                asked = len(feed.asked)
                await receiver.until(lambda: "b" in receiver.versions)
            assert "7" in [request.query.get("since") for request in feed.asked[asked:]]

    said = run(work)

    assert events(said, "feed.reset") == []
    assert len(events(said, "feed.failed")) == len(events(said, "feed.recovered")) == 1
    assert "404" in events(said, "feed.failed")[0]["reason"]


def test_a_place_that_is_not_there_any_more_is_one_reset() -> None:
    receiver = FakeReceiver()

    async def answer(request: Request) -> None:
        await (MISSING if request.query.get("since") == "7" else lines(entry(8, "b")))(request)

    async def work() -> None:
        async with serving(lines(entry(7, "a"))) as feed:
            async with following(source(shared(jsonl(feed))), receiver):
                await receiver.until(lambda: bool(receiver.completed))
                feed.speak = answer
                await receiver.until(lambda: "b" in receiver.versions)

    said = run(work)

    (reset,) = events(said, "feed.reset")
    assert (reset["gap"], events(said, "feed.failed")) == (False, [])


def test_a_look_heals_a_place_that_is_gone() -> None:
    receiver = FakeReceiver()

    async def answer(request: Request) -> None:
        await (GONE if "since" in request.query else lines(entry(8, "b")))(request)

    async def work() -> None:
        async with serving(NONE) as feed:
            for speak in (lines(entry(7, "a")), answer):
                feed.speak = speak
                looking = source(shared(jsonl(feed)))
                await looking.survey(receiver)
                await looking.close()

    said = run(work)

    assert "b" in receiver.versions
    assert events(said, "feed.reset")[0]["gap"] is True
    assert UNKNOWN in receiver.losses[-1]


def test_two_servers_that_do_not_agree_are_read_less_and_less_often() -> None:
    receiver = FakeReceiver()

    async def work() -> None:
        async with serving(one_after_the_other(*[lines(entry(9, "a")), lines(entry(5, "b"))] * 50)) as feed:
            async with following(source(shared(jsonl(feed))), receiver):
                await receiver.until(lambda: len(receiver.losses) >= 5)
            assert feed.asked[-1].at - feed.asked[0].at >= 0.01 * (1 + 2 + 4 + 8)

    said = run(work)

    assert len(events(said, "feed.reset")) == 5


# -- pages that lead nowhere -----------------------------------------------------------------------------------------


def test_a_feed_that_is_stuck_is_one_line_and_one_more_when_it_gets_on() -> None:
    receiver = FakeReceiver()

    async def work() -> None:
        async with serving(rows((5, "a"), (5, "b"), pending=9)) as feed:
            async with following(source(shared(couchdb(feed))), receiver):
                await feed.until_asked(7)
                assert [request.query["limit"] for request in feed.asked[:5]] == ["2", "2", "4", "8", "16"]
                assert apart(feed)[2] >= 0.01
                feed.speak = rows((6, "c"), pending=0)
                await receiver.until(lambda: bool(receiver.completed))

    said = run(work)

    stuck, recovered = events(said, "feed.stuck", "feed.failed", "feed.recovered")
    assert (stuck["event"], recovered["event"]) == ("feed.stuck", "feed.recovered")
    assert "does not get any further" in receiver.losses[0]


def test_a_feed_that_gets_on_a_little_is_stuck_until_it_was_caught_up() -> None:
    receiver = FakeReceiver()

    async def work() -> None:
        async with serving(rows((5, "a"), (5, "b"), pending=9)) as feed:
            async with following(source(shared(couchdb(feed))), receiver):
                await feed.until_asked(4)
                feed.speak = rows((6, "c"), (6, "d"), pending=9)
                await feed.until_asked(8)
                feed.speak = rows((8, "c"), pending=0)
                await receiver.until(lambda: bool(receiver.completed))

    said = run(work)

    assert [line["event"] for line in events(said, "feed.stuck", "feed.failed", "feed.recovered")] == [
        "feed.stuck",
        "feed.recovered",
    ]


def test_a_wider_page_gets_past_many_changes_of_one_time() -> None:
    """As cnpmjs.org has them, whose sequence is the time in milliseconds."""
    receiver = FakeReceiver()

    async def answer(request: Request) -> None:
        since, limit = int(request.query["since"]), int(request.query["limit"])
        changes = [(100, f"{n}") for n in range(7)] + [(101, "last")]
        page = [change for change in changes if change[0] >= since][:limit]
        await rows(*page, last=page[-1][0] if page else since)(request)

    async def work() -> None:
        async with serving(answer) as feed:
            async with following(source(shared(couchdb(feed))), receiver):
                await receiver.until(lambda: "last" in receiver.versions)

    said = run(work)

    assert len(receiver.versions) == 8
    assert events(said, "feed.reset") == []


def test_cursors_in_a_circle_are_one_line_and_not_asked_for_in_a_rush() -> None:
    pages = {"0": ("x", 2), '"x"': ("y", 2), "x": ("y", 2), "y": ("x", 2)}

    async def answer(request: Request) -> None:
        seq, _ = pages[request.query["since"]]
        await rows((seq, "a"), (seq, "b"))(request)

    async def work() -> None:
        async with serving(answer) as feed:
            async with following(source(shared(couchdb(feed))), FakeReceiver()):
                await feed.until_asked(8)
            assert feed.asked[7].at - feed.asked[3].at >= 0.01 * (1 + 2 + 4)

    said = run(work)

    assert [line["event"] for line in events(said, "feed.stuck", "feed.failed", "feed.recovered")] == ["feed.stuck"]


# -- long polls ------------------------------------------------------------------------------------------------------


def test_long_polls_that_are_cut_short_again_and_again_are_said_once_and_are_no_loss() -> None:
    receiver, clock = FakeReceiver(), Clock()

    async def answer(request: Request) -> None:
        if request.query["feed"] == "longpoll":
            await hung_up(request)
        else:
            await rows((1, "a"), last=1)(request)

    async def work() -> None:
        async with serving(answer) as feed:
            async with following(source(shared(couchdb(feed), waits=True, now=clock)), receiver):
                await feed.until_asked(9)
                clock.ahead += timedelta(minutes=5)
                await feed.until_asked(13)
                news = len(feed.asked)
                feed.speak = rows((2, "b"), last=2)
                await receiver.until(lambda: "b" in receiver.versions)
                await feed.until_asked(news + 4)

    said = run(work)

    assert [line["event"] for line in events(said, "feed.failed", "feed.recovered")] == [
        "feed.failed",
        "feed.recovered",
        "feed.failed",
        "feed.recovered",
    ]
    assert receiver.losses == []


def test_a_long_poll_that_repeats_itself_at_once_is_asked_as_often_as_a_poll() -> None:
    receiver = FakeReceiver()

    async def work() -> None:
        async with serving(rows((1, "a"), last=1)) as feed:
            every = timedelta(milliseconds=50)
            async with following(source(shared(couchdb(feed), waits=True, poll_every=every)), receiver):
                await feed.until_asked(6)
            assert min(apart(feed)[2:]) >= 0.05

    run(work)


def test_an_answer_that_hangs_in_the_middle_of_a_document_is_not_believed_to_be_over() -> None:
    receiver = FakeReceiver()

    async def hanging(request: Request) -> None:
        await request.begin("application/json")
        await request.say(b'[{"id": "1", "subj')
        await request.stall()

    async def work() -> None:
        async with serving(one_after_the_other(answering(b"[]"), hanging, answering(b"[]"))) as feed:
            dialect = HttpFeeds(f"{feed.url}/feed", mode="longpoll", wait=timedelta(seconds=-29.9), limits=LIMITS)
            async with following(source(shared(dialect, waits=True)), receiver):
                await receiver.until(lambda: bool(receiver.completed))
                await feed.until_asked(4)

    said = run(work)

    assert "nothing came" in events(said, "feed.failed")[0]["reason"]


# -- streams of events -----------------------------------------------------------------------------------------------


def numbered(last: int) -> bytes:
    return b"".join(event(f"{n}", f"{n}") for n in range(1, last + 1))


def test_a_stream_that_is_broken_off_is_gone_on_with_and_no_failure() -> None:
    receiver = FakeReceiver()

    async def broken(request: Request) -> None:
        number = int(request.headers.get("last-event-id", "0")) + 1
        await request.begin_chunks(STREAM)
        await request.say_chunk(event(f"{number}", f"{number}") + b'id: 99\ndata: {"key": "hal')

    async def work() -> None:
        async with serving(broken) as feed:
            async with following(source(shared(sse(feed), waits=True, from_now=True), from_now=True), receiver):
                await receiver.until(lambda: len(receiver.versions) >= 5)

    said = run(work)

    assert {"1", "2", "3", "4", "5"} <= set(receiver.versions)
    assert events(said, "feed.failed", "feed.recovered", "feed.reset") == []
    assert receiver.losses == []


def test_a_stream_that_is_broken_off_at_once_is_a_failure() -> None:
    async def broken(request: Request) -> None:
        await request.begin_chunks(STREAM)
        await request.say(b"20\r\ndata:")

    async def work() -> None:
        async with serving(broken) as feed:
            async with following(source(shared(sse(feed), waits=True)), FakeReceiver()):
                await feed.until_asked(5)
            assert apart(feed)[3] >= 0.08

    said = run(work)

    assert len(events(said, "feed.failed")) == 1


@pytest.mark.parametrize("retry", [b"retry: 0\n\n", b""])
@pytest.mark.parametrize("says", [b"", b'data: {"key": "again"}\n\n', b": hello\n\n"], ids=["nothing", "event", "beat"])
def test_a_stream_that_ends_at_once_is_not_asked_for_in_a_rush(says: bytes, retry: bytes) -> None:
    async def work() -> None:
        async with serving(answering(retry + says, STREAM)) as feed:
            async with following(source(shared(sse(feed), waits=True)), FakeReceiver()):
                await feed.until_asked(21)
            assert feed.asked[20].at - feed.asked[0].at >= 0.02

    run(work)


def test_a_greeting_is_not_taken_for_the_end_of_what_is_to_be_told() -> None:
    receiver = FakeReceiver()

    async def greeting(request: Request) -> None:
        await request.begin(STREAM)
        await request.say(b": welcome\n\n")
        for _ in range(100):  # so that it is read by itself
            await asyncio.sleep(0)
        await request.say(numbered(3))
        await request.stall()

    async def work() -> None:
        async with serving(answering(numbered(1), STREAM)) as feed:
            async with following(source(shared(sse(feed), waits=True, from_now=True), from_now=True), receiver):
                await receiver.until(lambda: "1" in receiver.versions)
                feed.speak = greeting
                await receiver.until(lambda: "3" in receiver.versions)

    run(work)

    assert receiver.completed == []


def test_a_busy_stream_without_heartbeats_is_complete_after_a_lull() -> None:
    receiver, clock = FakeReceiver(), Clock()
    go_on = asyncio.Event()

    async def busy(request: Request) -> None:
        await request.begin(STREAM)
        await request.say(numbered(1))
        await go_on.wait()
        await request.say(event("2", "2"))
        await request.stall()

    async def work() -> None:
        async with serving(busy) as feed:
            async with following(
                source(shared(sse(feed), waits=True, from_now=True, now=clock), from_now=True), receiver
            ):
                await receiver.until(lambda: "1" in receiver.versions)
                assert receiver.completed == []
                before = clock()
                clock.ahead += timedelta(seconds=10)
                go_on.set()
                await receiver.until(lambda: "2" in receiver.versions)
            assert receiver.completed[0] <= before + timedelta(seconds=1)

    run(work)


def test_a_stream_that_has_ended_for_good_is_said_and_left_alone() -> None:
    receiver = FakeReceiver()

    async def work() -> None:
        async with serving(answering(b"", STREAM, 204)) as feed:
            async with following(source(shared(sse(feed), waits=True)), receiver):
                await receiver.until(lambda: bool(receiver.losses))
            assert len(feed.asked) == 1

    said = run(work)

    (failed,) = events(said, "feed.failed")
    assert "204" in failed["reason"]
    assert failed["retry_in_s"] == 3600


# -- silence ---------------------------------------------------------------------------------------------------------


def test_a_silent_feed_is_said_once_and_again_only_after_it_spoke() -> None:
    receiver, clock = FakeReceiver(), Clock()

    async def work() -> None:
        async with serving(NONE) as feed:
            async with following(source(shared(jsonl(feed), now=clock)), receiver):
                await receiver.until(lambda: bool(receiver.completed))
                for number in (1, 2):
                    feed.speak = lines(entry(number, f"{number}"))
                    await receiver.until(lambda number=number: f"{number}" in receiver.versions)  # type: ignore[misc]
                    clock.ahead += timedelta(hours=2)
                    await feed.until_asked(len(feed.asked) + 4)

    said = run(work)

    assert len(events(said, "feed.silent")) == 2


def test_a_feed_that_was_away_for_long_and_brings_news_is_not_silent() -> None:
    receiver, clock = FakeReceiver(), Clock()

    async def work() -> None:
        async with serving(NONE) as feed:
            async with following(source(shared(jsonl(feed), now=clock)), receiver):
                await receiver.until(lambda: bool(receiver.completed))
                feed.speak = lines(entry(1, "a"))
                await receiver.until(lambda: "a" in receiver.versions)
                feed.speak = hung_up
                await feed.until_asked(len(feed.asked) + 3)
                clock.ahead += timedelta(hours=2)
                feed.speak = lines(entry(2, "b"))
                await receiver.until(lambda: "b" in receiver.versions)
                await feed.until_asked(len(feed.asked) + 3)

    said = run(work)

    assert events(said, "feed.silent") == []


# -- cancellation ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 5, 8, 13, 21, 34, 55])
def test_who_is_cancelled_anywhere_leaves_no_connection_and_no_cursor_without_its_keys(steps: int) -> None:
    receiver = FakeReceiver()

    async def answer(request: Request) -> None:
        since = int(request.query.get("since", "0"))
        await request.begin_chunks("application/jsonl")
        for number in range(since + 1, since + 20):
            await request.say_chunk(entry(number, f"{number}"))
        await request.stall()

    async def work() -> None:
        async with serving(answer) as feed:
            async with following(source(shared(jsonl(feed))), receiver):
                await feed.until_asked(1)
                for _ in range(steps):
                    await asyncio.sleep(0)
            await feed.until(lambda: feed.open == 0)

    run(work)

    for cursor in receiver.cursors.values():
        at = json.loads(json.loads(cursor.text)["cursor"] or "{}").get("seq", 0)
        assert {f"{number}" for number in range(1, at + 1)} <= set(receiver.versions)

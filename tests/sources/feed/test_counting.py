"""A reading from the beginning that names every key: what it does not name is gone, if it may be believed."""
# ruff: noqa: SIM117 - a feed, and then who follows it

import asyncio
import json
from collections.abc import Callable

from mirrord.model.fingerprint import of_token
from tests.fakes.receiver import FakeReceiver
from tests.sources.feed.scripted import (
    Request,
    Speak,
    answering,
    couchdb,
    events,
    following,
    one_after_the_other,
    rows,
    run,
    serving,
    shared,
    source,
)

KNOWN = {key: of_token("old", size_bytes=None, etag=None, modified=None) for key in ("a", "b", "c")}


def database(changes: list[tuple[int, str]], *, name: Callable[[], str] = lambda: "1") -> Speak:
    """Two changes to a page."""

    async def answer(request: Request) -> None:
        if "_changes" not in request.target:
            await answering(json.dumps({"instance_start_time": name()}).encode())(request)
            return
        since = int(request.query["since"])
        page = [change for change in changes if change[0] > since][:2]
        last = page[-1][0] if page else since
        await rows(*page, last=last, pending=sum(seq > last for seq, _ in changes))(request)

    return answer


def test_what_the_whole_of_it_does_not_name_is_gone() -> None:
    receiver = FakeReceiver(KNOWN)

    async def work() -> None:
        async with serving(database([(1, "x"), (2, "b"), (3, "y")])) as feed:
            async with following(source(shared(couchdb(feed))), receiver):
                await receiver.until(lambda: bool(receiver.completed))

    run(work)

    assert receiver.removed == {"a", "c"}
    assert receiver.losses == []


def test_a_count_that_was_broken_off_begins_anew() -> None:
    receiver = FakeReceiver(KNOWN)
    reached = asyncio.Event()
    whole = database([(1, "a"), (2, "x"), (3, "y"), (4, "z")])

    async def hanging(request: Request) -> None:
        if request.query["since"] == "2":
            reached.set()
            await request.stall()
        await whole(request)

    async def work() -> None:
        async with serving(hanging) as feed:
            async with following(source(shared(couchdb(feed))), receiver):
                await reached.wait()
            assert receiver.removed == set()
            asked = len(feed.asked)
            feed.speak = whole
            async with following(source(shared(couchdb(feed))), receiver):
                await receiver.until(lambda: bool(receiver.completed))
            assert feed.asked[asked].query["since"] == "0"

    run(work)

    assert receiver.removed == {"b", "c"}


def test_nobody_counts_once_it_was_read_to_its_end() -> None:
    receiver = FakeReceiver(KNOWN)

    async def work() -> None:
        async with serving(database([(1, "a"), (2, "b")])) as feed:
            for _ in range(2):
                receiver.completed.clear()
                async with following(source(shared(couchdb(feed))), receiver):
                    await receiver.until(lambda: bool(receiver.completed))
            assert feed.asked[-1].query["since"] == "2"

    run(work)

    assert receiver.removed == {"c"}


def test_an_empty_database_takes_nothing_for_removed_until_it_names_something() -> None:
    receiver = FakeReceiver(KNOWN)

    async def work() -> None:
        async with serving(database([])) as feed:
            async with following(source(shared(couchdb(feed))), receiver):
                await receiver.until(lambda: bool(receiver.losses))
            feed.speak = database([(1, "a")])
            losses = len(receiver.losses)
            async with following(source(shared(couchdb(feed))), receiver):
                await receiver.until(lambda: bool(receiver.completed))
            assert len(receiver.losses) == losses

    run(work)

    assert receiver.removed == {"b", "c"}
    assert "names no key at all" in receiver.losses[0]


def test_a_database_made_anew_is_one_reset_and_keeps_what_both_have() -> None:
    receiver = FakeReceiver()
    names = ["old"]

    async def work() -> None:
        async with serving(database([(1, "a"), (2, "b")], name=lambda: names[0])) as feed:
            for changes in ([(1, "a"), (2, "b")], [(1, "b"), (2, "c"), (3, "d")]):
                feed.speak = database(changes, name=lambda: names[0])
                receiver.completed.clear()
                dialect = couchdb(feed)
                async with following(source(shared(dialect, naming=dialect)), receiver):
                    await receiver.until(lambda: bool(receiver.completed))
                names[0] = "new"

    said = run(work)

    (reset,) = events(said, "feed.reset")
    assert "begun anew" in reset["reason"]
    assert receiver.removed == {"a"}


def test_a_sequence_that_goes_back_is_one_reset_and_counts() -> None:
    receiver = FakeReceiver()

    async def work() -> None:
        first, second = rows((8, "a"), last=8, pending=0), rows((3, "b"), last=3, pending=0)
        async with serving(one_after_the_other(first, second)) as feed:
            async with following(source(shared(couchdb(feed))), receiver):
                await receiver.until(lambda: "b" in receiver.versions and receiver.versions["a"] is None)

    said = run(work)

    assert len(events(said, "feed.reset")) == 1

"""Feeds that send what is not a feed, or far too much: one line each, a bounded memory, and on it goes after that."""
# ruff: noqa: SIM117 - a feed, and then who follows it

import gzip
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest

from mirrord.sources.feed.dialect import Dialect, Limits
from mirrord.sources.feed.http_feeds import HttpFeeds
from mirrord.sources.feed.searching import ResourceSync
from tests.fakes.receiver import FakeReceiver
from tests.sources.feed.scripted import (
    LIMITS,
    Feed,
    Request,
    Speak,
    answering,
    couchdb,
    entry,
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

MIB = 2**20
SITEMAP = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9" xmlns:rs="http://www.openarchives.org/rs/terms/"'
LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
BOMB = f'<!DOCTYPE x [<!ENTITY l0 "haha">{LAUGHS}]><urlset {SITEMAP}><url><loc>&l9;</loc></url></urlset>'
OUTSIDE = f'<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]><urlset {SITEMAP}><url><loc>&f;</loc></url></urlset>'
CHANGES = (
    f'<urlset {SITEMAP}><rs:md capability="changelist" from="2026-11-01T00:00:00Z"/>'
    '<url><loc>a</loc><rs:md change="created" datetime="2026-11-02T00:00:00Z"/></url></urlset>'
)
EVENTS = b'[{"id":"1","subject":"a"}]'


def http_feeds(feed: Feed) -> Dialect:
    return HttpFeeds(f"{feed.url}/feed", mode="poll", wait=timedelta(seconds=30), limits=LIMITS)


def resourcesync(feed: Feed) -> Dialect:
    return ResourceSync(f"{feed.url}/changelist.xml", overlap=timedelta(0), limits=LIMITS)


MEMBER = gzip.compress(b" " * 64 * MIB, mtime=0)


@contextmanager
def costing_at_most(size: int) -> Iterator[None]:
    """Of Python's memory, the scripted feed's included."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < size
    finally:
        tracemalloc.stop()


async def cut_off(request: Request) -> None:
    await request.begin("application/json", 200, "Content-Length: 1000")
    await request.say(b'{"results":[')


async def gzip_bomb(request: Request) -> None:
    """A gigabyte of white space; members follow each other."""
    await request.begin("application/json", 200, "Content-Encoding: gzip")
    for _ in range(16):
        await request.say(MEMBER)


XML = "application/xml"
WELL: dict[str, tuple[Callable[[Feed], Dialect], Speak]] = {
    "couchdb": (couchdb, rows((1, "a"))),
    "jsonl": (jsonl, lines(entry(1, "a"))),
    "http-feeds": (http_feeds, lambda request: request.answer(b"[]" if request.query else EVENTS)),
    "resourcesync": (resourcesync, answering(CHANGES.encode(), XML)),
    "sse": (sse, answering(b'id: 1\ndata: {"key": "a"}\n\n', "text/event-stream")),
}
PAGE = answering(b"<html><body>Please <b>log in</b></body></html>", "text/html; charset=utf-8")
BROKEN: dict[str, tuple[str, Speak, str]] = {
    "couchdb, cut off": ("couchdb", cut_off, "broke off in mid-answer"),
    "couchdb, truncated JSON": ("couchdb", answering(b'{"results":[{"seq":1,"id":"a"},'), "cut off"),
    "couchdb, a page": ("couchdb", PAGE, "is a page"),
    "couchdb, a page called JSON": ("couchdb", answering(b"<!DOCTYPE html>"), "is not JSON"),
    "couchdb, a gzip bomb": ("couchdb", gzip_bomb, "longer than"),
    "couchdb, nested deep": ("couchdb", answering(b'{"results":' + b"[" * 100_000), "is not JSON"),
    "jsonl, a page": ("jsonl", PAGE, "is a page"),
    "jsonl, a page called JSON lines": (
        "jsonl",
        answering(b"<html>\n<body>\n", "application/jsonl"),
        "no line that is",
    ),
    "jsonl, a gzip bomb": ("jsonl", gzip_bomb, "is longer than 16 MiB"),
    "http-feeds, truncated JSON": ("http-feeds", answering(EVENTS[:-5]), "is not JSON"),
    "http-feeds, a page": ("http-feeds", PAGE, "is a page"),
    "resourcesync, a bomb of entities": ("resourcesync", answering(BOMB.encode(), XML), ""),
    "resourcesync, an entity from outside": ("resourcesync", answering(OUTSIDE.encode(), XML), ""),
    "resourcesync, truncated XML": ("resourcesync", answering(CHANGES[:-30].encode(), XML), ""),
    "resourcesync, a page": ("resourcesync", PAGE, ""),
    "sse, a page": ("sse", PAGE, "not text/event-stream"),
    "a 500": ("jsonl", answering(b"oops", "text/plain", 500), "500: oops"),
    "a 404": ("jsonl", answering(b"", "text/plain", 404), "404"),
    "a 410 of a feed without a place": ("jsonl", answering(b"", "text/plain", 410), "410"),
}


@pytest.mark.parametrize(("dialect", "broken", "why"), BROKEN.values(), ids=BROKEN)
def test_what_is_no_feed_is_one_line_and_costs_little_and_is_asked_for_again(
    dialect: str, broken: Speak, why: str
) -> None:
    make, well = WELL[dialect]
    receiver = FakeReceiver()

    async def work() -> None:
        async with serving(one_after_the_other(broken, broken, broken, well)) as feed:
            with costing_at_most(24 * MIB):
                async with following(source(shared(make(feed), limits=Limits(document=MIB, line=1000))), receiver):
                    await receiver.until(lambda: "a" in receiver.versions)

    said = run(work)

    (failed,) = events(said, "feed.failed")
    assert why in failed["reason"]
    assert "\n" not in failed["reason"]
    assert len(failed["reason"]) < 300
    assert "root:" not in failed["reason"]
    assert len(events(said, "feed.recovered")) == 1
    if broken is not cut_off:  # that may be a hiccup
        assert why in receiver.losses[0]


def test_an_event_of_100_mb_is_rejected_alone() -> None:
    receiver = FakeReceiver()
    chunk = b"x" * 2**16

    async def huge(request: Request) -> None:
        await request.begin("text/event-stream")
        await request.say(b'id: 1\ndata: {"key": "a"}\n\nid: 2\ndata: ')
        for _ in range(1600):
            await request.say(chunk)
        await request.say(b'\n\nid: 3\ndata: {"key": "b"}\n\n')
        await request.stall()

    async def work() -> None:
        async with serving(huge) as feed:
            with costing_at_most(20 * MIB):
                async with following(source(shared(sse(feed), waits=True)), receiver):
                    await receiver.until(lambda: "b" in receiver.versions)

    said = run(work)

    assert set(receiver.versions) == {"a", "b"}
    assert len(receiver.rejected) == 1
    assert events(said, "feed.failed", "feed.reset") == []


def test_an_answer_of_too_many_entries_is_told_up_to_there_and_said() -> None:
    receiver = FakeReceiver()

    async def work() -> None:
        async with serving(lines(*[entry(n, f"{n}") for n in range(1, 50)])) as feed:
            limits = Limits(line=1000, entries=20)
            async with following(source(shared(jsonl(feed, limits=limits), limits=limits)), receiver):
                await receiver.until(lambda: len(receiver.losses) >= 1)

    said = run(work)

    assert "more than 20 entries" in events(said, "feed.failed")[0]["reason"]
    assert receiver.completed == []


BAD: dict[str, bytes] = {
    "no key": b'{"seq": 2}\n',
    "no JSON": b"nonsense\n",
    "no object": b"[1, 2]\n",
    "a key that leads out": entry(2, "../../etc/passwd"),
    "not UTF-8": b'{"seq": 2, "key": "\xff\xfe\n',
    "half a surrogate": b'{"seq": 2, "key": "\\ud800", "version": "2"}\n',
    "NUL": b'{"seq": 2, "key": "a\\u0000b", "version": "2"}\n',
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_one_bad_entry_is_rejected_and_the_rest_is_recorded(bad: bytes) -> None:
    receiver = FakeReceiver()

    async def work() -> None:
        async with serving(lines(entry(1, "a"), bad, entry(3, "b"))) as feed:
            async with following(source(shared(jsonl(feed))), receiver):
                await receiver.until(lambda: bool(receiver.completed))

    said = run(work)

    assert {"a", "b"} <= set(receiver.versions)
    assert len(receiver.rejected) == 1 or bad == BAD["half a surrogate"]
    assert receiver.rejected == [] or "\n" not in receiver.rejected[0].name
    assert events(said, "feed.failed") == []

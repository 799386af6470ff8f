"""A feed on loopback whose every answer is a coroutine of the test's, and what follows it: a mirror's source."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

from structlog.testing import capture_logs

from mirrord.decisions.feed_keys import FeedKeys
from mirrord.decisions.keymap import Selection
from mirrord.sources.contract import Receiver
from mirrord.sources.feed.couchdb import CouchDb
from mirrord.sources.feed.dialect import Dialect, Limits
from mirrord.sources.feed.fetching import Access, Fetcher
from mirrord.sources.feed.jsonl import JsonLines
from mirrord.sources.feed.lane import Manner
from mirrord.sources.feed.pointers import Pointers
from mirrord.sources.feed.shared import SharedFeed
from mirrord.sources.feed.source import FeedSource
from mirrord.sources.feed.sse import Sse

SOON = timedelta(milliseconds=10)
LIMITS = Limits(line=1000)
Said = list[dict[str, Any]]


@dataclass(frozen=True)
class Request:
    target: str
    headers: dict[str, str]
    at: float
    """By the loop's clock."""
    writer: asyncio.StreamWriter = field(repr=False)

    @property
    def query(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.target).query).items()}

    async def say(self, body: bytes) -> None:
        self.writer.write(body)
        await self.writer.drain()

    async def begin(self, kind: str, status: int = 200, *headers: str) -> None:
        """An answer that is over when the connection is."""
        lines = [f"HTTP/1.1 {status} Said", f"Content-Type: {kind}", "Connection: close", *headers, "", ""]
        await self.say("\r\n".join(lines).encode())

    async def begin_chunks(self, kind: str) -> None:
        """An answer that is cut off if the connection ends first."""
        head = f"HTTP/1.1 200 Said\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n"
        await self.say(head.encode())

    async def say_chunk(self, body: bytes) -> None:
        await self.say(b"%x\r\n%s\r\n" % (len(body), body))

    async def answer(self, body: bytes = b"", kind: str = "application/json", status: int = 200, *headers: str) -> None:
        await self.begin(kind, status, f"Content-Length: {len(body)}", *headers)
        await self.say(body)

    async def stall(self) -> None:
        """Say nothing more, but keep the connection."""
        await asyncio.Event().wait()


Speak = Callable[[Request], Awaitable[None]]


@dataclass
class Feed:
    """Its `speak` may be exchanged at any time."""

    speak: Speak
    url: str = ""
    asked: list[Request] = field(default_factory=list)
    open: int = 0
    """Connections."""
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Until it holds, once something was asked for or hung up."""
        async with asyncio.timeout(20), self._news:
            await self._news.wait_for(holds)

    async def until_asked(self, times: int) -> None:
        await self.until(lambda: len(self.asked) >= times)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._note(1)
        speaking: asyncio.Task[None] | None = None
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
            headers = {name.lower(): text for name, _, text in (line.partition(": ") for line in head[1:])}
            request = Request(head[0].split()[1], headers, asyncio.get_running_loop().time(), writer)
            self.asked.append(request)
            await self._note(0)
            async with asyncio.TaskGroup() as tasks:
                speaking = tasks.create_task(self._speak(request))
                hearing = tasks.create_task(self._until_hung_up(reader, speaking))
                await asyncio.wait([speaking])
                hearing.cancel()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            await self._note(-1)

    async def _speak(self, request: Request) -> None:
        with suppress(ConnectionError):
            await self.speak(request)

    async def _until_hung_up(self, reader: asyncio.StreamReader, speaking: asyncio.Task[None]) -> None:
        with suppress(ConnectionError):
            while await reader.read(1000):
                pass
        speaking.cancel()

    async def _note(self, opened: int) -> None:
        async with self._news:
            self.open += opened
            self._news.notify_all()


@asynccontextmanager
async def serving(speak: Speak) -> AsyncIterator[Feed]:
    feed = Feed(speak)
    server = await asyncio.start_server(feed.serve, "127.0.0.1", 0)
    feed.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield feed
    finally:
        server.close()


def one_after_the_other(*speaks: Speak) -> Speak:
    """The last one again and again."""
    left = list(speaks)

    async def speak(request: Request) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(request)

    return speak


def answering(body: bytes = b"", kind: str = "application/json", status: int = 200, *headers: str) -> Speak:
    return lambda request: request.answer(body, kind, status, *headers)


def entry(seq: int, key: str, **more: Any) -> bytes:
    return json.dumps({"seq": seq, "key": key, "version": f"{seq}"} | more).encode() + b"\n"


def lines(*entries: bytes) -> Speak:
    return answering(b"".join(entries), "application/jsonl")


def rows(*changes: tuple[Any, str], last: Any = None, **more: Any) -> Speak:
    """A page of CouchDB's."""
    results = [{"seq": seq, "id": key, "changes": [{"rev": f"1-{seq}"}]} for seq, key in changes]
    last_seq = changes[-1][0] if last is None else last
    return answering(json.dumps({"results": results, "last_seq": last_seq} | more).encode())


def event(key: str, id_: str | None = None) -> bytes:
    named = f"id: {id_}\n" if id_ is not None else ""
    return f"{named}data: {json.dumps({'key': key, 'version': key})}\n\n".encode()


def jsonl(feed: Feed, **more: Any) -> JsonLines:
    return JsonLines(f"{feed.url}/feed", pointers=Pointers(), **{"limits": LIMITS} | more)


def couchdb(feed: Feed, *, heartbeat_s: float = 30, page: int = 2) -> CouchDb:
    heartbeat = timedelta(seconds=heartbeat_s)
    return CouchDb(f"{feed.url}/db", page=page, mode="longpoll", heartbeat=heartbeat, limits=LIMITS)


def sse(feed: Feed, *, heartbeat_s: float = 30) -> Sse:
    heartbeat = timedelta(seconds=heartbeat_s)
    return Sse(f"{feed.url}/events", pointers=Pointers(), heartbeat=heartbeat, limits=LIMITS)


class Clock:
    """Real time, and what a test adds to it."""

    def __init__(self) -> None:
        self.ahead = timedelta(0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead


def shared(
    dialect: Dialect, *, waits: bool = False, now: Callable[[], datetime] | None = None, **more: Any
) -> SharedFeed:
    fetcher = Fetcher(Access(user_agent="test"), unpacked=more.pop("unpacked", 2**24))
    manner = Manner(
        name="a feed",
        waits=waits,
        poll_every=more.pop("poll_every", SOON),
        silent_after=timedelta(hours=1),
        first_pause=SOON,
    )
    limits = more.pop("limits", LIMITS)
    given: dict[str, Any] = {
        "from_now": False,
        "has_beginning": not isinstance(dialect, Sse),
        "chance": lambda: 1.0,
    } | more
    return SharedFeed(dialect, fetcher, manner, limits, now=now or Clock(), **given)


def source(feed: SharedFeed, mirror: str = "docs", **more: Any) -> FeedSource:
    keys = FeedKeys(origin_url=None, key_prefix="", selection=Selection(), key_from=None)
    return FeedSource(mirror, "it", keys, now=more.pop("now", Clock()), feed=feed, **more)


@asynccontextmanager
async def following(followed: FeedSource, receiver: Receiver) -> AsyncIterator[None]:
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(followed.follow(receiver), name="follow")
        try:
            yield
        finally:
            task.cancel()
    await followed.close()


def events(said: Said, *names: str) -> Said:
    return [line for line in said if line["event"] in names]


def run(work: Callable[[], Awaitable[None]]) -> Said:
    """What it said."""

    async def worked() -> None:
        async with asyncio.timeout(30):
            await work()

    with capture_logs() as said:
        asyncio.run(worked())
    return [dict(line) for line in said]

"""A feed that answers as a test tells it to, one answer for each request; the last one again and again."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Part = bytes | float
"""Bytes to send, or seconds to be silent."""


@dataclass(frozen=True)
class Answer:
    """What one request gets; a body without a length ends with the connection."""

    body: bytes = b""
    status: int = 200
    kind: str = "application/json"
    headers: tuple[str, ...] = ()
    parts: tuple[Part, ...] = ()
    """Instead of a body: a stream."""


@dataclass
class ScriptedFeed:
    answers: list[Answer | Callable[[str], Answer]]
    asked: list[str] = field(default_factory=list)
    """The targets of all requests so far."""
    headers: list[dict[str, str]] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    """When they came, by the loop's clock."""
    url: str = ""
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def until_asked(self, times: int) -> None:
        async with asyncio.timeout(20), self._news:
            await self._news.wait_for(lambda: len(self.asked) >= times)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
            answer = await self._next(head)
            lines = [f"HTTP/1.1 {answer.status} Said", f"Content-Type: {answer.kind}", "Connection: close"]
            if not answer.parts:
                lines.append(f"Content-Length: {len(answer.body)}")
            writer.write("\r\n".join([*lines, *answer.headers, "", ""]).encode() + answer.body)
            for part in answer.parts:
                if isinstance(part, bytes):
                    writer.write(part)
                    await writer.drain()
                else:
                    await asyncio.sleep(part)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _next(self, head: list[str]) -> Answer:
        target = head[0].split()[1]
        async with self._news:
            answer = self.answers[min(len(self.asked), len(self.answers) - 1)]
            self.asked.append(target)
            self.headers.append({name.lower(): text for name, _, text in (line.partition(": ") for line in head[1:])})
            self.at.append(asyncio.get_running_loop().time())
            self._news.notify_all()
        return answer if isinstance(answer, Answer) else answer(target)


@asynccontextmanager
async def scripted(*answers: Answer | Callable[[str], Answer]) -> AsyncIterator[ScriptedFeed]:
    feed = ScriptedFeed(list(answers))
    server = await asyncio.start_server(feed.serve, "127.0.0.1", 0)
    feed.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield feed
    finally:
        server.close()

"""A hook behind a real listener on loopback, for as long as a block lasts."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx

from mirrord.listener import Listener
from mirrord.model.mention import Mention
from mirrord.sources.feed.hooks import Hook
from mirrord.sources.feed.webhook import Parsed


@dataclass
class Journal:
    """Takes what a hook hands over, when the gate is open."""

    taken: list[Parsed] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.gate.set()

    async def take(self, parsed: Parsed) -> None:
        self.asked.set()
        await self.gate.wait()
        self.taken.append(parsed)

    @property
    def mentions(self) -> list[Mention]:
        return [mention for parsed in self.taken for mention in parsed.mentions]


@dataclass
class Running:
    client: httpx.AsyncClient
    listener: Listener
    recording: asyncio.Task[None]
    serving: asyncio.Task[None]

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection on which anything can be said."""
        return await asyncio.open_connection("127.0.0.1", self.listener.port)

    async def head_of_answer(self, *, content_length: int, body: bytes = b"") -> tuple[int, bool]:
        """The answer to a body that never comes whole: its status, and whether it ends the connection."""
        reader, writer = await self.connect()
        writer.write(b"POST /hooks/docs HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % content_length + body)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        writer.close()
        await writer.wait_closed()
        return int(head.split()[1]), b"connection: close" in head


@asynccontextmanager
async def running(*hooks: Hook) -> AsyncIterator[Running]:
    """Serve `hooks`; the first one's recording can be ended by itself."""
    listener = Listener("127.0.0.1", 0, [route for hook in hooks for route in hook.routes()])
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        recording = [tasks.create_task(hook.run()) for hook in hooks]
        serving = tasks.create_task(listener.run())
        await listener.started()
        url = f"http://127.0.0.1:{listener.port}"
        async with httpx.AsyncClient(base_url=url, verify=False, trust_env=False, timeout=20) as client:
            yield Running(client, listener, recording[0], serving)
        for each in (*recording, serving):
            each.cancel()


async def until(holds: Callable[[], bool]) -> None:
    """Let everything else go on until it holds."""
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0)

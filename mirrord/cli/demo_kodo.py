"""The sandbox as a process of its own: what it stores, what it was asked, and how slow it is."""

import asyncio
import tomllib
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from yarl import URL

from mirrord.cli.demo_processes import Children, stopped
from mirrord.kodo.entry import origin_url

BUCKET = "docs"
START_MOST_S = 30.0


class SandboxEnded(Exception):
    """The sandbox did not start, or does not answer; its log says why."""


@dataclass(frozen=True, slots=True)
class Record:
    """The prefetches that the sandbox was asked for and has answered; see mirrord.sandbox.calls."""

    pulls: Sequence[Mapping[str, Any]]
    overlaps: Mapping[str, int]
    """For every key, how many pulls of it ever ran at once."""


@dataclass(frozen=True, slots=True)
class LocalKodo:
    """A running sandbox with one bucket."""

    url: str
    settings: str
    """The part of a settings file that leads to it, and the journal's place."""
    session: aiohttp.ClientSession

    async def read(self, key: str) -> bytes | int:
        """The stored bytes, or the status that came instead."""
        status, body = await self._ask("GET", origin_url(f"{self.url}/{BUCKET}", key))
        return body if status == 200 else status

    async def record(self) -> Record:
        """What was asked so far."""
        found = orjson.loads((await self._ask("GET", f"{self.url}/_control/calls"))[1])
        pulls = [call for call in found["calls"] if call["operation"] == "prefetch"]
        return Record(pulls, found["max_overlap"].get(BUCKET, {}))

    async def slow_down(self, keys: str, delay_s: float, times: int) -> None:
        """Let the next `times` prefetches of keys like the glob `keys` take `delay_s` longer."""
        fault = orjson.dumps({"operation": "prefetch", "key": keys, "delay_s": delay_s, "times": times})
        await self._ask("POST", f"{self.url}/_control/faults", fault)

    async def _ask(self, method: str, url: str, body: bytes | None = None) -> tuple[int, bytes]:
        try:
            async with self.session.request(method, URL(url, encoded=True), data=body) as answer:
                return answer.status, await answer.read()
        except (aiohttp.ClientError, TimeoutError) as exc:
            raise SandboxEnded(f"the sandbox at {self.url} does not answer: {exc}") from exc


@asynccontextmanager
async def local_kodo(children: Children, root: Path, origin: str, log: Path) -> AsyncIterator[LocalKodo]:
    """A sandbox on a free port whose bucket has `origin` as its mirror source. Raises SandboxEnded."""
    with log.open("ab") as file:
        process = await children.start(
            *("sandbox", "--listen", "127.0.0.1:0", "--root", str(root), "--origin", f"{BUCKET}={origin}"),
            stdout=PIPE,
            stderr=file,
        )
    try:
        async with asyncio.timeout(START_MOST_S):
            settings = await _printed_settings(process)
        url = tomllib.loads(settings)["kodo"]["hosts"]["io"]
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session:
            yield LocalKodo(url, settings, session)
    except TimeoutError as exc:
        raise SandboxEnded(f"the sandbox did not start in {START_MOST_S:.0f} s") from exc
    finally:
        await stopped(process)


async def _printed_settings(process: Process) -> str:
    """The settings that the sandbox prints once it listens, up to its example of a mirror."""
    assert process.stdout is not None
    lines: list[str] = []
    async for line in process.stdout:
        if line.startswith(b"[[mirror]]"):
            return "".join(lines)
        lines.append(line.decode())
    raise SandboxEnded("the sandbox did not start")

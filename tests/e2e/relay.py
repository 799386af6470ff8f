"""Between mirrord and a feed: notes what is asked and what is told, and may strike in the middle of it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urlsplit, urlunsplit

import aiohttp
from aiohttp import web
from yarl import URL

from tests.servers import running_app

PIECE = 200
"""Bytes that are passed on together, at most."""
SLOW_S = 0.001
"""For each of them, on a slow line: so that whoever reads can keep up with it."""
_OF_ONE_HOP = {"connection", "host", "keep-alive", "transfer-encoding"}


class Relay:
    """Passes every GET on to the server of `url`."""

    def __init__(self, url: str, *, slow: bool) -> None:
        parts = urlsplit(url)
        self._pause_s = SLOW_S if slow else 0.0
        self._server = f"{parts.scheme}://{parts.netloc}"
        self.asked: list[str] = []
        """Paths with their queries, in the order of arrival."""
        self._told = bytearray()
        self._strike: Callable[[], object] = lambda: None
        self._pieces_left = 0
        self._delay_s = 0.0

    def times_told(self, key: str) -> int:
        """How often a plain key was in what came back, whatever that was."""
        return self._told.count(f'"{key}"'.encode())

    def strike(self, act: Callable[[], object], *, after: int, delay_s: float) -> None:
        """Do it, once, when so many pieces of answers are about to be passed on; or so long after the last of them."""
        self._strike, self._delay_s, self._pieces_left = act, delay_s, after

    def application(self) -> web.Application:
        app = web.Application()
        app.cleanup_ctx.append(self._session_of)
        app.add_routes([web.get("/{rest:.*}", self._pass_on)])
        return app

    async def _session_of(self, _: web.Application) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(auto_decompress=False) as self._session:
            yield

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.raw_path)
        there = URL(self._server + request.raw_path, encoded=True)
        async with self._session.get(there, headers=_passed(request.headers), allow_redirects=False) as got:
            answer = web.StreamResponse(status=got.status, headers=_passed(got.headers))
            with contextlib.suppress(ConnectionError):  # whoever asked may have been killed
                await answer.prepare(request)
                async for chunk in got.content.iter_any():
                    if request.transport is None:  # nobody is there to be told
                        break
                    for start in range(0, len(chunk), PIECE):
                        await self._tell(answer, chunk[start : start + PIECE])
                await answer.write_eof()
        return answer

    async def _tell(self, answer: web.StreamResponse, piece: bytes) -> None:
        self._pieces_left -= 1
        if self._pieces_left == 0:
            if self._delay_s:
                asyncio.get_running_loop().call_later(self._delay_s, self._strike)
            else:
                self._strike()
        self._told += piece
        await answer.write(piece)
        await asyncio.sleep(self._pause_s)


@contextmanager
def relayed(url: str, *, slow: bool = False) -> Iterator[tuple[Relay, str]]:
    """A relay, and what `url` is by way of it."""
    relay = Relay(url, slow=slow)
    with running_app(relay.application) as server:
        yield relay, urlunsplit(urlsplit(url)._replace(netloc=urlsplit(server).netloc))


def _passed(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _OF_ONE_HOP}

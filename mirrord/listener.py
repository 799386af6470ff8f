"""Routes to a listening HTTP server on the caller's event loop, for as long as `run` is not cancelled.

Starlette and uvicorn are imported here: import this module only where something listens.
"""

import asyncio
import contextlib
import errno
import logging
import socket
from collections.abc import Callable, Generator, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.applications import Starlette
from starlette.routing import BaseRoute

from mirrord.listening import ListenerUnavailable

if TYPE_CHECKING:
    from uvicorn.server import Protocols

_BACKLOG = 128
_KEEP_ALIVE_S = 75
_ABORTED_WITHIN = timedelta(seconds=0.5)
_LOOKED_EVERY_S = 0.02
_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""What a machine without IPv6 says of one of the addresses of `localhost`."""


class Listener:
    """Serves `routes` once; whoever owns it awaits `run`."""

    def __init__(
        self, host: str, port: int, routes: list[BaseRoute], *, grace: timedelta = timedelta(seconds=2)
    ) -> None:
        """`port` 0 takes a free one. `routes` may change: every request finds those that are there then.

        `grace`: how long requests that are under way have to end.
        """
        self._host = host.removeprefix("[").removesuffix("]")
        self._port = port
        self._routes = routes
        self._grace = grace
        self._settled = asyncio.Event()
        self._problem: str | None = "it was stopped before it listened"

    @property
    def port(self) -> int:
        """The real one, once it has started."""
        return self._port

    @property
    def address(self) -> str:
        """As people write it: `127.0.0.1:9478`, `[::1]:9478`."""
        return f"[{self._host}]:{self._port}" if ":" in self._host else f"{self._host}:{self._port}"

    async def started(self) -> None:
        """Returns when it listens. Raises ListenerUnavailable when it never will."""
        await self._settled.wait()
        if self._problem is not None:
            raise ListenerUnavailable(self._problem)

    async def run(self) -> None:
        """Serve until cancelled; then let requests end, and close. Raises ListenerUnavailable."""
        sockets: list[socket.socket] = []
        try:
            sockets += await self._bind()
            self._port = sockets[0].getsockname()[1]
            server = _Server(self._config(), self._note_listening)
            try:
                await server.serve(sockets)
            finally:
                await server.stop(self._grace)
        finally:
            for each in sockets:
                each.close()
            self._settled.set()

    def _note_listening(self) -> None:
        self._problem = None
        self._settled.set()

    def _config(self) -> uvicorn.Config:
        app = Starlette()
        app.router.routes = self._routes
        app.router.redirect_slashes = False  # who posts must not be redirected (CloudEvents http-webhook.md, 2.2)
        return uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            interface="asgi3",
            workers=1,
            log_config=None,
            log_level=logging.ERROR,  # what peers do wrong is no warning of ours
            access_log=False,
            proxy_headers=False,
            forwarded_allow_ips="",
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
        )

    async def _bind(self) -> list[socket.socket]:
        """A listening socket for every address of the host.

        Not left to uvicorn, which answers a port in use by leaving the process.
        """
        try:
            found = await asyncio.get_running_loop().getaddrinfo(
                self._host or None, self._port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
            return _listening_on(found)
        except (OSError, UnicodeError) as exc:  # the latter for what can be no name of a host
            why = getattr(exc, "strerror", None) or str(exc)
            self._problem = f"cannot listen on {self.address}: {why.lower()}"
            raise ListenerUnavailable(self._problem) from exc


class _Server(uvicorn.Server):
    """uvicorn for a part of a service: signals are somebody else's, and stopping takes no longer than it is given."""

    def __init__(self, config: uvicorn.Config, note_listening: Callable[[], None]) -> None:
        super().__init__(config)
        self._note_listening = note_listening

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def main_loop(self) -> None:
        self._note_listening()
        while True:
            await self.on_tick(0)  # the Date that answers carry
            await asyncio.sleep(1)  # uvicorn itself wakes up ten times as often

    async def stop(self, grace: timedelta) -> None:
        if not self.started:
            return
        for server in self.servers:
            server.close()
        for connection in self._open_connections():
            connection.shutdown()
        await self._drain(grace)
        for connection in self._open_connections():
            connection.transport.abort()  # who still reads a body learns from this that nothing more comes
        await self._drain(_ABORTED_WITHIN)
        for task in list(self.server_state.tasks):
            task.cancel()
        await self._drain(_ABORTED_WITHIN)

    def _open_connections(self) -> "list[Protocols]":
        return [each for each in self.server_state.connections if not each.transport.is_closing()]

    async def _drain(self, within: timedelta) -> None:
        """Wait until every request has ended and its answer is sent."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within.total_seconds()):
                while self.server_state.connections or self.server_state.tasks:  # noqa: ASYNC110 - uvicorn tells nobody
                    await asyncio.sleep(_LOOKED_EVERY_S)


def _listening_on(found: Iterable[tuple[int, int, int, str, tuple[Any, ...]]]) -> list[socket.socket]:
    """A socket for each address that this machine has, all with one port. Raises OSError."""
    sockets: list[socket.socket] = []
    absent: OSError | None = None
    try:
        for family, _, _, _, (host, port, *rest) in dict.fromkeys(found):  # a host's table may have a name twice
            free = sockets[0].getsockname()[1] if sockets else port
            try:
                sockets.append(_listening(family, (host, free, *rest)))
            except OSError as exc:
                if exc.errno not in _NOT_HERE:
                    raise
                absent = exc
        if absent and not sockets:
            raise absent
    except OSError:
        for each in sockets:
            each.close()
        raise
    return sockets


def _listening(family: int, address: tuple[Any, ...]) -> socket.socket:
    # named, or asyncio leaves out TCP_NODELAY, and every answer waits 40 ms
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)  # two may be bound to one address, but only one of them listens
        listening.setblocking(False)  # noqa: FBT003 - its one parameter has no name
    except OSError:
        listening.close()
        raise
    return listening

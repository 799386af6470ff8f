"""Bytes to a server and back, over httpx on aiohttp's transport; what the network does is a value, not an exception."""

import asyncio
import ssl
import time
import urllib.request
from collections.abc import Mapping
from typing import Any, cast

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from mirrord.kodo.exchange import Answer, Base, NoAnswer, Timeouts
from mirrord.model.attempt import Silence

REPLY_MOST = 16 * 2**20
"""Bytes of a reply that are read; Kodo's largest is a list of 1,000 objects, below 1 MiB."""


class _Prepared(httpx.Request):
    """A request whose parts are final: httpx would take the URL apart, join it and check it again.

    That costs as much as the whole exchange below it (measured: 190 against 112 microseconds a call), and
    what was signed must go out unchanged anyway. The transport reads these five attributes and no other.
    """

    def __init__(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, timeout: Mapping[str, Any]
    ) -> None:
        self.method = method
        self.url = cast(httpx.URL, url)  # the transport takes its text
        self.headers = cast(httpx.Headers, headers)
        self.extensions = {"timeout": timeout}
        self._content = body


class Wire:
    """Bounded, kept-alive connections; no redirects, the system's trust store, proxies from the environment."""

    def __init__(self, *, timeouts: Timeouts, connections: int) -> None:
        connect_s, read_s = timeouts.connect.total_seconds(), timeouts.read.total_seconds()
        self._connections = connections
        self._whole_s = connect_s + read_s
        # one timer around the whole call: it also ends an answer that drips, which a timer per read does not
        self._timeout = {"connect": connect_s, "read": None, "pool": None}
        self._tls = ssl.create_default_context()
        self._transports: dict[str | None, AiohttpTransport] = {}
        self._ways: dict[Base, AiohttpTransport] = {}

    async def send(
        self, method: str, base: Base, target: str, headers: Mapping[str, str], body: bytes = b""
    ) -> Answer | NoAnswer:
        """Ask once. `target` is path and query, percent-encoded, sent as it is. Raises nothing of the network's."""
        request = _Prepared(method, f"{base.scheme}://{base.authority}{target}", headers, body, self._timeout)
        began = time.perf_counter()
        try:
            async with asyncio.timeout(self._whole_s):
                response = await self._way(base).handle_async_request(request)
                # nothing to read and nothing to close: aiohttp has the connection back already
                reply = b"" if response.headers.get("content-length") == "0" else await _read(response)
        except (httpx.HTTPError, aiohttp.ClientError, OSError, ValueError) as exc:
            return NoAnswer(_silence(exc), _said(exc), time.perf_counter() - began)
        received = {name.decode("ascii").lower(): text.decode("latin-1") for name, text in response.headers.raw}
        return Answer(response.status_code, received, reply, time.perf_counter() - began)

    async def close(self) -> None:
        for transport in self._transports.values():
            await transport.aclose()

    def _way(self, base: Base) -> AiohttpTransport:
        way = self._ways.get(base)
        if way is None:
            proxy = _proxy_for(base)
            way = self._transports.get(proxy)
            if way is None:
                way = self._transports[proxy] = AiohttpTransport(
                    verify=self._tls, proxy=httpx.Proxy(proxy) if proxy else None, client=self._session
                )
            self._ways[base] = way
        return way

    def _session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=self._connections, keepalive_timeout=60, ssl=self._tls)
        # a jar that keeps nothing: looking for cookies is a tenth of a call
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


def _proxy_for(base: Base) -> str | None:
    """What HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY say of this server; asked once, it costs 30 us."""
    proxies = urllib.request.getproxies()
    proxy = proxies.get(base.scheme) or proxies.get("all")
    return None if proxy is None or urllib.request.proxy_bypass(base.authority) else proxy


async def _read(response: httpx.Response) -> bytes:
    # past httpx's decoders: Kodo compresses nothing unless asked to, and this never asks
    chunks, size = [], 0
    try:
        async for chunk in cast(httpx.AsyncByteStream, response.stream):
            size += len(chunk)
            if size > REPLY_MOST:
                raise httpx.ReadError(f"the reply is longer than {REPLY_MOST} bytes")
            chunks.append(chunk)
    finally:
        await response.aclose()
    return b"".join(chunks)


def _silence(exc: BaseException) -> Silence:
    """httpx-aiohttp says ConnectTimeout of a server that hung up; what aiohttp said first is the cause."""
    cause = exc.__cause__ if isinstance(exc, httpx.HTTPError) and exc.__cause__ is not None else exc
    match cause:
        case aiohttp.ConnectionTimeoutError() | aiohttp.ClientConnectorError() | aiohttp.ClientProxyConnectionError():
            return Silence.CONNECT_FAILED
        case aiohttp.SocketTimeoutError() | TimeoutError():
            return Silence.TIMED_OUT
        case _:
            return Silence.BROKEN


def _said(exc: BaseException) -> str:
    cause = exc.__cause__ if isinstance(exc, httpx.HTTPError) and exc.__cause__ is not None else exc
    text = str(cause).replace("\n", " ").strip()
    return f"{type(cause).__name__}: {text}" if text else type(cause).__name__

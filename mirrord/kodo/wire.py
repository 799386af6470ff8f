"""Bytes to a server and back, over httpx on aiohttp's transport; what the network does is a value, not an exception."""

import asyncio
import ssl
import time
import urllib.request
from collections.abc import Mapping
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

import aiohttp
import httpx
from aiohttp.connector import Connection

from mirrord.kodo import mishaps
from mirrord.kodo.exchange import Answer, Base, NoAnswer, Timeouts
from mirrord.kodo.mishaps import NotConnectedError, TooLongError
from mirrord.kodo.transport import Given, Prepared, Transport
from mirrord.model.attempt import Silence

REPLY_MOST = 16 * 2**20
"""Bytes of a reply that are read; Kodo's largest is a list of 1,000 objects, below 1 MiB."""

_PORTS = {"http": 80, "https": 443}


_ANSWER: ContextVar[tuple[asyncio.Timeout, float]] = ContextVar("answer")
"""The timer of the call that this task makes, and the seconds that its answer may take once it is connected."""


class _Connector(aiohttp.TCPConnector):
    """Tells a call that could not begin from one that may have been carried out."""

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Any],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - the signature is aiohttp's
    ) -> Connection:
        try:
            connection = await super().connect(req, traces, timeout)
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            raise NotConnectedError from exc
        limit, read_s = _ANSWER.get()
        limit.reschedule(asyncio.get_running_loop().time() + read_s)
        return connection


class Wire:
    """Kept-alive connections; no redirects, the system's trust store, proxies from the environment."""

    def __init__(self, *, timeouts: Timeouts) -> None:
        self._connect_s = timeouts.connect.total_seconds()
        self._read_s = timeouts.read.total_seconds()
        self._tls = ssl.create_default_context()
        self._transports: dict[str | None, Transport] = {}
        self._ways: dict[Base, Transport] = {}

    async def send(
        self,
        method: str,
        base: Base,
        target: str,
        headers: Mapping[str, str],
        body: bytes = b"",
        *,
        read: timedelta | None = None,
    ) -> Answer | NoAnswer:
        """Ask once. `target` is path and query, percent-encoded, sent as it is. Raises nothing of the network's.

        `read` is how long the answer may take after the connection's own time; None: as all others.
        """
        request = Prepared(method, f"{base.scheme}://{base.authority}{target}", headers, body)
        read_s = self._read_s if read is None else read.total_seconds()
        began = time.perf_counter()
        given: Given | None = None
        try:
            # one timer around all of the answer also ends one that drips, which a timer per read does not
            async with asyncio.timeout(None) as limit:
                _ANSWER.set((limit, read_s))
                given = await self._way(base).handle_async_request(request)
                reply = await given.read_up_to(REPLY_MOST)
        except NotConnectedError as exc:
            error = mishaps.of_connecting(exc.__cause__, base.authority, self._connect_s)
            return NoAnswer(Silence.CONNECT_FAILED, error, time.perf_counter() - began)
        except (httpx.HTTPError, aiohttp.ClientError, OSError, ValueError, TooLongError) as exc:
            # httpx-aiohttp says ConnectTimeout of a server that hung up; what aiohttp said first is the cause
            cause = exc.__cause__ if isinstance(exc, httpx.HTTPError) and exc.__cause__ is not None else exc
            silence, error = mishaps.of_asking(cause, base.authority, read_s, answering=given is not None)
            return NoAnswer(silence, error, time.perf_counter() - began)
        return Answer(given.status_code, given.received, reply, time.perf_counter() - began)

    async def close(self) -> None:
        for transport in self._transports.values():
            await transport.aclose()

    def _way(self, base: Base) -> Transport:
        way = self._ways.get(base)
        if way is None:
            proxy = _proxy_for(base)
            way = self._transports.get(proxy)
            if way is None:
                through = _proxy(proxy)  # which may not be usable: before there is a session to close
                way = self._transports[proxy] = Transport(self._session(), connect_s=self._connect_s, proxy=through)
            self._ways[base] = way
        return way

    def _session(self) -> aiohttp.ClientSession:
        # no limit of its own: whoever asks has one, and those may be more after a reload
        connector = _Connector(limit=0, keepalive_timeout=60, ssl=self._tls)
        # a jar that keeps nothing: looking for cookies is a tenth of a call
        return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


def _proxy_for(base: Base) -> str | None:
    """What HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY say of this server; asked once, it costs 30 us."""
    proxies = urllib.request.getproxies()
    proxy = proxies.get(base.scheme) or proxies.get("all")
    if not proxy or any(urllib.request.proxy_bypass(name) for name in _names(base)):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"  # as curl and httpx take it


def _names(base: Base) -> tuple[str, str]:
    """With its port, also where the URL leaves it out; and an IPv6 address as people write it, without brackets."""
    host, _, port = base.authority.rpartition(":")
    if not host or port.endswith("]"):
        host, port = base.authority, str(_PORTS[base.scheme])
    return f"{host}:{port}", host.strip("[]")


def _proxy(url: str | None) -> httpx.Proxy | None:
    if url is None:
        return None
    scheme = url.partition("://")[0]
    if scheme not in _PORTS:
        raise NotConnectedError from ValueError(f"a {scheme} proxy cannot be used, only an http one")
    try:
        proxy = httpx.Proxy(url)
        if proxy.auth is None:
            return proxy
        # aiohttp makes it a Proxy-Authorization; what the transport makes of `auth` is deprecated there
        return httpx.Proxy(proxy.url, headers={"Authorization": aiohttp.encode_basic_auth(*proxy.auth)})
    except (ValueError, httpx.InvalidURL):
        raise NotConnectedError from ValueError("the proxy's address is not a URL")

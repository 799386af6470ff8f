"""What a dialect asks to an answer whose bytes come unpacked, over HTTP: the one place where feeds are asked.

Who is asked is not trusted: it may hang, drip, break off, send us elsewhere or send far too much, and what comes of
that is one plain sentence.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import cast

import httpx

from mirrord.sources.feed import mishaps
from mirrord.sources.feed.answers import Validators, age_of, document_age_of, plain_text, refusal, validators_of
from mirrord.sources.feed.asking import Access, Asking
from mirrord.sources.feed.budget import Budget, Spent
from mirrord.sources.feed.dialect import Ask, Head, Unreadable
from mirrord.sources.feed.mishaps import FAILURES, Unreachable
from mirrord.sources.feed.origins import Origin, origin_of, shown_url
from mirrord.sources.feed.proxies import Proxy, UnusableProxy, proxy_for
from mirrord.sources.feed.transport import Stream, Transport
from mirrord.sources.feed.unpacking import Unpacking

__all__ = ["UNPACKED_MOST", "Access", "Fetcher", "Got", "Patience", "Unreachable", "Validators", "shown_url"]

UNPACKED_MOST = 2 * 2**30
"""Bytes of one body that ends."""
_REDIRECTS_MOST = 5
_REDIRECTS = {301, 302, 303, 307, 308}
_REFUSAL_MOST = 4096
_REFUSAL = timedelta(seconds=2)
"""What is read of an answer that is not the feed, and for how long."""
_TURN = 2**20
"""Bytes unpacked before others have their turn: a bomb makes a gigabyte of a packet without waiting once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long a feed may take."""

    connect: timedelta = timedelta(seconds=10)
    """For name, TCP, proxy and TLS together."""
    idle: timedelta = timedelta(seconds=60)
    """Without a single byte, where the ask does not say otherwise."""
    whole: timedelta = timedelta(minutes=10)
    """Waited in all for an answer that ends; the time that its reader takes does not count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Got:
    """An answer that may be read, as long as its context lasts."""

    head: Head
    unchanged: bool
    """The document is still the one that the validators name; there is no body."""
    validators: Validators
    """To be given back with the next request for this document, once it has been read."""
    age: int | None
    """Seconds since a cache on the way had it from the origin; None: no cache says so."""
    document_age: timedelta | None
    """How old it was when it was answered, by the server's clock; None: unknown."""
    body: "_Body" = field(repr=False)

    def chunks(self) -> AsyncIterator[bytes]:
        """The body, unpacked, as it comes; to be read once. Raises Unreachable, Unreadable."""
        return self.body.chunks()

    def digest(self) -> str:
        """Names the unpacked body, once it has been read; of conditional asks alone."""
        return self.body.digest()


class Fetcher:
    """Kept-alive connections, several requests at once; to be closed in the loop that used it."""

    def __init__(self, access: Access, patience: Patience | None = None, *, unpacked: int = UNPACKED_MOST) -> None:
        """`unpacked`: bytes of a body that ends, at most."""
        self._access = access
        self._patience = patience or Patience()
        self._unpacked = unpacked
        self._kept: Transport | None = None
        self._ways: dict[Origin, Proxy | None] = {}

    @asynccontextmanager
    async def get(self, ask: Ask, validators: Validators | None = None) -> AsyncIterator[Got]:
        """Ask once, and follow where that leads. Raises Unreachable unless there is an answer that may be read."""
        asking = Asking(ask, validators, self._access)
        turn = _Turn(ask.idle or self._patience.idle, Budget(None if ask.waits else self._patience.whole))
        answer = await self._answer(asking, turn)
        try:
            unchanged = answer.status_code == 304 and asking.conditional
            if not unchanged and answer.status_code not in {200, 204}:
                raise await _refused(answer, asking, min(turn.idle, _REFUSAL))
            headers = dict(answer.headers.items())
            yield Got(
                head=Head(status=answer.status_code, headers=headers, url=str(asking.url)),
                unchanged=unchanged,
                validators=validators_of(headers, validators if unchanged else None),
                age=age_of(headers),
                document_age=document_age_of(headers),
                body=_Body(answer, turn, None if ask.waits else self._unpacked, hashed=ask.conditional),
            )
        finally:
            await answer.aclose()

    async def close(self) -> None:
        """It may be used again, over new connections."""
        kept, self._kept = self._kept, None
        if kept is not None:
            await kept.aclose()

    async def _answer(self, asking: Asking, turn: "_Turn") -> httpx.Response:
        """The first answer that leads to no other; to be closed."""
        for _ in range(1 + _REDIRECTS_MOST):
            answer = await self._once(asking, turn)
            if answer.status_code not in _REDIRECTS:
                return answer
            await answer.aclose()
            asking.redirect(answer.status_code, answer.headers.get("location"))
        raise Unreachable(f"the feed sends us on and on, more than {_REDIRECTS_MOST} times", status=answer.status_code)

    async def _once(self, asking: Asking, turn: "_Turn") -> httpx.Response:
        there, connect = origin_of(asking.url), self._patience.connect
        proxy = self._way(there)
        turn.server = f"{there} by way of the proxy {proxy}" if proxy else str(there)
        extensions = {"idle": turn.idle.total_seconds(), "proxy": proxy}
        self._kept = self._kept or Transport(connect=connect)
        try:
            request = httpx.Request("GET", asking.url, headers=asking.headers(), extensions=extensions)
            async with turn.budget.waiting(connect + turn.idle):
                return await self._kept.handle_async_request(request)
        except Spent as spent:
            raise mishaps.of_dripping(turn.server, spent.limit) from None
        except FAILURES as exc:
            # not `from exc`: its text may hold the URL's query
            raise mishaps.of_asking(exc, turn.server, connect=connect, idle=turn.idle) from None

    def _way(self, there: Origin) -> Proxy | None:
        if there not in self._ways:
            try:
                self._ways[there] = proxy_for(there)
            except UnusableProxy as exc:
                raise Unreachable(f"{there} cannot be asked: {exc}") from None
        return self._ways[there]


@dataclass(slots=True)
class _Turn:
    """How long the server that is being asked may take."""

    idle: timedelta
    budget: Budget
    server: str = ""
    """As sentences name it."""


class _Body:
    """What is still to come of an answer."""

    def __init__(self, answer: httpx.Response, turn: _Turn, most: int | None, *, hashed: bool) -> None:
        self._stream = cast(Stream, answer.stream)
        self._encoding = answer.headers.get("content-encoding", "")
        self._turn = turn
        self._most = most
        self._hash = hashlib.blake2b(digest_size=20) if hashed else None
        self._read = False

    async def chunks(self) -> AsyncIterator[bytes]:
        unpacking, unshared = Unpacking(self._encoding, self._most), 0
        while packed := await self._some():
            for piece in self._hashed(unpacking.receive(packed)):
                yield piece
                unshared += len(piece)
                if unshared >= _TURN:
                    unshared = 0
                    await asyncio.sleep(0)
        for piece in self._hashed(unpacking.end()):
            yield piece
        self._read = True

    def digest(self) -> str:
        if self._hash is None or not self._read:
            raise RuntimeError("only a conditional ask has a digest, and only once it has been read")
        return self._hash.hexdigest()

    def _hashed(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            if self._hash is not None:
                self._hash.update(piece)
            yield piece

    async def _some(self) -> bytes:
        try:
            async with self._turn.budget.waiting():
                return await self._stream.some()
        except Spent as spent:
            raise mishaps.of_dripping(self._turn.server, spent.limit) from None
        except FAILURES as exc:
            raise mishaps.of_reading(exc, self._turn.server, idle=self._turn.idle) from None


async def _refused(answer: httpx.Response, asking: Asking, most: timedelta) -> Unreachable:
    """What an answer says that is not the feed, as far as it comes within `most`."""
    body, stream = bytearray(), cast(Stream, answer.stream)
    with contextlib.suppress(Unreadable, *FAILURES):
        async with asyncio.timeout(most.total_seconds()):
            unpacking = Unpacking(answer.headers.get("content-encoding", ""), 2**20)
            while len(body) < _REFUSAL_MOST and (packed := await stream.some()):
                for piece in unpacking.receive(packed):
                    body += piece
    headers = dict(answer.headers.items())
    text = plain_text(headers.get("content-type", ""), bytes(body[:_REFUSAL_MOST]), asking.secrets())
    return refusal(shown_url(str(asking.url)), answer.status_code, headers, text, datetime.now(UTC))

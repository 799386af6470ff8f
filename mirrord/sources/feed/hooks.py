"""POST /hooks/<mirror> to what one mirror records: who may, how much, and an answer once it is safe.

Starlette is imported here: import this module only where something listens.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from re import Pattern

import structlog
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from mirrord.sources.feed.cloudevents import REMOVED_TYPES
from mirrord.sources.feed.deliveries import Deliveries, Take
from mirrord.sources.feed.dialect import Unreadable
from mirrord.sources.feed.hook_access import HookAccess, signature_fault, token_fault
from mirrord.sources.feed.webhook import Parsed, UnsupportedType, parse

log = structlog.get_logger()

_SAID_EVERY_S = 60.0
_METHODS = ("POST", "OPTIONS")
_PLAIN = ("", "identity")
_LINGERING_S = 1.0


class Hook:
    """One mirror's receiving end. Whoever owns it awaits `run` for as long as it is to record anything."""

    def __init__(
        self,
        mirror: str,
        take: Take,
        access: HookAccess,
        *,
        removed_types: Pattern[str] = REMOVED_TYPES,
        bucket: str | None = None,
        body_most: int = 4 * 2**20,
        body_within: timedelta = timedelta(seconds=30),
        waiting_most: int = 64,
        waiting_bytes_most: int = 32 * 2**20,
        patience: timedelta = timedelta(seconds=20),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`waiting_most` deliveries wait for `take`, and those that are not answered yet hold `waiting_bytes_most`."""
        self._mirror = mirror
        self._access = access
        self._removed_types = removed_types
        self._bucket = bucket
        self._body_most = body_most
        self._body_within = body_within
        self._waiting_most = waiting_most
        self._room = _Room(waiting_bytes_most)
        self._patience = patience
        self._deliveries = Deliveries(take)
        self._refusals = _Refusals(mirror, clock)

    def routes(self) -> list[Route]:
        return [Route(f"/hooks/{self._mirror}", self._answer, methods=_METHODS, name=f"hook {self._mirror}")]

    @property
    def waiting(self) -> int:
        """How many deliveries wait to be recorded."""
        return self._deliveries.waiting

    async def run(self) -> None:
        """Record what arrives until cancelled; from then on deliveries are refused with 503."""
        await self._deliveries.run()

    async def _answer(self, request: Request) -> Response:
        if request.method == "OPTIONS":
            return _greeting(request.headers)
        refusal = self._refusal_unread(request)
        if refusal is not None:
            return refusal
        with self._room.shared() as space:
            body = await self._body(request, space)
            if isinstance(body, Response):
                return body
            fault = signature_fault(self._access, request.headers, body)
            if fault is not None:
                return self._unauthorized(request, fault)
            return await self._record(request.headers, body)

    def _refusal_unread(self, request: Request) -> Response | None:
        """Why not even the body is read; None: it is."""
        fault = token_fault(self._access, request.headers)
        if fault is not None:
            return _Unread(self._unauthorized(request, fault))
        if request.headers.get("content-encoding", "").strip().lower() not in _PLAIN:
            return _Unread(_line(415, "send the body as it is, not encoded", **{"Accept-Encoding": "identity"}))
        length = request.headers.get("content-length", "")
        if length.isdigit() and int(length) > self._body_most:
            return self._too_large()
        if self._deliveries.waiting >= self._waiting_most:
            return _Unread(_too_many())
        return None

    async def _body(self, request: Request, space: "_Space") -> bytes | Response:
        """The whole body, or why it could not be had."""
        body = bytearray()
        try:
            async with asyncio.timeout(self._body_within.total_seconds()), aclosing(request.stream()) as chunks:
                async for chunk in chunks:
                    if len(body) + len(chunk) > self._body_most:
                        return self._too_large()
                    if not space.grow(len(chunk)):
                        return _Unread(_too_many())
                    body += chunk
        except TimeoutError:
            within = self._body_within.total_seconds()
            return _Unread(_line(408, f"the body was not here within {within:g} s"))
        except ClientDisconnect:
            return _line(400, "the body was cut off")  # nobody is there to read it
        return bytes(body)

    async def _record(self, headers: Headers, body: bytes) -> Response:
        kind = headers.get("content-type", "")
        try:
            parsed = parse(kind, headers, body, removed_types=self._removed_types, bucket=self._bucket)
        except Unreadable as exc:
            return _line(400, f"the body {exc}")
        except UnsupportedType as exc:
            return _line(415, str(exc))
        if parsed.mentions or parsed.bad:
            if self._deliveries.waiting >= self._waiting_most:
                return _too_many()
            if not await self._in_time(parsed):
                return _line(503, "it could not be recorded in time", **{"Retry-After": "5"})
        return JSONResponse({"recorded": len(parsed.mentions), "rejected": len(parsed.bad)})

    async def _in_time(self, parsed: Parsed) -> bool:
        try:
            async with asyncio.timeout(self._patience.total_seconds()):
                return await self._deliveries.put(parsed)
        except TimeoutError:
            return False

    def _too_large(self) -> Response:
        return _Unread(_line(413, f"at most {self._body_most} bytes are taken at once"))

    def _unauthorized(self, request: Request, fault: str) -> Response:
        self._refusals.say(request.client.host if request.client else "", fault)
        header = self._access.signature_header
        scheme = f'Bearer realm="{self._mirror}"' if self._access.token else f"HMAC-SHA256 header={header}"
        return _line(401, fault, **{"WWW-Authenticate": scheme})


class _Room:
    """Bytes that all deliveries together may hold."""

    def __init__(self, most: int) -> None:
        self.free = most

    @contextmanager
    def shared(self) -> Iterator["_Space"]:
        space = _Space(self)
        try:
            yield space
        finally:
            self.free += space.held


@dataclass(eq=False, slots=True)
class _Space:
    """One delivery's part of a room."""

    room: _Room
    held: int = 0

    def grow(self, more: int) -> bool:
        """Whether there was room for so many bytes more."""
        if more > self.room.free:
            return False
        self.room.free -= more
        self.held += more
        return True


class _Refusals:
    """Says who was refused and why, at most once a minute."""

    def __init__(self, mirror: str, clock: Callable[[], float]) -> None:
        self._mirror = mirror
        self._clock = clock
        self._said_at: float | None = None
        self._unsaid = 0

    def say(self, peer: str, reason: str) -> None:
        now = self._clock()
        if self._said_at is not None and now - self._said_at < _SAID_EVERY_S:
            self._unsaid += 1
            return
        log.warning("hook.refused", mirror=self._mirror, peer=peer, reason=reason, unsaid=self._unsaid)
        self._said_at, self._unsaid = now, 0


class _Unread(Response):
    """`answer` to a request whose body is not wanted, and the end of its connection.

    What is still sent is thrown away for a moment: a peer that is cut off while it sends may never read the answer.
    """

    def __init__(self, answer: Response) -> None:
        super().__init__(answer.body, answer.status_code, {**answer.headers, "Connection": "close"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - as ASGI has it
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGERING_S):
                while (await receive()).get("more_body", False):
                    pass
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _greeting(headers: Headers) -> Response:
    """The handshake of CloudEvents' web hooks (http-webhook.md, 4): whoever asks may send, as far as that goes."""
    answer = Response(headers={"Allow": ", ".join(_METHODS)})
    origin = headers.get("webhook-request-origin")
    if origin is not None:
        answer.headers["WebHook-Allowed-Origin"] = origin
        answer.headers["WebHook-Allowed-Rate"] = "*"
    return answer


def _too_many() -> Response:
    return _line(429, "too many deliveries wait to be recorded", **{"Retry-After": "1"})


def _line(status: int, sentence: str, **headers: str) -> Response:
    return PlainTextResponse(f"{sentence}\n", status, headers)

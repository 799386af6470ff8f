"""What the sandbox answers with: JSON, refusals, request ids, bytes from a file."""

import os
import socket
import struct
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from html import escape
from http import HTTPStatus
from typing import BinaryIO

import orjson
from aiohttp import web

_CHUNK_BYTES = 256 * 1024
_STANDARD = frozenset(status.value for status in HTTPStatus)

TEXTS = {
    400: "invalid argument",
    401: "bad token",
    403: "permission denied",
    404: "no such resource",
    406: "checksum mismatch",
    419: "account is frozen",
    429: "too many requests",
    478: "httpGet url failed: E502",
    503: "service unavailable",
    504: "gateway timeout",
    573: "over limit",
    599: "server operation failed",
    608: "file modified",
    612: "no such file or directory",
    614: "file exists",
    631: "no such bucket",
    640: "invalid marker",
}
"""What Kodo says with a status, as far as its texts were ever published."""


class Refused(Exception):
    """The request ends here, with this status and text; with `page` as HTML instead of the usual JSON."""

    def __init__(
        self,
        status: int,
        error: str | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        page: bytes | None = None,
        log: str | None = None,
    ) -> None:
        self.status = status
        self.error = error or TEXTS.get(status, f"sandbox says {status}")
        self.headers = headers or {}
        self.page = page
        self.log = log
        """What X-Log says; None: the usual."""
        super().__init__(f"{status} {self.error}")


def json_reply(content: object, status: int = 200) -> web.Response:
    return web.Response(
        body=orjson.dumps(content), status=status, reason=_reason(status), content_type="application/json"
    )


def empty_reply() -> web.Response:
    """Success with nothing to say, of type JSON nevertheless, as the documents have it."""
    return web.Response(body=b"", content_type="application/json")


def refusal(refused: Refused) -> web.Response:
    if refused.page is None:
        reply = json_reply({"error": refused.error}, refused.status)
    else:
        reply = web.Response(
            body=refused.page, status=refused.status, reason=_reason(refused.status), content_type="text/html"
        )
    reply.headers.update(refused.headers)
    return reply


def page(status: int, text: str) -> bytes:
    """What a proxy shows people in place of what they asked for."""
    title = f"{status} {escape(text)}"
    return f"<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\r\n".encode()


async def send_file(request: web.Request, file: BinaryIO, headers: Mapping[str, str]) -> web.StreamResponse:
    """Answer with the bytes of `file`, as many as there are now, or break the connection if they shrink."""
    with file:
        size = os.fstat(file.fileno()).st_size
        reply = web.StreamResponse(headers=headers)
        reply.content_length = size
        await reply.prepare(request)
        if request.method == "HEAD":
            return reply
        while size:
            chunk = file.read(min(size, _CHUNK_BYTES))
            if not chunk:
                drop(request)
                break
            size -= len(chunk)
            await reply.write(chunk)
    return reply


def drop(request: web.Request) -> None:
    """End the connection under the request without another byte."""
    if request.transport is not None:
        request.transport.abort()


async def cut_short(request: web.Request, reply: web.Response) -> web.StreamResponse:
    """Send the reply's head and half of its body, then reset the connection; an empty body counts as `{}`."""
    body = bytes(reply.body) if isinstance(reply.body, bytes) and reply.body else b"{}"
    begun = web.StreamResponse(status=reply.status, reason=reply.reason, headers=reply.headers)
    begun.content_length = len(body)
    await begun.prepare(request)
    await begun.write(body[: len(body) // 2])
    if request.transport is not None:
        connected = request.transport.get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # RST in place of FIN
    drop(request)
    return begun


class Reqids:
    """Request ids as Kodo makes them: process and nanoseconds, never the same twice while the clock goes on."""

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._process = os.getpid().to_bytes(4, "little")
        self._now_ns = now_ns
        self._last_ns = 0

    def next(self) -> str:
        now_ns = self._now_ns()
        went_back = self._last_ns - now_ns > 1_000_000_000  # the clock was put back: what was given counts no more
        self._last_ns = now_ns if went_back else max(self._last_ns + 1, now_ns)
        return urlsafe_b64encode(self._process + self._last_ns.to_bytes(8, "little")).decode()


def _reason(status: int) -> str | None:
    """A reason phrase where the standard library has none: 298, 478, 612 and their like."""
    return None if status in _STANDARD else TEXTS.get(status, "Kodo")

"""What the sandbox answers with: JSON, refusals, request ids, bytes from a file."""

import os
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping
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
    478: "httpGet url failed: E502",
    503: "service unavailable",
    504: "gateway timeout",
    573: "over limit",
    599: "server operation failed",
    608: "file modified",
    612: "no such file or directory",
    631: "no such bucket",
    640: "invalid marker",
}
"""What Kodo says with a status, as far as its texts were ever published."""


class Refused(Exception):
    """The request ends here, with this status and text."""

    def __init__(self, status: int, error: str | None = None) -> None:
        self.status = status
        self.error = error or TEXTS.get(status, f"sandbox says {status}")
        super().__init__(f"{status} {self.error}")


def json_reply(content: object, status: int = 200) -> web.Response:
    return web.Response(
        body=orjson.dumps(content), status=status, reason=_reason(status), content_type="application/json"
    )


def empty_reply() -> web.Response:
    """Success with nothing to say, of type JSON nevertheless, as the documents have it."""
    return web.Response(body=b"", content_type="application/json")


def refusal(refused: Refused) -> web.Response:
    return json_reply({"error": refused.error}, refused.status)


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


class Reqids:
    """Request ids as Kodo makes them: process and nanoseconds, never the same twice."""

    def __init__(self) -> None:
        self._process = os.getpid().to_bytes(4, "little")
        self._last_ns = 0

    def next(self) -> str:
        self._last_ns = max(self._last_ns + 1, time.time_ns())
        return urlsafe_b64encode(self._process + self._last_ns.to_bytes(8, "little")).decode()


def _reason(status: int) -> str | None:
    """A reason phrase where the standard library has none: 298, 478, 612 and their like."""
    return None if status in _STANDARD else TEXTS.get(status, "Kodo")

"""A sandbox, an origin that says what it is told, and a caller that signs what it sends."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from mirrord.kodo.auth import FORM, JSON, Credentials, qbox, qiniu
from mirrord.kodo.entry import encode_entry
from tests.servers import Sandbox, running_app, running_sandbox


@dataclass
class Page:
    """What the origin says to one path, and whether it waits before the end of it."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    claimed_size: int | None = None
    """A Content-Length that the body does not keep."""
    asked: threading.Event = field(default_factory=threading.Event)
    _open: threading.Event = field(default_factory=threading.Event)
    _waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._open.set()

    def hold(self) -> None:
        """From now on the second half of the body waits for `release`."""
        self._open.clear()

    def release(self) -> None:
        self._open.set()
        for loop, event in self._waiting:
            loop.call_soon_threadsafe(event.set)

    async def passed(self) -> None:
        event = asyncio.Event()
        self._waiting.append((asyncio.get_running_loop(), event))
        self.asked.set()
        if not self._open.is_set():
            await event.wait()


class ScriptedOrigin:
    """Pages by the path exactly as it was sent; `requests` keeps path and headers of each."""

    def __init__(self) -> None:
        self.url = ""
        self.pages: dict[str, Page] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []

    def page(self, path: str, body: bytes = b"", status: int = 200, **headers: str) -> Page:
        page = self.pages[path] = Page(body, status, {k.replace("_", "-"): v for k, v in headers.items()})
        return page

    def application(self) -> web.Application:
        app = web.Application()
        app.add_routes([web.get("/{rest:(?s:.*)}", self._serve)])
        return app

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        self.requests.append((request.raw_path, dict(request.headers)))
        page = self.pages.get(request.raw_path)
        if page is None:
            return web.Response(status=404)
        reply = web.StreamResponse(status=page.status, headers=page.headers)
        reply.content_length = len(page.body) if page.claimed_size is None else page.claimed_size
        await reply.prepare(request)
        half = len(page.body) // 2
        await reply.write(page.body[:half])
        await page.passed()
        await reply.write(page.body[half:])
        if page.claimed_size is not None and request.transport is not None:
            request.transport.close()
        return reply


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Caller:
    """Signs and sends one request per connection, every byte of the target as given."""

    port: int
    credentials: Credentials

    def ask(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        scheme: str = "QBox",
        authorization: str | None = None,
    ) -> Answer:
        sent = {"Content-Type": FORM} | (headers or {})
        if authorization is not None:
            sent["Authorization"] = authorization
        elif scheme == "QBox":
            sent["Authorization"] = qbox(self.credentials, target, body, sent["Content-Type"])
        elif scheme == "Qiniu":
            host = f"127.0.0.1:{self.port}"
            sent["Authorization"] = qiniu(self.credentials, method, target, host, sent, body)
        connection = HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(method, target, body, sent)
            reply = connection.getresponse()
            return Answer(reply.status, dict(reply.getheaders()), reply.read())
        finally:
            connection.close()

    def prefetch(self, key: str | None, bucket: str = "docs") -> Answer:
        return self.ask("POST", f"/prefetch/{encode_entry(bucket, key)}")

    def fetch_later(self, url: str, key: str | None = None, bucket: str = "docs", **more: Any) -> Answer:
        """An async fetch; `more`: other fields of its body."""
        fields = {"url": url, "bucket": bucket} | ({} if key is None else {"key": key}) | more
        return self.ask("POST", "/sisyphus/fetch", json.dumps(fields).encode(), {"Content-Type": JSON}, "Qiniu")

    def wait(self, id_: str) -> Answer:
        return self.ask("GET", f"/sisyphus/fetch?id={id_}", scheme="Qiniu")

    def stat(self, key: str, bucket: str = "docs") -> Answer:
        return self.ask("GET", f"/stat/{encode_entry(bucket, key)}")

    def delete(self, key: str, tail: str = "") -> Answer:
        return self.ask("POST", f"/delete/{encode_entry('docs', key)}{tail}")


def held(origin: ScriptedOrigin, path: str, body: bytes) -> Page:
    """A page whose second half waits for its release."""
    page = origin.page(path, body)
    page.hold()
    return page


def in_background(caller: Caller, key: str) -> threading.Thread:
    """A prefetch under way; that it gets no answer is no failure."""

    def prefetch() -> None:
        with suppress(ConnectionError):
            caller.prefetch(key)

    thread = threading.Thread(target=prefetch)
    thread.start()
    return thread


@pytest.fixture
def origin() -> Iterator[ScriptedOrigin]:
    scripted = ScriptedOrigin()
    with running_app(scripted.application) as url:
        scripted.url = url
        yield scripted
        for page in scripted.pages.values():
            page.release()


@pytest.fixture
def kodo(tmp_path: Path, origin: ScriptedOrigin) -> Iterator[Sandbox]:
    """Bucket `docs` mirrors the scripted origin, bucket `bare` mirrors nothing."""
    with running_sandbox(tmp_path / "kodo", {"docs": origin.url, "bare": None}) as sandbox:
        yield sandbox


@pytest.fixture
def caller(kodo: Sandbox) -> Caller:
    return Caller(kodo.port, kodo.credentials)

"""Real servers for tests, each in a thread of its own: start one, get its URL, leave the block, it is gone.

    with running_origin(www) as origin, running_sandbox(tmp_path / "kodo", {"docs": origin}) as kodo:
        kodo.fail(operation="prefetch", key="a/*", status=478, times=2)
        ...  # whatever is to be tested, against kodo.url with kodo.credentials
        assert kodo.read("docs", "a/b.txt") == (www / "a/b.txt").read_bytes()

A bad day of the whole account: `kodo.throttle(50)`, `kodo.freeze()`, `kodo.skew(1200)`. What goes on behind a
caller's back is waited for with `kodo.calls("async-pull", at_least=1)`.

They answer when the block begins and have closed their ports when it ends; nothing sleeps or polls.
`running_sandbox` may be entered again with the same `root` and port: the objects are still there.
"""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from aiohttp import web

from mirrord.kodo.auth import Credentials
from mirrord.sandbox.faults import Fault
from mirrord.sandbox.operations import PrefetchReply
from mirrord.sandbox.serve import Sandbox as _Settings
from mirrord.sandbox.serve import listening
from mirrord.sandbox.serve import running as _running
from mirrord.sandbox.serve import running_origin as _running_origin
from mirrord.sandbox.throttle import Throttle

CREDENTIALS = Credentials("sandbox-access-key", "sandbox-secret-key")
_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Sandbox:
    """A running sandbox, and its control endpoints as methods."""

    url: str
    root: Path
    credentials: Credentials

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 80

    def calls(self, operation: str | None = None, at_least: int = 0) -> list[dict[str, Any]]:
        """What was asked, oldest first: operation, bucket, key, status, error, reqid, started, ended, …

        Returns when `at_least` so many have ended. Operation async-pull: what came of each async-fetch.
        """
        query = {"at_least": str(at_least)} | ({} if operation is None else {"operation": operation})
        found: list[dict[str, Any]] = self._control("GET", f"calls?{urlencode(query)}")["calls"]
        return [call for call in found if operation in {None, call["operation"]}]

    def max_overlap(self, bucket: str) -> dict[str, int]:
        """For each key that was pulled: how many pulls of it ever ran at the same time."""
        found: dict[str, int] = self._control("GET", "calls")["max_overlap"].get(bucket, {})
        return found

    def forget_calls(self) -> None:
        self._control("DELETE", "calls")

    def fail(self, **fault: Any) -> None:
        """Add a rule, with the fields of mirrord.sandbox.faults.Fault: `fail(status=478, key="a/*", times=2)`."""
        self._control("POST", "faults", fault)

    def heal(self) -> None:
        """Drop all rules."""
        self._control("DELETE", "faults")

    def throttle(self, per_second: float, status: int = 573, retry_after: int | str | None = None, **more: Any) -> None:
        """Refuse what is more than that of the calls that pull; `more`: see mirrord.sandbox.throttle.Throttle."""
        asked = {"per_second": per_second, "status": status, "retry_after": retry_after}
        self._control("POST", "state", {"throttle": asked | more})

    def unthrottle(self) -> None:
        self._control("POST", "state", {"throttle": None})

    def freeze(self) -> None:
        """From now on every signed call is 419."""
        self._control("POST", "state", {"frozen": True})

    def thaw(self) -> None:
        self._control("POST", "state", {"frozen": False})

    def skew(self, seconds: float) -> None:
        """Put the server's clock that far ahead of the real one; 0: right again."""
        self._control("POST", "state", {"skew_s": seconds})

    def set_cdn(self, **rules: Any) -> None:
        """How the CDN answers, with the fields of mirrord.sandbox.cdn.CdnRules; those not given are as at first."""
        self._control("POST", "state", {"cdn": rules})

    def purged(self) -> list[list[str]]:
        """The URLs that the CDN was told of, a list for each request that it took."""
        found: list[list[str]] = self._control("GET", "cdn")["requests"]
        return found

    def change_secret(self, secret_key: str) -> None:
        """From now on the account's secret is another, and tokens of `credentials` are bad ones."""
        self._control("POST", "state", {"secret_key": secret_key})

    def state(self) -> dict[str, Any]:
        """throttle, frozen, skew_s, cdn."""
        return self._control("GET", "state")

    def read(self, bucket: str, key: str) -> bytes | None:
        """The stored bytes; None: no such object."""
        connection = HTTPConnection(_LOOPBACK, self.port)
        try:
            connection.request("GET", f"/{quote(bucket)}/{quote(key)}")
            reply = connection.getresponse()
            body = reply.read()
            return body if reply.status == 200 else None
        finally:
            connection.close()

    def _control(self, method: str, name: str, content: object = None) -> dict[str, Any]:
        connection = HTTPConnection(_LOOPBACK, self.port, timeout=60)
        try:
            connection.request(method, f"/_control/{name}", None if content is None else json.dumps(content))
            reply = connection.getresponse()
            found: dict[str, Any] = json.loads(reply.read())
            assert reply.status == 200, found
            return found
        finally:
            connection.close()


@contextmanager
def running_sandbox(
    root: Path,
    origins: Mapping[str, str | None],
    *,
    port: int = 0,
    credentials: Credentials = CREDENTIALS,
    faults: Sequence[Fault] = (),
    prefetch_reply: PrefetchReply = "empty",
    io_domains: Sequence[str] = (),
    ttl_s: float = 86400,
    other_region: bool = False,
    throttle: Throttle | None = None,
    frozen: bool = False,
    skew_s: float = 0.0,
    pass_through: bool = False,
    async_workers: int = 2,
) -> Iterator[Sandbox]:
    """A sandbox on loopback that keeps its objects in `root`. `origins`: bucket to mirror source, or None.

    The rest are the fields of mirrord.sandbox.serve.Sandbox.
    """
    settings = _Settings(
        root=root,
        origins=origins,
        credentials=credentials,
        faults=faults,
        prefetch_reply=prefetch_reply,
        seed=0,
        io_domains=io_domains,
        ttl_s=ttl_s,
        other_region=other_region,
        throttle=throttle,
        frozen=frozen,
        skew_s=skew_s,
        pass_through=pass_through,
        async_workers=async_workers,
    )
    with _in_thread(lambda: _running(settings, _LOOPBACK, port), "sandbox") as url:
        yield Sandbox(url, root, credentials)


@contextmanager
def running_origin(directory: Path, *, port: int = 0) -> Iterator[str]:
    """A static web server on loopback over `directory`; yields its URL, which ends without a slash."""
    with _in_thread(lambda: _running_origin(directory, _LOOPBACK, port), "origin") as url:
        yield url


@contextmanager
def running_app(build: Callable[[], web.Application], *, port: int = 0) -> Iterator[str]:
    """Any aiohttp application on loopback, for an origin that misbehaves; `build` runs in the thread."""
    with _in_thread(lambda: listening(build(), _LOOPBACK, port), "app") as url:
        yield url


@contextmanager
def _in_thread(server: Callable[[], AbstractAsyncContextManager[str]], name: str) -> Iterator[str]:
    """Hold `server` open in a thread with a loop of its own; what it raises on starting, this raises."""
    started = threading.Event()
    urls: list[str] = []
    raised: list[BaseException] = []
    stops: list[Callable[[], object]] = []

    async def hold() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        async with server() as url:
            stops.append(lambda: loop.call_soon_threadsafe(stop.set))
            urls.append(url)
            started.set()
            await stop.wait()

    def run() -> None:
        try:
            asyncio.run(hold())
        except BaseException as exc:  # noqa: BLE001 - to raise it where the test can see it
            raised.append(exc)
        finally:
            started.set()

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    started.wait()
    try:
        if urls:
            yield urls[0]
    finally:
        for stop in stops:
            stop()
        thread.join()
    if raised:
        raise raised[0]

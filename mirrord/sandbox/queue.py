"""Orders to pull later, worked off in the background: each is tried once, and nobody is told how it went."""

import asyncio
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, replace

import orjson

from mirrord.kodo.entry import decode_url
from mirrord.sandbox.calls import Call, Calls
from mirrord.sandbox.discovery import REGION
from mirrord.sandbox.faults import Fault, Faults
from mirrord.sandbox.given import Kinds, checked
from mirrord.sandbox.pull import Pulls, Wanted
from mirrord.sandbox.reply import Refused
from mirrord.sandbox.store import Store

_MOST_WAITING = 100_000
_TEXT = (str, type(None))
_KINDS: Kinds = {"url": (str,), "bucket": (str,), "key": _TEXT, "host": _TEXT, "md5": _TEXT, "etag": _TEXT,
                 "file_type": (int,), "ignore_same_key": (bool,)}  # fmt: skip
_NO_FAULT = Fault()


@dataclass(frozen=True, slots=True)
class Order:
    """One accepted async fetch."""

    wanted: Wanted
    ignore_same_key: bool
    """Give up when there is an object of that name, whatever it holds."""


def order_from(body: bytes) -> Order:
    """The order in the body of `/sisyphus/fetch`; raises ValueError.

    What Kodo has beyond `_KINDS`, callbacks for one, is nothing to the sandbox, nor is the file type.
    """
    said = orjson.loads(body)
    known = {name: said[name] for name in _KINDS if name in said} if isinstance(said, dict) else said
    given = checked(known, _KINDS, "fetch")
    urls = [url for url in given.get("url", "").split(";") if url]
    if not urls or not given.get("bucket"):
        raise ValueError("a fetch needs url and bucket")
    wanted = Wanted(
        bucket=given["bucket"],
        key=given.get("key") or None,
        urls=urls,
        host=given.get("host") or None,
        md5=(given.get("md5") or "").lower() or None,
        etag=given.get("etag") or None,
    )
    return Order(wanted, given.get("ignore_same_key", False))


class Queue:
    """Orders, oldest first, and those who work them off; what is not done when they stop is lost."""

    def __init__(self, *, pulls: Pulls, store: Store, faults: Faults, calls: Calls, workers: int) -> None:
        self._pulls = pulls
        self._store = store
        self._faults = faults
        self._calls = calls
        self._workers = workers
        self._waiting: asyncio.Queue[tuple[int, Order, str]] = asyncio.Queue(_MOST_WAITING)
        self._unfinished: set[int] = set()
        self._first = self._next = time.time_ns() // 1000  # an id of the process before this one is unknown

    def put(self, order: Order, reqid: str) -> str:
        """Accept `order`, asked for by the call `reqid`, and return its id; Refused 503 when there are too many."""
        try:
            self._waiting.put_nowait((self._next, order, reqid))
        except asyncio.QueueFull as exc:
            raise Refused(503) from exc
        self._unfinished.add(self._next)
        self._next += 1
        return _locator(self._next - 1)

    def wait(self, id_: str) -> int:
        """How many come before it; 0: it is being worked on, -1: it was tried. Refused 612: there is no such."""
        number = _number(id_)
        if number is None or not self._first <= number < self._next:
            raise Refused(612)
        if number not in self._unfinished:
            return -1
        before = sum(other < number for other in self._unfinished)
        return max(0, before - self._workers + 1)  # taken in order: with fewer before it, somebody is at it

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            workers = [group.create_task(self._work(), name=f"async-pull-{n}") for n in range(self._workers)]
            try:
                yield
            finally:
                for worker in workers:
                    worker.cancel()

    async def _work(self) -> None:
        while True:
            number, order, reqid = await self._waiting.get()
            call = await self._tried(order, reqid)
            self._unfinished.remove(number)
            self._calls.add(call)

    async def _tried(self, order: Order, reqid: str) -> Call:
        wanted, started = order.wanted, time.time()
        key, status, error = wanted.key, 200, None
        with self._calls.pulling(wanted.bucket, wanted.key) if wanted.key is not None else nullcontext():
            try:
                key = await self._pull(order)
            except Refused as refused:
                status, error = refused.status, refused.error
        return Call(
            operation="async-pull",
            bucket=wanted.bucket,
            key=key,
            status=status,
            error=error,
            reqid=reqid,
            method="GET",
            target=";".join(wanted.urls),
            started=started,
            ended=time.time(),
        )

    async def _pull(self, order: Order) -> str:
        """The key that was stored; Refused when none was, or none but the fault says otherwise."""
        wanted = order.wanted
        fault = self._faults.draw("async-pull", wanted.key) or _NO_FAULT
        await asyncio.sleep(fault.delay_s)
        failure = Refused(500 if fault.status is None else fault.status, fault.error)
        if fault.fails and not fault.after:
            raise failure
        if order.ignore_same_key and wanted.key is not None and self._store.find(wanted.bucket, wanted.key):
            raise Refused(614)
        stored = await self._pulls.pull(replace(wanted, stale=fault.stale, hold_s=fault.hold_s))
        if fault.fails:
            raise failure
        return stored.key


def _locator(number: int) -> str:
    """An id as Kodo's are: where in which queue, in JSON, in base64 that ends in "="."""
    place = orjson.dumps({"zone": REGION, "queue": "SISYPHUS-JOBS-V3", "part_id": 0, "offset": number})
    return urlsafe_b64encode(place + b" " * (len(place) % 3 == 0)).decode()


def _number(id_: str) -> int | None:
    try:
        place = orjson.loads(decode_url(id_))
    except ValueError:
        return None
    number = place.get("offset") if isinstance(place, dict) else None
    return number if isinstance(number, int) else None

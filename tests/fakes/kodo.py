"""A Kodo for the dispatcher and the verifier: answers what it is told, and remembers who was in flight with whom."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from urllib.parse import unquote

import orjson

from mirrord.kodo.entry import decode_entry
from mirrord.kodo.protocol import Request
from mirrord.model.attempt import Content, Reply

OK = Reply(status=200, reqid="fake", xlog="IO:1")


def failing(status: int, error: str = "it failed") -> Reply:
    return Reply(status=status, reqid="fake", xlog="IO:1", error=error, content=Content.JSON)


def accepted(task: str = "task 1=") -> Reply:
    """What an asynchronous fetch is answered with."""
    return replace(OK, task=task, waiting=3, content=Content.JSON)


class FakeKodo:
    """Implements the Kodo of mirrord.pulls and of mirrord.verifier.

    `replies` are given one after the other, then 200 for ever. It never pulls: what it holds, a test says.
    """

    def __init__(self, replies: Mapping[str, list[Reply]] | None = None) -> None:
        self.asked: list[str] = []
        """The keys, in the order of their calls."""
        self.requests: list[Request] = []
        self.batches: list[list[str]] = []
        """The keys of every batch of stats, in the order of the calls."""
        self.holds: dict[str, Reply] = {}
        """What a stat says of a key; 612 of every other."""
        self.stat_failures: list[Reply] = []
        """Given to whole batches, one after the other, before any is answered."""
        self.looks: list[str] = []
        """The keys of every single stat."""
        self.reads: list[timedelta | None] = []
        """How long each call's answer might take."""
        self.look_reads: list[timedelta | None] = []
        """The same for what only looks: stats, and the states of asynchronous fetches."""
        self.waiting = 3
        """How many asynchronous fetches are before any other; negative: it has been tried."""
        self.states_asked: list[str] = []
        """The asynchronous fetches whose state was asked for."""
        self.on_call: Callable[[Request], object] = lambda _: None
        """Told of every call but batches, as it comes."""
        self.times: list[float] = []
        self.in_flight: Counter[str] = Counter()
        self.most_in_flight = 0
        self.most_of_one_key = 0
        self._replies = {key: list(each) for key, each in (replies or {}).items()}
        self._open = asyncio.Event()
        self._open.set()
        self._batches_open = asyncio.Event()
        self._batches_open.set()
        self._began = asyncio.Condition()

    def shut_batches(self) -> None:
        """From now on batches wait for `open`."""
        self._batches_open.clear()

    def shut(self) -> None:
        """From now on calls wait for `open`."""
        self._open.clear()

    def open(self) -> None:
        self._open.set()
        self._batches_open.set()

    async def until_asked(self, times: int) -> None:
        async with asyncio.timeout(20), self._began:
            await self._began.wait_for(lambda: len(self.asked) >= times)

    async def until_batched(self, times: int) -> None:
        async with asyncio.timeout(20), self._began:
            await self._began.wait_for(lambda: len(self.batches) >= times)

    async def stat_all(self, bucket: str, keys: Sequence[str]) -> tuple[Reply, list[Reply]]:
        async with self._began:
            self.batches.append(list(keys))
            self._began.notify_all()
        await self._open.wait()
        await self._batches_open.wait()
        if self.stat_failures:
            return self.stat_failures.pop(0), []
        return OK, [self.holds.get(key, failing(612, "no such file or directory")) for key in keys]

    async def until_looked(self, times: int) -> None:
        async with asyncio.timeout(20), self._began:
            await self._began.wait_for(lambda: len(self.looks) >= times)

    async def ask(self, bucket: str, request: Request, *, read: timedelta | None = None) -> Reply:
        self.on_call(request)
        if request.method == "GET":
            self.look_reads.append(read)
            return self._state(request) if "?id=" in request.target else await self._stat(bucket, request)
        key = _key_of(bucket, request)
        self.in_flight[key] += 1
        try:
            async with self._began:
                self.asked.append(key)
                self.requests.append(request)
                self.times.append(asyncio.get_running_loop().time())
                self.most_in_flight = max(self.most_in_flight, self.in_flight.total())
                self.most_of_one_key = max(self.most_of_one_key, self.in_flight[key])
                self._began.notify_all()
            self.reads.append(read)
            await self._open.wait()
            return self.answer(key, request)
        finally:
            self.in_flight[key] -= 1

    def answer(self, key: str, request: Request) -> Reply:
        """What a call that changes something is answered, once it may be."""
        replies = self._replies.get(key)
        if replies:
            return replies.pop(0)
        return accepted(f"task {len(self.asked)}=") if _is_queued(request) else OK

    async def _stat(self, bucket: str, request: Request) -> Reply:
        of, key = decode_entry(request.target.rpartition("/")[2])
        assert of == bucket
        async with self._began:
            self.looks.append(key or "")
            self._began.notify_all()
        return self.holds.get(key or "", failing(612, "no such file or directory"))

    def _state(self, request: Request) -> Reply:
        task = unquote(request.target.partition("?id=")[2])
        self.states_asked.append(task)
        return replace(OK, reqid="state", task=task, waiting=self.waiting)


def _is_queued(request: Request) -> bool:
    return request.target == "/sisyphus/fetch"


def _key_of(bucket: str, request: Request) -> str:
    """What a call is for, and only in this bucket."""
    if _is_queued(request):
        said = orjson.loads(request.body)
        of, key = said["bucket"], said["key"]
    else:
        of, key = decode_entry(request.target.partition("/cond/")[0].rpartition("/")[2])
    assert of == bucket
    return key or ""

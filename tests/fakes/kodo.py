"""A Kodo for the dispatcher and the verifier: answers what it is told, and remembers who was in flight with whom."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence

from mirrord.kodo.entry import decode_entry
from mirrord.kodo.protocol import Request
from mirrord.model.attempt import Reply

OK = Reply(status=200, reqid="fake", xlog="IO:1")


def failing(status: int, error: str = "it failed") -> Reply:
    return Reply(status=status, reqid="fake", xlog="IO:1", error=error)


class FakeKodo:
    """Implements the Kodo of mirrord.dispatcher and of mirrord.verifier.

    `replies` are given one after the other, then 200 for ever.
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
        self.times: list[float] = []
        self.in_flight: Counter[str] = Counter()
        self.most_in_flight = 0
        self.most_of_one_key = 0
        self._replies = {key: list(each) for key, each in (replies or {}).items()}
        self._open = asyncio.Event()
        self._open.set()
        self._began = asyncio.Condition()

    def shut(self) -> None:
        """From now on calls wait for `open`."""
        self._open.clear()

    def open(self) -> None:
        self._open.set()

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
        if self.stat_failures:
            return self.stat_failures.pop(0), []
        return OK, [self.holds.get(key, failing(612, "no such file or directory")) for key in keys]

    async def ask(self, bucket: str, request: Request) -> Reply:
        of, named = decode_entry(request.target.partition("/cond/")[0].rpartition("/")[2])
        key = named or ""
        assert of == bucket
        self.in_flight[key] += 1
        try:
            async with self._began:
                self.asked.append(key)
                self.requests.append(request)
                self.times.append(asyncio.get_running_loop().time())
                self.most_in_flight = max(self.most_in_flight, self.in_flight.total())
                self.most_of_one_key = max(self.most_of_one_key, self.in_flight[key])
                self._began.notify_all()
            await self._open.wait()
            replies = self._replies.get(key)
            return replies.pop(0) if replies else OK
        finally:
            self.in_flight[key] -= 1

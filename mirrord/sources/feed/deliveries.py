"""Deliveries as they arrive to one record at a time; each is answered for once it is durable."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from mirrord.sources.feed.webhook import Parsed

Take = Callable[[Parsed], Awaitable[None]]
"""Makes durable what it is given, and returns then. It raises nothing but CancelledError: what it cannot record it
goes on trying to, and what means that nothing can go on ends the process."""


@dataclass(eq=False, slots=True)
class _Delivery:
    parsed: Parsed
    recorded: asyncio.Future[bool] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Deliveries:
    """Hands to `take` what arrives, one call at a time: what came in the meantime goes into the next one together."""

    def __init__(self, take: Take) -> None:
        self._take = take
        self._queue: list[_Delivery] = []
        self._arrived = asyncio.Event()
        self._closed = False
        self.waiting = 0
        """How many wait, those included that are being recorded."""

    async def put(self, parsed: Parsed) -> bool:
        """True once it is recorded; False: nobody records any more. Who does not wait for it takes it back."""
        if self._closed:
            return False
        delivery = _Delivery(parsed)
        self._queue.append(delivery)
        self._arrived.set()
        self.waiting += 1
        try:
            return await delivery.recorded
        finally:
            self.waiting -= 1

    async def run(self) -> None:
        """Record until cancelled, in the order of arrival."""
        self._closed = False
        batch: list[_Delivery] = []
        try:
            while True:
                await self._arrived.wait()
                self._arrived.clear()
                batch = [each for each in self._queue if not each.recorded.done()]
                self._queue.clear()
                if batch:
                    await self._take(_sum_of([each.parsed for each in batch]))
                _settle(batch, recorded=True)
        finally:
            self._closed = True
            _settle([*batch, *self._queue], recorded=False)
            self._queue.clear()


def _settle(deliveries: Sequence[_Delivery], *, recorded: bool) -> None:
    for each in deliveries:
        if not each.recorded.done():  # its sender may have been sent away
            each.recorded.set_result(recorded)


def _sum_of(parsed: Sequence[Parsed]) -> Parsed:
    if len(parsed) == 1:
        return parsed[0]
    return Parsed(
        mentions=[mention for each in parsed for mention in each.mentions],
        bad=[rejection for each in parsed for rejection in each.bad],
    )

"""Keys that a whole reading named, so that those which it did not name are known to be gone."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import islice

from mirrord.model.change import Change
from mirrord.sources.contract import Receiver
from mirrord.sources.feed.seen import Seen

BATCH_MOST = 1000


class Counting:
    """One count. `thread` does what blocks."""

    def __init__(self, thread: ThreadPoolExecutor) -> None:
        self._thread = thread
        self._seen = Seen()

    def close(self) -> None:
        self._seen.close()

    async def begin(self, receiver: Receiver) -> bool:
        """Whether there is any key that might be gone."""

        def has_any() -> bool:
            return any(version is not None for _, version in receiver.known(""))

        return await asyncio.get_running_loop().run_in_executor(self._thread, has_any)

    async def add(self, changes: Sequence[Change]) -> None:
        """What was named; a removal is named as gone."""
        named = [change.key for change in changes if change.version is not None]
        await asyncio.get_running_loop().run_in_executor(self._thread, self._seen.add, named)

    async def take_missing(
        self, receiver: Receiver, covers: Callable[[str], bool], now: datetime, *, as_of: datetime | None = None
    ) -> tuple[str | None, int]:
        """Record as gone what was not named, or why that is not believed; how many were.

        `covers`: whether a key would be named at all. `as_of`: when what was read was made; what is newer is not gone.
        """
        loop, removed = asyncio.get_running_loop(), 0
        believed = bool(self._seen)
        missing = filter(covers, self._seen.missing(receiver.known("")))
        while keys := await loop.run_in_executor(self._thread, lambda: list(islice(missing, BATCH_MOST))):
            if not believed:
                return "names no key at all, and had some; none of them is taken for removed", 0
            gone = [Change(key=key, version=None, seen_at=now, as_of=as_of) for key in keys]
            removed += (await receiver.take(gone)).removed
        return None, removed

"""Coalescing: many hints about one path become one look at it, once it has been quiet."""

import heapq
from datetime import datetime, timedelta


class Coalescing:
    """Paths that were touched a moment ago, each until it has been quiet for `settle`.

    A path that never gets quiet is let go `limit` after its first hint: a log file that is written
    all day is still refreshed now and then.
    """

    def __init__(self, settle: timedelta, limit: timedelta) -> None:
        self._settle = settle
        self._limit = max(limit, settle)
        self._ready_at: dict[str, datetime] = {}
        self._first_at: dict[str, datetime] = {}
        # one entry a path, never later than its `_ready_at`: put back when popped too early
        self._queue: list[tuple[datetime, str]] = []

    def __len__(self) -> int:
        return len(self._ready_at)

    def note(self, path: str, now: datetime) -> None:
        """Something happened to `path`."""
        first = self._first_at.get(path)
        if first is None:
            self._first_at[path] = now
            self._ready_at[path] = now + self._settle
            heapq.heappush(self._queue, (now + self._settle, path))
        else:
            self._ready_at[path] = min(now + self._settle, first + self._limit)

    def next_at(self) -> datetime | None:
        """When `due` is worth asking again; None while nothing is waiting."""
        return self._queue[0][0] if self._queue else None

    def due(self, now: datetime, most: int) -> dict[str, datetime]:
        """Take out at most `most` paths that are quiet by `now`, each with the time of its first hint."""
        quiet: dict[str, datetime] = {}
        while self._queue and self._queue[0][0] <= now and len(quiet) < most:
            _, path = heapq.heappop(self._queue)
            ready_at = self._ready_at[path]
            if ready_at > now:
                heapq.heappush(self._queue, (ready_at, path))
                continue
            del self._ready_at[path]
            quiet[path] = self._first_at.pop(path)
        return quiet

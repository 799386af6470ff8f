"""Coalescing: many hints about one path become one look at it, once it is whole or has been quiet."""

import heapq
from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(slots=True)
class _Waiting:
    first_at: datetime
    ready_at: datetime
    queued_at: datetime
    """Of its entry in the queue, never later than `ready_at`; another entry of the path is an old one."""
    being_written: bool


class Coalescing:
    """Paths that were touched a moment ago, each until it has been quiet for `settle` and nobody writes it.

    A path that never gets quiet, or is never closed, is let go `limit` after its first hint: a log file
    that is written all day is still refreshed now and then.
    """

    def __init__(self, settle: timedelta, limit: timedelta) -> None:
        self._settle = settle
        self._limit = max(limit, settle)
        self._waiting: dict[str, _Waiting] = {}
        self._queue: list[tuple[datetime, str]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, path: object) -> bool:
        return path in self._waiting

    def note(self, path: str, now: datetime, *, being_written: bool | None = None) -> None:
        """Something happened to `path`.

        `being_written`: whether somebody has it open to write; None when this says nothing of that, and what
        was said before still holds. Once the path is let go, nothing is known of it any more.
        """
        settled_at = now + self._settle
        waiting = self._waiting.get(path)
        if waiting is None:
            # queued for the settle time even while it is written: nearly every writer has closed by then
            waiting = self._waiting[path] = _Waiting(now, settled_at, settled_at, being_written=False)
            heapq.heappush(self._queue, (settled_at, path))
        if being_written is not None:
            waiting.being_written = being_written
        limit_at = waiting.first_at + self._limit
        waiting.ready_at = limit_at if waiting.being_written else min(settled_at, limit_at)
        if waiting.ready_at < waiting.queued_at:  # put back for the limit, and closed since
            self._enqueue(path, waiting)

    def next_at(self) -> datetime | None:
        """When `due` is worth asking again; None while nothing is waiting."""
        while self._queue and self._is_old(*self._queue[0]):
            heapq.heappop(self._queue)
        return self._queue[0][0] if self._queue else None

    def due(self, now: datetime, most: int) -> dict[str, datetime]:
        """Take out at most `most` paths that are ready by `now`, each with the time of its first hint."""
        ready: dict[str, datetime] = {}
        while self._queue and self._queue[0][0] <= now and len(ready) < most:
            at, path = heapq.heappop(self._queue)
            if self._is_old(at, path):
                continue
            waiting = self._waiting[path]
            if waiting.ready_at > now:
                self._enqueue(path, waiting)
                continue
            del self._waiting[path]
            ready[path] = waiting.first_at
        return ready

    def _enqueue(self, path: str, waiting: _Waiting) -> None:
        waiting.queued_at = waiting.ready_at
        heapq.heappush(self._queue, (waiting.ready_at, path))

    def _is_old(self, at: datetime, path: str) -> bool:
        waiting = self._waiting.get(path)
        return waiting is None or waiting.queued_at != at

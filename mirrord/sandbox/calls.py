"""What was asked of the sandbox and how it ended, for tests to read."""

import asyncio
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request, answered, or one pull in the background, done. Times are seconds since 1970."""

    operation: str
    """Empty: a path that Kodo does not know. async-pull: no request, but what came of an async-fetch; its
    target is what was pulled, its reqid that of the request.
    """
    bucket: str | None
    key: str | None
    status: int | None
    """None: the connection was dropped or cut instead."""
    error: str | None
    reqid: str
    method: str
    target: str
    started: float
    ended: float


class Calls:
    """The last calls, as many as `limit`, and for each key how many of its pulls ever ran at once."""

    def __init__(self, limit: int = 100_000, on_call: Callable[[Call], None] | None = None) -> None:
        """`on_call` hears of every call as it ends."""
        self._calls: deque[Call] = deque(maxlen=limit)
        self._on_call = on_call
        self._ended: Counter[str] = Counter()
        self._news = asyncio.Event()
        self._seen = 0
        self._running: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._highest: defaultdict[str, dict[str, int]] = defaultdict(dict)

    def add(self, call: Call) -> None:
        self._calls.append(call)
        self._seen += 1
        self._ended[call.operation] += 1
        self._news.set()
        self._news = asyncio.Event()
        if self._on_call is not None:
            self._on_call(call)

    async def reached(self, operation: str | None, count: int) -> None:
        """Wait until so many calls of `operation`, or of any, have ended since the last `clear`."""
        while (self._ended.total() if operation is None else self._ended[operation]) < count:
            await self._news.wait()

    def clear(self) -> None:
        self._calls.clear()
        self._highest.clear()
        self._ended.clear()
        self._seen = 0

    @contextmanager
    def pulling(self, bucket: str, key: str) -> Iterator[None]:
        """Count a pull of the key as running."""
        place = (bucket, key)
        self._running[place] += 1
        self._highest[bucket][key] = max(self._running[place], self._highest[bucket].get(key, 0))
        try:
            yield
        finally:
            self._running[place] -= 1
            if not self._running[place]:
                del self._running[place]

    def report(self) -> dict[str, object]:
        """All of it as one JSON object; `seen` counts the forgotten calls too."""
        return {
            "seen": self._seen,
            "calls": [asdict(call) for call in self._calls],
            "max_overlap": {bucket: dict(keys) for bucket, keys in self._highest.items()},
        }

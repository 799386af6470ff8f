"""What was asked of the sandbox and how it ended, for tests to read."""

from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request, answered. Times are seconds since 1970."""

    operation: str
    """Empty: a path that Kodo does not know."""
    bucket: str | None
    key: str | None
    status: int | None
    """None: the connection was dropped instead."""
    error: str | None
    reqid: str
    method: str
    target: str
    started: float
    ended: float


class Calls:
    """The last calls, as many as `limit`, and for each key how many of its pulls ever ran at once."""

    def __init__(self, limit: int = 100_000) -> None:
        self._calls: deque[Call] = deque(maxlen=limit)
        self._seen = 0
        self._running: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._highest: defaultdict[str, dict[str, int]] = defaultdict(dict)

    def add(self, call: Call) -> None:
        self._calls.append(call)
        self._seen += 1

    def clear(self) -> None:
        self._calls.clear()
        self._highest.clear()
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

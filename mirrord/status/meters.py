"""Log lines and commits in, counts of them out, for as long as the process lives."""

import re
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from threading import RLock
from typing import Any

from mirrord.model.attempt import Outcome

ATTEMPT_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
LAG_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 10800.0, 21600.0)
COMMIT_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
EVENTS_MOST = 200
"""Names of events that are counted: our own are half as many."""

_OURS = re.compile(r"[a-z_]+\.[a-z_]+")
_ASSUMED = (("verification.failed", "warning"), ("verification.failed", "error"))
"""Counted from 0, so that the first one, too, is an increase to whoever watches."""

_ARRIVED = (Outcome.REFRESHED.value, Outcome.REMOVED.value)

Labels = tuple[str, ...]


@dataclass(slots=True)
class Spread:
    """How values are spread: of one histogram, what one set of labels has."""

    bounds: tuple[float, ...]
    counts: list[int]
    """Values up to each bound and above the one before; at last those above all of them."""
    sum: float = 0.0

    @classmethod
    def over(cls, bounds: tuple[float, ...]) -> "Spread":
        return cls(bounds, [0] * (len(bounds) + 1))

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def copy(self) -> "Spread":
        return Spread(self.bounds, self.counts.copy(), self.sum)


@dataclass(frozen=True, slots=True, kw_only=True)
class LastScan:
    """What a mirror's last look at everything found."""

    ended_at: datetime
    files: int
    duration_s: float


@dataclass(slots=True)
class Counts:
    """Everything that was counted; labels are in the order that the names say."""

    attempts: dict[Labels, int] = field(default_factory=dict)
    """By mirror, operation, status, outcome."""
    durations: dict[Labels, Spread] = field(default_factory=dict)
    """By mirror, operation."""
    lags: dict[Labels, Spread] = field(default_factory=dict)
    """By mirror."""
    scans: dict[Labels, int] = field(default_factory=dict)
    """By mirror."""
    differences: dict[Labels, int] = field(default_factory=dict)
    """By mirror, and whether new, changed or removed."""
    last_scans: dict[str, LastScan] = field(default_factory=dict)
    """By mirror."""
    events: dict[Labels, int] = field(default_factory=dict)
    """By event, level."""
    lines_lost: int = 0
    commits: Spread = field(default_factory=lambda: Spread.over(COMMIT_S))

    def copy(self) -> "Counts":
        return Counts(
            attempts=self.attempts.copy(),
            durations={labels: spread.copy() for labels, spread in self.durations.items()},
            lags={labels: spread.copy() for labels, spread in self.lags.items()},
            scans=self.scans.copy(),
            differences=self.differences.copy(),
            last_scans=self.last_scans.copy(),
            events=self.events.copy(),
            lines_lost=self.lines_lost,
            commits=self.commits.copy(),
        )


class Meters:
    """Counts what it hears, on whatever thread."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._counts = Counts(events=dict.fromkeys(_ASSUMED, 0))
        self._names = {name for name, _ in _ASSUMED}
        self._lock = RLock()  # a line may be written while another is counted, by the garbage collector for one

    def counted(self) -> Counts:
        """As it is now; nobody changes it any more."""
        with self._lock:
            return self._counts.copy()

    def committed(self, seconds: float) -> None:
        """The journal has made a transaction durable."""
        with self._lock:
            self._counts.commits.add(seconds)

    def hear(self, level: str, fields: Mapping[str, Any]) -> None:
        """One line of the log, its fields as they were given to structlog."""
        event = fields.get("event")
        with self._lock:
            if not isinstance(event, str) or not self._is_counted(event, level):
                return
            events, name = self._counts.events, (event, level)
            events[name] = events.get(name, 0) + 1
            match event:
                case "refresh.attempted":
                    self._hear_attempt(fields)
                case "scan.finished":
                    self._hear_scan(fields, fields.get("files"))
                case "snapshot.compared":
                    self._hear_scan(fields, fields.get("entries"))
                case "lines.lost":
                    self._counts.lines_lost += _number(fields.get("lines"))

    def _is_counted(self, event: str, level: str) -> bool:
        if level == "debug":
            return False
        if event in self._names:
            return True
        if len(self._names) >= EVENTS_MOST or not _OURS.fullmatch(event):
            return False
        self._names.add(event)
        return True

    def _hear_attempt(self, fields: Mapping[str, Any]) -> None:
        mirror, operation, outcome = fields["mirror"], fields["operation"], fields["outcome"]
        status, counts = fields["status"], self._counts
        name = (mirror, operation, "none" if status is None else str(status), outcome)
        counts.attempts[name] = counts.attempts.get(name, 0) + 1
        duration = counts.durations.get(name[:2])
        if duration is None:
            duration = counts.durations[name[:2]] = Spread.over(ATTEMPT_S)
        duration.add(fields["duration_s"])
        if fields["next"] == "done" and outcome in _ARRIVED:
            lag = counts.lags.get((mirror,))
            if lag is None:
                lag = counts.lags[(mirror,)] = Spread.over(LAG_S)
            lag.add(fields["lag_s"])

    def _hear_scan(self, fields: Mapping[str, Any], files: object) -> None:
        mirror, counts = fields["mirror"], self._counts
        counts.scans[(mirror,)] = counts.scans.get((mirror,), 0) + 1
        for kind in ("new", "changed", "removed"):
            name = (mirror, kind)
            counts.differences[name] = counts.differences.get(name, 0) + _number(fields.get(kind))
        counts.last_scans[mirror] = LastScan(
            ended_at=self._now(), files=_number(files), duration_s=fields["duration_s"]
        )


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0

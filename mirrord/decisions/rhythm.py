"""When a feed brought something to when it is silent: later than its own habit lets one expect the next."""

from collections import deque
from datetime import datetime, timedelta
from statistics import median

INTERVALS_KNOWN = 32
"""The last ones that count."""
INTERVALS_NEEDED = 5
"""Before so many are known, nobody can say what is usual."""
TOGETHER = timedelta(seconds=1)
"""What comes so soon after the first of a read is of the same read, however many parts that had."""
TIMES = 20
SOONEST, LATEST = timedelta(minutes=10), timedelta(days=7)


class Rhythm:
    """One feed's. All datetimes are aware, UTC, by one clock."""

    __slots__ = ("_began_at", "_intervals", "_last")

    def __init__(self) -> None:
        self._intervals: deque[float] = deque(maxlen=INTERVALS_KNOWN)
        self._began_at: datetime | None = None
        """When the last read began to bring something."""
        self._last: datetime | None = None

    @property
    def last(self) -> datetime | None:
        """When it last brought something; None: never yet."""
        return self._last

    @property
    def usual_s(self) -> float | None:
        """The median of the last intervals, in seconds; None while too few are known."""
        return median(self._intervals) if len(self._intervals) >= INTERVALS_NEEDED else None

    def note(self, at: datetime) -> None:
        """It brought something."""
        self._last = at
        if self._began_at is None:
            self._began_at = at
            return
        interval = at - self._began_at
        if interval >= TOGETHER:
            self._intervals.append(interval.total_seconds())
        if interval >= TOGETHER or interval < timedelta(0):  # a clock that was set back says nothing of intervals
            self._began_at = at

    def usual(self) -> timedelta | None:
        """`usual_s`, as a duration."""
        usual_s = self.usual_s
        return None if usual_s is None else timedelta(seconds=usual_s)

    def silent_at(self, after: timedelta | None = None) -> datetime | None:
        """From when on it is silent, unless it brings something first; None: nobody can say.

        `after`: so long after it last brought something, whatever is usual; zero: never.
        """
        if self._last is None:
            return None
        if after is None:
            usual = self.usual()
            return None if usual is None else self._last + min(max(TIMES * usual, SOONEST), LATEST)
        return self._last + after if after else None

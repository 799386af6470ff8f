"""When a feed brought something: whether it is silent for longer than one expects, said once."""

from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from mirrord.decisions.rhythm import Rhythm

log = structlog.get_logger()


class Silence:
    """One feed's. `after` None: by its own rhythm; zero: never said."""

    def __init__(self, feed: str, mirrors: Callable[[], list[str]], after: timedelta | None) -> None:
        self._feed = feed
        self._mirrors = mirrors
        self._after = after
        self._rhythm = Rhythm()
        self._said = False
        self._kept_back = False

    def note(self, now: datetime, *, caught_up: bool) -> None:
        """Something came. Until it was caught up, that says nothing of the feed's habits."""
        if caught_up:
            self._rhythm.note(now)
            self._said = False
        else:
            self._kept_back = True

    def arrive(self, now: datetime) -> None:
        """It is caught up: all that came on the way there came at once, unless it is what was there at first."""
        if self._kept_back and self._rhythm.last is not None:
            self.note(now, caught_up=True)
        self._kept_back = False

    def say(self, now: datetime) -> None:
        """If it is silent, and was not said to be since it last brought something."""
        silent_at = self._rhythm.silent_at(self._after)
        if self._said or silent_at is None or now < silent_at:
            return
        self._said = True
        log.warning(
            "feed.silent",
            feed=self._feed,
            mirrors=self._mirrors(),
            last_event_at=self._rhythm.last,
            usual_s=self._rhythm.usual_s,
        )

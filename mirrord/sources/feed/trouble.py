"""A feed that cannot be read: how long to leave it alone, and what is said of it, once for each reason."""

from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

log = structlog.get_logger()

HICCUP = timedelta(minutes=1)
"""A feed that cannot be read for longer than this leaves its mirrors incomplete."""


class Trouble:
    """Attempts at one feed that failed in a row."""

    def __init__(
        self,
        feed: str,
        mirrors: Callable[[], list[str]],
        *,
        first: timedelta,
        longest: timedelta,
        chance: Callable[[], float],
    ) -> None:
        """Pauses double from `first` to `longest`; `feed` is what log lines call it."""
        self._feed = feed
        self._mirrors = mirrors
        self._first = first
        self._longest = longest
        self._chance = chance
        self._failures = 0
        self._since: datetime | None = None
        self._said: str | None = None

    def note(
        self,
        reason: str,
        now: datetime,
        at_least: timedelta | None = None,
        *,
        action: str | None = None,
        said: bool = False,
    ) -> timedelta:
        """One more attempt failed; how long to wait before the next.

        `action`: what a person must do; None: it may heal by itself. `said`: another line has said it.
        """
        self._since = self._since or now
        pause = min(self._first * (1 << min(self._failures, 12)), self._longest) * (0.5 + self._chance() / 2)
        pause = max(pause, at_least or timedelta(0))
        self._failures += 1
        if reason != self._said and not said:
            retry_in_s = round(pause.total_seconds(), 1)
            facts = {"feed": self._feed, "mirrors": self._mirrors(), "reason": reason, "retry_in_s": retry_in_s}
            if action is None:
                log.warning("feed.failed", **facts)
            else:
                log.error("feed.failed", **facts, action=action)
        self._said = reason
        return pause

    def lasts(self, now: datetime) -> bool:
        """Whether it is more than a hiccup."""
        return self._since is not None and now - self._since >= HICCUP

    def over(self) -> None:
        """An attempt went well."""
        if self._said is not None:
            log.info(
                "feed.recovered",
                feed=self._feed,
                mirrors=self._mirrors(),
                failing_since=self._since,
                reason=self._said,
            )
        self._failures, self._since, self._said = 0, None, None

"""What systemd is told while the service runs: that it is alive, and in one line how it goes."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import structlog

from mirrord.systemd import Notifier

log = structlog.get_logger()

LOOK_EVERY = timedelta(seconds=1)
"""How old the status line can be; it is sent when it has changed."""
WITHOUT_WATCHDOG = timedelta(seconds=30)


class Heartbeat:
    """Feeds the watchdog while nobody is stuck: a service that turns but does no work is to be restarted."""

    def __init__(
        self,
        notifier: Notifier,
        *,
        status: Callable[[], str],
        stuck: Callable[[], Sequence[str]],
        now: Callable[[], datetime],
    ) -> None:
        self._notifier = notifier
        self._status = status
        self._stuck = stuck
        self._now = now

    async def beat(self) -> None:
        """Until cancelled."""
        interval = self._notifier.watchdog_interval or WITHOUT_WATCHDOG
        pause = min(LOOK_EVERY, interval / 2)
        said, fed_at = "", self._now()
        while True:
            await asyncio.sleep(pause.total_seconds())
            status, now = self._status(), self._now()
            if status != said:
                self._notifier.status(status)
                said = status
            if now - fed_at < interval - pause:
                continue
            fed_at = now
            stuck = self._stuck()
            if stuck:
                log.error("service.stuck", who=stuck, action="send the log to the developers; systemd restarts it")
            else:
                self._notifier.watchdog()

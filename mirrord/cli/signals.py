"""SIGTERM and SIGINT as events: the first asks to stop, the second to stop at once. SIGHUP is said and ignored."""

import asyncio
import signal
from dataclasses import dataclass, field

import structlog

log = structlog.get_logger()


@dataclass(slots=True)
class StopSignals:
    """Which signals came."""

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    stop_now: asyncio.Event = field(default_factory=asyncio.Event)
    first: signal.Signals | None = None

    def listen(self) -> None:
        """Take both signals on the running loop."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._came, number)

        loop.add_signal_handler(signal.SIGHUP, self._hung_up)

    def _hung_up(self) -> None:
        # by default it would end the process, and systemd takes that for a clean exit: no service any more
        log.warning("settings.refused", reason="this version does not reload", action="restart to take new settings")

    def _came(self, number: signal.Signals) -> None:
        if self.first is None:
            self.first = number
            self.stop.set()
        else:
            self.stop_now.set()

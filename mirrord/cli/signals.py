"""Signals as events: the first SIGTERM or SIGINT asks to stop, the second to stop at once; SIGHUP to read again."""

import asyncio
import signal
from dataclasses import dataclass, field


@dataclass(slots=True)
class StopSignals:
    """Which signals came."""

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    stop_now: asyncio.Event = field(default_factory=asyncio.Event)
    reload: asyncio.Event = field(default_factory=asyncio.Event)
    first: signal.Signals | None = None

    def listen(self) -> None:
        """Take them on the running loop: by default SIGHUP, too, would end the process."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._came, number)
        loop.add_signal_handler(signal.SIGHUP, self.reload.set)

    def _came(self, number: signal.Signals) -> None:
        if self.first is None:
            self.first = number
            self.stop.set()
        else:
            self.stop_now.set()

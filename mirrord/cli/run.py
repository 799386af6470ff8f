"""`mirrord run`: the service, in the foreground."""

import asyncio
from typing import TYPE_CHECKING

from mirrord.cli.settings import ConfigOption, configure_log, failures_said, load

if TYPE_CHECKING:
    from mirrord.config import Loaded


def run(config: ConfigOption = None) -> None:
    """The service, in the foreground: watch, refresh, retry, until SIGTERM or SIGINT."""
    loaded = load(config)
    configure_log(loaded)
    with failures_said():
        asyncio.run(_run(loaded))


async def _run(loaded: "Loaded") -> None:
    from mirrord import wiring
    from mirrord.cli.signals import StopSignals

    signals = StopSignals()
    signals.listen()
    await wiring.service(loaded.settings).run(signals.stop, signals.stop_now)

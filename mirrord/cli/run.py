"""`mirrord run`: the service, in the foreground."""

import asyncio
import faulthandler
import signal
from typing import TYPE_CHECKING

from mirrord.cli.settings import ConfigOption, configure_log, failures_said, load

if TYPE_CHECKING:
    from mirrord.config import Loaded


def run(config: ConfigOption = None) -> None:
    """The service, in the foreground. It watches, refreshes and retries until SIGTERM or SIGINT."""
    loaded = load(config)
    configure_log(loaded)
    # where every thread is, for whoever asks while it runs; `faulthandler.register` would look at threads that go on
    # meanwhile, and was seen to crash
    signal.signal(signal.SIGUSR1, lambda *_: faulthandler.dump_traceback())
    with failures_said():
        asyncio.run(_run(loaded))


async def _run(loaded: "Loaded") -> None:
    from mirrord.cli.signals import StopSignals
    from mirrord.reloading import Reloading
    from mirrord.wiring import Assembly

    signals = StopSignals()
    signals.listen()
    assembly = Assembly(loaded.settings)
    assembly.show()
    reloads = Reloading(loaded.path, assembly, signals.reload)
    try:
        await assembly.service.run(signals.stop, signals.stop_now, reloads)
    finally:
        reloads.close()

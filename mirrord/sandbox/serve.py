"""Settings of a sandbox to a running one, for as long as a block lasts."""

import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from mirrord.kodo.auth import Credentials
from mirrord.sandbox.app import Kodo
from mirrord.sandbox.calls import Call, Calls
from mirrord.sandbox.conditions import Conditions, State
from mirrord.sandbox.discovery import Discovery
from mirrord.sandbox.faults import Fault, Faults
from mirrord.sandbox.operations import Operations, PrefetchReply
from mirrord.sandbox.origin import Origin
from mirrord.sandbox.pull import Pulls, spider
from mirrord.sandbox.queue import Queue
from mirrord.sandbox.store import Store
from mirrord.sandbox.throttle import Throttle

_LONGEST_TARGET_BYTES = 256 * 1024  # a key of thousands of characters, in base64 or percent-encoded


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """What makes one sandbox differ from another."""

    root: Path
    origins: Mapping[str, str | None]
    """The buckets there are, each with its mirror source or None."""
    credentials: Credentials
    faults: Sequence[Fault] = ()
    prefetch_reply: PrefetchReply = "empty"
    seed: int | None = None
    """Makes the faults' dice repeatable."""
    io_domains: Sequence[str] = ()
    ttl_s: float = 86400
    other_region: bool = False
    """What discovery says: see mirrord.sandbox.discovery."""
    throttle: Throttle | None = None
    frozen: bool = False
    skew_s: float = 0.0
    """What holds at first: see mirrord.sandbox.conditions."""
    pass_through: bool = False
    """An origin's own trouble reaches the caller as it is, instead of as 478."""
    async_workers: int = 2
    """How many pulls in the background run at once."""


@asynccontextmanager
async def listening(app: web.Application, host: str, port: int) -> AsyncIterator[str]:
    """Serve `app` and yield its URL; port 0 takes a free one. Raises OSError when the port is taken."""
    runner = web.AppRunner(
        app,
        access_log=None,
        handle_signals=False,
        keepalive_timeout=75.0,
        max_line_size=_LONGEST_TARGET_BYTES,
        shutdown_timeout=0.1,  # a pull that still runs is cut short; its draft leaves no trace
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        bound = runner.addresses[0][1]
        yield f"http://{f'[{host}]' if ':' in host else host}:{bound}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def running(
    sandbox: Sandbox, host: str, port: int, on_call: Callable[[Call], None] | None = None
) -> AsyncIterator[str]:
    """Run `sandbox` and yield its URL. `on_call` hears of every call as it ends.

    Raises OSError when the port is taken, StoreUnavailable when the directory is.
    """
    conditions = Conditions(
        sandbox.credentials.access_key,
        State(
            secret_key=sandbox.credentials.secret_key,
            throttle=sandbox.throttle,
            frozen=sandbox.frozen,
            skew_s=sandbox.skew_s,
        ),
    )
    store = Store(sandbox.root, conditions.now_ns)
    try:
        async with spider(pass_through=sandbox.pass_through) as asking:
            kodo = _kodo(sandbox, store, Pulls(store, asking), conditions, Calls(on_call=on_call))
            async with listening(kodo.application(), host, port) as url:
                yield url
    finally:
        store.close()


def _kodo(sandbox: Sandbox, store: Store, pulls: Pulls, conditions: Conditions, calls: Calls) -> Kodo:
    faults = Faults(random.Random(sandbox.seed).random, sandbox.faults)  # noqa: S311 - dice
    queue = Queue(pulls=pulls, store=store, faults=faults, calls=calls, workers=sandbox.async_workers)
    discovery = Discovery(io_domains=sandbox.io_domains, ttl_s=sandbox.ttl_s, other_region=sandbox.other_region)
    operations = Operations(
        store=store,
        pulls=pulls,
        queue=queue,
        origins=sandbox.origins,
        access_key=sandbox.credentials.access_key,
        discovery=discovery,
        prefetch_reply=sandbox.prefetch_reply,
    )
    return Kodo(operations=operations, queue=queue, store=store, conditions=conditions, faults=faults, calls=calls)


@asynccontextmanager
async def running_origin(directory: Path, host: str, port: int) -> AsyncIterator[str]:
    """Serve the files below `directory` and yield the URL; raises OSError when the port is taken."""
    async with listening(Origin(directory).application(), host, port) as url:
        yield url

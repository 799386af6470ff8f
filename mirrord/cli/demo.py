"""`mirrord demo`: an origin, a local Kodo and the service on this machine; edited, killed, compared."""

import asyncio
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from mirrord.cli.settings import EXIT_NOT_FRESH

if TYPE_CHECKING:
    from mirrord.cli.demo_kodo import LocalKodo
    from mirrord.cli.demo_screen import Screen
    from mirrord.cli.demo_script import Script
    from mirrord.cli.demo_site import Site
    from mirrord.cli.signals import StopSignals

T = TypeVar("T")


def demo(
    keep: Annotated[
        bool, typer.Option("--keep", help="Then leave everything running until Ctrl-C, to edit files yourself.")
    ] = False,
) -> None:
    """The whole thing on this machine in under a minute."""
    raise typer.Exit(asyncio.run(_demo(keep=keep)))


async def _demo(*, keep: bool) -> int:
    from mirrord.cli.demo_screen import Screen
    from mirrord.cli.signals import StopSignals

    signals = StopSignals()
    signals.listen()
    screen = Screen(gone=signals.stop.set)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup wants it ignored
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, signals.stop.set)
    directory = Path(tempfile.mkdtemp(prefix="mirrord-demo-"))
    code = EXIT_NOT_FRESH
    try:
        code = await _played(directory, screen, signals, keep=keep)
    finally:
        if code == EXIT_NOT_FRESH and not signals.stop.is_set():
            _remove_all_but_logs(directory)
            screen.say(f"The logs are kept in {directory}")
        else:
            shutil.rmtree(directory, ignore_errors=True)
    return code


async def _played(directory: Path, screen: "Screen", signals: "StopSignals", *, keep: bool) -> int:
    """The exit code. Every process has ended on return."""
    from mirrord.cli.demo_kodo import SandboxEnded
    from mirrord.cli.demo_script import DemoFailed

    code, began = EXIT_NOT_FRESH, time.monotonic()
    try:
        async with _everything(directory, screen) as script:
            proof = await _unless_stopped(script.play(), signals)
            if proof is None:
                code = _code_of(signals)
            elif not proof.differences:
                code = 0
                screen.say()
                screen.say(f"Equal. It took {time.monotonic() - began:.0f} s.", "bold green")
            if keep and code == 0:
                _say_where_to_look(directory, screen)
                await _unless_stopped(script.follow(), signals)
    except* (DemoFailed, SandboxEnded) as group:
        code = EXIT_NOT_FRESH
        for exc in _leaves(group):
            screen.note(f"Failed: {exc}", "bold red")
    return code


async def _unless_stopped(playing: Coroutine[Any, Any, T], signals: "StopSignals") -> T | None:
    """Its result; None when a signal came first and ended it."""
    async with asyncio.TaskGroup() as tasks:
        play = tasks.create_task(playing, name="demo")
        stop = tasks.create_task(signals.stop.wait(), name="stop")
        await asyncio.wait({play, stop}, return_when=asyncio.FIRST_COMPLETED)
        play.cancel()
        stop.cancel()
    return None if play.cancelled() else play.result()


@asynccontextmanager
async def _everything(directory: Path, screen: "Screen") -> AsyncIterator["Script"]:
    """Origin, sandbox and what starts the service, for as long as the block lasts."""
    from mirrord.cli.demo_kodo import local_kodo
    from mirrord.cli.demo_processes import guarded
    from mirrord.cli.demo_script import Script
    from mirrord.cli.demo_service import running_service, write_settings
    from mirrord.cli.demo_site import Site
    from mirrord.sandbox.serve import running_origin

    site, config = Site(directory / "site"), directory / "config.toml"
    site.build()
    async with (
        running_origin(site.directory, "127.0.0.1", 0) as origin,
        guarded() as children,
        local_kodo(children, directory / "kodo", origin, directory / "sandbox.log") as kodo,
    ):
        write_settings(config, kodo, site.directory)
        _say_what_runs(screen, site, origin, kodo)
        async with running_service(children, config, directory / "service.log") as service:
            yield Script(site, kodo, service, screen)


def _say_what_runs(screen: "Screen", site: "Site", origin: str, kodo: "LocalKodo") -> None:
    from mirrord.cli.demo_kodo import BUCKET
    from mirrord.cli.demo_site import size_of

    files = site.keys().values()
    screen.say("mirrord demo: a website, a local Kodo and the service, on loopback", "bold")
    screen.say()
    screen.say(f"  origin   {origin}  {len(files)} files, {size_of(files) / 2**20:.1f} MiB")
    screen.say(f"  sandbox  {kodo.url}  a local Kodo; bucket {BUCKET} mirrors that origin")
    screen.say(f"  files    {site.directory}")


def _say_where_to_look(directory: Path, screen: "Screen") -> None:
    screen.say()
    screen.say("Everything goes on running until Ctrl-C. Edit files and see them refreshed:", "bold")
    screen.say(f"  the site      {directory / 'site'}")
    screen.say(f"  service log   {directory / 'service.log'}")
    screen.say(f"  its state     mirrord status -c {directory / 'config.toml'}")
    screen.say()


def _code_of(signals: "StopSignals") -> int:
    return 128 + (signals.first or signal.SIGHUP)


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for exc in group.exceptions:
        if isinstance(exc, BaseExceptionGroup):
            yield from _leaves(exc)
        else:
            yield exc


def _remove_all_but_logs(directory: Path) -> None:
    for path in directory.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.suffix != ".log":
            path.unlink(missing_ok=True)

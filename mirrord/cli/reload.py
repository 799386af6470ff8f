"""`mirrord reload`: have the service that runs read its settings again, and wait for what it says."""

import fcntl
import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mirrord.cli.settings import EXIT_NOT_PERMITTED, EXIT_SETTINGS, ConfigOption, load

if TYPE_CHECKING:
    from mirrord.answer import Answer

PATIENCE_S = 60.0
LOOKED_EVERY_S = 0.02
EXIT_NO_SERVICE = 69  # EX_UNAVAILABLE
EXIT_LATER = 75  # EX_TEMPFAIL


def reload(config: ConfigOption = None) -> None:
    """Have the running service read its settings again, and wait for what it says; a bad file changes nothing."""
    from mirrord import answer
    from mirrord.journal.database import file_of

    loaded = load(config, need_secret=False)
    places = answer.places(file_of(loaded.settings.journal.url), os.environ.get("RUNTIME_DIRECTORY"))
    try:
        before = answer.found(places)
        if before is None:
            typer.echo(f"mirrord: no service runs with {loaded.path}", err=True)
            raise typer.Exit(EXIT_NO_SERVICE)
        after = _ask(before, places)
    except PermissionError as exc:
        typer.echo(f"mirrord: {exc.filename or 'the service'}: not permitted; ask as root or as its user", err=True)
        raise typer.Exit(EXIT_NOT_PERMITTED) from exc
    if after is None and answer.is_alive(before):
        typer.echo(f"mirrord: the service (process {before.pid}) has not answered within {PATIENCE_S:g} s", err=True)
        raise typer.Exit(EXIT_LATER)
    if after is None:
        typer.echo(f"mirrord: the service (process {before.pid}) has ended meanwhile", err=True)
        raise typer.Exit(EXIT_NO_SERVICE)
    _say(after)


def _ask(before: "Answer", places: list[Path]) -> "Answer | None":
    """The next answer after ours; one at a time, so that it is ours."""
    from mirrord import answer

    folder = next((path.parent for path in places if answer.found([path]) is not None), places[0].parent)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        before = answer.found(places) or before
        with suppress(ProcessLookupError):  # it has just ended: the loop sees that
            os.kill(before.pid, signal.SIGHUP)
        give_up_at = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up_at:
            after = answer.found(places)
            if after is None or after.pid != before.pid:
                return None
            if after.number > before.number:
                return after
            time.sleep(LOOKED_EVERY_S)
    finally:
        os.close(descriptor)
    return None


def _say(after: "Answer") -> None:
    if not after.ok:
        for problem in after.said:
            typer.echo(problem, err=True)
        typer.echo("mirrord: refused; the settings from before stay in force", err=True)
        raise typer.Exit(EXIT_SETTINGS)
    typer.echo("taken")
    for setting in after.said:
        typer.echo(f"{setting} has changed and takes effect at a restart")

"""`-c FILE` to settings and a configured log; what is wrong with either, said in one way."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

if TYPE_CHECKING:
    from mirrord.config import Loaded
    from mirrord.settings import Mirror

ConfigOption = Annotated[
    Path | None,
    typer.Option("-c", "--config", metavar="FILE", help="Default: $MIRRORD_CONFIG, else /etc/mirrord/config.toml."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]

EXIT_NOT_FRESH = 1
EXIT_USAGE = 2
EXIT_NOT_PERMITTED = 77  # EX_NOPERM
EXIT_SETTINGS = 78  # EX_CONFIG


def load(path: Path | None, *, need_secret: bool = True) -> "Loaded":
    """The settings in force; prints every mistake and exits 78 when they cannot be used.

    Who only reads the journal may not be able to read the secret key, and need not.
    """
    from mirrord.config import SettingsError
    from mirrord.config import load as load_settings

    try:
        return load_settings(path, need_secret=need_secret)
    except SettingsError as exc:
        _say(str(exc))
        raise typer.Exit(EXIT_SETTINGS) from exc


def mirror_named(name: str, loaded: "Loaded") -> "Mirror":
    """The mirror of that name; prints which there are and exits 2 when there is none."""
    for mirror in loaded.settings.mirror:
        if mirror.name == name:
            return mirror
    names = ", ".join(mirror.name for mirror in loaded.settings.mirror)
    typer.echo(f"mirrord: no mirror is named {name!r} in {loaded.path}; there are: {names}", err=True)
    raise typer.Exit(EXIT_USAGE)


def configure_log(loaded: "Loaded", stream: TextIO | None = None) -> None:
    """Send the log where the settings say, every secret covered, and say what is doubtful about them."""
    import structlog

    from mirrord import log

    chosen = loaded.settings.log
    log.configure(chosen.format, chosen.level, loaded.settings.secrets, stream)
    for warning in loaded.warnings:
        structlog.get_logger().warning("settings.doubted", warning=warning)


@contextmanager
def failures_said() -> Iterator[None]:
    """What ends a command that cannot go on: one line on stderr, exit 1, or 77 when another user could go on."""
    from mirrord.journal.errors import JournalForbidden, JournalUnavailable
    from mirrord.listening import ListenerUnavailable
    from mirrord.sources.contract import SourceUnavailable

    failures: list[BaseException] = []
    try:
        yield
    except* (JournalUnavailable, ListenerUnavailable, SourceUnavailable) as group:
        failures.extend(_leaves(group))  # what is raised in here would come out as a group again
    if failures:
        for sentence in dict.fromkeys(map(str, failures)):  # who runs it and who waits for it tell the same
            _say(f"mirrord: {sentence}")
        forbidden = any(isinstance(failure, JournalForbidden) for failure in failures)
        raise typer.Exit(EXIT_NOT_PERMITTED if forbidden else EXIT_NOT_FRESH)


def _say(text: str) -> None:
    """On stderr, whoever reads there or not. The journal has a priority for every line of it, `err` (sd-daemon(3))."""
    from mirrord.sinks import StreamSink, is_journal

    mark = "<3>" if is_journal(sys.stderr, os.environ) else ""
    said = "".join(f"{mark}{line}\n" for line in text.split("\n"))
    StreamSink(sys.stderr).deliver(said.encode("utf-8", "backslashreplace"))


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for exc in group.exceptions:
        if isinstance(exc, BaseExceptionGroup):
            yield from _leaves(exc)
        else:
            yield exc

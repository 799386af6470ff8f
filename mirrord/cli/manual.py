"""The commands and their examples to a manual page, in roff: `python -m mirrord.cli.manual > docs/mirrord.1`."""

import re
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import typer

import mirrord
from mirrord.cli.examples import COMMANDS, Shown

if TYPE_CHECKING:
    from typer.core import TyperGroup

_OFFERED_BY_EVERY = {"--help", "--install-completion", "--show-completion"}
_CHARACTERS = {"\\": r"\e", "-": r"\-", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti", '"': r"\(dq"}
_DESCRIPTION = """
Kodo never notices by itself that a file at the origin changed: it serves the old copy until somebody asks it to pull
that key again. mirrord watches the origin, finds out which keys are stale, asks Kodo to pull each of them, again when
that fails, and logs every attempt with its HTTP status and Kodo's X-Reqid.

Results go to stdout, the log and what was wrong to stderr. Commands meet the service in its journal: they work while
it runs and while it does not. Tables are as wide as the terminal, or 80 columns; programs take --json.
"""
_ENVIRONMENT = (
    ("MIRRORD_CONFIG", "The settings file, where no -c names one."),
    ("MIRRORD_…", "Settings that go before those of the file, with __ between levels: MIRRORD_LOG__LEVEL."),
    ("CREDENTIALS_DIRECTORY", "Where systemd puts the credential secret-key."),
    ("COLUMNS", "How wide tables and sentences are, whatever the terminal says."),
    ("NO_COLOR", "If it is set and not empty, no colours. Where stdout is no terminal there are none anyway."),
)
_FILES = (
    ("/etc/mirrord/config.toml", "The settings, where neither -c nor MIRRORD_CONFIG names others."),
    ("/etc/mirrord/secret-key", "Kodo's secret key, as the unit hands it over. Nobody else may read it."),
    ("/var/lib/mirrord/journal.db", "The journal, where the settings name no other; with -wal and -shm beside it."),
)
_STOPPED = """
The service stops listening and claiming, lets calls in flight end for at most 30 s, writes down how they ended, and
exits with 0. A second one ends it at once. Other commands end with 143 and 130, but sandbox with 0.
"""
_SIGNALS = (
    ("SIGTERM, SIGINT", _STOPPED),
    ("SIGHUP", "The service reads its settings again; wrong ones are refused, and the old ones stay."),
    ("SIGUSR1", "The service writes where each of its threads is to stderr, and goes on."),
)
_COMPLETION = """
mirrord --install-completion sets bash, zsh or fish up to complete commands, options, the names of mirrors and the keys
in the journal, as far as the user may read settings and journal. mirrord --show-completion prints what it would
install.
"""


def page() -> str:
    """The page, whole; the same on every machine."""
    from mirrord.cli import app

    root: TyperGroup = typer.main.get_command(app)  # type: ignore[assignment]  # an app of commands is a group
    return "\n".join(_lines(root)) + "\n"


def _lines(root: "TyperGroup") -> Iterator[str]:
    yield r".\" Made by `python -m mirrord.cli.manual` from the commands themselves; do not edit."
    yield f'.TH MIRRORD 1 "" "mirrord {mirrord.__version__}" "User Commands"'
    yield from (".SH NAME", f"mirrord {_escaped('- keeps a Qiniu Kodo mirror bucket in step with its origin')}")
    yield from (
        ".SH SYNOPSIS",
        ".B mirrord",
        f"{_metavar('COMMAND')} [{_metavar('OPTIONS')}] [{_metavar('ARGUMENTS')}]",
    )
    yield ".br"
    yield f".B mirrord {_escaped('--version')}"
    yield ".SH DESCRIPTION"
    yield from _paragraphs(_DESCRIPTION)
    yield ".SH COMMANDS"
    yield from _of_group(root, "")
    yield from _listed("EXIT STATUS", COMMANDS[""].exits)
    yield from _listed("ENVIRONMENT", _ENVIRONMENT)
    yield from _listed("FILES", _FILES)
    yield from _listed("SIGNALS", _SIGNALS)
    yield from (".SH COMPLETION", _escaped(_COMPLETION))
    yield ".SH EXAMPLES"
    yield from _examples(COMMANDS[""])
    yield from (".SH SEE ALSO", ".BR systemctl (1),", ".BR journalctl (1)")


def _of_group(group: "TyperGroup", above: str) -> Iterator[str]:
    for name, command in group.commands.items():
        path = f"{above} {name}".strip()
        if isinstance(command, typer.core.TyperGroup):
            yield from _of_group(command, path)
        elif isinstance(command, typer.core.TyperCommand) and not command.hidden:
            yield from _of_command(command, path)


def _of_command(command: "typer.core.TyperCommand", path: str) -> Iterator[str]:
    arguments = [each for each in command.params if isinstance(each, typer.core.TyperArgument)]
    options = [each for each in command.params if isinstance(each, typer.core.TyperOption) and not each.hidden]
    pieces = [_usage(each) for each in arguments]
    yield f".SS {_escaped(path)}"
    yield f".B mirrord {_escaped(path)}"
    yield " ".join([f"[{_metavar('OPTIONS')}]", *pieces])
    yield from _paragraphs(command.help or "")
    for argument in arguments:
        yield from (".TP", _metavar(argument.metavar or argument.name.upper()), _escaped(argument.help or ""))
    for option in options:
        if not _OFFERED_BY_EVERY.intersection(option.opts):
            yield from (".TP", _option(option), _escaped(f"{option.help or ''}{_default(option)}"))
    shown = COMMANDS.get(path)
    if shown is not None:
        yield from _shown(shown)


def _shown(shown: Shown) -> Iterator[str]:
    if shown.json is not None:
        yield from (".PP", rf"With \fB{_escaped('--json')}\fR: {_escaped(shown.json)}.")
    yield from (".PP", "Exit status:")
    for code, means in shown.exits:
        yield from (".RS", f'.IP "{_escaped(code)}" 10', _escaped(means), ".RE")
    yield from _examples(shown)


def _examples(shown: Shown) -> Iterator[str]:
    for each in shown.examples:
        yield from (".PP", f"{_escaped(each.does[:1].upper() + each.does[1:])}:")
        yield from (".PP", ".RS 4", ".nf", rf"\fB{_escaped(each.command)}\fR", ".fi", ".RE")


def _listed(heading: str, of: Sequence[tuple[str, str]]) -> Iterator[str]:
    yield f".SH {heading}"
    for term, means in of:
        yield from (".TP", rf"\fB{_escaped(term)}\fR", _escaped(means))


def _paragraphs(text: str) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        yield from (".PP", _escaped(paragraph))


def _usage(argument: "typer.core.TyperArgument") -> str:
    name = _metavar(argument.metavar or argument.name.upper()) + (r"\&..." if argument.nargs != 1 else "")
    return name if argument.required else f"[{name}]"


def _option(option: "typer.core.TyperOption") -> str:
    names = ", ".join(rf"\fB{_escaped(each)}\fR" for each in sorted(option.opts, key=len))
    return names if option.is_flag else f"{names} {_metavar(option.metavar or option.name.upper())}"


def _default(option: "typer.core.TyperOption") -> str:
    typed = not option.is_flag and isinstance(option.default, str | int | float) and option.default not in {"", 0}
    return f" Default: {option.default}." if typed else ""


def _metavar(name: str) -> str:
    return rf"\fI{_escaped(name)}\fR"


def _escaped(text: str) -> str:
    """As roff prints it, whatever it is; no line begins with what would be a request."""
    text = " ".join(text.split())
    said = "".join(_CHARACTERS.get(each, each if each.isascii() else rf"\[u{ord(each):04X}]") for each in text)
    return rf"\&{said}" if said.startswith(".") else said


if __name__ == "__main__":
    sys.stdout.write(page())

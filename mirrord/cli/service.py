"""`mirrord service`: mirrord as a service of this machine's systemd."""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from mirrord.cli.settings import EXIT_NOT_FRESH, EXIT_NOT_PERMITTED, EXIT_USAGE

if TYPE_CHECKING:
    from mirrord.cli.installing import Step

service = typer.Typer(name="service", no_args_is_help=True, help="mirrord as a service of this machine's systemd.")

_COMMAND_MOST_S = 60
_BOOTED = Path("/run/systemd/system")
"""There where systemd runs the machine (sd_booted(3))."""
RootOption = Annotated[
    Path,
    typer.Option(
        metavar="DIR", envvar="DESTDIR", help="Install below DIR, for a package or an image; then no command is run."
    ),
]
ProgramOption = Annotated[
    Path | None, typer.Option(metavar="PATH", help="What the units start. Default: this program, where it really is.")
]


@service.command()
def install(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show every file and command; change nothing.")] = False,
    root: RootOption = Path("/"),
    program: ProgramOption = None,
) -> None:
    """Put units, user, inotify limits and example settings where systemd looks; start nothing.

    Settings and secret key that are there are never touched.
    """
    from mirrord.cli import installing, reach

    started = reach.this_program() if program is None else program
    objection = reach.objection_to_this(started) if program is None else reach.objection_to(started)
    here = root.resolve() == Path("/")
    with _failures_said():
        parts = installing.Kit().parts(started)
        steps = installing.plan(parts, installing.look(parts, root))
        if dry_run:
            for step in steps:
                typer.echo(installing.in_words(step))
            for command in installing.COMMANDS if here else ():
                typer.echo(f"# {shlex.join(command)}")
        if objection:
            _fail(objection)
        if not dry_run:
            _install(steps, root, here=here)
    if here and not dry_run:
        typer.echo(_next(started))


@service.command("drop-in")
def drop_in(name: Annotated[str | None, typer.Argument(metavar="NAME")] = None) -> None:
    """Print a drop-in for the unit, with its reason and how to install it; without NAME, which there are."""
    from mirrord.cli.installing import Kit

    texts = Kit().drop_ins()
    if name is None:
        typer.echo("\n".join(texts))
    elif name in texts:
        typer.echo(texts[name], nl=False)
    else:
        typer.echo(f"mirrord: no drop-in is named {name!r}; there are: {', '.join(texts)}", err=True)
        raise typer.Exit(EXIT_USAGE)


def _install(steps: Sequence["Step"], root: Path, *, here: bool) -> None:
    from mirrord.cli import installing

    if here and os.geteuid() != 0:
        _fail("only root can install a service; --dry-run shows what would be done", EXIT_NOT_PERMITTED)
    if here and not _BOOTED.is_dir():
        _fail("this machine is not run by systemd; --root DIR installs into the image of one that is")
    installing.carry_out(steps, root)
    for step in steps:
        typer.echo(installing.in_short(step))
        if step.exposed:
            typer.echo(f"mirrord: others may read {step.part.path}; chmod 600 {step.part.path}", err=True)
    if here:
        _run(installing.COMMANDS)


def _run(commands: Iterable[Sequence[str]]) -> None:
    """All of them, every time: they change nothing twice, and mend what an interrupted install left undone."""
    for command in commands:
        typer.echo(f"# {shlex.join(command)}")
        sys.stdout.flush()
        try:
            ended = subprocess.run(command, check=False, timeout=_COMMAND_MOST_S)  # noqa: S603 - ours, all of them
        except FileNotFoundError:
            _fail(f"{command[0]} is not there; install what it belongs to, then install again")
        except subprocess.TimeoutExpired:
            _fail(f"{shlex.join(command)} took more than {_COMMAND_MOST_S} s; look why, then install again")
        if ended.returncode != 0:
            _fail(f"{shlex.join(command)} ended with {ended.returncode}; mend that, then install again")


def _next(program: Path) -> str:
    from mirrord.cli.installing import SECRET_KEY, SETTINGS

    checked = f"systemd-run --wait --pipe -p User=mirrord -p LoadCredential=secret-key:{SECRET_KEY} {program} check"
    return f"""\
Nothing is started yet. Next:
  editor {SETTINGS}    # access key, bucket, origin
  editor {SECRET_KEY}
  {checked} --online
  systemctl enable --now mirrord
Drop-ins for other places of origin and key: {program} service drop-in"""


@contextmanager
def _failures_said() -> Iterator[None]:
    try:
        yield
    except PermissionError as exc:
        _fail(f"{exc.filename}: {exc.strerror}", EXIT_NOT_PERMITTED)
    except OSError as exc:
        _fail(f"{exc.filename}: {exc.strerror}")


def _fail(sentence: str, code: int = EXIT_NOT_FRESH) -> NoReturn:
    typer.echo(f"mirrord: {sentence}", err=True)
    raise typer.Exit(code)

"""Where a program lies → why the service, another user in a sandbox, could not run it; None where it can."""

import os
import re
import stat
import sys
from pathlib import Path

from mirrord.cli.installing import PROGRAM

_HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # noqa: S108 - ProtectHome=yes and PrivateTmp=yes
_PLAIN = re.compile(r"/[\w./@+-]+", re.ASCII)


def this_program() -> Path:
    """The file that was started; after `python -m mirrord` the one that pip put beside that python."""
    started = Path(sys.argv[0]).resolve()
    return started if started.name == "mirrord" else Path(sys.executable).parent / "mirrord"


def objection_to(program: Path) -> str | None:
    """Of a program that may not be there yet."""
    return _by_name(program)


def objection_to_this(program: Path) -> str | None:
    """Interpreter, standard library and package have to be within the service's reach, too."""
    python = Path(sys.executable)
    needed = (program, python, python.resolve(), Path(os.__file__), Path(__file__).resolve())
    return next(filter(None, (_by_name(path) or _by_mode(path) for path in needed)), None)


def _by_name(path: Path) -> str | None:
    for hidden in _HIDDEN:
        if path.is_relative_to(hidden):
            return (
                f"{path} is under {hidden}, which the unit hides from the service; install with a python that all users"
                " have, and not there: /usr/bin/python3 -m venv /opt/mirrord, /opt/mirrord/bin/pip install mirrord,"
                f" {PROGRAM} service install"
            )
    if not _PLAIN.fullmatch(str(path)):
        return f"{str(path)!r} cannot stand in a unit; put mirrord under /opt, so that the program is {PROGRAM}"
    return None


def _by_mode(path: Path) -> str | None:
    """What is not there, or not for everybody: the service's user is not the one who installs."""
    if not path.exists():
        return f"{path} is not there; install mirrord with pip, or name its program with --program"
    for part in (*reversed(path.parents), path):
        mode = part.stat().st_mode
        if not mode & (stat.S_IXOTH if stat.S_ISDIR(mode) else stat.S_IROTH):
            return f"the service, another user, cannot use {part}, mode {mode & 0o7777:04o}; chmod -R go+rX {part}"
    return None

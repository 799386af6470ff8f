"""The files that come with mirrord, and what a machine has → steps; steps → files in place."""

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import unified_diff
from enum import StrEnum
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

PROGRAM = "/opt/mirrord/bin/mirrord"
"""What the units that come with mirrord start."""
UNITS = Path("/etc/systemd/system")
USERS = Path("/etc/sysusers.d/mirrord.conf")
LIMITS = Path("/etc/sysctl.d/60-mirrord-inotify.conf")
MANUAL = Path("/usr/local/share/man/man1/mirrord.1")
SETTINGS = Path("/etc/mirrord/config.toml")
SECRET_KEY = Path("/etc/mirrord/secret-key")
COMMANDS = (
    ("systemd-sysusers", str(USERS)),
    # Not `sysctl -p`: that would lower what a later file of this machine raises further.
    ("/usr/lib/systemd/systemd-sysctl", "--prefix=fs/inotify"),
    ("systemctl", "daemon-reload"),
)
_UNIT_NAMES = ("mirrord.service", "mirrord@.service")
_NO_OTHERS = 0o077


class State(StrEnum):
    """What is to become of a file; the value is the word for it."""

    NEW = "new"
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    KEPT = "kept, it is yours"


@dataclass(frozen=True, slots=True)
class Part:
    """A file that belongs on the machine."""

    path: Path
    content: bytes
    mode: int = 0o644
    yours: bool = False
    """Written where it is missing, and never again: people fill it in."""


@dataclass(frozen=True, slots=True)
class Found:
    """A file that is there."""

    content: bytes
    """Empty where it is nobody's business, as in a secret."""
    mode: int


@dataclass(frozen=True, slots=True)
class Step:
    part: Part
    state: State
    before: Found | None
    """None: there is no such file."""

    @property
    def exposed(self) -> bool:
        """Whether others may read what is only root's, as somebody has set it."""
        return self.before is not None and not self.part.mode & _NO_OTHERS and bool(self.before.mode & _NO_OTHERS)


class Kit:
    """What comes with mirrord: in the package, or beside it in a work tree."""

    def __init__(self) -> None:
        packaged = files("mirrord") / "units"
        tree = Path(__file__).parent.parent.parent
        whole = packaged.is_dir()
        self._units: Traversable = packaged if whole else tree / "systemd"
        self._settings = (packaged if whole else tree) / "config.example.toml"
        self._manual = (packaged if whole else tree / "docs") / "mirrord.1"

    def parts(self, program: Path) -> tuple[Part, ...]:
        """All that belongs on a machine where `program` is what the units start."""
        return tuple(self._parts(program))

    def drop_ins(self) -> dict[str, str]:
        """The text of each by its name, such as `origin-group`."""
        named = {each.name.removesuffix(".conf"): each for each in (self._units / "drop-ins").iterdir()}
        return {name: named[name].read_text("utf-8") for name in sorted(named)}

    def _parts(self, program: Path) -> Iterator[Part]:
        for name in _UNIT_NAMES:
            unit = (self._units / name).read_text("utf-8").replace(PROGRAM, str(program))
            yield Part(UNITS / name, unit.encode())
        for path in (USERS, LIMITS):
            yield Part(path, (self._units / path.parent.name / path.name).read_bytes())
        if self._manual.is_file():
            yield Part(MANUAL, self._manual.read_bytes())
        yield Part(SETTINGS, self._settings.read_bytes(), yours=True)
        yield Part(SECRET_KEY, b"", 0o600, yours=True)


def plan(parts: Iterable[Part], there: Mapping[Path, Found]) -> tuple[Step, ...]:
    """What is to be done for each part, given the files that are there, by their paths."""
    return tuple(Step(part, _state(part, there.get(part.path)), there.get(part.path)) for part in parts)


def look(parts: Iterable[Part], root: Path) -> dict[Path, Found]:
    """Those of the parts that are there below `root`; of a secret only that it is there.

    Raises OSError where that cannot be found out.
    """
    found = {}
    for part in parts:
        file = below(root, part.path)
        if file.exists():
            secret = not part.mode & _NO_OTHERS
            found[part.path] = Found(b"" if secret else file.read_bytes(), file.stat().st_mode & 0o7777)
    return found


def carry_out(steps: Iterable[Step], root: Path) -> None:
    """Write what is new or changed below `root`, each file at once. Raises OSError."""
    for step in steps:
        if step.state in {State.NEW, State.CHANGED}:
            file = below(root, step.part.path)
            _make_directory(file.parent)
            _write(file, step.part)


def in_short(step: Step) -> str:
    return f"{step.part.path}: {step.state}"


def in_words(step: Step) -> str:
    """The step for a person: the file's content where it is new, the difference where it changes."""
    head = in_short(step)
    match step.state:
        case State.UNCHANGED | State.KEPT:
            return head
        case State.NEW:
            lines = step.part.content.decode().splitlines()
            return "\n".join([f"{head}, mode {step.part.mode:04o}{', empty' if not lines else ''}", *_indented(lines)])
        case State.CHANGED:
            return "\n".join([f"{head}, mode {step.part.mode:04o}", *_indented(_difference(step))])


def below(root: Path, path: Path) -> Path:
    """Where an absolute path lies when `root` stands for `/`."""
    return root / path.relative_to("/")


def _state(part: Part, before: Found | None) -> State:
    if before is None:
        return State.NEW
    if part.yours:
        return State.KEPT
    return State.UNCHANGED if before == Found(part.content, part.mode) else State.CHANGED


def _difference(step: Step) -> Iterator[str]:
    before = step.before.content.decode(errors="replace").splitlines() if step.before else []
    return unified_diff(before, step.part.content.decode().splitlines(), "before", "after", lineterm="")


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"    {line}".rstrip() for line in lines]


def _make_directory(path: Path) -> None:
    """With all above it, open to everybody whatever the umask is: the service's user reads its settings there."""
    if not path.is_dir():
        _make_directory(path.parent)
        path.mkdir()
        path.chmod(0o755)


def _write(file: Path, part: Part) -> None:
    descriptor, temporary = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with os.fdopen(descriptor, "wb") as out:
            out.write(part.content)
            os.fchmod(descriptor, part.mode)
            out.flush()
            os.fsync(descriptor)
        Path(temporary).replace(file)
    finally:
        Path(temporary).unlink(missing_ok=True)

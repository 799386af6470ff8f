"""What a running service says to `mirrord reload`: a small file, replaced whole after each reading of the settings."""

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

NAME = "answer.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How the last reading of the settings went: the one at the start, or the one that a signal asked for."""

    pid: int
    began: int
    """When the process started, in the kernel's own count (proc(5), `stat`): process ids are used again."""
    number: int
    """Of this answer; a service's first is 1."""
    ok: bool
    """Whether the settings were taken."""
    said: tuple[str, ...] = ()
    """Why they were refused; else what of them takes effect at a restart only."""


def mine(number: int, *, ok: bool = True, said: Iterable[str] = ()) -> Answer:
    """This process's."""
    pid = os.getpid()
    return Answer(pid=pid, began=began_at(pid) or 0, number=number, ok=ok, said=tuple(said))


def is_alive(answer: Answer) -> bool:
    """Whether the process that gave it still runs."""
    began = began_at(answer.pid)
    if began is not None:  # 0 never is: nobody has asked the kernel yet how that process has ended
        return began == answer.began > 0
    try:  # inside the unit a process does not see its sibling, and may still signal it
        os.kill(answer.pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def began_at(pid: int) -> int | None:
    """When that process started; 0: it has ended, and is still listed; None: nobody here may see any such process."""
    with suppress(OSError, ValueError, IndexError):
        state, *others = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()  # its name may hold any ")"
        return 0 if state in (b"Z", b"X") else int(others[18])
    return None


def places(journal: Path | None, runtime: str | None) -> list[Path]:
    """Where the answer is: in systemd's runtime folder, and beside the journal, for who knows the settings alone."""
    folders = [Path(each) for each in (runtime or "").split(":") if each]
    beside = [] if journal is None else [journal.with_name(f"{journal.name}-{NAME}")]
    return [*(folder / NAME for folder in folders), *beside]


def leave(answer: Answer, at: Iterable[Path]) -> list[OSError]:
    """Put it into all of these places; why it is not in some of them."""
    failures = []
    for path in at:
        fresh = path.with_name(f".{path.name}.new")
        try:
            fresh.write_text(json.dumps(asdict(answer)))
            fresh.replace(path)
        except OSError as exc:
            failures.append(exc)
    return failures


def take_away(at: Iterable[Path]) -> None:
    """The service ends."""
    for path in at:
        with suppress(OSError):
            path.unlink()


def found(at: Iterable[Path]) -> Answer | None:
    """What the service that runs has left; None: no service runs. Raises PermissionError."""
    for path in at:
        try:
            answer = _answer(**json.loads(path.read_bytes()))
        except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
            continue
        if is_alive(answer):
            return answer
    return None


def _answer(*, said: list[str], **others: Any) -> Answer:
    return Answer(said=tuple(said), **others)

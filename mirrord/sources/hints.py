"""Hints: what a watch says has happened below its root, and the buffer that carries it to the loop."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from threading import Lock

MOST_HINTS = 1_000_000


class HintKind(Enum):
    """What is known of the path; look at the disk before believing any of it."""

    WHOLE = "whole"  # closed after a write, or moved in: the file is complete
    WRITING = "writing"  # a process has it open and has written, or may be about to: WHOLE follows
    TOUCHED = "touched"  # linked, its attributes changed, or found by looking: nobody knows whether it is written
    GONE = "gone"  # deleted or moved away
    TREE_GONE = "tree-gone"  # a directory deleted or moved away, with whatever was below it
    LOST = "lost"  # anything below the path may have changed unseen


@dataclass(frozen=True, slots=True)
class Hint:
    """One thing that happened at `path`."""

    kind: HintKind
    path: str
    """Relative to the root, "/"-separated, `os.fsdecode`d; "" is the root itself."""
    reason: str = ""
    """Why hints were lost, for a person to read; empty unless LOST."""


class HintBuffer:
    """Holds hints between the thread that finds them and the loop that drains them.

    `wake` is called, in the thread that adds, once between two drains. More than `most` undrained hints
    become a single LOST: whoever drains it has to look at everything anyway.
    """

    def __init__(self, wake: Callable[[], None], *, most: int = MOST_HINTS) -> None:
        self._wake = wake
        self._most = most
        self._room = most
        self._hints: list[Hint] = []
        self._lock = Lock()

    def add(self, kind: HintKind, path: str, reason: str = "") -> None:
        """Keep the hint, unless it says again what the last one said; WRITING says more than TOUCHED."""
        with self._lock:
            hints = self._hints
            if hints:
                last = hints[-1]
                if last.path == path:
                    if last.kind is kind:
                        return
                    if last.kind is HintKind.TOUCHED and kind is HintKind.WRITING:
                        hints[-1] = Hint(kind, path)
                        return
                if len(hints) >= self._room:
                    self._overflow()
                else:
                    hints.append(Hint(kind, path, reason))
                return
            hints.append(Hint(kind, path, reason))
        self._wake()

    def drain(self) -> list[Hint]:
        """Everything since the last drain, in order."""
        with self._lock:
            hints, self._hints = self._hints, []
            self._room = self._most
        return hints

    def _overflow(self) -> None:
        if self._room:
            reason = f"more than {self._most} changes waited to be taken in"
            self._hints = [Hint(HintKind.LOST, "", reason)]
            self._room = 0  # what comes until the drain, the look at everything covers

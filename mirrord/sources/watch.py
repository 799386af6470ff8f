"""Watch: what every way of watching a directory offers, and the choice of one."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal, Protocol

from mirrord.sources.boundary import Boundary
from mirrord.sources.hints import MOST_HINTS, Hint, HintBuffer, HintKind
from mirrord.sources.polling import PollWatch

__all__ = ["Hint", "HintKind", "Watch", "WatchMode", "open_watch"]

WatchMode = Literal["auto", "inotify", "poll"]


class Watch(Protocol):
    """Says what happens below a root, from a thread of its own. Hints only: some may be lost, and LOST says so."""

    def start(self) -> None:
        """On return every directory there is is watched, or counted in `missing`.

        Raises OSError when the root cannot be watched.
        """

    def stop(self) -> None:
        """On return the thread has ended; a watch does not start twice."""

    def drain(self) -> list[Hint]:
        """All hints since the last drain, in order; from any thread."""

    @property
    def watched(self) -> int:
        """Directories that are watched."""

    @property
    def missing(self) -> int:
        """Directories that are not, because of a limit or their permissions."""

    @property
    def alive(self) -> bool:
        """False once the thread has failed, or the root has gone: a LOST hint says which. Open another watch."""


def open_watch(
    root: Path,
    *,
    mode: WatchMode,
    follow_symlinks: bool,
    wake: Callable[[], None],
    skip_directory: Callable[[str], bool],
    most_hints: int = MOST_HINTS,
) -> Watch:
    """A watch of `root`, not yet started. "auto" is inotify on Linux and polling elsewhere.

    `wake` is called from the watch's thread, once between two drains, when there is something to drain.
    `skip_directory` is given a directory's path relative to the root, and True keeps the watch out of it.
    """
    boundary = Boundary(root, follow_symlinks=follow_symlinks, skip_directory=skip_directory)
    hints = HintBuffer(wake, most=most_hints)
    if mode == "poll" or (mode == "auto" and sys.platform != "linux"):
        return PollWatch(boundary, hints)
    from mirrord.sources.inotify import InotifyWatch  # noqa: PLC0415 - watchdog's layer imports on Linux alone

    return InotifyWatch(boundary, hints)

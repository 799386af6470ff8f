"""PollWatch: snapshots of the tree in, hints out; for file systems and platforms without inotify.

A snapshot holds every file's status: a few hundred bytes each, and the whole tree read every time.
"""

import os
import stat
from collections.abc import Iterator
from time import monotonic

from watchdog.events import (
    DirDeletedEvent,
    DirMovedEvent,
    FileAttribEvent,
    FileCreatedEvent,
    FileDeletedEvent,
    FileModifiedEvent,
    FileMovedEvent,
    FileSystemEvent,
)
from watchdog.observers.api import EventQueue, ObservedWatch
from watchdog.observers.polling import PollingEmitter

from mirrord.sources.boundary import Boundary
from mirrord.sources.hints import Hint, HintBuffer, HintKind

INTERVAL_S = 2.0
_REST = 9  # times as long between two snapshots as one takes: a tenth of a processor at most


class PollWatch:
    """Compares the tree with what it was; see `Watch` for what the methods promise."""

    def __init__(self, boundary: Boundary, hints: HintBuffer, *, interval_s: float = INTERVAL_S) -> None:
        self._hints = hints
        self._poller = _Poller(boundary, hints, interval_s)

    @property
    def alive(self) -> bool:
        return self._poller.looking

    @property
    def watched(self) -> int:
        return self._poller.listed

    @property
    def missing(self) -> int:
        return len(self._poller.unreadable)

    def drain(self) -> list[Hint]:
        return self._hints.drain()

    def start(self) -> None:
        self._poller.start()

    def stop(self) -> None:
        self._poller.stop()
        if self._poller.ident is not None:
            self._poller.join()


class _Poller(PollingEmitter):
    """watchdog's comparison of snapshots, without its queue and its second thread."""

    def __init__(self, boundary: Boundary, hints: HintBuffer, interval_s: float) -> None:
        super().__init__(
            EventQueue(),
            ObservedWatch(boundary.root, recursive=True),
            timeout=interval_s,
            stat=self._stat,
            listdir=self._listdir,
        )
        self.name = "poll"
        self.looking = False
        self.listed = 0
        self.unreadable: set[str] = set()
        self._boundary = boundary
        self._hints = hints
        self._wait_s = interval_s
        self._round: list[FileSystemEvent] = []
        self._told: set[str] = set()

    def on_thread_start(self) -> None:
        super().on_thread_start()
        self._tell_unreadable()
        self.looking = True

    def run(self) -> None:
        try:
            super().run()
        finally:
            if self.looking and self.should_keep_running():
                self.looking = False
                self._hints.add(HintKind.LOST, "", "the thread that compares snapshots failed")
            self.looking = False

    def queue_events(self, timeout: float) -> None:
        started = monotonic()
        super().queue_events(self._wait_s)
        took_s = monotonic() - started - self._wait_s
        self._wait_s = max(timeout, _REST * took_s)
        events, self._round = self._round, []
        for event in events:
            self._tell_departure(event)
        for event in events:  # after: of a directory deleted and made again, watchdog tells the deletion last
            self._tell_arrival(event)
        self._tell_unreadable()

    def queue_event(self, event: FileSystemEvent) -> None:
        self._round.append(event)

    def _tell_departure(self, event: FileSystemEvent) -> None:
        path = self._boundary.relative(os.fsdecode(event.src_path))
        if self._hidden(path):
            return
        match event:
            case DirDeletedEvent() if not path:
                self.looking = False
                self._hints.add(HintKind.LOST, "", "the root was deleted or moved away")
            case DirDeletedEvent() | DirMovedEvent():
                self._hints.add(HintKind.TREE_GONE, path)
            case FileDeletedEvent() | FileMovedEvent():
                self._hints.add(HintKind.GONE, path)

    def _tell_arrival(self, event: FileSystemEvent) -> None:
        match event:
            case FileMovedEvent():  # or a new file with a deleted one's inode number, still being written
                path = event.dest_path
            case FileCreatedEvent() | FileModifiedEvent() | FileAttribEvent():
                path = event.src_path
            case _:
                return
        # never WHOLE or WRITING: two snapshots do not tell whether anybody has the file open
        self._hints.add(HintKind.TOUCHED, self._boundary.relative(os.fsdecode(path)))

    def _tell_unreadable(self) -> None:
        for path in sorted(self.unreadable - self._told):
            self._hints.add(HintKind.LOST, path, "cannot list the directory: it is not readable")
        self._told = set(self.unreadable)

    def _hidden(self, path: str) -> bool:
        """Whether the path only seems to have gone, because a directory above it cannot be read."""
        return any(path.startswith(f"{directory}/") for directory in self.unreadable)

    def _stat(self, path: str) -> os.stat_result:
        if path == self._boundary.root:
            self.listed = 0
            self.unreadable = set()
            return os.stat(path)  # noqa: PTH116 - called for every file
        status = os.lstat(path)
        if stat.S_ISLNK(status.st_mode) and self._boundary.enters_link(self._boundary.relative(path)):
            return os.stat(path)  # noqa: PTH116
        return status

    def _listdir(self, path: str | None) -> "Iterator[os.DirEntry[str]]":
        absolute = self._boundary.root if path is None else path
        directory = self._boundary.relative(absolute)
        try:
            with os.scandir(absolute) as entries:
                inside = [entry for entry in entries if not self._skips(directory, entry)]
        except PermissionError:
            if not directory:
                raise
            self.unreadable.add(directory)
            return iter(())
        self.listed += 1
        return iter(inside)

    def _skips(self, directory: str, entry: "os.DirEntry[str]") -> bool:
        path = f"{directory}/{entry.name}" if directory else entry.name
        return entry.is_dir(follow_symlinks=False) and self._boundary.skips(path)

"""InotifyReader: one inotify instance, the thread that reads it, and what watchdog leaves open there closed."""

import contextlib
import errno
import os
from collections import deque
from collections.abc import Callable, Sequence
from itertools import count, starmap

from watchdog.observers.inotify_c import (
    CallbackId,
    InotifyConstants,
    InotifyEvent,
    InotifyFD,
    Mask,
    WatchCallback,
    WatchDescriptor,
)

from mirrord.sources.watched_tree import NOT_WATCHED

_READ_BYTES = 1 << 20  # one read takes all that the kernel queues by default
_MOST_TAKEN_BYTES = 64 << 20  # some two million events
_STRIDE = 512  # events worked off in some 2 ms
ROOT_MOVED = InotifyConstants.IN_DELETE_SELF | InotifyConstants.IN_MOVE_SELF
_MASK = (
    InotifyConstants.IN_CLOSE_WRITE
    | InotifyConstants.IN_MODIFY
    | InotifyConstants.IN_ATTRIB
    | InotifyConstants.IN_CREATE
    | InotifyConstants.IN_MOVED_TO
    | InotifyConstants.IN_MOVED_FROM
    | InotifyConstants.IN_DELETE
    | InotifyConstants.IN_ONLYDIR
    | InotifyConstants.IN_EXCL_UNLINK
)


class InotifyReader(InotifyFD):
    """Feeds `callback`. `ended` is called in the thread, as its last act but closing everything.

    Raises OSError when there can be no further instance.
    """

    def __init__(self, callback: WatchCallback, *, root: str, follow_symlinks: bool, ended: Callable[[], None]) -> None:
        super().__init__()
        self.name = "inotify"
        self._is_reading = False  # watchdog says True before the first read, and close() then closes nothing
        self._callback = callback
        self._root = root
        self._mask = _MASK if follow_symlinks else _MASK | InotifyConstants.IN_DONT_FOLLOW
        self._ended = ended
        self._fresh_ids = count()
        self._id_of: dict[int, CallbackId] = {}
        self._taken: deque[bytes] = deque()
        self._taken_bytes = 0
        os.set_blocking(self._inotify_fd, False)

    def add(self, path: str) -> int:
        """Watch the directory; the same inode gives the same descriptor. Raises OSError."""
        id_ = CallbackId(next(self._fresh_ids))  # watchdog warns of an id used twice for an inode
        mask = self._mask if path != self._root else (_MASK | ROOT_MOVED)
        wd = self.add_callback(os.fsencode(path), Mask(mask), self._callback, id_)
        if wd == NOT_WATCHED:  # watchdog passes over EACCES and books a descriptor -1
            self.remove_callbacks([(wd, id_)])
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        if self._id_of.setdefault(wd, id_) != id_:
            self.remove_callbacks([(wd, id_)])
        return wd

    def remove(self, wds: Sequence[int]) -> None:
        """Take back watches; one that is gone already is no mistake."""
        self.remove_callbacks([(WatchDescriptor(wd), self._id_of.pop(wd)) for wd in wds])

    def keep_up(self) -> bool:
        """Take in what the kernel has queued; False: it is time to stop.

        The kernel's queue holds a tenth of a second of a quick publisher's events. Called during all long work, so
        that it overflows only where the thread does not run at all. A single call: each gives up the interpreter lock.
        """
        if self._taken_bytes < _MOST_TAKEN_BYTES:
            with contextlib.suppress(BlockingIOError):
                taken = os.read(self._inotify_fd, _READ_BYTES)
                self._taken.append(taken)
                self._taken_bytes += len(taken)
        return self.should_keep_running()

    def _read_event_buffer(self, event_buffer_size: int) -> bytes:
        if not self._taken:
            return super()._read_event_buffer(event_buffer_size)
        taken = self._taken.popleft()
        self._taken_bytes -= len(taken)
        return taken

    def on_thread_stop(self) -> None:
        """Only wake the thread; it closes everything itself.

        watchdog closes here, and a walk still under way could then use a number that is another file's by now.
        """
        with self._lock:
            if not self._closed:
                os.write(self._kill_w, b"!")

    def run(self) -> None:
        try:
            while self.should_keep_running():
                events = self._parse_event_buffer(self._read_event_buffer(_READ_BYTES))
                for number, event in enumerate(starmap(InotifyEvent, events), start=1):
                    self.handle_event(event)
                    if number % _STRIDE == 0:
                        self.keep_up()
        finally:
            self._ended()
            self.close()

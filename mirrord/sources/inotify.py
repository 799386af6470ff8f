"""InotifyWatch: inotify events in, hints out.

watchdog's own emitter pairs the two halves of each move, through a queue that it searches linearly; a mirror needs
no pairs. This one stands directly on watchdog's inotify layer: a move is one removal and one arrival.
"""

import errno
import os
import stat
from collections.abc import Callable

from watchdog.observers.inotify_c import InotifyConstants, InotifyEvent, WatchDescriptor

from mirrord.sources.boundary import Boundary
from mirrord.sources.hints import Hint, HintBuffer, HintKind
from mirrord.sources.inotify_reader import ROOT_MOVED, InotifyReader
from mirrord.sources.watched_tree import NOT_WATCHED, Directory, WatchedTree

_ARRIVED = InotifyConstants.IN_CREATE | InotifyConstants.IN_MOVED_TO
_DEPARTED = InotifyConstants.IN_DELETE | InotifyConstants.IN_MOVED_FROM
_CREATED = InotifyConstants.IN_CREATE
_FILE_HINTS: dict[int, HintKind] = {  # the whole mask: a directory's events carry IN_ISDIR too
    InotifyConstants.IN_CLOSE_WRITE: HintKind.WHOLE,
    InotifyConstants.IN_MOVED_TO: HintKind.WHOLE,
    # truncate(2), by path, is followed by no close: such a file comes at the settle limit, late but not lost
    InotifyConstants.IN_MODIFY: HintKind.WRITING,
    InotifyConstants.IN_MODIFY | InotifyConstants.IN_ATTRIB: HintKind.WRITING,  # cut short, and its set-uid bit taken
    InotifyConstants.IN_ATTRIB: HintKind.TOUCHED,
    _CREATED: HintKind.TOUCHED,  # a link is never closed; `look_at_created` tells what is none
    InotifyConstants.IN_MOVED_FROM: HintKind.GONE,
    InotifyConstants.IN_DELETE: HintKind.GONE,
}


class LookingReader(InotifyReader):
    """Has the translator look at what was created before each read, and thus once for many events.

    A look gives up the interpreter lock: beside a thread that computes it costs 1.2 ms instead of 2 us.
    """

    def __init__(
        self, translator: "_Translator", *, root: str, follow_symlinks: bool, ended: Callable[[], None]
    ) -> None:
        super().__init__(translator, root=root, follow_symlinks=follow_symlinks, ended=ended)
        self._translator = translator

    def _read_event_buffer(self, event_buffer_size: int) -> bytes:
        self._translator.look_at_created()
        return super()._read_event_buffer(event_buffer_size)


class InotifyWatch:
    """Watches every directory inside the boundary; see `Watch` for what the methods promise.

    `new_reader` takes what InotifyReader takes.
    """

    def __init__(
        self,
        boundary: Boundary,
        hints: HintBuffer,
        *,
        new_reader: Callable[..., InotifyReader] = LookingReader,
    ) -> None:
        self._boundary = boundary
        self._hints = hints
        self._new_reader = new_reader
        self._translator: _Translator | None = None

    @property
    def alive(self) -> bool:
        return self._translator is not None and self._translator.alive

    @property
    def watched(self) -> int:
        return len(self._translator.tree.standing_for) if self._translator is not None else 0

    @property
    def missing(self) -> int:
        return self._translator.tree.missing if self._translator is not None else 0

    def drain(self) -> list[Hint]:
        return self._hints.drain()

    def start(self) -> None:
        self._translator = _Translator(self._boundary, self._hints, self._new_reader)
        self._translator.start()

    def stop(self) -> None:
        if self._translator is not None:
            self._translator.stop()


class _Translator:
    """What the reader calls, in its thread: each event becomes hints, and the tree follows."""

    def __init__(self, boundary: Boundary, hints: HintBuffer, new_reader: Callable[..., InotifyReader]) -> None:
        self._boundary = boundary
        self._hints = hints
        try:
            self._reader = new_reader(
                self, root=boundary.root, follow_symlinks=boundary.follow_symlinks, ended=self._end
            )
        except OSError as exc:
            if exc.errno != errno.EMFILE:
                raise
            reason = "no inotify instance: raise fs.inotify.max_user_instances, or the limit of open files"
            raise OSError(errno.EMFILE, reason) from exc
        self.tree = WatchedTree(boundary, hints, self._reader)
        self._standing_for = self.tree.standing_for
        self._created: set[str] = set()  # of which nothing has said yet whether somebody has them open
        self.alive = False

    def start(self) -> None:
        """Raises OSError when the root cannot be watched."""
        try:
            self.tree.plant()
            self.alive = True
        except OSError as exc:
            if exc.errno != errno.ENOSPC:
                raise
            reason = "no directory can be watched: raise fs.inotify.max_user_watches"
            raise OSError(errno.ENOSPC, reason, self._boundary.root) from exc
        finally:
            if not self.alive:
                self._reader.close()
        self._reader.start()

    def stop(self) -> None:
        self._reader.stop()
        if self._reader.ident is not None:
            self._reader.join()

    def on_event(self, event: InotifyEvent) -> None:
        standing = self._standing_for.get(event.wd)
        if standing is None:
            return  # queued before its directory was dropped
        mask = event.mask
        kind = _FILE_HINTS.get(mask)
        if kind is None:
            self._follow_directory(event, standing)
            return
        name = os.fsdecode(event.name)
        if self._boundary.follow_symlinks:
            standing = [directory for directory in tuple(standing) if not self._follow_link(event, directory, name)]
        for directory in standing:
            path = directory.prefix + name
            self._hints.add(kind, path)
            if mask == _CREATED:
                self._created.add(path)
            elif self._created and kind is not HintKind.TOUCHED:
                self._created.discard(path)

    def look_at_created(self) -> None:
        """Tell of files just created, and not written or closed since, whether somebody may have them open.

        Those are the empty ones: had one been written, IN_MODIFY would say so. One with content came by link(2)
        and is never closed, even where it has a single name: its first is unlinked already, or it was an O_TMPFILE.
        """
        for path in self._created:
            try:
                found = os.lstat(self._boundary.absolute(path))
            except OSError:
                continue  # gone, and its directory's watch or its own says so
            if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and not found.st_size:
                self._hints.add(HintKind.WRITING, path)
        self._created.clear()

    def on_watch_deleted(self, wd: WatchDescriptor) -> None:
        """The kernel ended a watch: the directory is no more, or no longer mounted."""
        if not self.alive:
            return  # the reader is closing
        if self.tree.is_root(wd):
            self._lose_root("deleted")
            return
        for directory in tuple(self._standing_for.get(wd, ())):
            if directory.wd == wd and directory.parent is not None:
                self.tree.leave(directory.parent, directory.name)

    def on_queue_overflow(self) -> None:
        """New directories may have been among what was lost: walk, and only then tell."""
        try:
            self.tree.plant()
        except OSError as exc:
            self._lose_root(f"not to be watched any more ({exc.strerror})")
        else:
            self._hints.add(
                HintKind.LOST, "", "events came faster than they were read: fs.inotify.max_queued_events is reached"
            )

    def _follow_directory(self, event: InotifyEvent, standing: list[Directory]) -> None:
        """An event of a directory in one that is watched, or of a watched one itself."""
        name = os.fsdecode(event.name)
        for directory in tuple(standing):
            if directory.wd != event.wd:
                continue  # dropped with an earlier one
            if not name:
                self._follow_itself(event, directory)
            elif event.mask & _ARRIVED:
                self.tree.enter(directory, name)
            elif event.mask & _DEPARTED:
                self.tree.leave(directory, name)
            elif name in directory.children and directory.children[name].wd == NOT_WATCHED:
                self.tree.enter(directory, name)  # its permissions changed: it may be readable now

    def _follow_itself(self, event: InotifyEvent, directory: Directory) -> None:
        unmounted = bool(event.mask & InotifyConstants.IN_UNMOUNT)
        if directory.parent is None:
            if unmounted:
                self._lose_root("unmounted")
            elif event.mask & ROOT_MOVED:
                self._lose_root("deleted" if event.mask & InotifyConstants.IN_DELETE_SELF else "moved away")
        elif unmounted:
            self._hints.add(HintKind.LOST, directory.path, "the file system was unmounted")
            self.tree.unmount(directory)

    def _follow_link(self, event: InotifyEvent, directory: Directory, name: str) -> bool:
        """Whether the event was of a symbolic link that is followed to a directory, or of one just dropped."""
        if directory.wd != event.wd:
            return True
        if name in directory.children and event.mask & (_ARRIVED | _DEPARTED):
            self.tree.leave(directory, name)
            return True
        if event.mask & _ARRIVED and self._boundary.enters_link(directory.prefix + name):
            self.tree.enter(directory, name)
            return True
        return False

    def _lose_root(self, how: str) -> None:
        """Nothing that still comes would be of this root: end the thread."""
        self.alive = False
        self._hints.add(HintKind.LOST, "", f"the root was {how}")
        self._reader.stop()

    def _end(self) -> None:
        if self.alive and self._reader.should_keep_running():
            self.alive = False
            self._hints.add(HintKind.LOST, "", "the thread that reads events failed")
        self.alive = False

"""WatchedTree: which directory each watch descriptor stands for, kept right while directories come and go.

A watch is set before its directory is listed, so what the listing misses is in the event queue. A descriptor
stands for an inode, not a path: a directory that was moved, or is reached through a link, is met under a second
path while the first is still in the books. Both are kept, and the watch ends with the last of them.
"""

import errno
import os
from collections.abc import Sequence
from typing import Protocol

from mirrord.sources.boundary import Boundary
from mirrord.sources.hints import HintBuffer, HintKind

NOT_WATCHED = -1
DROPPED = -2
_VANISHED = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})  # its removal is told by the parent's watch


class Descriptors(Protocol):
    """Where watches are set and taken back."""

    def add(self, path: str) -> int:
        """Watch the directory; the same inode gives the same descriptor. Raises OSError."""

    def remove(self, wds: Sequence[int]) -> None:
        """Take back watches; one that is gone already is no mistake."""

    def keep_up(self) -> bool:
        """Called for every directory of a walk; False: it is time to stop."""


class Directory:
    """A directory of the tree, under one of its paths."""

    __slots__ = ("children", "name", "parent", "prefix", "wd")

    def __init__(self, parent: "Directory | None", name: str, wd: int) -> None:
        self.parent = parent
        self.name = name
        self.wd = wd
        self.prefix: str = f"{parent.prefix}{name}/" if parent is not None else ""
        self.children: dict[str, Directory] = {}

    @property
    def path(self) -> str:
        return self.prefix[:-1]


class WatchedTree:
    """Every directory inside the boundary, watched or counted as missing. Used by one thread at a time."""

    def __init__(self, boundary: Boundary, hints: HintBuffer, descriptors: Descriptors) -> None:
        self._boundary = boundary
        self._hints = hints
        self._descriptors = descriptors
        self._root: Directory | None = None
        self._limited = False  # the watch limit was met and has been told
        self.standing_for: dict[int, list[Directory]] = {}
        """Descriptor to the directories it stands for; nearly always one."""
        self.missing = 0

    def plant(self) -> None:
        """Watch every directory there is now, and forget those that are no more; no file is reported.

        Raises OSError when the root cannot be watched.
        """
        old, self._limited = self._root, False
        self._root = Directory(None, "", self._descriptors.add(self._boundary.root))
        self._stand(self._root)
        self._grow(self._root, report=False)
        if old is not None:
            self._drop(old)
        if self._limited:
            self._tell_limit("")

    def is_root(self, wd: int) -> bool:
        return self._root is not None and wd == self._root.wd

    def enter(self, parent: Directory, name: str) -> None:
        """A directory has come: watch it and all below, and report the files that it brought."""
        path = parent.prefix + name
        if self._boundary.skips(path):
            return
        told = self._limited
        directory = self._watch(parent, name)
        if directory is not None:
            self._grow(directory, report=True)
        if self._limited and not told:
            self._tell_limit(path)

    def leave(self, parent: Directory, name: str) -> None:
        """A directory has gone, or another took its name: forget it and all below."""
        path = parent.prefix + name
        if self._boundary.skips(path):
            return
        self._hints.add(HintKind.TREE_GONE, path)
        child = parent.children.get(name)
        aliases = self._drop(child) if child is not None else []
        if self._is_there(path):  # two that change places are each told as arriving before they are told as gone
            self.enter(parent, name)
        for alias in aliases:  # links that led to what has gone
            if alias.wd != DROPPED and alias.parent is not None and not self._is_there(alias.path):
                self.leave(alias.parent, alias.name)

    def _is_there(self, path: str) -> bool:
        absolute = self._boundary.absolute(path)
        if os.path.islink(absolute):  # noqa: PTH114
            return self._boundary.enters_link(path)
        return os.path.isdir(absolute)  # noqa: PTH112

    def unmount(self, directory: Directory) -> None:
        """What is below is another file system's now, or nothing: watch what is there."""
        if directory.parent is not None:
            self._drop(directory)
            self.enter(directory.parent, directory.name)

    def _grow(self, top: Directory, *, report: bool) -> None:
        unlisted = [top]
        while unlisted and self._descriptors.keep_up():
            directory = unlisted.pop()
            try:
                self._list(directory, unlisted, report=report)
            except OSError as exc:
                if exc.errno not in _VANISHED and directory.wd != NOT_WATCHED:  # which has been told
                    self._hints.add(HintKind.LOST, directory.path, f"cannot list the directory: {exc.strerror}")

    def _list(self, directory: Directory, unlisted: list[Directory], *, report: bool) -> None:
        prefix = directory.prefix
        with os.scandir(self._boundary.absolute(directory.path)) as entries:
            for entry in entries:
                path = prefix + entry.name
                if self._boundary.enters(path, entry):
                    child = self._watch(directory, entry.name)
                    if child is not None:
                        unlisted.append(child)
                elif report and not entry.is_dir(follow_symlinks=False):
                    self._hints.add(HintKind.TOUCHED, path)

    def _watch(self, parent: Directory, name: str) -> Directory | None:
        """The directory that now has this name, to be listed; None when there is nothing new to list."""
        path = parent.prefix + name
        known = parent.children.get(name)
        try:
            wd = self._descriptors.add(self._boundary.absolute(path))
        except OSError as exc:
            if exc.errno in _VANISHED:
                return None
            wd = NOT_WATCHED
            self._refused(path, exc, again=known is not None and known.wd == NOT_WATCHED)
        if known is not None and known.wd == wd != NOT_WATCHED:
            return None  # watched before it was listed: whatever came since is in the queue
        directory = Directory(parent, name, wd)
        self._stand(directory)  # before the drop, which would end a watch that both stand on
        if known is not None:
            if known.wd != NOT_WATCHED:
                self._hints.add(HintKind.TREE_GONE, path)
            self._drop(known)
        parent.children[name] = directory
        return directory

    def _refused(self, path: str, exc: OSError, *, again: bool) -> None:
        if exc.errno == errno.ENOSPC:
            self._limited = True
        elif not again:
            self._hints.add(HintKind.LOST, path, f"cannot watch the directory: {exc.strerror}")

    def _tell_limit(self, path: str) -> None:
        watched = len(self.standing_for)
        self._hints.add(
            HintKind.LOST,
            path,
            f"fs.inotify.max_user_watches is reached: of {watched + self.missing} directories {watched} are watched",
        )

    def _stand(self, directory: Directory) -> None:
        if directory.wd == NOT_WATCHED:
            self.missing += 1
        else:
            self.standing_for.setdefault(directory.wd, []).append(directory)

    def _drop(self, top: Directory) -> list[Directory]:
        """Forget the directory and all below; returns the directories that shared a watch with one of them."""
        if top.parent is not None and top.parent.children.get(top.name) is top:
            del top.parent.children[top.name]
        idle: list[int] = []
        aliases: list[Directory] = []
        dropping = [top]
        while dropping:
            directory = dropping.pop()
            dropping.extend(directory.children.values())
            wd, directory.wd = directory.wd, DROPPED
            if wd == NOT_WATCHED:
                self.missing -= 1
            elif wd != DROPPED:
                standing = self.standing_for[wd]
                standing.remove(directory)
                aliases.extend(standing)
                if not standing:
                    del self.standing_for[wd]
                    idle.append(wd)
        self._descriptors.remove(idle)
        self._limited = self._limited and self.missing > 0
        return aliases

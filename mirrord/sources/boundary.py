"""Boundary: which directories below a root belong to it."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path


class Boundary:
    """Skipped directories are outside; a symbolic link is inside only where it is followed.

    Paths are relative to the root, "" being the root.
    """

    def __init__(self, root: Path, *, follow_symlinks: bool, skip_directory: Callable[[str], bool]) -> None:
        self.root = os.path.abspath(root)  # noqa: PTH100 - a str: it is joined once per directory
        self.follow_symlinks = follow_symlinks
        self.skips = skip_directory
        self._prefix = os.path.join(self.root, "")  # noqa: PTH118 - keeps the final separator

    def absolute(self, path: str) -> str:
        return self._prefix + path if path else self.root

    def relative(self, absolute: str) -> str:
        return absolute[len(self._prefix) :]

    def enters(self, path: str, entry: "os.DirEntry[str]") -> bool:
        """Whether `entry`, listed at `path`, is a directory to go into."""
        if entry.is_dir(follow_symlinks=False):
            return not self.skips(path)
        return self.follow_symlinks and entry.is_symlink() and self.enters_link(path)

    def enters_link(self, path: str) -> bool:
        """Whether a followed link at `path` leads to a directory inside the root and not to one it lies in."""
        absolute = self.absolute(path)
        if not self.follow_symlinks or not os.path.islink(absolute) or not os.path.isdir(absolute):  # noqa: PTH112, PTH114
            return False
        if not self.contains(path) or self.skips(path):
            return False
        return not any(_same(absolute, self.absolute(above)) for above in _above(path))

    def contains(self, path: str) -> bool:
        """Whether what `path` leads to, all links followed, lies in the root."""
        root = os.path.realpath(self.root)
        return os.path.commonpath((os.path.realpath(self.absolute(path)), root)) == root


def _above(path: str) -> Iterator[str]:
    while path:
        path = path.rpartition("/")[0]
        yield path


def _same(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)  # noqa: PTH121 - device and inode
    except FileNotFoundError:
        return True  # it went while we looked: nothing to enter

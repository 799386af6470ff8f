"""Root: the directory that a source looks below, and whether it is still the one it was."""

import errno
import os
from pathlib import Path

from mirrord.sources.contract import SourceUnavailable


class Root:
    """A path that may vanish, be unmounted, or become another directory while we look below it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.held: str | None = None
        """The identity that looks are made under; None before the first."""

    def identity(self) -> str:
        """Device and inode. Raises SourceUnavailable when there is no directory that can be read."""
        path = self._path
        try:
            found = path.stat()
        except FileNotFoundError as exc:
            raise SourceUnavailable(f"{path}: does not exist") from exc
        except OSError as exc:
            raise SourceUnavailable(f"{path}: {exc.strerror}") from exc
        if not path.is_dir():
            raise SourceUnavailable(f"{path}: is not a directory")
        if not os.access(path, os.R_OK | os.X_OK, effective_ids=True):
            raise SourceUnavailable(f"{path}: {os.strerror(errno.EACCES)}")
        return f"{found.st_dev}:{found.st_ino}"

    def hold(self) -> str:
        """Look below what is there now."""
        self.held = self.identity()
        return self.held

    def is_held(self) -> bool:
        """Whether it is still the directory that looks are made under: only then is an absent file a gone one."""
        try:
            return self.held is None or self.identity() == self.held
        except SourceUnavailable:
            return False

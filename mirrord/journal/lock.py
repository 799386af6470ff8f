"""One service a journal: a lock that the kernel drops when its holder dies, however it dies."""

import fcntl
import os
from pathlib import Path

from mirrord.journal.errors import JournalUnavailable


class ServiceLock:
    """Held while this process is the one service of its journal.

    Whoever gets it knows that claims left in the journal belong to the dead.
    """

    def __init__(self, file: Path) -> None:
        self._path = file.with_name(file.name + ".lock")
        self._fd: int | None = None

    def acquire(self) -> bool:
        """Whether this process holds it now; False when another one does. Raises JournalUnavailable."""
        if self._fd is not None:
            return True
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as exc:
            raise JournalUnavailable(f"{self._path}: {exc.strerror}; the journal's directory must be writable") from exc
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        self._fd = fd
        return True

    def release(self) -> None:
        """Let the next one have it. The file stays: removing it would let two hold two files of one name."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

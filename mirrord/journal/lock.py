"""One service a journal: a lock that the kernel drops when its holder dies, however it dies."""

import fcntl
import os
import struct
from pathlib import Path

from mirrord.journal.errors import JournalForbidden, JournalUnavailable

_FLOCK = struct.Struct("@hhqqi0q")
"""The kernel's `struct flock`: kind, whence, start, length (0: to the end), pid (0 for locks of an open file)."""


class ServiceLock:
    """Held while this process is the one service of its journal.

    Whoever gets it knows that claims left in the journal belong to the dead. It belongs to the open file, as
    that of `flock` does, but unlike that one it can be asked for without being taken.
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
            kind = JournalForbidden if isinstance(exc, PermissionError) else JournalUnavailable
            raise kind(f"{self._path}: {exc.strerror}; the journal's directory must be writable") from exc
        try:
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _whole_file())
        except BlockingIOError:
            os.close(fd)
            return False
        except OSError as exc:
            os.close(fd)
            raise JournalUnavailable(f"{self._path}: {exc.strerror}; its file system must support locks") from exc
        self._fd = fd
        return True

    def is_held(self) -> bool | None:
        """Whether some process holds it; None: this user may not ask. Never in the way of one that wants it."""
        if self._fd is not None:
            return True
        try:
            fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError:
            return None
        try:
            answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _whole_file())
        except OSError:
            return None
        finally:
            os.close(fd)
        return bool(_FLOCK.unpack(answer)[0] != fcntl.F_UNLCK)

    def release(self) -> None:
        """Let the next one have it. The file stays: removing it would let two hold two files of one name."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _whole_file() -> bytes:
    """What is asked of the kernel: to write, and so to be alone."""
    return _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)

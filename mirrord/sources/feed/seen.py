"""Keys that a snapshot names, set aside on disk, until it is whole; out come the known keys that it does not name."""

import errno
import sqlite3
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Self

from mirrord.model.fingerprint import Fingerprint

_ADD = "INSERT INTO seen VALUES (?)"
_IN_ORDER = "SELECT key FROM seen ORDER BY key"
_COUNT = "SELECT count(*) FROM (SELECT key FROM seen GROUP BY key)"


class Seen:
    """A set of keys; however many there are, the same memory. Keys are valid UTF-8.

    For one thread at a time, which may be another one each time. Everything raises OSError when the disk does not do.
    They are put down as they come and sorted when somebody asks: a tree that is grown in no order reads and writes
    all over the file, and takes four times as long for a million keys.
    """

    def __init__(self) -> None:
        with _translated():
            # without a name: SQLite's own temporary file, which is gone with the process however that ends
            self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
            for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -2048", "temp_store = FILE"):
                self._database.execute(f"PRAGMA {pragma}")
            self._database.execute("CREATE TABLE seen (key TEXT NOT NULL)")
            self._database.execute("BEGIN")  # and never a commit: nobody reads it after this process
        self._count: int | None = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; may be said again."""
        self._database.close()

    def __bool__(self) -> bool:
        """Whether there is any key: at once, which `len` is not."""
        return self._count != 0

    def __len__(self) -> int:
        """Of different keys. Sorts them all after an `add`: half a second for a million."""
        if self._count is None:
            with _translated():
                (self._count,) = self._database.execute(_COUNT).fetchone()
        return self._count

    def add(self, keys: Sequence[str]) -> None:
        """Remember `keys`, each as often as one likes; in batches, not one by one."""
        if not keys:
            return
        self._count = None
        with _translated():
            self._database.executemany(_ADD, ((key,) for key in keys))

    def missing(self, known: Iterator[tuple[str, Fingerprint | None]]) -> Iterator[str]:
        """The keys of `known` that the origin had and that were never added. Nothing may be added meanwhile.

        `known` comes in code point order, each key once; None stands for a key that is gone already.
        """
        with closing(self._in_order()) as in_order:
            named = next(in_order, None)
            for key, version in known:
                while named is not None and named < key:
                    named = next(in_order, None)
                if version is not None and named != key:
                    yield key

    def _in_order(self) -> Generator[str, None, None]:
        # SQLite compares text by its UTF-8 bytes, which is by code point, as Python does
        with _translated(), closing(self._database.execute(_IN_ORDER)) as rows:
            for (key,) in rows:
                yield key


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as exc:
        code = (getattr(exc, "sqlite_errorcode", None) or 0) & 0xFF
        number = errno.ENOSPC if code == sqlite3.SQLITE_FULL else errno.EIO
        raise OSError(number, f"what a snapshot names cannot be set aside on disk: {exc}") from exc

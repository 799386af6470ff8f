"""Objects on disk: a row in an index and a file of bytes, replaced together or not at all."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import file_digest, md5
from pathlib import Path
from typing import BinaryIO

from mirrord.kodo.etag import Etag

_OBJECTS = """
CREATE TABLE IF NOT EXISTS objects (
    bucket TEXT NOT NULL, key TEXT NOT NULL, hash TEXT NOT NULL, size_bytes INTEGER NOT NULL,
    mime_type TEXT NOT NULL, put_time INTEGER NOT NULL, file INTEGER NOT NULL,
    PRIMARY KEY (bucket, key)
) WITHOUT ROWID
"""
_COLUMNS = "bucket, key, hash, size_bytes, mime_type, put_time, file"


class StoreUnavailable(Exception):
    """The directory cannot hold objects, or another process has it open."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One object as the index knows it."""

    bucket: str
    key: str
    hash: str
    size_bytes: int
    mime_type: str
    put_time: int
    """100 ns ticks since 1970; no two of a store are equal, later ones are larger."""
    file: int
    """Names the bytes: a number, so that any key will do."""


class Draft:
    """Bytes on their way in. They count for nothing until `Store.keep` takes them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.etag = Etag()
        self._file = path.open("xb", buffering=0)

    def write(self, chunk: bytes) -> None:
        """Append; blocks for as long as the page cache takes."""
        rest = memoryview(chunk)
        while rest:
            rest = rest[self._file.write(rest) :]
        self.etag.update(chunk)

    def md5(self) -> str:
        """Of what came so far, in hex."""
        with self.path.open("rb") as file:
            return file_digest(file, lambda: md5(usedforsecurity=False)).hexdigest()

    def close(self) -> None:
        self._file.close()


class Store:
    """The objects under `root`, which nobody else may have open. Raises StoreUnavailable."""

    def __init__(self, root: Path, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._root = root
        self._now_ns = now_ns
        if not (root / "index.db").exists() and any((root / name).exists() for name in ("incoming", "objects")):
            raise StoreUnavailable(f"{root} is in use for something else")  # and would be swept
        try:
            (root / "incoming").mkdir(parents=True, exist_ok=True)
            (root / "objects").mkdir(exist_ok=True)
            self._index = sqlite3.connect(root / "index.db", isolation_level=None, timeout=0)
        except (OSError, sqlite3.OperationalError) as exc:
            raise StoreUnavailable(f"{root} cannot hold objects: {exc}") from exc
        try:
            self._index.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._index.execute("PRAGMA journal_mode = WAL")
            self._index.execute("PRAGMA synchronous = NORMAL")
            self._index.execute(_OBJECTS)
        except sqlite3.DatabaseError as exc:
            self._index.close()
            raise StoreUnavailable(f"{root} is in use or damaged: {exc}") from exc
        self._last_tick: int = self._index.execute("SELECT ifnull(max(put_time), 0) FROM objects").fetchone()[0]
        self._sweep()

    def close(self) -> None:
        self._index.close()

    @contextmanager
    def draft(self) -> Iterator[Draft]:
        """Room for new bytes; gone on leaving, unless they were kept."""
        draft = Draft(self._root / "incoming" / str(self._tick()))
        try:
            yield draft
        finally:
            draft.close()
            draft.path.unlink(missing_ok=True)

    def keep(self, bucket: str, key: str | None, draft: Draft, mime_type: str) -> Stored:
        """Make the draft the object's bytes, whatever was there; without a key its hash is the key."""
        draft.close()
        tick, hash_ = self._tick(), draft.etag.value()
        name = hash_ if key is None else key
        stored = Stored(bucket, name, hash_, draft.etag.size_bytes, mime_type, tick, tick)
        before = self.find(bucket, name)
        path = self._path(tick)
        path.parent.mkdir(exist_ok=True)
        draft.path.rename(path)
        self._write(stored)  # from here on the new bytes are the object
        if before is not None:
            self._path(before.file).unlink()
        return stored

    def touch(self, stored: Stored) -> Stored:
        """Store the same bytes anew, as a pull through a stale cache does."""
        again = Stored(
            stored.bucket,
            stored.key,
            stored.hash,
            stored.size_bytes,
            stored.mime_type,
            self._tick(),
            stored.file,
        )
        self._write(again)
        return again

    def find(self, bucket: str, key: str) -> Stored | None:
        sql = f"SELECT {_COLUMNS} FROM objects WHERE bucket = ? AND key = ?"  # noqa: S608 - our own columns
        row = self._index.execute(sql, (bucket, key)).fetchone()
        return Stored(*row) if row else None

    def open(self, stored: Stored) -> BinaryIO:
        """The bytes; what is open stays whole when the object is replaced."""
        return self._path(stored.file).open("rb")

    def remove(self, stored: Stored) -> None:
        self._index.execute(
            "DELETE FROM objects WHERE bucket = ? AND key = ? AND file = ?",
            (stored.bucket, stored.key, stored.file),
        )
        self._path(stored.file).unlink()

    def walk(self, bucket: str, prefix: str, delimiter: str, start: str) -> Iterator[Stored | str]:
        """Objects in key order from `start` on, and as text the prefixes that `delimiter` folds them into.

        Read it to the end of need before the next write: it walks the index itself.
        """
        end = past(prefix)
        sql = f"SELECT {_COLUMNS} FROM objects WHERE bucket = ? AND key >= ?"  # noqa: S608 - our own columns
        sql += " ORDER BY key" if end is None else " AND key < ? ORDER BY key"
        bound = () if end is None else (end,)
        following: str | None = max(prefix, start)
        while following is not None:
            rows = self._index.execute(sql, (bucket, following, *bound))
            following = None
            for row in rows:
                stored = Stored(*row)
                folder = folded(stored.key, prefix, delimiter)
                if folder is None:
                    yield stored
                    continue
                yield folder
                following = past(folder)
                break

    def _write(self, stored: Stored) -> None:
        self._index.execute(
            f"INSERT OR REPLACE INTO objects ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
            (
                stored.bucket,
                stored.key,
                stored.hash,
                stored.size_bytes,
                stored.mime_type,
                stored.put_time,
                stored.file,
            ),
        )

    def _tick(self) -> int:
        self._last_tick = max(self._last_tick + 1, self._now_ns() // 100)
        return self._last_tick

    def _path(self, file: int) -> Path:
        return self._root / "objects" / f"{file % 256:02x}" / str(file)

    def _sweep(self) -> None:
        """Remove what a process that was killed left between a file and its row."""
        known = {file for (file,) in self._index.execute("SELECT file FROM objects")}
        for path in [*self._root.glob("incoming/*"), *self._root.glob("objects/*/*")]:
            if path.name.isdecimal() and (path.parent.name == "incoming" or int(path.name) not in known):
                path.unlink()


def folded(key: str, prefix: str, delimiter: str) -> str | None:
    """The common prefix that stands for `key` in a listing; None when the key stands for itself."""
    at = key.find(delimiter, len(prefix)) if delimiter else -1
    return None if at < 0 else key[: at + len(delimiter)]


def past(prefix: str) -> str | None:
    """The first text, in order of code points, after all that begin with `prefix`; None when there is none.

    Code points sort as their UTF-8 does, which is how SQLite, and Kodo, sort keys.
    """
    stem = prefix.rstrip("\U0010ffff")
    if not stem:
        return None
    last = ord(stem[-1]) + 1
    return stem[:-1] + chr(0xE000 if last == 0xD800 else last)  # surrogates are not characters

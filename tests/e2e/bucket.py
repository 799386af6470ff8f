"""What a sandbox holds, changed behind everybody's back: while none runs at `root`, as a pull would store it."""

import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from mirrord.kodo.etag import etag_of
from mirrord.sandbox.store import Store


def put(root: Path, objects: Iterable[tuple[str, bytes]], bucket: str = "docs") -> None:
    """Store objects now, whatever was there."""
    with _opened(root) as store:
        for key, content in objects:
            with store.draft() as draft:
                draft.write(content)
                store.keep(bucket, key, draft, "text/plain")


def show(root: Path, objects: Iterable[tuple[str, bytes]], bucket: str = "docs") -> None:
    """Let a listing show objects, as if they had been stored now; their bytes are not there."""
    now = time.time_ns() // 100
    rows = [
        (bucket, key, etag_of([content]), len(content), "text/plain", now + n, now + n)
        for n, (key, content) in enumerate(objects)
    ]
    with _opened(root):
        pass  # makes the tables
    with closing(sqlite3.connect(root / "kodo" / "index.db")) as index, index:
        index.executemany("INSERT INTO objects VALUES (?, ?, ?, ?, ?, ?, ?)", rows)


def remove(root: Path, key: str, bucket: str = "docs") -> None:
    with _opened(root) as store:
        stored = store.find(bucket, key)
        assert stored is not None
        store.remove(stored)


@contextmanager
def _opened(root: Path) -> Iterator[Store]:
    store = Store(root / "kodo")
    try:
        yield store
    finally:
        store.close()

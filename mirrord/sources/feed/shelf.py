"""A snapshot's documents as last read, on disk: those that have not changed need not be fetched again."""

import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path

import orjson

from mirrord.model.change import Rejection
from mirrord.sources.feed.fetching import Validators
from mirrord.sources.feed.snapshot import Row

_TABLES = """
CREATE TABLE documents (
    id INTEGER PRIMARY KEY, url TEXT, digest TEXT, content TEXT, made_at REAL, validators TEXT, children TEXT, bad TEXT,
    shown INTEGER
);
CREATE INDEX by_url ON documents (url);
CREATE TEMP TABLE among (url TEXT PRIMARY KEY);
CREATE TABLE entries (document INTEGER, number INTEGER, row TEXT, PRIMARY KEY (document, number)) WITHOUT ROWID;
"""
_DOCUMENT = "SELECT url, digest, made_at, validators, children, bad, id FROM documents"
_PAGE = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One document as it was last read."""

    url: str
    digest: str
    made_at: datetime
    validators: Validators
    children: Sequence[str]
    bad: Sequence[Rejection] = ()


@dataclass(frozen=True, slots=True)
class Told:
    """What some documents come to, as texts that are equal when they say the same."""

    version: str
    """To the byte."""
    content: str
    """As far as it was kept: entries, and which documents there are besides."""


class Shelf:
    """For one thread that writes and any that read: a reader sees what was shown last when it began, and nothing else.

    What is kept is not shown at once, so that nobody ever sees the half of a look.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="mirrord-snapshot-")
        self._path = Path(self._folder.name, "shelf.db")
        self._writer = self._connect()
        self._writer.execute("PRAGMA journal_mode = WAL")
        self._writer.executescript(_TABLES)
        self._id, self._count, self._content = 0, 0, blake2b(digest_size=20)

    def close(self) -> None:
        self._writer.close()
        self._folder.cleanup()

    def find(self, url: str) -> Document | None:
        """As it was kept last, shown or not."""
        row = self._writer.execute(f"{_DOCUMENT} WHERE url = ? ORDER BY id DESC", (url,)).fetchone()
        return None if row is None else _document(row)

    def begin(self) -> None:
        """Make room for a document; `keep` or `restore` ends this."""
        self.restore()
        self._writer.execute("BEGIN IMMEDIATE")
        (self._id,) = self._writer.execute("SELECT coalesce(max(id), 0) + 1 FROM documents").fetchone()
        self._count, self._content = 0, blake2b(digest_size=20)

    def add(self, rows: Sequence[Row]) -> None:
        """Entries of that document."""
        texts = [orjson.dumps(row).decode() for row in rows]
        self._content.update("".join(texts).encode())
        cells = [(self._id, number, text) for number, text in enumerate(texts, self._count)]
        self._writer.executemany("INSERT INTO entries VALUES (?, ?, ?)", cells)
        self._count += len(cells)

    def keep(self, document: Document) -> None:
        children = orjson.dumps(list(document.children)).decode()
        self._content.update(children.encode())
        self._drop("SELECT id FROM documents WHERE url = ? AND NOT shown", document.url)
        self._writer.execute(
            "INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)",
            (
                self._id,
                document.url,
                document.digest,
                self._content.hexdigest(),
                document.made_at.timestamp(),
                orjson.dumps((document.validators.etag, document.validators.last_modified)).decode(),
                children,
                orjson.dumps([(each.name, each.reason) for each in document.bad]).decode(),
            ),
        )
        self._writer.execute("COMMIT")

    def restore(self) -> None:
        """What has been begun is not going to be whole: leave what was."""
        if self._writer.in_transaction:
            self._writer.execute("ROLLBACK")

    def told(self, urls: Sequence[str]) -> Told:
        """What these documents come to, each as it was kept last."""
        version, content = blake2b(digest_size=20), blake2b(digest_size=20)
        for url in sorted(urls):
            query = "SELECT digest, content FROM documents WHERE url = ? ORDER BY id DESC"
            bytes_, kept = self._writer.execute(query, (url,)).fetchone()
            version.update(f"{url}\0{bytes_}\0".encode())
            content.update(f"{url}\0{kept}\0".encode())
        return Told(version.hexdigest(), content.hexdigest())

    def show(self, urls: Sequence[str]) -> None:
        """These documents from now on, each as it was kept last; drop all others."""
        self._among(urls)
        self._drop("SELECT id FROM documents WHERE id NOT IN (SELECT max(id) FROM documents GROUP BY url)")
        self._drop("SELECT id FROM documents WHERE url NOT IN (SELECT url FROM among)")
        self._writer.execute("UPDATE documents SET shown = 1")
        self._writer.execute("COMMIT")

    def forget_others(self, urls: Sequence[str]) -> None:
        """Drop what is kept of other documents, and not shown: who looks in vain may be led to new ones every time."""
        self._among(urls)
        self._drop("SELECT id FROM documents WHERE NOT shown AND url NOT IN (SELECT url FROM among)")
        self._writer.execute("COMMIT")

    def entries(self) -> Iterator[tuple[Document, list[Row]]]:
        """All entries, some at a time, each with its document; one that has none comes with an empty list. Blocks."""
        reader = self._connect()
        try:
            reader.execute("BEGIN")
            for cells in reader.execute(f"{_DOCUMENT} WHERE shown ORDER BY url").fetchall():
                document = _document(cells)
                found = reader.execute("SELECT row FROM entries WHERE document = ? ORDER BY number", (cells[-1],))
                rows = found.fetchmany(_PAGE)
                yield document, [tuple(orjson.loads(row)) for (row,) in rows]
                while rows := found.fetchmany(_PAGE):
                    yield document, [tuple(orjson.loads(row)) for (row,) in rows]
        finally:
            reader.close()

    def _among(self, urls: Sequence[str]) -> None:
        """Begin a transaction in which `among` has these."""
        self.restore()
        self._writer.execute("BEGIN IMMEDIATE")
        self._writer.execute("DELETE FROM among")
        self._writer.executemany("INSERT INTO among VALUES (?)", ((url,) for url in urls))

    def _drop(self, which: str, *values: str) -> None:
        """The documents whose ids `which` selects."""
        ids = self._writer.execute(which, values).fetchall()
        self._writer.executemany("DELETE FROM entries WHERE document = ?", ids)
        self._writer.executemany("DELETE FROM documents WHERE id = ?", ids)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        connection.execute("PRAGMA synchronous = OFF")
        return connection


def _document(cells: Sequence[str | float]) -> Document:
    url, digest, made_at, validators, children, bad, _ = cells
    etag, last_modified = orjson.loads(str(validators))
    return Document(
        url=str(url),
        digest=str(digest),
        made_at=datetime.fromtimestamp(float(made_at), UTC),
        validators=Validators(etag=etag, last_modified=last_modified),
        children=orjson.loads(str(children)),
        bad=[Rejection(name=name, reason=reason) for name, reason in orjson.loads(str(bad))],
    )

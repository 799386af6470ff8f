"""The kinds of documents that a snapshot may be made of, as entries to keep: sitemaps, resource lists, JSON."""

from collections.abc import Sequence
from datetime import datetime

from mirrord.model.change import Rejection
from mirrord.model.mention import Mention
from mirrord.sources.feed import resourcesync, sitemap
from mirrord.sources.feed.dialect import Batch, Dialect, Head, Limits, Unreadable
from mirrord.sources.feed.discovery import absolute
from mirrord.sources.feed.documents import parse_json
from mirrord.sources.feed.snapshot import Leaf, Row
from mirrord.sources.feed.times import parse_time
from mirrord.sources.feed.xml_entries import Entries, Entry, XmlEntries

_POINTING = frozenset({"description", "capabilitylist"})
CHILDREN_MOST = 50_000
"""What one sitemap index may name, by its protocol."""
REJECTIONS_MOST = 1000
"""Kept of one document."""
_LINE_MOST = 2**20
"""Bytes of a last line that is looked at: whether it was cut off."""


class SitemapForm:
    """Implements Form: a sitemap, or an index of sitemaps."""

    pages = False

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def begin(self, head: Head) -> Leaf:
        return _XmlLeaf(sitemap.Sitemap(head, self._limits), head.url)

    def mention(self, row: Row, *, as_of: datetime, document: str) -> Mention:
        return sitemap.mention_of(_entry(row), as_of=as_of, document=document)


class ResourceListForm:
    """Implements Form: a resource list, an index of them, or any document that leads there."""

    pages = False

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def begin(self, head: Head) -> Leaf:
        return _XmlLeaf(XmlEntries(self._limits), head.url, resources=True)

    def mention(self, row: Row, *, as_of: datetime, document: str) -> Mention:
        return resourcesync.mention_of(_entry(row), as_of=as_of, document=document)


class JsonForm:
    """Implements Form: what a change feed's dialect reads, taken for all there is."""

    pages = True

    def __init__(self, dialect: Dialect) -> None:
        self._dialect = dialect

    def begin(self, head: Head) -> Leaf:
        return _JsonLeaf(self._dialect, head)

    def mention(self, row: Row, *, as_of: datetime, document: str) -> Mention:  # noqa: ARG002 - it has its own times
        name, token, size_bytes, etag, modified = row
        return Mention(
            name=str(name),
            token=f"in {document}" if token is None else str(token),
            size_bytes=None if size_bytes is None else int(size_bytes),
            etag=None if etag is None else str(etag),
            modified=parse_time(modified),
        )


class _XmlLeaf:
    """A document that names resources, or other documents."""

    def __init__(self, entries: Entries, url: str, *, resources: bool = False) -> None:
        self._entries = entries
        self._url = url
        self._resources = resources
        self._children: list[str] = []
        self.bad: list[Rejection] = []

    def receive(self, chunk: bytes) -> Sequence[Row]:
        return self._sorted(self._entries.receive(chunk))

    def end(self) -> Sequence[Row]:
        rows = self._sorted(self._entries.end())
        if self._resources:
            self._go_on()
        return rows

    def _go_on(self) -> None:
        """To where the rest is; raises where there is nothing to go on to."""
        about = self._entries.about
        match about.capability:
            case "changelist":
                up = about.link("up")
                if up is None:
                    raise Unreadable("is a change list that does not say where its capability list is")
                self._children.append(up)
            case "resourcelist" if (index := about.link("index")) is not None:
                self._children.append(index)  # a part only
            case "capabilitylist" | "description" if not self._children:
                raise Unreadable("leads to no resource list")
            case _:
                pass

    @property
    def children(self) -> Sequence[str]:
        return [url for each in self._children if (url := absolute(self._url, each)) is not None]

    @property
    def made_at(self) -> datetime | None:
        return parse_time(self._entries.about.at)

    @property
    def closed(self) -> bool:
        return self._entries.about is not sitemap.TextEntries.about

    def _sorted(self, found: Sequence[Entry | Rejection]) -> list[Row]:
        rows = list[Row]()
        for each in found:
            if isinstance(each, Rejection):
                _note(self.bad, [each])
            elif self._is_pointer(each):
                self._children.append(each.loc)
                if len(self._children) > CHILDREN_MOST:
                    raise Unreadable(f"names more than {CHILDREN_MOST} documents")
            elif not self._resources or self._entries.about.capability in {"resourcelist", None}:
                rows.append(each.as_row())
        return rows

    def _is_pointer(self, entry: Entry) -> bool:
        about = self._entries.about
        if self._resources and about.capability in _POINTING:
            above = about.capability == "description" or about.kind == "sitemapindex"
            return entry.capability in ({"capabilitylist", None} if above else {"resourcelist"})
        return about.kind == "sitemapindex" and about.capability in {"resourcelist", None}


class _JsonLeaf:
    """A page of entries; the next one is its child."""

    def __init__(self, dialect: Dialect, head: Head) -> None:
        self._dialect = dialect
        self._reading = dialect.read(head, None, wait=False)
        self._cursor: str | None = None
        self._last_line = b""
        self.children: Sequence[str] = ()
        self.made_at: datetime | None = None
        self.closed = False
        self.bad: list[Rejection] = []

    def receive(self, chunk: bytes) -> Sequence[Row]:
        _, ended, rest = chunk.rpartition(b"\n")
        self._last_line = (rest if ended else self._last_line + rest)[: _LINE_MOST + 1]
        return [row for batch in self._reading.receive(chunk) for row in self._rows(batch)]

    def end(self) -> Sequence[Row]:
        batch, end = self._reading.end()
        rows = self._rows(batch)
        if self._last_line.startswith(b"{") and len(self._last_line) <= _LINE_MOST:
            parse_json(self._last_line)  # a change feed's dialect takes it for a line that is still to come
        if not end.caught_up:
            self.children = (self._dialect.ask(self._cursor, wait=False).url,)
        return rows

    def _rows(self, batch: Batch) -> list[Row]:
        self._cursor = batch.cursor or self._cursor
        _note(self.bad, batch.bad)
        return [
            (each.name, each.token, each.size_bytes, each.etag, None if each.modified is None else str(each.modified))
            for each in batch.mentions
            if not each.removed
        ]


def _note(bad: list[Rejection], more: Sequence[Rejection]) -> None:
    bad += more[: REJECTIONS_MOST - len(bad)]


def _entry(row: Row) -> Entry:
    loc, lastmod, change, happened, hash_, length = row
    return Entry(
        str(loc),
        lastmod=None if lastmod is None else str(lastmod),
        change=None if change is None else str(change),
        datetime=None if happened is None else str(happened),
        hash=None if hash_ is None else str(hash_),
        length=None if length is None else int(length),
    )

"""Bytes of a sitemap, or of any document that borrows its form, to entries as they come; nothing is held but one entry.

The form is that of https://www.sitemaps.org/protocol.html with ResourceSync's `rs:md` and `rs:ln` (ANSI/NISO Z39.99).
"""

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Final, Literal, Protocol
from xml.parsers.expat import errors

from defusedxml.common import DefusedXmlException, DTDForbidden  # type: ignore[import-untyped]  # has no stubs
from defusedxml.ElementTree import DefusedXMLParser, ParseError  # type: ignore[import-untyped]  # has no stubs

from mirrord.model.change import Rejection
from mirrord.sources.feed.dialect import Limits, Unreadable
from mirrord.sources.feed.documents import shown

Row = tuple[str, str | None, str | None, str | None, str | None, int | None]


@dataclass(frozen=True, slots=True)
class Entry:
    """One `<url>` or `<sitemap>`. Texts are as the document has them, without the white space around them."""

    loc: str
    lastmod: str | None = None
    change: str | None = None
    datetime: str | None = None
    hash: str | None = None
    length: int | None = None
    """In bytes; None also when it is no number."""
    capability: str | None = None
    since: str | None = None
    """`from`, of an entry that names a document."""
    until: str | None = None

    def as_row(self) -> Row:
        """All that is said of a resource; `capability`, `since` and `until` are said of documents only."""
        return (self.loc, self.lastmod, self.change, self.datetime, self.hash, self.length)

    @staticmethod
    def from_row(row: Row) -> "Entry":
        return Entry(*row)


@dataclass(frozen=True, slots=True)
class Link:
    rel: str
    href: str


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a document says of itself, as far as it has been read; ResourceSync wants that before the first entry."""

    kind: Literal["urlset", "sitemapindex"] | None = None
    """None: its first element has not come yet."""
    capability: str | None = None
    at: str | None = None
    since: str | None = None
    """`from`."""
    until: str | None = None
    completed: str | None = None
    links: tuple[Link, ...] = ()

    def link(self, rel: str) -> str | None:
        """Where the first link of this relation leads."""
        return next((link.href for link in self.links if link.rel == rel), None)


class Entries(Protocol):
    """A document being read."""

    @property
    def about(self) -> About: ...

    def receive(self, chunk: bytes) -> list[Entry | Rejection]:
        """Take some bytes of the body, unpacked; the entries that are whole now. Raises Unreadable."""

    def end(self) -> list[Entry | Rejection]:
        """The body is over: the entries still kept back. Raises Unreadable, for what was cut off too."""


_SITEMAP: Final = tuple(
    f"{{{scheme}://{authority}"
    for scheme in ("http", "https")
    for authority in ("www.sitemaps.org/", "www.google.com/schemas/sitemap/")
)
_RESOURCESYNC: Final = "{http://www.openarchives.org/rs/terms/}"
_ENCODINGS: Final = frozenset({"UTF-8", "UTF-16", "UTF-16LE", "UTF-16BE", "ISO-8859-1", "US-ASCII"})
"""What the parser knows by itself. The protocol allows UTF-8 alone."""
_HTML: Final = "is an HTML page, not a sitemap"
_CUT_OFF: Final = (
    errors.XML_ERROR_NO_ELEMENTS,
    errors.XML_ERROR_UNCLOSED_TOKEN,
    errors.XML_ERROR_UNCLOSED_CDATA_SECTION,
)
_BLANK: Final = b" \t\r\n"
_NAMES: Final = 2**16
"""Of all different names of elements and attributes, in characters: the parser never forgets one."""
_PREFIXES: Final = 100
"""Of namespaces; together with each of them a name is another one to the parser."""
_LINKS: Final = 2**16
"""Of a document's own links, in characters."""
_SHOWN: Final = 80
_LENGTH_DIGITS: Final = 18
"""Any such number fits into 64 bits."""


@dataclass(slots=True)
class _Draft:
    """An entry that is being read."""

    loc: str = ""
    locations: int = 0
    lastmod: str | None = None
    said: dict[str, str] = field(default_factory=dict)
    size: int = 0
    """Of all that it says, in characters."""


class XmlEntries:
    """Reads XML. Bytes that wait for the end of a tag or comment, texts, nesting and entries are limited."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._target = _Target(limits)
        self._parser = DefusedXMLParser(target=self._target, forbid_dtd=True)
        self._parser.parser.XmlDeclHandler = _refuse_encoding
        self._fed = 0
        self._began = b""
        self._waiting = 0
        """Bytes that the parser has of a tag or comment whose end has not come."""
        self._held = bytearray()
        self._refusal: str | None = None

    @property
    def about(self) -> About:
        return self._target.about

    def receive(self, chunk: bytes) -> list[Entry | Rejection]:
        self._refuse_again()
        if not self._fed:
            chunk = chunk.lstrip(_BLANK)  # some producers put empty lines before the XML declaration
        self._held += chunk
        # what waits is looked through again each time, so there must be enough new to be worth it
        if len(self._held) <= self._waiting:
            return []
        return self._feed()

    def end(self) -> list[Entry | Rejection]:
        self._refuse_again()
        if not self._fed:
            raise self._unreadable("is empty")
        found = self._feed() if self._held else []
        self._parse(None)
        return [*found, *self._target.take()]

    def _feed(self) -> list[Entry | Rejection]:
        some = bytes(self._held)
        self._held.clear()
        self._began = (self._began + some[: _SHOWN + 1])[: _SHOWN + 1]
        self._fed += len(some)
        self._parse(some)
        self._waiting = self._fed - self._parser.parser.CurrentByteIndex
        if self._waiting > self._limits.line:
            raise self._unreadable(f"has a tag or a comment of more than {self._limits.line} bytes")
        return self._target.take()

    def _parse(self, some: bytes | None) -> None:
        """None: that was all; a parser may have put off elements until then."""
        try:
            if some is None:
                self._parser.close()
            else:
                self._parser.feed(some)
        except Unreadable as exc:
            raise self._unreadable(str(exc)) from None
        except DTDForbidden as exc:
            html = str(exc.name).lower() == "html"
            raise self._unreadable(_HTML if html else "has a document type declaration, which is never read") from None
        except ParseError as exc:
            raise self._unreadable(self._broken(exc)) from None
        except (DefusedXmlException, UnicodeDecodeError):
            raise self._unreadable("has entities or bytes that are never read") from None

    def _broken(self, error: SyntaxError) -> str:
        if self._began.lower().startswith(b"<!doctype html"):  # HTML alone may write it so
            return _HTML
        if str(error).startswith(_CUT_OFF):
            return f"is cut off: {error}"
        return f"is {'broken' if self.about.kind else 'not'} XML: {error}; it begins with {shown(self._began)}"

    def _unreadable(self, sentence: str) -> Unreadable:
        self._refusal = sentence
        return Unreadable(sentence)

    def _refuse_again(self) -> None:
        if self._refusal is not None:
            raise Unreadable(self._refusal)


class _Target:
    """What the parser tells of elements to entries. `depth` 1 is the document, 2 an entry, 3 what an entry says."""

    def __init__(self, limits: Limits) -> None:
        self.about = About()
        self._limits = limits
        self._depth = 0
        self._entry_name = ""
        self._draft: _Draft | None = None
        self._text: list[str] | None = None
        """Of the `loc` or `lastmod` that is being read."""
        self._entries = 0
        self._links_size = 0
        self._said = False
        self._names: set[str] = set()
        self._names_size = 0
        self._prefixes: set[str] = set()
        self._found: list[Entry | Rejection] = []

    def take(self) -> list[Entry | Rejection]:
        found, self._found = self._found, []
        return found

    def start_ns(self, prefix: str, _namespace: str) -> None:
        self._prefixes.add(prefix)
        if len(self._prefixes) > _PREFIXES:
            raise Unreadable(f"has more than {_PREFIXES} different prefixes of namespaces")

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        if not self._names.issuperset((tag, *attributes)):
            self._note_names({tag, *attributes} - self._names)
        self._depth += 1
        if self._depth == 3 and self._draft is not None:
            self._start_part(self._draft, _meaning(tag), attributes)
        elif self._depth == 2:
            self._start_entry(_meaning(tag), attributes)
        elif self._depth == 1:
            self._start_document(tag)
        elif self._depth > self._limits.nesting:
            raise Unreadable(f"has more than {self._limits.nesting} elements within each other")

    def data(self, text: str) -> None:
        if self._text is None or self._draft is None or self._depth != 3:
            return
        self._draft.size += len(text)
        if self._draft.size <= self._limits.line:
            self._text.append(text)

    def end(self, tag: str) -> None:
        self._depth -= 1
        if self._draft is None:
            return
        if self._depth == 2 and self._text is not None:
            text = "".join(self._text).strip()
            self._text = None
            if _meaning(tag) == "loc":
                self._draft.loc = self._draft.loc or text
                self._draft.locations += 1
            else:
                self._draft.lastmod = text or None
        elif self._depth == 1:
            self._found.append(self._finished(self._draft))
            self._draft = None

    def _note_names(self, names: set[str]) -> None:
        self._names |= names
        self._names_size += sum(len(name) + _SHOWN for name in names)
        if self._names_size > _NAMES:
            raise Unreadable("has too many different names of elements and attributes")

    def _start_document(self, tag: str) -> None:
        kind = _meaning(tag)
        if kind == "urlset":
            self._entry_name = "url"
            self.about = About(kind="urlset")
        elif kind == "sitemapindex":
            self._entry_name = "sitemap"
            self.about = About(kind="sitemapindex")
        elif tag.rpartition("}")[2].lower() == "html":
            raise Unreadable(_HTML)
        else:
            raise Unreadable(f"is no sitemap: its outermost element is {tag[:_SHOWN]!a}")

    def _start_entry(self, meaning: str, attributes: dict[str, str]) -> None:
        if meaning == self._entry_name:
            self._draft = _Draft()
            self._entries += 1
            if self._entries > self._limits.entries:
                raise Unreadable(f"has more than {self._limits.entries} entries")
        elif meaning == "rs:md" and not self._said:
            self._said = True
            self.about = replace(
                self.about,
                capability=attributes.get("capability"),
                at=attributes.get("at"),
                since=attributes.get("from"),
                until=attributes.get("until"),
                completed=attributes.get("completed"),
            )
        elif meaning == "rs:ln" and "href" in attributes:
            link = Link(attributes.get("rel", ""), attributes["href"].strip())
            self._links_size += len(link.rel) + len(link.href) + _SHOWN
            if self._links_size > _LINKS:
                raise Unreadable("says too many links of itself")
            self.about = replace(self.about, links=(*self.about.links, link))

    def _start_part(self, draft: _Draft, meaning: str, attributes: dict[str, str]) -> None:
        if meaning in {"loc", "lastmod"}:
            self._text = []
        elif meaning == "rs:md":
            draft.said = attributes
            draft.size += sum(map(len, attributes.values()))

    def _finished(self, draft: _Draft) -> Entry | Rejection:
        if draft.size > self._limits.line:
            name = printable(draft.loc) if draft.loc else f"entry {self._entries}"
            return Rejection(name=name, reason=f"is an entry of more than {self._limits.line} characters")
        if not draft.loc:
            return Rejection(name=f"entry {self._entries}", reason="has no <loc>")
        if draft.locations > 1:
            return Rejection(name=printable(draft.loc), reason="has more than one <loc>")
        if not draft.said:
            return Entry(draft.loc, draft.lastmod)
        say = draft.said.get
        return Entry(
            draft.loc,
            draft.lastmod,
            say("change"),
            say("datetime"),
            say("hash"),
            _length(say("length")),
            say("capability"),
            say("from"),
            say("until"),
        )


def printable(loc: str) -> str:
    """How it begins, for a log line."""
    began = loc if len(loc) <= _SHOWN else f"{loc[:_SHOWN]}…"
    return began if began.isprintable() else ascii(began)[1:-1]


@lru_cache(maxsize=256)
def _meaning(tag: str) -> str:
    """`loc` for any sitemap's `loc`, `rs:md` for ResourceSync's `md`, nothing for what does not concern us."""
    namespace, found, name = tag.rpartition("}")
    if not found or namespace.startswith(_SITEMAP):
        return name
    return f"rs:{name}" if tag.startswith(_RESOURCESYNC) else ""


def _length(text: str | None) -> int | None:
    digits = (text or "").strip()
    return int(digits) if digits.isascii() and digits.isdecimal() and len(digits) <= _LENGTH_DIGITS else None


def _refuse_encoding(_version: str, encoding: str | None, _standalone: int) -> None:
    if encoding is not None and encoding.upper() not in _ENCODINGS:
        raise Unreadable(f"is in the encoding {encoding[:_SHOWN]!a}; sitemaps are in UTF-8")

"""A sitemap's bytes to entries, whether XML or one URL per line, and an entry to a mention.

Form and meaning: https://www.sitemaps.org/protocol.html. Versions are told apart by `lastmod`, which may say no more
than a day: while that day lasts anywhere on Earth, whatever bears it may be another version in another document.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from mirrord.model.change import Rejection
from mirrord.model.mention import Mention
from mirrord.sources.feed.dialect import Head, Limits, Unreadable
from mirrord.sources.feed.lines import Lines, TooLong
from mirrord.sources.feed.times import parse_time
from mirrord.sources.feed.xml_entries import About, Entries, Entry, XmlEntries, printable

_ANYWHERE: Final = timedelta(hours=14)
"""Clocks on Earth differ by no more than this from UTC."""
_MINUTE: Final = timedelta(minutes=1)
_PERIOD: Final = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d))?)?", re.ASCII)
_TO_A_SECOND: Final = re.compile(r".*[Tt ]\d\d:\d\d:\d\d.*")
_WITH_AN_OFFSET: Final = re.compile(r".*[Tt ]\S+\s?(?:[Zz]|[+-]\d\d(?::?\d\d)?)")
_URL: Final = re.compile(rb"https?://", re.IGNORECASE)
_BEFORE: Final = b" \t\r\n\xef\xbb\xbf"
"""White space, and the mark that UTF-8 may begin with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What a `lastmod` says."""

    text: str
    """Equal for equal times, where a clock time is given."""
    over: datetime | None
    """When whatever it may stand for has passed everywhere on Earth; None: it stands for one second only."""
    exact: datetime | None
    """None: it is not exact to a second, or in nobody knows which time zone."""


def mention_of(entry: Entry, *, as_of: datetime, document: str) -> Mention:
    """`as_of`: a time not later than the document was made; `document` names this version of it, as an ETag does."""
    moment = moment_of(entry.lastmod)
    exact = moment.exact if moment else None
    return Mention(name=entry.loc, token=token_of(moment, as_of=as_of, document=document), modified=exact, at=exact)


def token_of(moment: Moment | None, *, as_of: datetime | None, document: str) -> str:
    """A name for the version; it is good for this version of the document only, when `moment` is not yet over.

    `as_of` None: nobody knows what is over.
    """
    if moment is None:
        return f"in {document}"
    if moment.over is None or (as_of is not None and moment.over < as_of):
        return moment.text
    return f"{moment.text} in {document}"


def moment_of(lastmod: str | None) -> Moment | None:
    """None: it says nothing that can be understood (https://www.w3.org/TR/NOTE-datetime)."""
    text = (lastmod or "").strip()
    if period := _PERIOD.fullmatch(text):
        end = _end_of(*period.groups())
        return Moment(text=text, over=end + _ANYWHERE, exact=None) if end else None
    time = parse_time(text)
    if time is None:
        return None
    if not _TO_A_SECOND.fullmatch(text):
        return Moment(text=time.isoformat(), over=time + _MINUTE + _ANYWHERE, exact=None)
    return Moment(text=time.isoformat(), over=None, exact=time if _WITH_AN_OFFSET.fullmatch(text) else None)


def _end_of(year: str, month: str | None, day: str | None) -> datetime | None:
    try:
        if month is None:
            return datetime(int(year), 12, 31, tzinfo=UTC) + timedelta(days=1)
        first = datetime(int(year), int(month), int(day or 1), tzinfo=UTC)
        return first + timedelta(days=1) if day else (first + timedelta(days=31)).replace(day=1)
    except (ValueError, OverflowError):  # the 30th of February, or the year 0 or 9999
        return None


class Sitemap:
    """A sitemap being read, whichever of the forms the protocol allows it has."""

    def __init__(self, head: Head, limits: Limits) -> None:
        kind = head.headers.get("content-type", "").partition(";")[0].strip().lower()
        self._limits = limits
        self._began = b""
        self._entries: Entries | None = None if kind == "text/plain" else XmlEntries(limits)

    @property
    def about(self) -> About:
        return self._entries.about if self._entries else About()

    def receive(self, chunk: bytes) -> list[Entry | Rejection]:
        if self._entries:
            return self._entries.receive(chunk)
        self._began = (self._began + chunk).lstrip(_BEFORE)
        if len(self._began) < len(b"https://"):
            return []
        return self._choose().receive(self._began)

    def end(self) -> list[Entry | Rejection]:
        if self._entries:
            return self._entries.end()
        entries = self._choose()
        return [*entries.receive(self._began), *entries.end()]

    def _choose(self) -> Entries:
        """XML comes as text/plain too."""
        text = _URL.match(self._began)
        self._entries = TextEntries(self._limits) if text else XmlEntries(self._limits)
        return self._entries


class TextEntries:
    """Reads a sitemap of one URL per line, in UTF-8."""

    about = About(kind="urlset")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lines = Lines(limits.line)
        self._count = 0

    def receive(self, chunk: bytes) -> list[Entry | Rejection]:
        return [found for line in self._lines.receive(chunk) if (found := self._entry(line))]

    def end(self) -> list[Entry | Rejection]:
        last = self._entry(self._lines.rest())
        return [last] if last else []

    def _entry(self, line: bytes | TooLong) -> Entry | Rejection | None:
        if isinstance(line, TooLong):
            return Rejection(name=_named(line.begins), reason=f"is a line of more than {self._limits.line} bytes")
        url = line.strip()
        if not url:
            return None
        self._count += 1
        if self._count > self._limits.entries:
            raise Unreadable(f"has more than {self._limits.entries} entries")
        if not _URL.match(url):
            return Rejection(name=_named(url), reason="is no URL")
        try:
            return Entry(url.decode())
        except UnicodeDecodeError:
            return Rejection(name=_named(url), reason="is not UTF-8")


def _named(line: bytes) -> str:
    return printable(line.decode("utf-8", "backslashreplace"))

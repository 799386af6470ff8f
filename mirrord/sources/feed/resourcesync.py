"""ResourceSync (ANSI/NISO Z39.99): entries of its lists to mentions, and a change list to follow.

A change list is read anew each time; the cursor says which of its entries are old. One that has grown is an index of
closed lists and an open one: the cursor then also says which of them are still to be read.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import Final

import orjson

from mirrord.model.change import Rejection
from mirrord.model.mention import Mention
from mirrord.sources.feed.answers import parse_date
from mirrord.sources.feed.dialect import Ask, Batch, End, Head, Limits, Reading, Reset, Unreadable
from mirrord.sources.feed.discovery import absolute
from mirrord.sources.feed.sitemap import Moment, moment_of, token_of
from mirrord.sources.feed.times import parse_time
from mirrord.sources.feed.xml_entries import Entry, XmlEntries, printable

_HASHES: Final = ("sha-256", "sha-512", "sha-384", "sha-224", "sha-1", "md5")
"""Which one is believed, of several."""
_CHANGES: Final = frozenset({"created", "updated", "deleted"})
_KEPT_BACK: Final = 20_000
"""Mentions of one list, so that what was removed and is there again is not told as removed every time."""
_MOST_LISTS: Final = 10_000
"""Of one index, to be read in one go: the cursor holds their names."""


def mention_of(entry: Entry, *, document: str, as_of: datetime | None = None) -> Mention:
    """An entry of a resource list or a change list.

    `document` names the version of the document, for entries that say neither a hash nor an exact time; `as_of` is a
    time not later than it was made, None: unknown.
    """
    modified, happened = moment_of(entry.lastmod), _happened(entry)
    removed = entry.change == "deleted"
    length = "" if entry.length is None else f" {entry.length} bytes"
    return Mention(
        name=entry.loc,
        removed=removed,
        token=_best_hash(entry.hash) or token_of(happened, as_of=as_of, document=document) + length,
        size_bytes=None if removed else entry.length,
        modified=modified.exact if modified and not removed else None,
        at=happened.exact if happened else None,
    )


def _happened(entry: Entry) -> Moment | None:
    """Version 1.1 of the format says `datetime`, 1.0 says it with `lastmod`."""
    return moment_of(entry.datetime) or moment_of(entry.lastmod)


def _best_hash(hashes: str | None) -> str | None:
    """`hash` is a list of `algorithm:value`. A value need not be hexadecimal, so its case matters."""
    known: dict[str, str] = {}
    for each in (hashes or "").split():
        algorithm, _, value = each.partition(":")
        if value:
            known.setdefault(algorithm.lower(), value)
    best = next((name for name in _HASHES if name in known), None)
    return f"{best}:{known[best]}" if best else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Progress:
    """How far a change list has been read."""

    at: datetime | None = None
    """What is older than this, and the overlap, is old."""
    covered: datetime | None = None
    """Up to when every change is known."""
    newest: datetime | None = None
    """What `at` is going to be once nothing is `todo`: lists of an index need not come in order."""
    todo: tuple[str, ...] = ()
    index: bool = False
    """Whether the change list is an index, which does not change when its last list does."""

    def text(self) -> str:
        times = {"at": self.at, "covered": self.covered, "newest": self.newest}
        said: dict[str, object] = {name: time.isoformat() for name, time in times.items() if time}
        if self.index:
            said["index"] = True
        return orjson.dumps({**said, "todo": self.todo}).decode()


def _progress_of(cursor: str | None) -> _Progress:
    if cursor is None:
        return _Progress()
    said = orjson.loads(cursor)
    return _Progress(
        at=parse_time(said.get("at")),
        covered=parse_time(said.get("covered")),
        newest=parse_time(said.get("newest")),
        todo=tuple(said["todo"]),
        index=said.get("index", False),
    )


class ChangeList:
    """The dialect that follows one change list, or an index of them."""

    now_cursor: str | None = None
    beginning_is_whole = False

    def __init__(self, url: str, *, overlap: timedelta, limits: Limits) -> None:
        """`overlap`: how much later than its time a change may come to be listed."""
        self._url = url
        self._overlap = overlap
        self._limits = limits

    def ask(self, cursor: str | None, *, wait: bool, widen: int = 1) -> Ask:  # noqa: ARG002 - see Dialect
        progress = _progress_of(cursor)
        if progress.todo:
            return Ask(url=progress.todo[0])
        # an unchanged index says nothing of the open list it names; at first, what was read last is another document
        return Ask(url=self._url, conditional=cursor is not None and not progress.index)

    def read(self, head: Head, cursor: str | None, *, wait: bool, widen: int = 1) -> Reading:  # noqa: ARG002 - see Dialect
        asked = self.ask(cursor, wait=wait)
        return _ListReading(asked, head, _progress_of(cursor), self._overlap, self._limits)


class _ListReading:
    """One change list being read, or the index."""

    def __init__(self, asked: Ask, head: Head, progress: _Progress, overlap: timedelta, limits: Limits) -> None:
        self._asked = asked
        self._url = head.url
        self._progress = progress
        self._floor = progress.at - overlap if progress.at else None
        self._now = parse_date(head.headers.get("date"))
        self._entries = XmlEntries(limits)
        self._checked = False
        self._above = blake2b(digest_size=16)
        """Of all entries so far: names a version of an entry without a time, as a list only grows."""
        self._newest: datetime | None = None
        self._kept_back: dict[str, Mention] = {}
        """By name, the latest of each, in their order."""
        self._all_new = False
        """Whether anything was told: then all that comes after it is, or what is overruled would be the last word."""
        self._lists: list[tuple[datetime | None, str]] = []

    def receive(self, chunk: bytes) -> Sequence[Batch]:
        bad = self._take_in(self._entries.receive(chunk))
        full = len(self._kept_back) >= _KEPT_BACK
        return [Batch(mentions=self._take_out() if full else (), bad=bad)] if full or bad else []

    def end(self) -> tuple[Batch, End]:
        bad = self._take_in(self._entries.end())
        self._check()
        progress = self._named() if self._entries.about.kind == "sitemapindex" else self._listed()
        if not progress.todo:
            progress = replace(progress, at=_latest(progress.at, progress.newest), newest=None)
        return Batch(mentions=self._take_out(), bad=bad, cursor=progress.text()), End(caught_up=not progress.todo)

    def _take_out(self) -> list[Mention]:
        mentions = list(self._kept_back.values())
        self._kept_back.clear()
        return mentions

    def _take_in(self, found: list[Entry | Rejection]) -> list[Rejection]:
        """Those that cannot be used."""
        if found:
            self._check()
        bad: list[Rejection] = []
        for each in found:
            if isinstance(each, Rejection):
                bad.append(each)
            elif self._entries.about.kind == "sitemapindex":
                self._note_list(each)
            elif each.change not in _CHANGES:
                bad.append(Rejection(name=printable(each.loc), reason=_unknown(each.change)))
            elif mention := self._mention(each):
                self._kept_back.pop(mention.name, None)
                self._kept_back[mention.name] = mention
        return bad

    def _check(self) -> None:
        """Raise when it is no change list, or begins too late; all that is to be known for it comes before entries."""
        if self._checked:
            return
        self._checked = True
        about = self._entries.about
        if about.capability != "changelist":
            raise Unreadable(f"is no change list: its capability is {(about.capability or 'not given')[:40]!a}")
        if self._progress.todo:
            if about.kind == "sitemapindex":
                raise Unreadable("is an index of change lists within another one")
        else:
            self._check_gap(parse_time(about.since))
        self._above.update(f"{self._asked.url} {about.since}".encode())

    def _check_gap(self, begins: datetime | None) -> None:
        covered = self._progress.covered
        if begins and covered and begins > covered:
            raise Reset(
                f"the change list begins at {begins.isoformat()} and was read up to {covered.isoformat()}", gap=True
            )

    def _mention(self, entry: Entry) -> Mention | None:
        """None: it is old."""
        self._above.update(repr(entry.as_row()).encode())
        happened = _happened(entry)
        if happened and happened.exact:
            self._newest = _latest(self._newest, happened.exact)
        passed = (happened.exact or happened.over) if happened else None
        if self._floor and passed and passed < self._floor and not self._all_new:
            return None
        self._all_new = True
        return mention_of(entry, document=self._above.hexdigest())

    def _note_list(self, entry: Entry) -> None:
        until = parse_time(entry.until)
        if self._floor and until and until < self._floor:
            return
        if len(self._lists) >= _MOST_LISTS:
            raise Unreadable(f"is an index of more than {_MOST_LISTS} lists that are not known")
        url = absolute(self._url, entry.loc)
        if url is None:
            raise Unreadable(f"is an index that names {printable(entry.loc)!a}, which is no URL")
        self._lists.append((parse_time(entry.since), url))

    def _named(self) -> _Progress:
        """What is known after an index."""
        begins = [since for since, _ in self._lists if since]
        lists = [url for _, url in self._lists]
        if lists and len(begins) == len(lists):
            if self._entries.about.since is None:
                self._check_gap(min(begins))
            order = sorted(range(len(lists)), key=begins.__getitem__)
            lists = [lists[each] for each in order]
        return replace(self._progress, todo=tuple(dict.fromkeys(lists)), newest=None, index=True)

    def _listed(self) -> _Progress:
        """What is known after a list of changes."""
        about, progress = self._entries.about, self._progress
        until = parse_time(about.until)
        newest = _latest(self._newest, until)
        return replace(
            progress,
            covered=_latest(progress.covered, newest, parse_time(about.since)),
            # a time that is still to come would make all that comes before it old
            newest=_latest(progress.newest, min(newest, self._now) if newest and self._now else newest),
            todo=progress.todo[1:],
            index=bool(progress.todo),
        )


def _unknown(change: str | None) -> str:
    return "does not say how it changed" if change is None else f"its change {change[:40]!a} is none that is known"


def _latest(*times: datetime | None) -> datetime | None:
    return max((time for time in times if time), default=None)

"""JSON Lines, and JSON documents with a list of entries, asked `?since=`: bytes to mentions and a cursor.

The cursor is a JSON object: `seq`, the place of the last entry that was read; or `next`, the page to ask for, with
`seq` beside it once that page has been read so far. The last page is asked for again until there is a next one.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

import orjson

from mirrord.model.change import Rejection
from mirrord.model.mention import Mention
from mirrord.sources.feed.bookmarks import Counted, Mark, Progress, earlier, mark_of
from mirrord.sources.feed.dialect import Ask, Batch, End, Head, Limits, Reading, Unreadable
from mirrord.sources.feed.documents import Document, complaint, parse_json, refuse_page, shown
from mirrord.sources.feed.lines import Lines, TooLong
from mirrord.sources.feed.next_page import is_url, linked, pointed, with_query
from mirrord.sources.feed.pointers import Entries, Pointers, json_text

_ACCEPT = "application/x-ndjson, application/jsonl, application/json;q=0.9, */*;q=0.5"
_LINE_TYPES = re.compile(r"application/(x-)?(ndjson|jsonl|jsonlines|json-lines)|text/(x-)?(ndjson|jsonl)")
_BLANK = re.compile(rb"(?:[ \t\r\n]|\xef\xbb\xbf)*")
"""What may come before a body: white space, and the byte order mark that some editors leave."""
_BOM = b"\xef\xbb\xbf"
_GRACE = timedelta(seconds=30)
"""After the time to wait is over, for the answer to be made and to arrive."""
_HELD = 1000
"""Lines that are not JSON, before the first that is: as many are told."""


class JsonLines:
    """Asked for what is new, page by page where `limit_param` names how many; `wait` is for `longpoll` alone."""

    now_cursor: str | None = None
    beginning_is_whole = False

    def __init__(
        self,
        url: str,
        *,
        pointers: Pointers,
        since_param: str = "since",
        limit_param: str | None = None,
        page: int = 2000,
        wait_param: str | None = None,
        wait: timedelta = timedelta(seconds=60),
        wait_unit: timedelta = timedelta(seconds=1),
        at_once: str | None = None,
        mode: Literal["poll", "longpoll"] = "poll",
        overlap: timedelta = timedelta(0),
        gapless: bool = False,
        limits: Limits,
    ) -> None:
        """`at_once`: what `wait_param` is to be for a server that would wait if it were not told otherwise.

        `overlap`: places are times, and so much before the last one is asked for again. `gapless`: places are numbers
        that a server counts in memory, one by one.
        """
        self._url = url
        self._entries = Entries(pointers)
        self._pointers = pointers
        self._since_param = since_param
        self._limit_param = limit_param
        self._page = page
        self._wait_param = wait_param
        self._wait = wait
        self._wait_text = str(wait // wait_unit)
        self._at_once = at_once
        self._mode = mode
        self._overlap = overlap
        self._gapless = gapless
        self._limits = limits

    def ask(self, cursor: str | None, *, wait: bool, widen: int = 1) -> Ask:
        mark = mark_of(cursor)
        waits = self._is_waiting(mark, wait=wait)
        return Ask(
            url=self._address(mark, waits=waits, widen=widen),
            headers={"accept": _ACCEPT},
            waits=waits,
            idle=self._wait + _GRACE if waits else None,
            conditional=self._mode == "poll",
        )

    def read(self, head: Head, cursor: str | None, *, wait: bool, widen: int = 1) -> Reading:
        mark = mark_of(cursor)
        waits = self._is_waiting(mark, wait=wait)
        progress = (
            Counted(mark, self._entries, probing=not waits) if self._gapless else Progress(mark, overlap=self._overlap)
        )
        page = _Page(
            head=head,
            home=self._url,
            asked=self._address(mark, waits=waits, widen=widen),
            mark=mark,
            link=linked(head, self._url),
            limit=None if self._limit_param is None else self._page * widen,
        )
        return _Reading(self._entries, self._limits, progress, page, by_lines=self._by_lines(head))

    def _by_lines(self, head: Head) -> bool | None:
        """None: it shows in how the body begins."""
        if _LINE_TYPES.fullmatch(head.headers.get("content-type", "").partition(";")[0].strip().lower()):
            return True
        return None if self._pointers.items is None else False

    def _is_waiting(self, mark: Mark, *, wait: bool) -> bool:
        return wait and self._mode == "longpoll" and not mark.probe

    def _address(self, mark: Mark, *, waits: bool, widen: int) -> str:
        query = {}
        url = self._url
        if is_url(mark.next):
            url = str(mark.next)
        else:
            since = self._since(mark, waits=waits)
            if since is not None:
                query[self._since_param] = since if isinstance(since, str) else json_text(since)
            if self._limit_param is not None:
                query[self._limit_param] = str(self._page * widen)
        said = self._wait_text if waits else self._at_once
        if self._wait_param is not None and said is not None:
            query[self._wait_param] = said
        return with_query(url, query)

    def _since(self, mark: Mark, *, waits: bool) -> object:
        if mark.next is not None:
            return mark.next
        if self._pointers.next is not None:  # only what the feed calls its next page leads there
            return None
        if self._gapless and not waits and type(mark.seq) is int:
            return mark.seq - 1  # so that the entry itself comes again, and shows that it is still the same
        return earlier(mark.seq, self._overlap) if self._overlap else mark.seq


def syncthing(url: str, *, wait: timedelta, limits: Limits, folder: str | None = None) -> JsonLines:
    """Syncthing's events of files that changed on its disk; `url` of the server or of its `/rest/events/disk`.

    `folder`: the id of the one whose files are meant; None: of all. There is no limit: Syncthing heeds it by leaving
    out the oldest (https://docs.syncthing.net/rest/events-get.html). Its buffer holds a thousand events.
    """
    parts = urlsplit(url)
    if parts.path in {"", "/"}:
        url = urlunsplit(parts._replace(path="/rest/events/disk"))
    only: dict[str, str | tuple[str, ...]] = {"/data/type": "file"}
    if folder is not None:
        only["/data/folder"] = folder
    pointers = Pointers(
        items="", seq="/id", key="/data/path", op="/data/action", time="/time", version=None, size=None, etag=None,
        modified=None, only=only,
    )  # fmt: skip
    return JsonLines(
        url, pointers=pointers, wait_param="timeout", wait=wait, at_once="0", mode="longpoll", gapless=True,
        limits=limits,
    )  # fmt: skip


class _Reading:
    """One answer. Whether it is lines or a document shows in how it begins."""

    def __init__(
        self, entries: Entries, limits: Limits, progress: Progress, page: "_Page", *, by_lines: bool | None
    ) -> None:
        self._entries = entries
        self._limits = limits
        self._progress = progress
        self._page = page
        self._by_lines = by_lines
        self._body: Lines | Document | None = None
        self._opening = b""
        self._mentions: list[Mention] = []
        self._covered = 0
        """So many of the mentions are before the place that the progress is sure of."""
        self._bad: list[Rejection] = []
        self._held: list[Rejection] = []
        """Of lines before the first that is JSON: perhaps it is no feed at all."""
        self._is_json = False
        self._count = 0

    def receive(self, chunk: bytes) -> Sequence[Batch]:
        if self._body is None:
            chunk = self._open(chunk)
        match self._body:
            case Document():
                self._body.receive(chunk)
            case Lines():
                for line in self._body.receive(chunk):
                    self._take_line(line)
                return self._batches()
        return ()

    def end(self) -> tuple[Batch, End]:
        document: object = None
        match self._body:
            case Document():
                document = self._body.json()
                self._take_document(document)
            case Lines():
                self._take_rest(self._body.rest())
            case None:
                self._take_rest(self._opening)
        if self._held and not self._is_json:
            raise Unreadable(f"has no line that is an entry: the first {self._held[0].reason}")
        cursor, end = self._page.turn(self._progress.finish(), self._entries.next_of(document), self._count)
        return Batch(mentions=self._mentions, bad=self._bad, cursor=cursor), end

    def _open(self, chunk: bytes) -> bytes:
        """What of the beginning is to be read now that it is known what it is."""
        text = _BLANK.sub(b"", self._opening + chunk, count=1)
        if _BOM.startswith(text):
            self._opening = text
            return b""
        if text[:1] not in {b"{", b"["}:
            refuse_page(self._page.head)
        by_lines = text[:1] != b"[" if self._by_lines is None else self._by_lines
        self._body = Lines(self._limits.line) if by_lines else Document(self._limits.document)
        self._opening = b""
        return text

    def _batches(self) -> list[Batch]:
        sure, rest = self._mentions[: self._covered], self._mentions[self._covered :]
        batches = []
        cursor = self._progress.cursor()
        if sure or self._bad or cursor is not None:
            batches.append(Batch(mentions=sure, bad=self._bad, cursor=cursor))
        if rest:
            batches.append(Batch(mentions=rest))
        self._mentions, self._bad, self._covered = [], [], 0
        return batches

    def _take_document(self, document: object) -> None:
        entries = self._entries.unpack(document)
        if entries is None:
            raise Unreadable(complaint(document, "an array of entries"))
        for entry in entries:
            self._take(entry)

    def _take_line(self, line: bytes | TooLong) -> None:
        if isinstance(line, TooLong):
            self._spoilt(shown(line.begins), f"is longer than {self._limits.line} bytes")
        elif line and not line.isspace():
            try:
                entry = orjson.loads(line)
            except orjson.JSONDecodeError:
                try:
                    entry = parse_json(line)
                except Unreadable as exc:
                    self._spoilt(shown(line), str(exc))
                    return
            if not self._is_json and type(entry) in {dict, list}:
                self._is_json = True
                self._bad, self._held = [*self._bad, *self._held], []
            self._take(entry)

    def _take_rest(self, line: bytes) -> None:
        """What no end of a line follows: an entry, or the beginning of one that will come again."""
        try:
            parse_json(line)
        except Unreadable:
            if self._is_json or not line:
                return
        self._take_line(line)

    def _take(self, entry: object) -> None:
        self._count += 1
        item, seq = self._entries.take(entry)
        if self._progress.is_repeated(seq, entry):
            return
        if self._progress.go_on(seq):
            self._covered = len(self._mentions)
        if isinstance(item, Mention):
            self._mentions.append(item)
        elif item is not None:
            self._tell(item)

    def _spoilt(self, name: str, reason: str) -> None:
        self._count += 1
        self._progress.is_repeated(None, None)
        self._tell(Rejection(name=name, reason=reason))

    def _tell(self, rejection: Rejection) -> None:
        if self._is_json or isinstance(self._body, Document):
            self._bad.append(rejection)
        elif len(self._held) < _HELD:
            self._held.append(rejection)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Page:
    """What was asked for, and where it leads."""

    head: Head
    home: str
    asked: str
    mark: Mark
    link: str | None
    limit: int | None
    """How many entries were asked for; None: all."""

    def turn(self, reached: Mark, said: object, count: int) -> tuple[str | None, End]:
        """The next cursor (None: as before) and how it ended; `said` by the document, which had so many entries."""
        following = pointed(said, self.head, self.home)
        following = self.link if following is None else following
        if following is not None and following not in (self.asked, self.head.url, self.mark.next):
            # a value may change on and on where a page of its own would not be offered
            caught_up = not count and not is_url(following)
            return Mark(next=following).text(), End(caught_up=caught_up)
        caught_up = self.mark.next is not None or self.limit is None or count < self.limit
        cursor = reached.text()
        pause = timedelta(0) if self.mark.probe else None  # to wait on at once
        return None if cursor in ("{}", self.mark.text()) else cursor, End(caught_up=caught_up, pause=pause)

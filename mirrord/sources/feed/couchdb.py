"""CouchDB's `_changes`, as CouchDB, PouchDB, npm and cnpmcore speak it: pages and lines to mentions and a sequence.

A sequence is any JSON value and means nothing to us: the cursor is its JSON text. Which of its two shapes an answer
has, one document or a line for each change, is seen from how it begins: some servers do not heed `feed=`.
"""

import contextlib
import json
import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Literal
from urllib.parse import quote, urlsplit, urlunsplit

import orjson

from mirrord.model.change import Rejection
from mirrord.model.mention import Mention
from mirrord.sources.feed.dialect import Ask, Batch, End, Head, Limits, Reading, Reset, Unreadable
from mirrord.sources.feed.documents import Document, complaint, parse_json, refuse_page, shown, shown_value
from mirrord.sources.feed.lines import Lines, TooLong

_OURS = {"since", "limit", "feed", "timeout", "heartbeat"}
"""What the address itself may say of these is ours to say."""

_LONGPOLL_MS = 60_000
"""CouchDB's own longest; where it knows heartbeats, they take its place."""

_INTERNAL = ("_design/", "_local/")


class CouchDb:
    """`url` is the address of a database or of its `_changes`; its query is kept (`filter=`, for one)."""

    now_cursor: str | None = '"now"'
    beginning_is_whole = True

    def __init__(
        self,
        url: str,
        *,
        page: int,
        mode: Literal["poll", "longpoll", "stream"],
        heartbeat: timedelta,
        limits: Limits,
    ) -> None:
        parts = urlsplit(url)
        path = parts.path.rstrip("/")
        self._address = parts._replace(path=path if path.endswith("/_changes") else f"{path}/_changes", fragment="")
        self._own = [pair for pair in parts.query.split("&") if pair and pair.partition("=")[0] not in _OURS]
        self._page = page
        self._mode = mode
        self._heartbeat = heartbeat
        self._limits = limits

    def ask(self, cursor: str | None, *, wait: bool, widen: int = 1) -> Ask:
        waits = wait and self._mode != "poll"
        query = [*self._own, *self._manner(waits=waits), f"since={'0' if cursor is None else _on_the_wire(cursor)}"]
        if not (waits and self._mode == "stream"):
            query.append(f"limit={self._page * widen}")
        return Ask(
            url=urlunsplit(self._address._replace(query="&".join(query))),
            headers={"accept": "application/json"},
            waits=waits,
            beats=waits,
            idle=2 * self._heartbeat if waits else None,
        )

    def read(self, head: Head, cursor: str | None, *, wait: bool, widen: int = 1) -> Reading:
        refuse_page(head)
        streams = wait and self._mode == "stream"
        asked = None if cursor is None else json.loads(cursor)
        changes = _Changes(asked if type(asked) is int else None, None if streams else self._page * widen)
        return _Answer(changes, self._limits, streams=streams)

    def ask_history(self) -> Ask:
        path = self._address.path.removesuffix("/_changes")
        return Ask(url=urlunsplit(self._address._replace(path=path or "/", query="")))

    def history_of(self, body: bytes) -> str | None:
        """When the database was made (CouchDB 3.3), or its server started (PouchDB, whose memory may be all it has)."""
        with contextlib.suppress(Unreadable):
            about = parse_json(body)
            made = about.get("instance_start_time") if isinstance(about, dict) else None
            return str(made) if isinstance(made, str | int) and str(made) not in {"", "0"} else None
        return None

    def _manner(self, *, waits: bool) -> list[str]:
        beats = f"heartbeat={self._heartbeat // timedelta(milliseconds=1)}"
        if not waits:
            return ["feed=normal"]
        if self._mode == "stream":
            return ["feed=continuous", beats]
        return ["feed=longpoll", f"timeout={_LONGPOLL_MS}", beats]


def _on_the_wire(cursor: str) -> str:
    """A text goes as it is, any other JSON value as its JSON (CouchDB's documentation of `since`)."""
    text = json.loads(cursor) if cursor.startswith('"') else cursor
    return quote(text, safe="", errors="surrogatepass")


def _cursor(seq: object) -> str | None:
    """None: it cannot be given back to the server as it came (nested hundreds deep)."""
    if not isinstance(seq, list | dict):
        return json.dumps(seq)
    try:
        return orjson.dumps(seq).decode()
    except TypeError:
        return None


class _Changes:
    """What the rows of one answer say, until it is handed on."""

    def __init__(self, asked: int | None, limit: int | None) -> None:
        self.asked = asked
        """The sequence that was asked for, where it is one that has an order."""
        self.limit = limit
        """How many rows were asked for; None: all, and then those to come."""
        self.rows = 0
        self.pending: object = None
        """What the server says of how many rows come after these."""
        self.seq: object = None
        self.bad: list[Rejection] = []
        self._mentions: list[Mention] = []

    def take(self, row: object) -> bool:
        """Whether it is a change at all. Its sequence is kept even if it is not: what is bad must not hold us up."""
        self.rows += 1
        if not isinstance(row, dict):
            return False
        self.move(row.get("seq"))
        name = row.get("id")
        if not isinstance(name, str):
            return False
        if not name.startswith(_INTERNAL):
            removed = row.get("deleted") is True
            self._mentions.append(Mention(name=name, removed=removed, token=_revision(row.get("changes"))))
        return True

    def move(self, seq: object) -> None:
        """`seq` None: where the server does not say (CouchDB's `seq_interval`), the one before stands."""
        if seq is not None and not (isinstance(seq, list | dict) and _cursor(seq) is None):
            self.seq = seq

    def refuse_going_back(self) -> None:
        """Raise Reset if the sequence is less than was asked for. Texts and lists have no order that we know."""
        if self.asked is not None and type(self.seq) is int and self.seq < self.asked:
            raise Reset(f"its sequence went back from {self.asked} to {self.seq}", gap=False)

    def batch(self) -> Batch:
        """What was taken since the last one."""
        cursor = None if self.seq is None else _cursor(self.seq)
        batch = Batch(mentions=self._mentions, bad=self.bad, cursor=cursor)
        self._mentions, self.bad, self.seq = [], [], None
        return batch

    def caught_up(self) -> bool:
        if type(self.pending) is int:
            return self.pending <= 0
        return self.limit is None or self.rows < self.limit


def _revision(changes: object) -> str | None:
    """The first is the winning one."""
    if isinstance(changes, list) and changes and isinstance(changes[0], dict):
        revision = changes[0].get("rev")
        return revision if isinstance(revision, str) else None
    return None


class _Answer:
    """Undecided until its first line that is not blank is there, or so much of it that it must be a document."""

    def __init__(self, changes: _Changes, limits: Limits, *, streams: bool) -> None:
        self._changes = changes
        self._limits = limits
        self._streams = streams
        self._began = bytearray()
        self._reading: _Page | _Stream | None = None

    def receive(self, chunk: bytes) -> Sequence[Batch]:
        if self._reading is not None:
            return self._reading.receive(chunk)
        seen = len(self._began)
        self._began += chunk if seen else chunk.lstrip(b" \t\r\n")  # heartbeats before anything else
        length = self._began.find(b"\n", seen)
        if length < 0:
            length = len(self._began)
            if length <= self._limits.line:
                return ()
        return self._decide(_is_page(self._began[:length], self._limits.line, streams=self._streams))

    def end(self) -> tuple[Batch, End]:
        if self._reading is None:
            self._decide(_is_page_cut_off(self._began, streams=self._streams))
        assert self._reading is not None
        return self._reading.end()

    def _decide(self, is_page: bool) -> Sequence[Batch]:  # noqa: FBT001 - the one thing that it is about
        self._reading = _Page(self._changes, self._limits) if is_page else _Stream(self._changes, self._limits)
        began, self._began = bytes(self._began), bytearray()
        return self._reading.receive(began)


_PAGE_BEGINS = re.compile(rb'\{\s*(?:"(?:results|last_seq|pending)"|\Z)')
_RESULTS = re.compile(rb'\{\s*"results"')


def _is_page(line: bytearray, most: int, *, streams: bool) -> bool:
    """What an answer is whose first line this is. `streams`: lines were asked for, and in doubt it is that."""
    if len(line) > most:
        return _PAGE_BEGINS.match(line[:most]) is not None or not streams
    try:
        said = parse_json(line)
    except Unreadable:
        return _PAGE_BEGINS.match(line) is not None or not streams
    return (isinstance(said, dict) and "results" in said) or not (streams or _is_row(said))


def _is_page_cut_off(line: bytearray, *, streams: bool) -> bool:
    """The same of an answer that ended within its first line."""
    try:
        said = parse_json(line)
    except Unreadable:
        return _RESULTS.match(line) is not None or not streams
    return (isinstance(said, dict) and "results" in said) or not (streams or _is_row(said))


def _is_row(said: object) -> bool:
    return isinstance(said, dict) and "seq" in said


class _Page:
    """One document with all rows."""

    def __init__(self, changes: _Changes, limits: Limits) -> None:
        self._changes = changes
        self._document = Document(limits.document)

    def receive(self, chunk: bytes) -> Sequence[Batch]:
        self._document.receive(chunk)
        return ()

    def end(self) -> tuple[Batch, End]:
        said = self._document.json()
        rows = said.get("results") if isinstance(said, dict) else None
        if not isinstance(rows, list):
            raise Unreadable(complaint(said, "a list of results"))
        changes = self._changes
        for row in rows:
            if not changes.take(row):
                changes.bad.append(Rejection(name=shown_value(row), reason="is not a change: it has no id"))
        changes.move(said.get("last_seq"))  # cnpmcore has none, its last row's stands
        changes.pending = said.get("pending")
        changes.refuse_going_back()
        return changes.batch(), End(caught_up=changes.caught_up())


class _Stream:
    """A line for each row; blank ones are heartbeats, and a last one may say where it ends."""

    def __init__(self, changes: _Changes, limits: Limits) -> None:
        self._changes = changes
        self._most = limits.line
        self._lines = Lines(limits.line)
        self._strange: str | None = None
        """The first thing that made no sense, until something did."""
        self._makes_sense = False

    def receive(self, chunk: bytes) -> Sequence[Batch]:
        for line in self._lines.receive(chunk):
            self._take(line)
        batch = self._changes.batch()
        return [batch] if batch.mentions or batch.bad or batch.cursor is not None else ()

    def end(self) -> tuple[Batch, End]:
        rest = self._lines.rest()
        if not rest.lstrip().startswith(b"{") or _is_whole(rest):
            self._take(rest)  # else the connection was cut, and the change comes again
        if self._strange is not None and not self._makes_sense:
            raise Unreadable(f"holds no changes; it begins with {self._strange}")
        changes = self._changes
        return changes.batch(), End(caught_up=changes.limit is None or changes.caught_up())

    def _take(self, line: bytes | TooLong) -> None:
        if isinstance(line, TooLong):
            self._reject(line.begins, f"is longer than {self._most} bytes")
            return
        if not line or line.isspace():
            return
        try:
            said = orjson.loads(line)
        except orjson.JSONDecodeError:
            try:
                said = parse_json(line)
            except Unreadable:
                self._reject(line, "is not JSON")
                return
        if self._changes.take(said) or self._is_last(said):
            self._makes_sense = True
            self._changes.refuse_going_back()
        elif isinstance(said, dict) and "error" in said:
            raise Unreadable(complaint(said, "a change"))
        else:
            self._makes_sense = self._makes_sense or _is_row(said)
            self._reject(line, "is not a change: it has no id")

    def _is_last(self, said: object) -> bool:
        if not isinstance(said, dict) or "last_seq" not in said:
            return False
        self._changes.rows -= 1
        self._changes.move(said["last_seq"])
        self._changes.pending = said.get("pending")
        return True

    def _reject(self, line: bytes, reason: str) -> None:
        name = shown(line)
        self._strange = self._strange or name
        self._changes.bad.append(Rejection(name=name, reason=reason))


def _is_whole(line: bytes) -> bool:
    try:
        parse_json(line)
    except Unreadable:
        return False
    return True

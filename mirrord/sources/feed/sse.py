"""Server-sent events: an endless stream of bytes to mentions, and the last event's id as the cursor.

The stream is read as the WHATWG's HTML standard says (section 9.2), but for three things: an empty id does not make us
forget where we are, data that is not UTF-8 spoils its own entry only, and what is too long is told and passed over.

The cursor is that id. Where the entries tell another place of their own, which `since` is asked with, it is a JSON
object of both. Mercure (mercure.rocks/spec) says in a header of the answer which event it goes on after.
"""

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import quote

from mirrord.model.change import Rejection
from mirrord.model.mention import Mention
from mirrord.sources.feed.dialect import Ask, Batch, End, Head, Limits, Reading, Reset, Unreadable
from mirrord.sources.feed.documents import parse_json, shown
from mirrord.sources.feed.lines import Lines, TooLong
from mirrord.sources.feed.next_page import with_query
from mirrord.sources.feed.pointers import Entries, Pointers, json_text

_TYPE = "text/event-stream"
_EARLIEST = "earliest"
"""What Mercure is asked with for everything that it still has."""
_HISTORY = ("mercure-last-event-id", "last-event-id")
_BEATS = frozenset({"ping", "heartbeat", "keepalive", "keep-alive"})
"""Events of these names that are no JSON object are signs of life."""
_PRINTABLE = "".join(map(chr, range(0x20, 0x7F)))
_BOM = b"\xef\xbb\xbf"
_FIELD = 16
"""Bytes of a line before its value: the limit is for the value."""
_SHOWN = 80
_LONGEST_ID = 4096
"""Bytes; a longer one would come back as a header that servers refuse. It stays where it was."""
_LONGEST_PAUSE_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class _Place:
    """A cursor taken apart. Both empty: from now on."""

    id: str = ""
    seq: object = None
    """Of the last entry that told one, as any JSON."""

    def text(self) -> str:
        if self.seq is None or _since(self.seq) == self.id:
            return self.id if not self.id.startswith("{") else json_text({"id": self.id})
        return json_text({"id": self.id, "seq": self.seq} if self.id else {"seq": self.seq})


class Sse:
    """`events`: the names of those that are read; none: all. `earliest`: whom to ask for the beginning is Mercure."""

    now_cursor: str | None = ""
    beginning_is_whole = False

    def __init__(
        self,
        url: str,
        *,
        pointers: Pointers,
        events: frozenset[str] = frozenset(),
        heartbeat: timedelta,
        earliest: bool = False,
        since_param: str | None = "since",
        limits: Limits,
    ) -> None:
        self._url = url
        self._entries = Entries(pointers)
        self._items = pointers.items is not None
        self._events = events
        self._heartbeat = heartbeat
        self._earliest = earliest
        self._since_param = since_param
        self._limits = limits

    def ask(self, cursor: str | None, *, wait: bool, widen: int = 1) -> Ask:  # noqa: ARG002 - a stream is a stream
        headers = {"accept": _TYPE}
        place = _place_of(cursor)
        if place.id:
            headers["last-event-id"] = _header(place.id)
        elif cursor is None and self._earliest:
            headers["last-event-id"] = _EARLIEST
        since = _since(place.id if place.seq is None else place.seq)
        query = {self._since_param: since} if self._since_param and since else {}
        return Ask(url=with_query(self._url, query), headers=headers, waits=True, idle=2 * self._heartbeat)

    def read(self, head: Head, cursor: str | None, *, wait: bool, widen: int = 1) -> Reading:  # noqa: ARG002
        place = _place_of(cursor)
        if head.status != 204:
            kind = head.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != _TYPE:
                raise Unreadable(f"is {ascii(kind)[1:-1] or 'of no type'}, not {_TYPE}")
            _refuse_lost_history(head, place.id)
        return _Reading(self._entries, self._events, self._limits, place, items=self._items, stop=head.status == 204)


@dataclass(frozen=True, slots=True)
class _Event:
    name: str
    data: bytes | TooLong
    id: str | None
    """Its own; None: it has none, and the last one before it stands."""


class _Reading:
    def __init__(
        self, entries: Entries, events: frozenset[str], limits: Limits, place: _Place, *, items: bool, stop: bool
    ) -> None:
        self._entries = entries
        self._events = events
        self._limits = limits
        self._items = items
        self._stop = stop
        self._frames = _Frames(limits.line)
        self._asked = place
        self._seq = place.seq
        self._told = place.text()
        self._mentions: list[Mention] = []
        self._bad: list[Rejection] = []

    def receive(self, chunk: bytes) -> Sequence[Batch]:
        for event in self._frames.receive(chunk):
            if event.data and (not self._events or event.name in self._events):
                self._take(event)
        cursor = _Place(self._frames.id or self._asked.id, self._seq).text()
        if cursor == self._told and not self._mentions and not self._bad:
            return ()
        batch = Batch(mentions=self._mentions, bad=self._bad, cursor=cursor or None)
        self._told, self._mentions, self._bad = cursor, [], []
        return (batch,)

    def end(self) -> tuple[Batch, End]:
        return Batch(), End(caught_up=True, stop=self._stop, pause=self._frames.retry)

    def _take(self, event: _Event) -> None:
        if isinstance(event.data, TooLong):
            reason = f"is an event of more than {self._limits.line} bytes"
            self._bad.append(Rejection(name=shown(event.data.begins), reason=reason))
            return
        try:
            document = parse_json(event.data)
        except Unreadable as exc:
            if event.name not in _BEATS:
                self._bad.append(Rejection(name=shown(event.data), reason=str(exc)))
            return
        if event.name in _BEATS and not isinstance(document, dict):
            return
        entries = self._entries.unpack(document) if self._items else [document]
        if entries is None:
            self._bad.append(Rejection(name=shown(event.data), reason="is an event without an array of entries"))
            return
        for entry in entries:
            self._take_entry(entry, event.id)

    def _take_entry(self, entry: object, id_: str | None) -> None:
        item, seq = self._entries.take(entry, id_)
        if seq is not None:  # where it is the id, the id says it, also of what follows
            self._seq = None if _since(seq) == id_ else seq
        if isinstance(item, Mention):
            self._mentions.append(item)
        elif item is not None:
            self._bad.append(item)


class _Frames:
    """Bytes to events, however they were cut. Holds at most one event of `most` bytes, and one line."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._lines = Lines(most + _FIELD)
        self._opening: bytes | None = b""
        """What came as long as it may be the beginning of a byte order mark; None: that is settled."""
        self._after_cr = False
        self.id = ""
        """Of the last event that had one."""
        self.retry: timedelta | None = None
        self._pending_id: str | None = None
        self._name = ""
        self._data: list[bytes] = []
        self._size = 0
        self._too_long: TooLong | None = None

    def receive(self, chunk: bytes) -> list[_Event]:
        """The events that are whole now."""
        if self._opening is not None:
            chunk = self._opening + chunk
            if len(chunk) < len(_BOM) and _BOM.startswith(chunk):
                self._opening = chunk
                return []
            self._opening, chunk = None, chunk.removeprefix(_BOM)
        events = []
        for line in self._lines.receive(self._with_one_end(chunk)):
            if isinstance(line, TooLong):
                name, _, value = line.begins.partition(b":")
                if name == b"data":
                    self._add(value.removeprefix(b" "), too_long=True)
            elif line:
                self._field(line)
            else:
                event = self._dispatch()
                if event is not None:
                    events.append(event)
        return events

    def _with_one_end(self, chunk: bytes) -> bytes:
        """Lines end with LF alone. A CR ends one at once: its LF may be long in coming."""
        if self._after_cr and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._after_cr = False
        if chunk.endswith(b"\r"):
            self._after_cr = True
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")  # a comment has no name
        value = value.removeprefix(b" ")
        match name:
            case b"data":
                self._add(value)
            case b"event":
                self._name = value.decode("utf-8", "replace")
            case b"id" if b"\0" not in value and len(value) <= _LONGEST_ID:
                self._pending_id = value.decode("utf-8", "replace")
            case b"retry" if value.isdigit():
                short = value.lstrip(b"0")[:9]
                self.retry = timedelta(milliseconds=min(int(short or b"0"), _LONGEST_PAUSE_MS))

    def _add(self, value: bytes, *, too_long: bool = False) -> None:
        if self._too_long is not None:
            return
        self._data.append(value)
        self._size += len(value) + 1
        if too_long or self._size - 1 > self._most:
            self._too_long = TooLong(b"\n".join(self._data)[:_SHOWN])
            self._data.clear()

    def _dispatch(self) -> _Event | None:
        self.id = self._pending_id or self.id
        event = None
        if self._data or self._too_long is not None:
            event = _Event(self._name or "message", self._too_long or b"\n".join(self._data), self._pending_id or None)
        self._pending_id, self._name, self._too_long, self._size = None, "", None, 0
        self._data.clear()
        return event


def _refuse_lost_history(head: Head, asked: str) -> None:
    said = next((head.headers[name] for name in _HISTORY if name in head.headers), None)
    if asked and asked.isascii() and said is not None and said.strip() not in {asked.strip(), _header(asked).strip()}:
        after = shown(said.encode("utf-8", "replace"))
        raise Reset(f"its history was lost: it goes on after {after}, not after {shown(asked.encode())}", gap=True)


def _place_of(cursor: str | None) -> _Place:
    if cursor and cursor.startswith("{"):
        with contextlib.suppress(ValueError, RecursionError):
            said = json.loads(cursor)
            if said.keys() <= {"id", "seq"} and isinstance(said.get("id", ""), str):
                return _Place(**said)
    return _Place(cursor or "")


def _since(seq: object) -> str:
    return seq if isinstance(seq, str) else json_text(seq)


def _header(id_: str) -> str:
    """An id as a header can carry it: what is not printable ASCII is percent-encoded as UTF-8."""
    return quote(id_, safe=_PRINTABLE, errors="surrogatepass")

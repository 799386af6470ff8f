"""How far a feed whose entries tell their places was read: entries' places in, what is new and a cursor out. Pure.

Servers that do not heed `since` (a static file) send everything again. What was read before is passed over: numbers up
to the cursor's; with any other kind of place, an answer that begins with the very entry that the one before began with
(`first`, in the cursor) is read up to the cursor's own. Nothing is kept in memory for that, and if the own entry never
comes it is a Reset, so that nothing is passed over that was not read.
"""

import contextlib
import json
import math
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from mirrord.sources.feed.dialect import Reset
from mirrord.sources.feed.pointers import Entries, json_text
from mirrord.sources.feed.times import parse_time

_SHOWN = 60
_FRACTION = re.compile(r"[.,](\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A cursor. All but `probe` are any JSON; None: it has none."""

    seq: object = None
    next: object = None
    """A page: its URL, or what to ask `since`."""
    first: object = None
    """The place of the entry that an answer began with, where places are not numbers."""
    stamp: object = None
    """The time of the entry at `seq`, where counters live in memory: after a restart another has its number."""
    probe: bool = False
    """Whether to look, before it is waited again, that the entry at `seq` is still known."""

    def text(self) -> str:
        fields = {"seq": self.seq, "next": self.next, "first": self.first, "stamp": self.stamp}
        said = {name: value for name, value in fields.items() if value is not None}
        return json_text(said | {"probe": True} if self.probe else said)


def mark_of(cursor: str | None) -> Mark:
    """What `Mark.text` wrote; any other text is taken for the place of an entry."""
    if cursor is None:
        return Mark()
    with contextlib.suppress(ValueError, RecursionError):
        said = json.loads(cursor)
        if isinstance(said, dict) and said.keys() <= {"seq", "next", "first", "stamp", "probe"}:
            return Mark(**said)
    return Mark(seq=cursor)


class Progress:
    """Which entries of one answer are new, and how far they lead."""

    def __init__(self, mark: Mark, *, overlap: timedelta = timedelta(0)) -> None:
        """`overlap`: places are times, and what is no older than so much before the mark is new again."""
        self.mark = mark
        self._overlap = overlap
        self._have = self._rank(mark.seq)
        self._floor = self._rank(earlier(mark.seq, overlap)) if overlap else None
        self._highest = self._have
        self._first: object = None
        self._last: object = mark.seq
        self._before: object = None
        self._is_sure = False
        self.moves = 0
        """Places that are new."""
        self._ascends = True
        self._among_old = False
        """Before the mark's own entry, in an answer that begins as the one before did."""
        self._behind: object = None
        self._met = False

    def is_repeated(self, seq: object, entry: object) -> bool:  # noqa: ARG002 - for those who count
        """Whether the entry at `seq` was read before; every entry is asked about, in order. Raises Reset."""
        if seq is None:
            return self._among_old
        if self._first is None:
            self._first = seq
            self._among_old = self.mark.seq is not None and seq == self.mark.first
        rank = self._rank(seq)
        if rank is None or self._have is None:
            return self._is_passed(seq)
        if self._floor is not None:
            repeated = rank < self._floor
            behind = repeated
        else:
            repeated = rank <= self._have
            behind = rank < self._have
        if behind:
            self._behind = seq
        else:
            self._met = True
        return repeated

    def go_on(self, seq: object) -> bool:
        """Whether everything before this entry, which is new, is sure: one place may have several entries."""
        if seq is None or seq == self._last:
            return False
        rank = self._rank(seq)
        if rank is not None and self._highest is not None and rank < self._highest:
            if self._have is None or rank >= self._have:
                self._ascends = False  # the newest first, perhaps: nothing is sure before the end
            return False
        self._is_sure = self.moves > 0
        self._before, self._last, self._highest = self._last, seq, rank
        self.moves += 1
        return self._ascends

    def cursor(self) -> str | None:
        """Where to go on if the answer breaks off now; None: no further than was said."""
        if not (self._is_sure and self._ascends):
            return None
        self._is_sure = False
        return self._reached(self._before).text()

    def finish(self) -> Mark:
        """Where to go on now that the answer is over. Raises Reset."""
        if self._among_old:
            raise Reset(f"the entry up to which it was read, at {_shown(self.mark.seq)}, is gone", gap=False)
        if self._behind is not None and not self._met:
            raise Reset(f"it went back from {_shown(self.mark.seq)} to {_shown(self._behind)}", gap=False)
        return self._reached(self._last) if self.moves else self.mark

    def _is_passed(self, seq: object) -> bool:
        """Of places that have no order."""
        self._met = True
        if self.mark.seq is not None and seq == self.mark.seq:
            self._among_old = False
            return True
        return self._among_old

    def _reached(self, seq: object) -> Mark:
        return Mark(seq=seq, next=self.mark.next, first=self._first if self._rank(seq) is None else None)

    def _rank(self, seq: object) -> float | None:
        """What is greater for later entries; None: nothing is known of their order."""
        if self._overlap:
            moment = parse_time(seq)
            return None if moment is None else moment.timestamp()
        if type(seq) is int or (type(seq) is float and math.isfinite(seq)):
            return seq
        return None


class Counted(Progress):
    """Places that a server counts one by one, in memory: what is left out is lost, and what is less begins anew.

    In an answer to nobody's cursor nothing can be missed.
    """

    def __init__(self, mark: Mark, entries: Entries, *, probing: bool) -> None:
        """`probing`: the mark's own entry was asked for too, and so it must come, or one after it."""
        super().__init__(mark if type(mark.seq) is int else replace(mark, seq=None))
        self._entries = entries
        self._probing = probing
        self._at = mark.seq if type(mark.seq) is int else None
        self._count = 0
        self._unknown = 0
        """Entries since then that did not tell their number."""
        self._stamps = {mark.seq: mark.stamp} if type(mark.seq) is int else {}

    def is_repeated(self, seq: object, entry: object) -> bool:
        self._count += 1
        if type(seq) is not int:
            self._unknown += 1
            return False
        stamp = self._entries.time_of(entry)
        if seq == self.mark.seq and not self.moves:
            if self.mark.stamp is not None and stamp != self.mark.stamp:
                raise Reset(f"entry {seq} is another one than it was", gap=True)
            return True
        if self._at is not None:
            if seq <= self._at:
                raise Reset(f"it went back from entry {self._at} to {seq}", gap=True)
            if seq > self._at + 1 + self._unknown:
                raise Reset(f"what was between entry {self._at} and {seq} is gone", gap=True)
            self._at, self._unknown = seq, 0
        last = self._last if type(self._last) is int else seq
        self._stamps = {last: self._stamps.get(last), seq: stamp}
        return False

    def finish(self) -> Mark:
        """An answer that brought nothing leads to a look whether the mark's own entry is still there."""
        if self._at is not None and self._probing and not self._count:
            raise Reset(f"entry {self._at}, the last that was read, is not known any more", gap=True)
        reached = super().finish()
        return replace(reached, probe=not self._probing and not self._count and self._at is not None)

    def _reached(self, seq: object) -> Mark:
        stamp = self._stamps.get(seq) if type(seq) is int else None
        return Mark(seq=seq, next=self.mark.next, stamp=stamp)


def _shown(seq: object) -> str:
    return json_text(seq)[:_SHOWN]


def earlier(seq: object, overlap: timedelta) -> object:
    """A time as a feed writes it, so much before, written in the same way; what is no time stays as it is."""
    moment = parse_time(seq)
    if moment is None:
        return seq
    try:
        if isinstance(seq, str):
            return _written_like(seq.strip(), moment - overlap)
        if isinstance(seq, int | float):
            second = 1 if abs(moment.timestamp() - seq) < 1 else 1000
            before = seq - overlap.total_seconds() * second
            return math.floor(before) if isinstance(seq, int) else before
    except OverflowError:  # before the first year
        return seq
    return seq


def _written_like(text: str, moment: datetime) -> str:
    """`moment`, to the whole unit before, with the digits and the offset of the time that `text` is."""
    with contextlib.suppress(ValueError):
        moment = moment.astimezone(datetime.fromisoformat(text).tzinfo or UTC)
    if len(text) == len("2026-11-20"):
        return moment.date().isoformat()
    digits = _FRACTION.search(text)
    unit = "seconds" if digits is None else "milliseconds" if len(digits[1]) < 4 else "microseconds"
    written = moment.isoformat(sep=text[10], timespec=unit)
    zone = text[11:]
    if zone[-1] in "zZ":
        return written.removesuffix("+00:00") + zone[-1]
    return written if "+" in zone or "-" in zone else written.removesuffix("+00:00")

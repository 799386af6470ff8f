"""One JSON value of a feed, and where things stand in it, to a Mention and its place in the feed."""

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from mirrord.model.change import Rejection
from mirrord.model.mention import Mention
from mirrord.sources.feed.documents import shown_value
from mirrord.sources.feed.times import parse_time

_DEEPEST = 20
"""Levels of a version or a place that is no text: what is deeper is no such thing."""
_EXACT = 2.0**53
"""Whole numbers that do not fit 64 bits come out of the parser as floats, and from here on not exactly."""

_ABSENT: Final = object()
_PLAIN_TIMES: Final = frozenset({"--T::Z", "--T::."})
"""What stands at every third character of 2026-11-20T20:15:00Z and 2026-11-20T20:15:00.5Z, from the fifth on."""

Scalar = str | int | float | bool
Steps = tuple[str, ...]

REMOVED: Final[frozenset[Scalar]] = frozenset({"remove", "removed", "delete", "deleted", True})
WRITTEN: Final[frozenset[Scalar]] = frozenset(
    {"write", "written", "create", "created", "add", "added", "insert", "inserted", "put", "upload", "uploaded"}
    | {"update", "updated", "upsert", "modify", "modified", "change", "changed", "set", "replace", "replaced", False}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointers:
    """Where an entry has what (RFC 6901). None, and a pointer that leads to nothing or to null: it does not say.

    Raises ValueError, with a sentence, for what is no pointer.
    """

    items: str | None = None
    """Of a document: the array of its entries, "" for all of it."""
    key: str = "/key"
    op: str | None = "/op"
    version: str | None = "/version"
    time: str | None = "/time"
    seq: str | None = "/seq"
    next: str | None = None
    """Of a document: where its next page is, as a URL or as what to ask `since`."""
    size: str | None = "/size"
    etag: str | None = "/etag"
    modified: str | None = "/modified"
    removed: frozenset[Scalar] = REMOVED
    """Values of `op` that mean a removal; texts in whatever case."""
    written: frozenset[Scalar] = WRITTEN
    """Values of `op` that mean a new version, in the same way; none at all means it too."""
    only: Mapping[str, Scalar | tuple[Scalar, ...]] = field(default_factory=dict)
    """Entries are passed over in silence unless each of these pointers leads to (one of) its values."""

    def __post_init__(self) -> None:
        for pointer in (self.items, self.key, *self.facts[1:], self.next, *self.only):
            if pointer is not None:
                steps_of(pointer)

    @property
    def facts(self) -> tuple[str | None, ...]:
        """What is looked up in every entry, in this order."""
        return (self.key, self.op, self.version, self.time, self.seq, self.size, self.etag, self.modified)


class Entries:
    """Reads documents and entries as some `Pointers` say."""

    def __init__(self, pointers: Pointers) -> None:
        self._facts = [None if pointer is None else steps_of(pointer) for pointer in pointers.facts]
        self._names: list[str] | None = None
        """Where every fact is one step away, as in the plain shape, their names: reading is three times as fast."""
        if all(steps is not None and len(steps) == 1 for steps in self._facts):
            self._names = [steps[0] for steps in self._facts if steps is not None]
        self._only = [
            (steps_of(pointer), frozenset(_folded(one) for one in (wanted if isinstance(wanted, tuple) else (wanted,))))
            for pointer, wanted in pointers.only.items()
        ]
        self._removals = {_folded(op): False for op in pointers.written} | {
            _folded(op): True for op in pointers.removed
        }
        self._items = None if pointers.items is None else steps_of(pointers.items)
        self._next = None if pointers.next is None else steps_of(pointers.next)

    def unpack(self, document: object) -> list[object] | None:
        """The entries of a document; None: it has no array where they should be."""
        items = document if self._items is None else _find(document, self._items, _ABSENT)
        if items is None:  # so Go writes an empty list
            return []
        return items if isinstance(items, list) else None

    def next_of(self, document: object) -> object:
        """Where the document says that its next page is; None: it has none."""
        return None if self._next is None else _find(document, self._next)

    def time_of(self, entry: object) -> object:
        """When it happened, as the entry itself has it."""
        steps = self._facts[3]
        return None if steps is None else _find(entry, steps)

    def take(self, entry: object, place: object = None) -> tuple[Mention | Rejection | None, object]:
        """What an entry says (None: it is passed over), and its place in the feed: any JSON but null, or None.

        `place`: what its place is when it does not say.
        """
        if self._names is not None and type(entry) is dict:
            key, op, version, time, seq, size, etag, modified = map(entry.get, self._names)
        else:
            found = [None if steps is None else _find(entry, steps) for steps in self._facts]
            key, op, version, time, seq, size, etag, modified = found
        if seq is None:
            seq = place
        elif _is_unusable(seq):
            reason = "its place in the feed is nested too deeply, or a number too large to be read exactly"
            return Rejection(name=shown_value(entry), reason=reason), place
        if self._only and not all(_folded(_find(entry, steps)) in wanted for steps, wanted in self._only):
            return None, seq
        if type(key) is not str or not key:
            return Rejection(name=shown_value(entry), reason="has no key, or it is no text"), seq
        removed = False if op is None else self._removals.get(_folded(op))
        if removed is None:
            return Rejection(name=_printable(key), reason=f"is neither written nor removed, but {shown_value(op)}"), seq
        if etag is not None:
            etag = _bare(etag)
        mention = Mention(
            name=key,
            removed=removed,
            # told twice it must be the same version twice
            token=_token(version) or etag or _token(seq) or _token(time),
            size_bytes=None if size is None else _size(size),
            etag=etag,
            modified=None if modified is None else parse_time(modified),
            at=None if time is None else _time(time),
        )
        return mention, seq


def steps_of(pointer: str) -> Steps:
    """What a JSON pointer leads through. Raises ValueError with a sentence."""
    if not pointer:
        return ()
    if not pointer.startswith("/"):
        raise ValueError(f'{pointer!r} is no JSON pointer: one begins with "/", or is empty')
    if "~" in pointer.replace("~0", "").replace("~1", ""):
        raise ValueError(f'{pointer!r} is no JSON pointer: a "~" in a name is written "~0", and a "/" "~1"')
    return tuple(step.replace("~1", "/").replace("~0", "~") for step in pointer[1:].split("/"))


def json_text(value: object) -> str:
    """In one line of ASCII; what is equal has equal text. For values that `Entries` let through."""
    return json.dumps(value, separators=(",", ":"))


def _find(value: object, steps: Steps, absent: object = None) -> object:
    for step in steps:
        if isinstance(value, dict):
            value = value.get(step, absent)
        elif isinstance(value, list) and (step == "0" or (step[:1] != "0" and step.isascii() and step.isdigit())):
            value = value[int(step)] if len(step) < 10 and int(step) < len(value) else absent
        else:
            return absent
    return value


def _folded(value: object) -> object:
    """For comparing as JSON does, in which true is not 1, and texts in whatever case; None: no scalar."""
    if isinstance(value, str):
        return value.lower()
    if isinstance(value, bool):
        return (value,)
    return value if isinstance(value, int | float) else None


def _token(value: object) -> str | None:
    """A text as it is, anything else as its JSON; None where there is nothing, or nothing usable."""
    if value is None or type(value) is str:
        return value or None
    return None if _is_unusable(value) else json_text(value)


def _bare(etag: object) -> str | None:
    if not isinstance(etag, str):
        return None
    return etag.strip().removeprefix("W/").strip('"') or None


def _size(size: object) -> int | None:
    if isinstance(size, str) and len(size) < 20 and size.isascii() and size.isdigit():
        return int(size)
    if isinstance(size, bool) or not isinstance(size, int | float) or not 0 <= size < 2**63:
        return None
    return int(size) if size == int(size) else None


def _time(time: object) -> datetime | None:
    """As `parse_time` has it; the form that nearly all feeds write, ten times as fast."""
    if type(time) is str and time[4:20:3] in _PLAIN_TIMES and time[-1] == "Z" and time[-2].isdigit():
        with contextlib.suppress(ValueError):
            return datetime.fromisoformat(time)
    return parse_time(time)


def _is_unusable(value: object) -> bool:
    """Whether two different values could look like this one."""
    if type(value) is float:
        return not abs(value) < _EXACT
    return type(value) in {list, dict} and _is_deeper(value, _DEEPEST)


def _is_deeper(value: object, levels: int) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return False
    return levels == 0 or any(_is_deeper(one, levels - 1) for one in value)


def _printable(name: str) -> str:
    return name if name.isprintable() else ascii(name)[1:-1]

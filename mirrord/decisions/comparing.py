"""A key and what a listing of the bucket shows of it: the same version, another one, or only the content can tell."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import assert_never

from mirrord.decisions.staleness import Doubt
from mirrord.model.change import Change
from mirrord.model.fingerprint import Fingerprint, parse_file, parse_token, size_of
from mirrord.model.listing import ListedObject
from mirrord.model.row import ObjectRow, State, Why

TICK_NS = 100
"""Kodo counts time in ticks of 100 ns."""


CLOCKS_APART_NS = 15 * 60 * 10**9
"""Stored so long after the origin's change is after it, whosever clock is wrong: Kodo itself bears 15 minutes.

It also outlasts a pull of the old bytes that was running while they changed, and the part of a second that a
feed's time leaves out.
"""


class Differs(StrEnum):
    """How the bucket's object is not the version that the origin has."""

    MISSING = "missing in bucket"
    SIZE = "size"
    HASH = "hash"
    DRIFTED = "drifted"  # the bucket had it, and has it no longer


@dataclass(frozen=True, slots=True)
class Fresh:
    """The bucket holds that version."""


@dataclass(frozen=True, slots=True)
class Stale:
    """It does not, or may not."""

    reason: Differs


def compare(version: Fingerprint, found: ListedObject | None, *, thorough: bool) -> Fresh | Stale | Doubt:
    """What `found` says of `version`; when `thorough`, no time is proof enough."""
    if found is None:
        return Stale(Differs.MISSING)
    if _differs_in_size(version, found):
        return Stale(Differs.SIZE)
    changed_ns = _changed_ns(version)
    if not thorough and changed_ns is not None and found.put_time * TICK_NS > changed_ns + CLOCKS_APART_NS:
        return Fresh()
    # a file can be read; of what a feed names nobody here has the content
    return Doubt.DOUBT if found.hash_is_of_content and parse_token(version) is None else Stale(Differs.HASH)


def first_compared(
    mirror: str, change: Change, found: ListedObject | None, *, thorough: bool
) -> ObjectRow | Doubt | None:
    """The row of a key that the journal did not have; DOUBT when it needs the change's `content_hash`."""
    if change.version is None:
        return None
    answer = compare(change.version, found, thorough=thorough)
    if answer is Doubt.DOUBT and change.content_hash is not None:
        same = found is not None and change.content_hash == found.hash
        answer = Fresh() if same else Stale(Differs.HASH)
    match answer:
        case Fresh():
            return ObjectRow(
                mirror=mirror,
                key=change.key,
                wanted=change.version,
                wanted_at=change.known_at,
                why=Why.NEW,
                confirmed=change.version,
                bucket_hash=found.hash if found else None,
                state=State.FRESH,
            )
        case Stale(reason):
            return ObjectRow(
                mirror=mirror,
                key=change.key,
                wanted=change.version,
                wanted_at=change.known_at,
                why=Why.DIFFERS,
                state=State.STALE,
                stale_since=change.seen_at,
                due_at=change.seen_at,
                last_error=reason.value,
            )
        case Doubt():
            return answer
        case _:
            assert_never(answer)


def drifted(row: ObjectRow, found: ListedObject | None, listed_since: datetime) -> bool:
    """Whether the bucket, listed from `listed_since` on, holds something else than the journal believes."""
    if row.state is not State.FRESH or row.wanted is None:
        return False
    if row.last_at is not None and row.last_at >= listed_since:
        return False  # asked for since: the journal is newer than the listing
    if found is None:
        return True
    if _differs_in_size(row.wanted, found):
        return True
    return _contradicts(row.bucket_hash, found)


def _differs_in_size(version: Fingerprint, found: ListedObject) -> bool:
    size_bytes = size_of(version)
    return size_bytes is not None and size_bytes != found.size_bytes


def _changed_ns(version: Fingerprint) -> int | None:
    """When the content was last changed, in ns since 1970; None: a feed that does not say."""
    token = parse_token(version)
    if token is not None:
        return None if token.modified is None else int(token.modified.timestamp()) * 10**9
    file = parse_file(version)
    return None if file is None else file.changed_ns


def _contradicts(believed: str | None, found: ListedObject) -> bool:
    if not believed or not found.hash_is_of_content:
        return False
    return believed != found.hash and believed[:1] in {"F", "l"}

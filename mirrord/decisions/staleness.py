"""How a key's row moves: a change comes in, a claim ends, a claimer died. Each gives the new row."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, assert_never

from mirrord.decisions.retry import orphan_grace
from mirrord.model.attempt import Outcome
from mirrord.model.change import Change
from mirrord.model.fingerprint import Fingerprint, parse_file
from mirrord.model.row import ObjectRow, State
from mirrord.model.step import Done, Hold, NextStep, Park, Retry


class OnRemoved(StrEnum):
    """What to do in the bucket about a key that the origin has no longer."""

    KEEP = "keep"
    DELETE = "delete"


class NewKeys(StrEnum):
    """What a key that the journal never saw is taken for."""

    STALE = "stale"  # the bucket may hold anything: ask
    FRESH = "fresh"  # adopted: the bucket is believed to hold it already


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeRules:
    """How a mirror takes changes in."""

    on_removed: OnRemoved = OnRemoved.KEEP
    new_keys: NewKeys = NewKeys.STALE


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """How one claim ended, as the dispatcher tells the journal."""

    mirror: str
    key: str
    claims: int
    """Which claim this settles; one that lapsed meanwhile changes nothing."""
    generation: int
    """What was wanted when the claim began."""
    step: NextStep
    at: datetime
    asked_for: Fingerprint | None
    """The origin's version before the call: what a success put into the bucket."""
    found: Fingerprint | None
    """The origin's version after the call; differs from `asked_for` when it moved on meanwhile."""
    counts: bool = True
    attempted: bool = True
    """False when nothing was asked of Kodo: the claim is only given back."""
    status: int | None = None
    reqid: str | None = None
    outcome: Outcome | None = None
    error: str | None = None
    bucket_hash: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Standing:
    """Where a key stands: the columns of a row that move together."""

    state: State
    stale_since: datetime | None = None
    due_at: datetime | None = None
    attempts: int = 0
    strikes: int = 0


_FRESH = _Standing(state=State.FRESH)


def take_in(row: ObjectRow | None, mirror: str, change: Change, rules: IntakeRules) -> ObjectRow | None:
    """The row after `change`; None when it says nothing new.

    While a claim is out the row stays claimed: its generation tells the settlement that more is wanted.
    """
    version = change.version
    if row is None:
        return None if version is None else _first_seen(mirror, change, rules.new_keys)
    if row.wanted == version:
        return None
    if row.state is State.CLAIMED:
        return replace(row, wanted=version, generation=row.generation + 1, attempts=0, strikes=0)
    if _nothing_to_do(version, row.confirmed, rules):
        standing = _FRESH
    else:
        standing = _Standing(state=State.STALE, stale_since=row.stale_since or change.seen_at, due_at=change.seen_at)
    return _standing_at(row, standing, wanted=version, generation=row.generation + 1)


def settled(row: ObjectRow, end: Settlement, rules: IntakeRules) -> ObjectRow | None:
    """The row after its claim ended; None when that claim had lapsed and somebody else has the key."""
    if row.state is not State.CLAIMED or row.claims != end.claims:
        return None
    wanted, generation = row.wanted, row.generation
    overtaken = generation != end.generation  # a change came in meanwhile: it is still to be done
    if not overtaken:
        # the source knows better than the row: what it has now is wanted
        wanted = end.found
        overtaken = end.found != end.asked_for
        generation += overtaken
    done = end.attempted and isinstance(end.step, Done)
    if wanted is None and rules.on_removed is OnRemoved.KEEP:
        standing = _FRESH  # also when the claim was of a removal that another policy or a dead claimer left
    elif not overtaken:
        standing = _stepped(row, end)
    else:
        standing = _Standing(state=State.STALE, stale_since=row.stale_since or end.at, due_at=end.at)
    if not end.attempted:
        return _standing_at(row, standing, wanted=wanted, generation=generation, lease_until=None)
    return _standing_at(
        row,
        standing,
        wanted=wanted,
        generation=generation,
        lease_until=None,
        confirmed=_confirmed(row, end, overtaken=overtaken),
        bucket_hash=end.bucket_hash if done else row.bucket_hash,
        last_at=end.at,
        last_status=end.status,
        last_reqid=end.reqid,
        last_outcome=end.outcome,
        last_error=end.error,
    )


def given_back(row: ObjectRow, now: datetime) -> ObjectRow:
    """The row of a claim whose claimer is dead: stale, once the pull it began has surely ended."""
    version = parse_file(row.wanted) if row.wanted is not None else None
    grace_ends = now + orphan_grace(version.size_bytes if version else None)
    standing = _Standing(
        state=State.STALE,
        stale_since=row.stale_since or now,
        due_at=min(row.lease_until or now, grace_ends),
        attempts=row.attempts,
        strikes=row.strikes,
    )
    return _standing_at(row, standing, lease_until=None, confirmed=None)


def lease_for(connect_timeout: timedelta, read_timeout: timedelta) -> timedelta:
    """A lease outlasts the longest a call can take, with time to settle it."""
    return connect_timeout + read_timeout + timedelta(seconds=30)


def _first_seen(mirror: str, change: Change, taken_for: NewKeys) -> ObjectRow:
    match taken_for:
        case NewKeys.FRESH:
            return ObjectRow(
                mirror=mirror, key=change.key, wanted=change.version, confirmed=change.version, state=State.FRESH
            )
        case NewKeys.STALE:
            return ObjectRow(
                mirror=mirror,
                key=change.key,
                wanted=change.version,
                state=State.STALE,
                stale_since=change.seen_at,
                due_at=change.seen_at,
            )
        case _:
            assert_never(taken_for)


def _nothing_to_do(wanted: Fingerprint | None, confirmed: Fingerprint | None, rules: IntakeRules) -> bool:
    if wanted is None:
        return rules.on_removed is OnRemoved.KEEP  # the bucket keeps its copy, and that is what was wanted
    return wanted == confirmed


def _confirmed(row: ObjectRow, end: Settlement, *, overtaken: bool) -> Fingerprint | None:
    """What the bucket is known to hold after an attempt: nothing, when it may have pulled another version."""
    if isinstance(end.step, Done):
        return None if overtaken else end.asked_for
    return None if end.outcome in (Outcome.TIMED_OUT, Outcome.UNAVAILABLE) else row.confirmed


def _stepped(row: ObjectRow, end: Settlement) -> _Standing:
    since = row.stale_since or end.at
    attempts = row.attempts + end.attempted
    strikes = row.strikes + (end.attempted and end.counts)
    match end.step:
        case Done():
            return _FRESH
        case Retry(delay) | Hold(delay):
            return _Standing(
                state=State.STALE, stale_since=since, due_at=end.at + delay, attempts=attempts, strikes=strikes
            )
        case Park():
            return _Standing(state=State.PARKED, stale_since=since, attempts=attempts, strikes=strikes)
        case _:
            assert_never(end.step)


def _standing_at(row: ObjectRow, standing: _Standing, **also: Any) -> ObjectRow:
    # one replacement, however much changes: it is the dearest part of settling
    return replace(
        row,
        state=standing.state,
        stale_since=standing.stale_since,
        due_at=standing.due_at,
        attempts=standing.attempts,
        strikes=standing.strikes,
        **also,
    )

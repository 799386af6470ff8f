"""How a key's row moves: a change comes in, a claim ends, a claimer died. Each gives the new row."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum, StrEnum
from typing import Any, assert_never

from mirrord.decisions.retry import orphan_grace
from mirrord.model.attempt import Operation, Outcome
from mirrord.model.change import Change
from mirrord.model.fingerprint import Fingerprint, parse_file, size_of
from mirrord.model.pending import Pending
from mirrord.model.row import ObjectRow, State, Why
from mirrord.model.step import Done, Hold, NextStep, Park, Retry

MOVED_ON_PAUSE = timedelta(seconds=2)
"""How long a key waits whose file was another one after the call than before, without a change having come in."""


class OnRemoved(StrEnum):
    """What to do in the bucket about a key that the origin has no longer."""

    KEEP = "keep"
    DELETE = "delete"


class NewKeys(StrEnum):
    """What a key that the journal never saw is taken for."""

    STALE = "stale"  # the bucket may hold anything: ask
    FRESH = "fresh"  # adopted: the bucket is believed to hold it already
    COMPARED = "compared"  # what the bucket's listing says; see comparing.py


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeRules:
    """How a mirror takes changes in."""

    on_removed: OnRemoved = OnRemoved.KEEP
    new_keys: NewKeys = NewKeys.STALE
    thorough: bool = False
    """Whether a comparison looks at the content also where size and time agree."""


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
    operation: Operation = Operation.PREFETCH
    duration_s: float = 0.0
    pending: Pending | None = None
    """The pull that may be running now; not attempted and None: the one that there was."""
    status: int | None = None
    reqid: str | None = None
    outcome: Outcome | None = None
    error: str | None = None
    bucket_hash: str | None = None
    purge: bool = False
    """Whether a CDN is to be told, if this makes the key fresh."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Standing:
    """Where a key stands: the columns of a row that move together."""

    state: State
    stale_since: datetime | None = None
    due_at: datetime | None = None
    attempts: int = 0
    strikes: int = 0


_FRESH = _Standing(state=State.FRESH)


class Doubt(Enum):
    """Stands for a row where only the content can tell."""

    DOUBT = "doubt"


def take_in(row: ObjectRow | None, mirror: str, change: Change, rules: IntakeRules) -> ObjectRow | Doubt | None:
    """The row after `change`; None when it says nothing new, DOUBT when it needs the change's `content_hash`.

    While a claim is out the row stays claimed: its generation tells the settlement that more is wanted.
    """
    version = change.version
    if row is None:
        return None if version is None else _first_seen(mirror, change, rules.new_keys)
    if row.wanted == version or _is_outdated(row, change):
        return None
    removed_at = change.seen_at if version is None else None
    why = Why.REMOVED if version is None else Why.NEW if row.wanted is None else Why.CHANGED
    if row.state is State.CLAIMED:
        return replace(
            row,
            wanted=version,
            wanted_at=change.known_at,
            why=why,
            generation=row.generation + 1,
            attempts=0,
            strikes=0,
            removed_at=removed_at,
        )
    confirmed = row.confirmed
    if version is not None and _only_touched(row, version):
        if change.content_hash is None:
            return Doubt.DOUBT
        if change.content_hash == row.bucket_hash:
            confirmed = version
    since = row.stale_since or change.seen_at
    if version is None:
        standing = _removed(rules, since)
    elif version == confirmed:
        standing = _FRESH
    else:
        standing = _Standing(state=State.STALE, stale_since=since, due_at=change.seen_at)
    return _standing_at(
        row,
        standing,
        wanted=version,
        wanted_at=change.known_at,
        why=why,
        generation=row.generation + 1,
        confirmed=confirmed,
        removed_at=removed_at,
    )


def _is_outdated(row: ObjectRow, change: Change) -> bool:
    """Whether the change is of a snapshot that was made before the row's version was seen."""
    return change.as_of is not None and row.wanted_at is not None and change.as_of < row.wanted_at


def _only_touched(row: ObjectRow, version: Fingerprint) -> bool:
    """Whether a mirrored file has kept its size and mtime: a chmod, or a tree that was restored or copied."""
    if row.state is not State.FRESH or row.wanted is None or row.wanted != row.confirmed or not row.bucket_hash:
        return False
    was, now = parse_file(row.wanted), parse_file(version)
    return (
        was is not None and now is not None and was.size_bytes == now.size_bytes and was.modified_ns == now.modified_ns
    )


def _removed(rules: IntakeRules, since: datetime) -> _Standing:
    match rules.on_removed:
        case OnRemoved.KEEP:
            return _FRESH  # the bucket keeps its copy, and that is what was wanted
        case OnRemoved.DELETE:
            return _Standing(state=State.HELD, stale_since=since)  # until the removal guard has decided
        case _:
            assert_never(rules.on_removed)


def settled(row: ObjectRow, end: Settlement, rules: IntakeRules) -> ObjectRow | None:
    """The row after its claim ended; None when that claim had lapsed and somebody else has the key."""
    if row.state is not State.CLAIMED or row.claims != end.claims:
        return None
    if row.lease_until is not None and end.at >= row.lease_until:
        return None  # lapsed, though nobody has taken the key yet
    wanted, generation = row.wanted, row.generation
    overtaken = generation != end.generation  # a change came in meanwhile: it is still to be done
    if not overtaken:
        # the source knows better than the row: what it has now is wanted
        wanted = end.found
        overtaken = end.found != end.asked_for
        generation += overtaken
    done = end.attempted and isinstance(end.step, Done)
    removed_at = None if wanted is not None else row.removed_at or end.at
    if wanted is None and (overtaken or rules.on_removed is OnRemoved.KEEP):
        standing = _removed(rules, row.stale_since or end.at)
    elif not overtaken:
        standing = _stepped(row, end)
    else:
        # a file that its writer never rests would else be pulled without a pause
        asked = end.attempted or end.pending is not None
        pause = MOVED_ON_PAUSE if row.generation == end.generation and asked else timedelta(0)
        standing = _Standing(state=State.STALE, stale_since=row.stale_since or end.at, due_at=end.at + pause)
    moved: dict[str, Any] = {"wanted": wanted, "generation": generation, "lease_until": None, "removed_at": removed_at}
    if wanted != row.wanted:
        why = Why.REMOVED if wanted is None else Why.NEW if row.wanted is None else Why.CHANGED
        moved |= {"wanted_at": end.at, "why": why}
    if not end.attempted:
        if end.pending is not None:  # it runs: the bucket may hold what it pulls at any time
            moved |= {"confirmed": None, "bucket_hash": None}
        return _standing_at(row, standing, pending=end.pending or row.pending, **moved)
    return _standing_at(
        row,
        standing,
        **moved,
        tries=row.tries + 1,
        pending=end.pending,
        confirmed=_confirmed(row, end, overtaken=overtaken),
        bucket_hash=end.bucket_hash if done or _pulled(end) else row.bucket_hash,
        last_at=end.at,
        last_status=end.status,
        last_reqid=end.reqid,
        last_outcome=end.outcome,
        last_error=end.error,
    )


def given_back(row: ObjectRow, now: datetime, rules: IntakeRules) -> ObjectRow:
    """The row of a claim whose claimer is dead: stale, once the pull it began has surely ended."""
    since = row.stale_since or now
    if row.wanted is None:
        return _standing_at(row, _removed(rules, since), lease_until=None, confirmed=None, bucket_hash=None)
    grace_ends = now + orphan_grace(size_of(row.wanted))
    standing = _Standing(
        state=State.STALE,
        stale_since=since,
        due_at=min(row.lease_until or now, grace_ends),
        attempts=row.attempts,
        strikes=row.strikes,
    )
    return _standing_at(row, standing, lease_until=None, confirmed=None, bucket_hash=None)


def lease_for(connect_timeout: timedelta, read_timeout: timedelta, verification: timedelta = timedelta(0)) -> timedelta:
    """A lease outlasts the longest a call and its verification can take, with time to settle it."""
    return connect_timeout + read_timeout + verification + timedelta(seconds=30)


def _first_seen(mirror: str, change: Change, taken_for: NewKeys) -> ObjectRow:
    match taken_for:
        case NewKeys.FRESH:
            return ObjectRow(
                mirror=mirror,
                key=change.key,
                wanted=change.version,
                wanted_at=change.known_at,
                why=Why.NEW,
                confirmed=change.version,
                state=State.FRESH,
            )
        case NewKeys.STALE | NewKeys.COMPARED:
            return ObjectRow(
                mirror=mirror,
                key=change.key,
                wanted=change.version,
                wanted_at=change.known_at,
                why=Why.NEW,
                state=State.STALE,
                stale_since=change.seen_at,
                due_at=change.seen_at,
            )
        case _:
            assert_never(taken_for)


def _confirmed(row: ObjectRow, end: Settlement, *, overtaken: bool) -> Fingerprint | None:
    """What the bucket is known to hold after an attempt: nothing, when it may have pulled another version."""
    if isinstance(end.step, Done):
        return None if overtaken else end.asked_for
    if end.asked_for is None:
        return None  # a delete that may have been done, or was refused because something else is there
    return None if _pulled(end) else row.confirmed


def _pulled(end: Settlement) -> bool:
    """Whether the bucket may have got something that is not, or not known to be, what was asked for."""
    # refreshed and not done: it pulled something, and the verification did not find it right
    unknown = end.outcome in (Outcome.TIMED_OUT, Outcome.UNAVAILABLE, Outcome.REFRESHED) or end.pending is not None
    return end.asked_for is not None and unknown


def _stepped(row: ObjectRow, end: Settlement) -> _Standing:
    since = row.stale_since or end.at
    attempts = row.attempts + end.attempted
    strikes = row.strikes + (end.attempted and end.counts)
    match end.step:
        case Done():
            return _FRESH
        case Retry(delay) | Hold(delay):
            # given back unasked, a key keeps its place in the queue
            due_at = end.at + delay if end.attempted or delay or row.due_at is None else row.due_at
            return _Standing(state=State.STALE, stale_since=since, due_at=due_at, attempts=attempts, strikes=strikes)
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

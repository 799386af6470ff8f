"""All that is known of one key, to the story that a person reads: what is wanted, what was tried, what comes next."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import assert_never

from mirrord.decisions import verification
from mirrord.decisions.statuses import KEY_ADVICE, SUPPORT_ADVICE, meaning_of
from mirrord.model.attempt import Operation, Outcome
from mirrord.model.condition import Condition
from mirrord.model.coverage import UNKNOWN, Coverage
from mirrord.model.fingerprint import Fingerprint, TokenVersion, parse_file, parse_token
from mirrord.model.pending import Pending
from mirrord.model.row import ObjectRow, State, Why

PACED = "paced"
"""The one condition that keeps no call from going, but only makes it wait for its turn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt at the key."""

    at: datetime
    operation: Operation
    status: int | None
    outcome: Outcome | None
    reqid: str | None
    asked_at: datetime | None
    """When it reached Kodo, by Kodo's clock; None: the X-Reqid does not tell."""
    error: str | None
    duration: timedelta


@dataclass(frozen=True, slots=True)
class Passage:
    """Sentences under a heading; one that begins with blanks belongs to the one before."""

    heading: str
    lines: tuple[str, ...]


def explained(
    row: ObjectRow,
    attempts: Sequence[Attempt],
    conditions: Sequence[Condition],
    coverage: Coverage,
    now: datetime,
    *,
    served: bool | None = None,
) -> list[Passage]:
    """The story; `attempts` the oldest first. Nothing in it can move a terminal's cursor, whoever named the key.

    `served` is whether a service works now; None: nobody can tell.
    """
    passages = [
        Passage("What the origin has", tuple(_at_the_origin(row, now))),
        Passage("What the bucket holds", (_in_the_bucket(row),)),
        Passage("Where it stands", tuple(_standing(row, now))),
        Passage("What was tried", tuple(_tried(row, attempts, now))),
    ]
    if row.pending is not None:
        passages.append(Passage("A pull that may still be running", tuple(_running(row.pending, now))))
    if conditions:
        said = tuple(f"{_begun(condition_in_words(each, now, served=served))}." for each in conditions)
        passages.append(Passage(_of_conditions(row.mirror, conditions, served=served), said))
    unserved = ["No service works with this journal now."] if served is False and row.state in _LEFT_TO_IT else []
    passages.append(Passage("What comes next", (*_next(row, conditions, now, served=served), *unserved)))
    doubts = tuple(_doubts(coverage, now))
    return [*passages, Passage("What may be missing", doubts)] if doubts else passages


def way_out(row: ObjectRow) -> str | None:
    """What a person can do about a parked key, before it is tried again; None: nobody knows better."""
    if row.last_outcome is Outcome.REFRESHED:
        return verification.ADVICE
    if row.last_outcome is None:
        return None
    usual = _ADVICE_BY_OUTCOME.get(row.last_outcome, SUPPORT_ADVICE if row.last_reqid else None)
    return KEY_ADVICE.get(row.last_status or 0, usual)


def condition_in_words(condition: Condition, now: datetime, *, served: bool | None = None) -> str:
    """What keeps the mirror, since when, why, until when; without a full stop.

    `served` False: what kept it when a service last ran. One that is started knows nothing of it, and tries at once.
    """
    since = f"{moment(condition.since, now)} ({span(now - condition.since)})"
    if condition.name == PACED:
        until = "calls go on at that rate"
    elif served is False:
        until = "a service that is started now tries at once"
    elif condition.until is None or condition.until <= now:
        until = "next try at any time"
    else:
        until = f"next try {moment(condition.until, now)}"
        if condition.name == "held":
            until += ", or at once after a restart"
    said = f", status {condition.status}" if condition.status is not None else ""
    said += f", X-Reqid {plain(condition.reqid)}" if condition.reqid else ""
    words = _CONDITIONS.get(condition.name) or plain(condition.name)
    reason = plain(condition.reason).removeprefix(words).removeprefix(": ")
    reason = f": {reason}" if reason else ""
    return f"{'when it last ran: ' if served is False else ''}{words} since {since}{reason}{said}; {until}"


def _of_conditions(mirror: str, conditions: Sequence[Condition], *, served: bool | None) -> str:
    if all(each.name == PACED for each in conditions):
        return f"What {'slowed' if served is False else 'slows'} {mirror} down"
    return f"What {'kept' if served is False else 'keeps'} {mirror} from calling"


# -- words ---------------------------------------------------------------------------------------------


def plain(text: str) -> str:
    """`text` without anything that a terminal would obey: escapes stand for what cannot be printed."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def command(verb: str, mirror: str, key: str | None = None) -> str:
    """What to type, ready for a shell."""
    return f"mirrord {verb} {mirror}" if key is None else f"mirrord {verb} {mirror} {_for_shell(key)}"


def moment(at: datetime, now: datetime) -> str:
    """UTC, to the second; the date only where it is not today's."""
    return f"{at:%H:%M:%S}Z" if at.date() == now.date() else f"{at:%Y-%m-%d %H:%M:%S}Z"


def span(length: timedelta) -> str:
    """Its size, in the largest unit of which there are two."""
    seconds = max(0, int(length.total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def answer(status: int | None, outcome: Outcome | None = None, error: str | None = None) -> str:
    """A status and what it means: by `error` where it came to another `outcome` than the status alone tells of."""
    if status is None:
        return "no answer"
    meaning = meaning_of(status)
    if outcome is Outcome.REMOVED:
        return f"{status}, the bucket does not hold it any more"
    if outcome in {None, meaning.verdict.outcome}:
        return f"{status}, {meaning.says}"
    return f"{status}, {plain(error)}" if error else f"{status}"


def came(status: int | None, outcome: Outcome | None, error: str | None) -> str:
    """How an attempt ended, with its error unless that says the same once more."""
    said = answer(status, outcome, error)
    if not error or plain(error).casefold() in said.casefold():
        return said
    meant = said.partition(", ")[2]
    if status is not None and meant and plain(error).casefold().startswith(meant.casefold()):
        return f"{status}, {plain(error)}"
    return f"{said}: {plain(error)}"


def last_in_words(row: ObjectRow) -> str:
    """How the last attempt at the key ended."""
    if row.last_at is None or not (row.attempts or row.state is State.FRESH):
        return "not asked yet"  # what came of an earlier version says nothing of this one
    outcome = f"{row.last_outcome.value}: " if row.last_outcome else ""
    reqid = f" (reqid {plain(row.last_reqid)})" if row.last_reqid else ""
    return f"{outcome}{came(row.last_status, row.last_outcome, row.last_error)}{reqid}"


def counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _begun(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _when(at: datetime, now: datetime) -> str:
    if abs(at - now) < timedelta(seconds=1):
        return f"{moment(at, now)}, now"
    distance = f"in {span(at - now)}" if at > now else f"{span(now - at)} ago"
    return f"{moment(at, now)}, {distance}"


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _for_shell(key: str) -> str:
    quoted = shlex.quote(key) if key.isprintable() else "$'" + "".join(map(_escaped, key)) + "'"
    return f"-- {quoted}" if key.startswith("-") else quoted


def _escaped(each: str) -> str:
    r"""As bash, zsh and ksh read it within `$'…'`, where \x is a byte and \u and \U are characters."""
    if each in "\\'":
        return f"\\{each}"
    if each.isprintable():
        return each
    code = ord(each)
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


_CONDITIONS = {
    "held": "Kodo refuses the account or the bucket",
    "origin": "breaker of the origin open",
    "kodo": "breaker of Kodo open",
    "throttled": "throttled",
    "listing": "the first run waits for the bucket's listing",
    "cdn": "the CDN is not told of what was refreshed",
    PACED: "slowed down",
}
_WHY = {
    Why.NEW: "the key was new at the origin",
    Why.CHANGED: "the origin got another version",
    Why.REMOVED: "the origin dropped the key",
    Why.DIFFERS: "the bucket was listed, and held something else or nothing, when the key was first seen",
    Why.DRIFTED: "an audit found something else, or nothing, in the bucket",
    Why.ASKED: "a person asked for it (mirrord refresh)",
}
_ADVICE_BY_OUTCOME = {
    Outcome.ORIGIN_MISSING: KEY_ADVICE[404],
    Outcome.ORIGIN_FAILING: KEY_ADVICE[478],
    Outcome.TIMED_OUT: KEY_ADVICE[504],
}
"""Where the status has no advice of its own."""
_LEFT_TO_IT = {State.STALE, State.CLAIMED}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


# -- passages ------------------------------------------------------------------------------------------


def _at_the_origin(row: ObjectRow, now: datetime) -> Iterator[str]:
    if row.wanted is None:
        yield f"Nothing: found gone {_when(row.removed_at, now)}." if row.removed_at else "Nothing."
    else:
        yield f"{_version(row.wanted)}."
        if row.wanted_at is not None:
            yield f"This version was first seen {_when(row.wanted_at, now)}."
    if row.why is not None:
        yield f"Why it counts: {_WHY[row.why]}."


def _version(version: Fingerprint) -> str:
    file, named = parse_file(version), parse_token(version)
    if named is not None:
        return ", ".join(_named(named))
    assert file is not None
    try:
        modified = f"{_EPOCH + timedelta(microseconds=file.modified_ns // 1000):%Y-%m-%d %H:%M:%S}Z"
    except OverflowError:  # a file system may say any number
        modified = f"{file.modified_ns} ns after 1970"
    return f"{counted(file.size_bytes, 'byte')}, modified {modified}"


def _named(version: TokenVersion) -> Iterator[str]:
    """What a feed says of a version."""
    yield f"Version {version.token!r}"
    if version.size_bytes is not None:
        yield counted(version.size_bytes, "byte")
    if version.modified is not None:
        yield f"modified {version.modified:%Y-%m-%d %H:%M:%S}Z"
    if version.etag is not None and version.etag != version.token:
        yield f"ETag {plain(version.etag)}"


def _in_the_bucket(row: ObjectRow) -> str:
    known_as = f", hash {plain(row.bucket_hash)}" if row.bucket_hash else ""
    if row.wanted is None and row.state is State.FRESH:
        return (
            "Nothing: it was deleted." if row.last_outcome is Outcome.REMOVED else f"The copy it had{known_as}: kept."
        )
    if row.confirmed is None:
        if row.bucket_hash:
            return f"Not known for sure. It held an object{known_as}."
        compared = row.last_at is None and row.last_error
        return f"Not known. When it was compared: {plain(row.last_error or '')}." if compared else "Not known."
    if row.confirmed == row.wanted:
        return f"That version{known_as}."
    if row.wanted is None:
        return f"The copy it had: {_version(row.confirmed)}{known_as}."
    return f"Another one: {_version(row.confirmed)}{known_as}."


def _standing(row: ObjectRow, now: datetime) -> Iterator[str]:
    match row.state:
        case State.FRESH:
            yield "Fresh." if row.wanted is not None else "Settled."
        case State.STALE:
            yield "Stale: to be deleted." if row.wanted is None else "Stale."
        case State.CLAIMED:
            yield "Being worked on: a call for it is out, or about to be, or is being verified."
        case State.PARKED:
            given_up = f" since {_when(row.last_at, now)}" if row.last_at else ""
            yield f"Parked{given_up}: given up until a person or a new version says otherwise."
        case State.HELD:
            yield "Held: its removal waits for a person's word, or for the guard's."
        case _:
            assert_never(row.state)
    if row.stale_since is not None:
        yield f"It has not been fresh since {_when(row.stale_since, now)}."
    if row.attempts:
        yield f"Attempts at what is wanted: {row.attempts}, of which {row.strikes} count against the key."


def _tried(row: ObjectRow, attempts: Sequence[Attempt], now: datetime) -> Iterator[str]:
    if not attempts:
        if row.last_at is None:  # its last error is what a comparison found
            yield "Nothing yet."
            return
        yield f"Last {_when(row.last_at, now)}: {answer(row.last_status, row.last_outcome, row.last_error)}."
    elif row.tries > len(attempts):
        yield f"The last {len(attempts)} attempts of {row.tries}:"
    for each in attempts:
        took = f"{each.duration.total_seconds():.2f} s"
        outcome = f" ({each.outcome.value})" if each.outcome else ""
        said = answer(each.status, each.outcome, each.error)
        yield f"{_when(each.at, now)}: {each.operation.value}, {said}{outcome}; it took {took}."
        if each.error and plain(each.error) not in said:
            yield f"  {plain(each.error)}"
        if each.reqid:
            asked_at = f", asked {moment(each.asked_at, now)} by Kodo's clock" if each.asked_at else ""
            yield f"  X-Reqid {plain(each.reqid)}{asked_at}"
    if row.last_error and row.last_error not in {each.error for each in attempts[-1:]}:
        yield f"Found wrong last: {plain(row.last_error)}."


def _running(pending: Pending, now: datetime) -> Iterator[str]:
    article = "An" if pending.operation is Operation.ASYNC_FETCH else "A"
    yield f"{article} {pending.operation.value} was asked for {_when(pending.began_at, now)}, and its end was not seen."
    looked = f"looked at {_times(pending.looks)}" if pending.looks else "not looked at yet"
    yield f"What is waited for: an object that was stored since; the bucket was {looked}."
    over = "it has surely ended" if pending.until <= now else "it will surely have ended"
    yield f"By {_when(pending.until, now)}, {over}."
    for name, value in (("X-Reqid", pending.reqid), ("Kodo's task", pending.task)):
        if value:
            yield f"  {name} {plain(value)}"


def _next(row: ObjectRow, conditions: Sequence[Condition], now: datetime, *, served: bool | None) -> Iterator[str]:
    match row.state:
        case State.FRESH:
            yield (
                "Nothing, until the origin changes." if row.wanted is not None else "Nothing, until the origin has it."
            )
        case State.STALE:
            yield _due(row, now, served=served)
            if served is not False and any(each.name != PACED for each in conditions):
                yield f"But nothing is asked while something keeps {row.mirror} from calling: see above."
        case State.CLAIMED if served is False or (row.lease_until is not None and row.lease_until <= now):
            yield "Whoever worked on it is gone: a running service takes it up again."
        case State.CLAIMED:
            yield "It is being asked for now." if row.wanted is not None else "It is being deleted now."
        case State.PARKED:
            if advice := way_out(row):
                yield f"{_begun(advice)}."
            yield "It waits for you:"
            yield f"  {command('retry', row.mirror, row.key)}"
            if row.wanted is None:
                yield "A retry deletes only what was put there from here. If the origin has the key again, that counts."
            else:
                yield "A new version at the origin is tried by itself."
        case State.HELD:
            yield "Unless the guard lets it go, it waits for you. To delete all held removals from the bucket:"
            yield f"  {command('release', row.mirror)}"
            yield f"To keep them there: {command('release --drop', row.mirror)}."
        case _:
            assert_never(row.state)


def _due(row: ObjectRow, now: datetime, *, served: bool | None) -> str:
    later = row.due_at is not None and row.due_at - now >= timedelta(seconds=1)
    if served is False:
        at, later = "once a service runs", False
    else:
        at = f"at {_when(row.due_at, now)}" if row.due_at is not None and later else "as soon as a running service can"
    if row.pending is not None:
        return f"{_begun(at)}, the bucket is looked at: has that pull ended?"
    does = "deleted from the bucket" if row.wanted is None else "asked for again" if row.attempts else "asked for"
    return f"It is {does} {at}{', unless it changes before' if later else ''}."


def _doubts(coverage: Coverage, now: datetime) -> Iterator[str]:
    if coverage.lost_since is not None:
        reason = f" ({plain(coverage.lost_reason)})" if coverage.lost_reason else ""
        unknown = (coverage.lost_reason or "").startswith(UNKNOWN)
        then = "" if unknown else "; the next look finds them"
        yield f"Changes since {_when(coverage.lost_since, now)} may have been missed{reason}{then}."
    elif coverage.complete_as_of is None:
        yield "The origin has not been seen whole yet: it may have another version than this."

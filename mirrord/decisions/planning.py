"""A key's row to what would be done about it, and why; for people who want to know before it is done."""

from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from mirrord.decisions.comparing import Differs
from mirrord.model.fingerprint import Fingerprint, parse_file
from mirrord.model.row import ObjectRow, State, Why


class Action(StrEnum):
    """What would be done in the bucket."""

    REFRESH = "refresh"
    DELETE = "delete"
    NOTHING = "nothing"  # until a person acts, or the origin has another version


@dataclass(frozen=True, slots=True)
class Planned:
    """One key that is not fresh."""

    row: ObjectRow
    reason: str
    action: Action


def planned(row: ObjectRow) -> Planned:
    """What follows for a row that is not fresh."""
    match row.state:
        case State.PARKED | State.HELD | State.FRESH:
            action = Action.NOTHING
        case State.STALE | State.CLAIMED:
            action = Action.DELETE if row.wanted is None else Action.REFRESH
        case _:
            assert_never(row.state)
    return Planned(row, _reason(row), action)


def _reason(row: ObjectRow) -> str:
    """How what the origin has differs from what the bucket is known to have."""
    if row.wanted is None:
        return "removed"
    if row.why is Why.ASKED:
        return "asked for"
    if row.attempts == 0 and row.last_error in _DIFFERS:
        return row.last_error
    if row.confirmed is None:
        return "new" if row.last_at is None and row.claims == 0 else "unconfirmed"
    return _between(row.confirmed, row.wanted)


def _between(confirmed: Fingerprint, wanted: Fingerprint) -> str:
    if confirmed == wanted:
        return "asked for"  # a person made it due
    was, now = parse_file(confirmed), parse_file(wanted)
    if was is None or now is None:
        return "version"
    if was.size_bytes != now.size_bytes:
        return "size"
    return "mtime" if was.modified_ns != now.modified_ns else "hash"


_DIFFERS = {each.value for each in Differs}

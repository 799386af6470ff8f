"""Times, rows, claims and how they end, in as few words as a test of them needs."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from mirrord.decisions.staleness import Settlement
from mirrord.model.attempt import Operation, Outcome
from mirrord.model.change import Change
from mirrord.model.fingerprint import Fingerprint
from mirrord.model.pending import Pending
from mirrord.model.row import ObjectRow, State
from mirrord.model.step import Done, NextStep

LEASE = timedelta(minutes=5)
SAME = Fingerprint("what the row wants")


def at(seconds: float) -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)


def change(version: str | None, seconds: float = 0, key: str = "k", *, as_of: float | None = None) -> Change:
    return Change(
        key=key,
        version=None if version is None else Fingerprint(version),
        seen_at=at(seconds),
        as_of=None if as_of is None else at(as_of),
    )


def running(since: float = 0, **also: Any) -> Pending:
    """A pull that began at that time, its end not seen."""
    values: dict[str, Any] = {"operation": Operation.PREFETCH, "until": at(since + 300), "put_after": 0, **also}
    return Pending(began_at=at(since), **values)


def claimed(row: ObjectRow, seconds: float = 0) -> ObjectRow:
    """`row` as a claim at that time returns it."""
    return replace(row, state=State.CLAIMED, claims=row.claims + 1, lease_until=at(seconds) + LEASE)


def ended(
    claim: ObjectRow,
    step: NextStep = Done(),  # noqa: B008  # a frozen value
    seconds: float = 0,
    *,
    asked_for: str | None = SAME,
    found: str | None = SAME,
    **also: Any,
) -> Settlement:
    """How `claim` ended: by default it asked for what the row wanted, and the origin still has that."""
    asked = claim.wanted if asked_for is SAME else asked_for
    return Settlement(
        mirror=claim.mirror,
        key=claim.key,
        claims=claim.claims,
        generation=claim.generation,
        step=step,
        at=at(seconds),
        asked_for=None if asked is None else Fingerprint(asked),
        found=None if (there := asked if found is SAME else found) is None else Fingerprint(there),
        **{"outcome": Outcome.REFRESHED if isinstance(step, Done) else Outcome.REFUSED, **also},
    )

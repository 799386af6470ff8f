"""Each key's last attempts: written with the settlements, read by who explains a key."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from mirrord.decisions.staleness import Settlement
from mirrord.journal.statements import TEXTS, Prepared
from mirrord.journal.tables import attempts, from_microseconds, objects, to_microseconds
from mirrord.model.attempt import Operation, Outcome

KEPT = 8
"""Attempts of a key that are remembered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One attempt, as it is remembered."""

    at: datetime
    operation: Operation
    status: int | None
    reqid: str | None
    outcome: Outcome | None
    error: str | None
    duration: timedelta


class History:
    """Writes attempts for one database."""

    def __init__(self, dialect: sa.Dialect) -> None:
        make = postgresql.insert if dialect.name == "postgresql" else sqlite.insert
        insert = make(attempts)
        keys = [column.name for column in attempts.primary_key]
        others = {column.name: insert.excluded[column.name] for column in attempts.c if column.name not in keys}
        names = [column.name for column in attempts.c]
        self._write = Prepared(insert.on_conflict_do_update(index_elements=keys, set_=others), dialect, names)

    def write(self, connection: sa.Connection, tried: Sequence[tuple[int, Settlement]]) -> None:
        """Attempts that ended, each with its number among all of its key."""
        if tried:
            self._write.run_many(connection, [_values(number, end) for number, end in tried])


def attempts_of(connection: sa.Connection, mirror: str, key: str) -> list[Tried]:
    """The last ones of one key, oldest first."""
    rows = connection.execute(
        sa.select(attempts, objects.c.tries)
        .join(objects, sa.and_(objects.c.mirror == attempts.c.mirror, objects.c.key == attempts.c.key))
        .where(attempts.c.mirror == mirror, attempts.c.key == key)
    )
    # by the ring, not by the time: a clock may have been set back between two attempts
    return [_tried(row) for row in sorted(rows, key=lambda row: (row.slot - row.tries - 1) % KEPT)]


def _values(number: int, end: Settlement) -> dict[str, Any]:
    return {
        "mirror": end.mirror,
        "key": end.key,
        "slot": number % KEPT,
        "at": to_microseconds(end.at),
        "operation": TEXTS[end.operation],
        "status": end.status,
        "reqid": end.reqid,
        "outcome": TEXTS[end.outcome] if end.outcome else None,
        "error": end.error,
        "duration_us": int(end.duration_s * 1e6),
    }


def _tried(row: Any) -> Tried:
    at = from_microseconds(row.at)
    assert at is not None
    return Tried(
        at=at,
        operation=Operation(row.operation),
        status=row.status,
        reqid=row.reqid,
        outcome=Outcome(row.outcome) if row.outcome else None,
        error=row.error,
        duration=timedelta(microseconds=row.duration_us),
    )

"""What keeps a mirror from calling, as the service last said; for those who ask from outside."""

from collections.abc import Sequence

import sqlalchemy as sa

from mirrord.journal.tables import conditions, from_microseconds, to_microseconds
from mirrord.model.condition import Condition


def set_all(connection: sa.Connection, mirror: str, now_in_force: Sequence[Condition]) -> None:
    """Replace what was said of the mirror."""
    connection.execute(sa.delete(conditions).where(conditions.c.mirror == mirror))
    for each in now_in_force:
        connection.execute(
            sa.insert(conditions).values(
                mirror=mirror,
                name=each.name,
                since=to_microseconds(each.since),
                until=to_microseconds(each.until),
                reason=each.reason,
                status=each.status,
                reqid=each.reqid,
            )
        )


def in_force(connection: sa.Connection, mirror: str) -> list[Condition]:
    """The longest lasting first."""
    rows = connection.execute(
        sa.select(conditions).where(conditions.c.mirror == mirror).order_by(conditions.c.since, conditions.c.name)
    )
    found = []
    for row in rows:
        since = from_microseconds(row.since)
        assert since is not None
        found.append(
            Condition(
                name=row.name,
                since=since,
                until=from_microseconds(row.until),
                reason=row.reason,
                status=row.status,
                reqid=row.reqid,
            )
        )
    return found

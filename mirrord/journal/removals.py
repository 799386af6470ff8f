"""Removals that wait for the guard's word: all decided together, by counts of the mirror's rows."""

from datetime import datetime

import sqlalchemy as sa

from mirrord.decisions.removals import WINDOW, Decision, RemovalLimit, may_go
from mirrord.journal.tables import objects, to_microseconds
from mirrord.model.row import State

SAMPLE = 5


def decide(connection: sa.Connection, mirror: str, now: datetime, limit: RemovalLimit) -> Decision:
    """Let the waiting removals of `mirror` go when they are few enough."""
    of = objects.c.mirror == mirror
    waiting = _count(connection, of, objects.c.state == State.HELD.value)
    if not waiting:
        return Decision()
    recently = objects.c.removed_at > to_microseconds(now - WINDOW)
    just_gone = _count(connection, of, objects.c.wanted.is_(None), objects.c.state != State.HELD.value, recently)
    keys = _count(connection, of, objects.c.wanted.is_not(None))
    if may_go(waiting=waiting, just_gone=just_gone, keys=keys, limit=limit):
        return Decision(going=release(connection, mirror, now, drop=False))
    sample = sa.select(objects.c.key).where(of, objects.c.state == State.HELD.value).order_by(objects.c.key)
    return Decision(held=waiting, sample=tuple(connection.execute(sample.limit(SAMPLE)).scalars()))


def release(connection: sa.Connection, mirror: str, now: datetime, *, drop: bool) -> int:
    """Make held removals due, or settle for what the bucket has."""
    values: dict[str, object] = {"attempts": 0, "strikes": 0}  # of what was wanted before
    if drop:
        values |= {"state": State.FRESH.value, "due_at": None, "stale_since": None}
    else:
        values |= {"state": State.STALE.value, "due_at": to_microseconds(now)}
    held = sa.update(objects).where(objects.c.mirror == mirror, objects.c.state == State.HELD.value)
    return connection.execute(held.values(values)).rowcount


def _count(connection: sa.Connection, *which: sa.ColumnElement[bool]) -> int:
    return connection.execute(sa.select(sa.func.count()).select_from(objects).where(*which)).scalar_one()

"""The journal as a person or a program asks about it: read-only, beside a running service or without one."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import takewhile
from typing import Any

import sqlalchemy as sa

from mirrord.journal import conditions, places, purges, schema
from mirrord.journal.database import ASK_AS_OWNER, file_of, name_of, open_engine, translated
from mirrord.journal.errors import JournalForbidden, JournalTooNew, JournalUnavailable
from mirrord.journal.history import Tried, attempts_of
from mirrord.journal.lock import ServiceLock
from mirrord.journal.statements import LOOKUP_MOST, row_from
from mirrord.journal.store import read_coverage
from mirrord.journal.tables import from_microseconds, objects
from mirrord.model.attempt import Outcome
from mirrord.model.condition import Condition
from mirrord.model.coverage import Coverage
from mirrord.model.cursor import Cursor
from mirrord.model.row import ObjectRow, State


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorReport:
    """One mirror's keys by state, its oldest stale key, its coverage, and what keeps it from calling."""

    mirror: str
    keys: dict[State, int]
    """Every state, also those no key is in; without the kept ones."""
    kept: int
    """Keys gone at the origin whose copies the bucket keeps, as the settings say."""
    oldest_stale_key: str | None
    oldest_stale_since: datetime | None
    coverage: Coverage
    conditions: tuple[Condition, ...] = ()
    """As the service last said; the longest lasting first."""
    served: bool | None = None
    """Whether a service works with this journal now; None: nobody can tell this user."""
    sources: tuple[Cursor, ...] = ()
    """How far its feeds have been read, by their names."""
    untold: int = 0
    """Keys that its CDN is still to be told of."""
    untold_since: datetime | None = None

    @property
    def settled(self) -> bool:
        """Whether every key that is known is fresh."""
        return all(count == 0 for state, count in self.keys.items() if state is not State.FRESH)

    @property
    def complete(self) -> bool:
        """Whether every key is known and fresh."""
        return self.settled and self.coverage.complete_as_of is not None and self.coverage.lost_since is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failing:
    """Keys of one mirror whose last attempt ended alike, and that are not fresh."""

    state: State
    """PARKED or STALE; those that are out for another attempt count as stale."""
    keys: int
    since: datetime | None
    """Since when the oldest of them has not been fresh."""
    errors_differ: bool
    """Whether the example's error is only one of several."""
    example: ObjectRow


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyReport:
    """All that the journal knows of one key, and of its mirror where that matters to it."""

    row: ObjectRow | None
    """None: the key has never been seen."""
    tried: tuple[Tried, ...] = ()
    """Its last attempts, the oldest first."""
    neighbours: tuple[str, ...] = ()
    """When it has never been seen: keys that come shortly before and after it."""
    conditions: tuple[Condition, ...] = ()
    coverage: Coverage = field(default_factory=Coverage)
    served: bool | None = None
    """Whether a service works with this journal now; None: nobody can tell this user."""


NEIGHBOURS = 500
"""Keys on either side among which somebody may look for the one that was meant."""
SEARCHED = 500_000
"""Keys, from the first one on, in which a text is looked for."""


def report(url: str, mirrors: Sequence[str]) -> list[MirrorReport]:
    """Where each mirror stands. A journal that does not exist yet has nothing in it. Raises JournalUnavailable."""
    if is_empty(url):
        return [_report_of_nothing(mirror, served=is_served(url)) for mirror in mirrors]
    with translated(url, writing=False), open_engine(url, writing=False).connect() as connection:
        _check(connection, url)
        served = is_served(url)
        return [_report(connection, mirror, served=served) for mirror in mirrors]


def report_key(url: str, mirror: str, key: str) -> KeyReport:
    """What is known of `key`. Raises JournalUnavailable."""
    if is_empty(url):
        return KeyReport(row=None, served=is_served(url))
    with translated(url, writing=False), open_engine(url, writing=False).connect() as connection:
        _check(connection, url)
        query = sa.select(objects).where(objects.c.mirror == mirror, objects.c.key == key)
        values = connection.execute(query).one_or_none()
        return KeyReport(
            row=None if values is None else row_from(values),
            tried=tuple(attempts_of(connection, mirror, key)),
            neighbours=_neighbours(connection, mirror, key) if values is None else (),
            conditions=tuple(conditions.in_force(connection, mirror)),
            coverage=read_coverage(connection, mirror),
            served=is_served(url),
        )


def is_served(url: str) -> bool | None:
    """Whether a service works with this journal now; None: nobody can tell this user, as with a server's journal."""
    file = file_of(url)
    return None if file is None else ServiceLock(file).is_held()


def conditions_of(url: str, mirror: str) -> list[Condition]:
    """What kept the mirror from calling when the service last said. Raises JournalUnavailable."""
    if is_empty(url):
        return []
    with translated(url, writing=False), open_engine(url, writing=False).connect() as connection:
        _check(connection, url)
        return conditions.in_force(connection, mirror)


def known_of(url: str, mirror: str, keys: Sequence[str]) -> set[str]:
    """Those of `keys` that have been seen, however they stand. Raises JournalUnavailable."""
    if is_empty(url):
        return set()
    with translated(url, writing=False), open_engine(url, writing=False).connect() as connection:
        _check(connection, url)
        found = set[str]()
        for start in range(0, len(keys), LOOKUP_MOST):
            among = objects.c.key.in_(keys[start : start + LOOKUP_MOST])
            found.update(
                connection.execute(sa.select(objects.c.key).where(objects.c.mirror == mirror, among)).scalars()
            )
        return found


def unfinished(url: str, mirror: str, most: int) -> list[ObjectRow]:
    """Keys that are not fresh, those that need a person first, then the oldest."""
    order = sa.case({State.PARKED.value: 0, State.HELD.value: 1}, value=objects.c.state, else_=2)
    query = (
        sa.select(objects)
        .where(objects.c.mirror == mirror, objects.c.state != State.FRESH.value)
        .order_by(order, objects.c.stale_since, objects.c.key)
        .limit(most)
    )
    return _rows(url, query)


def failing(url: str, mirror: str, most: int) -> list[Failing]:
    """What was tried in vain, by state, status and outcome: what is parked first, then what most keys have.

    One pass over the mirror's rows. Raises JournalUnavailable.
    """
    if is_empty(url):
        return []
    parked = objects.c.state == State.PARKED.value
    tried = sa.and_(objects.c.state.in_((State.STALE.value, State.CLAIMED.value)), objects.c.attempts > 0)
    error = sa.func.coalesce(objects.c.last_error, "")
    groups = (
        sa.select(
            parked.label("parked"),
            sa.func.count().label("keys"),
            sa.func.min(objects.c.stale_since).label("since"),
            (sa.func.min(error) != sa.func.max(error)).label("differ"),
            sa.func.min(objects.c.key).label("key"),
        )
        .where(objects.c.mirror == mirror, sa.or_(parked, tried))
        .group_by(parked, objects.c.last_status, objects.c.last_outcome)
        .order_by(sa.desc("parked"), sa.desc("keys"), "key")
        .limit(most)
    )
    with translated(url, writing=False), open_engine(url, writing=False).connect() as connection:
        _check(connection, url)
        return [
            Failing(
                state=State.PARKED if group.parked else State.STALE,
                keys=group.keys,
                since=from_microseconds(group.since),
                errors_differ=bool(group.differ),
                example=row_from(
                    connection.execute(
                        sa.select(objects).where(objects.c.mirror == mirror, objects.c.key == group.key)
                    ).one()
                ),
            )
            for group in connection.execute(groups).all()
        ]


def waiting_for_a_person(url: str, mirror: str, most: int, *, after: int = 0) -> list[ObjectRow]:
    """Parked keys and held removals, the longest waiting first, without the first `after` of them."""
    states = (State.PARKED.value, State.HELD.value)
    query = (
        sa.select(objects)
        .where(objects.c.mirror == mirror, objects.c.state.in_(states))
        .order_by(objects.c.stale_since, objects.c.key)
        .offset(after)
        .limit(most)
    )
    return _rows(url, query)


def find(url: str, mirror: str, text: str, most: int) -> list[ObjectRow]:
    """The key `text` itself, then keys that begin with it, then some of the first SEARCHED that contain it.

    At most `most`, each kind in order. `text` is literal: no wildcards, and case counts. Raises JournalUnavailable.
    """
    if is_empty(url) or not _is_storable(text):
        return []
    keys = sa.select(objects.c.key).where(objects.c.mirror == mirror).order_by(objects.c.key)
    among = keys.limit(SEARCHED).subquery()
    # of the tests for a part of a text this is the one that is spelled alike everywhere, and literal
    contain = sa.select(among.c.key).where(sa.func.replace(among.c.key, text, "") != among.c.key)
    with translated(url, writing=False), open_engine(url, writing=False).connect() as connection:
        _check(connection, url)
        following = connection.execute(keys.where(objects.c.key >= text).limit(most)).scalars()
        found = list(takewhile(lambda key: key.startswith(text), following))
        if text and len(found) < most:
            seen, parts = set(found), connection.execute(contain.order_by(among.c.key).limit(most)).scalars()
            found += [key for key in parts if key not in seen][: most - len(found)]
        rows = connection.execute(sa.select(objects).where(objects.c.mirror == mirror, objects.c.key.in_(found)))
        by_key = {row.key: row for row in map(row_from, rows)}
        return [by_key[key] for key in found if key in by_key]


def _rows(url: str, query: sa.Select[Any]) -> list[ObjectRow]:
    if is_empty(url):
        return []
    with translated(url, writing=False), open_engine(url, writing=False).connect() as connection:
        _check(connection, url)
        return [row_from(values) for values in connection.execute(query)]


def _is_storable(text: str) -> bool:
    """Half a character, as an address may hold it, is in no key, and no database takes it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_empty(url: str) -> bool:
    """Whether no service has used this journal yet; asking SQLite would create the file."""
    file = file_of(url)
    if file is None:
        return False
    try:
        return not file.exists() or file.stat().st_size == 0
    except OSError as exc:
        kind = JournalForbidden if isinstance(exc, PermissionError) else JournalUnavailable
        raise kind(f"{file}: {exc.strerror}", action=ASK_AS_OWNER) from exc


def _check(connection: sa.Connection, url: str) -> None:
    revision = schema.current(connection)
    if revision != schema.HEAD:
        raise JournalTooNew(
            f"{name_of(url)}: its revision is {revision}, this mirrord reads {schema.HEAD}; "
            "run the version of mirrord that the service runs"
        )


def _report(connection: sa.Connection, mirror: str, *, served: bool | None) -> MirrorReport:
    gone = objects.c.wanted.is_(None)
    deleted = sa.func.coalesce(objects.c.last_outcome == Outcome.REMOVED.value, sa.false())
    counted = connection.execute(
        sa.select(objects.c.state, gone, deleted, sa.func.count())
        .where(objects.c.mirror == mirror)
        .group_by(objects.c.state, gone, deleted)
    )
    counts, kept = dict.fromkeys(State, 0), 0
    for name, is_gone, is_deleted, count in counted:
        state = State(name)
        if not is_gone or state is not State.FRESH:
            counts[state] += count
        elif not is_deleted:
            kept += count
    oldest = connection.execute(
        sa.select(objects.c.key, objects.c.stale_since)
        .where(objects.c.mirror == mirror, objects.c.state != State.FRESH.value)
        .order_by(objects.c.stale_since)
        .limit(1)
    ).one_or_none()
    untold, untold_since = purges.waiting(connection, mirror)
    return MirrorReport(
        mirror=mirror,
        keys=counts,
        kept=kept,
        oldest_stale_key=oldest.key if oldest else None,
        oldest_stale_since=from_microseconds(oldest.stale_since) if oldest else None,
        coverage=read_coverage(connection, mirror),
        conditions=tuple(conditions.in_force(connection, mirror)),
        served=served,
        sources=tuple(places.of_feeds(connection, mirror)),
        untold=untold,
        untold_since=untold_since,
    )


def _neighbours(connection: sa.Connection, mirror: str, key: str) -> tuple[str, ...]:
    keys = sa.select(objects.c.key).where(objects.c.mirror == mirror)
    before = keys.where(objects.c.key < key).order_by(objects.c.key.desc()).limit(NEIGHBOURS)
    after = keys.where(objects.c.key > key).order_by(objects.c.key).limit(NEIGHBOURS)
    return *reversed(connection.execute(before).scalars().all()), *connection.execute(after).scalars()


def _report_of_nothing(mirror: str, *, served: bool | None) -> MirrorReport:
    return MirrorReport(
        mirror=mirror,
        keys=dict.fromkeys(State, 0),
        kept=0,
        oldest_stale_key=None,
        oldest_stale_since=None,
        coverage=Coverage(),
        served=served,
    )

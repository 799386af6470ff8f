"""Rows of the table `objects` to ObjectRow and back, and the statements of the hot path, built once."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

import orjson
import sqlalchemy as sa

from mirrord.journal.tables import IS_CLAIMED, IS_STALE, from_microseconds, objects, to_microseconds
from mirrord.model.attempt import Operation, Outcome
from mirrord.model.pending import Pending
from mirrord.model.row import ObjectRow, State, Why

LOOKUP_MOST = 512
"""Keys looked up by one statement; a power of two."""

_NOT_SET = {"mirror", "key"}

INSERT = sa.insert(objects)
UPDATE = (
    sa.update(objects)
    .where(objects.c.mirror == sa.bindparam("of_mirror"), objects.c.key == sa.bindparam("of_key"))
    .values({column.name: sa.bindparam(column.name) for column in objects.c if column.name not in _NOT_SET})
)
LAPSE = (
    sa.update(objects)
    .where(objects.c.mirror == sa.bindparam("of"), IS_CLAIMED, objects.c.lease_until <= sa.bindparam("now"))
    .values(
        # a removal whose claim lapsed may have come in while it was out: the guard has the word again
        state=sa.case((objects.c.wanted.is_(None), State.HELD.value), else_=State.STALE.value),
        due_at=sa.case((objects.c.wanted.is_(None), sa.null()), else_=sa.bindparam("now")),
        lease_until=None,
        confirmed=None,
        bucket_hash=None,
    )
)
_DUE = (
    sa.select(objects.c.key)
    .where(objects.c.mirror == sa.bindparam("of"), IS_STALE, objects.c.due_at <= sa.bindparam("now"))
    .order_by(objects.c.due_at)
    .limit(sa.bindparam("most"))
    .with_for_update(skip_locked=True)
)
CLAIM = (
    sa.update(objects)
    .where(objects.c.mirror == sa.bindparam("of"), objects.c.key.in_(_DUE.scalar_subquery()))
    .values(state=State.CLAIMED.value, claims=objects.c.claims + 1, lease_until=sa.bindparam("until"))
    .returning(*objects.c)
)


def look_up(count: int) -> sa.Select[Any]:
    """The rows of `count` keys, named `key_0`, `key_1`, …"""
    keys = [sa.bindparam(f"key_{number}", type_=sa.Text) for number in range(count)]
    return sa.select(objects).where(objects.c.mirror == sa.bindparam("of"), objects.c.key.in_(keys)).with_for_update()


class Prepared:
    """A statement compiled once and handed to the driver as it is.

    Looking at every parameter and every cell anew is half of what the library costs here; the
    statements remain its own, so that another database compiles them its own way.
    """

    def __init__(self, statement: sa.Executable, dialect: sa.Dialect, names: Sequence[str] | None = None) -> None:
        assert isinstance(statement, sa.ClauseElement)
        compiled = statement.compile(dialect=dialect, column_keys=names)
        assert isinstance(compiled, sa.sql.compiler.SQLCompiler)
        self._sql = str(compiled)
        self._order = compiled.positiontup if compiled.positional else None
        self._constants: Mapping[str, Any] = compiled.params

    def run(self, connection: sa.Connection, values: Mapping[str, Any]) -> list[Sequence[Any]]:
        """Once; the rows as the driver gives them, none when the statement returns none."""
        whole = {**self._constants, **values}
        given: Any = whole if self._order is None else tuple([whole[name] for name in self._order])
        result = connection.exec_driver_sql(self._sql, given)
        rows = list(result.cursor.fetchall()) if result.returns_rows and result.cursor is not None else []
        result.close()
        return rows

    def run_many(self, connection: sa.Connection, values: Sequence[Mapping[str, Any]]) -> None:
        order = self._order
        given: Any = values if order is None else [tuple([row[name] for name in order]) for row in values]
        connection.exec_driver_sql(self._sql, given)


class Statements:
    """The hot path's statements for one database."""

    def __init__(self, dialect: sa.Dialect) -> None:
        self._dialect = dialect
        self._look_ups: dict[int, Prepared] = {}
        self._insert = Prepared(INSERT, dialect, [column.name for column in objects.c])
        self._update = Prepared(UPDATE, dialect)
        self._lapse = Prepared(LAPSE, dialect)
        self._claim = Prepared(CLAIM, dialect)

    def insert(self, connection: sa.Connection, rows: Sequence[ObjectRow]) -> None:
        if rows:
            self._insert.run_many(connection, [_values(row) for row in rows])

    def update(self, connection: sa.Connection, rows: Sequence[ObjectRow]) -> None:
        if rows:
            self._update.run_many(connection, [_values(row) for row in rows])

    def claim(
        self, connection: sa.Connection, mirror: str, *, now: datetime, most: int, until: datetime
    ) -> list[ObjectRow]:
        values = {"of": mirror, "now": to_microseconds(now), "most": most, "until": to_microseconds(until)}
        self._lapse.run(connection, values)
        return [row_from(cells) for cells in self._claim.run(connection, values)]

    def look_up(self, connection: sa.Connection, mirror: str, keys: Sequence[str]) -> dict[str, ObjectRow]:
        """The rows there are of `keys`. Counts are rounded up to powers of two: few statements, each compiled once."""
        found: dict[str, ObjectRow] = {}
        for start in range(0, len(keys), LOOKUP_MOST):
            of = keys[start : start + LOOKUP_MOST]
            count = 1 << (len(of) - 1).bit_length()
            prepared = self._look_ups.get(count)
            if prepared is None:
                prepared = self._look_ups[count] = Prepared(look_up(count), self._dialect)
            values = {f"key_{number}": of[min(number, len(of) - 1)] for number in range(count)}
            for cells in prepared.run(connection, values | {"of": mirror}):
                row = row_from(cells)
                found[row.key] = row
        return found


def _values(row: ObjectRow) -> dict[str, Any]:
    """The parameters of INSERT and UPDATE, as the driver takes them."""
    return {
        "of_mirror": row.mirror,
        "of_key": row.key,
        "mirror": row.mirror,
        "key": row.key,
        "wanted": row.wanted,
        "generation": row.generation,
        "confirmed": row.confirmed,
        "bucket_hash": row.bucket_hash,
        "state": TEXTS[row.state],
        "stale_since": to_microseconds(row.stale_since),
        "due_at": to_microseconds(row.due_at),
        "attempts": row.attempts,
        "strikes": row.strikes,
        "claims": row.claims,
        "lease_until": to_microseconds(row.lease_until),
        "last_at": to_microseconds(row.last_at),
        "last_status": row.last_status,
        "last_reqid": row.last_reqid,
        "last_outcome": TEXTS[row.last_outcome] if row.last_outcome else None,
        "last_error": row.last_error,
        "removed_at": to_microseconds(row.removed_at),
        "wanted_at": to_microseconds(row.wanted_at),
        "why": TEXTS[row.why] if row.why else None,
        "tries": row.tries,
        "pending": _written(row.pending) if row.pending else None,
    }


def row_from(cells: Sequence[Any]) -> ObjectRow:
    """A row of `objects`, its cells in the table's order."""
    mirror, key, wanted, generation, confirmed, bucket_hash, state, stale_since, due_at, *others = cells
    attempts, strikes, claims, lease_until, last_at, last_status, last_reqid, last_outcome, last_error, *more = others
    gone, wanted_at, why, tries, pending = more
    return ObjectRow(
        mirror=mirror,
        key=key,
        wanted=wanted,
        generation=generation,
        confirmed=confirmed,
        bucket_hash=bucket_hash,
        state=_STATES[state],
        stale_since=from_microseconds(stale_since),
        due_at=from_microseconds(due_at),
        attempts=attempts,
        strikes=strikes,
        claims=claims,
        lease_until=from_microseconds(lease_until),
        last_at=from_microseconds(last_at),
        last_status=last_status,
        last_reqid=last_reqid,
        last_outcome=_OUTCOMES[last_outcome] if last_outcome else None,
        last_error=last_error,
        removed_at=from_microseconds(gone),
        wanted_at=from_microseconds(wanted_at),
        why=_WHYS[why] if why else None,
        tries=tries,
        pending=_read(pending) if pending else None,
    )


def _written(pending: Pending) -> str:
    instants = {"began_at": to_microseconds(pending.began_at), "until": to_microseconds(pending.until)}
    fields = {name: getattr(pending, name) for name in _PLAIN}
    return orjson.dumps({"operation": pending.operation.value, **instants, **fields}).decode()


def _read(text: str) -> Pending:
    fields = orjson.loads(text)
    began_at, until = from_microseconds(fields.pop("began_at")), from_microseconds(fields.pop("until"))
    assert began_at is not None
    assert until is not None
    return Pending(operation=Operation(fields.pop("operation")), began_at=began_at, until=until, **fields)


_PLAIN = ("put_after", "generation", "hash_before", "looks", "timeouts", "reqid", "task")
TEXTS: Mapping[StrEnum, str] = {each: each.value for words in (State, Why, Outcome, Operation) for each in words}
"""Plain texts for the driver: to ask a member for its value takes 0.1 us, a look-up a tenth of that; seven a key."""
_STATES = {state.value: state for state in State}
_OUTCOMES = {outcome.value: outcome for outcome in Outcome}
_WHYS = {why.value: why for why in Why}

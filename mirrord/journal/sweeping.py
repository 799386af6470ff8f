"""Every row of one mirror's table, a page at a time: short transactions with pauses, beside a running service."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy as sa

from mirrord.journal.asking import PAGE, PAUSE_S, Transacting
from mirrord.journal.tables import metadata, served

Turn = Callable[[sa.Connection, sa.ColumnElement[bool]], int]
"""What is done, in one transaction, to the rows of a page, which the condition tells; how many it concerned."""


def tables() -> Iterator[sa.Table]:
    """Every table that has rows of mirrors; the one that remembers the mirrors themselves is none of them."""
    return (table for table in metadata.sorted_tables if "mirror" in table.c and table is not served)


async def sweep(journal: Transacting, table: sa.Table, mirror: str, turn: Turn) -> int:
    """Take a turn at every page of the mirror's rows; the sum of what they say. Raises JournalUnavailable."""
    total, after = 0, None
    while True:
        count, after = await journal.transact(_step(table, mirror, after, turn))
        total += count
        if after is None:
            return total
        await asyncio.sleep(PAUSE_S)


async def drop(journal: Transacting, table: sa.Table, mirror: str, *which: sa.ColumnElement[bool]) -> int:
    """Delete those of the mirror's rows that are such; how many they were. Raises JournalUnavailable."""
    return await sweep(journal, table, mirror, lambda connection, page: delete(connection, table, page, *which))


def delete(connection: sa.Connection, table: sa.Table, *which: sa.ColumnElement[bool]) -> int:
    return connection.execute(sa.delete(table).where(*which)).rowcount


def _step(table: sa.Table, mirror: str, after: Any, turn: Turn) -> Callable[[sa.Connection], tuple[int, Any]]:
    """A page's transaction: what its turn says, and what the next page begins after; None at the end."""
    of, column = table.c.mirror == mirror, _paged_by(table)

    def step(connection: sa.Connection) -> tuple[int, Any]:
        if column is None:
            return turn(connection, of), None
        page = of if after is None else sa.and_(of, column > after)
        # found by the primary key, which is what the turn then walks once more: rows are looked at, not filtered
        last = connection.execute(sa.select(column).where(page).order_by(column).offset(PAGE - 1).limit(1)).scalar()
        return turn(connection, page if last is None else sa.and_(page, column <= last)), last

    return step


def _paged_by(table: sa.Table) -> sa.Column[Any] | None:
    """What tells a mirror's rows apart, in the order in which they lie; None: a mirror has few of them."""
    first, *others = table.primary_key
    return others[0] if first.name == "mirror" and others else None

"""Sweeps: every row of the mirror's once, in pages, whatever goes or comes meanwhile."""

import pytest
import sqlalchemy as sa

from mirrord.journal.asking import PAGE
from mirrord.journal.sweeping import sweep, tables
from mirrord.journal.tables import attempts, coverage, cursors, metadata, objects, served
from mirrord.model.coverage import Coverage
from tests.journal.ledger import MIRROR, Ledger, at, change, ended, place


@pytest.fixture
def filled(ledger: Ledger) -> Ledger:
    """More than two pages of keys, some of them tried more than once; and another mirror's."""
    for mirror in (MIRROR, "other"):
        ledger.record(*(change(f"{number:05}") for number in range(2 * PAGE + 10)), mirror=mirror)
        ledger.settle(*(ended(row) for row in ledger.claim(mirror=mirror)))
        ledger.record(*(change(f"{number:05}", "2", 1) for number in range(0, PAGE, 3)), mirror=mirror)
        ledger.settle(*(ended(row, seconds=1) for row in ledger.claim(1, mirror=mirror)))
        ledger.record(cursor=place("feed f", "1"), mirror=mirror)
        ledger.run(ledger.journal.cover(mirror, Coverage(complete_as_of=at(1))))
    return ledger


@pytest.mark.parametrize("table", [objects, attempts, cursors, coverage], ids=str)
def test_every_row_is_seen_once_and_no_page_is_long(filled: Ledger, table: sa.Table) -> None:
    seen: list[tuple[object, ...]] = []
    most = 0

    def turn(connection: sa.Connection, page: sa.ColumnElement[bool]) -> int:
        nonlocal most
        rows = [tuple(row) for row in connection.execute(sa.select(*table.primary_key).where(page))]
        seen.extend(rows)
        most = max(most, len(rows))
        return len(rows)

    total = filled.run(sweep(filled.journal, table, MIRROR, turn))

    names = ", ".join(column.name for column in table.primary_key)
    assert total == len(seen)
    assert sorted(map(str, seen)) == sorted(
        map(str, filled.select(f"SELECT {names} FROM {table.name} WHERE mirror = '{MIRROR}'"))
    )
    assert most <= PAGE + 8  # a key's attempts are not torn apart


def test_every_table_is_of_mirrors_and_can_be_swept() -> None:
    assert {*tables(), served} == {*metadata.tables.values()}

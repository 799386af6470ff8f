"""How long transactions take: told once for each that was committed, from the writer's own thread."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from mirrord.journal.errors import JournalUnavailable
from mirrord.journal.store import Journal
from tests.journal.ledger import MIRROR, RULES, Ledger, change, url_of


@pytest.fixture
def told() -> list[tuple[float, str]]:
    """Seconds, and the thread that told them."""
    return []


@pytest.fixture
def ledger(file: Path, told: list[tuple[float, str]]) -> Iterator[Ledger]:
    """A journal that tells how long its transactions take, and waits a moment for a lock."""
    ledger = Ledger(file)
    ledger.journal.close()
    ledger.journal = Journal(
        url_of(file),
        busy_timeout=timedelta(milliseconds=50),
        committed=lambda seconds: told.append((seconds, threading.current_thread().name)),
    )
    yield ledger
    ledger.close()


def test_every_transaction_is_told_with_its_seconds(ledger: Ledger, told: list[tuple[float, str]]) -> None:
    ledger.record(change("a"))
    ledger.claim()

    assert len(told) == 2
    assert all(0 < seconds < 5 for seconds, _ in told)
    assert {name.rpartition("_")[0] for _, name in told} == {"journal"}


def test_one_that_fails_is_not(ledger: Ledger, told: list[tuple[float, str]]) -> None:
    with closing(sqlite3.connect(ledger.file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(JournalUnavailable):
            ledger.run(ledger.journal.record(MIRROR, [change("a")], RULES))

    assert told == []

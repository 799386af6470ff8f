"""Journals on real files, closed when the test ends."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.journal.ledger import Ledger

OpenLedger = Callable[[], Ledger]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a journal belongs; nothing is there yet."""
    return tmp_path / "journal.db"


@pytest.fixture
def open_ledger(file: Path) -> Iterator[OpenLedger]:
    """Opens the journal once more, as another process or a restarted one would."""
    opened: list[Ledger] = []

    def open_one() -> Ledger:
        opened.append(Ledger(file))
        return opened[-1]

    yield open_one
    for ledger in opened:
        ledger.close()


@pytest.fixture
def ledger(open_ledger: OpenLedger) -> Ledger:
    return open_ledger()

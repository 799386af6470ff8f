"""A page that many look at asks the journal what fails now and then, and waits for it only so long."""

import asyncio
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from mirrord.journal.errors import JournalUnavailable
from mirrord.model.attempt import Outcome
from mirrord.model.step import Park
from mirrord.status.journaled import JournalView
from mirrord.status.reading import Failures, Reading
from tests.journal.ledger import MIRROR, Ledger, at, change, ended, url_of


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(tmp_path / "journal.db")
    yield opened
    opened.close()


def _park(ledger: Ledger, key: str) -> None:
    ledger.record(change(key))
    ledger.settle(*(ended(claim, Park(), 2, outcome=Outcome.REFUSED, status=400) for claim in ledger.claim(1)))


def test_what_fails_is_kept_for_a_while_and_found_out_anew_after_it(ledger: Ledger) -> None:
    clock = [at(100)]
    view = JournalView(url_of(ledger.file), now=lambda: clock[0])
    failures, counts = Failures(view, lambda: clock[0]), list[int]()

    for moved_s in (0, 1.9, 0.2):
        _park(ledger, f"key {len(counts)}")
        clock[0] += timedelta(seconds=moved_s)
        counts += [each.keys for each in ledger.run(failures.of(MIRROR))]
    view.close()

    assert counts == [1, 1, 3]


def test_a_clock_that_is_set_back_and_a_mirror_that_comes_back_are_asked_for_anew(ledger: Ledger) -> None:
    clock: list[datetime] = [at(100)]
    view = JournalView(url_of(ledger.file), now=lambda: clock[0])
    failures, counts = Failures(view, lambda: clock[0]), list[int]()

    for moved_s in (0, -50, 0):
        _park(ledger, f"key {len(counts)}")
        clock[0] += timedelta(seconds=moved_s)
        counts += [each.keys for each in ledger.run(failures.of(MIRROR))]
        if moved_s:
            failures.keep_only([])
    view.close()

    assert counts == [1, 2, 3]


def test_a_journal_that_cannot_be_read_is_a_reason_and_not_the_end() -> None:
    async def read() -> int:
        raise JournalUnavailable("the disk is gone", action="look at it")

    reading = Reading()
    found = asyncio.run(reading.read(read(), 7))

    assert (found, reading.unread) == (7, "the disk is gone; look at it")

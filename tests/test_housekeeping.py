"""The service's own care for its journal: when it sweeps, what it remembers meanwhile, and what it says."""

import asyncio
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from mirrord.housekeeping import ABSENT, Housekeeping, Timetable
from mirrord.journal import targets
from mirrord.journal.pruning import Kept
from mirrord.journal.store import Journal
from mirrord.journal.targets import REMEMBERED_EVERY
from tests.journal.ledger import MIRROR, RULES, Ledger, at, change, ended

PATIENCE_S = 10.0
OFTEN = Timetable(look_every=timedelta(milliseconds=1))


class Clock:
    """Goes on by four minutes with every look at it."""

    def __init__(self) -> None:
        self.now = at(0)

    def __call__(self) -> datetime:
        self.now += timedelta(minutes=4)
        return self.now


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "journal.db")
    yield ledger
    ledger.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Counted(Housekeeping):
    """Says when it has swept so many times."""

    def __init__(self, journal: Journal, clock: Clock, *mirrors: str) -> None:
        super().__init__(
            journal=journal,
            mirrors=lambda: [Kept(mirror, None) for mirror in mirrors],
            now=clock,
            timetable=OFTEN,
        )
        self._clock = clock
        self.swept: list[datetime] = []
        self._news = asyncio.Event()

    async def sweep(self) -> None:
        await super().sweep()
        self.swept.append(self._clock.now)
        self._news.set()

    async def until_swept(self, times: int) -> None:
        async with asyncio.timeout(PATIENCE_S), asyncio.TaskGroup() as tasks:
            running = tasks.create_task(self.run(), name="housekeeping")
            while len(self.swept) < times:
                self._news.clear()
                await self._news.wait()
            running.cancel()


def test_it_sweeps_once_nothing_has_been_due_for_minutes_and_then_daily(ledger: Ledger, clock: Clock) -> None:
    keeping = Counted(ledger.journal, clock, MIRROR)

    ledger.run(keeping.until_swept(2))

    first, second = keeping.swept
    assert OFTEN.quiet <= first - at(0) < OFTEN.busy_most
    assert OFTEN.every <= second - first < OFTEN.every + OFTEN.busy_most


def test_a_service_that_is_always_busy_is_swept_nevertheless(ledger: Ledger, clock: Clock) -> None:
    ledger.record(change("a"))  # due, and nobody asks for it
    keeping = Counted(ledger.journal, clock, MIRROR)

    ledger.run(keeping.until_swept(1))

    assert keeping.swept[0] - at(0) >= OFTEN.busy_most


def test_a_mirror_that_is_gone_for_a_week_is_dropped_and_that_is_said(ledger: Ledger, clock: Clock) -> None:
    ledger.record(change("a"), change("b"), mirror="gone")
    ledger.settle(*(ended(row) for row in ledger.claim(mirror="gone")))
    ledger.record(change("a"))
    keeping = Counted(ledger.journal, clock, MIRROR)

    with capture_logs() as lines:
        ledger.run(keeping.sweep())  # it is only now that anybody notices
        noticed = list(lines)
        clock.now += ABSENT
        ledger.run(keeping.sweep())

    assert noticed == []
    (line,) = lines
    assert line.pop("bytes") >= 0
    assert line == {
        "event": "journal.pruned",
        "log_level": "info",
        "mirrors": ["gone"],
        "attempts": 2,
        "objects": 2,
    }
    assert ledger.select("SELECT mirror, key FROM objects") == [(MIRROR, "a")]


def test_a_mirror_that_is_there_is_remembered_every_few_minutes(ledger: Ledger, clock: Clock) -> None:
    ledger.run(targets.adopt(ledger.journal, MIRROR, "b", "", at(0)))
    ledger.record(change("a"))
    keeping = Counted(ledger.journal, clock, MIRROR)

    ledger.run(keeping.until_swept(1))

    ((last_at,),) = ledger.select("SELECT last_at FROM served")
    assert clock.now - at(0) > timedelta(hours=1)
    assert last_at > (at(0).timestamp() + 3600) * 1e6
    assert timedelta(hours=1) > REMEMBERED_EVERY


def test_mirrors_are_asked_for_again_before_every_sweep(ledger: Ledger, clock: Clock) -> None:
    mirrors = [Kept(MIRROR, None)]
    keeping = Housekeeping(journal=ledger.journal, mirrors=lambda: mirrors, now=clock)
    ledger.record(change("a"), mirror="other")
    ledger.run(keeping.sweep())
    mirrors.append(Kept("other", None))  # a reload brought it back
    clock.now += ABSENT

    ledger.run(keeping.sweep())

    assert ledger.select("SELECT mirror FROM objects") == [("other",)]


def test_room_that_is_a_good_part_of_the_file_is_given_back(ledger: Ledger, clock: Clock) -> None:
    keys = [f"{number:05}{'x' * 700}" for number in range(25_000)]
    ledger.run(ledger.journal.record("gone", [change(key) for key in keys], RULES))
    keeping = Housekeeping(journal=ledger.journal, mirrors=lambda: [Kept(MIRROR, None)], now=clock)
    ledger.run(keeping.sweep())
    ((before,),) = ledger.select("PRAGMA page_count")
    clock.now += ABSENT

    ledger.run(keeping.sweep())

    ((after,),) = ledger.select("PRAGMA page_count")
    assert after < before / 20

"""A journal that waits: one line for an outage, whoever waits in it; nothing kept half, nothing fresh unrecorded."""

import asyncio
import functools
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, MutableMapping
from contextlib import asynccontextmanager, closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from mirrord.journal.errors import JournalFull, JournalUnavailable
from mirrord.journal.patience import PATIENCE, Outage, PatientJournal, Try
from tests.journal.conftest import OpenLedger
from tests.journal.ledger import LEASE, MIRROR, RULES, at, change, ended, url_of

LOCK = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.readline()
"""
BROKEN = JournalUnavailable("/j.db: the disk fails", action="see to the disk", may_heal=True)


def awaited(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """A test that is a coroutine, in a loop of its own."""

    @functools.wraps(test)
    def run(**given: Any) -> None:
        async def whole() -> None:
            await test(**given)

        asyncio.run(whole())

    return run


class Clock:
    """Stands still until moved; an outage reads it when it begins, which a test can wait for."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._loop = asyncio.get_running_loop()
        self._read = asyncio.Event()

    def __call__(self) -> datetime:
        self._loop.call_soon_threadsafe(self._read.set)
        return at(self.seconds)

    async def until_read(self) -> None:
        await self._read.wait()
        self._read.clear()


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Another process is in the middle of a write."""
    with subprocess.Popen(
        [sys.executable, "-c", LOCK, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        try:
            yield
        finally:
            other.communicate("\n", timeout=20)


@asynccontextmanager
async def patient(file: Path, clock: Clock) -> AsyncIterator[PatientJournal]:
    """A journal whose patience for locks is short, so that it fails at once where others wait."""
    journal = PatientJournal(url_of(file), now=clock, busy_timeout=timedelta(milliseconds=20))
    journal.open()
    try:
        async with asyncio.timeout(20):
            yield journal
    finally:
        journal.give_up()
        journal.close()


def events(lines: list[MutableMapping[str, Any]]) -> list[str]:
    return [line["event"] for line in lines]


@awaited
async def test_all_that_wait_for_a_lock_share_one_line_at_each_end(file: Path, open_ledger: OpenLedger) -> None:
    clock = Clock()
    with capture_logs() as lines:
        async with patient(file, clock) as journal, asyncio.TaskGroup() as tasks:
            with locked(file):
                for number in range(4):
                    tasks.create_task(journal.record(MIRROR, [change(f"{number}")], RULES), name=f"write {number}")
                await clock.until_read()
                trouble, well_for = journal.trouble, journal.well_for(at(5))
                clock.seconds = 5

    first, last = lines
    assert trouble is not None
    assert str(file) in trouble
    assert well_for == timedelta(0)
    assert (first["event"], first["log_level"], first["reason"]) == ("journal.unavailable", "error", trouble)
    assert "end what keeps it locked" in first["action"]
    assert (last["event"], last["log_level"], last["lasted_s"]) == ("journal.recovered", "info", 5)
    assert journal.loss is None
    assert journal.well_for(at(8)) == timedelta(seconds=3)
    assert open_ledger().states() == {f"{number}": "stale" for number in range(4)}


@awaited
async def test_patience_at_a_terminal_ends(file: Path) -> None:
    clock = Clock()

    async def pass_time() -> None:
        await clock.until_read()
        clock.seconds = PATIENCE.total_seconds()

    with capture_logs() as lines:
        async with patient(file, clock) as journal, asyncio.TaskGroup() as tasks:
            tasks.create_task(pass_time(), name="time")
            with locked(file), pytest.raises(JournalUnavailable, match="locked by another process"):
                await journal.record(MIRROR, [change("a")], RULES)

    assert events(lines) == ["journal.unavailable"]


@awaited
async def test_pauses_grow_from_half_a_second_to_ten() -> None:
    outage = Outage(Clock())
    outage.patience = None

    with Try(outage) as attempt:
        pauses = [attempt.failed(BROKEN) for _ in range(8)]

    assert pauses == [0.5, 1, 2, 4, 8, 10, 10, 10]


@awaited
async def test_no_pause_outlasts_the_patience() -> None:
    clock = Clock()
    outage = Outage(clock)
    outage.patience = timedelta(seconds=4)

    with Try(outage) as attempt:
        pauses = []
        while clock.seconds < 4:
            pauses.append(attempt.failed(BROKEN))
            clock.seconds += pauses[-1]
        with pytest.raises(JournalUnavailable, match="see to the disk"):
            attempt.failed(BROKEN)

    assert pauses == [0.5, 1, 2, 0.5]


@awaited
async def test_a_full_disk_is_said_when_closing_the_journal_gave_back_too_little() -> None:
    outage = Outage(Clock())
    with capture_logs() as lines, Try(outage) as attempt:
        at_once = attempt.failed(JournalFull("/j.db: no space left", may_heal=True))
        said_first = events(lines)
        later = attempt.failed(JournalFull("/j.db: no space left", may_heal=True))

        assert (at_once, said_first) == (0, [])
        assert (later, events(lines)) == (0.5, ["journal.unavailable"])


@awaited
async def test_a_write_that_needs_no_room_does_not_end_the_outage_of_others() -> None:
    outage = Outage(Clock())
    with capture_logs() as lines, Try(outage) as waiting:
        waiting.failed(BROKEN)
        with Try(outage):
            pass

        assert events(lines) == ["journal.unavailable"]
    assert outage.reason is None


@awaited
async def test_who_is_cancelled_while_waiting_is_not_waited_for(file: Path, open_ledger: OpenLedger) -> None:
    clock = Clock()
    with capture_logs() as lines:
        async with patient(file, clock) as journal:
            with locked(file):
                writing = asyncio.ensure_future(journal.record(MIRROR, [change("a")], RULES))
                await clock.until_read()
                writing.cancel()
                await asyncio.wait([writing])
            await journal.record(MIRROR, [change("b")], RULES)

    assert writing.cancelled()
    assert events(lines) == ["journal.unavailable", "journal.recovered"]
    assert open_ledger().states() == {"b": "stale"}


@awaited
async def test_what_waiting_cannot_heal_is_raised_at_once(file: Path) -> None:
    with capture_logs() as lines:
        async with patient(file, Clock()) as journal:
            await journal.record(MIRROR, [change("a")], RULES)
            file.with_name("garbage").write_bytes(b"This is no journal at all.\n" * 500)
            file.with_name("garbage").rename(file)

            with pytest.raises(JournalUnavailable, match="another file") as refusal:
                await journal.record(MIRROR, [change("b")], RULES)

    assert not refusal.value.may_heal
    assert str(file) in str(refusal.value)
    assert lines == []


@awaited
async def test_a_scan_waits_where_it_stands(file: Path) -> None:
    """A directory of the journal's name cannot be opened: it stands for all that a reader may meet."""
    clock, away = Clock(), file.with_name("away")
    with capture_logs() as lines:
        async with patient(file, clock) as journal, asyncio.TaskGroup() as tasks:
            await journal.record(MIRROR, [change("a"), change("b")], RULES)
            file.rename(away)
            file.mkdir()
            reading = tasks.create_task(asyncio.to_thread(lambda: list(journal.known(MIRROR))), name="scan")
            await clock.until_read()
            file.rmdir()
            away.rename(file)
            found = await reading

    assert [key for key, _ in found] == ["a", "b"]
    assert events(lines) == ["journal.unavailable", "journal.recovered"]


@awaited
async def test_what_cannot_be_settled_before_the_end_is_counted_and_not_fresh(
    file: Path, open_ledger: OpenLedger
) -> None:
    clock = Clock()
    async with patient(file, clock) as journal:
        journal.wait_for_ever()
        await journal.record(MIRROR, [change("a"), change("b"), change("c")], RULES)
        a, b, c = await journal.claim(MIRROR, at(0), 3, LEASE)
        ends = [ended(a), ended(b), ended(c, attempted=False)]
        with locked(file):
            settling = asyncio.ensure_future(
                journal.settle_and_claim(ends, RULES, mirror=MIRROR, now=at(1), most=3, lease=LEASE)
            )
            await clock.until_read()
            journal.give_up()
            claimed, due_at = await settling, await journal.next_due(MIRROR)
            loss = journal.loss

    assert (claimed, due_at) == ([], None)
    assert loss is not None
    assert str(file) in str(loss)
    assert "settlements not recorded: 2" in str(loss)
    assert open_ledger().states() == dict.fromkeys("abc", "claimed")


@awaited
async def test_a_transaction_that_failed_leaves_no_lock_and_no_connection(file: Path) -> None:
    async with patient(file, Clock()) as journal:

        def half(connection: sa.Connection) -> None:
            connection.exec_driver_sql("INSERT INTO cursors VALUES ('m', 's', 'c', 0, 0)")
            connection.exec_driver_sql("INSERT INTO nowhere VALUES (1)")

        with pytest.raises(JournalUnavailable, match="nowhere"):
            await journal.transact(half)

        with closing(sqlite3.connect(file, timeout=0, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            count = other.execute("SELECT count(*) FROM cursors").fetchone()
            other.execute("ROLLBACK")
        await journal.record(MIRROR, [change("a")], RULES)

    assert count == (0,)

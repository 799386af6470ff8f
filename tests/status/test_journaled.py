"""One report serves everybody for a while; who stops waiting disturbs nobody; a text is found as it is written."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mirrord.decisions.staleness import IntakeRules, NewKeys
from mirrord.journal import report
from mirrord.journal.errors import JournalCorrupt
from mirrord.model.row import State
from mirrord.model.step import Park
from mirrord.status.journaled import JournalView
from tests.journal.ledger import MIRROR, Ledger, at, change, ended, url_of

FRESH = IntakeRules(new_keys=NewKeys.FRESH)


class _Clock:
    """Stands still, but moves by `step` each time that somebody looks."""

    def __init__(self) -> None:
        self.at = at(100)
        self.step = timedelta(0)
        self.looks = 0

    def __call__(self) -> datetime:
        self.looks += 1
        self.at += self.step
        return self.at


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(tmp_path / "journal.db")
    yield opened
    opened.close()


@asynccontextmanager
async def _view(file: Path, now: Callable[[], datetime]) -> AsyncIterator[JournalView]:
    view = JournalView(url_of(file), now=now)
    async with asyncio.timeout(20):
        yield view
    view.close()


def test_a_report_is_kept_for_two_seconds_and_made_anew_after_them(ledger: Ledger) -> None:
    async def act() -> list[int]:
        counts, clock = [], _Clock()
        async with _view(ledger.file, clock) as view:
            for moved_s in (0, 1.9, 0.1, 1.9):
                await ledger.journal.record(MIRROR, [change(f"key {len(counts)}")], FRESH)
                clock.at += timedelta(seconds=moved_s)
                counts.append((await view.reports([MIRROR]))[0].keys[State.FRESH])
        return counts

    assert ledger.run(act()) == [1, 1, 3, 3]


def test_a_report_that_took_long_is_kept_for_twenty_times_as_long(ledger: Ledger) -> None:
    async def act() -> list[int]:
        counts, clock = [], _Clock()
        clock.step = timedelta(seconds=3)  # between two looks: what making a report seems to take
        async with _view(ledger.file, clock) as view:
            await view.reports([MIRROR])
            clock.step = timedelta(0)
            for moved_s in (59, 2):
                await ledger.journal.record(MIRROR, [change(f"key {len(counts)}")], FRESH)
                clock.at += timedelta(seconds=moved_s)
                counts.append((await view.reports([MIRROR]))[0].keys[State.FRESH])
        return counts

    assert ledger.run(act()) == [0, 2]


def test_a_clock_that_was_set_back_makes_a_kept_report_worthless(ledger: Ledger) -> None:
    async def act() -> datetime | None:
        clock = _Clock()
        async with _view(ledger.file, clock) as view:
            await view.reports([MIRROR])
            clock.at -= timedelta(hours=1)
            await view.reports([MIRROR])
            return view.reported_at

    assert ledger.run(act()) == at(100) - timedelta(hours=1)


def test_those_who_ask_together_share_one_report(ledger: Ledger) -> None:
    async def act() -> tuple[int, int]:
        clock = _Clock()
        async with _view(ledger.file, clock) as view, asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(view.reports([MIRROR, "other"])) for _ in range(30)]
            asked += [tasks.create_task(view.reports(["other"])) for _ in range(30)]
        return len({id(report) for each in asked for report in each.result()}), clock.looks

    assert ledger.run(act()) == (2, 2)  # a report of either mirror; the clock was read at its beginning and its end


def test_who_stops_waiting_takes_the_report_from_nobody(ledger: Ledger) -> None:
    async def act() -> str:
        async with _view(ledger.file, _Clock()) as view, asyncio.TaskGroup() as tasks:
            first, second = (tasks.create_task(view.reports([MIRROR])) for _ in range(2))
            await asyncio.sleep(0)
            first.cancel()
        assert first.cancelled()
        return second.result()[0].mirror

    assert ledger.run(act()) == MIRROR


def test_a_mirror_that_a_kept_report_lacks_is_reported_on_at_once(ledger: Ledger) -> None:
    async def act() -> list[list[str]]:
        async with _view(ledger.file, _Clock()) as view:
            asked = [await view.reports(names) for names in ([MIRROR], ["other", MIRROR], [MIRROR, "other"], [])]
            return [[report.mirror for report in each] for each in asked]

    assert ledger.run(act()) == [[MIRROR], ["other", MIRROR], [MIRROR, "other"], []]


def test_the_last_report_can_be_had_without_waiting(ledger: Ledger) -> None:
    async def act() -> None:
        clock = _Clock()
        async with _view(ledger.file, clock) as view:
            assert (view.last([MIRROR]), view.reported_at) == (None, None)
            made = await view.reports([MIRROR])
            clock.at += timedelta(hours=1)

            assert view.last([MIRROR]) == made
            assert view.last([MIRROR, "other"]) is None
            assert view.reported_at == at(100)

    ledger.run(act())


def test_a_journal_that_cannot_be_read_is_said_to_everybody_who_waits_and_asked_again_later(tmp_path: Path) -> None:
    file = tmp_path / "journal.db"
    file.write_text("no journal at all, but long enough to be looked at" * 20)

    async def act() -> None:
        async with _view(file, _Clock()) as view:
            async with asyncio.TaskGroup() as tasks:
                asked = [tasks.create_task(_refusal(view)) for _ in range(3)]
            assert [each.result() for each in asked] == [JournalCorrupt] * 3
            file.unlink()
            assert (await view.reports([MIRROR]))[0].settled
            file.write_text("no journal again, and just as long as it was before" * 20)
            with pytest.raises(JournalCorrupt):
                await view.key(MIRROR, "a")

    asyncio.run(act())


async def _refusal(view: JournalView) -> type[JournalCorrupt] | None:
    try:
        await view.reports([MIRROR])
    except JournalCorrupt as exc:
        return type(exc)
    return None


def test_single_keys_are_asked_for_beside_the_report(ledger: Ledger) -> None:
    ledger.record(change("parked"), change("stale", "1", 5))
    ledger.settle(ended(ledger.claim(1)[0], Park(), 2))

    async def act() -> None:
        async with _view(ledger.file, _Clock()) as view:
            known = await view.key(MIRROR, "parked")
            assert known.row is not None
            assert known.row.state is State.PARKED
            assert [row.key for row in await view.waiting(MIRROR, 10)] == ["parked"]
            assert [row.key for row in await view.unfinished(MIRROR, 10)] == ["parked", "stale"]
            assert [row.key for row in await view.find(MIRROR, "ark", 10)] == ["parked"]

    ledger.run(act())


@pytest.mark.parametrize(
    ("text", "found"),
    [
        pytest.param("b", ["b", "b/c", "a/b"], id="the key itself, then its beginning, then a part"),
        pytest.param("B", ["B"], id="case counts"),
        pytest.param("%", ["%", "100%_"], id="a wildcard is a character"),
        pytest.param("_", ["100%_"], id="another one"),
        pytest.param("'", [], id="a quote"),
        pytest.param("\ud800", [], id="half a character"),
        pytest.param("\U0010ffff", ["\U0010ffff", "a/\U0010ffff"], id="the last character"),
        pytest.param("", ["%", "100%_", "B", "a", "a/b", "a/\U0010ffff", "b", "b/c", "\U0010ffff"], id="nothing"),
    ],
)
def test_keys_are_found_by_what_is_written(ledger: Ledger, text: str, found: list[str]) -> None:
    keys = ("a", "b", "a/b", "b/c", "B", "100%_", "%", "\U0010ffff", "a/\U0010ffff")
    ledger.record(*map(change, keys))
    ledger.record(change("b and another"), mirror="other")

    assert [row.key for row in report.find(url_of(ledger.file), MIRROR, text, 20)] == found


def test_no_more_keys_are_found_than_were_asked_for(ledger: Ledger) -> None:
    ledger.record(*(change(f"{where}{number}") for where in ("x", "a/x") for number in range(5)))
    url = url_of(ledger.file)

    assert [row.key for row in report.find(url, MIRROR, "x", 3)] == ["x0", "x1", "x2"]
    assert [row.key for row in report.find(url, MIRROR, "x", 7)] == ["x0", "x1", "x2", "x3", "x4", "a/x0", "a/x1"]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keys=st.sets(st.text("aA%_é", min_size=1, max_size=4), max_size=12), text=st.text("aA%_é", max_size=3))
def test_everything_that_holds_a_text_is_found_and_nothing_else(ledger: Ledger, keys: set[str], text: str) -> None:
    ledger.record(*map(change, keys), mirror=f"{sorted(keys)}")

    found = [row.key for row in report.find(url_of(ledger.file), f"{sorted(keys)}", text, 50)]

    beginning = sorted(key for key in keys if key.startswith(text))
    assert found == beginning + sorted(key for key in keys - set(beginning) if text in key)


def test_nothing_is_found_in_a_journal_that_is_not_there(tmp_path: Path) -> None:
    assert report.find(url_of(tmp_path / "journal.db"), MIRROR, "a", 5) == []

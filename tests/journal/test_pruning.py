"""What bounds a journal: what goes and when, what never goes, and that nobody waits long for it."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import pytest
import sqlalchemy as sa

from mirrord.decisions.staleness import IntakeRules
from mirrord.journal import asking, targets
from mirrord.journal.database import open_engine
from mirrord.journal.pruning import OLD, Kept, Pruned, prunable, prune
from mirrord.model.attempt import Outcome
from mirrord.model.change import Recorded
from mirrord.model.coverage import Coverage
from mirrord.model.step import Done, Park, Retry
from tests.journal.conftest import OpenLedger
from tests.journal.ledger import DELETE, MIRROR, RULES, Ledger, at, change, ended, place, url_of

T = TypeVar("T")

DAY = 86_400.0
LATER = OLD.total_seconds() + DAY
DOCS = Kept(MIRROR, "feed now")
EVER = datetime.max.replace(tzinfo=UTC)


def pruned(ledger: Ledger, seconds: float = LATER, *mirrors: Kept, unserved_since: datetime = EVER) -> Pruned:
    """What goes then; that it had been foretold."""
    with open_engine(url_of(ledger.file), writing=False).connect() as connection:
        foretold = prunable(connection, mirrors or [DOCS], at(seconds), unserved_since=unserved_since)

    found: Pruned = ledger.run(prune(ledger.journal, mirrors or [DOCS], at(seconds), unserved_since=unserved_since))

    assert found == foretold
    return found


def mirrored(ledger: Ledger, *keys: str, seconds: float = 0) -> None:
    ledger.record(*(replace(change(key, "1", seconds), order="1") for key in keys))
    ledger.settle(*(ended(row, seconds=seconds) for row in ledger.claim(seconds)))


def removed(ledger: Ledger, *keys: str, seconds: float = 0, rules: IntakeRules = DELETE) -> None:
    """Gone at the origin and, if the rules say so, deleted from the bucket."""
    ledger.record(*(replace(change(key, None, seconds), order="2") for key in keys), rules=rules)
    ledger.release(seconds)
    claims = ledger.claim(seconds)
    ledger.settle(*(ended(row, seconds=seconds, outcome=Outcome.REMOVED) for row in claims), rules=rules)


# -- keys that are gone ------------------------------------------------------------------------------


def test_a_key_that_is_gone_at_both_ends_goes_after_30_days_with_its_attempts(ledger: Ledger) -> None:
    mirrored(ledger, "a", "b")
    removed(ledger, "a", seconds=10)

    early = pruned(ledger, OLD.total_seconds() + 9)
    late = pruned(ledger, OLD.total_seconds() + 11)

    assert (early, late.rows) == (Pruned(), {"objects": 1, "attempts": 2})
    assert ledger.known() == [("b", "=1")]
    assert ledger.select("SELECT key FROM attempts") == [("b",)]


def test_the_30_days_begin_when_it_was_deleted(ledger: Ledger) -> None:
    mirrored(ledger, "a")
    ledger.record(change("a", None, 10), rules=DELETE)
    ledger.release(20 * DAY)
    (claim,) = ledger.claim(20 * DAY)
    ledger.settle(ended(claim, seconds=20 * DAY, outcome=Outcome.REMOVED), rules=DELETE)

    assert pruned(ledger, LATER) == Pruned()


def test_they_begin_anew_when_it_came_back_for_a_while(ledger: Ledger) -> None:
    mirrored(ledger, "a")
    removed(ledger, "a")
    ledger.record(change("a", "3", 20 * DAY))
    ledger.record(change("a", None, 20 * DAY + 1))  # never asked for in between, and now kept

    assert pruned(ledger, LATER) == Pruned()


def test_a_key_that_a_pull_may_still_bring_stays(ledger: Ledger) -> None:
    mirrored(ledger, "a")
    removed(ledger, "a")
    ledger.run(
        ledger.journal.transact(
            lambda connection: connection.exec_driver_sql("UPDATE objects SET pending = '{}'") and None
        )
    )

    assert pruned(ledger) == Pruned()


def test_everything_else_stays_for_ever(ledger: Ledger) -> None:
    mirrored(ledger, "fresh", "kept", "held", "unlinked", "back")
    removed(ledger, "back")
    ledger.record(change("back", "2", 1))
    ledger.settle(*(ended(row, seconds=1) for row in ledger.claim(1)))
    removed(ledger, "kept", rules=RULES)
    ledger.record(change("unlinked", None, 2), rules=DELETE)
    ledger.release(3)
    ledger.settle(*(ended(row, Park(), 3) for row in ledger.claim(3)), rules=DELETE)
    ledger.record(change("held", None, 5), rules=DELETE)
    for key, step in (("parked", Park()), ("later", Retry(timedelta(seconds=60)))):
        ledger.record(change(key, "1", 5))
        ledger.settle(*(ended(row, step, 5) for row in ledger.claim(5)))
    ledger.record(change("claimed", "1", 5))
    ledger.claim(5)
    ledger.record(change("stale", "1", 6))
    ledger.run(ledger.journal.cover(MIRROR, Coverage(complete_as_of=at(5))))
    ledger.record(cursor=place("listing b:", "", 1))
    before = ledger.select("SELECT * FROM objects"), ledger.select("SELECT * FROM attempts")

    found = pruned(ledger, 100 * LATER)

    assert found == Pruned()
    assert (ledger.select("SELECT * FROM objects"), ledger.select("SELECT * FROM attempts")) == before


def test_attempts_without_a_row_go(ledger: Ledger) -> None:
    mirrored(ledger, "a", "b")
    ledger.run(
        ledger.journal.transact(
            lambda connection: connection.exec_driver_sql("DELETE FROM objects WHERE key = 'a'") and None
        )
    )

    assert pruned(ledger, 1).rows == {"attempts": 1}
    assert ledger.select("SELECT key FROM attempts") == [("b",)]


# -- orders ------------------------------------------------------------------------------------------


def test_a_late_event_cannot_bring_a_pruned_key_back(ledger: Ledger) -> None:
    mirrored(ledger, "a")
    removed(ledger, "a")
    pruned(ledger)

    late = ledger.record(replace(change("a", "1", LATER), order="1"))

    assert (late, ledger.known()) == (Recorded(), [])


def test_an_order_goes_when_its_key_has_had_no_row_for_30_days(ledger: Ledger) -> None:
    mirrored(ledger, "a", "b")
    removed(ledger, "a")
    first = pruned(ledger, LATER)

    early = pruned(ledger, LATER + OLD.total_seconds() - 1)
    late = pruned(ledger, LATER + OLD.total_seconds() + 1)

    assert "orders" not in first.rows
    assert (early, late.rows) == (Pruned(), {"orders": 1})
    assert ledger.select("SELECT key FROM orders") == [("b",)]


def test_an_order_of_a_key_that_never_had_a_row_goes_too(ledger: Ledger) -> None:
    ledger.record(replace(change("a", None), order="1"))
    noticed = pruned(ledger, 0)

    gone = pruned(ledger, LATER)

    assert (noticed, gone.rows) == (Pruned(), {"orders": 1})


@pytest.mark.parametrize("version", [None, "2"], ids=["of-a-removal", "of-a-write"])
def test_a_new_event_begins_the_30_days_anew(ledger: Ledger, version: str | None) -> None:
    ledger.record(replace(change("a", None), order="1"))
    pruned(ledger, 0)
    ledger.record(replace(change("a", version, LATER), order="2"))

    assert pruned(ledger, LATER + 1) == Pruned()
    assert pruned(ledger, LATER + DAY) == Pruned()


def test_a_row_that_came_by_itself_ends_them(ledger: Ledger) -> None:
    ledger.record(replace(change("a", None), order="1"))
    pruned(ledger, 0)
    ledger.record(change("a", "2", DAY))  # as a scan finds it

    assert pruned(ledger, LATER) == Pruned()
    assert ledger.select("SELECT ownerless_since FROM orders") == [(None,)]


# -- cursors -----------------------------------------------------------------------------------------


def test_places_in_feeds_that_are_followed_no_more_go_after_30_days(ledger: Ledger) -> None:
    for source in ("feed now", "feed before", "audit", "listing b:"):
        ledger.record(cursor=place(source, "17", 0))
    ledger.record(cursor=place("feed lately", "17", 2 * DAY))

    found = pruned(ledger, LATER)

    assert found.rows == {"cursors": 1}
    assert {source for (source,) in ledger.select("SELECT source FROM cursors")} == {
        "feed now",
        "feed lately",
        "audit",
        "listing b:",
    }


# -- mirrors that are gone ---------------------------------------------------------------------------


def test_all_of_a_mirror_that_is_gone_goes_and_nothing_of_another(ledger: Ledger) -> None:
    for mirror in (MIRROR, "gone", "gonf"):
        ledger.record(*(replace(change(key), order="1") for key in "ab"), mirror=mirror, cursor=place("feed f", "1"))
        ledger.settle(*(ended(row) for row in ledger.claim(mirror=mirror)))
        ledger.run(targets.adopt(ledger.journal, mirror, "b", "", at(0)))

    found = pruned(ledger, 1, DOCS, Kept("gonf", None))

    rows = {"attempts": 2, "cursors": 1, "objects": 2, "orders": 2}
    assert found == Pruned(rows=rows, mirrors={"gone": 7})
    assert {mirror for (mirror,) in ledger.select("SELECT mirror FROM objects")} == {MIRROR, "gonf"}
    assert {mirror for (mirror,) in ledger.select("SELECT mirror FROM served")} == {MIRROR, "gonf"}
    assert pruned(ledger, 1, DOCS, Kept("gonf", None)) == Pruned()


def test_a_mirror_that_was_served_lately_is_left_and_named(ledger: Ledger) -> None:
    ledger.record(change("a"), mirror="gone")
    ledger.run(targets.adopt(ledger.journal, "gone", "b", "", at(100)))

    early = pruned(ledger, 200, unserved_since=at(99))
    late = pruned(ledger, 200, unserved_since=at(101))

    assert early == Pruned(left={"gone": at(100)})
    assert late == Pruned(rows={"objects": 1}, mirrors={"gone": 1})


class Returning:
    """A journal where the mirror comes back, as a reload would bring it, after so many transactions."""

    def __init__(self, ledger: Ledger, after: int) -> None:
        self._ledger = ledger
        self._left = after

    async def transact(self, work: Callable[[sa.Connection], T]) -> T:
        self._left -= 1
        if self._left == 0:
            await targets.adopt(self._ledger.journal, "gone", "b", "", at(1000))
            await self._ledger.journal.record("gone", [change("new")], RULES, place("feed f", "2"))
        return await self._ledger.journal.transact(work)


@pytest.mark.parametrize("after", range(2, 10))
def test_a_mirror_that_comes_back_meanwhile_keeps_what_it_then_records(ledger: Ledger, after: int) -> None:
    ledger.record(*(change(key) for key in "ab"), mirror="gone", cursor=place("feed f", "1"))
    ledger.run(targets.adopt(ledger.journal, "gone", "b", "", at(0)))

    ledger.run(prune(Returning(ledger, after), [DOCS], at(1000), unserved_since=at(500)))

    assert ("new",) in ledger.select("SELECT key FROM objects WHERE mirror = 'gone'")
    assert ledger.cursor("feed f", mirror="gone") == "2"
    assert ledger.select("SELECT last_at FROM served") == [(1767226600000000,)]


# -- beside a service --------------------------------------------------------------------------------


class Watched:
    """A journal that another writes to after every transaction; counts the most rows that one of them dropped."""

    def __init__(self, ledger: Ledger, other: Ledger) -> None:
        self._ledger = ledger
        self._other = other
        self.most = 0
        self._rows = self._count()

    def _count(self) -> int:
        ((objects, attempts),) = self._ledger.select(
            "SELECT (SELECT count(*) FROM objects), (SELECT count(*) FROM attempts)"
        )
        return int(objects + attempts)

    async def transact(self, work: Callable[[sa.Connection], T]) -> T:
        result = await self._ledger.journal.transact(work)
        rows = self._count()
        self.most, self._rows = max(self.most, self._rows - rows), rows
        await self._other.journal.record(MIRROR, [change("between", f"{rows}")], RULES)
        self._rows = self._count()
        return result


def test_no_transaction_is_long_and_others_write_between_them(ledger: Ledger, open_ledger: OpenLedger) -> None:
    other = open_ledger()
    ledger.record(*(change(f"{number:05}") for number in range(3 * asking.PAGE)), mirror="gone")
    ledger.settle(*(ended(row, Done()) for row in ledger.claim(mirror="gone")))
    watched = Watched(ledger, other)

    found = ledger.run(prune(watched, [DOCS], at(1), unserved_since=EVER))

    assert found.rows == {"attempts": 3 * asking.PAGE, "objects": 3 * asking.PAGE}
    assert watched.most == asking.PAGE

"""Which bucket a mirror was about: of another one nothing is believed, whatever ends the forgetting in between."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from mirrord.journal import targets
from mirrord.journal.listing import Listing
from mirrord.journal.targets import Retargeted, Target
from mirrord.model.condition import Condition
from mirrord.model.coverage import Coverage
from mirrord.model.listing import ListedObject
from tests.journal.ledger import MIRROR, Ledger, at, change, ended, place

T = TypeVar("T")

TABLES = ("attempts", "conditions", "coverage", "cursors", "listed", "objects", "orders", "purges")


class Killed(BaseException):
    """What kill -9 is to a journal: nothing after it is done."""


class Dying:
    """A journal that lives for so many transactions."""

    def __init__(self, ledger: Ledger, lives: int) -> None:
        self._ledger = ledger
        self._lives = lives

    async def transact(self, work: Callable[[sa.Connection], T]) -> T:
        if not self._lives:
            raise Killed
        self._lives -= 1
        return await self._ledger.journal.transact(work)


def adopt(ledger: Ledger, bucket: str, prefix: str = "", seconds: float = 0) -> Retargeted | None:
    found: Retargeted | None = ledger.run(targets.adopt(ledger.journal, MIRROR, bucket, prefix, at(seconds)))
    return found


def fill(ledger: Ledger, mirror: str = MIRROR) -> None:
    """Rows in every table: of the keys `a/1`, `a/2` and `b`."""
    ledger.record(
        *(replace(change(key), order="5") for key in ("a/1", "a/2", "b")),
        mirror=mirror,
        cursor=place("feed f", "17"),
    )
    ledger.settle(*(ended(row, seconds=1) for row in ledger.claim(0, mirror=mirror)))
    ledger.run(ledger.journal.cover(mirror, Coverage(complete_as_of=at(5))))
    ledger.run(
        ledger.journal.set_conditions(
            mirror, [Condition(name="held", since=at(1), until=None, reason="r", status=None, reqid=None)]
        )
    )
    page = [ListedObject(key=key, size_bytes=1, hash="h", put_time=1) for key in ("a/1", "b")]
    ledger.run(Listing(ledger.journal, mirror, "docs:").keep(page, "", at(1)))
    values = [(mirror, key) for key in ("a/1", "b")]
    ledger.run(
        ledger.journal.transact(
            lambda connection: (
                connection.exec_driver_sql(
                    "INSERT INTO purges (mirror, key, since, due_at, asked, strikes) VALUES (?, ?, 1, 1, 1, 0)", values
                )
                and None
            )
        )
    )


def counts(ledger: Ledger, mirror: str = MIRROR) -> dict[str, int]:
    """Rows of the mirror by table."""
    found = [(name, ledger.select(f"SELECT count(*) FROM {name} WHERE mirror = '{mirror}'")) for name in TABLES]
    return {name: count for name, [(count,)] in found if count}


@pytest.fixture
def filled(ledger: Ledger) -> Iterator[Ledger]:
    """A journal of two mirrors that were about the bucket `old`."""
    for mirror in (MIRROR, "other"):
        fill(ledger, mirror)
    adopt(ledger, "old")
    return ledger


FULL = {
    "attempts": 3,
    "conditions": 1,
    "coverage": 1,
    "cursors": 2,
    "listed": 2,
    "objects": 3,
    "orders": 3,
    "purges": 2,
}


def test_of_a_journal_that_does_not_know_yet_nothing_is_dropped(ledger: Ledger) -> None:
    fill(ledger)

    assert adopt(ledger, "old") is None

    assert counts(ledger) == FULL
    assert ledger.select("SELECT * FROM served") == [(MIRROR, "old", "", 1767225600000000)]


def test_of_the_same_bucket_nothing_is_dropped(filled: Ledger) -> None:
    assert adopt(filled, "old", seconds=7) is None

    assert counts(filled) == FULL
    assert filled.select("SELECT last_at FROM served") == [(1767225607000000,)]


def test_of_another_bucket_nothing_is_believed(filled: Ledger) -> None:
    with capture_logs() as lines:
        done = adopt(filled, "new", seconds=7)

    assert counts(filled) == {}
    assert counts(filled, "other") == FULL
    assert done == Retargeted(
        mirror=MIRROR, before=Target(bucket="old", key_prefix="", last_at=at(0)), rows=sum(FULL.values())
    )
    (line,) = lines
    assert (line["event"], line["log_level"], line["bucket"], line["before"]) == (
        "mirror.retargeted",
        "warning",
        "new",
        "old",
    )
    assert line["rows"] == sum(FULL.values())
    assert adopt(filled, "new") is None


def test_of_another_prefix_what_lies_outside_goes_and_the_mirror_is_looked_at_anew(filled: Ledger) -> None:
    done = adopt(filled, "old", "a/")

    assert {key for key, _ in filled.known()} == {"a/1", "a/2"}
    assert counts(filled) == {"attempts": 2, "cursors": 2, "listed": 1, "objects": 2, "orders": 2, "purges": 1}
    assert filled.run(filled.journal.covered(MIRROR)) == Coverage()
    assert filled.cursor("feed f") == "17"  # which says by itself for which prefix it was read
    assert done is not None
    assert done.rows == sum(FULL.values()) - 10


@pytest.mark.parametrize("prefix", ["A/", "a_", "%", "a/10"], ids=["case", "one", "any", "longer"])
def test_a_prefix_is_taken_as_it_is(filled: Ledger, prefix: str) -> None:
    adopt(filled, "old", prefix)

    assert filled.known() == []


@pytest.mark.parametrize("again", ["new", "newer", "old"])
@pytest.mark.parametrize("lives", range(2, 8))
def test_whatever_ends_it_in_between_the_next_start_goes_on(filled: Ledger, lives: int, again: str) -> None:
    with pytest.raises(Killed):
        filled.run(targets.adopt(Dying(filled, lives), MIRROR, "new", "", at(1)))

    done = adopt(filled, again)

    assert done is not None
    assert not counts(filled).keys() & {"cursors", "coverage"}  # nothing says that what was dropped has been read
    if again != "old":
        assert counts(filled) == {}
    assert adopt(filled, again) is None


@pytest.mark.parametrize("again", ["a/", ""])
def test_a_prefix_that_is_taken_back_after_a_crash_loses_no_key(filled: Ledger, again: str) -> None:
    with pytest.raises(Killed):
        filled.run(targets.adopt(Dying(filled, 4), MIRROR, "old", "a/", at(1)))

    adopt(filled, "old", again)

    assert filled.cursor("feed f") is None  # the feed is read again: `b` may have been dropped
    assert filled.run(filled.journal.covered(MIRROR)) == Coverage()


def test_more_rows_than_a_page_go_page_by_page(ledger: Ledger) -> None:
    ledger.record(*(change(f"{number:05}") for number in range(5000)))
    ledger.record(*(change(f"{number:05}") for number in range(5000)), mirror="other")
    adopt(ledger, "old")

    done = adopt(ledger, "new")

    assert done is not None
    assert done.rows == 5000
    assert len(list(ledger.journal.known("other"))) == 5000


def test_mirrors_that_are_gone_are_noticed_and_those_that_are_there_are_up_to_date(filled: Ledger) -> None:
    filled.run(targets.remember_all(filled.journal, [MIRROR], at(9)))
    filled.run(targets.remember_all(filled.journal, [MIRROR], at(19)))

    assert set(filled.select("SELECT mirror, bucket, last_at FROM served")) == {
        (MIRROR, "old", 1767225619000000),
        ("other", None, 1767225609000000),
    }


def test_a_mirror_that_comes_back_unknown_keeps_its_rows(filled: Ledger) -> None:
    filled.run(targets.remember_all(filled.journal, [], at(9)))

    done = filled.run(targets.adopt(filled.journal, "other", "b", "", at(10)))

    assert done is None
    assert counts(filled, "other") == FULL

"""What a person is told of a journal: counts, the oldest, nothing where there is nothing, and no writing."""

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from mirrord.decisions.staleness import IntakeRules, NewKeys
from mirrord.journal.lock import ServiceLock
from mirrord.journal.report import conditions_of, report, report_key, unfinished, waiting_for_a_person
from mirrord.model.condition import Condition
from mirrord.model.coverage import Coverage
from mirrord.model.row import State
from mirrord.model.step import Done, Park, Retry
from tests.journal.ledger import DELETE, MIRROR, Ledger, at, change, ended, place, url_of


def test_a_journal_that_does_not_exist_has_nothing_in_it_and_is_not_made(file: Path) -> None:
    (docs, other) = report(url_of(file), ["docs", "other"])

    assert (docs.mirror, other.mirror) == ("docs", "other")
    assert docs.keys == dict.fromkeys(State, 0)
    assert (docs.oldest_stale_key, docs.oldest_stale_since) == (None, None)
    assert docs.coverage == Coverage()
    assert docs.settled
    assert list(file.parent.iterdir()) == []


def test_every_mirror_is_counted_by_state(ledger: Ledger) -> None:
    ledger.record(change("fresh"), rules=IntakeRules(new_keys=NewKeys.FRESH))
    ledger.record(change("parked", "1", 1), change("done", "1", 2), change("claimed", "1", 3), change("later", "1", 9))
    ledger.record(change("x"), mirror="other")
    parked, done, _ = ledger.claim(3)
    ledger.settle(ended(parked, Park(), 4), ended(done, Done(), 4))

    docs, other, never = report(url_of(ledger.file), [MIRROR, "other", "never"])

    assert docs.keys == {State.FRESH: 2, State.STALE: 1, State.CLAIMED: 1, State.PARKED: 1, State.HELD: 0}
    assert other.keys == dict.fromkeys(State, 0) | {State.STALE: 1}
    assert never.keys == dict.fromkeys(State, 0)
    assert (docs.settled, other.settled, never.settled) == (False, False, True)


def test_a_key_whose_copy_is_kept_is_counted_apart(ledger: Ledger) -> None:
    ledger.record(change("gone"), change("there"), rules=IntakeRules(new_keys=NewKeys.FRESH))
    ledger.record(change("gone", None))

    (docs,) = report(url_of(ledger.file), [MIRROR])

    assert docs.keys[State.FRESH] == 1
    assert docs.kept == 1
    assert docs.settled


def test_the_oldest_key_that_is_not_fresh_is_named(ledger: Ledger) -> None:
    ledger.record(change("young", "1", 9), change("old", "1", 2), change("done", "1", 1))
    (done,) = ledger.claim(1)
    ledger.settle(ended(done, Done(), 3))

    (docs,) = report(url_of(ledger.file), [MIRROR])

    assert (docs.oldest_stale_key, docs.oldest_stale_since) == ("old", at(2))


def test_a_key_that_is_retried_keeps_its_age(ledger: Ledger) -> None:
    ledger.record(change("a", "1", 2))
    ledger.settle(ended(ledger.claim(3)[0], Retry(timedelta(seconds=60)), 4))

    (docs,) = report(url_of(ledger.file), [MIRROR])

    assert docs.oldest_stale_since == at(2)


def test_coverage_is_reported(ledger: Ledger) -> None:
    ledger.run(ledger.journal.cover(MIRROR, Coverage(complete_as_of=at(5), lost_since=at(7), lost_reason="overflow")))

    (docs,) = report(url_of(ledger.file), [MIRROR])

    assert docs.coverage == Coverage(complete_as_of=at(5), lost_since=at(7), lost_reason="overflow")


def test_how_far_feeds_were_read_is_told_and_no_other_cursor(ledger: Ledger) -> None:
    second, first = place("feed b", "9", 5, event_at=4), place("feed a", "x", 6)
    for each in (second, first, place("listing docs:", "m"), place("FEED c", "1"), place("feed", "1")):
        ledger.record(cursor=each)
    ledger.record(cursor=place("feed c", "1"), mirror="other")

    docs, other, never = report(url_of(ledger.file), [MIRROR, "other", "never"])

    assert docs.sources == (first, second)
    assert other.sources == (place("feed c", "1"),)
    assert never.sources == ()


def test_of_unfinished_keys_those_that_need_a_person_come_first_then_the_oldest(ledger: Ledger) -> None:
    ledger.record(*(change(key, "1", seconds) for key, seconds in [("c", 1), ("b", 2), ("a", 3), ("parked", 4)]))
    claims = {row.key: row for row in ledger.claim(4)}
    ledger.settle(ended(claims["parked"], Park(), 5), ended(claims["c"], Done(), 5))

    rows = unfinished(url_of(ledger.file), MIRROR, 10)

    assert [row.key for row in rows] == ["parked", "b", "a"]
    assert [row.key for row in unfinished(url_of(ledger.file), MIRROR, 2)] == ["parked", "b"]
    assert unfinished(url_of(ledger.file), "other", 10) == []


def test_held_removals_are_counted_and_listed_with_what_is_parked(ledger: Ledger) -> None:
    ledger.record(*(change(key, "1", seconds) for key, seconds in [("young", 3), ("parked", 2), ("old", 1)]))
    claims = {row.key: row for row in ledger.claim(3)}
    ledger.settle(ended(claims["young"]), ended(claims["old"]), ended(claims["parked"], Park(), 4))
    ledger.record(change("old", None, 10), change("young", None, 20), rules=DELETE)

    (docs,) = report(url_of(ledger.file), [MIRROR])
    rows = waiting_for_a_person(url_of(ledger.file), MIRROR, 10)

    assert (docs.keys[State.HELD], docs.keys[State.PARKED], docs.kept) == (2, 1, 0)
    assert not docs.settled
    assert [(row.key, row.state) for row in rows] == [
        ("parked", State.PARKED),
        ("old", State.HELD),
        ("young", State.HELD),
    ]
    assert [row.key for row in waiting_for_a_person(url_of(ledger.file), MIRROR, 1)] == ["parked"]
    assert waiting_for_a_person(url_of(ledger.file), "other", 10) == []


def test_a_report_waits_for_no_writer(ledger: Ledger) -> None:
    ledger.record(change("a"))
    with closing(sqlite3.connect(ledger.file, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM objects")

        (docs,) = report(url_of(ledger.file), [MIRROR])

    assert docs.keys[State.STALE] == 1


@pytest.mark.parametrize("is_there", [True, False], ids=["a journal", "none yet"])
def test_whether_a_service_works_with_it_is_told(file: Path, is_there: bool) -> None:
    if is_there:
        Ledger(file).close()
    lock = ServiceLock(file)

    (before,), key_before = report(url_of(file), [MIRROR]), report_key(url_of(file), MIRROR, "a")
    lock.acquire()
    (docs,), key = report(url_of(file), [MIRROR]), report_key(url_of(file), MIRROR, "a")
    lock.release()

    assert (before.served, key_before.served) == (False, False)
    assert (docs.served, key.served) == (True, True)


def test_what_kept_a_mirror_is_told_of_that_mirror(ledger: Ledger) -> None:
    held = Condition(name="held", since=at(1), until=at(9), reason="refused")
    ledger.run(ledger.journal.set_conditions(MIRROR, [held]))

    assert conditions_of(url_of(ledger.file), MIRROR) == [held]
    assert conditions_of(url_of(ledger.file), "other") == []
    assert conditions_of(url_of(ledger.file.with_name("none.db")), MIRROR) == []

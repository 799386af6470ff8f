"""Removals that wait, on a real file: counted, let go together or not at all, and let go or forgotten by a person."""

import pytest

from mirrord.decisions.removals import Decision, RemovalLimit
from mirrord.decisions.staleness import IntakeRules, NewKeys, OnRemoved
from mirrord.model.step import Done
from tests.journal.ledger import DELETE, Ledger, at, change, ended

ADOPT = IntakeRules(on_removed=OnRemoved.DELETE, new_keys=NewKeys.FRESH)
FIVE = RemovalLimit(count=5, fraction=1)


def keys(count: int, letter: str = "k") -> list[str]:
    return [f"{letter}{number:03}" for number in range(count)]


@pytest.fixture
def mirrored(ledger: Ledger) -> Ledger:
    """A journal of 100 keys that the bucket has."""
    ledger.record(*(change(key) for key in keys(100)), rules=ADOPT)
    return ledger


def remove(ledger: Ledger, *of: str, seconds: float = 0) -> None:
    ledger.record(*(change(key, None, seconds) for key in of), rules=DELETE)


def test_where_nothing_waits_nothing_is_decided(mirrored: Ledger) -> None:
    assert mirrored.decide_removals(RemovalLimit()) == Decision()


def test_few_removals_go_and_are_due_at_once(mirrored: Ledger) -> None:
    remove(mirrored, *keys(5))

    decision = mirrored.decide_removals(FIVE, 7)

    claims = mirrored.claim(7)
    assert decision == Decision(going=5)
    assert [(row.key, row.wanted, row.due_at) for row in claims] == [(key, None, at(7)) for key in keys(5)]


def test_many_removals_stay_held_every_one_of_them(mirrored: Ledger) -> None:
    remove(mirrored, *keys(6))

    decision = mirrored.decide_removals(FIVE)

    assert decision == Decision(held=6, sample=tuple(keys(5)))
    assert mirrored.claim(1000) == []
    assert mirrored.next_due() is None


def test_the_fraction_is_of_all_keys_that_the_origin_had(mirrored: Ledger) -> None:
    limit = RemovalLimit(count=1000, fraction=0.1)
    remove(mirrored, *keys(10))

    first = mirrored.decide_removals(limit)
    remove(mirrored, *keys(100)[10:20], seconds=61)  # a tenth of a hundred, but only 90 were left
    second = mirrored.decide_removals(limit, 61)

    assert first == Decision(going=10)
    assert second.held == 10


def test_the_last_key_of_all_may_go(ledger: Ledger) -> None:
    ledger.record(change("a"), rules=ADOPT)
    remove(ledger, "a")

    assert ledger.decide_removals(RemovalLimit()) == Decision(going=1)


@pytest.mark.parametrize(("seconds", "held"), [(59.9, 3), (60, 0)], ids=["within-a-minute", "after-a-minute"])
@pytest.mark.parametrize("deleted", [False, True], ids=["let-go", "deleted"])
def test_removals_that_just_went_count_too(mirrored: Ledger, seconds: float, held: int, deleted: bool) -> None:
    remove(mirrored, *keys(3))
    mirrored.decide_removals(FIVE)
    if deleted:
        mirrored.settle(*(ended(claim, Done(), 1) for claim in mirrored.claim(0)), rules=DELETE)

    remove(mirrored, *keys(6)[3:], seconds=seconds)

    assert mirrored.decide_removals(FIVE, seconds).held == held


def test_a_key_that_came_back_waits_no_longer(mirrored: Ledger) -> None:
    remove(mirrored, *keys(6))
    before = mirrored.decide_removals(FIVE)
    mirrored.record(change("k000", "1", 5), change("k001", "2", 5), rules=DELETE)

    after = mirrored.decide_removals(FIVE, 10)

    assert (before.held, after) == (6, Decision(going=4))
    assert {key: mirrored.states()[key] for key in keys(3)} == {"k000": "fresh", "k001": "stale", "k002": "stale"}
    assert {row.key: row.wanted for row in mirrored.claim(10)}["k001"] == "=2"


def test_a_key_that_came_back_does_not_count_as_just_gone(mirrored: Ledger) -> None:
    remove(mirrored, *keys(5))
    mirrored.record(*(change(key, "1", 5) for key in keys(5)), rules=DELETE)
    remove(mirrored, *keys(10)[5:], seconds=10)

    assert mirrored.decide_removals(FIVE, 10) == Decision(going=5)


def test_mirrors_are_decided_apart(mirrored: Ledger) -> None:
    mirrored.record(change("a"), mirror="other", rules=ADOPT)
    mirrored.record(change("a", None), mirror="other", rules=DELETE)
    remove(mirrored, *keys(6))

    decision = mirrored.decide_removals(FIVE)

    assert decision.held == 6
    assert mirrored.release(1, mirror="other") == 1
    assert [row.key for row in mirrored.claim(1, mirror="other")] == ["a"]
    assert mirrored.claim(1) == []


@pytest.mark.parametrize(("drop", "state"), [(False, "stale"), (True, "fresh")], ids=["let-go", "forgotten"])
def test_a_person_decides_of_all_that_are_held_and_of_nothing_else(mirrored: Ledger, drop: bool, state: str) -> None:
    mirrored.record(change("new"))
    remove(mirrored, *keys(50))
    mirrored.decide_removals(FIVE)

    released = mirrored.release(9, drop=drop)

    held = dict.fromkeys(keys(50), state)
    assert released == 50
    assert mirrored.states() == dict.fromkeys(keys(100), "fresh") | held | {"new": "stale"}
    assert len(mirrored.claim(9)) == (1 if drop else 51)
    assert mirrored.release(10, drop=drop) == 0


def test_a_forgotten_removal_leaves_a_row_at_rest(mirrored: Ledger) -> None:
    remove(mirrored, "k000", seconds=5)
    mirrored.release(9, drop=True)

    (row,) = mirrored.select("SELECT wanted, stale_since, due_at, attempts FROM objects WHERE key = 'k000'")

    assert row == (None, None, None, 0)


def test_the_forgotten_are_asked_for_again_only_when_they_come_back_changed(mirrored: Ledger) -> None:
    remove(mirrored, "k000", "k001")
    mirrored.release(5, drop=True)

    recorded = mirrored.record(change("k000", "1", 9), change("k001", "2", 9), rules=DELETE)

    assert recorded.stale == 1
    assert mirrored.claim_keys(9) == ["k001"]

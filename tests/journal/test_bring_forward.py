"""Keys that wait because of an outage that has ended: due again, the oldest first, and nothing else is touched."""

from dataclasses import replace
from datetime import timedelta

import pytest

from mirrord.model.attempt import Operation, Outcome
from mirrord.model.pending import Pending
from mirrord.model.row import ObjectRow
from mirrord.model.step import Hold, NextStep, Park, Retry
from tests.journal.ledger import DELETE, MIRROR, Ledger, at, change, ended

LONG = Retry(timedelta(hours=1))
OUTAGE = [Outcome.UNAVAILABLE, Outcome.ORIGIN_FAILING]
PULL = Pending(operation=Operation.PREFETCH, began_at=at(1), until=at(5000), put_after=2**53 + 1)


def fails(ledger: Ledger, *claims: ObjectRow, step: NextStep = LONG, seconds: float = 10, **also: object) -> None:
    """How claims end in an outage."""
    values = {"outcome": Outcome.UNAVAILABLE, **also}
    ledger.settle(*(ended(claim, step, seconds, **values) for claim in claims))


def bring_forward(ledger: Ledger, outcomes: list[Outcome] = OUTAGE, mirror: str = MIRROR) -> int:
    count: int = ledger.run(ledger.journal.bring_forward(mirror, outcomes))
    return count


def test_after_an_outage_keys_are_due_in_the_order_in_which_they_became_stale(ledger: Ledger) -> None:
    ledger.record(*(change(f"k{number}", "1", number) for number in range(5)))
    claims = ledger.claim(9)
    for number, claim in enumerate(reversed(claims)):  # their retries come the other way round
        fails(ledger, claim, step=Retry(timedelta(minutes=10 + number)))

    brought = bring_forward(ledger)

    assert brought == 5
    assert [key for _ in range(5) for key in ledger.claim_keys(10, 1)] == [f"k{number}" for number in range(5)]


def test_a_key_that_has_waited_is_before_one_that_changed_later(ledger: Ledger) -> None:
    ledger.record(change("waits", "1", 3))
    fails(ledger, *ledger.claim(3))
    ledger.record(change("older", "1", 2), change("newer", "1", 4))

    bring_forward(ledger)

    assert ledger.claim_keys(20) == ["older", "waits", "newer"]


@pytest.mark.parametrize("outcome", Outcome)
def test_only_what_ended_so_is_brought_forward(ledger: Ledger, outcome: Outcome) -> None:
    ledger.record(change("a"))
    fails(ledger, *ledger.claim(0), outcome=outcome)

    brought = bring_forward(ledger)

    assert brought == (1 if outcome in OUTAGE else 0)
    assert ledger.claim_keys(20) == (["a"] if outcome in OUTAGE else [])
    assert bring_forward(ledger, []) == 0


def test_a_held_mirrors_keys_are_brought_forward_too(ledger: Ledger) -> None:
    ledger.record(change("a"))
    fails(ledger, *ledger.claim(0), step=Hold(timedelta(hours=1)))

    assert bring_forward(ledger) == 1
    assert ledger.claim_keys(20) == ["a"]


def test_a_key_whose_pull_may_run_waits_for_its_look(ledger: Ledger) -> None:
    ledger.record(change("runs"), change("waits"))
    runs, waits = sorted(ledger.claim(0), key=lambda row: row.key)
    fails(ledger, runs, pending=PULL)
    fails(ledger, waits)

    assert bring_forward(ledger) == 1
    assert ledger.claim_keys(20) == ["waits"]


def test_what_is_claimed_parked_held_or_fresh_stays_as_it_is(ledger: Ledger) -> None:
    ledger.record(*(change(key) for key in ("claimed", "parked", "held", "fresh")))
    claims = {row.key: row for row in ledger.claim(0)}
    fails(ledger, *claims.values(), step=Retry(timedelta(seconds=1)))
    claims = {row.key: row for row in ledger.claim(20)}
    fails(ledger, claims["parked"], step=Park(), seconds=21)
    fails(ledger, claims["held"], seconds=21)
    ledger.record(change("held", None, 22), rules=DELETE)
    ledger.settle(ended(claims["fresh"], seconds=21, outcome=Outcome.UNAVAILABLE))
    before = ledger.select("SELECT * FROM objects")

    brought = bring_forward(ledger)

    assert ledger.states() == {"claimed": "claimed", "parked": "parked", "held": "held", "fresh": "fresh"}
    assert brought == 0
    assert ledger.select("SELECT * FROM objects") == before


def test_what_is_brought_forward_counts_its_attempts_on(ledger: Ledger) -> None:
    ledger.record(change("a"))
    fails(ledger, *ledger.claim(0))

    bring_forward(ledger)

    (row,) = ledger.claim(20)
    assert (row.attempts, row.strikes, row.tries, row.stale_since, row.due_at) == (1, 1, 1, at(0), at(0))


def test_what_was_brought_forward_is_not_brought_again(ledger: Ledger) -> None:
    ledger.record(change("a"), change("b"))
    fails(ledger, *ledger.claim(0))

    assert bring_forward(ledger) == 2
    assert ledger.next_due() == at(0)
    assert bring_forward(ledger) == 0


def test_another_mirrors_keys_go_on_waiting(ledger: Ledger) -> None:
    ledger.record(change("a"), mirror="other")
    fails(ledger, *ledger.claim(0, mirror="other"))

    assert bring_forward(ledger) == 0
    assert bring_forward(ledger, mirror="other") == 1


# -- the order of claims after give-backs -----------------------------------------------------------------


def test_keys_given_back_unasked_are_claimed_in_the_order_they_were_in(ledger: Ledger) -> None:
    ledger.record(*(change(f"k{number}", "1", number) for number in range(6)))
    first = ledger.claim(9, 3)
    ledger.settle(*(ended(claim, Retry(timedelta(0)), 10, attempted=False) for claim in reversed(first)))

    order = [key for _ in range(6) for key in ledger.claim_keys(11, 1)]

    assert order == [f"k{number}" for number in range(6)]


def test_a_key_given_back_with_a_pause_loses_its_place_and_one_that_was_asked_for_goes_to_the_end(
    ledger: Ledger,
) -> None:
    ledger.record(*(change(f"k{number}", "1", number) for number in range(4)))
    k0, k1, k2 = ledger.claim(9, 3)
    ledger.settle(
        ended(k0, Retry(timedelta(0)), 10),
        ended(k1, Retry(timedelta(seconds=5)), 10, attempted=False),
        ended(k2, Retry(timedelta(0)), 10, attempted=False),
    )

    assert ledger.claim_keys(14) == ["k2", "k3", "k0"]
    assert ledger.claim_keys(15) == ["k1"]


def test_a_key_brought_forward_and_given_back_keeps_its_new_place(ledger: Ledger) -> None:
    ledger.record(change("old", "1", 1))
    fails(ledger, *ledger.claim(1))
    ledger.record(change("new", "1", 2))
    bring_forward(ledger)
    (old,) = ledger.claim(20, 1)

    ledger.settle(ended(old, Retry(timedelta(0)), 20, attempted=False))

    assert ledger.claim_keys(20) == ["old", "new"]


# -- a pull whose end nobody saw ---------------------------------------------------------------------------


def test_a_pull_is_known_of_until_an_attempt_ends_it(ledger: Ledger) -> None:
    ledger.record(change("a"))
    (claim,) = ledger.claim(0)
    fails(ledger, claim, step=Retry(timedelta(seconds=1)), pending=PULL)

    (looks,) = ledger.claim(20)
    ledger.settle(ended(looks, Retry(timedelta(0)), 20, attempted=False))
    (again,) = ledger.claim(20)
    ledger.settle(
        ended(again, Retry(timedelta(seconds=1)), 20, attempted=False, pending=replace(PULL, looks=1, task="t"))
    )
    (ends,) = ledger.claim(30)
    ledger.settle(ended(ends, seconds=30))

    assert looks.pending == again.pending == PULL
    assert ends.pending == replace(PULL, looks=1, task="t")
    assert ledger.select("SELECT state, pending FROM objects") == [("fresh", None)]


def test_a_pull_is_known_of_after_its_lease_lapsed_and_after_the_service_died(ledger: Ledger) -> None:
    ledger.record(change("a"))
    fails(ledger, *ledger.claim(0), step=Retry(timedelta(seconds=1)), pending=PULL)
    ledger.claim(20)

    (lapsed,) = ledger.claim(120)
    ledger.give_back_orphans(121)
    (orphan,) = ledger.claim(150)

    assert (lapsed.pending, orphan.pending) == (PULL, PULL)


# -- keys that an outage gave up -------------------------------------------------------------------------


def revive(ledger: Ledger, since: float = 5, attempts_most: int = 12) -> int:
    count: int = ledger.run(ledger.journal.revive(MIRROR, OUTAGE, at(since), at(100), attempts_most))
    return count


def test_what_was_parked_during_an_outage_is_due_again_and_keeps_its_attempts(ledger: Ledger) -> None:
    ledger.record(change("a"), change("b"))
    fails(ledger, *ledger.claim(0), step=Park())

    revived = revive(ledger)

    (one, other) = ledger.claim(100)
    assert revived == 2
    assert {one.key, other.key} == {"a", "b"}
    assert (one.attempts, one.strikes) == (1, 0)


def test_what_was_parked_before_it_or_for_a_reason_of_its_own_stays_parked(ledger: Ledger) -> None:
    ledger.record(change("early"), change("missing"))
    early, missing = ledger.claim(0)
    fails(ledger, early, step=Park(), seconds=2)
    fails(ledger, missing, step=Park(), outcome=Outcome.ORIGIN_MISSING)

    assert revive(ledger) == 0


def test_a_key_comes_back_once_and_not_for_ever(ledger: Ledger) -> None:
    ledger.record(change("a"))
    fails(ledger, *ledger.claim(0), step=Park())

    assert revive(ledger, attempts_most=0) == 0

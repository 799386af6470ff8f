"""What a person asks for: which keys it makes due, which it leaves, and what a call that is out makes of it."""

from datetime import timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mirrord.decisions.staleness import IntakeRules, NewKeys
from mirrord.journal import asking
from mirrord.journal.asking import Asked, Left, LeftKey
from mirrord.journal.report import unfinished
from mirrord.model.attempt import Operation
from mirrord.model.pending import Pending
from mirrord.model.row import ObjectRow, State, Why
from mirrord.model.step import Done, NextStep, Park, Retry
from tests.journal.ledger import ALL, DELETE, LEASE, MIRROR, Ledger, at, change, ended, url_of

FRESH = IntakeRules(new_keys=NewKeys.FRESH)
LATER = Retry(timedelta(seconds=60))


def row_of(ledger: Ledger, key: str) -> ObjectRow:
    """A key that is not fresh."""
    (row,) = [row for row in unfinished(url_of(ledger.file), MIRROR, ALL) if row.key == key]
    return row


def retry(ledger: Ledger, *keys: str, seconds: float = 50) -> Asked:
    asked: Asked = ledger.run(ledger.journal.retry(MIRROR, keys or None, at(seconds)))
    return asked


def refresh(ledger: Ledger, *keys: str, seconds: float = 50) -> Asked:
    asked: Asked = ledger.run(ledger.journal.refresh(MIRROR, keys or None, at(seconds)))
    return asked


@pytest.fixture
def every(ledger: Ledger) -> Ledger:
    """One key in every state, named for it; `gone` is kept in the bucket, `later` was tried once; of `docs`."""
    live = ("parked", "later", "unlinked", "held", "gone", "claimed")
    ledger.record(*(change(key) for key in live))
    claims = {row.key: row for row in ledger.claim(0)}
    ledger.settle(
        ended(claims["parked"], Park(), 1, status=404),
        ended(claims["later"], LATER, 1),
        *(ended(claims[key], Done(), 1, bucket_hash="Fh") for key in ("unlinked", "held", "gone")),
    )
    ledger.record(change("gone", None, 2))
    ledger.record(change("unlinked", None, 2), rules=DELETE)
    ledger.release(3)
    (removal,) = ledger.claim(3)
    ledger.settle(ended(removal, Park(), 4, status=608), rules=DELETE)
    ledger.record(change("held", None, 5), rules=DELETE)
    ledger.record(change("fresh", "1", 5), rules=FRESH)
    ledger.record(change("parked"), mirror="other")
    return ledger


EVERY = {
    "parked": "parked",
    "later": "stale",
    "unlinked": "parked",
    "held": "held",
    "gone": "fresh",
    "claimed": "claimed",
    "fresh": "fresh",
}


def states(ledger: Ledger) -> dict[str, str]:
    return dict(ledger.select(f"SELECT key, state FROM objects WHERE mirror = '{MIRROR}'"))  # type: ignore[arg-type]  # pairs


# -- retry -----------------------------------------------------------------------------------------


def test_every_parked_key_is_made_due_as_if_it_had_never_been_tried(every: Ledger) -> None:
    asked = retry(every)

    row = row_of(every, "parked")
    assert asked == Asked(taken={State.PARKED: 2})
    assert (row.state, row.due_at, row.stale_since) == (State.STALE, at(50), at(0))
    assert (row.attempts, row.strikes, row.tries) == (0, 0, 1)
    assert states(every) == EVERY | {"parked": "stale", "unlinked": "stale"}
    assert sorted(every.claim_keys(50)) == ["parked", "unlinked"]


def test_a_parked_removal_is_asked_for_on_the_condition_that_it_was_parked_with(every: Ledger) -> None:
    retry(every, "unlinked")

    (removal,) = every.claim(50)
    assert (removal.key, removal.wanted, removal.bucket_hash) == ("unlinked", None, "Fh")


def test_only_the_named_keys_are_retried_and_the_others_are_told_apart(every: Ledger) -> None:
    asked = retry(every, "later", "nowhere", "parked", "held", "parked")

    assert asked.taken == {State.PARKED: 1}
    assert asked.left == {Left.NOT_PARKED: 2, Left.UNKNOWN: 1}
    assert asked.named == (
        LeftKey("later", Left.NOT_PARKED, State.STALE),
        LeftKey("nowhere", Left.UNKNOWN, None),
        LeftKey("held", Left.NOT_PARKED, State.HELD),
    )
    assert states(every) == EVERY | {"parked": "stale"}


def test_another_mirrors_keys_stay_as_they_are(every: Ledger) -> None:
    before = every.select("SELECT * FROM objects WHERE mirror = 'other'")

    retry(every)
    refresh(every)

    assert every.select("SELECT * FROM objects WHERE mirror = 'other'") == before


# -- refresh ---------------------------------------------------------------------------------------


def test_every_key_that_the_origin_has_is_made_due_and_no_removal(every: Ledger) -> None:
    asked = refresh(every)

    assert asked.taken == {State.FRESH: 1, State.STALE: 1, State.PARKED: 1, State.CLAIMED: 1}
    assert asked.left == {Left.HELD: 1, Left.GONE: 2}
    assert asked.named == ()
    assert states(every) == EVERY | {"parked": "stale", "fresh": "stale"}
    assert sorted(every.claim_keys(50)) == ["fresh", "later", "parked"]


def test_a_fresh_key_is_stale_from_now_on_because_a_person_asked(every: Ledger) -> None:
    refresh(every, "fresh")

    row = row_of(every, "fresh")
    assert (row.state, row.why) == (State.STALE, Why.ASKED)
    assert (row.stale_since, row.due_at) == (at(50), at(50))
    assert (row.attempts, row.strikes, row.confirmed) == (0, 0, None)


@pytest.mark.parametrize("key", ["fresh", "later", "parked"])
def test_a_change_that_is_taken_back_does_not_make_it_fresh_unasked(every: Ledger, key: str) -> None:
    refresh(every, key)
    every.record(change(key, "2", 51))
    every.record(change(key, "1", 52))

    assert row_of(every, key).state is State.STALE


def test_a_key_that_waits_longer_keeps_its_place(every: Ledger) -> None:
    every.record(change("later", "2", 7), change("fresh", "2", 8))

    refresh(every)

    assert row_of(every, "later").due_at == at(7)
    assert every.claim_keys(50)[:2] == ["later", "fresh"]


def test_a_call_that_is_out_makes_nothing_fresh_that_was_asked_for_meanwhile(ledger: Ledger) -> None:
    ledger.record(change("a"))
    (before,) = ledger.claim(0)

    refresh(ledger, "a", seconds=5)
    ledger.settle(ended(before, Done(), 6))

    row = row_of(ledger, "a")
    assert (row.state, row.due_at, row.confirmed, row.why) == (State.STALE, at(6), None, Why.ASKED)
    (again,) = ledger.claim(6)
    ledger.settle(ended(again, Done(), 7))
    assert ledger.states() == {"a": "fresh"}


@pytest.mark.parametrize("step", [LATER, Park()], ids=["stale", "parked"])
def test_a_pull_that_may_still_be_running_is_not_what_was_asked_for(ledger: Ledger, step: NextStep) -> None:
    ledger.record(change("a"))
    (claim,) = ledger.claim(0)
    pending = Pending(
        operation=Operation.PREFETCH, began_at=at(0), until=at(90), put_after=1, generation=claim.generation
    )
    ledger.settle(ended(claim, step, 1, pending=pending))

    refresh(ledger, "a")

    row = row_of(ledger, "a")
    assert row.pending == pending
    assert row.generation == pending.generation + 1


def test_without_such_a_pull_no_generation_is_counted(every: Ledger) -> None:
    refresh(every, "later", "parked")

    assert [row_of(every, key).generation for key in ("later", "parked")] == [1, 1]


def test_what_cannot_be_refreshed_is_named_with_its_reason(every: Ledger) -> None:
    asked = refresh(every, "gone", "held", "unlinked", "nowhere", "claimed")

    assert asked.taken == {State.CLAIMED: 1}
    assert asked.named == (
        LeftKey("gone", Left.GONE, State.FRESH),
        LeftKey("held", Left.HELD, State.HELD),
        LeftKey("unlinked", Left.GONE, State.PARKED),
        LeftKey("nowhere", Left.UNKNOWN, None),
    )
    assert states(every) == EVERY


def test_many_keys_are_taken_page_by_page(ledger: Ledger) -> None:
    count = 2 * asking.PAGE + 3
    ledger.record(*(change(f"{number:05}") for number in range(count)), rules=FRESH)

    everything, named = refresh(ledger), refresh(ledger, *(f"{number:05}" for number in range(count + 1)))

    assert everything == Asked(taken={State.FRESH: count})
    assert (named.taken, named.left) == ({State.STALE: count}, {Left.UNKNOWN: 1})
    assert len(ledger.claim(50)) == count


def test_as_many_as_a_page_are_all_taken(ledger: Ledger) -> None:
    ledger.record(*(change(f"{number:05}") for number in range(asking.PAGE)), rules=FRESH)

    assert refresh(ledger) == Asked(taken={State.FRESH: asking.PAGE})


def test_of_nothing_nothing_is_taken(ledger: Ledger) -> None:
    assert (retry(ledger), refresh(ledger)) == (Asked(), Asked())


# -- any order -------------------------------------------------------------------------------------

KEYS = ["a", "a/b", "～", "😀"]


@cache
def empty_journal() -> bytes:
    """A journal with its tables; making them anew for every example would take most of the time."""
    with TemporaryDirectory() as directory:
        file = Path(directory) / "journal.db"
        Ledger(file).close()
        return file.read_bytes()


class AskedForInAnyOrder(RuleBasedStateMachine):
    """After `refresh --all` every live key is due, after `retry` nothing is parked; whatever went before."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = TemporaryDirectory()
        file = Path(self.directory.name) / "journal.db"
        file.write_bytes(empty_journal())
        self.ledger = Ledger(file)
        self.now = 0
        self.versions = 0
        self.out: list[ObjectRow] = []
        self.asked_at: dict[str, int] = {}
        """Of every key that was asked for: when last."""
        self.called_at: dict[str, int] = {}
        """Of every key that was claimed: when last."""

    def teardown(self) -> None:
        self.ledger.close()
        self.directory.cleanup()

    def rows(self) -> dict[str, tuple[str, str | None, int]]:
        """Each key's state, wanted version, and due time in microseconds."""
        found = self.ledger.select("SELECT key, state, wanted, due_at FROM objects")
        return {key: (state, wanted, due_at) for key, state, wanted, due_at in found}

    @rule(key=st.sampled_from(KEYS), there=st.sampled_from([True, True, False]))
    def a_change_comes_in(self, key: str, there: bool) -> None:
        self.now += 1
        self.versions += 1
        self.ledger.record(change(key, str(self.versions) if there else None, self.now), rules=DELETE)

    @rule(most=st.sampled_from([1, ALL]))
    def is_claimed(self, most: int) -> None:
        self.now += 1
        claims = self.ledger.claim(self.now, most)
        self.out += claims
        self.called_at.update((row.key, self.now) for row in claims)

    @precondition(lambda self: self.out)
    @rule(step=st.sampled_from([Done(), Retry(timedelta(seconds=500)), Park(), Park()]))
    def a_claim_settles(self, step: NextStep) -> None:
        self.now += 1
        self.ledger.settle(ended(self.out.pop(), step, self.now), rules=DELETE)

    @rule()
    def claims_lapse(self) -> None:
        self.now += int(LEASE.total_seconds())

    @rule(drop=st.booleans())
    def removals_are_released(self, drop: bool) -> None:
        self.ledger.release(self.now, drop=drop)

    @rule()
    def all_are_refreshed(self) -> None:
        self.now += 1
        before = self.rows()

        refresh(self.ledger, seconds=self.now)

        for key, (state, wanted, due_at) in self.rows().items():
            if wanted is None:
                assert (state, wanted, due_at) == before[key]
                continue
            assert state == ("claimed" if before[key][0] == "claimed" else "stale")
            assert state == "claimed" or due_at <= at(self.now).timestamp() * 1e6
            self.asked_at[key] = self.now

    @rule()
    def all_are_retried(self) -> None:
        self.now += 1
        before = self.rows()

        asked = retry(self.ledger, seconds=self.now)

        after = self.rows()
        assert asked.taken.get(State.PARKED, 0) == sum(state == "parked" for state, *_ in before.values())
        assert {key: after[key] for key in before if before[key][0] != "parked"} == {
            key: row for key, row in before.items() if row[0] != "parked"
        }
        assert all(state != "parked" for state, *_ in after.values())

    @invariant()
    def nothing_that_was_asked_for_is_fresh_before_it_was_called_for(self) -> None:
        for key, (state, wanted, _) in self.rows().items():
            if state == "fresh" and wanted is not None and key in self.asked_at:
                assert self.called_at.get(key, -1) > self.asked_at[key]


AskedForInAnyOrder.TestCase.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestAnyOrder = AskedForInAnyOrder.TestCase

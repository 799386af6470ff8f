"""Any order of changes, removals, claims, settlements, lapses and restarts, on a real file, against a few dicts."""

from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mirrord.journal.history import KEPT
from mirrord.model.attempt import Operation, Outcome
from mirrord.model.pending import Pending
from mirrord.model.row import ObjectRow, State
from mirrord.model.step import Done, NextStep, Park, Retry
from tests.journal.ledger import ALL, DELETE, LEASE, MIRROR, Ledger, at, change, ended

KEYS = ["a", "a/b", "～", "😀"]
NEWS = st.tuples(st.sampled_from(KEYS), st.sampled_from([True, True, False]), st.none() | st.sampled_from("123456789"))
"""A key, whether the origin has it, and the order of an event that may have been overtaken."""
LEASE_S = LEASE.total_seconds()
pulls = st.none() | st.builds(
    Pending,
    operation=st.just(Operation.PREFETCH),
    began_at=st.just(at(0)),
    until=st.just(at(600)),
    put_after=st.just(2**53 + 1),
    looks=st.integers(0, 3),
)


@dataclass
class Key:
    """What the promises say of one key."""

    version: str | None
    due_at: float | None
    holder: int | None = None
    """The claim that is out."""
    lapses_at: float = 0
    changed: bool = False
    """Whether a change came in while the claim was out."""
    held: bool = False
    """Whether it is a removal that waits for the guard."""
    since: float | None = None
    """When it became stale."""
    was_due: float = 0
    """When it was due before it was claimed."""
    failed: bool = False
    """Whether its last attempt did."""
    pending: Pending | None = None
    tries: int = 0

    @property
    def wanted(self) -> str | None:
        return None if self.version is None else f"={self.version}"

    def is_to_be_done(self, due_at: float) -> None:
        """Nobody has it any more: it is due, or the guard's when it is a removal."""
        self.held = self.version is None
        self.due_at = None if self.held else due_at
        self.holder, self.changed = None, False


@cache
def empty_journal() -> bytes:
    """A journal with its tables; making them anew for every example would take most of the time."""
    with TemporaryDirectory() as directory:
        file = Path(directory) / "journal.db"
        Ledger(file).close()
        return file.read_bytes()


class JournalOnAFile(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = TemporaryDirectory()
        self.file = Path(self.directory.name) / "journal.db"
        self.file.write_bytes(empty_journal())
        self.ledger = Ledger(self.file)
        self.now = 0
        self.keys: dict[str, Key] = {}
        self.out: list[ObjectRow] = []
        self.late: list[ObjectRow] = []
        self.versions = 0
        self.orders: dict[str, str] = {}

    def teardown(self) -> None:
        self.ledger.close()
        self.directory.cleanup()

    # -- what may happen -----------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([1, 10, int(LEASE_S)]))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds

    @rule(news=st.lists(NEWS, min_size=1, max_size=4))
    def changes_come_in(self, news: list[tuple[str, bool, str | None]]) -> None:
        self.now += 1
        changes, latest = [], {}
        for key, there, order in news:
            self.versions += 1
            news_of_it = change(key, str(self.versions) if there else None, self.now)
            changes.append(replace(news_of_it, order=order))
            if order is None or order >= self.orders.get(key, ""):
                latest[key] = news_of_it.version
                self.orders[key] = order or self.orders.get(key, "")
        new = {key: version for key, version in latest.items() if version != self._wanted(key)}
        for key, version in new.items():
            known = self.keys.setdefault(key, Key(None, None))
            known.version = version and version[1:]
            if known.holder is None:
                known.is_to_be_done(self.now)
                known.since = self.now if known.since is None else known.since
            else:
                known.changed = True

        recorded = self.ledger.record(*changes, rules=DELETE)

        assert recorded.new + recorded.changed + recorded.removed == len(new)
        assert recorded.removed == sum(version is None for version in new.values())

    def _wanted(self, key: str) -> str | None:
        return self.keys[key].wanted if key in self.keys else None

    @rule(drop=st.sampled_from([False, False, True]))
    def held_removals_are_released(self, drop: bool) -> None:
        self.now += 1
        held = [known for known in self.keys.values() if known.held]

        released = self.ledger.release(self.now, drop=drop)

        assert released == len(held)
        for known in held:
            known.held, known.due_at = False, None if drop else self.now
            known.since = None if drop else known.since

    @rule(most=st.sampled_from([1, 2, ALL]))
    def is_claimed(self, most: int) -> None:
        for known in self.keys.values():
            if known.holder is not None and known.lapses_at <= self.now:
                known.is_to_be_done(self.now)
        due = {key: known.due_at for key, known in self.keys.items() if known.due_at is not None}
        due = {key: due_at for key, due_at in due.items() if due_at <= self.now}

        claims = self.ledger.claim(self.now, most)

        # the oldest, and each of them once; which of several that are equally old is not promised
        assert sorted(due[row.key] for row in claims) == sorted(due.values())[:most]
        assert [due[row.key] for row in claims] == sorted(due[row.key] for row in claims)
        assert len({row.key for row in claims}) == len(claims)
        for row in claims:
            known = self.keys[row.key]
            assert known.holder is None
            assert row.wanted == known.wanted
            assert (row.state, row.lease_until) == (State.CLAIMED, at(self.now) + LEASE)
            assert (row.pending, row.tries) == (known.pending, known.tries)
            known.holder, known.due_at, known.lapses_at = row.claims, None, self.now + LEASE_S
            known.was_due = due[row.key]
            self.out.append(row)
        self._sort_out()

    @precondition(lambda self: self.out)
    @rule(data=st.data(), step=st.sampled_from([Done(), Retry(timedelta(seconds=5)), Park()]))
    def claims_settle(self, data: st.DataObject, step: NextStep) -> None:
        self.now += 1
        claims = self._some_in_time(data)
        pending = None if step == Done() else data.draw(pulls)
        outcome = Outcome.REFRESHED if step == Done() else Outcome.UNAVAILABLE
        ends = [ended(claim, step, self.now, outcome=outcome, pending=pending) for claim in claims]

        rows = self.ledger.settle(*ends, rules=DELETE)

        assert {row.key for row in rows} == {claim.key for claim in claims}
        for row in rows:
            known = self.keys[row.key]
            known.tries, known.pending, known.failed = known.tries + 1, pending, step != Done()
            if known.changed:
                known.is_to_be_done(self.now)
            else:
                known.due_at = self.now + 5 if isinstance(step, Retry) else None
                known.since = None if step == Done() else known.since
                known.holder = None
            assert row.wanted == known.wanted
        self._sort_out()

    @precondition(lambda self: self.out)
    @rule(data=st.data(), pause_s=st.sampled_from([0, 0, 5]))
    def claims_are_given_back(self, data: st.DataObject, pause_s: int) -> None:
        self.now += 1
        claims = self._some_in_time(data)
        pending = data.draw(pulls)
        step = Retry(timedelta(seconds=pause_s))

        self.ledger.settle(
            *(ended(claim, step, self.now, attempted=False, pending=pending) for claim in claims), rules=DELETE
        )

        for claim in claims:
            known = self.keys[claim.key]
            known.pending = pending or known.pending
            if known.changed:
                known.is_to_be_done(self.now)
            else:
                known.due_at = self.now + pause_s if pause_s else known.was_due
                known.holder = None
        self._sort_out()

    @rule()
    def an_outage_ends(self) -> None:
        waiting = [
            known
            for known in self.keys.values()
            if known.due_at is not None and known.failed and known.pending is None and known.due_at != known.since
        ]

        brought = self.ledger.run(self.ledger.journal.bring_forward(MIRROR, [Outcome.UNAVAILABLE]))

        assert brought == len(waiting)
        for known in waiting:
            known.due_at = known.since

    def _some_in_time(self, data: st.DataObject) -> list[ObjectRow]:
        """Claims that are out; one whose lease has ended settles nothing, though nobody took its key."""
        claims = data.draw(st.lists(st.sampled_from(self.out), min_size=1, unique_by=lambda row: row.key))
        return [row for row in claims if self.now < self.keys[row.key].lapses_at]

    @precondition(lambda self: self.late)
    @rule(data=st.data(), step=st.sampled_from([Done(), Retry(timedelta(0)), Park()]))
    def a_lapsed_claim_settles(self, data: st.DataObject, step: NextStep) -> None:
        claim = data.draw(st.sampled_from(self.late))
        before = self.ledger.select("SELECT * FROM objects")

        rows = self.ledger.settle(ended(claim, step, self.now))

        assert rows == []
        assert self.ledger.select("SELECT * FROM objects") == before

    @rule()
    def service_dies_and_another_starts(self) -> None:
        self.ledger.close()
        self.ledger = Ledger(self.file)

        given_back = self.ledger.give_back_orphans(self.now, rules=DELETE)

        orphans = [known for known in self.keys.values() if known.holder is not None]
        assert given_back == len(orphans)
        for known in orphans:
            known.is_to_be_done(min(known.lapses_at, self.now + 10))
        self._sort_out()

    def _sort_out(self) -> None:
        """Claims that are out no longer can only come late."""
        claims, self.out = self.out, []
        for row in claims:
            (self.out if self.keys[row.key].holder == row.claims else self.late).append(row)

    # -- what always holds ---------------------------------------------------------------------------

    @invariant()
    def the_newest_orders_are_remembered(self) -> None:
        orders = dict(self.ledger.select("SELECT key, at_text FROM orders"))

        assert orders == {key: order for key, order in self.orders.items() if order}

    @invariant()
    def every_key_has_one_row_with_the_last_version(self) -> None:
        assert self.ledger.known() == [(key, self.keys[key].wanted) for key in sorted(self.keys)]

    @invariant()
    def keys_are_claimed_and_stale_as_promised(self) -> None:
        states = self.ledger.states()
        for key, known in self.keys.items():
            assert (states[key] == "claimed") is (known.holder is not None)
            assert (states[key] == "stale") is (known.due_at is not None)
            assert (states[key] == "held") is known.held

    @invariant()
    def each_key_has_its_last_attempts(self) -> None:
        rows = self.ledger.select("SELECT key, count(*), max(slot) FROM attempts GROUP BY key")

        assert {key: count for key, count, _ in rows} == {
            key: min(known.tries, KEPT) for key, known in self.keys.items() if known.tries
        }
        assert all(slot < KEPT for _, _, slot in rows)

    @invariant()
    def the_next_turn_is_known(self) -> None:
        turns = [known.due_at for known in self.keys.values() if known.due_at is not None]
        turns += [known.lapses_at for known in self.keys.values() if known.holder is not None]

        assert self.ledger.next_due() == (at(min(turns)) if turns else None)


JournalOnAFile.TestCase.settings = settings(
    max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestAnyOrderOfCalls = JournalOnAFile.TestCase

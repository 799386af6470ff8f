"""Any order of edits, claims, pulls, lost answers and crashes: a key that counts as fresh is the origin's."""

from dataclasses import dataclass, replace
from datetime import timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from mirrord.decisions.staleness import IntakeRules, OnRemoved, Settlement, given_back, settled, take_in
from mirrord.model.attempt import Outcome
from mirrord.model.row import ObjectRow, State, Why
from mirrord.model.step import Done, NextStep, Park, Retry
from tests.decisions.claims import SAME, at, change, claimed, ended, running

SOON = Retry(timedelta(seconds=1))


@dataclass(kw_only=True)
class Call:
    """One claim's call: what the origin had before it, and whether Kodo has acted on it yet."""

    claim: ObjectRow
    asked_for: str | None
    acted: bool = False


class OneKey(RuleBasedStateMachine):
    """An origin, a bucket and the row between them. Kodo pulls what the origin has at that instant."""

    def __init__(self) -> None:
        super().__init__()
        self.rules = IntakeRules()
        self.now = 0
        self.versions = 0
        self.origin: str | None = None
        self.bucket: str | None = None
        self.row: ObjectRow | None = None
        self.call: Call | None = None
        self.lapsed: list[Call] = []
        self.generation = self.claims = self.tries = 0
        self.snapshot: tuple[str | None, int] | None = None
        """What the origin had when it was made, and when that was."""
        self.learnt_at = -1
        """When the row last took a version that was no snapshot's."""
        self.runs = False
        """Whether Kodo still pulls for a call whose end nobody saw."""
        self.pulls: str | None = None
        """What it had from the origin when that call was made."""
        self.dropped = False
        """Whether a person wanted the bucket's copy of the removed key to stay."""

    @initialize(policy=st.sampled_from(OnRemoved), mirrored=st.booleans())
    def begins(self, policy: OnRemoved, mirrored: bool) -> None:
        self.rules = IntakeRules(on_removed=policy)
        if mirrored:
            self.publishes(seen=True)
            self.is_claimed(acts=True)
            self.success_arrives()

    # -- the origin -----------------------------------------------------------------------------------

    @rule(seen=st.booleans())
    def publishes(self, seen: bool) -> None:
        self.versions += 1
        self.origin = f"=v{self.versions}"
        if seen:
            self.is_seen()

    @rule(seen=st.booleans())
    def removes(self, seen: bool) -> None:
        self.origin = None
        if seen:
            self.is_seen()

    @precondition(lambda self: self.row and self.row.confirmed and self.row.wanted == self.origin)
    @rule()
    def rolls_back_what_was_seen(self) -> None:
        assert self.row is not None
        self.origin = self.row.confirmed
        self.is_seen()

    @rule()
    def is_seen(self) -> None:
        self.now += 1
        before = self.row
        row = take_in(before, "m", change(self.origin, self.now), self.rules)
        if row is None:
            assert (before.wanted if before else None) == self.origin
            return
        assert isinstance(row, ObjectRow)
        assert row.wanted == self.origin
        assert before is None or (row.state is State.CLAIMED) == (before.state is State.CLAIMED)
        assert row.state is not State.STALE or row.wanted is not None  # nothing is deleted without the guard's word
        self.row, self.dropped, self.learnt_at = row, False, self.now

    @rule()
    def a_snapshot_is_made(self) -> None:
        self.now += 1
        self.snapshot = (self.origin, self.now)

    @precondition(lambda self: self.snapshot is not None)
    @rule()
    def the_snapshot_is_told(self) -> None:
        assert self.snapshot is not None
        (version, made_at), before = self.snapshot, self.row
        self.now += 1
        row = take_in(before, "m", change(version, self.now, as_of=made_at), self.rules)
        if before is None:
            assert (row is None) is (version is None)
        elif self.learnt_at > made_at or version == before.wanted:
            assert row is None
        else:
            assert row is None or isinstance(row, ObjectRow)
            assert row is not None or before.wanted_at > at(made_at)  # a later snapshot has been told
        if row is not None:
            assert isinstance(row, ObjectRow)
            assert (row.wanted, row.wanted_at) == (version, at(made_at))
            self.row, self.dropped = row, False

    # -- the guard ------------------------------------------------------------------------------------

    @precondition(lambda self: self.row is not None and self.row.state is State.HELD)
    @rule()
    def guard_lets_go(self) -> None:
        assert self.row is not None
        self.row = replace(self.row, state=State.STALE, due_at=at(self.now))

    @precondition(lambda self: self.row is not None and self.row.state is State.HELD)
    @rule()
    def guard_drops(self) -> None:
        assert self.row is not None
        self.row, self.dropped = replace(self.row, state=State.FRESH, stale_since=None), True

    # -- the dispatcher and Kodo ---------------------------------------------------------------------

    @precondition(lambda self: self.row is not None and self.row.state is State.STALE)
    @rule(acts=st.booleans(), in_vain=st.sampled_from([False, False, True]))
    def is_claimed(self, acts: bool, in_vain: bool = False) -> None:
        assert self.row is not None
        self.row = claimed(self.row, self.now)
        self.call = Call(claim=self.row, asked_for=self.origin)
        keeps = self.row.wanted is None and self.rules.on_removed is OnRemoved.KEEP
        # what was to be done no longer is; or nobody may ask now
        if in_vain or keeps or (self.row.wanted is None) != (self.origin is None):
            self._settle(self.call, Retry(timedelta(0)), attempted=False, asked_for=SAME)
            self.call = None
        elif self.row.pending is not None and (self.runs or self.row.wanted is not None):
            self._look(self.call)
            self.call = None
        elif acts:
            self.kodo_acts()

    def _look(self, call: Call) -> None:
        """Given back while the pull runs; ended and verified; or ended with something else in the bucket."""
        assert self.row is not None
        tries = self.row.tries
        if self.runs:
            self._settle(call, SOON, attempted=False, pending=running(0, looks=1), asked_for=SAME)
            assert (self.row.tries, self.row.pending) == (tries, running(0, looks=1))
        elif self.bucket == self.origin:
            self._settle(call, Done(), asked_for=call.asked_for, bucket_hash=f"hash of {self.bucket}")
            assert (self.row.tries, self.row.pending) == (tries + 1, None)
        else:
            self._settle(call, SOON, asked_for=call.asked_for, outcome=Outcome.TIMED_OUT)

    @precondition(lambda self: self.runs)
    @rule(early=st.booleans())
    def running_pull_ends(self, early: bool) -> None:
        self.runs = False
        got = self.pulls if early else self.origin
        self.bucket = got or self.bucket

    @precondition(lambda self: self.call is not None and self.call.claim.wanted is not None)
    @rule()
    def pull_goes_on_unseen(self) -> None:
        self.runs, self.pulls = True, self.origin
        self._end(SOON, Outcome.TIMED_OUT, pending=running(0))

    @precondition(lambda self: self.call is not None and self.call.claim.wanted is not None)
    @rule()
    def fetch_is_accepted(self) -> None:
        assert self.call is not None
        self.runs, self.pulls = True, self.origin
        self._settle(self.call, SOON, attempted=False, pending=running(0), asked_for=SAME)
        self.call = None

    @precondition(lambda self: self.call is not None and not self.call.acted)
    @rule()
    def kodo_acts(self) -> None:
        assert self.call is not None
        self.call.acted = True
        if self.call.claim.wanted is None:
            self.bucket = None
        elif self.origin is not None:
            self.bucket = self.origin
        else:
            self.call.acted = False  # 404: nothing is stored

    @precondition(lambda self: self.call is not None and self.call.acted)
    @rule()
    def success_arrives(self) -> None:
        self._end(Done(), Outcome.REFRESHED, bucket_hash=None if self.bucket is None else f"hash of {self.bucket}")

    @precondition(lambda self: self.call is not None and not self.call.acted)
    @rule(step=st.sampled_from([SOON, Park()]))
    def failure_arrives(self, step: NextStep) -> None:
        self._end(step, Outcome.ORIGIN_FAILING)

    @precondition(lambda self: self.call is not None)
    @rule(step=st.sampled_from([SOON, Park()]), outcome=st.sampled_from([Outcome.TIMED_OUT, Outcome.UNAVAILABLE]))
    def answer_is_lost(self, step: NextStep, outcome: Outcome) -> None:
        self._end(step, outcome)

    @precondition(lambda self: self.call is not None)
    @rule()
    def claimer_dies(self) -> None:
        assert self.row is not None
        assert self.call is not None
        self.row = given_back(self.row, at(self.now), self.rules)
        self.lapsed.append(self.call)
        self.call = None

    @precondition(lambda self: self.lapsed)
    @rule()
    def lapsed_claim_settles_nothing(self) -> None:
        assert self.row is not None
        late = ended(self.lapsed[-1].claim, Done(), self.now, asked_for=self.lapsed[-1].asked_for, found=self.origin)

        assert settled(self.row, late, self.rules) is None

    def _end(self, step: NextStep, outcome: Outcome, **also: object) -> None:
        assert self.call is not None
        self._settle(self.call, step, asked_for=self.call.asked_for, outcome=outcome, **also)
        self.call = None

    def _settle(self, call: Call, step: NextStep, *, asked_for: str | None, **also: object) -> None:
        self.now += 1
        end: Settlement = ended(call.claim, step, self.now, asked_for=asked_for, found=self.origin, **also)
        assert self.row is not None
        overtaken = self.row.generation != call.claim.generation
        wanted = self.row.wanted
        self.row = settled(self.row, end, self.rules)
        assert self.row is not None
        if overtaken and wanted is not None:
            assert self.row.state is State.STALE
        if self.row.wanted != wanted:
            self.learnt_at = self.now
        if self.row.wanted is None and (overtaken or call.claim.wanted is not None):
            assert self.row.state is (State.HELD if self.rules.on_removed is OnRemoved.DELETE else State.FRESH)

    # -- what always holds ---------------------------------------------------------------------------

    @invariant()
    def a_fresh_key_is_the_version_it_says(self) -> None:
        if self.row is None or self.row.state is not State.FRESH:
            return
        if self.row.wanted is not None:
            assert self.bucket == self.row.wanted
        elif self.rules.on_removed is OnRemoved.DELETE and not self.dropped:
            assert self.bucket is None

    @invariant()
    def only_removals_are_held(self) -> None:
        if self.row is not None and self.row.state is State.HELD:
            assert self.row.wanted is None
            assert self.rules.on_removed is OnRemoved.DELETE

    @invariant()
    def a_removed_key_has_its_time(self) -> None:
        if self.row is not None:
            assert (self.row.removed_at is None) is (self.row.wanted is not None)

    @invariant()
    def a_delete_under_the_known_hash_would_find_our_object(self) -> None:
        row = self.row
        if row is not None and row.state is not State.CLAIMED and row.bucket_hash is not None:
            assert self.bucket is None or row.bucket_hash == f"hash of {self.bucket}"

    @invariant()
    def columns_go_with_the_state(self) -> None:
        row = self.row
        if row is None:
            return
        assert (row.lease_until is not None) is (row.state is State.CLAIMED)
        assert (row.stale_since is None) is (row.state is State.FRESH)
        if row.state is not State.CLAIMED:
            assert (row.due_at is not None) is (row.state is State.STALE)
        if row.state is State.FRESH:
            assert (row.attempts, row.strikes) == (0, 0)
        assert row.strikes <= row.attempts

    @invariant()
    def counters_never_go_back(self) -> None:
        if self.row is not None:
            assert self.row.generation >= self.generation
            assert self.row.claims >= self.claims
            assert self.row.tries >= self.tries
            assert self.row.tries <= self.row.claims
            self.generation, self.claims, self.tries = self.row.generation, self.row.claims, self.row.tries

    @invariant()
    def a_version_has_its_reason_and_its_time(self) -> None:
        row = self.row
        if row is not None:
            assert (row.why is Why.REMOVED) is (row.wanted is None)
            assert row.wanted_at is not None
            assert row.wanted_at <= at(self.now)

    @invariant()
    def a_pull_that_runs_is_known_of(self) -> None:
        assert not self.runs or (self.row is not None and self.row.pending is not None)


OneKey.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestAnyOrderOfEvents = OneKey.TestCase

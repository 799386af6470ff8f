"""Every way a row moves: changes before, during and after a claim; claims that end well, badly, late or not at all."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from mirrord.decisions.staleness import (
    MOVED_ON_PAUSE,
    Doubt,
    IntakeRules,
    NewKeys,
    OnRemoved,
    given_back,
    lease_for,
    settled,
    take_in,
)
from mirrord.model.attempt import Operation, Outcome
from mirrord.model.change import Change
from mirrord.model.fingerprint import Fingerprint, of_file
from mirrord.model.pending import Pending
from mirrord.model.row import ObjectRow, State, Why
from mirrord.model.step import Done, Hold, NextStep, Park, Retry
from tests.decisions.claims import at, change, claimed, ended, running

KEEP = IntakeRules(on_removed=OnRemoved.KEEP)
DELETE = IntakeRules(on_removed=OnRemoved.DELETE)
ADOPT = IntakeRules(new_keys=NewKeys.FRESH)
V1, V2 = Fingerprint("=v1"), Fingerprint("=v2")

FRESH = ObjectRow(
    mirror="m", key="k", wanted=V1, wanted_at=at(-9), why=Why.NEW, confirmed=V1, generation=3, claims=2,
    state=State.FRESH, tries=4,
)  # fmt: skip
STALE = ObjectRow(
    mirror="m", key="k", wanted=V2, wanted_at=at(0), why=Why.CHANGED, confirmed=V1, generation=4, claims=2,
    state=State.STALE, stale_since=at(0), due_at=at(60), attempts=3, strikes=2, tries=7,
)  # fmt: skip
PARKED = replace(STALE, state=State.PARKED, due_at=None)
REMOVED = replace(STALE, wanted=None)
CLAIMED = claimed(STALE)


def took(row: ObjectRow | None, news: Change, rules: IntakeRules) -> ObjectRow:
    """The row after news that say something."""
    after = take_in(row, "m", news, rules)
    assert isinstance(after, ObjectRow)
    return after


def let_go(row: ObjectRow, seconds: float = 60) -> ObjectRow:
    """`row`, whose removal is held, once the guard lets it go."""
    assert row.state is State.HELD
    return replace(row, state=State.STALE, due_at=at(seconds))


# -- a change comes in -----------------------------------------------------------------------------------


@pytest.mark.parametrize("rules", [KEEP, DELETE])
def test_a_new_key_is_stale_and_due_at_once(rules: IntakeRules) -> None:
    row = take_in(None, "m", change("=v1", 7), rules)

    assert row == ObjectRow(
        mirror="m", key="k", wanted=V1, wanted_at=at(7), why=Why.NEW,
        state=State.STALE, stale_since=at(7), due_at=at(7),
    )  # fmt: skip


def test_an_adopted_key_is_fresh_without_being_asked_for() -> None:
    row = take_in(None, "m", change("=v1", 7), ADOPT)

    assert row == ObjectRow(
        mirror="m", key="k", wanted=V1, wanted_at=at(7), why=Why.NEW, confirmed=V1, state=State.FRESH
    )


def test_an_adopted_key_that_changes_later_is_stale() -> None:
    adopted = take_in(None, "m", change("=v1", 7), ADOPT)

    row = take_in(adopted, "m", change("=v2", 8), ADOPT)

    assert row is not None
    assert (row.state, row.wanted, row.confirmed, row.due_at) == (State.STALE, V2, V1, at(8))


@pytest.mark.parametrize("rules", [KEEP, DELETE, ADOPT])
def test_the_removal_of_a_key_never_seen_is_nothing(rules: IntakeRules) -> None:
    assert take_in(None, "m", change(None), rules) is None


@pytest.mark.parametrize("row", [FRESH, STALE, PARKED, CLAIMED, REMOVED], ids=lambda row: row.state.value)
def test_hearing_the_same_again_changes_nothing(row: ObjectRow) -> None:
    assert take_in(row, "m", change(row.wanted, 99), DELETE) is None


@pytest.mark.parametrize(
    ("row", "since"),
    [
        pytest.param(FRESH, at(50), id="fresh"),
        pytest.param(STALE, at(0), id="stale-longer"),
        pytest.param(PARKED, at(0), id="parked"),
        pytest.param(REMOVED, at(0), id="removed"),
    ],
)
def test_a_newer_version_is_due_at_once_with_a_clean_slate(row: ObjectRow, since: object) -> None:
    after = take_in(row, "m", change("=v3", 50), DELETE)

    assert after is not None
    assert (after.state, after.wanted, after.confirmed) == (State.STALE, "=v3", V1)
    assert after.generation == row.generation + 1
    assert (after.stale_since, after.due_at) == (since, at(50))
    assert (after.attempts, after.strikes, after.claims) == (0, 0, row.claims)


def test_a_change_during_a_claim_leaves_the_claim_out_and_counts_the_generation() -> None:
    after = take_in(CLAIMED, "m", change("=v3", 50), KEEP)

    assert after == replace(CLAIMED, wanted=Fingerprint("=v3"), wanted_at=at(50), generation=5, attempts=0, strikes=0)


@pytest.mark.parametrize("rules", [KEEP, DELETE])
def test_a_removal_during_a_claim_leaves_the_claim_out_and_counts_the_generation(rules: IntakeRules) -> None:
    after = take_in(CLAIMED, "m", change(None, 50), rules)

    assert after == replace(
        CLAIMED, wanted=None, wanted_at=at(50), why=Why.REMOVED, generation=5, attempts=0, strikes=0, removed_at=at(50)
    )


@pytest.mark.parametrize("row", [FRESH, STALE, PARKED], ids=lambda row: row.state.value)
def test_under_keep_a_removal_asks_for_nothing(row: ObjectRow) -> None:
    after = take_in(row, "m", change(None, 50), KEEP)

    assert after is not None
    assert (after.state, after.wanted, after.confirmed) == (State.FRESH, None, V1)
    assert (after.stale_since, after.due_at, after.generation) == (None, None, row.generation + 1)


@pytest.mark.parametrize("row", [FRESH, STALE, PARKED], ids=lambda row: row.state.value)
def test_under_delete_a_removal_waits_for_the_guard(row: ObjectRow) -> None:
    after = took(row, change(None, 50), DELETE)

    assert (after.state, after.wanted, after.due_at) == (State.HELD, None, None)
    assert (after.removed_at, after.stale_since) == (at(50), row.stale_since or at(50))
    assert (after.confirmed, after.generation) == (V1, row.generation + 1)


@pytest.mark.parametrize(
    ("version", "state", "due_at"),
    [
        pytest.param("=v1", State.FRESH, None, id="as-the-bucket-has-it"),
        pytest.param("=v3", State.STALE, at(60), id="changed"),
    ],
)
@pytest.mark.parametrize("row", [FRESH, STALE, PARKED], ids=lambda row: row.state.value)
def test_a_key_that_comes_back_while_its_removal_is_held_is_as_if_it_had_never_gone(
    row: ObjectRow, version: str, state: State, due_at: object
) -> None:
    held = took(row, change(None, 50), DELETE)

    back = took(held, change(version, 60), DELETE)

    assert (back.state, back.wanted, back.confirmed, back.due_at) == (state, version, V1, due_at)
    assert (back.removed_at, back.generation) == (None, row.generation + 2)


def test_a_key_that_goes_and_comes_back_during_a_claim_is_not_removed() -> None:
    gone = took(CLAIMED, change(None, 50), DELETE)

    back = took(gone, change("=v2", 51), DELETE)

    assert back == replace(CLAIMED, wanted_at=at(51), why=Why.NEW, generation=6, attempts=0, strikes=0)


# -- snapshots: what they say was so when they were made ------------------------------------------------

HELD = replace(STALE, state=State.HELD, wanted=None, why=Why.REMOVED, due_at=None, removed_at=at(0))
ROWS = [
    pytest.param(replace(FRESH, wanted_at=at(0)), id="fresh"),
    pytest.param(STALE, id="stale"),
    pytest.param(PARKED, id="parked"),
    pytest.param(CLAIMED, id="claimed"),
    pytest.param(HELD, id="held"),
    pytest.param(replace(HELD, state=State.FRESH, stale_since=None), id="kept"),
]
VERSIONS = [pytest.param("=v3", id="another-version"), pytest.param(None, id="removed")]


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("rules", [KEEP, DELETE], ids=["keep", "delete"])
def test_a_snapshot_that_is_older_than_an_event_never_undoes_it(
    row: ObjectRow, version: str | None, rules: IntakeRules
) -> None:
    event = take_in(row, "m", change("=event", 30), rules)
    assert isinstance(event, ObjectRow)

    assert take_in(event, "m", change(version, 99, as_of=29.999999), rules) is None


@pytest.mark.parametrize("row", ROWS)
def test_a_removal_that_is_newer_than_a_snapshot_stays(row: ObjectRow) -> None:
    event = take_in(replace(row, wanted=V2), "m", change(None, 30), DELETE)
    assert isinstance(event, ObjectRow)

    assert take_in(event, "m", change("=v3", 99, as_of=29), DELETE) is None


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("as_of", [30, 31], ids=["at-that-time", "later"])
def test_a_snapshot_that_is_not_older_counts_as_of_when_it_was_made(row: ObjectRow, as_of: float) -> None:
    event = took(row, change("=event", 30), DELETE)

    after = took(event, change("=v3", 99, as_of=as_of), DELETE)

    assert after == replace(
        took(event, change("=v3", 99), DELETE), wanted_at=at(as_of)
    )  # all but that as if it were seen now


@pytest.mark.parametrize("row", ROWS[:4])
@pytest.mark.parametrize("rules", [KEEP, DELETE], ids=["keep", "delete"])
def test_a_key_that_a_later_snapshot_lacks_is_removed(row: ObjectRow, rules: IntakeRules) -> None:
    after = took(row, change(None, 99, as_of=50), rules)

    assert after == replace(took(row, change(None, 99), rules), wanted_at=at(50))


@pytest.mark.parametrize("rules", [KEEP, ADOPT], ids=["asked-for", "adopted"])
def test_a_key_that_a_snapshot_shows_first_is_wanted_as_of_then(rules: IntakeRules) -> None:
    row = took(None, change("=v1", 99, as_of=50), rules)

    assert row == replace(took(None, change("=v1", 99), rules), wanted_at=at(50))


def test_an_event_undoes_what_a_later_snapshot_said() -> None:
    row = took(FRESH, change("=v2", 99, as_of=50), KEEP)

    assert took(row, change("=v3", 40), KEEP).wanted == "=v3"  # it came after: nobody knows better


def test_a_snapshot_counts_where_nobody_knows_since_when_a_version_is_wanted() -> None:
    row = replace(FRESH, wanted_at=None)  # an older program's

    assert took(row, change("=v2", 99, as_of=-1000), KEEP).wanted == V2


def test_an_old_snapshot_of_a_touched_file_asks_for_no_content() -> None:
    assert take_in(MIRRORED, "m", replace(touched(of_file(5, 1_000, 2_000, 77)), as_of=at(-10)), KEEP) is None


# -- a file that was touched, not changed ----------------------------------------------------------------

HASH = "FhFromTheReply"
BEFORE = of_file(5, 1_000, 1_000, 77)
MIRRORED = replace(FRESH, wanted=BEFORE, confirmed=BEFORE, bucket_hash=HASH)
TOUCHED = [
    pytest.param(of_file(5, 1_000, 2_000, 77), id="chmod"),
    pytest.param(of_file(5, 1_000, 2_000, 78), id="copied-with-its-time"),
]


def touched(version: Fingerprint, content_hash: str | None = None) -> Change:
    return replace(change(version, 50), content_hash=content_hash)


@pytest.mark.parametrize("version", TOUCHED)
def test_of_a_file_that_was_only_touched_the_content_has_to_tell(version: Fingerprint) -> None:
    assert take_in(MIRRORED, "m", touched(version), KEEP) is Doubt.DOUBT


@pytest.mark.parametrize("version", TOUCHED)
def test_the_bucket_has_a_touched_file_of_the_same_content_already(version: Fingerprint) -> None:
    after = took(MIRRORED, touched(version, HASH), KEEP)

    assert after == replace(
        MIRRORED, wanted=version, wanted_at=at(50), why=Why.CHANGED, confirmed=version, generation=4
    )


@pytest.mark.parametrize("content_hash", ["FhOther", ""], ids=["another-content", "not-to-be-had"])
def test_a_touched_file_of_another_content_is_stale(content_hash: str) -> None:
    version = of_file(5, 1_000, 2_000, 78)

    after = took(MIRRORED, touched(version, content_hash), KEEP)

    assert (after.state, after.wanted, after.confirmed, after.due_at) == (State.STALE, version, BEFORE, at(50))


@pytest.mark.parametrize(
    ("row", "version"),
    [
        pytest.param(MIRRORED, of_file(6, 1_000, 2_000, 77), id="another-size"),
        pytest.param(MIRRORED, of_file(5, 1_001, 2_000, 77), id="another-mtime"),
        pytest.param(MIRRORED, Fingerprint("=token"), id="not-a-file"),
        pytest.param(replace(MIRRORED, bucket_hash=None), of_file(5, 1_000, 2_000, 77), id="no-hash-known"),
        pytest.param(replace(MIRRORED, confirmed=None), of_file(5, 1_000, 2_000, 77), id="nothing-confirmed"),
        pytest.param(replace(PARKED, wanted=BEFORE, bucket_hash=HASH), of_file(5, 1_000, 2_000, 77), id="parked"),
        pytest.param(
            replace(STALE, wanted=BEFORE, confirmed=BEFORE, bucket_hash=HASH), of_file(5, 1_000, 2_000, 77), id="stale"
        ),
    ],
)
@pytest.mark.parametrize("content_hash", [None, HASH], ids=["not-hashed", "hashed"])
def test_nothing_else_is_taken_for_only_touched(row: ObjectRow, version: Fingerprint, content_hash: str | None) -> None:
    after = took(row, touched(version, content_hash), KEEP)

    assert (after.state, after.wanted, after.due_at) == (State.STALE, version, at(50))


@pytest.mark.parametrize("row", [STALE, PARKED], ids=lambda row: row.state.value)
def test_going_back_to_what_the_bucket_holds_makes_the_key_fresh(row: ObjectRow) -> None:
    after = take_in(row, "m", change("=v1", 50), KEEP)

    assert after is not None
    assert (after.state, after.wanted, after.generation) == (State.FRESH, V1, 5)
    assert (after.stale_since, after.due_at, after.attempts, after.strikes) == (None, None, 0, 0)


def test_a_key_that_comes_back_after_its_copy_was_deleted_is_asked_for() -> None:
    claim = claimed(let_go(took(FRESH, change(None, 10), DELETE)))
    gone = settled(claim, ended(claim, outcome=Outcome.REMOVED), DELETE)

    back = take_in(gone, "m", change("=v1", 20), DELETE)

    assert gone is not None
    assert (gone.state, gone.confirmed, gone.removed_at) == (State.FRESH, None, at(10))
    assert isinstance(back, ObjectRow)
    assert (back.state, back.due_at, back.removed_at) == (State.STALE, at(20), None)


# -- a claim ends ----------------------------------------------------------------------------------------


def test_a_success_makes_the_key_fresh_and_keeps_the_evidence() -> None:
    end = ended(CLAIMED, Done(), 70, status=200, reqid="r", bucket_hash="h", error=None)

    after = settled(CLAIMED, end, KEEP)

    assert after == ObjectRow(
        mirror="m", key="k", wanted=V2, wanted_at=at(0), why=Why.CHANGED, confirmed=V2, bucket_hash="h",
        generation=4, claims=3, state=State.FRESH, tries=8,
        last_at=at(70), last_status=200, last_reqid="r", last_outcome=Outcome.REFRESHED,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("step", "state", "due_at"),
    [
        pytest.param(Retry(timedelta(seconds=5)), State.STALE, at(75), id="retry"),
        pytest.param(Hold(timedelta(seconds=30)), State.STALE, at(100), id="hold"),
        pytest.param(Park(), State.PARKED, None, id="park"),
    ],
)
@pytest.mark.parametrize(
    ("counts", "strikes"), [pytest.param(True, 3, id="strike"), pytest.param(False, 2, id="no-strike")]
)
def test_a_failure_keeps_the_key_and_the_evidence(
    step: NextStep, state: State, due_at: object, counts: bool, strikes: int
) -> None:
    end = ended(CLAIMED, step, 70, counts=counts, status=478, reqid="r", error="E502", outcome=Outcome.ORIGIN_FAILING)

    after = settled(CLAIMED, end, KEEP)

    assert after is not None
    assert (after.state, after.due_at, after.stale_since, after.lease_until) == (state, due_at, at(0), None)
    assert (after.wanted, after.confirmed, after.generation, after.claims) == (V2, V1, 4, 3)
    assert (after.attempts, after.strikes) == (4, strikes)
    assert (after.last_at, after.last_status, after.last_reqid) == (at(70), 478, "r")
    assert (after.last_outcome, after.last_error) == (Outcome.ORIGIN_FAILING, "E502")


@pytest.mark.parametrize(
    "step", [Done(), Retry(timedelta(hours=1)), Hold(timedelta(hours=1)), Park()], ids=lambda step: type(step).__name__
)
def test_after_a_change_during_the_call_the_key_is_stale_however_the_call_ended(step: NextStep) -> None:
    now = take_in(CLAIMED, "m", change("=v3", 50), KEEP)
    assert now is not None

    after = settled(now, ended(CLAIMED, step, 70, asked_for="=v2", found="=v2"), KEEP)

    assert after is not None
    assert (after.state, after.wanted, after.generation) == (State.STALE, "=v3", 5)
    assert (after.due_at, after.stale_since, after.lease_until) == (at(70), at(0), None)
    assert (after.attempts, after.strikes) == (0, 0)


def test_a_change_there_and_back_during_the_call_leaves_the_key_stale() -> None:
    there = take_in(CLAIMED, "m", change("=v3", 50), KEEP)
    back = take_in(there, "m", change("=v2", 51), KEEP)
    assert back is not None

    after = settled(back, ended(CLAIMED, Done(), 70), KEEP)

    assert after is not None
    assert (after.state, after.wanted, after.due_at) == (State.STALE, V2, at(70))


@pytest.mark.parametrize(
    ("rules", "state"), [pytest.param(KEEP, State.FRESH, id="keep"), pytest.param(DELETE, State.HELD, id="delete")]
)
def test_a_removal_recorded_during_the_call_is_still_to_be_done(rules: IntakeRules, state: State) -> None:
    now = take_in(CLAIMED, "m", change(None, 50), rules)
    assert now is not None

    after = settled(now, ended(CLAIMED, Done(), 70, asked_for="=v2", found=None), rules)

    assert after is not None
    assert (after.state, after.wanted, after.removed_at, after.due_at) == (state, None, at(50), None)
    assert after.confirmed is None  # it may have pulled another version


@pytest.mark.parametrize(
    "step", [Done(), Retry(timedelta(hours=1)), Hold(timedelta(hours=1)), Park()], ids=lambda step: type(step).__name__
)
def test_a_file_that_moved_on_during_the_call_is_wanted_as_it_is_now(step: NextStep) -> None:
    after = settled(CLAIMED, ended(CLAIMED, step, 70, asked_for="=v2", found="=v3"), KEEP)

    assert after is not None
    assert (after.state, after.wanted, after.generation) == (State.STALE, "=v3", 5)
    assert (after.due_at, after.attempts, after.strikes) == (at(70) + MOVED_ON_PAUSE, 0, 0)


def test_a_file_that_was_newer_than_the_row_before_the_call_is_fresh_after_it() -> None:
    after = settled(CLAIMED, ended(CLAIMED, Done(), 70, asked_for="=v3", found="=v3"), KEEP)

    assert after is not None
    assert (after.state, after.wanted, after.confirmed) == (State.FRESH, "=v3", "=v3")
    assert take_in(after, "m", change("=v3", 80), KEEP) is None  # the hint that comes late says nothing new


@pytest.mark.parametrize(
    ("rules", "state"), [pytest.param(KEEP, State.FRESH, id="keep"), pytest.param(DELETE, State.HELD, id="delete")]
)
def test_a_file_that_vanished_during_the_call_is_a_removal(rules: IntakeRules, state: State) -> None:
    after = settled(CLAIMED, ended(CLAIMED, Park(), 70, found=None, status=404), rules)

    assert after is not None
    assert (after.state, after.wanted, after.generation) == (state, None, 5)
    assert (after.removed_at, after.due_at) == (at(70), None)


@pytest.mark.parametrize(
    ("step", "outcome", "state", "due_at"),
    [
        pytest.param(Done(), Outcome.REMOVED, State.FRESH, None, id="removed"),
        pytest.param(Retry(timedelta(seconds=5)), Outcome.UNAVAILABLE, State.STALE, at(75), id="retry"),
        pytest.param(Park(), Outcome.REFUSED, State.PARKED, None, id="park"),
    ],
)
def test_a_removal_that_was_let_go_ends_as_its_call_ends(
    step: NextStep, outcome: Outcome, state: State, due_at: object
) -> None:
    claim = claimed(replace(REMOVED, removed_at=at(1), bucket_hash="h"))

    after = settled(claim, ended(claim, step, 70, outcome=outcome), DELETE)

    assert after is not None
    assert (after.state, after.wanted, after.due_at, after.removed_at) == (state, None, due_at, at(1))
    assert after.confirmed is None
    assert after.bucket_hash == (None if step == Done() else "h")  # so that the next attempt has its condition, too


def test_a_removal_that_could_not_be_looked_at_stays_let_go() -> None:
    claim = claimed(replace(REMOVED, removed_at=at(1)))

    after = settled(claim, ended(claim, Retry(timedelta(seconds=5)), 70, attempted=False), DELETE)

    assert after == replace(claim, state=State.STALE, due_at=at(75), lease_until=None)


def test_a_file_that_came_back_before_its_copy_was_deleted_is_wanted_again() -> None:
    claim = claimed(REMOVED)

    after = settled(claim, ended(claim, Retry(timedelta(0)), 70, found="=v3", attempted=False), DELETE)

    assert after is not None
    assert (after.state, after.wanted, after.due_at, after.generation) == (State.STALE, "=v3", at(70), 5)
    assert after.removed_at is None


def test_a_claim_given_back_unused_is_no_attempt() -> None:
    before = replace(CLAIMED, last_status=478, last_at=at(1), last_outcome=Outcome.ORIGIN_FAILING)

    after = settled(before, ended(before, Retry(timedelta(0)), 70, attempted=False), KEEP)

    assert after == replace(before, state=State.STALE, due_at=at(60), lease_until=None)


@pytest.mark.parametrize(
    ("due_at", "pause_s", "expected"),
    [
        pytest.param(at(60), 0, at(60), id="keeps-its-place-in-the-queue"),
        pytest.param(at(60), 5, at(75), id="unless-it-asks-for-a-pause"),
        pytest.param(None, 0, at(70), id="had-none"),
    ],
)
@pytest.mark.parametrize("step", [Retry, Hold])
def test_a_claim_given_back_unused_is_due(
    step: type[Retry | Hold], due_at: datetime | None, pause_s: float, expected: datetime
) -> None:
    claim = replace(CLAIMED, due_at=due_at)

    after = settled(claim, ended(claim, step(timedelta(seconds=pause_s)), 70, attempted=False), KEEP)

    assert after is not None
    assert (after.state, after.due_at, after.tries) == (State.STALE, expected, 7)


def test_an_attempt_loses_its_place_in_the_queue_though_its_retry_does_not_wait() -> None:
    after = settled(CLAIMED, ended(CLAIMED, Retry(timedelta(0)), 70), KEEP)

    assert after is not None
    assert after.due_at == at(70)


def test_a_claim_given_back_unused_whose_file_moved_on_is_due_at_once() -> None:
    after = settled(CLAIMED, ended(CLAIMED, Retry(timedelta(0)), 70, found="=v3", attempted=False), KEEP)

    assert after is not None
    assert (after.wanted, after.due_at, after.generation) == ("=v3", at(70), 5)


def test_under_keep_a_claimed_removal_asks_for_nothing_and_comes_to_rest() -> None:
    claim = claimed(REMOVED)

    after = settled(claim, ended(claim, Retry(timedelta(0)), 70, attempted=False), KEEP)

    assert after is not None
    assert (after.state, after.wanted, after.confirmed, after.due_at) == (State.FRESH, None, V1, None)


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(STALE, id="lapsed-and-waiting"),
        pytest.param(claimed(CLAIMED), id="lapsed-and-claimed-by-another"),
        pytest.param(FRESH, id="lapsed-and-done-by-another"),
        pytest.param(PARKED, id="lapsed-and-parked-by-another"),
    ],
)
def test_a_claim_that_lapsed_settles_nothing(row: ObjectRow) -> None:
    late = replace(ended(CLAIMED, Done(), 70), claims=CLAIMED.claims)

    assert settled(row, late, KEEP) is None


# -- what a call without a clear end leaves -----------------------------------------------------------


@pytest.mark.parametrize("outcome", [Outcome.TIMED_OUT, Outcome.UNAVAILABLE])
def test_after_a_pull_with_an_unknown_end_the_old_version_is_asked_for_again(outcome: Outcome) -> None:
    after = settled(CLAIMED, ended(CLAIMED, Retry(timedelta(0)), 70, outcome=outcome), KEEP)

    back = take_in(after, "m", change("=v1", 80), KEEP)  # the bucket may hold v2 by now

    assert back is not None
    assert (back.state, back.due_at) == (State.STALE, at(80))


@pytest.mark.parametrize(
    ("outcome", "bucket_hash"),
    [
        pytest.param(Outcome.TIMED_OUT, None, id="timed-out"),
        pytest.param(Outcome.UNAVAILABLE, None, id="unavailable"),
        pytest.param(Outcome.REFRESHED, None, id="refreshed-and-not-verified"),
        pytest.param(Outcome.ORIGIN_FAILING, "h", id="origin-failing"),
    ],
)
def test_a_hash_is_known_as_long_as_the_object_is(outcome: Outcome, bucket_hash: str | None) -> None:
    claim = replace(CLAIMED, bucket_hash="h")

    after = settled(claim, ended(claim, Retry(timedelta(0)), 70, outcome=outcome), KEEP)

    assert after is not None
    assert after.bucket_hash == bucket_hash


@pytest.mark.parametrize("rules", [KEEP, DELETE])
@pytest.mark.parametrize("wanted", [V2, None], ids=["there", "removed"])
def test_after_a_killed_call_nothing_is_known_of_the_object(rules: IntakeRules, wanted: Fingerprint | None) -> None:
    after = given_back(replace(CLAIMED, wanted=wanted, bucket_hash="h"), at(70), rules)

    assert (after.confirmed, after.bucket_hash) == (None, None)


def test_after_a_pull_of_a_moving_file_the_version_asked_for_is_asked_for_again() -> None:
    after = settled(CLAIMED, ended(CLAIMED, Done(), 70, asked_for="=v2", found="=v3"), KEEP)

    back = take_in(after, "m", change("=v2", 80), KEEP)  # the bucket may hold v3 by now

    assert back is not None
    assert (back.state, back.due_at) == (State.STALE, at(80))


def test_after_a_killed_pull_the_old_version_is_asked_for_again() -> None:
    after = given_back(CLAIMED, at(70), KEEP)

    back = take_in(after, "m", change("=v1", 80), KEEP)  # the bucket may hold v2 by now

    assert back is not None
    assert (back.state, back.due_at) == (State.STALE, at(80))


# -- why and since when a version is wanted ----------------------------------------------------------------

GONE = replace(FRESH, wanted=None, why=Why.REMOVED)


@pytest.mark.parametrize(
    ("row", "version", "why"),
    [
        pytest.param(None, "=v1", Why.NEW, id="never-seen"),
        pytest.param(FRESH, "=v2", Why.CHANGED, id="changed"),
        pytest.param(FRESH, None, Why.REMOVED, id="removed"),
        pytest.param(GONE, "=v1", Why.NEW, id="came-back"),
        pytest.param(CLAIMED, "=v3", Why.CHANGED, id="changed-during-a-claim"),
        pytest.param(CLAIMED, None, Why.REMOVED, id="removed-during-a-claim"),
        pytest.param(claimed(GONE), "=v1", Why.NEW, id="came-back-during-a-claim"),
        pytest.param(replace(FRESH, why=Why.DRIFTED), "=v2", Why.CHANGED, id="drifted-and-changed"),
    ],
)
@pytest.mark.parametrize("rules", [KEEP, DELETE], ids=["keep", "delete"])
def test_a_change_says_why_and_since_when_the_version_is_wanted(
    row: ObjectRow | None, version: str | None, why: Why, rules: IntakeRules
) -> None:
    after = took(row, change(version, 50), rules)

    assert (after.wanted, after.why, after.wanted_at) == (version, why, at(50))


@pytest.mark.parametrize(
    ("row", "found", "why"),
    [
        pytest.param(CLAIMED, "=v3", Why.CHANGED, id="moved-on"),
        pytest.param(CLAIMED, None, Why.REMOVED, id="vanished"),
        pytest.param(claimed(REMOVED), "=v3", Why.NEW, id="came-back"),
    ],
)
@pytest.mark.parametrize("attempted", [True, False], ids=["attempted", "given-back"])
def test_a_change_that_the_settlement_saw_itself_counts_from_then_on(
    row: ObjectRow, found: str | None, why: Why, attempted: bool
) -> None:
    after = settled(row, ended(row, Retry(timedelta(0)), 70, found=found, attempted=attempted), DELETE)

    assert after is not None
    assert (after.wanted, after.why, after.wanted_at) == (found, why, at(70))


def test_a_version_that_was_newer_than_the_row_before_the_call_was_first_seen_by_the_settlement() -> None:
    after = settled(CLAIMED, ended(CLAIMED, Done(), 70, asked_for="=v3", found="=v3"), KEEP)

    assert after is not None
    assert (after.state, after.why, after.wanted_at) == (State.FRESH, Why.CHANGED, at(70))


@pytest.mark.parametrize("why", Why)
@pytest.mark.parametrize("attempted", [True, False], ids=["attempted", "given-back"])
def test_without_a_change_a_settlement_leaves_why_and_since_when_alone(why: Why, attempted: bool) -> None:
    claim = replace(CLAIMED, why=why)

    after = settled(claim, ended(claim, Retry(timedelta(0)), 70, attempted=attempted), KEEP)

    assert after is not None
    assert (after.why, after.wanted_at) == (why, at(0))


def test_a_change_recorded_during_the_call_keeps_the_time_at_which_it_was_seen() -> None:
    now = took(CLAIMED, change("=v3", 50), KEEP)

    after = settled(now, ended(CLAIMED, Done(), 70, asked_for="=v2", found="=v3"), KEEP)

    assert after is not None
    assert (after.why, after.wanted_at) == (Why.CHANGED, at(50))


def test_a_dead_claimers_key_is_wanted_for_the_reason_it_was() -> None:
    after = given_back(CLAIMED, at(70), KEEP)

    assert (after.why, after.wanted_at, after.tries) == (Why.CHANGED, at(0), 7)


# -- what counts as a try, and a pull whose end nobody saw -------------------------------------------------


@pytest.mark.parametrize(
    "step", [Done(), Retry(timedelta(0)), Hold(timedelta(0)), Park()], ids=lambda step: type(step).__name__
)
@pytest.mark.parametrize("found", ["=v2", "=v3", None], ids=["as-asked-for", "moved-on", "vanished"])
@pytest.mark.parametrize("counts", [True, False], ids=["strike", "no-strike"])
def test_every_attempt_is_a_try_whatever_came_of_it(step: NextStep, found: str | None, counts: bool) -> None:
    after = settled(CLAIMED, ended(CLAIMED, step, 70, found=found, counts=counts), DELETE)

    assert after is not None
    assert after.tries == 8


def test_tries_outlast_a_change_that_clears_the_slate() -> None:
    after = took(STALE, change("=v3", 50), KEEP)

    assert (after.attempts, after.tries) == (0, 7)


@pytest.mark.parametrize("pending", [running(70), None], ids=["another-runs", "ended"])
@pytest.mark.parametrize("step", [Done(), Retry(timedelta(0)), Park()], ids=lambda step: type(step).__name__)
@pytest.mark.parametrize("found", ["=v2", "=v3", None], ids=["as-asked-for", "moved-on", "vanished"])
def test_an_attempt_leaves_the_pull_that_it_says(pending: Pending | None, step: NextStep, found: str | None) -> None:
    claim = replace(CLAIMED, pending=running(10, timeouts=2))

    after = settled(claim, ended(claim, step, 70, pending=pending, found=found), DELETE)

    assert after is not None
    assert after.pending == pending


@pytest.mark.parametrize("found", ["=v2", "=v3", None], ids=["unchanged", "moved-on", "vanished"])
@pytest.mark.parametrize(
    ("said", "left"),
    [
        pytest.param(None, running(10), id="given-back-unused"),
        pytest.param(running(10, looks=1), running(10, looks=1), id="looked-at"),
    ],
)
def test_a_pull_that_runs_survives_a_give_back(said: Pending | None, left: Pending, found: str | None) -> None:
    claim = replace(CLAIMED, pending=running(10))
    end = ended(claim, Retry(timedelta(0)), 70, attempted=False, pending=said, found=found)

    after = settled(claim, end, DELETE)

    assert after is not None
    assert (after.pending, after.tries, after.last_at) == (left, 7, None)


@pytest.mark.parametrize("version", ["=v3", "=v1", None], ids=["changed", "rolled-back", "removed"])
@pytest.mark.parametrize("row", [STALE, PARKED, CLAIMED], ids=lambda row: row.state.value)
def test_a_pull_that_runs_outlasts_what_is_wanted_then(row: ObjectRow, version: str | None) -> None:
    after = took(replace(row, pending=running(10)), change(version, 50), DELETE)

    assert after.pending == running(10)


def test_a_pull_that_runs_outlasts_the_claimer() -> None:
    after = given_back(replace(CLAIMED, pending=running(10)), at(70), KEEP)

    assert after.pending == running(10)


@pytest.mark.parametrize("outcome", Outcome)
def test_while_a_pull_may_run_nothing_is_known_of_the_object(outcome: Outcome) -> None:
    claim = replace(CLAIMED, bucket_hash="h")

    after = settled(claim, ended(claim, Retry(timedelta(0)), 70, outcome=outcome, pending=running(70)), KEEP)

    assert after is not None
    assert (after.confirmed, after.bucket_hash) == (None, None)


def test_while_an_accepted_fetch_runs_going_back_to_the_old_version_does_not_make_the_key_fresh() -> None:
    claim = replace(CLAIMED, bucket_hash="h")
    accepted = running(70, operation=Operation.ASYNC_FETCH, task="t")
    after = settled(claim, ended(claim, Retry(timedelta(seconds=1)), 70, attempted=False, pending=accepted), KEEP)

    back = took(after, change("=v1", 80), KEEP)  # the bucket may hold v2 at any time

    assert (back.state, back.bucket_hash) == (State.STALE, None)


def test_a_file_that_its_writer_never_rests_is_not_looked_at_without_a_pause() -> None:
    claim = replace(CLAIMED, pending=running(10))
    end = ended(claim, Retry(timedelta(seconds=1)), 70, attempted=False, pending=running(10, looks=1), found="=v3")

    after = settled(claim, end, KEEP)

    assert after is not None
    assert after.due_at == at(70) + MOVED_ON_PAUSE


# -- the claimer died ---------------------------------------------------------------------------------


def sized(mebibytes: int) -> ObjectRow:
    return replace(CLAIMED, wanted=of_file(mebibytes * 2**20, 1, 1, 1))


@pytest.mark.parametrize(
    ("row", "due_at"),
    [
        pytest.param(sized(5), at(25), id="grace-for-its-size"),
        pytest.param(sized(5000), at(300), id="never-past-the-lease"),
        pytest.param(CLAIMED, at(20), id="a-feeds-version"),
        pytest.param(replace(sized(5), lease_until=at(4)), at(4), id="lease-lapsed-long-ago"),
    ],
)
def test_a_dead_claimers_key_is_due_when_its_pull_has_surely_ended(row: ObjectRow, due_at: object) -> None:
    after = given_back(row, at(10), DELETE)

    assert (after.state, after.due_at, after.lease_until) == (State.STALE, due_at, None)
    assert (after.wanted, after.generation, after.stale_since) == (row.wanted, 4, at(0))
    assert (after.claims, after.attempts, after.strikes) == (3, 3, 2)


@pytest.mark.parametrize(
    ("rules", "state", "since"),
    [pytest.param(KEEP, State.FRESH, None, id="keep"), pytest.param(DELETE, State.HELD, at(0), id="delete")],
)
def test_a_dead_claimers_removal_is_the_guards_again(rules: IntakeRules, state: State, since: object) -> None:
    after = given_back(replace(CLAIMED, wanted=None, removed_at=at(5)), at(10), rules)

    assert (after.state, after.wanted, after.stale_since, after.removed_at) == (state, None, since, at(5))
    assert (after.due_at, after.lease_until, after.attempts, after.strikes) == (None, None, 0, 0)


def test_a_lease_outlasts_the_longest_call() -> None:
    connect, read = timedelta(seconds=10), timedelta(seconds=300)

    assert lease_for(connect, read) >= connect + read + timedelta(seconds=30)
    assert lease_for(connect, read, timedelta(minutes=10)) == lease_for(connect, read) + timedelta(minutes=10)


def test_a_settlement_after_its_lease_changes_nothing_even_if_nobody_took_the_key() -> None:
    lease_until = CLAIMED.lease_until
    assert lease_until is not None
    late = (lease_until - at(0)).total_seconds()

    assert settled(CLAIMED, ended(CLAIMED, Done(), late), KEEP) is None
    assert settled(CLAIMED, ended(CLAIMED, Done(), late - 1), KEEP) is not None

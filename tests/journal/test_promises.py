"""The journal's six promises, each against a real file: what `record` returned, one row, one claim, one winner."""

import json
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mirrord.decisions.staleness import IntakeRules, NewKeys, Settlement
from mirrord.journal.database import open_engine
from mirrord.journal.statements import Statements, row_from
from mirrord.journal.tables import objects
from mirrord.model.attempt import Operation, Outcome
from mirrord.model.change import Change, Recorded
from mirrord.model.coverage import Coverage
from mirrord.model.fingerprint import of_file
from mirrord.model.pending import Pending
from mirrord.model.row import ObjectRow, State, Why
from mirrord.model.step import Done, Hold, NextStep, Park, Retry
from tests.journal.conftest import OpenLedger
from tests.journal.ledger import ALL, DELETE, LEASE, MIRROR, RULES, Ledger, at, change, ended, place, url_of

HERE = Path(__file__).parents[2]  # where `tests` can be imported from
KEYS = 300

RECORD_AND_SAY_SO = """
import sys
from pathlib import Path
from tests.journal.ledger import Ledger, change
ledger = Ledger(Path(sys.argv[1]))
for number in range(1_000_000):
    ledger.record(change(f"k{number}"), change(f"l{number}"))
    print(number, flush=True)
"""
READ_PAGES_AND_SAY_SO = """
import sys
from pathlib import Path
from tests.journal.ledger import Ledger, change, place
ledger = Ledger(Path(sys.argv[1]))
for number in range(1_000_000):
    ledger.record(change(f"k{number}"), change(f"l{number}"), cursor=place("feed", str(number)))
    print(number, flush=True)
"""
OVERTAKE_AND_SAY_SO = """
import sys
from dataclasses import replace
from pathlib import Path
from tests.journal.ledger import Ledger, change, place
ledger = Ledger(Path(sys.argv[1]))
for number in range(1_000_000):
    event = replace(change("a", str(number), number), order=f"{number:09}")
    ledger.record(event, replace(event, key=f"k{number}"), cursor=place("feed", str(number), event_at=number))
    print(number, flush=True)
"""
CLAIM_AND_SAY_SO = """
import json, sys
from pathlib import Path
from tests.journal.ledger import Ledger
ledger = Ledger(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
taken = []
while rows := ledger.claim(0, 7):
    taken += [row.key for row in rows]
print(json.dumps(taken), flush=True)
ledger.close()
"""


def start(script: str, file: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", script, str(file)],
        cwd=HERE,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


# -- 1: what record returned survives kill -9 ---------------------------------------------------------


def test_what_record_returned_survives_kill_9(file: Path, open_ledger: OpenLedger) -> None:
    with start(RECORD_AND_SAY_SO, file) as process:
        assert process.stdout is not None
        for _ in range(20):
            process.stdout.readline()
        process.kill()
        said = process.stdout.read()
    last = int(said.split()[-1]) if said.split() else 19

    keys = {key for key, _ in open_ledger().known()}

    assert process.returncode == -signal.SIGKILL
    assert {f"{letter}{number}" for number in range(last + 1) for letter in "kl"} <= keys
    # a record is one transaction: the one that was under way is there whole or not at all
    assert {key[1:] for key in keys if key[0] == "k"} == {key[1:] for key in keys if key[0] == "l"}


def test_a_cursor_is_never_before_nor_behind_the_keys_that_it_stands_for(file: Path, open_ledger: OpenLedger) -> None:
    with start(READ_PAGES_AND_SAY_SO, file) as process:
        assert process.stdout is not None
        for _ in range(20):
            process.stdout.readline()
        process.kill()
        said = process.stdout.read()
    last = int(said.split()[-1]) if said.split() else 19

    after = open_ledger()
    cursor, keys = after.cursor("feed"), {key for key, _ in after.known()}

    assert cursor is not None
    assert int(cursor) >= last
    assert keys == {f"{letter}{number}" for number in range(int(cursor) + 1) for letter in "kl"}


def test_what_an_order_and_an_events_time_say_survives_kill_9_with_the_keys(
    file: Path, open_ledger: OpenLedger
) -> None:
    with start(OVERTAKE_AND_SAY_SO, file) as process:
        assert process.stdout is not None
        for _ in range(20):
            process.stdout.readline()
        process.kill()
        said = process.stdout.read()
    last = int(said.split()[-1]) if said.split() else 19

    after = open_ledger()
    cursor = after.run(after.journal.cursor(MIRROR, "feed"))
    number = int(cursor.text)

    assert number >= last
    assert cursor.event_at == at(number)
    assert dict(after.known())["a"] == f"={number}"
    orders = {"a": f"{number:09}"} | {f"k{each}": f"{each:09}" for each in range(number + 1)}
    assert dict(after.select("SELECT key, at_text FROM orders")) == orders
    # an older one delivered again, as by a sender that never heard of its success
    assert after.record(replace(change("a", "again"), order="0")) == Recorded()


@pytest.mark.parametrize("event_at", [None, 7.000001], ids=["none", "one"])
def test_a_cursor_comes_back_with_its_newest_events_time(
    ledger: Ledger, open_ledger: OpenLedger, event_at: float | None
) -> None:
    ledger.record(cursor=place("feed", "1", 2, event_at=3))

    ledger.record(cursor=place("feed", "2", 8, event_at=event_at))

    after = open_ledger()
    assert after.run(after.journal.cursor(MIRROR, "feed")) == place("feed", "2", 8, event_at=event_at)


def test_a_cursor_belongs_to_one_source_of_one_mirror(ledger: Ledger) -> None:
    ledger.record(change("a"), cursor=place("one", "7"))
    ledger.record(change("b"), cursor=place("other", "x"))
    ledger.record(cursor=place("one", "8"))

    assert (ledger.cursor("one"), ledger.cursor("other"), ledger.cursor("third")) == ("8", "x", None)
    assert ledger.cursor("one", mirror="pages") is None


def test_a_cursor_waits_for_changes_that_only_their_content_can_decide(ledger: Ledger) -> None:
    first, touched = of_file(1, 2, 3, 4), of_file(1, 2, 9, 4)
    ledger.record(Change(key="a", version=first, seen_at=at(0)), cursor=place("feed", "1"))
    ledger.settle(ended(*ledger.claim(0), bucket_hash="F"))
    change_of_a = Change(key="a", version=touched, seen_at=at(1))

    doubtful = ledger.record(change_of_a, cursor=place("feed", "2"))
    before = ledger.cursor("feed")
    ledger.record(replace(change_of_a, content_hash="F"), cursor=place("feed", "2"))

    assert doubtful.doubtful == (change_of_a,)
    assert (before, ledger.cursor("feed")) == ("1", "2")


def test_a_settlement_and_a_claim_outlive_the_process(ledger: Ledger, open_ledger: OpenLedger) -> None:
    ledger.record(change("a"), change("b"), change("c"))
    a, b = ledger.claim(0, 2)
    ledger.settle(ended(a))

    after = open_ledger()

    assert after.states() == {"a": "fresh", b.key: "claimed", "c": "stale"}


# -- 2: one row a key ---------------------------------------------------------------------------------


def test_a_thousand_changes_of_one_key_are_one_refresh(ledger: Ledger) -> None:
    for number in range(100):
        ledger.record(*(change("a", f"{number}.{n}", number) for n in range(10)))

    claims = ledger.claim(1000)

    assert [(row.key, row.wanted) for row in claims] == [("a", "=99.9")]
    assert ledger.claim(1000) == []


def test_of_several_changes_recorded_together_the_last_counts(ledger: Ledger) -> None:
    recorded = ledger.record(change("a", "1"), change("b", "1"), change("a", "2"))

    assert recorded == Recorded(new=2, stale=2)
    assert ledger.known() == [("a", "=2"), ("b", "=1")]


def test_recording_counts_what_became_of_the_changes(ledger: Ledger) -> None:
    ledger.record(change("same"), change("newer"), change("gone"))

    recorded = ledger.record(
        change("same"), change("newer", "2"), change("gone", None), change("new"), change("never", None), rules=DELETE
    )

    assert recorded == Recorded(new=1, changed=1, removed=1, stale=2)
    assert ledger.states()["gone"] == "held"


def test_a_change_that_only_the_content_can_tell_is_given_back_unrecorded(ledger: Ledger) -> None:
    before, touched = of_file(5, 1000, 1000, 1), of_file(5, 1000, 2000, 1)
    ledger.record(replace(change("a"), version=before), replace(change("b"), version=before))
    ledger.settle(*(ended(claim, Done(), 1, bucket_hash="h") for claim in ledger.claim(0)))
    changes = [replace(change("a", seconds=5), version=touched), replace(change("b", seconds=5), version=touched)]

    recorded = ledger.record(*changes, change("c", "1", 5))
    known = ledger.known()
    again = ledger.record(replace(changes[0], content_hash="h"), replace(changes[1], content_hash="other"))

    assert recorded == Recorded(new=1, stale=1, doubtful=tuple(changes))
    assert known == [("a", before), ("b", before), ("c", "=1")]
    assert again == Recorded(changed=2, stale=1)
    assert ledger.states() == {"a": "fresh", "b": "stale", "c": "stale"}


def test_more_changes_than_one_statement_can_look_up_are_recorded_together(ledger: Ledger) -> None:
    many = [change(f"k{number:05}") for number in range(2345)]
    ledger.record(*many)

    again = ledger.record(*many, change("k00003", "2"), change("k02344", "2"))

    assert again == Recorded(changed=2, stale=2)
    assert len(ledger.known()) == 2345


def test_mirrors_do_not_see_each_other(ledger: Ledger) -> None:
    ledger.record(change("a"))
    ledger.record(change("a", "2"), mirror="other")

    assert [row.wanted for row in ledger.claim(0, mirror="other")] == ["=2"]
    assert ledger.next_due("other") == at(0) + LEASE
    assert ledger.next_due() == at(0)
    assert [row.wanted for row in ledger.claim(0)] == ["=1"]
    assert ledger.give_back_orphans(1, "third") == 0


def test_an_adopted_key_asks_for_nothing(ledger: Ledger) -> None:
    recorded = ledger.record(change("a"), rules=IntakeRules(new_keys=NewKeys.FRESH))

    assert recorded == Recorded(new=1)
    assert ledger.claim(1000) == []


# -- 3: never claimed twice at once -------------------------------------------------------------------


def test_a_claimed_key_is_given_to_nobody_else(ledger: Ledger, open_ledger: OpenLedger) -> None:
    other = open_ledger()
    ledger.record(*(change(f"k{number}") for number in range(5)))

    first, second, third = ledger.claim(0, 3), other.claim(0, 3), ledger.claim(0, 3)

    assert [len(first), len(second), len(third)] == [3, 2, 0]
    assert len({row.key for row in first + second}) == 5
    assert all((row.state, row.claims, row.lease_until) == (State.CLAIMED, 1, at(100)) for row in first + second)


def test_two_threads_with_a_journal_each_share_the_keys_between_them(open_ledger: OpenLedger) -> None:
    ledgers = [open_ledger(), open_ledger()]
    ledgers[0].record(*(change(f"k{number}") for number in range(KEYS)))
    taken: list[list[str]] = [[], []]
    barrier = threading.Barrier(2)

    def work(number: int) -> None:
        barrier.wait(10)
        while keys := ledgers[number].claim_keys(0, 7):
            taken[number] += keys

    threads = [threading.Thread(target=work, args=[number]) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert sorted(taken[0] + taken[1]) == sorted(f"k{number}" for number in range(KEYS))


def test_two_processes_share_the_keys_between_them(ledger: Ledger, file: Path) -> None:
    ledger.record(*(change(f"k{number}") for number in range(KEYS)))
    taken: list[str] = []

    with start(CLAIM_AND_SAY_SO, file) as one, start(CLAIM_AND_SAY_SO, file) as other:
        for process in (one, other):
            assert process.stdout is not None
            process.stdout.readline()
        for process in (one, other):
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        for process in (one, other):
            assert process.stdout is not None
            taken += json.loads(process.stdout.readline())

    assert sorted(taken) == sorted(f"k{number}" for number in range(KEYS))


# -- 4: the generation decides ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "step", [Done(), Retry(timedelta(hours=1)), Hold(timedelta(hours=1)), Park()], ids=lambda step: type(step).__name__
)
def test_a_change_during_a_claim_leaves_the_key_stale(ledger: Ledger, step: NextStep) -> None:
    ledger.record(change("a", "1"))
    (claim,) = ledger.claim(0)

    ledger.record(change("a", "2", 5))
    assert ledger.claim(6) == []
    (row,) = ledger.settle(ended(claim, step, 7))

    assert (row.state, row.wanted, row.due_at) == (State.STALE, "=2", at(7))
    assert [row.wanted for row in ledger.claim(7)] == ["=2"]


def test_without_a_change_a_success_is_the_end_of_it(ledger: Ledger) -> None:
    ledger.record(change("a"))
    (claim,) = ledger.claim(0)

    (row,) = ledger.settle(ended(claim, status=200, reqid="r", bucket_hash="h", seconds=3))

    assert (row.state, row.confirmed, row.bucket_hash, row.last_reqid) == (State.FRESH, "=1", "h", "r")
    assert ledger.claim(10_000) == []
    assert ledger.next_due() is None


def test_a_turn_settles_before_it_claims(ledger: Ledger) -> None:
    ledger.record(change("a"), change("b", "1", 1))
    (a,) = ledger.claim(1, 1)

    def turn(*ends: Settlement, most: int) -> list[str]:
        turned = ledger.journal.settle_and_claim(ends, RULES, mirror=MIRROR, now=at(2), most=most, lease=LEASE)
        return [row.key for row in ledger.run(turned)]

    assert turn(ended(a, Retry(timedelta(0)), 2), most=0) == []
    assert turn(most=1) == ["b"]
    assert turn(most=5) == ["a"]


# -- 5: a claim is a lease ----------------------------------------------------------------------------


def test_an_attempt_cut_short_is_claimed_again_after_its_lease(ledger: Ledger) -> None:
    ledger.record(change("a"))
    (first,) = ledger.claim(0)

    early, second = ledger.claim(99.999999), ledger.claim(100)

    assert early == []
    assert [(row.key, row.claims, row.lease_until) for row in second] == [("a", first.claims + 1, at(200))]


@pytest.mark.parametrize(
    "step", [Done(), Retry(timedelta(0)), Park()], ids=lambda step: type(step).__name__
)  # fmt: skip
def test_settling_a_lapsed_claim_changes_nothing(ledger: Ledger, step: NextStep) -> None:
    ledger.record(change("a"))
    (late,) = ledger.claim(0)
    ledger.claim(100)
    before = ledger.select("SELECT * FROM objects")

    settled = ledger.settle(ended(late, step, 101))

    assert settled == []
    assert ledger.select("SELECT * FROM objects") == before


def test_settling_a_claim_that_was_given_back_changes_nothing(ledger: Ledger) -> None:
    ledger.record(change("a"))
    (late,) = ledger.claim(0)
    ledger.give_back_orphans(1)

    assert ledger.settle(ended(late, Done(), 2)) == []
    assert ledger.states() == {"a": "stale"}


def test_settling_the_same_claim_again_changes_nothing(ledger: Ledger) -> None:
    ledger.record(change("a"))
    (claim,) = ledger.claim(0)
    ledger.settle(ended(claim))

    assert ledger.settle(ended(claim, Park(), 2)) == []
    assert ledger.states() == {"a": "fresh"}


def test_of_claims_settled_together_those_that_lapsed_hold_back_no_other(ledger: Ledger) -> None:
    ledger.record(change("a"), change("b"))
    (late,) = ledger.claim(0, 1)
    others = ledger.claim(100)

    settled = ledger.settle(ended(late, Park(), 101), *(ended(row, Done(), 101) for row in others))

    assert sorted(row.key for row in settled) == ["a", "b"]
    assert ledger.states() == {"a": "fresh", "b": "fresh"}


def test_what_the_dead_had_claimed_is_due_once_their_pulls_have_ended(ledger: Ledger, open_ledger: OpenLedger) -> None:
    ledger.record(change("a"), change("b"))
    ledger.claim(0, 1)
    restarted = open_ledger()

    given_back = restarted.give_back_orphans(5)

    assert given_back == 1
    assert restarted.claim_keys(14.9) == ["b"]
    assert restarted.claim_keys(15) == ["a"]
    assert restarted.give_back_orphans(500) == 2


def test_after_a_lease_lapsed_the_bucket_is_known_to_hold_nothing(ledger: Ledger) -> None:
    ledger.record(change("a", "1"))
    ledger.settle(ended(ledger.claim(0)[0], bucket_hash="h"))
    ledger.record(change("a", "2"))
    ledger.claim(0)
    ledger.claim(100, 0)  # takes nothing, but sees the lease lapse

    recorded = ledger.record(change("a", "1", 200))  # the pull nobody heard of may have stored 2

    assert recorded == Recorded(changed=1, stale=1)
    assert ledger.select("SELECT bucket_hash FROM objects") == [(None,)]


def test_a_removal_whose_claim_lapsed_waits_for_the_guard(ledger: Ledger) -> None:
    ledger.record(change("a"), change("b"))
    ledger.claim(0)
    ledger.record(change("a", None, 5), rules=DELETE)

    claims = ledger.claim(100)

    assert [row.key for row in claims] == ["b"]
    assert ledger.select("SELECT state, due_at, lease_until FROM objects WHERE key = 'a'") == [("held", None, None)]
    assert ledger.next_due() == at(200)


# -- 6: oldest first, and nothing holds back another --------------------------------------------------


def test_due_keys_are_claimed_oldest_first(ledger: Ledger) -> None:
    ledger.record(*(change(f"k{number}", "1", (number * 7) % 20) for number in range(20)))

    order = [key for _ in range(7) for key in ledger.claim_keys(19, 3)]

    assert order == sorted((f"k{number}" for number in range(20)), key=lambda key: int(key[1:]) * 7 % 20)


def test_a_key_that_is_not_due_yet_is_not_claimed(ledger: Ledger) -> None:
    ledger.record(change("later", "1", 50), change("now", "1", 10))

    assert ledger.claim_keys(49) == ["now"]
    assert ledger.claim_keys(50) == ["later"]


def test_a_parked_key_holds_back_no_other(ledger: Ledger) -> None:
    ledger.record(change("bad", "1", 0), change("good", "1", 1))
    (bad,) = ledger.claim(1, 1)
    ledger.settle(ended(bad, Park(), 1))

    assert ledger.claim_keys(2, 1) == ["good"]
    assert ledger.claim_keys(50_000) == ["good"]
    assert ledger.states()["bad"] == "parked"


def test_a_parked_key_is_due_again_when_the_origin_changes(ledger: Ledger) -> None:
    ledger.record(change("bad"))
    ledger.settle(ended(ledger.claim(0)[0], Park()))

    ledger.record(change("bad", "2", 10))

    assert ledger.claim_keys(10) == ["bad"]


def test_the_next_due_time_is_that_of_the_first_retry_or_lease(ledger: Ledger) -> None:
    assert ledger.next_due() is None
    ledger.record(change("a", "1", 5), change("b", "1", 3))
    assert ledger.next_due() == at(3)
    b, a = ledger.claim(5)
    assert ledger.next_due() == at(105)
    ledger.settle(ended(a, Retry(timedelta(seconds=30)), 6))
    assert ledger.next_due() == at(36)
    ledger.settle(ended(b, Park(), 6))
    ledger.settle(ended(ledger.claim(36)[0], Done(), 40))
    assert ledger.next_due() is None


# -- what a row and a coverage hold comes back --------------------------------------------------------


@pytest.mark.parametrize(
    "state",
    [
        pytest.param(Coverage(), id="nothing"),
        pytest.param(Coverage(complete_as_of=at(0.000001)), id="complete"),
        pytest.param(Coverage(lost_since=at(5), lost_reason="queue überlief 😀"), id="lost-before-the-first"),
        pytest.param(Coverage(complete_as_of=at(1), lost_since=at(5), lost_reason="overflow", root="8:1"), id="lost"),
    ],
)
def test_coverage_comes_back_as_it_was_last_remembered(
    ledger: Ledger, open_ledger: OpenLedger, state: Coverage
) -> None:
    ledger.run(ledger.journal.cover(MIRROR, Coverage(complete_as_of=at(-99), lost_since=at(-9), lost_reason="old")))
    ledger.run(ledger.journal.cover("other", Coverage(complete_as_of=at(-5))))

    ledger.run(ledger.journal.cover(MIRROR, state))

    after = open_ledger()
    assert after.run(after.journal.covered(MIRROR)) == state
    assert after.run(after.journal.covered("other")) == Coverage(complete_as_of=at(-5))
    assert after.run(after.journal.covered("never")) == Coverage()


texts = st.none() | st.text(max_size=10)
instants = st.none() | st.datetimes().map(lambda naive: at(0) + (naive - naive.min) / 50)
counts = st.integers(min_value=0, max_value=2**31)
pulls = st.builds(
    Pending,
    operation=st.sampled_from(Operation), began_at=instants.filter(bool), until=instants.filter(bool),
    put_after=st.integers(min_value=2**53, max_value=2**63 - 1), hash_before=texts, looks=counts, timeouts=counts,
    generation=counts, reqid=texts, task=texts,
)  # fmt: skip
rows = st.builds(
    ObjectRow,
    mirror=st.text(max_size=10), key=st.text(max_size=10), wanted=texts, generation=counts, confirmed=texts,
    bucket_hash=texts, state=st.sampled_from(State), stale_since=instants, due_at=instants, attempts=counts,
    strikes=counts, claims=counts, lease_until=instants, last_at=instants, last_status=st.none() | counts,
    last_reqid=texts, last_outcome=st.none() | st.sampled_from(Outcome), last_error=texts, removed_at=instants,
    wanted_at=instants, why=st.none() | st.sampled_from(Why), tries=counts, pending=st.none() | pulls,
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows, rows)
def test_every_column_of_any_row_comes_back_from_the_file(ledger: Ledger, first: ObjectRow, then: ObjectRow) -> None:
    engine = open_engine(url_of(ledger.file), writing=True)
    then = replace(then, mirror=first.mirror, key=first.key)

    with engine.connect() as connection, connection.begin() as transaction:
        Statements(engine.dialect).insert(connection, [first])
        inserted = connection.execute(sa.select(objects)).one()
        Statements(engine.dialect).update(connection, [then])
        updated = connection.execute(sa.select(objects)).one()
        transaction.rollback()
    engine.dispose()

    assert row_from(inserted) == first
    assert row_from(updated) == then


def test_every_column_of_a_settled_row_comes_back_from_the_file(ledger: Ledger, open_ledger: OpenLedger) -> None:
    ledger.record(change("a"))
    ledger.record(change("a", "2", 0.123456))
    (claim,) = ledger.claim(1)
    end = ended(
        claim,
        Retry(timedelta(seconds=0.000001)),
        2,
        status=599,
        reqid="r",
        error="Ü",
        outcome=Outcome.ORIGIN_FAILING,
        found=of_file(1, 2, 3, 4),
        asked_for=of_file(1, 2, 3, 4),
    )
    (settled,) = ledger.settle(end)

    (again,) = open_ledger().claim(3, ALL)

    assert (again.last_at, again.last_status, again.last_reqid, again.last_error) == (at(2), 599, "r", "Ü")
    assert (again.wanted, again.generation, again.attempts, again.strikes) == ("1:2:3:4", 2, 1, 1)
    assert (again.last_outcome, again.stale_since) == (Outcome.ORIGIN_FAILING, at(0))
    assert settled.due_at == at(2.000001)

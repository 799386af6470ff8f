"""Each key's last attempts: written with their settlement or not at all, a ring of a few, read oldest first."""

import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from mirrord.decisions.staleness import Settlement
from mirrord.journal.errors import JournalUnavailable
from mirrord.journal.history import KEPT, Tried, attempts_of
from mirrord.model.attempt import Operation, Outcome
from mirrord.model.row import ObjectRow
from mirrord.model.step import Done, Hold, NextStep, Park, Retry
from tests.journal.conftest import OpenLedger
from tests.journal.ledger import LEASE, MIRROR, RULES, Ledger, at, change, ended

HERE = Path(__file__).parents[2]  # where `tests` can be imported from
AGAIN = Retry(timedelta(0))

SETTLE_AND_SAY_SO = """
import sys
from datetime import timedelta
from pathlib import Path
from mirrord.model.step import Retry
from tests.journal.ledger import Ledger, change, ended
ledger = Ledger(Path(sys.argv[1]))
ledger.record(*(change(f"k{number}") for number in range(5)))
for number in range(100_000):
    ledger.settle(*(ended(row, Retry(timedelta(0)), number, reqid=str(number)) for row in ledger.claim(number)))
    print(number, flush=True)
"""


def history(ledger: Ledger, key: str = "a", mirror: str = MIRROR) -> list[Tried]:
    tried: list[Tried] = ledger.run(ledger.journal.transact(lambda connection: attempts_of(connection, mirror, key)))
    return tried


def reqids(ledger: Ledger, key: str = "a", mirror: str = MIRROR) -> list[str | None]:
    return [tried.reqid for tried in history(ledger, key, mirror)]


def tried_again(ledger: Ledger, number: int, seconds: float | None = None, **also: object) -> ObjectRow:
    """Attempt `number` at every key that is due."""
    claims = ledger.claim(1000)
    when = number if seconds is None else seconds
    (*_, row) = ledger.settle(*(ended(claim, AGAIN, when, reqid=str(number), **also) for claim in claims))
    return row


def test_a_key_that_was_never_asked_for_has_no_history(ledger: Ledger) -> None:
    ledger.record(change("a"))

    assert history(ledger) == []
    assert history(ledger, "never-seen") == []


def test_an_attempt_comes_back_as_it_was(ledger: Ledger, open_ledger: OpenLedger) -> None:
    ledger.record(change("a"), change("b"))
    a, b = ledger.claim(0)
    ledger.settle(
        ended(
            a,
            Park(),
            2.000001,
            operation=Operation.ASYNC_FETCH,
            duration_s=0.123456,
            status=478,
            reqid="r",
            outcome=Outcome.ORIGIN_FAILING,
            error="Ü 😀",
        ),
        ended(b, AGAIN, 3, outcome=None, operation=Operation.DELETE),
    )

    after = open_ledger()

    assert history(after, "a") == [
        Tried(
            at=at(2.000001),
            operation=Operation.ASYNC_FETCH,
            status=478,
            reqid="r",
            outcome=Outcome.ORIGIN_FAILING,
            error="Ü 😀",
            duration=timedelta(seconds=0.123456),
        )
    ]
    assert history(after, "b") == [
        Tried(
            at=at(3),
            operation=Operation.DELETE,
            status=None,
            reqid=None,
            outcome=None,
            error=None,
            duration=timedelta(0),
        )
    ]


@pytest.mark.parametrize("made", [1, KEPT - 1, KEPT, KEPT + 1, 2 * KEPT, 2 * KEPT + 3])
def test_the_last_few_attempts_are_kept_oldest_first(ledger: Ledger, made: int) -> None:
    ledger.record(change("a"))

    for number in range(made):
        tried_again(ledger, number)

    assert reqids(ledger) == [str(number) for number in range(max(0, made - KEPT), made)]


def test_the_ninth_attempt_takes_the_place_of_the_first(ledger: Ledger) -> None:
    ledger.record(change("a"))
    for number in range(KEPT):
        tried_again(ledger, number)
    before = set(ledger.select("SELECT reqid, slot FROM attempts"))

    tried_again(ledger, KEPT)

    after = set(ledger.select("SELECT reqid, slot FROM attempts"))
    assert {reqid for reqid, _ in before - after} == {"0"}
    assert {reqid for reqid, _ in after - before} == {str(KEPT)}
    assert len(after) == KEPT


@pytest.mark.parametrize("made", [3, KEPT + 3])
@pytest.mark.parametrize("step_s", [0, -1], ids=["clock-stands-still", "clock-goes-backwards"])
def test_attempts_keep_their_order_whatever_the_clock_does(ledger: Ledger, made: int, step_s: float) -> None:
    ledger.record(change("a", "1", -100))

    for number in range(made):
        tried_again(ledger, number, step_s * number)

    assert reqids(ledger) == [str(number) for number in range(max(0, made - KEPT), made)]


def test_a_new_version_does_not_begin_a_new_history(ledger: Ledger) -> None:
    ledger.record(change("a", "1"))
    tried_again(ledger, 0)
    tried_again(ledger, 1)
    ledger.record(change("a", "2", 5))

    row = tried_again(ledger, 2, 6)

    assert reqids(ledger) == ["0", "1", "2"]
    assert (row.attempts, row.tries) == (1, 3)


def test_keys_and_mirrors_do_not_touch_each_others_history(ledger: Ledger) -> None:
    ledger.record(change("a"), change("b"))
    ledger.record(change("a"), mirror="other")
    (other,) = ledger.claim(0, mirror="other")
    ledger.settle(ended(other, AGAIN, reqid="other"))
    a, b = ledger.claim(0)
    ledger.settle(ended(a, Park(), reqid="a"), ended(b, AGAIN, reqid="b"))

    for number in range(KEPT + 1):
        tried_again(ledger, number)

    assert reqids(ledger, "a") == ["a"]
    assert reqids(ledger, "b") == [str(number) for number in range(1, KEPT + 1)]
    assert reqids(ledger, "a", "other") == ["other"]


@pytest.mark.parametrize("step", [Done(), AGAIN, Hold(timedelta(1)), Park()], ids=lambda step: type(step).__name__)
def test_every_attempt_is_remembered_however_it_ended(ledger: Ledger, step: NextStep) -> None:
    ledger.record(change("a"))
    (claim,) = ledger.claim(0)

    ledger.settle(ended(claim, step, 1, reqid="r", counts=False))

    assert reqids(ledger) == ["r"]


def test_what_was_only_given_back_is_no_attempt(ledger: Ledger) -> None:
    ledger.record(change("a"))
    for number in range(3):
        (claim,) = ledger.claim(number)
        ledger.settle(ended(claim, AGAIN, number, attempted=False))

    row = tried_again(ledger, 3)

    assert reqids(ledger) == ["3"]
    assert row.tries == 1


def test_a_claim_that_lapsed_leaves_no_attempt(ledger: Ledger) -> None:
    ledger.record(change("a"))
    (late,) = ledger.claim(0)
    ledger.claim(100)

    ledger.settle(ended(late, Done(), 101, reqid="late"))

    assert history(ledger) == []


@pytest.mark.parametrize("late_first", [True, False], ids=["before-it", "after-it"])
def test_a_claim_that_lapsed_leaves_no_attempt_though_the_next_is_settled_with_it(
    ledger: Ledger, late_first: bool
) -> None:
    ledger.record(change("a"))
    (late,) = ledger.claim(0)
    (claim,) = ledger.claim(100)
    ends = [ended(late, Done(), 101, reqid="late"), ended(claim, AGAIN, 101, reqid="in time")]

    ledger.settle(*(ends if late_first else reversed(ends)))

    assert reqids(ledger) == ["in time"]


def test_a_turn_remembers_what_it_settles(ledger: Ledger) -> None:
    ledger.record(change("a"), change("b", "1", 1))
    (a,) = ledger.claim(0)
    ends: list[Settlement] = [ended(a, AGAIN, 2, reqid="r")]

    ledger.run(ledger.journal.settle_and_claim(ends, RULES, mirror=MIRROR, now=at(2), most=5, lease=LEASE))

    assert reqids(ledger) == ["r"]


def test_a_settlement_that_cannot_be_written_leaves_no_attempt(ledger: Ledger) -> None:
    ledger.record(change("a"))
    (claim,) = ledger.claim(0)
    ledger.run(
        ledger.journal.transact(
            lambda connection: connection.exec_driver_sql(
                "CREATE TRIGGER full BEFORE INSERT ON attempts BEGIN SELECT RAISE(ABORT, 'full'); END"
            )
        )
    )

    with pytest.raises(JournalUnavailable):
        ledger.settle(ended(claim, Done(), 1))

    assert ledger.states() == {"a": "claimed"}
    assert history(ledger) == []


def test_an_attempt_and_its_settlement_survive_kill_9_together(file: Path, open_ledger: OpenLedger) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SETTLE_AND_SAY_SO, str(file)], cwd=HERE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for _ in range(20):
            process.stdout.readline()
        process.kill()
        said = process.stdout.read()
    last = int(said.split()[-1]) if said.split() else 19

    after = open_ledger()

    assert process.returncode == -signal.SIGKILL
    for key, tries, reqid in after.select("SELECT key, tries, last_reqid FROM objects"):
        assert tries > last
        # attempt n was given number n - 1
        assert reqids(after, key) == [str(number) for number in range(max(0, tries - KEPT), tries)]
        assert reqid == str(tries - 1)

"""What keeps a mirror from calling: said as a whole, taken back as a whole, and there for whoever asks."""

from datetime import timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mirrord.journal.conditions import in_force
from mirrord.model.condition import Condition
from tests.journal.conftest import OpenLedger
from tests.journal.ledger import MIRROR, Ledger, at

HELD = Condition(name="held", since=at(0.000001), until=at(30), reason="403 Ü 😀", status=403, reqid="r")
ORIGIN = Condition(name="origin", since=at(5), until=None, reason="478")
THROTTLED = Condition(name="throttled", since=at(5), until=at(6), reason="573", status=573)


def say(ledger: Ledger, *conditions: Condition, mirror: str = MIRROR) -> None:
    ledger.run(ledger.journal.set_conditions(mirror, conditions))


def said(ledger: Ledger, mirror: str = MIRROR) -> list[Condition]:
    found: list[Condition] = ledger.run(ledger.journal.transact(lambda connection: in_force(connection, mirror)))
    return found


def test_a_mirror_of_which_nothing_was_said_may_call(ledger: Ledger) -> None:
    assert said(ledger) == []


def test_what_was_said_survives_and_the_longest_lasting_comes_first(ledger: Ledger, open_ledger: OpenLedger) -> None:
    say(ledger, THROTTLED, ORIGIN, HELD)

    assert said(open_ledger()) == [HELD, ORIGIN, THROTTLED]


def test_what_is_said_next_replaces_all_that_was_said(ledger: Ledger) -> None:
    say(ledger, HELD, ORIGIN)

    say(ledger, THROTTLED)

    assert said(ledger) == [THROTTLED]


def test_a_condition_that_lasts_is_told_anew(ledger: Ledger) -> None:
    later = Condition(name="held", since=HELD.since, until=at(90), reason="401", status=401)
    say(ledger, HELD)

    say(ledger, later)

    assert said(ledger) == [later]


def test_all_is_taken_back_with_nothing(ledger: Ledger) -> None:
    say(ledger, HELD, ORIGIN)

    say(ledger)

    assert said(ledger) == []


def test_what_is_said_of_one_mirror_is_not_said_of_another(ledger: Ledger) -> None:
    say(ledger, HELD)
    say(ledger, ORIGIN, mirror="other")

    say(ledger)

    assert (said(ledger), said(ledger, "other")) == ([], [ORIGIN])


instants = st.timedeltas(timedelta(-9999), timedelta(9999)).map(lambda span: at(0) + span)
all_of_them = st.lists(
    st.builds(
        Condition,
        name=st.sampled_from(["held", "origin", "kodo", "throttled"]),
        since=instants,
        until=st.none() | instants,
        reason=st.text(max_size=10),
        status=st.none() | st.integers(min_value=100, max_value=999),
        reqid=st.none() | st.text(max_size=10),
    ),
    unique_by=lambda each: each.name,
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(all_of_them, all_of_them)
def test_any_conditions_come_back_as_they_were_last_said(
    ledger: Ledger, first: list[Condition], then: list[Condition]
) -> None:
    say(ledger, *first)
    say(ledger, *then)

    assert said(ledger) == sorted(then, key=lambda each: (each.since, each.name))

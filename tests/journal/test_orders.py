"""Events that overtake each other: in whatever order and company they come, the newest of each key is recorded."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirrord.journal.statements import LOOKUP_MOST
from mirrord.model.change import Change, Recorded
from mirrord.model.fingerprint import of_file
from tests.journal.conftest import OpenLedger
from tests.journal.ledger import DELETE, MIRROR, Ledger, change, ended, place


def event(key: str, order: str, version: str | None = "", seconds: float = 0) -> Change:
    """An event whose version is named as its order, unless it says otherwise."""
    return replace(change(key, order if version == "" else version, seconds), order=order)


def orders(ledger: Ledger) -> dict[str, str]:
    return dict(ledger.select(f"SELECT key, at_text FROM orders WHERE mirror = '{MIRROR}'"))  # type: ignore[arg-type]


@pytest.mark.parametrize("together", [True, False], ids=["together", "one-by-one"])
def test_an_older_event_is_dropped(ledger: Ledger, together: bool) -> None:
    events = [event("a", "5"), event("a", "3", "late")]

    for changes in [events] if together else [[each] for each in events]:
        ledger.record(*changes)

    assert ledger.known() == [("a", "=5")]
    assert orders(ledger) == {"a": "5"}


@pytest.mark.parametrize("together", [True, False], ids=["together", "one-by-one"])
def test_of_equal_orders_the_later_event_counts(ledger: Ledger, together: bool) -> None:
    events = [event("a", "5"), event("a", "5", "later")]

    for changes in [events] if together else [[each] for each in events]:
        ledger.record(*changes)

    assert ledger.known() == [("a", "=later")]
    assert orders(ledger) == {"a": "5"}


@pytest.mark.parametrize("together", [True, False], ids=["together", "one-by-one"])
def test_a_newer_event_counts(ledger: Ledger, together: bool) -> None:
    events = [event("a", "5"), event("a", "50")]

    for changes in [events] if together else [[each] for each in events]:
        ledger.record(*changes)

    assert ledger.known() == [("a", "=50")]
    assert orders(ledger) == {"a": "50"}


def test_orders_are_compared_by_code_point(ledger: Ledger) -> None:
    for order in ("Z", "a", "\uffff", "\U0001f600", "é"):
        ledger.record(event("a", order))

    assert orders(ledger) == {"a": "\U0001f600"}


def test_a_creation_that_comes_after_its_removal_stays_removed(ledger: Ledger, open_ledger: OpenLedger) -> None:
    ledger.record(event("known", "1"))
    ledger.record(event("known", "3", None), event("never seen", "3", None), rules=DELETE)

    after = open_ledger()
    recorded = after.record(event("known", "2"), event("never seen", "2"), rules=DELETE)

    assert recorded == Recorded()
    assert after.known() == [("known", None)]
    assert orders(after) == {"known": "3", "never seen": "3"}


def test_a_cursor_moves_though_all_that_came_with_it_was_overtaken(ledger: Ledger) -> None:
    ledger.record(event("a", "5"), cursor=place("feed", "1"))

    ledger.record(event("a", "4"), cursor=place("feed", "2"))

    assert ledger.cursor("feed") == "2"


def test_mirrors_have_their_own_orders(ledger: Ledger) -> None:
    ledger.record(event("a", "5"))

    recorded = ledger.record(event("a", "4"), mirror="other")

    assert recorded == Recorded(new=1, stale=1)


def test_changes_without_an_order_are_never_dropped_nor_remembered(ledger: Ledger) -> None:
    ledger.record(event("a", "5"), change("a", "scanned"), change("b"))
    between = ledger.known()
    ledger.record(event("a", "4"), event("c", "1"), change("c", "scanned"), event("c", "0"))

    assert between == [("a", "=scanned"), ("b", "=1")]
    assert ledger.known() == [("a", "=scanned"), ("b", "=1"), ("c", "=scanned")]
    assert orders(ledger) == {"a": "5", "c": "1"}


def test_more_keys_than_one_statement_can_look_up_are_ordered_together(ledger: Ledger) -> None:
    keys = [f"k{number:05}" for number in range(2 * LOOKUP_MOST + 1)]
    ledger.record(*(event(key, "5") for key in keys))

    recorded = ledger.record(*(event(key, "4") for key in keys), event(keys[0], "6"), event(keys[-1], "6"))

    assert recorded == Recorded(changed=2, stale=2)
    assert [key for key, order in orders(ledger).items() if order != "5"] == [keys[0], keys[-1]]


def test_an_event_that_only_the_content_can_decide_keeps_its_turn(ledger: Ledger) -> None:
    ledger.record(replace(change("a"), version=of_file(5, 1, 1, 1)))
    ledger.settle(ended(*ledger.claim(0), bucket_hash="h"))
    touched = replace(change("a", seconds=5), version=of_file(5, 1, 2, 1), order="5")

    doubtful = ledger.record(touched)
    recorded = ledger.record(replace(touched, content_hash="h"))

    assert doubtful == Recorded(doubtful=(touched,))
    assert recorded == Recorded(changed=1)
    assert orders(ledger) == {"a": "5"}


events = st.tuples(st.sampled_from("ab"), st.sampled_from("012345"), st.booleans())


@settings(max_examples=25, deadline=None)
@given(told=st.lists(events, unique_by=lambda each: each[:2], max_size=12), data=st.data())
def test_whenever_and_however_often_events_are_delivered_the_newest_of_each_key_stands(
    told: list[tuple[str, str, bool]], data: st.DataObject
) -> None:
    newest = {key: f"={order}" if there else None for key, order, there in sorted(told)}
    seen = {key for key, order, there in told if there}
    delivered = data.draw(st.permutations(told)) + data.draw(st.lists(st.sampled_from(told or [None])))  # type: ignore[list-item]
    calls = data.draw(st.integers(1, 5))

    with TemporaryDirectory() as directory:
        ledger = Ledger(Path(directory) / "journal.db")
        changes = [event(key, order, order if there else None) for key, order, there in filter(None, delivered)]
        for start in range(0, len(changes), calls):
            ledger.record(*changes[start : start + calls])
        known = dict(ledger.known())
        ledger.close()

    assert {key: version for key, version in newest.items() if version is not None or key in known} == known
    assert set(known) <= seen

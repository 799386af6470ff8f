"""What a scan reads: every key below a place once, in the order in which Python sorts text."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mirrord.journal.store import PAGE
from tests.journal.ledger import Ledger, change

# U+FF5E sorts before the emoji by code point and after it by UTF-16 unit
ODD = ["", " ", "!", "%20", "A", "B", "a", "a!", "a/", "a/b", "a0", "aa", "b\n", "z"]
ODD += ["\u00e9", "e\u0301", "中", "～", "😀", "😀a"]

names = st.text(alphabet="ab/\u00e9\uff5e😀\U0010ffff \n", max_size=6)


def test_keys_come_in_code_point_order(ledger: Ledger) -> None:
    ledger.record(*(change(key) for key in reversed(ODD)))

    assert [key for key, _ in ledger.known()] == sorted(ODD)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(names, max_size=20), names)
def test_the_keys_below_a_place_are_those_that_start_with_it(ledger: Ledger, keys: set[str], below: str) -> None:
    ledger.record(*(change(key) for key in keys))
    ever = {key for key, _ in ledger.known()}  # the examples share one journal: it only grows

    listed = [key for key, _ in ledger.known(below)]

    assert keys <= ever
    assert listed == sorted(key for key in ever if key.startswith(below))


@pytest.mark.parametrize(
    ("below", "listed"),
    [
        pytest.param("", ["a", "a/b", "a/c", "a0", "b/a", "b/b"], id="all"),
        pytest.param("a/", ["a/b", "a/c"], id="a-directory"),
        pytest.param("a", ["a", "a/b", "a/c", "a0"], id="a-prefix"),
        pytest.param("b/", ["b/a", "b/b"], id="the-last-directory"),
        pytest.param("b/b", ["b/b"], id="a-key-itself"),
        pytest.param("aa/", [], id="between"),
        pytest.param("c/", [], id="past-the-end"),
    ],
)
def test_below_a_place_there_is(ledger: Ledger, below: str, listed: list[str]) -> None:
    ledger.record(*(change(key) for key in ("a", "a/b", "a/c", "a0", "b/a", "b/b")))
    ledger.record(change("a/z"), mirror="other")

    assert [key for key, _ in ledger.known(below)] == listed


@pytest.mark.parametrize("count", [PAGE - 1, PAGE, PAGE + 1, 2 * PAGE + 3])
def test_more_keys_than_a_page_are_each_listed_once(ledger: Ledger, count: int) -> None:
    keys = [f"d/{number:06}" for number in range(count)]
    ledger.record(change("c"), *(change(key) for key in keys), change("e"))

    assert [key for key, _ in ledger.known("d/")] == keys
    assert len(ledger.known()) == count + 2


def test_removed_keys_are_listed_as_wanted_no_longer(ledger: Ledger) -> None:
    ledger.record(change("a"), change("b"))
    ledger.record(change("a", None))

    assert ledger.known() == [("a", None), ("b", "=1")]


def test_what_is_recorded_while_a_scan_reads_neither_stops_nor_repeats_it(ledger: Ledger) -> None:
    keys = [f"{number:06}" for number in range(PAGE + 10)]
    ledger.record(*(change(key) for key in keys))
    reading = ledger.journal.known("docs")
    first = next(reading)

    ledger.record(change("000000", "2"), change("zzz"))
    rest = [key for key, _ in reading]

    assert [first[0], *rest] == [*keys, "zzz"]

"""A listing in the journal: pages and their marker survive together; rows are held against it."""

from datetime import timedelta

import pytest

from mirrord.decisions.comparing import CLOCKS_APART_NS, TICK_NS
from mirrord.decisions.staleness import IntakeRules, NewKeys
from mirrord.journal.listing import PAGE, Listing, Progress
from mirrord.journal.tables import to_microseconds
from mirrord.model.change import Change
from mirrord.model.fingerprint import Fingerprint, of_file
from mirrord.model.listing import ListedObject
from tests.journal.conftest import OpenLedger
from tests.journal.ledger import MIRROR, Ledger, at, ended

COMPARED = IntakeRules(new_keys=NewKeys.COMPARED)
V1 = "Fto5o-5ea0sNMlW_75VgGJCv2AcJ"
ANOTHER_V1 = "lhCFgki5yzon0rjN9uJusf6qtsF6"


def version(size_bytes: int = 5) -> Fingerprint:
    return of_file(size_bytes, 1000, 1000, 1)


LATER = 11 + CLOCKS_APART_NS // TICK_NS


def found(key: str, size_bytes: int = 5, hash_: str = V1, put_time: int = LATER) -> ListedObject:
    return ListedObject(key=key, size_bytes=size_bytes, hash=hash_, put_time=put_time)


def change(key: str, size_bytes: int = 5, **also: str) -> Change:
    return Change(key=key, version=version(size_bytes), seen_at=at(0), **also)


def listing_of(ledger: Ledger, of: str = "docs:") -> Listing:
    return Listing(ledger.journal, MIRROR, of)


def keys(ledger: Ledger) -> list[str]:
    return [key for (key,) in ledger.select("SELECT key FROM listed ORDER BY key")]


def test_a_page_and_its_marker_survive_together(ledger: Ledger, open_ledger: OpenLedger) -> None:
    ledger.run(listing_of(ledger).keep([found("a"), found("b")], "next", at(1)))
    ledger.run(listing_of(ledger).keep([found("c")], "", at(2)))

    reopened = open_ledger()

    assert reopened.run(listing_of(reopened).progress()) == Progress(marker="", objects=3, moved_at=at(2))
    assert keys(reopened) == ["a", "b", "c"]


def test_an_object_that_is_listed_twice_counts_once_as_last_seen(ledger: Ledger) -> None:
    listing = listing_of(ledger)
    ledger.run(listing.keep([found("a"), found("a", size_bytes=6)], "next", at(1)))
    ledger.run(listing.keep([found("a", size_bytes=7)], "", at(2)))

    assert list(ledger.select("SELECT key, size_bytes FROM listed")) == [("a", 7)]


def test_a_listing_of_another_bucket_counts_for_nothing_and_is_dropped_with_the_rest(ledger: Ledger) -> None:
    ledger.run(listing_of(ledger, "other:").keep([found("a")], "next", at(1)))

    assert ledger.run(listing_of(ledger).progress()) is None
    ledger.run(listing_of(ledger).drop())
    assert ledger.run(listing_of(ledger, "other:").progress()) is None
    assert keys(ledger) == []


def test_dropping_takes_all_of_one_mirror_and_nothing_of_another(ledger: Ledger) -> None:
    many = [found(f"{number:06}") for number in range(2 * PAGE + 1)]
    ledger.run(listing_of(ledger).keep(many, "next", at(1)))
    ledger.run(Listing(ledger.journal, "another", "docs:").keep([found("a")], "next", at(1)))

    ledger.run(listing_of(ledger).drop())

    assert list(ledger.select("SELECT mirror, key FROM listed")) == [("another", "a")]
    assert list(ledger.select("SELECT mirror FROM cursors")) == [("another",)]


def test_new_keys_are_held_against_the_listing(ledger: Ledger) -> None:
    page = [found("equal"), found("size", size_bytes=6), found("older", put_time=1)]
    ledger.run(listing_of(ledger).keep(page, "", at(1)))
    changes = [change(key) for key in ("equal", "size", "older", "missing")]

    recorded = ledger.record(*changes, rules=COMPARED)

    assert (recorded.new, recorded.stale, recorded.doubtful) == (3, 2, (changes[2],))
    assert ledger.states() == {"equal": "fresh", "size": "stale", "missing": "stale"}


@pytest.mark.parametrize(("hash_", "state"), [(V1, "fresh"), (ANOTHER_V1, "stale"), ("", "stale")])
def test_a_doubtful_key_comes_back_with_its_contents_hash(ledger: Ledger, hash_: str, state: str) -> None:
    ledger.run(listing_of(ledger).keep([found("a", put_time=1)], "", at(1)))

    recorded = ledger.record(change("a", content_hash=hash_), rules=COMPARED)

    assert recorded.doubtful == ()
    assert ledger.states() == {"a": state}


def test_when_thorough_every_equal_size_is_doubtful(ledger: Ledger) -> None:
    ledger.run(listing_of(ledger).keep([found("a"), found("b", size_bytes=6)], "", at(1)))

    recorded = ledger.record(change("a"), change("b"), rules=IntakeRules(new_keys=NewKeys.COMPARED, thorough=True))

    assert [each.key for each in recorded.doubtful] == ["a"]
    assert ledger.states() == {"b": "stale"}


def test_a_key_with_a_row_is_no_more_compared(ledger: Ledger) -> None:
    ledger.run(listing_of(ledger).keep([found("a"), found("b")], "", at(1)))
    ledger.record(change("a"), change("b"), rules=COMPARED)

    recorded = ledger.record(change("a", size_bytes=9), rules=COMPARED)

    assert (recorded.new, recorded.changed) == (0, 1)
    assert ledger.states() == {"a": "stale", "b": "fresh"}


def audited(ledger: Ledger, below: str = "", seconds: float = 100) -> tuple[int, int, int]:
    """Keys drifted, objects seen, objects unknown: all stretches of one audit."""
    listing = listing_of(ledger)
    drifted = seen = unknown = 0
    after: str | None = ""
    while after is not None:
        stretch = ledger.run(listing.mark_drift(after, below, at(seconds - 1), at(seconds)))
        after, drifted = stretch.last, drifted + stretch.found
    after = ""
    while after is not None:
        stretch = ledger.run(listing.count_unknown(after))
        after, seen, unknown = stretch.last, seen + stretch.seen, unknown + stretch.found
    return drifted, seen, unknown


def test_an_audit_makes_stale_what_the_bucket_lost_or_replaced(ledger: Ledger) -> None:
    ledger.run(listing_of(ledger).keep([found(key) for key in "abcd"], "", at(1)))
    ledger.record(*map(change, "abcd"), rules=COMPARED)
    ledger.run(listing_of(ledger).drop())
    page = [found("a"), found("b", hash_=ANOTHER_V1), found("d", size_bytes=6), found("unknown")]
    ledger.run(listing_of(ledger).keep(page, "", at(2)))

    counts = audited(ledger)

    assert counts == (3, 4, 1)
    assert ledger.states() == {"a": "fresh", "b": "stale", "c": "stale", "d": "stale"}
    assert set(ledger.select("SELECT why, last_error, confirmed FROM objects WHERE state = 'stale'")) == {
        ("drifted", "drifted", None)
    }
    # the version is none that was seen only now
    assert set(ledger.select("SELECT wanted_at FROM objects")) == {(to_microseconds(at(0)),)}
    assert sorted(ledger.claim_keys(100)) == ["b", "c", "d"]


def test_an_audit_leaves_alone_what_is_not_fresh_or_newer_than_the_listing(ledger: Ledger) -> None:
    adopted = IntakeRules(new_keys=NewKeys.FRESH)
    ledger.record(change("stale"))
    ledger.record(change("kept"), rules=adopted)
    ledger.record(Change(key="kept", version=None, seen_at=at(1)), rules=adopted)
    ledger.record(change("other/adopted"), rules=adopted)
    ledger.record(change("refreshed"))
    (claim,) = [row for row in ledger.claim(0, lease=timedelta(1)) if row.key == "refreshed"]
    ledger.settle(ended(claim, seconds=99.5))
    ledger.run(listing_of(ledger).keep([found("kept")], "", at(2)))
    before = ledger.states()

    counts = audited(ledger, below="r")

    assert counts == (0, 1, 1)
    assert ledger.states() == before


def test_a_long_audit_sees_every_row_once(ledger: Ledger) -> None:
    many = [f"{number:06}" for number in range(2 * PAGE + 1)]
    ledger.record(*map(change, many), rules=IntakeRules(new_keys=NewKeys.FRESH))
    ledger.run(listing_of(ledger).keep([found(key) for key in many[::2]], "", at(1)))

    drifted, seen, unknown = audited(ledger)

    assert (drifted, seen, unknown) == (PAGE, PAGE + 1, 0)


def test_when_the_last_audit_was_is_remembered(ledger: Ledger, open_ledger: OpenLedger) -> None:
    assert ledger.run(listing_of(ledger).audited_at()) is None
    ledger.run(listing_of(ledger).set_audited_at(at(5)))
    ledger.run(listing_of(ledger).drop())

    reopened = open_ledger()

    assert reopened.run(listing_of(reopened).audited_at()) == at(5)

"""What a listing of the bucket says of a key: a table of every case, and what becomes of the row."""

from datetime import UTC, datetime, timedelta

import pytest

from mirrord.decisions.comparing import (
    CLOCKS_APART_NS,
    TICK_NS,
    Differs,
    Fresh,
    Stale,
    compare,
    drifted,
    first_compared,
)
from mirrord.decisions.planning import Action, planned
from mirrord.decisions.staleness import Doubt
from mirrord.model.attempt import Outcome
from mirrord.model.change import Change
from mirrord.model.fingerprint import Fingerprint, of_file, of_token
from mirrord.model.listing import ListedObject
from mirrord.model.row import ObjectRow, State, Why

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CTIME_NS = 1_767_225_600_123_456_700
TICK = CTIME_NS // 100
LATER = TICK + CLOCKS_APART_NS // TICK_NS
FILE = of_file(5, CTIME_NS - 10**9, CTIME_NS, 7)
MODIFIED = datetime(2026, 1, 1, 1, 2, 3, 999_999, tzinfo=UTC)  # the part of a second is left out
JUST_THEN = int(MODIFIED.timestamp()) * 10**7 + CLOCKS_APART_NS // TICK_NS
TIMED, SIZED = of_token("rev", modified=MODIFIED), of_token("rev", size_bytes=5, etag="x")
WHOLE = of_token("rev", size_bytes=5, etag="modified=1", modified=NOW - timedelta(days=1))
V1 = "Fto5o-5ea0sNMlW_75VgGJCv2AcJ"
ANOTHER_V1 = "lhCFgki5yzon0rjN9uJusf6qtsF6"
V2 = "njrefZHapEMPsMusf006i_J0zpnN"


def listed(size_bytes: int = 5, hash_: str = V1, put_time: int = LATER + 1) -> ListedObject:
    return ListedObject(key="a", size_bytes=size_bytes, hash=hash_, put_time=put_time)


@pytest.mark.parametrize(
    ("version", "found", "thorough", "answer"),
    [
        pytest.param(FILE, None, False, Stale(Differs.MISSING), id="missing"),
        pytest.param(FILE, listed(size_bytes=6), False, Stale(Differs.SIZE), id="another-size"),
        pytest.param(FILE, listed(size_bytes=6), True, Stale(Differs.SIZE), id="another-size-thoroughly"),
        pytest.param(FILE, listed(), False, Fresh(), id="stored-one-tick-later"),
        pytest.param(FILE, listed(put_time=LATER), False, Doubt.DOUBT, id="stored-in-the-same-tick"),
        pytest.param(FILE, listed(put_time=TICK - 1), False, Doubt.DOUBT, id="stored-earlier"),
        pytest.param(FILE, listed(), True, Doubt.DOUBT, id="thorough"),
        pytest.param(FILE, listed(hash_=V2), False, Fresh(), id="stored-later-in-odd-parts"),
        pytest.param(FILE, listed(hash_=V2, put_time=0), False, Stale(Differs.HASH), id="stored-earlier-in-odd-parts"),
        pytest.param(FILE, listed(hash_=V2), True, Stale(Differs.HASH), id="odd-parts-thoroughly"),
        pytest.param(of_token("rev"), None, False, Stale(Differs.MISSING), id="a-feeds-version-missing"),
        pytest.param(of_token("rev"), listed(), False, Stale(Differs.HASH), id="a-feeds-version"),
        pytest.param(TIMED, listed(put_time=JUST_THEN + 1), False, Fresh(), id="a-feeds-stored-one-tick-later"),
        pytest.param(TIMED, listed(put_time=JUST_THEN), False, Stale(Differs.HASH), id="a-feeds-stored-too-early"),
        pytest.param(TIMED, listed(), True, Stale(Differs.HASH), id="a-feeds-thoroughly"),
        pytest.param(SIZED, listed(), False, Stale(Differs.HASH), id="a-feeds-size-alone-proves-nothing"),
        pytest.param(SIZED, listed(size_bytes=6), False, Stale(Differs.SIZE), id="a-feeds-other-size"),
        pytest.param(WHOLE, listed(), False, Fresh(), id="a-feeds-size-and-time"),
        pytest.param(WHOLE, listed(hash_=V2), False, Fresh(), id="a-feeds-size-and-time-in-odd-parts"),
        pytest.param(WHOLE, listed(size_bytes=6), False, Stale(Differs.SIZE), id="a-feeds-time-but-another-size"),
        pytest.param(WHOLE, listed(size_bytes=6), True, Stale(Differs.SIZE), id="a-feeds-other-size-thoroughly"),
    ],
)
def test_a_listing_says(
    version: Fingerprint, found: ListedObject | None, thorough: bool, answer: Fresh | Stale | Doubt
) -> None:
    assert compare(version, found, thorough=thorough) == answer


def compared(found: ListedObject | None, content_hash: str | None = None, **thorough: bool) -> ObjectRow | Doubt | None:
    change = Change(key="a", version=FILE, seen_at=NOW, content_hash=content_hash)
    return first_compared("docs", change, found, **{"thorough": False, **thorough})


def test_a_key_that_the_bucket_holds_is_fresh_and_keeps_the_buckets_hash() -> None:
    assert compared(listed()) == ObjectRow(
        mirror="docs",
        key="a",
        wanted=FILE,
        wanted_at=NOW,
        why=Why.NEW,
        confirmed=FILE,
        bucket_hash=V1,
        state=State.FRESH,
    )


def test_a_key_that_the_bucket_lacks_is_due_at_once_and_says_why() -> None:
    assert compared(None) == ObjectRow(
        mirror="docs",
        key="a",
        wanted=FILE,
        wanted_at=NOW,
        why=Why.DIFFERS,
        state=State.STALE,
        stale_since=NOW,
        due_at=NOW,
        last_error="missing in bucket",
    )


@pytest.mark.parametrize(
    ("content_hash", "state"),
    [
        pytest.param(V1, State.FRESH, id="equal"),
        pytest.param(ANOTHER_V1, State.STALE, id="another"),
        pytest.param("", State.STALE, id="not-computed"),
    ],
)
@pytest.mark.parametrize("thorough", [False, True])
def test_in_doubt_the_content_decides(content_hash: str, state: State, thorough: bool) -> None:
    found = listed(put_time=0)

    row = compared(found, content_hash, thorough=thorough)

    assert compared(found, thorough=thorough) is Doubt.DOUBT
    assert isinstance(row, ObjectRow)
    assert row.state is state
    assert (row.last_error, row.why) == ((None, Why.NEW) if state is State.FRESH else ("hash", Why.DIFFERS))
    assert row.wanted_at == NOW


def test_a_key_that_nobody_has_leaves_no_row() -> None:
    assert first_compared("docs", Change(key="a", version=None, seen_at=NOW), listed(), thorough=False) is None


def test_what_a_snapshot_shows_is_wanted_as_of_when_it_was_made() -> None:
    change = Change(key="a", version=WHOLE, seen_at=NOW, as_of=NOW - timedelta(hours=1))

    rows = [first_compared("docs", change, found, thorough=False) for found in (listed(), None)]

    assert [(row.state, row.wanted_at) for row in rows if isinstance(row, ObjectRow)] == [
        (State.FRESH, change.as_of),
        (State.STALE, change.as_of),
    ]


def fresh(**also: object) -> ObjectRow:
    values: dict[str, object] = {"wanted": FILE, "confirmed": FILE, "state": State.FRESH, "bucket_hash": V1, **also}
    return ObjectRow(mirror="docs", key="a", **values)  # type: ignore[arg-type]  # as a test spells it


@pytest.mark.parametrize(
    ("row", "found", "answer"),
    [
        pytest.param(fresh(), listed(), False, id="as-believed"),
        pytest.param(fresh(), listed(put_time=0), False, id="as-believed-whenever-stored"),
        pytest.param(fresh(), None, True, id="missing"),
        pytest.param(fresh(), listed(size_bytes=6), True, id="another-size"),
        pytest.param(fresh(), listed(hash_=ANOTHER_V1), True, id="another-hash"),
        pytest.param(fresh(), listed(hash_=V2), False, id="a-hash-that-cannot-be-compared"),
        pytest.param(fresh(bucket_hash=V2), listed(), False, id="a-believed-hash-that-cannot-be-compared"),
        pytest.param(fresh(bucket_hash=None), listed(hash_=ANOTHER_V1), False, id="nothing-believed-of-the-hash"),
        pytest.param(fresh(wanted=SIZED), listed(), False, id="a-feeds-size-as-believed"),
        pytest.param(fresh(wanted=SIZED), listed(size_bytes=6), True, id="a-feeds-other-size"),
        pytest.param(fresh(wanted=TIMED), listed(size_bytes=6), False, id="a-feeds-size-nobody-knows"),
        pytest.param(fresh(wanted=TIMED), listed(hash_=ANOTHER_V1), True, id="a-feeds-other-hash"),
        pytest.param(fresh(last_at=NOW), None, True, id="last-asked-for-before-the-listing"),
        pytest.param(fresh(last_at=NOW + timedelta(seconds=2)), None, False, id="asked-for-since"),
        pytest.param(fresh(wanted=None), None, False, id="kept"),
        pytest.param(fresh(state=State.STALE), None, False, id="stale-anyway"),
        pytest.param(fresh(state=State.PARKED), None, False, id="parked"),
        pytest.param(fresh(state=State.CLAIMED), None, False, id="claimed"),
    ],
)
def test_only_what_is_believed_fresh_can_drift(row: ObjectRow, found: ListedObject | None, answer: bool) -> None:
    assert drifted(row, found, NOW + timedelta(seconds=1)) is answer


@pytest.mark.parametrize(
    ("also", "reason", "action"),
    [
        pytest.param({"confirmed": None, "bucket_hash": None}, "new", Action.REFRESH, id="new"),
        pytest.param({"confirmed": None, "last_error": "drifted"}, "drifted", Action.REFRESH, id="drifted"),
        pytest.param({"confirmed": of_file(6, 1, 1, 7)}, "size", Action.REFRESH, id="size"),
        pytest.param({"confirmed": of_file(5, 1, 1, 7)}, "mtime", Action.REFRESH, id="mtime"),
        pytest.param({"confirmed": of_file(5, CTIME_NS - 10**9, 1, 7)}, "hash", Action.REFRESH, id="hash"),
        pytest.param({"wanted": None}, "removed", Action.DELETE, id="removed"),
        pytest.param({"wanted": None, "state": State.HELD}, "removed", Action.NOTHING, id="held"),
        pytest.param({"state": State.CLAIMED}, "asked for", Action.REFRESH, id="claimed-without-news"),
        pytest.param(
            {"confirmed": None, "attempts": 3, "last_at": NOW, "last_outcome": Outcome.REFUSED, "state": State.PARKED},
            "unconfirmed",
            Action.NOTHING,
            id="parked",
        ),
    ],
)
def test_a_plan_says_what_and_why(also: dict[str, object], reason: str, action: Action) -> None:
    plan = planned(fresh(**{"state": State.STALE, **also}))

    assert (plan.reason, plan.action) == (reason, action)

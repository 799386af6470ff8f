"""What a CDN is still to be told of: written with what made it so, and forgotten only as it was told."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from mirrord.decisions.purging import LINGER
from mirrord.journal import purges
from mirrord.journal.purges import Refusal
from mirrord.model.attempt import Outcome
from mirrord.model.fingerprint import of_token
from mirrord.model.purge import Purge
from mirrord.model.step import Retry
from tests.journal.conftest import OpenLedger
from tests.journal.ledger import DELETE, MIRROR, Ledger, at, change, ended


def refresh(ledger: Ledger, *keys: str, seconds: float = 0, version: str = "1", **also: Any) -> None:
    """The keys have a new version, and it is in the bucket."""
    ledger.record(*(change(key, version, seconds) for key in keys))
    ledger.settle(*(ended(claim, seconds=seconds, **{"purge": True, **also}) for claim in ledger.claim(seconds)))


def waiting(ledger: Ledger, mirror: str = MIRROR, most: int = 100) -> list[Purge]:
    found: list[Purge] = ledger.run(purges.first(ledger.journal, mirror, most))
    return found


def counted(ledger: Ledger) -> tuple[int, datetime | None]:
    found: tuple[int, datetime | None] = ledger.run(
        ledger.journal.transact(lambda connection: purges.waiting(connection, MIRROR))
    )
    return found


def tell(ledger: Ledger, done: Sequence[Purge], seconds: float = 0) -> bool:
    left: bool = ledger.run(purges.told(ledger.journal, MIRROR, done, at(seconds)))
    return left


def test_what_made_a_key_fresh_also_says_that_a_cdn_is_to_be_told(ledger: Ledger, open_ledger: OpenLedger) -> None:
    refresh(ledger, "a", seconds=7)

    assert waiting(open_ledger()) == [Purge(key="a", asked=1, since=at(7), due_at=at(7) + LINGER)]


@pytest.mark.parametrize(
    "also",
    [
        pytest.param({"purge": False}, id="nobody-wants-it"),
        pytest.param({"step": Retry(timedelta(0))}, id="not-done"),
        pytest.param({"found": of_token("2")}, id="there-is-another-version"),
        pytest.param({"generation": 0}, id="another-version-came-in"),
        pytest.param({"claims": 99}, id="the-claim-had-lapsed"),
    ],
)
def test_a_key_that_did_not_become_fresh_is_told_to_nobody(ledger: Ledger, also: dict[str, Any]) -> None:
    ledger.record(change("a"))
    (claim,) = ledger.claim()

    ledger.settle(replace(ended(claim, purge=True), **also))

    assert waiting(ledger) == []


def test_a_key_that_was_removed_is_told_as_well(ledger: Ledger) -> None:
    refresh(ledger, "a", purge=False)
    ledger.record(change("a", None, 1), rules=DELETE)
    ledger.release(1)

    (claim,) = ledger.claim(2)
    ledger.settle(ended(claim, seconds=2, outcome=Outcome.REMOVED, purge=True), rules=DELETE)

    assert [each.key for each in waiting(ledger)] == ["a"]


def test_a_key_that_waits_keeps_its_place_when_it_changes_again(ledger: Ledger) -> None:
    refresh(ledger, "a", seconds=1)
    refresh(ledger, "b", seconds=2)
    refresh(ledger, "a", seconds=3, version="2")

    assert [(each.key, each.asked, each.since) for each in waiting(ledger)] == [("a", 2, at(1)), ("b", 1, at(2))]


def test_those_due_first_come_first_and_no_more_than_are_wanted(ledger: Ledger) -> None:
    for seconds, key in enumerate("cab"):
        refresh(ledger, key, seconds=seconds)

    assert [each.key for each in waiting(ledger, most=2)] == ["c", "a"]


def test_what_was_told_is_forgotten(ledger: Ledger) -> None:
    refresh(ledger, "a", "b")
    a, _ = waiting(ledger)

    left = tell(ledger, [a])

    assert not left
    assert [each.key for each in waiting(ledger)] == ["b"]


def test_a_key_that_changed_while_it_was_told_is_told_again(ledger: Ledger) -> None:
    refresh(ledger, "a", seconds=1)
    (before,) = waiting(ledger)
    refresh(ledger, "a", seconds=9, version="2")

    tell(ledger, [before], seconds=8)

    assert waiting(ledger) == [Purge(key="a", asked=2, since=at(8), due_at=at(8) + LINGER)]


def test_a_refused_key_is_remembered_with_the_reason(ledger: Ledger) -> None:
    refresh(ledger, "a", "b")
    a, b = waiting(ledger)
    later = replace(a, strikes=1, due_at=at(60))

    ledger.run(purges.failed(ledger.journal, MIRROR, [later], Refusal(status=400, reqid="r", error="invalid (400000)")))
    refused_left = tell(ledger, [b])

    assert refused_left
    assert waiting(ledger) == [later]
    assert ledger.select("SELECT last_status, last_reqid, last_error FROM purges") == [(400, "r", "invalid (400000)")]


def test_how_many_wait_and_since_when_is_counted_for_each_mirror(ledger: Ledger) -> None:
    before = counted(ledger)
    refresh(ledger, "a", seconds=4)
    refresh(ledger, "b", seconds=9)
    ledger.record(change("c"), mirror="other")
    ledger.settle(*(ended(claim, purge=True) for claim in ledger.claim(mirror="other")))

    assert before == (0, None)
    assert counted(ledger) == (2, at(4))
    assert [each.key for each in waiting(ledger, "other")] == ["c"]

"""The values that flow: frozen, and named as the log and the journal show them."""

import dataclasses
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import pytest

from mirrord.model.attempt import Operation, Outcome, Reply, Verdict
from mirrord.model.change import Change, Recorded, Rejection
from mirrord.model.condition import Condition
from mirrord.model.coverage import Coverage
from mirrord.model.cursor import Cursor
from mirrord.model.fingerprint import FileVersion
from mirrord.model.pending import Pending
from mirrord.model.row import ObjectRow, State, Why
from mirrord.model.step import Done, Hold, Park, Retry

NOW = datetime(2026, 1, 1, tzinfo=UTC)
VALUES = [
    pytest.param(Reply(status=200), id="Reply"),
    pytest.param(Verdict(outcome=Outcome.REFRESHED), id="Verdict"),
    pytest.param(Change(key="k", version=None, seen_at=NOW), id="Change"),
    pytest.param(Cursor(source="feed s", text="1", moved_at=NOW), id="Cursor"),
    pytest.param(Rejection(name="k", reason="r"), id="Rejection"),
    pytest.param(Recorded(), id="Recorded"),
    pytest.param(Coverage(), id="Coverage"),
    pytest.param(FileVersion(size_bytes=0, modified_ns=0, changed_ns=0, inode=0), id="FileVersion"),
    pytest.param(ObjectRow(mirror="m", key="k", wanted=None), id="ObjectRow"),
    pytest.param(Pending(operation=Operation.PREFETCH, began_at=NOW, until=NOW, put_after=0), id="Pending"),
    pytest.param(Condition(name="held", since=NOW, until=None, reason="r"), id="Condition"),
    pytest.param(Retry(timedelta(0)), id="Retry"),
    pytest.param(Hold(timedelta(0)), id="Hold"),
]


@pytest.mark.parametrize("value", VALUES)
def test_a_value_cannot_be_changed(value: Any) -> None:
    name = dataclasses.fields(value)[0].name

    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, name, None)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        pytest.param(
            Outcome,
            "refreshed removed origin-missing origin-failing throttled unavailable refused timed-out",
            id="the-logs-outcome",
        ),
        pytest.param(Operation, "prefetch fetch glb-fetch async-fetch delete", id="the-logs-operation"),
        pytest.param(State, "fresh stale claimed parked held", id="the-journals-state"),
        pytest.param(Why, "new changed removed differs drifted asked", id="the-journals-why"),
    ],
)
def test_programs_may_rely_on_these_words(names: type[StrEnum], said: str) -> None:
    assert [member.value for member in names] == said.split()


def test_a_change_is_known_as_of_its_snapshot_or_since_it_was_seen() -> None:
    change = Change(key="k", version=None, seen_at=NOW)
    of_a_snapshot = dataclasses.replace(change, as_of=NOW - timedelta(hours=1))

    assert (change.known_at, of_a_snapshot.known_at) == (NOW, NOW - timedelta(hours=1))


def test_steps_of_one_kind_are_equal() -> None:
    assert Done() == Done()
    assert Park() == Park()
    assert Done() != Park()

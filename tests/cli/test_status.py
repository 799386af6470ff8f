"""`mirrord status` beside a service, and after one: whether one works with the journal now."""

import asyncio
import json
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mirrord.cli import app
from mirrord.decisions.staleness import IntakeRules, NewKeys, OnRemoved
from mirrord.journal.store import Journal
from mirrord.model.coverage import Coverage
from mirrord.model.cursor import Cursor
from tests.e2e.place import Place, place_at

UNSERVED = "no service works with this journal"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with place_at(tmp_path) as here:
        yield here


def status(place: Place, *arguments: str) -> str:
    env = {"MIRRORD_CONFIG": str(place.settings), "COLUMNS": "80"}
    return CliRunner().invoke(app, ["status", *arguments], env=env).stdout


def document(place: Place) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(status(place, "--json"))
    return found


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_whether_a_service_works_is_told_while_it_does_and_when_it_is_gone(
    place: Place, number: signal.Signals
) -> None:
    place.write("a.txt")
    program = place.run()
    program.until_said("refresh.attempted", key="a.txt", next="done")

    while_it_works, told = status(place), document(place)
    program.send(number)
    program.wait()

    assert UNSERVED not in while_it_works
    assert told["service"] is True
    assert UNSERVED in status(place).splitlines()
    assert document(place)["service"] is False


def feed(path: str) -> dict[str, str]:
    return {"kind": "feed", "format": "jsonl", "url": f"http://127.0.0.1:9/{path}"}


def note(place: Place, source: str, event_at: datetime | None) -> None:
    """As if that much of a feed had been read just now."""
    journal = Journal(f"sqlite:///{place.root}/journal.db")
    journal.open()
    try:
        now = datetime.now(UTC)
        cursor = Cursor(source=source, text="{}", moved_at=now, event_at=event_at)
        asyncio.run(journal.record("docs", [], IntakeRules(on_removed=OnRemoved.KEEP, new_keys=NewKeys.STALE), cursor))
    finally:
        journal.close()


def test_of_the_feeds_that_were_ever_followed_the_present_one_is_shown(place: Place) -> None:
    place.configure({"source": feed("new")})
    note(place, "feed jsonl http://127.0.0.1:9/old", None)
    note(place, "feed jsonl http://127.0.0.1:9/new", datetime.now(UTC) - timedelta(hours=3))

    shown, told = status(place), document(place)["mirrors"][0]["sources"]

    assert [line for line in shown.splitlines() if "feed jsonl" in line] == [
        "docs: feed jsonl http://127.0.0.1:9/new: read 0s ago, newest event 3h ago"
    ]
    assert [each["source"] for each in told] == ["feed jsonl http://127.0.0.1:9/new"]
    assert told[0]["lag_s"] == pytest.approx(3 * 3600, abs=60)


def test_why_a_mirror_is_not_complete_is_a_sentence_below_the_table(place: Place) -> None:
    reason = "completeness is unknown: what is pushed to us tells of changes only; set a `snapshot` to compare with"
    journal = Journal(f"sqlite:///{place.root}/journal.db")
    journal.open()
    asyncio.run(journal.cover("docs", Coverage(lost_since=datetime(2026, 11, 20, 20, tzinfo=UTC), lost_reason=reason)))
    journal.close()

    shown = status(place)

    table, _, below = shown.partition("docs: not complete: ")
    assert "not since" in table
    assert "unknown" not in table
    assert " ".join(below.split()).startswith(reason)
    assert max(map(len, table.splitlines())) <= 80


def test_once_leaves_no_service_behind_and_one_starts_beside_nobody(place: Place) -> None:
    place.write("a.txt")
    place.once()

    before = document(place)["service"]
    program = place.run()

    assert before is False
    assert document(place)["service"] is True
    assert program.stop().code == 0

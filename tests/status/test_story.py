"""What the page tells of a key is what `mirrord explain` tells."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from mirrord.journal.report import KeyReport, report_key
from mirrord.model.attempt import Outcome
from mirrord.model.step import Park
from mirrord.status.story import attempts_of, story_of
from tests.journal.ledger import MIRROR, Ledger, at, change, ended, url_of


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(tmp_path / "journal.db")
    yield opened
    opened.close()


def _parked(ledger: Ledger) -> KeyReport:
    ledger.record(change("a"))
    (claim,) = ledger.claim(10)
    end = ended(claim, Park(), 11, status=404, outcome=Outcome.ORIGIN_MISSING, reqid="RcIAAKYXBIJsj4YY", duration_s=0.5)
    ledger.settle(end)
    return report_key(url_of(ledger.file), MIRROR, "a")


def test_an_attempt_says_when_kodo_was_asked_by_its_own_clock(ledger: Ledger) -> None:
    (attempt,) = attempts_of(_parked(ledger))

    assert attempt.asked_at is not None
    assert (attempt.at, attempt.duration) == (at(11), timedelta(seconds=0.5))


def test_the_story_names_the_x_reqid_and_what_to_type(ledger: Ledger) -> None:
    lines = [line for passage in story_of(_parked(ledger), at(20)) for line in passage.lines]

    assert any(line.startswith("  X-Reqid RcIAAKYXBIJsj4YY") for line in lines)
    assert "  mirrord retry docs a" in lines


def test_there_is_no_story_of_a_key_that_was_never_seen(ledger: Ledger) -> None:
    assert story_of(report_key(url_of(ledger.file), MIRROR, "a"), at(0)) == []

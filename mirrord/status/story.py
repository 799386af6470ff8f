"""What the journal knows of one key to what a person is told of it, on the page as in a terminal."""

from datetime import datetime

from mirrord.decisions.explaining import Attempt, Passage, explained
from mirrord.journal.report import KeyReport
from mirrord.kodo import reqid as reqids


def story_of(found: KeyReport, now: datetime) -> list[Passage]:
    """Nothing, when the key has never been seen."""
    if found.row is None:
        return []
    return explained(found.row, attempts_of(found), found.conditions, found.coverage, now, served=found.served)


def attempts_of(found: KeyReport) -> list[Attempt]:
    """The last ones, the oldest first."""
    return [
        Attempt(
            at=each.at,
            operation=each.operation,
            status=each.status,
            outcome=each.outcome,
            reqid=each.reqid,
            asked_at=reqids.asked_at(each.reqid) if each.reqid else None,
            error=each.error,
            duration=each.duration,
        )
        for each in found.tried
    ]

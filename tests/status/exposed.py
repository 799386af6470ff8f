"""An exposition in which every metric has at least one sample; and promtool, where there is one."""

import shutil
import subprocess
from pathlib import Path

import pytest

from mirrord.journal.report import MirrorReport
from mirrord.model.condition import Condition
from mirrord.model.coverage import Coverage
from mirrord.model.cursor import FEED
from mirrord.model.row import State
from mirrord.status.families import Reported
from mirrord.status.meters import Meters
from mirrord.status.metrics import exposition
from tests.journal.ledger import at, place
from tests.status.standings import mirror, standing
from tests.status.test_meters import attempted

FEED_OF_ANY_CHARACTER = f'{FEED}https://h/?a="b\\\n'
MONITORING = Path(__file__).parent.parent.parent / "monitoring"


def everything() -> bytes:
    """As plain text."""
    meters = Meters(lambda: at(7))
    meters.hear("info", attempted())
    found = {"files": 3, "new": 1, "changed": 1, "removed": 1, "skipped": 0, "duration_s": 0.5}
    meters.hear("info", {"event": "scan.finished", "mirror": "docs", **found})
    meters.hear("warning", {"event": "lines.lost", "lines": 2})
    meters.committed(0.01)
    held = Condition(name="held", since=at(0), until=None, reason="x")
    report = MirrorReport(
        mirror="docs",
        keys=dict.fromkeys(State, 1),
        kept=1,
        oldest_stale_key="a",
        oldest_stale_since=at(1),
        coverage=Coverage(complete_as_of=at(0)),
        sources=(place(FEED_OF_ANY_CHARACTER, "1", 1, event_at=1),),
        untold=2,
        untold_since=at(3),
    )
    stands = standing(mirror(conditions=(held,), feed=FEED_OF_ANY_CHARACTER, cdn_surplus=40))
    return exposition(meters, stands, Reported(reports=[report], at=at(9)), at(10))


def promtool(*arguments: str, given: bytes = b"") -> str:
    """What it objects to."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    command = [program, *arguments]
    ended = subprocess.run(command, input=given, cwd=MONITORING, capture_output=True, timeout=60, check=False)
    return (ended.stdout + ended.stderr).decode() if ended.returncode or ended.stderr else ""

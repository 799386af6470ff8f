"""What `mirrord status` says below its numbers: what fails and why, what to type; whatever keys are called."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from rich.cells import cell_len

from mirrord.decisions.staleness import IntakeRules, NewKeys
from mirrord.model.attempt import Outcome
from mirrord.model.coverage import Coverage
from mirrord.model.step import Done, Park, Retry
from tests.cli.asking import asked, settings_in
from tests.journal.ledger import DELETE, MIRROR, Ledger, at, change, ended

REQID = "LicAAK3CD_l7x-kY"
HOSTILE = [
    "a/" + "x" * 198,
    "<script>alert(1)</script>",
    "new\nline\x1b[2J",
    "\u202etxt.exe",
    "עברית.txt",
    "中文" * 60,
    "two  blanks " * 15,
    "-dash",
    "[bold red]no markup[/] :smile:",
    "q'uote" * 30,
]
COMMANDS = [("status",), ("parked",), ("retry", MIRROR, "--", "held", *HOSTILE), ("refresh", MIRROR, "--", "x" * 200)]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return settings_in(tmp_path)


@pytest.fixture
def ledger(config: Path) -> Iterator[Ledger]:
    ledger = Ledger(config.parent / "journal.db")
    yield ledger
    ledger.close()


def park(ledger: Ledger, *keys: str, status: int = 404, error: str = "no such file") -> None:
    ledger.record(*(change(key) for key in keys))
    failed = {"status": status, "reqid": REQID, "outcome": Outcome.ORIGIN_MISSING, "error": error}
    ledger.settle(*(ended(row, Park(), 1, **failed) for row in ledger.claim(0)))


def fail(ledger: Ledger, *keys: str, error: str = "") -> None:
    ledger.record(*(change(key) for key in keys))
    failed = {"status": 478, "reqid": REQID, "outcome": Outcome.ORIGIN_FAILING}
    ledger.settle(
        *(ended(row, Retry(timedelta(0)), 1, **failed, error=f"{error} {row.key}") for row in ledger.claim(0))
    )


def test_what_fails_is_told_by_reason_with_a_key_and_what_to_type(config: Path, ledger: Ledger) -> None:
    park(ledger, "b.txt", "a.txt")
    fail(ledger, "s1", "s2", "s3", error="its answer was")
    ledger.record(change("waits"))

    told = asked(config, "status", columns=200)

    lines = told.stdout.splitlines()
    parked = next(number for number, line in enumerate(lines) if line.startswith("docs: 2 keys parked"))
    assert lines[parked].endswith(": origin-missing: 404, the origin has no such resource: no such file")
    assert lines[parked + 1] == "    such as 'a.txt'"
    assert lines[parked + 2] == f"    X-Reqid {REQID}, asked last 2026-01-01 00:00:01Z"
    assert lines[parked + 3].startswith("docs: 3 keys stale, the oldest ")
    assert lines[parked + 3].endswith(": its answer was s1 (others had other errors)")
    heading = lines.index("what to type next")
    assert lines[heading + 1 :][-2:] == ["    mirrord explain docs a.txt", "    mirrord parked docs"]


def test_programs_are_told_the_same(config: Path, ledger: Ledger) -> None:
    fail(ledger, "s1", "s2")

    docs, pages = json.loads(asked(config, "status", "--json").stdout)["mirrors"]

    (reason,) = docs["failing"]
    assert (reason["state"], reason["keys"], reason["status"], reason["errors_differ"]) == ("stale", 2, 478, True)
    assert (reason["example"]["key"], reason["example"]["reqid"]) == ("s1", REQID)
    assert (docs["complete"], pages["failing"]) == (False, [])


def test_keys_that_were_not_asked_for_yet_fail_in_nothing(config: Path, ledger: Ledger) -> None:
    ledger.record(change("new"))

    told = asked(config, "status", "--json")

    assert json.loads(told.stdout)["mirrors"][0]["failing"] == []


def test_a_claim_that_is_out_after_failures_counts_as_stale(config: Path, ledger: Ledger) -> None:
    fail(ledger, "s1")
    ledger.claim(5)

    (reason,) = json.loads(asked(config, "status", "--json").stdout)["mirrors"][0]["failing"]

    assert (reason["state"], reason["example"]["state"]) == ("stale", "claimed")


def test_while_all_is_well_there_is_nothing_to_type(config: Path, ledger: Ledger) -> None:
    for mirror in ("docs", "pages"):
        ledger.record(change("a"), mirror=mirror)
        ledger.settle(*(ended(row, Done(), 1) for row in ledger.claim(0, mirror=mirror)))
        ledger.run(ledger.journal.cover(mirror, Coverage(complete_as_of=at(0))))

    told = asked(config, "status")

    assert told.exit_code == 0
    assert "type" not in told.stdout


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: arguments[0])
def test_whatever_keys_are_called_lines_fit_and_nothing_steers_the_terminal(
    config: Path, ledger: Ledger, arguments: tuple[str, ...]
) -> None:
    park(ledger, *HOSTILE, error="\x1b]0;title\x07" + "e" * 300)
    ledger.record(change("held"), rules=IntakeRules(new_keys=NewKeys.FRESH))
    ledger.record(change("held", None, 5), rules=DELETE)
    ledger.run(ledger.journal.cover(MIRROR, Coverage(lost_since=at(7), lost_reason="\x1b[2J" + "r" * 200)))

    told = asked(config, *arguments)

    lines = [*told.stdout.splitlines(), *told.stderr.splitlines()]
    assert lines
    assert max(map(cell_len, lines)) <= 80
    assert all(line.isprintable() for line in lines)


def test_of_every_parked_key_all_is_told_and_no_reqid_is_torn(config: Path, ledger: Ledger) -> None:
    park(ledger, *HOSTILE)

    told = asked(config, "parked")

    joined = "".join(line.removeprefix("    ").removeprefix("    ") for line in told.stdout.splitlines())
    for key in HOSTILE:
        assert repr(key) in joined
    assert sum(f"X-Reqid {REQID}" in line for line in told.stdout.splitlines()) == len(HOSTILE)


@pytest.mark.parametrize(
    ("more", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, False)]
)
def test_a_terminal_is_coloured_unless_somebody_minds(
    config: Path, ledger: Ledger, more: dict[str, str], coloured: bool
) -> None:
    park(ledger, "a.txt")
    dropped = {"NO_COLOR", "FORCE_COLOR", "COLUMNS"}
    environment = {name: value for name, value in os.environ.items() if name not in dropped}
    environment |= {"MIRRORD_CONFIG": str(config), "TERM": "xterm-256color"} | more
    ours, its = pty.openpty()

    subprocess.run([sys.executable, "-m", "mirrord", "status"], env=environment, stdout=its, check=False)
    os.close(its)
    shown = os.read(ours, 65536)
    os.close(ours)

    assert (b"\x1b[1;31m" in shown) == coloured
    assert (b"\x1b" in shown) == coloured


def test_what_is_no_terminal_is_never_coloured(config: Path, ledger: Ledger) -> None:
    park(ledger, "a.txt")
    environment = os.environ | {"MIRRORD_CONFIG": str(config), "FORCE_COLOR": "1", "COLUMNS": ""}

    told = subprocess.run(
        [sys.executable, "-m", "mirrord", "status"], env=environment, capture_output=True, text=True, check=False
    )

    assert "\x1b" not in told.stdout
    assert max(map(len, told.stdout.splitlines())) <= 80


def test_a_locale_that_cannot_write_a_key_gets_it_escaped(config: Path, ledger: Ledger) -> None:
    park(ledger, "中文.txt")
    environment = os.environ | {"MIRRORD_CONFIG": str(config), "PYTHONIOENCODING": "latin-1"}

    told = subprocess.run(
        [sys.executable, "-m", "mirrord", "parked"], env=environment, capture_output=True, text=True, check=False
    )

    assert (told.returncode, told.stderr) == (0, "")
    assert r"'\u4e2d\u6587.txt'" in told.stdout


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("status",), 1),
        (("parked",), 0),
        (("retry", "docs", "--all"), 0),
        (("refresh", "docs", "a.txt"), 1),
        (("release", "docs"), 0),
        (("explain", "docs", "a.txt"), 1),
    ],
    ids=lambda given: given[0] if isinstance(given, tuple) else "",
)
def test_no_command_makes_a_journal_that_the_service_could_not_write_to(
    config: Path, arguments: tuple[str, ...], code: int
) -> None:
    told = asked(config, *arguments)

    assert told.exit_code == code
    assert {path.name for path in config.parent.iterdir()} == {"config.toml"}

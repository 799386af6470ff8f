"""`mirrord explain`: the story from a journal to a terminal, for programs, and of a key that there is not."""

import json
import subprocess
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from rich.cells import cell_len

from mirrord.journal.history import KEPT
from mirrord.journal.lock import ServiceLock
from mirrord.model.attempt import Operation, Outcome
from mirrord.model.change import Change
from mirrord.model.condition import Condition
from mirrord.model.coverage import Coverage
from mirrord.model.fingerprint import of_file
from mirrord.model.pending import Pending
from mirrord.model.step import Done, Park, Retry
from tests.cli.asking import asked, settings_in
from tests.journal.ledger import MIRROR, Ledger, at, change, ended

HOSTILE = "www/\x1b[31m<script>\x07.txt"
FAR = at(10**9)
"""A time that is not over while a test runs."""
REQID = urlsafe_b64encode(b"\1\2\3\4" + int(at(0.5).timestamp() * 10**9).to_bytes(8, "little")).decode()
"""Kodo was asked half a second after the beginning."""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Settings of two mirrors, the keys of `docs` below `www/`; no secret, and no journal yet."""
    return settings_in(tmp_path, 'key_prefix = "www/"', 'include = ["*.html"]')


@pytest.fixture
def ledger(config: Path) -> Iterator[Ledger]:
    ledger = Ledger(config.parent / "journal.db")
    yield ledger
    ledger.close()


def test_a_key_that_was_tried_often_is_told_whole(config: Path, ledger: Ledger) -> None:
    version = of_file(1258291, 1_700_000_000_000_000_000, 1, 2)
    ledger.record(Change(key="www/a.txt", version=version, seen_at=at(0)))
    for number in range(KEPT + 2):
        (claim,) = ledger.claim(10 * number)
        failed = {"outcome": Outcome.ORIGIN_FAILING, "error": f"error {number}", "duration_s": 1.25}
        ledger.settle(ended(claim, Retry(timedelta(0)), 10 * number + 1, status=478, reqid=f"reqid-{number}", **failed))
    ledger.run(ledger.journal.cover(MIRROR, Coverage(complete_as_of=at(5))))

    told = asked(config, "explain", "docs", "www/a.txt", columns=200)

    assert (told.exit_code, told.stderr) == (0, "")
    assert told.stdout.startswith(
        "docs 'www/a.txt'\n\nWhat the origin has\n  1258291 bytes, modified 2023-11-14 22:13:20Z."
    )
    assert "2026-01-01 00:00:00Z" in told.stdout
    assert f"The last {KEPT} attempts of {KEPT + 2}:" in told.stdout
    errors = [line.strip() for line in told.stdout.splitlines() if line.strip().startswith("error ")]
    assert errors == [f"error {number}" for number in range(2, KEPT + 2)]
    assert "X-Reqid reqid-9" in told.stdout
    assert "478, the origin answered neither 200 nor 404" in told.stdout
    assert "asked for again once a service runs" in told.stdout
    assert "missing" not in told.stdout


def test_it_fits_80_columns_and_nothing_in_it_moves_the_cursor(config: Path, ledger: Ledger) -> None:
    ledger.record(change(HOSTILE))
    error = "\x1b[2J中文错误" + "出错了" * 60 + "x" * 200
    ledger.settle(*(ended(row, Park(), 1, status=404, reqid="r" * 16, error=error) for row in ledger.claim(0)))

    told = asked(config, "explain", "docs", HOSTILE)

    lines = told.stdout.splitlines()
    assert told.exit_code == 0
    assert all(line.isprintable() for line in lines)
    assert max(map(cell_len, lines)) <= 80
    assert lines[0] == r"docs 'www/\x1b[31m<script>\x07.txt'"
    assert r"    mirrord retry docs $'www/\x1b[31m<script>\x07.txt'" in lines
    assert r"\x1b[2J中文错误" + "出错了" * 60 + "x" * 200 in "".join(line.strip() for line in lines)


def test_what_is_to_be_typed_is_what_a_shell_reads(config: Path, ledger: Ledger) -> None:
    key = "www/" + "it's long " * 15
    ledger.record(change(key))
    ledger.settle(*(ended(row, Park(), 1, status=404) for row in ledger.claim(0)))

    told = asked(config, "explain", "docs", key)

    typed = told.stdout.partition("It waits for you:\n")[2].partition("  A new version")[0]
    said = subprocess.run(
        ["bash", "-c", "mirrord() { printf '%s\\0' \"$@\"; };" + typed], capture_output=True, text=True, check=True
    )
    assert max(map(cell_len, told.stdout.splitlines())) <= 80
    assert said.stdout.split("\0") == ["retry", "docs", key, ""]


def test_what_keeps_the_mirror_and_what_may_be_missing_is_told(config: Path, ledger: Ledger) -> None:
    ledger.record(change("www/a.txt"))
    held = Condition(name="held", since=at(3), until=FAR, reason="Kodo refuses the account", status=631, reqid="r")
    ledger.run(ledger.journal.set_conditions(MIRROR, [held]))
    ledger.run(ledger.journal.cover(MIRROR, Coverage(lost_since=at(7), lost_reason="overflow")))

    told = asked(config, "explain", "docs", "www/a.txt", columns=200)

    assert "When it last ran: Kodo refuses the account or the bucket since 2026-01-01 00:00:03Z" in told.stdout
    assert "Kodo refuses the account, status 631, X-Reqid r; a service that is started" in told.stdout
    assert "may have been missed (overflow)" in told.stdout


def test_a_pull_without_an_end_is_told(config: Path, ledger: Ledger) -> None:
    ledger.record(change("www/a.txt"))
    pending = Pending(operation=Operation.PREFETCH, began_at=at(0), until=FAR, put_after=1, looks=3, reqid="its-reqid")
    (claim,) = ledger.claim(0)
    ledger.settle(ended(claim, Retry(timedelta(seconds=5)), 1, outcome=Outcome.TIMED_OUT, pending=pending))

    told, document = (
        asked(config, "explain", "docs", "www/a.txt"),
        asked(config, "explain", "docs", "www/a.txt", "--json"),
    )

    assert "A pull that may still be running\n  A prefetch was asked for 2026-01-01 00:00:00Z" in told.stdout
    assert json.loads(document.stdout)["pending"] == {
        "operation": "prefetch",
        "began_at": "2026-01-01T00:00:00Z",
        "until": "2057-09-09T01:46:40Z",
        "looks": 3,
        "reqid": "its-reqid",
        "task": None,
    }


def test_programs_are_told_in_a_document(config: Path, ledger: Ledger) -> None:
    ledger.record(change("www/a.txt"))
    (claim,) = ledger.claim(0)
    ledger.settle(ended(claim, Done(), 1, status=200, reqid=REQID, duration_s=0.5, bucket_hash="Fh"))

    told = asked(config, "explain", "docs", "www/a.txt", "--json")

    document = json.loads(told.stdout)
    story = document.pop("story")
    assert told.exit_code == 0
    assert [each["heading"] for each in story][:2] == ["What the origin has", "What the bucket holds"]
    assert document.pop("tried") == [
        {
            "at": "2026-01-01T00:00:01Z",
            "operation": "prefetch",
            "status": 200,
            "outcome": "refreshed",
            "reqid": REQID,
            "asked_at": "2026-01-01T00:00:00.500000Z",
            "error": None,
            "duration_s": 0.5,
        }
    ]
    assert document == {
        "mirror": "docs",
        "key": "www/a.txt",
        "state": "fresh",
        "stale_since": None,
        "due_at": None,
        "attempts": 0,
        "status": 200,
        "reqid": REQID,
        "outcome": "refreshed",
        "error": None,
        "at": "2026-01-01T00:00:01Z",
        "wanted": "=1",
        "wanted_size": None,
        "wanted_at": "2026-01-01T00:00:00Z",
        "why": "new",
        "removed_at": None,
        "confirmed": "=1",
        "bucket_hash": "Fh",
        "strikes": 0,
        "tries": 1,
        "lease_until": None,
        "pending": None,
        "conditions": [],
        "complete_as_of": None,
        "lost_since": None,
        "service": False,
    }


def test_while_a_service_works_it_is_told_when_it_asks(config: Path, ledger: Ledger) -> None:
    ledger.record(change("www/a.txt"))
    lock = ServiceLock(ledger.file)
    lock.acquire()

    told = asked(config, "explain", "docs", "www/a.txt")
    lock.release()

    assert "What comes next\n  It is asked for as soon as a running service can.\n" in told.stdout
    assert "No service" not in told.stdout


def test_a_path_on_disk_is_told_with_its_key(config: Path, ledger: Ledger) -> None:
    ledger.record(change("www/guide/intro.txt"))

    known = asked(config, "explain", "docs", f"{config.parent}/guide/../guide/intro.txt", columns=250)
    unknown = asked(config, "explain", "docs", f"{config.parent}/none.txt", "--json")
    elsewhere = asked(config, "explain", "docs", f"{config.parent.parent}/none.txt", columns=250)
    root = asked(config, "explain", "docs", f"{config.parent}/", columns=250)

    assert (known.exit_code, known.stdout) == (1, "")
    reason, alike = known.stderr.splitlines()
    assert reason.endswith(": it is a path on disk, and its key is 'www/guide/intro.txt'")
    assert alike == "mirrord: known and alike: 'www/guide/intro.txt'"
    document = json.loads(unknown.stdout)
    assert (document["reason"], document["alike"]) == ("it is a path on disk, and its key is 'www/none.txt'", [])
    for each in (elsewhere, root):
        assert "does not begin with the mirror's key_prefix" in each.stderr


@pytest.mark.parametrize(
    ("mirror", "key", "reason", "alike"),
    [
        ("docs", "guide/intro.txt", "it does not begin with the mirror's key_prefix, 'www/'", "'www/guide/intro.txt'"),
        ("docs", "www/guide/into.txt", "no scan has seen it", "'www/guide/intro.txt'"),
        (
            "docs",
            "www/guide/intro.txt~",
            "the mirror's include and exclude patterns leave it out",
            "'www/guide/intro.txt'",
        ),
        ("pages", "intro.txt", "the mirror's include and exclude patterns leave it out", None),
        ("docs", "www/\x1b[2J", "no scan has seen it", None),
        ("docs", "www/\udcff", "no scan has seen it", None),
    ],
    ids=["without its prefix", "misspelt", "excluded", "not included", "hostile", "no text"],
)
def test_an_unknown_key_is_told_with_the_reason_and_with_keys_like_it(
    config: Path, ledger: Ledger, mirror: str, key: str, reason: str, alike: str | None
) -> None:
    ledger.record(*(change(f"www/{name}") for name in ("guide/intro.txt", "a", "z")))

    told = asked(config, "explain", mirror, key, columns=200)

    assert (told.exit_code, told.stdout) == (1, "")
    first, *others = told.stderr.splitlines()
    assert first.endswith(f": {reason}")
    assert first.isprintable()
    assert others == ([f"mirrord: known and alike: {alike}"] if alike else [])


def test_programs_are_told_of_an_unknown_key_too(config: Path, ledger: Ledger) -> None:
    ledger.record(change("www/intro.txt"))

    told = asked(config, "explain", "docs", "intro.txt", "--json")

    assert (told.exit_code, told.stderr) == (1, "")
    assert json.loads(told.stdout) == {
        "mirror": "docs",
        "key": "intro.txt",
        "state": None,
        "reason": "it does not begin with the mirror's key_prefix, 'www/'",
        "alike": ["www/intro.txt"],
    }


def test_without_a_journal_no_key_is_known_and_none_is_made(config: Path) -> None:
    told = asked(config, "explain", "docs", "www/a.txt")

    assert (told.exit_code, told.stdout) == (1, "")
    assert "no scan has seen it" in told.stderr
    assert not (config.parent / "journal.db").exists()

"""`mirrord parked` and the conditions of `mirrord status`: what waits, why, since when, and the way out."""

import functools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from mirrord.cli.stories import NAMED_MOST
from mirrord.decisions.staleness import IntakeRules, NewKeys
from mirrord.journal.lock import ServiceLock
from mirrord.model.attempt import Outcome
from mirrord.model.condition import Condition
from mirrord.model.step import Park
from tests.cli.asking import asked, settings_in
from tests.journal.ledger import DELETE, MIRROR, Ledger, at, change, ended

FRESH = IntakeRules(new_keys=NewKeys.FRESH)


mirrord = functools.partial(asked, columns=250)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Settings of two mirrors; no secret, and no journal yet."""
    return settings_in(tmp_path)


@pytest.fixture
def ledger(config: Path) -> Iterator[Ledger]:
    ledger = Ledger(config.parent / "journal.db")
    yield ledger
    ledger.close()


def park(ledger: Ledger, *keys: str, status: int = 404, error: str = "no such file") -> None:
    ledger.record(*(change(key) for key in keys))
    failed = {"status": status, "reqid": "its-reqid", "outcome": Outcome.ORIGIN_MISSING, "error": error}
    ledger.settle(*(ended(row, Park(), 1, **failed) for row in ledger.claim(0)))


def test_a_parked_key_is_shown_with_what_was_wrong_since_when_and_the_way_out(config: Path, ledger: Ledger) -> None:
    park(ledger, "a\x1b[2J.txt", error="gone\x07")

    shown = mirrord(config, "parked")

    reason, advice, key, hint = shown.stdout.splitlines()
    assert shown.exit_code == 0
    assert reason == r"docs  parked  1 key: origin-missing: 404, the origin has no such resource: gone\x07"
    assert advice.startswith("    check that the origin's web server gives out this key")
    assert key == r"    'a\x1b[2J.txt'  since 2026-01-01 00:00:01Z, 1 attempt, X-Reqid its-reqid"
    assert hint == "docs: once the reason is gone: mirrord retry docs --all, or mirrord retry docs KEY"


def test_held_removals_have_one_reason_and_their_own_way_out(config: Path, ledger: Ledger) -> None:
    ledger.record(change("a"), change("b"), rules=FRESH)
    ledger.record(change("a", None, 5), change("b", None, 5), rules=DELETE)

    shown = mirrord(config, "parked", "docs")

    reason, first, second, hint = shown.stdout.splitlines()
    assert reason == "docs  held  2 keys: removed at the origin; held by removal_limit until `mirrord release`"
    assert first == "    'a'  since 2026-01-01 00:00:05Z"
    assert second == "    'b'  since 2026-01-01 00:00:05Z"
    assert (
        hint == "docs: what is held is deleted by mirrord release docs, and stays there by mirrord release --drop docs"
    )


def test_many_are_told_by_reason_each_with_its_advice_once(config: Path, ledger: Ledger) -> None:
    park(ledger, *(f"b{number:02}" for number in range(NAMED_MOST)))
    park(ledger, "a1", "a2", status=400, error="bad entry")

    shown = mirrord(config, "parked")

    lines = shown.stdout.splitlines()
    most, few = (number for number, line in enumerate(lines) if line.startswith("docs  parked"))
    assert lines[most] == (
        f"docs  parked  {NAMED_MOST} keys: origin-missing: 404, the origin has no such resource: no such file"
    )
    assert lines[few].startswith("docs  parked  2 keys: ")
    assert lines[few].endswith(": 400, bad entry")
    assert shown.stdout.count("check that the origin's web server") == 1
    assert [line.split()[0] for line in lines if line.startswith("    '")] == [
        *(f"'b{number:02}'" for number in range(NAMED_MOST // 2)),
        "'a1'",
        "'a2'",
    ]
    assert f"    … and {NAMED_MOST // 2} more; --json lists all" in lines


def test_as_many_as_are_named_are_all_named(config: Path, ledger: Ledger) -> None:
    park(ledger, *(f"b{number}" for number in range(NAMED_MOST)))

    shown = mirrord(config, "parked")

    assert "more" not in shown.stdout
    assert shown.stdout.count("    'b") == NAMED_MOST


def test_a_thousand_keys_of_as_many_reasons_are_few_lines(config: Path, ledger: Ledger) -> None:
    ledger.record(*(change(f"k{number}") for number in range(1000)))
    failed = {"status": 599, "reqid": "r", "outcome": Outcome.UNAVAILABLE}
    ledger.settle(*(ended(row, Park(), 1, error=f"of {row.key}", **failed) for row in ledger.claim(0)))

    shown = mirrord(config, "parked")

    assert len(shown.stdout.splitlines()) < 5 * NAMED_MOST
    assert f"docs: … and {1000 - NAMED_MOST} more reasons; --json lists all" in shown.stdout
    assert "ask Qiniu's support" in shown.stdout


def test_words_that_differ_by_nothing_are_one_reason(config: Path, ledger: Ledger) -> None:
    park(ledger, "a", error="no such resource")
    park(ledger, "b", error="")

    shown = mirrord(config, "parked")

    assert shown.stdout.splitlines()[0] == "docs  parked  2 keys: origin-missing: 404, the origin has no such resource"


@pytest.mark.parametrize("command", [("parked",), ("retry", "docs", "--all")], ids=" ".join)
def test_where_kodo_refuses_all_of_a_mirror_that_is_said_too(
    config: Path, ledger: Ledger, command: tuple[str, ...]
) -> None:
    park(ledger, "a")
    breaker = Condition(name="origin", since=at(4), until=None, reason="the origin fails")
    ledger.run(ledger.journal.set_conditions(MIRROR, [HELD, breaker]))
    lock = ServiceLock(ledger.file)
    lock.acquire()

    shown = mirrord(config, *command)
    lock.release()

    (line,) = [line for line in shown.stdout.splitlines() if "refuses the account" in line]
    assert line.startswith("docs: Kodo refuses the account or the bucket since 2026-01-01 00:00:03Z (")
    assert line.endswith(
        ": no such bucket, status 631, X-Reqid r; next try 2057-09-09 01:46:40Z, or at once after a restart"
    )
    assert "origin fails" not in shown.stdout


def test_programs_are_told_all_of_them_with_meaning_and_advice(config: Path, ledger: Ledger) -> None:
    park(ledger, *(f"b{number:02}" for number in range(NAMED_MOST + 5)))
    ledger.record(change("gone"), rules=FRESH)
    ledger.record(change("gone", None, 5), rules=DELETE)

    told = mirrord(config, "parked", "--json")

    docs, pages = json.loads(told.stdout)["mirrors"]
    assert pages == {"mirror": "pages", "keys": []}
    assert [row["key"] for row in docs["keys"]] == [*(f"b{number:02}" for number in range(NAMED_MOST + 5)), "gone"]
    first, held = docs["keys"][0], docs["keys"][-1]
    assert (first["state"], first["status"], first["means"]) == ("parked", 404, "the origin has no such resource")
    assert (first["attempts"], first["at"], first["removed"]) == (1, "2026-01-01T00:00:01Z", False)
    assert first["advice"].startswith("check that the origin's web server")
    assert (held["state"], held["removed"], held["means"], held["advice"]) == ("held", True, None, None)


# -- status ------------------------------------------------------------------------------------------

HELD = Condition(name="held", since=at(3), until=at(10**9), reason="no such bucket", status=631, reqid="r")


def test_status_says_under_its_table_what_keeps_a_mirror_from_calling(config: Path, ledger: Ledger) -> None:
    closed = Condition(name="origin", since=at(4), until=None, reason="the origin\x1b fails")
    ledger.run(ledger.journal.set_conditions(MIRROR, [closed, HELD]))

    shown = mirrord(config, "status")

    service, held, breaker, _, heading, advice = shown.stdout.splitlines()[-6:]
    assert (heading, advice.strip()) == ("what to type next", "mirrord check --online")
    assert shown.exit_code == 1
    assert held.startswith(
        "docs: when it last ran: Kodo refuses the account or the bucket since 2026-01-01 00:00:03Z ("
    )
    assert held.endswith(" d): no such bucket, status 631, X-Reqid r; a service that is started now tries at once")
    assert breaker.startswith("docs: when it last ran: breaker of the origin open since 2026-01-01 00:00:04Z (")
    assert r" d): the origin\x1b fails; " in breaker
    assert service == "no service works with this journal"


def test_status_says_no_more_than_fits_on_a_line(config: Path, ledger: Ledger) -> None:
    ledger.run(ledger.journal.set_conditions(MIRROR, [HELD]))

    shown = mirrord(config, "status", columns=80)

    assert max(map(len, shown.stdout.splitlines())) <= 80
    assert "docs: when it last ran: Kodo refuses" in shown.stdout


def test_status_of_a_service_that_works_says_what_it_does_next(config: Path, ledger: Ledger) -> None:
    ledger.run(ledger.journal.set_conditions(MIRROR, [HELD]))
    lock = ServiceLock(ledger.file)
    lock.acquire()

    shown, told = mirrord(config, "status"), mirrord(config, "status", "--json")
    lock.release()
    after = mirrord(config, "status", "--json")

    (held,) = [line for line in shown.stdout.splitlines() if line.startswith("docs: Kodo refuses")]
    assert held.endswith("next try 2057-09-09 01:46:40Z, or at once after a restart")
    assert (json.loads(told.stdout)["service"], json.loads(after.stdout)["service"]) == (True, False)


def test_status_says_what_is_held(config: Path, ledger: Ledger) -> None:
    ledger.record(change("a"), rules=FRESH)
    ledger.record(change("a", None, 5), rules=DELETE)

    shown = mirrord(config, "status")

    assert "held: removals that wait, see `mirrord parked`" in shown.stdout.splitlines()


def test_status_tells_programs_of_conditions(config: Path, ledger: Ledger) -> None:
    ledger.run(ledger.journal.set_conditions(MIRROR, [HELD]))

    told = mirrord(config, "status", "--json")

    docs, pages = json.loads(told.stdout)["mirrors"]
    assert pages["conditions"] == []
    assert docs["conditions"] == [
        {
            "name": "held",
            "since": "2026-01-01T00:00:03Z",
            "until": "2057-09-09T01:46:40Z",
            "reason": "no such bucket",
            "status": 631,
            "reqid": "r",
        }
    ]

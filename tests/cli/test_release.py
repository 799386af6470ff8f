"""`mirrord release` and `mirrord parked` without a service: what they say, what they change, how they end."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mirrord.model.step import Done, Park
from tests import programs
from tests.journal.ledger import DELETE, Ledger, change, ended

KEYS = ["a 中.txt", "b/c.txt", "b/d.txt"]


def mirrord(config: Path, *arguments: str, anew: bool = False) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MIRRORD_")}
    return programs.run(arguments, kept | {"COLUMNS": "200", "MIRRORD_CONFIG": str(config)}, anew=anew)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Settings of two mirrors; the journal does not exist yet."""
    (tmp_path / "www").mkdir()
    path = tmp_path / "config.toml"
    source = f'{{ kind = "directory", path = "{tmp_path}/www" }}'
    path.write_text(
        f"""
        kodo = {{ access_key = "ak", secret_key = "the-secret" }}
        journal = {{ url = "sqlite:///{tmp_path}/journal.db" }}
        mirror = [
            {{ name = "docs", bucket = "newdocs", on_removed = "delete", source = {source} }},
            {{ name = "pages", bucket = "newpages", source = {source} }},
        ]
        """
    )
    path.chmod(0o600)
    return path


@pytest.fixture
def ledger(config: Path) -> Iterator[Ledger]:
    """The journal: of `docs` three removals are held and one key is parked."""
    ledger = Ledger(config.parent / "journal.db")
    ledger.record(*(change(key) for key in [*KEYS, "parked.txt"]))
    ledger.settle(
        *(
            ended(claim, Park(), 1, status=404, reqid="its-reqid", error="origin has none")
            if claim.key == "parked.txt"
            else ended(claim, Done(), 1, status=200, reqid="another")
            for claim in ledger.claim(0)
        )
    )
    ledger.record(*(change(key, None, 5) for key in KEYS), rules=DELETE)
    yield ledger
    ledger.close()


def test_held_removals_are_let_go(config: Path, ledger: Ledger) -> None:
    ended = mirrord(config, "release", "docs", anew=True)

    assert ended.returncode == 0
    assert ended.stdout == "docs: 3 held removals let go; they are deleted from the bucket next\n"
    assert ledger.states() == dict.fromkeys(KEYS, "stale") | {"parked.txt": "parked"}


def test_held_removals_are_forgotten(config: Path, ledger: Ledger) -> None:
    ended = mirrord(config, "release", "--drop", "docs")

    assert ended.returncode == 0
    assert ended.stdout == "docs: 3 held removals forgotten; the bucket keeps its copies\n"
    assert ledger.states() == dict.fromkeys(KEYS, "fresh") | {"parked.txt": "parked"}


@pytest.mark.parametrize("arguments", [("pages",), ("pages", "--drop")], ids=" ".join)
def test_where_none_is_held_none_is_released(config: Path, ledger: Ledger, arguments: tuple[str, ...]) -> None:
    before = ledger.states()

    ended = mirrord(config, "release", *arguments)

    assert (ended.returncode, ended.stdout) == (0, "pages: no removals are held\n")
    assert ledger.states() == before


@pytest.mark.parametrize("command", ["release", "parked"])
def test_a_mirror_that_there_is_not_is_wrong_usage_and_names_those_there_are(config: Path, command: str) -> None:
    ended = mirrord(config, command, "doc")

    assert (ended.returncode, ended.stdout) == (2, "")
    for part in ("'doc'", "docs", "pages", str(config)):
        assert part in ended.stderr


def test_which_mirror_is_to_be_said(config: Path) -> None:
    ended = mirrord(config, "release")

    assert (ended.returncode, ended.stdout) == (2, "")


@pytest.mark.parametrize("command", [("release", "docs"), ("parked",)], ids=" ".join)
def test_wrong_settings_are_78(config: Path, command: tuple[str, ...]) -> None:
    config.write_text(config.read_text() + '\nlog = { level = "loud" }\n')

    ended = mirrord(config, *command)

    assert (ended.returncode, ended.stdout) == (78, "")
    assert "loud" in ended.stderr


def test_what_waits_for_a_person_is_a_document_for_programs(config: Path, ledger: Ledger) -> None:
    every, one = mirrord(config, "parked", "--json", anew=True), mirrord(config, "parked", "pages", "--json")

    docs, pages = json.loads(every.stdout)["mirrors"]
    assert (docs["mirror"], pages) == ("docs", {"mirror": "pages", "keys": []})
    assert [(row["key"], row["state"]) for row in docs["keys"]] == [
        ("parked.txt", "parked"),
        *((key, "held") for key in KEYS),
    ]
    assert (docs["keys"][0]["status"], docs["keys"][0]["reqid"]) == (404, "its-reqid")
    assert json.loads(one.stdout) == {"mirrors": [{"mirror": "pages", "keys": []}]}


def test_where_nothing_waits_that_is_said_and_no_journal_is_made(config: Path) -> None:
    ended = mirrord(config, "parked")

    assert (ended.returncode, ended.stdout) == (0, "nothing is parked or held\n")
    assert not (config.parent / "journal.db").exists()


def test_status_counts_what_is_held(config: Path, ledger: Ledger) -> None:
    shown, told = mirrord(config, "status"), mirrord(config, "status", "--json")

    docs, _ = json.loads(told.stdout)["mirrors"]
    assert (shown.returncode, told.returncode) == (1, 1)
    assert (docs["keys"]["held"], docs["keys"]["parked"]) == (3, 1)
    header, _, row, *_ = [line for line in shown.stdout.splitlines() if line.strip()]
    headings = header.split()
    assert row.split()[headings.index("held") - len(headings)] == "3"

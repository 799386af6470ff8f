"""Shell completion, as shells ask for it: mirrors and keys, silent where there is nothing to read."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mirrord.cli import completing
from mirrord.model.step import Done, Park
from tests import programs
from tests.cli.asking import settings_in
from tests.journal.ledger import Ledger, change, ended

KEYS = ["a/1.txt", "a/2 b.txt", "a/$(id).txt", "b.txt", "-dash", "new\nline"]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Settings of two mirrors; of `docs` there are keys, one of them is parked."""
    config = settings_in(tmp_path)
    ledger = Ledger(tmp_path / "journal.db")
    ledger.record(*map(change, KEYS))
    ledger.settle(*(ended(row, Park() if row.key == "a/1.txt" else Done(), 1) for row in ledger.claim(0)))
    ledger.close()
    return config


def offered(config: Path, *words: str, shell: str = "bash") -> list[str]:
    """What the program says to a shell in which these words were typed, the last of them not to its end."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MIRRORD_")}
    asked = (
        {"COMP_WORDS": "\n".join(["mirrord", *words]), "COMP_CWORD": str(len(words))}
        if shell == "bash"
        else {"_TYPER_COMPLETE_ARGS": " ".join(["mirrord", *words]), "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    )
    ended = programs.run(
        [], environment | asked | {"_MIRRORD_COMPLETE": f"complete_{shell}", "MIRRORD_CONFIG": str(config)}
    )
    assert ended.stderr == ""
    return [line for line in ended.stdout.splitlines() if line]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("sta",), ["status"]),
        (("status", "--wa"), ["--watch"]),
        (("explain", ""), ["docs", "pages"]),
        (("parked", "d"), ["docs"]),
        (("release", "p"), ["pages"]),
        (("explain", "docs", ""), [r"a/\$\(id\).txt", "a/1.txt", r"a/2\ b.txt", "b.txt"]),
        (("explain", "docs", "a/2"), [r"a/2\ b.txt"]),
        (("explain", "docs", r"a/2\ "), []),
        (("explain", "pages", ""), []),
        (("refresh", "docs", "b.txt", "b"), []),
        (("retry", "docs", ""), ["a/1.txt"]),
        (("retry", "docs", "b"), ["b.txt"]),
    ],
    ids=" ".join,
)
def test_what_may_be_meant_is_offered(config: Path, words: tuple[str, ...], found: list[str]) -> None:
    assert offered(config, *words) == found


def test_other_shells_are_offered_the_same_and_quote_for_themselves(config: Path) -> None:
    assert offered(config, "explain", "docs", "a/2", shell="fish") == ["a/2 b.txt"]
    assert offered(config, "retry", "docs", "", shell="zsh") == ["_arguments '*: :((\"a/1.txt\"))'"]


def test_settings_are_those_that_were_typed(config: Path, tmp_path: Path) -> None:
    nowhere = tmp_path / "none.toml"

    assert offered(nowhere, "explain", "-c", str(config), "p") == ["pages"]
    assert offered(nowhere, "explain", "") == []
    assert offered(nowhere, "explain", "docs", "") == []


def test_without_a_journal_no_key_is_offered_and_none_is_made(tmp_path: Path) -> None:
    config = settings_in(tmp_path)

    assert offered(config, "explain", "docs", "") == []
    assert not (tmp_path / "journal.db").exists()


def test_a_journal_of_many_keys_is_asked_for_no_longer_than_a_person_waits(config: Path) -> None:
    ledger = Ledger(config.parent / "journal.db")
    ledger.record(*(change(f"many/{number:06}") for number in range(20_000)))
    ledger.close()
    began = time.monotonic()
    url = f"sqlite:///{config.parent}/journal.db"

    found = list(completing._asked(url, "docs", "many/", completing._PARKED))
    some = list(completing._asked(url, "docs", "many/", completing._ANY))

    assert (found, len(some)) == ([], completing.MOST)
    assert time.monotonic() - began < 10 * completing.PATIENCE_S


def test_bash_itself_completes(config: Path) -> None:
    """With the script that `--show-completion` prints, and the function that it defines."""
    bin_directory = Path(sys.executable).parent
    script = """
    mirrord() { %s -m mirrord "$@"; }
    source /dev/stdin <<< "$SCRIPT"
    complete -p mirrord
    COMP_WORDS=(mirrord explain docs 'a/2')
    COMP_CWORD=3
    _mirrord_completion mirrord
    printf '<%%s>' "${COMPREPLY[@]}"
    """
    environment = {
        "PATH": f"{bin_directory}:{os.environ['PATH']}",
        "MIRRORD_CONFIG": str(config),
        "HOME": "/nonexistent",
    }
    environment["_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION"] = "1"
    source = subprocess.run(
        [str(bin_directory / "mirrord"), "--show-completion", "bash"],
        env=environment, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip

    ended = subprocess.run(
        ["bash", "--norc", "-c", script % sys.executable],
        env=environment | {"SCRIPT": source}, capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert ended.stdout.splitlines() == ["complete -o default -F _mirrord_completion mirrord", r"<a/2\ b.txt>"], ended

"""Examples: those that can be run are run as they are shown, and help shows them at 80 columns."""

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from mirrord.cli.examples import COMMANDS, Example
from mirrord.model.attempt import Outcome
from mirrord.model.step import Park
from tests.cli.asking import asked
from tests.e2e.place import Place, place_at
from tests.journal.ledger import Ledger, change, ended

EXAMPLES = {each.command: each for shown in COMMANDS.values() for each in shown.examples}
RUN = [pytest.param(each, id=each.command) for each in EXAMPLES.values() if each.ends is not None]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """What the examples have: the mirror `www`, of which `a/b.html` is parked."""
    ledger = Ledger(tmp_path / "journal.db")
    ledger.record(change("a/b.html"), mirror="www")
    failed = {"status": 404, "reqid": "r", "outcome": Outcome.ORIGIN_MISSING}
    ledger.settle(*(ended(row, Park(), 1, **failed) for row in ledger.claim(0, mirror="www")))
    ledger.close()
    path = tmp_path / "config.toml"
    path.write_text(
        f"""
        kodo = {{ access_key = "ak", secret_key = "the-secret" }}
        journal = {{ url = "sqlite:///{tmp_path}/journal.db" }}
        mirror = [{{ name = "www", bucket = "www", source = {{ kind = "directory", path = "{tmp_path}" }} }}]
        """
    )
    path.chmod(0o600)
    return path


@pytest.mark.parametrize("example", RUN)
def test_an_example_ends_as_it_is_said_to(config: Path, example: Example, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(config.parent)
    program, *arguments = shlex.split(example.command)

    done = asked(config, *arguments)

    assert program == "mirrord"
    assert (done.exit_code, done.exception and type(done.exception)) in {
        (example.ends, None), (example.ends, SystemExit)
    }, done.output  # fmt: skip
    assert done.stdout


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Place]:
    with place_at(tmp_path) as here:
        here.write("a/b.html")
        yield here


@pytest.mark.parametrize("command", ["mirrord check --online", "mirrord plan", "mirrord plan --json", "mirrord once"])
def test_an_example_that_asks_kodo_is_run_where_there_is_one(served: Place, command: str) -> None:
    assert command in EXAMPLES

    done = served.start(*shlex.split(command)[1:]).wait()

    assert (done.code, bool(done.out)) == (0, True), done.noise


@pytest.mark.parametrize("path", COMMANDS)
def test_help_shows_examples_and_exit_codes_at_80_columns(config: Path, path: str) -> None:
    shown = asked(config, *path.split(), "--help")

    assert shown.exit_code == 0
    assert max(map(len, shown.stdout.splitlines())) <= 80
    for each in COMMANDS[path].examples:
        assert f"    {each.command}\n" in shown.stdout
    for code, means in COMMANDS[path].exits:
        assert f"    {code:<9} {means}\n" in f"{shown.stdout}\n"

"""`mirrord status` beside a service, and after one: whether one works with the journal now."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mirrord.cli import app
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
    assert status(place).splitlines()[-1] == UNSERVED
    assert document(place)["service"] is False


def test_once_leaves_no_service_behind_and_one_starts_beside_nobody(place: Place) -> None:
    place.write("a.txt")
    place.once()

    before = document(place)["service"]
    program = place.run()

    assert before is False
    assert document(place)["service"] is True
    assert program.stop().code == 0

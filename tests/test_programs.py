"""A program that is forked is one that was started: what it finds, how it ends, what it leaves."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from tests.programs import Forked, Forking, start

PATIENCE_S = 30.0


@contextmanager
def probing(then: str, *, anew: bool) -> Iterator[tuple[subprocess.Popen[str] | Forked, dict[str, Any]]]:
    """A program that has said what it found."""
    process = start([then, "中"], os.environ | {"GIVEN": "a b", "TZ": "Asia/Shanghai"}, module="tests.probe", anew=anew)
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr:
        yield process, json.loads(process.stdout.readline())
        process.kill()
        process.wait(PATIENCE_S)


def test_it_finds_what_a_started_one_finds() -> None:
    with probing("exit", anew=True) as (_, started), probing("exit", anew=False) as (_, forked):
        chances = [found.pop("chance") for found in (started, forked)]

    assert forked == started
    assert forked["environment"]["GIVEN"] == "a b"
    assert forked["open files"] == ["0", "1", "2"]
    assert len({*chances}) == 2


def test_chance_is_not_the_same_for_all() -> None:
    with probing("exit", anew=False) as (_, one), probing("exit", anew=False) as (_, other):
        assert one["chance"] != other["chance"]


@pytest.mark.parametrize("anew", [True, False], ids=["started", "forked"])
def test_it_ends_with_its_exit_code(anew: bool) -> None:
    with probing("exit", anew=anew) as (process, _):
        assert process.wait(PATIENCE_S) == process.poll() == 7


@pytest.mark.parametrize("anew", [True, False], ids=["started", "forked"])
def test_what_nobody_catches_ends_it_with_1_and_a_traceback(anew: bool) -> None:
    with probing("raise", anew=anew) as (process, _):
        assert process.stderr is not None
        said = process.stderr.read()

        assert process.wait(PATIENCE_S) == 1
        assert said.startswith("Traceback")
        assert said.endswith("LookupError: nobody catches this\n")


@pytest.mark.parametrize("anew", [True, False], ids=["started", "forked"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_it(anew: bool, number: signal.Signals) -> None:
    with probing("wait", anew=anew) as (process, _):
        assert process.poll() is None

        process.send_signal(number)

        assert process.wait(PATIENCE_S) == -number
        process.send_signal(number)  # to nobody, and to no other with its number


def test_it_ends_with_the_tests() -> None:
    with closing(Forking()) as forking:
        process = forking.fork("tests.probe", ["wait"], os.environ)
        with process.stdout, process.stderr:
            assert process.stdout.readline()

            forking.close()

            assert process.stdout.read() == ""

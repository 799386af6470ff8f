"""`mirrord status --watch`: looks again until a signal, as lines of JSON, as tables, or on a terminal's own screen."""

import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from datetime import timedelta
from fcntl import ioctl
from pathlib import Path

import pytest

from mirrord.cli.watching import PAUSE_FACTOR, pause_s
from mirrord.model.step import Park
from tests import programs
from tests.cli.asking import asked, settings_in
from tests.journal.ledger import Ledger, change, ended

WATCH = ("status", "--watch", "--every", "1ms")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Settings, and a journal of keys that were parked for nine reasons."""
    config = settings_in(tmp_path)
    ledger = Ledger(tmp_path / "journal.db")
    ledger.record(*(change(f"{number}\x1b[2J") for number in range(9)))
    ledger.settle(*(ended(row, Park(), 1, status=400 + int(row.key[0])) for row in ledger.claim(0)))
    ledger.close()
    return config


def environment(config: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "NO_COLOR", "TERM"}}
    return kept | {"MIRRORD_CONFIG": str(config), "TERM": "xterm-256color"}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["INT", "TERM"])
def test_programs_get_a_document_a_line_until_a_signal_comes(config: Path, number: signal.Signals, code: int) -> None:
    watching = programs.start([*WATCH, "--json"], environment(config))
    assert watching.stdout is not None
    assert watching.stderr is not None

    with watching.stdout as out, watching.stderr as err:
        documents = [json.loads(out.readline()) for _ in range(2)]
        watching.send_signal(number)
        rest, said = out.read(), err.read()

        assert (watching.wait(programs.PATIENCE_S), said) == (code, "")
    assert all(line.endswith("}") for line in rest.splitlines())
    assert documents[0]["at"] < documents[1]["at"]
    assert [each["name"] if "name" in each else each["mirror"] for each in documents[0]["mirrors"]] == ["docs", "pages"]


def test_where_there_is_no_terminal_each_look_is_a_table_of_its_own(config: Path) -> None:
    watching = programs.start(WATCH, environment(config))
    assert watching.stdout is not None
    assert watching.stderr is not None

    with watching.stdout as out, watching.stderr:
        lines: list[str] = []
        while sum(line.startswith("mirror ") for line in lines) < 2:
            lines.append(out.readline())
        watching.send_signal(signal.SIGINT)
        out.read()

        assert watching.wait(programs.PATIENCE_S) == 130
    assert "\x1b" not in "".join(lines)
    assert max(map(len, lines)) <= 81


def test_a_terminal_is_drawn_over_without_flowing_over_and_is_left_as_it_was(config: Path) -> None:
    ours, its = pty.openpty()
    ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 12, 80, 0, 0))
    command = [sys.executable, "-m", "mirrord", *WATCH]
    watching = subprocess.Popen(command, env=environment(config), stdout=its, stderr=its)
    os.close(its)
    shown = b""

    while b"\x1b[J" not in shown:
        shown += os.read(ours, 65536)
    watching.send_signal(signal.SIGINT)
    while b"\x1b[?1049l" not in shown:
        shown += os.read(ours, 65536)
    code = watching.wait(programs.PATIENCE_S)
    os.close(ours)

    before, _, screen, *_ = shown.decode().split("\x1b[H")
    assert code == 130
    assert before.endswith("\x1b[?1049h")
    assert screen.count("\n") <= 11
    assert "more lines; `mirrord status` shows all" in screen
    assert "\x1b[1;31m" in screen  # parked, red
    assert b"\x1b[2J" not in shown


@pytest.mark.parametrize(
    ("period_s", "took_s", "pause"), [(2, 0.001, 2), (2, 1.0, PAUSE_FACTOR), (0, 0.5, PAUSE_FACTOR / 2)]
)
def test_a_long_look_is_followed_by_a_longer_rest(period_s: float, took_s: float, pause: float) -> None:
    assert pause_s(timedelta(seconds=period_s), took_s) == pause


def test_a_period_that_is_none_is_wrong_usage(config: Path) -> None:
    told = asked(config, "status", "--watch", "--every", "often")

    assert told.exit_code == 2
    assert "'often' is not a duration" in told.stderr


def test_a_journal_that_cannot_be_read_ends_it(config: Path) -> None:
    (config.parent / "journal.db").write_bytes(b"this is no database" * 100)

    told = asked(config, *WATCH)

    assert (told.exit_code, told.stdout) == (1, "")
    assert "journal.db" in told.stderr

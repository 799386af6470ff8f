"""Whoever reads the log stands still: the service goes on, and says afterwards how much was lost."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from mirrord.model.row import State
from tests import programs
from tests.e2e.place import NOW_AND_THEN_S, PATIENCE_S, Place

KEYS = [f"{n:03}.txt" for n in range(300)]
"""A line for each is more than a pipe holds, or the queue of a socket."""
# In a mount namespace of its own: the socket in the folder $0 is the journal's.
JOURNAL_AT = 'mount -t tmpfs run /run && mkdir -p "$1" && mount --bind "$0" "$1" && shift && exec "$@"'


@contextmanager
def running(place: Place, confined: Sequence[str] = ()) -> Iterator[subprocess.Popen[str] | programs.Forked]:
    """The service; its stderr is read by the test, or by nobody."""
    dropped = ("MIRRORD_", "NOTIFY_", "http_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    environment["MIRRORD_CONFIG"] = str(place.settings)
    process = programs.start(("run",), environment, confined=confined)
    assert process.stdout is not None
    assert process.stderr is not None
    with process.stdout, process.stderr:
        try:
            yield process
        finally:
            process.kill()
            process.wait(PATIENCE_S)


def write(place: Place, keys: Sequence[str]) -> None:
    for key in keys:
        place.write(key)


def until_fresh(place: Place, keys: Sequence[str]) -> None:
    """Wait until these, and no others, are known and fresh."""
    deadline = time.monotonic() + PATIENCE_S
    look_again = threading.Event()
    while (known := place.report().keys)[State.FRESH] < len(keys):
        assert time.monotonic() < deadline, known
        look_again.wait(NOW_AND_THEN_S)
    assert place.report().settled


def test_a_pipe_that_nobody_reads_from_stops_nothing(place: Place) -> None:
    with running(place) as service:
        stderr = service.stderr
        assert stderr is not None
        while "service.started" not in stderr.readline():
            pass

        write(place, KEYS)
        until_fresh(place, KEYS)
        told = [json.loads(stderr.readline())]  # somebody reads again
        place.write("later.txt")
        while not {"later.txt", "lines.lost"} <= {line.get("key", line["event"]) for line in told}:
            told.append(json.loads(stderr.readline()))
        until_fresh(place, [*KEYS, "later.txt"])
        service.send_signal(signal.SIGTERM)
        told += map(json.loads, stderr)

        assert service.wait(PATIENCE_S) == 0
    attempted = [line for line in told if line["event"] == "refresh.attempted"]
    lost = sum(line["lines"] for line in told if line["event"] == "lines.lost")
    assert lost >= len(KEYS) + 1 - len(attempted) > 50
    assert place.differing([*KEYS, "later.txt"]) == set()


@pytest.fixture
def journald(tmp_path: Path) -> Iterator[socket.socket]:
    """Listens as journald does, at `tmp_path / "j/socket"`."""
    (tmp_path / "j").mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "j/socket"))
        listener.settimeout(PATIENCE_S)
        yield listener


@pytest.fixture
def beside_journald(tmp_path: Path) -> tuple[str, ...]:
    """What to run the program under so that it finds `journald` as its journal."""
    apart = ("unshare", "--map-root-user", "--mount")
    if shutil.which("unshare") is None or subprocess.run([*apart, "true"], check=False, capture_output=True).returncode:
        pytest.skip("unshare cannot make a mount namespace here")
    return (*apart, "sh", "-c", JOURNAL_AT, str(tmp_path / "j"), "/run/systemd/journal")


def test_a_journal_that_reads_nothing_stops_nothing(
    place: Place, journald: socket.socket, beside_journald: tuple[str, ...]
) -> None:
    place.configure(log={"format": "journal"})
    with running(place, beside_journald) as service:
        while b"EVENT=service.started\n" not in journald.recv(65536):
            pass

        write(place, KEYS)
        until_fresh(place, KEYS)
        told = journald.recv(65536)  # it reads again
        place.write("later.txt")
        while b"KEY=later.txt\n" not in told or b"EVENT=lines.lost\n" not in told:
            told += journald.recv(65536)
        until_fresh(place, [*KEYS, "later.txt"])
        service.send_signal(signal.SIGTERM)
        while b"EVENT=service.stopped\n" not in told:
            told += journald.recv(65536)

        assert service.wait(PATIENCE_S) == 0
    lost = sum(map(int, re.findall(rb"^LINES=(\d+)$", told, re.MULTILINE)))
    assert lost >= len(KEYS) + 1 - told.count(b"EVENT=refresh.attempted\n") > 50
    assert place.differing([*KEYS, "later.txt"]) == set()

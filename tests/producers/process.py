"""A child process that serves on a port of its own, and ends when its block does, however that ends."""

import secrets
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.programs import HERE

LOOPBACK = "127.0.0.1"
PATIENCE_S = 10.0
_GLANCE_S = 0.01
_PORTS = range(20000, 32000)
"""Below those that the kernel gives to connections, so that nobody takes a port while its server is down."""


class Process:
    """A command, started any number of times; what it says is in `log`. Without a port it is up at once."""

    def __init__(self, command: Sequence[str], log: Path, *, port: int | None = None) -> None:
        self._command = command
        self._log = log
        self._port = port
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert self._child is None, "it runs already"
        with self._log.open("ab") as log:
            self._child = subprocess.Popen(
                [*_tied(), *self._command], cwd=HERE, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        if self._port is not None:
            self._until_it_listens(self._port)

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def close(self) -> None:
        if self._child is not None:
            self.kill()

    def _end(self, number: signal.Signals) -> None:
        assert self._child is not None, "it does not run"
        child, self._child = self._child, None
        child.send_signal(number)
        try:
            child.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            raise AssertionError(f"it does not end on {number.name}: {self._said()}") from None

    def _until_it_listens(self, port: int) -> None:
        assert self._child is not None
        deadline = time.monotonic() + PATIENCE_S
        while not _listens(port):
            try:
                code = self._child.wait(_GLANCE_S)
            except subprocess.TimeoutExpired:
                assert time.monotonic() < deadline, f"it does not listen: {self._said()}"
            else:
                self._child = None
                raise AssertionError(f"it ended at once with {code}: {self._said()}")

    def _said(self) -> str:
        return self._log.read_text(errors="replace")[-2000:]


@contextmanager
def running(process: Process) -> Iterator[Process]:
    try:
        process.start()
        yield process
    finally:
        process.close()


def free_port() -> int:
    """A port that nobody listens on, and that no outgoing connection will have."""
    while True:
        port = secrets.choice(_PORTS)
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind((LOOPBACK, port))
            except OSError:
                continue
            return port


def _listens(port: int) -> bool:
    with socket.socket() as trial:
        return trial.connect_ex((LOOPBACK, port)) == 0


def _tied() -> tuple[str, ...]:
    """What makes a child die with this process even when it is killed; the kernel ties it to the thread, though."""
    if threading.current_thread() is not threading.main_thread() or shutil.which("setpriv") is None:
        return ()
    return ("setpriv", "--pdeathsig", "KILL")

"""`mirrord` as a process: forked from one that has imported everything, or started as its users start it.

Of the second that a short program costs, most is imports; a fork saves them, and nothing else. With
MIRRORD_TEST_EXEC=1 in the environment none is forked.
"""

import atexit
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

HERE = Path(__file__).parent.parent
PATIENCE_S = 30.0


class Forked:
    """What `subprocess.Popen` is to a process that is started: as much of it as the tests use."""

    def __init__(self, pidfd: int, ending: int, stdout: IO[str], stderr: IO[str]) -> None:
        self.stdout = stdout
        self.stderr = stderr
        self.returncode: int | None = None
        self._pidfd = pidfd
        self._ending = ending

    def poll(self) -> int | None:
        """How it ended, as subprocess tells it; None: it has not."""
        return self._ended_within(0)

    def wait(self, timeout: float) -> int:
        code = self._ended_within(timeout)
        if code is None:
            raise TimeoutError(f"it has not ended within {timeout} s")
        return code

    def _ended_within(self, timeout_s: float) -> int | None:
        if self.returncode is None and select.select([self._ending], [], [], timeout_s)[0]:
            self.returncode = int(os.read(self._ending, 16))
            os.close(self._ending)
            os.close(self._pidfd)
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            signal.pidfd_send_signal(self._pidfd, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


class Forking:
    """A zygote for this process, with which it ends."""

    def __init__(self) -> None:
        self._asked, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._asked.settimeout(PATIENCE_S)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.zygote", str(theirs.fileno())], cwd=HERE, pass_fds=[theirs.fileno()]
            )

    def fork(self, module: str, arguments: Sequence[str], environment: Mapping[str, str]) -> Forked:
        wanted = {
            "module": module,
            "arguments": [*arguments],
            "environment": dict(environment),
            "directory": str(Path.cwd()),
        }
        (out, its_out), (err, its_err), (ending, its_ending) = os.pipe(), os.pipe(), os.pipe()
        its = [its_out, its_err, its_ending]
        try:
            socket.send_fds(self._asked, [json.dumps(wanted).encode()], its)
            _, (pidfd,), _, _ = socket.recv_fds(self._asked, 16, 1)
        except (OSError, ValueError) as exc:  # no answer, or one without a child
            raise RuntimeError("the zygote has ended; on stderr it says why") from exc
        finally:
            for each in its:
                os.close(each)
        return Forked(pidfd, ending, os.fdopen(out), os.fdopen(err))

    def close(self) -> None:
        self._asked.close()
        self._process.wait(PATIENCE_S)


@functools.cache
def forking() -> Forking:
    started = Forking()
    atexit.register(started.close)
    return started


def _of_python(environment: Mapping[str, str]) -> dict[str, str]:
    """What an interpreter looks at once, when it begins."""
    return {name: text for name, text in environment.items() if name.startswith(("PYTHON", "LANG", "LC_"))}


def start(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    *,
    module: str = "mirrord",
    confined: Sequence[str] = (),
    anew: bool = False,
) -> subprocess.Popen[str] | Forked:
    """Run `python -m MODULE`; anew, or below the command line `confined`, in an interpreter of its own."""
    if anew or confined or "MIRRORD_TEST_EXEC" in os.environ or _of_python(environment) != _of_python(os.environ):
        command = [*confined, sys.executable, "-m", module, *arguments]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    return forking().fork(module, arguments, environment)


def run(
    arguments: Sequence[str], environment: Mapping[str, str], *, anew: bool = False
) -> subprocess.CompletedProcess[str]:
    """The same until it has ended by itself."""
    process = start(arguments, environment, anew=anew)
    assert process.stdout is not None
    assert process.stderr is not None
    errors: list[str] = []
    reading = threading.Thread(target=lambda: errors.extend(process.stderr), name="stderr")
    reading.start()
    with process.stdout, process.stderr:
        said = process.stdout.read()
        reading.join()
        return subprocess.CompletedProcess([*arguments], process.wait(PATIENCE_S), said, "".join(errors))

"""A command line to what its process cost: wall clock, processor time, peak memory, and what it said."""

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parent.parent
PATIENCE_S = 120.0
"""No measured process takes longer; one that does is killed and the benchmark fails."""


class BenchFailed(Exception):
    """A benchmark could not be measured; the text says why."""


class Skipped(Exception):
    """This machine lacks something; the text says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """One process, from its start to its end."""

    wall_s: float
    cpu_s: float
    peak_bytes: int
    stdout: str


def environment() -> dict[str, str]:
    """The environment without settings of the person's own mirrord."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("MIRRORD_")}
    return kept | {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


def module(name: str, *arguments: str) -> list[str]:
    """The command line of a Python module, in this interpreter."""
    return [sys.executable, "-m", name, *arguments]


def measure(command: Sequence[str], *, stderr: Path | None = None) -> Cost:
    """Run `command` to its end. Raises BenchFailed when it fails, with the last of what it said."""
    with tempfile.TemporaryFile() as said, _opened(stderr) as complained:
        began = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL, stdout=said, stderr=complained
        )
        status, usage = _wait(process, began + PATIENCE_S)
        wall_s = time.perf_counter() - began
        said.seek(0)
        stdout = said.read().decode()
        if status != 0:
            complained.seek(0)
            last = complained.read().decode(errors="replace")[-2000:]
            raise BenchFailed(f"{' '.join(command)}: exit status {status}\n{stdout[-1000:]}{last}")
    return Cost(wall_s=wall_s, cpu_s=usage.ru_utime + usage.ru_stime, peak_bytes=usage.ru_maxrss * 1024, stdout=stdout)


def _wait(process: subprocess.Popen[bytes], until: float) -> tuple[int, resource.struct_rusage]:
    """Exit status and usage; the process never outlives this."""
    try:
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                process.returncode = os.waitstatus_to_exitcode(status)  # else Popen would wait for it again
                return process.returncode, usage
            if time.perf_counter() > until:
                raise BenchFailed(f"{process.args!r}: still running after {PATIENCE_S:.0f} s")
            time.sleep(0.002)
    finally:
        if process.returncode is None:
            process.kill()
            process.wait()


@contextmanager
def _opened(path: Path | None) -> "Iterator[IO[bytes]]":
    with tempfile.TemporaryFile() if path is None else path.open("w+b") as file:
        yield file


@contextmanager
def running(command: Sequence[str], *, stderr: Path | None = None) -> "Iterator[subprocess.Popen[str]]":
    """A process that serves while the block runs, and is ended with it. Its first line on stdout is for the caller."""
    with _opened(stderr) as complained:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complained,
            text=True,
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.communicate(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()

"""Commands to child processes that end when this process does, however it ends."""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import IO

PATIENCE_S = 10.0
LONGEST_LINE_BYTES = 2**20
_GUARD = "import os, signal, sys; sys.stdin.buffer.read(); os.killpg(0, signal.SIGKILL)"
_NOT_INHERITED = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "CREDENTIALS_DIRECTORY", "JOURNAL_STREAM")


class Children:
    """Starts `mirrord` processes in one process group, away from the terminal's Ctrl-C."""

    def __init__(self, group: int) -> None:
        self._group = group

    async def start(self, *arguments: str, stdout: int | IO[bytes] = DEVNULL, stderr: int | IO[bytes]) -> Process:
        """`mirrord` with `arguments`, by the same interpreter and code as this process."""
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "mirrord", *arguments),
            stdin=DEVNULL,
            stdout=stdout,
            stderr=stderr,
            process_group=self._group,
            limit=LONGEST_LINE_BYTES,
            env=_environment(),
        )


@asynccontextmanager
async def guarded() -> AsyncIterator[Children]:
    """Children, for as long as the block lasts.

    A guard leads their group and reads a pipe that only this process can write to. Once that is closed,
    be it by SIGKILL, the guard kills the group.
    """
    guard = await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", "-c", _GUARD), stdin=PIPE, stdout=DEVNULL, stderr=DEVNULL, process_group=0
    )
    assert guard.stdin is not None
    try:
        yield Children(guard.pid)
    finally:
        guard.stdin.close()
        await guard.wait()


async def stopped(process: Process) -> int:
    """Ask the process to end, insist after PATIENCE_S; its exit code."""
    with suppress(ProcessLookupError):
        process.terminate()
    with suppress(TimeoutError):
        async with asyncio.timeout(PATIENCE_S):
            return await process.wait()
    with suppress(ProcessLookupError):
        process.kill()
    return await process.wait()


def _environment() -> dict[str, str]:
    """This process's, less what would change a service's settings or send it elsewhere than to loopback."""
    return {
        name: text
        for name, text in os.environ.items()
        if not (name.upper().startswith("MIRRORD_") or name.lower().endswith("_proxy") or name in _NOT_INHERITED)
    }

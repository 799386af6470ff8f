"""The service as a process of its own: started, killed, started again, over one journal and one log."""

import asyncio
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from mirrord.cli.demo_kodo import BUCKET, LocalKodo
from mirrord.cli.demo_log import ServiceLog
from mirrord.cli.demo_processes import Children, stopped

MIRROR = BUCKET
_REST_OF_SETTINGS = """\
[log]
format = "json"

[status]
listen = ""

[[mirror]]
name = "{mirror}"
bucket = "{bucket}"
operation = "prefetch"
on_removed = "keep"

[mirror.source]
kind = "directory"
path = "{directory}"
settle = "200ms"
"""


class Service:
    """`mirrord run -c`; its log is read while `tasks` lasts."""

    def __init__(self, children: Children, config: Path, log: ServiceLog, tasks: asyncio.TaskGroup) -> None:
        self._children = children
        self._config = config
        self._tasks = tasks
        self._process: Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self.log = log

    async def start(self) -> None:
        process = await self._children.start("run", "-c", str(self._config), stderr=PIPE)
        assert process.stderr is not None
        self._process = process
        self._reading = self._tasks.create_task(self.log.take_in(process.stderr), name="service log")

    async def kill(self) -> None:
        """SIGKILL; on return the process is gone."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    async def stop(self) -> None:
        if self._process is not None:
            await stopped(self._process)
        if self._reading is not None:
            self._reading.cancel()


@asynccontextmanager
async def running_service(children: Children, config: Path, log: Path) -> AsyncIterator[Service]:
    """A service to start, whose log goes to the file `log`; it has ended when the block has."""
    lines = ServiceLog(log)
    try:
        async with asyncio.TaskGroup() as tasks:
            service = Service(children, config, lines, tasks)
            try:
                yield service
            finally:
                await service.stop()
    finally:
        lines.close()


def write_settings(config: Path, kodo: LocalKodo, directory: Path) -> None:
    """A settings file for `kodo` with one mirror of `directory`."""
    config.touch(mode=0o600)
    rest = _REST_OF_SETTINGS.format(mirror=MIRROR, bucket=BUCKET, directory=directory)
    config.write_text(f"{kodo.settings}\n{rest}", "utf-8")

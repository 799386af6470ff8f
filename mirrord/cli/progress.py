"""A bar for `once`, on a terminal only: keys settled of keys found stale."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from mirrord.fleet import Mirror

PERIOD_S = 0.1


class KeysProgress:
    """Reads the halves' own counters; nothing reports to it."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._followed: list[tuple[Mirror, TaskID]] = []

    def follow(self, mirrors: Sequence[Mirror]) -> None:
        self._followed = [(mirror, self._bars.add_task(mirror.name, total=None)) for mirror in mirrors]

    async def move(self) -> None:
        while True:
            self.show()
            await asyncio.sleep(PERIOD_S)

    def show(self) -> None:
        for mirror, bar in self._followed:
            found = max(mirror.intake.taken, mirror.dispatcher.settled)
            said = f"{mirror.name}, {mirror.intake.read} files compared" if mirror.intake.read else mirror.name
            self._bars.update(bar, description=said, completed=mirror.dispatcher.settled, total=found or None)


@asynccontextmanager
async def shown() -> AsyncIterator[KeysProgress]:
    """A bar per followed mirror while the block runs; other lines on stderr appear above."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        progress = KeysProgress(bars)
        async with asyncio.TaskGroup() as tasks:
            moving = tasks.create_task(progress.move(), name="progress")
            try:
                yield progress
            finally:
                moving.cancel()

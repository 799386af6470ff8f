"""An intake for sources: takes everything in, and lets a test wait for it."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime

from mirrord.model.change import Change, Recorded, Rejection
from mirrord.model.cursor import Cursor
from mirrord.model.fingerprint import Fingerprint


class FakeReceiver:
    """Implements mirrord.sources.contract.Receiver over a dictionary."""

    def __init__(self, versions: Mapping[str, Fingerprint | None] | None = None, *, root: str | None = None) -> None:
        self.root = root
        self.versions: dict[str, Fingerprint | None] = dict(versions or {})
        self.taken: list[Change] = []
        self.rejected: list[Rejection] = []
        self.losses: list[str] = []
        self.completed: list[datetime] = []
        self.cursors: dict[str, Cursor] = {}
        self.listens = False
        self._news = asyncio.Condition()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20), self._news:
            await self._news.wait_for(condition)

    async def cursor(self, source: str) -> Cursor | None:
        return self.cursors.get(source)

    async def take(self, changes: Sequence[Change], cursor: Cursor | None = None, *, news: bool = False) -> Recorded:
        new = sum(change.key not in self.versions for change in changes)
        removed = sum(change.version is None for change in changes)
        self.taken += changes
        if cursor is not None:
            self.cursors[cursor.source] = cursor
        self.versions |= {change.key: change.version for change in changes}
        await self._tell()
        return Recorded(new=new, changed=len(changes) - new - removed, removed=removed, stale=len(changes))

    def reject(self, rejection: Rejection) -> None:
        self.rejected.append(rejection)

    def known(self, below: str) -> Iterator[tuple[str, Fingerprint | None]]:
        return iter(sorted((key, version) for key, version in self.versions.items() if key.startswith(below)))

    def listening(self) -> None:
        self.listens = True

    async def lost(self, reason: str) -> None:
        self.losses.append(reason)
        await self._tell()

    async def complete(self, as_of: datetime, root: str | None = None) -> None:
        self.completed.append(as_of)
        self.root = root
        await self._tell()

    async def moved_to(self, root: str) -> None:
        self.root = root
        await self._tell()

    @property
    def removed(self) -> set[str]:
        """Keys that were ever said to be gone."""
        return {change.key for change in self.taken if change.version is None}

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()

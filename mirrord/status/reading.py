"""The journal's answers to one request for a page: in good time, or else what is shown in their place, and why."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from mirrord.journal.errors import JournalUnavailable
from mirrord.journal.report import Failing
from mirrord.status.journaled import KEPT_LEAST, KEPT_TIMES, JournalView

T = TypeVar("T")

PATIENCE = timedelta(seconds=5)
"""What the journal has not said by then is left out, and that it is."""
REASONS_MOST = 8


class Reading:
    """What one request reads, and why it could not."""

    def __init__(self) -> None:
        self.unread: str | None = None

    async def read(self, asked: Awaitable[T], otherwise: T) -> T:
        """`otherwise` when the journal cannot be read, or takes too long."""
        try:
            async with asyncio.timeout(PATIENCE.total_seconds()):
                return await asked
        except TimeoutError:
            self.unread = "it takes too long to answer"
        except JournalUnavailable as exc:
            self.unread = str(exc)
        return otherwise


class Failures:
    """What fails in each mirror, kept as long as reports are: it takes a pass over all keys to find out."""

    def __init__(self, view: JournalView, now: Callable[[], datetime]) -> None:
        self._view = view
        self._now = now
        self._kept: dict[str, tuple[datetime, datetime, Sequence[Failing]]] = {}
        """Since when, until when."""

    async def of(self, mirror: str) -> Sequence[Failing]:
        """Raises JournalUnavailable."""
        began = self._now()
        since, until, found = self._kept.get(mirror, (began, began, ()))
        if since <= began < until:
            return found
        found = await self._view.failing(mirror, REASONS_MOST)
        now = self._now()
        self._kept[mirror] = (now, now + max(KEPT_LEAST, KEPT_TIMES * (now - began)), found)
        return found

    def keep_only(self, mirrors: Sequence[str]) -> None:
        """Forget all others."""
        for name in self._kept.keys() - set(mirrors):
            del self._kept[name]

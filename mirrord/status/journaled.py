"""What the journal says, to those who ask again and again: one thread, one report at a time, kept for a while."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from mirrord.journal import report
from mirrord.journal.report import KeyReport, MirrorReport
from mirrord.model.row import ObjectRow

T = TypeVar("T")

KEPT_LEAST = timedelta(seconds=2)
KEPT_TIMES = 20
"""A report is kept this many times as long as it took: to count 1,000,000 keys may cost a twentieth of one core."""


@dataclass(frozen=True, slots=True)
class _Kept:
    reports: dict[str, MirrorReport]
    began: datetime
    took: timedelta

    def is_good(self, mirrors: Sequence[str], now: datetime) -> bool:
        """Whether it may still be shown. A clock that was set back makes it worthless."""
        age = now - self.began - self.took
        return timedelta(0) <= age < max(KEPT_LEAST, KEPT_TIMES * self.took) and self.reports.keys() >= set(mirrors)

    def of(self, mirrors: Sequence[str]) -> tuple[MirrorReport, ...]:
        return tuple(self.reports[mirror] for mirror in mirrors)


class JournalView:
    """Reads, and never writes; every method but the properties raises JournalUnavailable.

    The thread is its own: what it reads does not keep the service from writing.
    """

    def __init__(self, url: str, *, now: Callable[[], datetime]) -> None:
        self._url = url
        self._now = now
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="status")
        self._kept: _Kept | None = None
        self._making: asyncio.Future[_Kept] | None = None

    def close(self) -> None:
        """Nobody may ask any more; what is being read is not waited for."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    @property
    def reported_at(self) -> datetime | None:
        """As of when the last report is; None before the first."""
        return self._kept.began if self._kept else None

    def last(self, mirrors: Sequence[str]) -> tuple[MirrorReport, ...] | None:
        """The last report, however old, for whoever cannot wait for another; None: there is none of all of them."""
        kept = self._kept
        return kept.of(mirrors) if kept and kept.reports.keys() >= set(mirrors) else None

    async def reports(self, mirrors: Sequence[str]) -> tuple[MirrorReport, ...]:
        """Where each of `mirrors` stands, as of `reported_at`. Ask for all there are: one report serves any of them."""
        while True:
            kept = self._kept
            if kept is not None and kept.is_good(mirrors, self._now()):
                return kept.of(mirrors)
            made = await self._made(mirrors)
            if made.reports.keys() >= set(mirrors):
                return made.of(mirrors)

    async def key(self, mirror: str, key: str) -> KeyReport:
        return await self._in_thread(partial(report.report_key, self._url, mirror, key))

    async def waiting(self, mirror: str, most: int, *, after: int = 0) -> list[ObjectRow]:
        """Parked keys and held removals, the longest waiting first, without the first `after` of them."""
        return await self._in_thread(partial(report.waiting_for_a_person, self._url, mirror, most, after=after))

    async def unfinished(self, mirror: str, most: int) -> list[ObjectRow]:
        """Keys that are not fresh, those that need a person first, then the oldest."""
        return await self._in_thread(partial(report.unfinished, self._url, mirror, most))

    async def failing(self, mirror: str, most: int) -> list[report.Failing]:
        """What was tried in vain, by what came of it."""
        return await self._in_thread(partial(report.failing, self._url, mirror, most))

    async def find(self, mirror: str, text: str, most: int) -> list[ObjectRow]:
        """The key `text` itself, then keys that begin with it, then some that contain it."""
        return await self._in_thread(partial(report.find, self._url, mirror, text, most))

    async def _made(self, mirrors: Sequence[str]) -> _Kept:
        """The report that is being made, of whichever mirrors, or else one of these."""
        making = self._making
        if making is None or making.done():
            loop = asyncio.get_running_loop()
            making = self._making = loop.run_in_executor(self._thread, partial(self._make, tuple(mirrors)))
            making.add_done_callback(_look_at)
        await asyncio.wait([making])  # not the future itself: who stops waiting must not cancel it for the others
        return making.result()

    def _make(self, mirrors: Sequence[str]) -> _Kept:
        began = self._now()
        reports = {each.mirror: each for each in report.report(self._url, mirrors)}
        made = self._kept = _Kept(reports, began, self._now() - began)
        return made

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)


def _look_at(made: "asyncio.Future[_Kept]") -> None:
    """A failure that nobody waits for any more is no bug of ours."""
    if not made.cancelled():
        made.exception()

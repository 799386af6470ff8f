"""A directory and a feed for one mirror: the feed says where to look, the directory what is there."""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from mirrord.model.change import Change, Recorded, Rejection
from mirrord.model.coverage import UNKNOWN
from mirrord.model.cursor import Cursor
from mirrord.model.fingerprint import Fingerprint
from mirrord.sources.contract import Receiver, Source

log = structlog.get_logger()

LISTENING_MOST = timedelta(seconds=10)
"""How long the first scan waits for the feed."""


class HintedDirectory:
    """Implements Source. Feed for speed, scan for truth: what the feed names is looked at on the disk at once.

    A file that is not there yet when the feed names it is found by the watch or by the next scan.
    """

    sees_origin = True

    def __init__(self, mirror: str, directory: Source, feed: Source) -> None:
        self._mirror = mirror
        self._directory = directory
        self._feed = feed

    async def follow(self, receiver: Receiver) -> None:
        hints = _Hints(self._mirror, receiver, self._directory)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._feed.follow(hints), name=f"hints {self._mirror}")
            # listened to first, then scanned: what is published in between is seen twice rather than never
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LISTENING_MOST.total_seconds()):
                    await hints.begun.wait()
            tasks.create_task(self._directory.follow(receiver), name=f"directory {self._mirror}")

    async def survey(self, receiver: Receiver) -> None:
        await self._directory.survey(receiver)

    async def observe(self, keys: Sequence[str]) -> dict[str, Fingerprint | None]:
        return await self._directory.observe(keys)

    async def hash_of(self, keys: Sequence[str]) -> dict[str, tuple[Fingerprint, str]]:
        return await self._directory.hash_of(keys)

    async def close(self) -> None:
        await self._directory.close()
        await self._feed.close()


class _Sees(Protocol):
    async def observe(self, keys: Sequence[str]) -> dict[str, Fingerprint | None]: ...


class _Hints:
    """The feed's receiver: what it says of a version does not count, only that there is one to look at."""

    def __init__(self, mirror: str, receiver: Receiver, directory: _Sees) -> None:
        self._mirror = mirror
        self._receiver = receiver
        self._directory = directory
        self._lost: str | None = None
        self.begun = asyncio.Event()
        """Set once the feed is listened to, or has said why it cannot be."""

    async def take(self, changes: Sequence[Change], cursor: Cursor | None = None, *, news: bool = False) -> Recorded:
        found = await self._directory.observe([change.key for change in changes]) if changes else {}
        seen = [
            replace(change, version=found[change.key], as_of=None, order=None)
            for change in changes
            if change.key in found
        ]
        return await self._receiver.take(seen, cursor, news=news)

    async def cursor(self, source: str) -> Cursor | None:
        return await self._receiver.cursor(source)

    def reject(self, rejection: Rejection) -> None:
        self._receiver.reject(rejection)

    def known(self, below: str) -> Iterator[tuple[str, Fingerprint | None]]:  # noqa: ARG002
        """What is gone is the scan's to say."""
        return iter(())

    def listening(self) -> None:
        """Only a directory that is watched is listened to."""
        self.begun.set()

    async def lost(self, reason: str) -> None:
        """A scan still tells the whole truth, only later; so it does where the feed tells of changes only."""
        self.begun.set()
        if reason != self._lost and not reason.startswith(UNKNOWN):
            self._lost = reason
            log.warning("hints.lost", mirror=self._mirror, reason=reason)

    async def complete(self, as_of: datetime, root: str | None = None) -> None:  # noqa: ARG002
        """Only a scan is."""
        self._lost = None

    @property
    def root(self) -> str | None:
        return None

    async def moved_to(self, root: str) -> None:
        """A feed has no root."""

"""A feed, or a snapshot, asked for its beginning to what that says: whether it can be read, and one key to try."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from mirrord.decisions.feed_findings import Told
from mirrord.decisions.feed_keys import FeedKeys
from mirrord.decisions.findings import Sample, Subject
from mirrord.model.change import Rejection
from mirrord.model.fingerprint import Fingerprint, size_of
from mirrord.model.mention import Mention
from mirrord.sources.feed.dialect import Ask, Dialect, Reading, Reset, Unreadable
from mirrord.sources.feed.fetching import Fetcher, Got, Patience, Unreachable
from mirrord.sources.feed.snapshot import Form, Row

PATIENCE = Patience(connect=timedelta(seconds=4), idle=timedelta(seconds=8))
"""Shorter than whoever waits for a probe, who would not know what it was that took so long."""
QUIET = timedelta(seconds=2)
"""What may go on for ever is listened to for so long."""
ENTRIES_ENOUGH = 1000
"""After so many the rest of an answer is not read."""
DOCUMENTS_MOST = 5
"""Read on the way to the first entry: indexes, capability lists, empty pages."""


class FeedProbe:
    """Implements mirrord.preflight.Probe for what is read entry by entry. To be asked once."""

    subject = Subject.FEED

    def __init__(
        self,
        dialect: Dialect,
        fetcher: Fetcher,
        keys: FeedKeys,
        now: Callable[[], datetime],
        *,
        quiet: timedelta = QUIET,
    ) -> None:
        self._dialect = dialect
        self._quiet = quiet
        self._fetcher = fetcher
        self._count = _Count(keys, now)

    async def ask(self) -> Told:
        return await _told(self._read(), self._fetcher, self._count)

    async def _read(self) -> bool:
        cursor: str | None = None
        for _ in range(DOCUMENTS_MOST):
            ask = self._dialect.ask(cursor, wait=False)
            async with self._fetcher.get(ask) as got:
                cursor, whole = await self._page(ask, got, cursor)
            if whole or self._count.entries:
                return whole
        return False

    async def _page(self, ask: Ask, got: Got, cursor: str | None) -> tuple[str | None, bool]:
        """Where to go on, and whether there was no more."""
        reading = self._dialect.read(got.head, cursor, wait=False)
        try:
            async with asyncio.timeout(self._quiet.total_seconds() if ask.waits else None):
                cursor = await self._receive(reading, got) or cursor
        except TimeoutError:
            return None, True
        if self._count.enough:
            return None, False
        batch, end = reading.end()
        self._count.add(batch.mentions, batch.bad)
        if end.stop:
            raise Unreadable("has ended (204), and is not to be asked again")
        return batch.cursor or cursor, end.caught_up

    async def _receive(self, reading: Reading, got: Got) -> str | None:
        """The last cursor that came with what is enough, or is all."""
        cursor: str | None = None
        async for chunk in got.chunks():
            for batch in reading.receive(chunk):
                self._count.add(batch.mentions, batch.bad)
                cursor = batch.cursor or cursor
            if self._count.enough:
                break
        return cursor


class SnapshotProbe:
    """Implements mirrord.preflight.Probe for documents that name every key. To be asked once."""

    def __init__(
        self, url: str, form: Form, fetcher: Fetcher, keys: FeedKeys, now: Callable[[], datetime], *, subject: Subject
    ) -> None:
        self.subject = subject
        self._url = url
        self._form = form
        self._fetcher = fetcher
        self._count = _Count(keys, now)
        self._now = now

    async def ask(self) -> Told:
        return await _told(self._read(), self._fetcher, self._count)

    async def _read(self) -> bool:
        todo = [self._url]
        for _ in range(DOCUMENTS_MOST):
            async with self._fetcher.get(Ask(url=todo.pop(0))) as got:
                todo += await self._document(got)
            if self._count.entries or not todo:
                break
        return not todo and not self._count.enough

    async def _document(self, got: Got) -> Sequence[str]:
        """Where the rest is."""
        leaf = self._form.begin(got.head)
        rows: list[Row] = []
        async for chunk in got.chunks():
            rows += leaf.receive(chunk)
            if len(rows) >= ENTRIES_ENOUGH:
                break
        else:
            rows += leaf.end()
        made_at = leaf.made_at or self._now()
        self._count.add([self._form.mention(row, as_of=made_at, document="") for row in rows], leaf.bad)
        return leaf.children


@dataclass(slots=True)
class _Count:
    """What came, as far as it matters."""

    keys: FeedKeys
    now: Callable[[], datetime]
    entries: int = 0
    flaw: str = ""
    versions: dict[str, Fingerprint | None] = field(default_factory=dict)
    """The last one of each key, in the order in which they came."""

    @property
    def enough(self) -> bool:
        return self.entries >= ENTRIES_ENOUGH

    def add(self, mentions: Sequence[Mention], bad: Sequence[Rejection]) -> None:
        changes, rejections = self.keys.changes(mentions, self.now(), stamp="")
        self.entries += len(mentions) + len(bad)
        self.versions.update((change.key, change.version) for change in changes)
        for rejection in (*bad, *rejections):
            self.flaw = self.flaw or f"{rejection.name}: {rejection.reason}"

    def told(self, *, whole: bool) -> Told:
        there = (key for key, version in self.versions.items() if version is not None)
        key = next(there, None)
        size_bytes = None if key is None or not whole else size_of(self.versions[key])  # what follows may know better
        return Told(
            entries=self.entries,
            keys=len(self.versions),
            sample=None if key is None else Sample(key=key, size_bytes=size_bytes, on_disk=False),
            flaw=self.flaw,
            whole=whole,
        )


async def _told(reading: Coroutine[Any, Any, bool], fetcher: Fetcher, count: _Count) -> Told:
    try:
        return count.told(whole=await reading)
    except Unreachable as exc:
        return Told(error=exc.sentence)
    except (Unreadable, Reset) as exc:
        return Told(error=f"what it answers {exc}", strange=True)
    finally:
        await fetcher.close()

"""A snapshot held against one mirror's journal, now and then: what is new, what differs, what is gone."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from mirrord.decisions.feed_keys import FeedKeys
from mirrord.sources.contract import Receiver
from mirrord.sources.feed.completeness import Completeness
from mirrord.sources.feed.counting import Counting
from mirrord.sources.feed.dialect import Unreadable
from mirrord.sources.feed.fetching import Unreachable
from mirrord.sources.feed.snapshot import Named, Snapshot
from mirrord.sources.feed.trouble import Trouble

log = structlog.get_logger()

FIRST_PAUSE = timedelta(seconds=1)
LONGEST_PAUSE = timedelta(minutes=1)
APART_MOST = timedelta(days=1)
"""A snapshot's documents are made within this time: what has not changed for longer is as new as the others."""
UNSTEADY = "its documents changed whenever they were looked at; no key is taken for removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tally:
    entries: int = 0
    new: int = 0
    changed: int = 0
    removed: int = 0


class Reconciling:
    """One mirror's comparisons with a snapshot that it may share with others."""

    def __init__(
        self,
        mirror: str,
        snapshot: Snapshot,
        keys: FeedKeys,
        *,
        every: timedelta,
        alone: bool,
        now: Callable[[], datetime],
        chance: Callable[[], float],
    ) -> None:
        """`every` zero: only at the start and when asked to. `alone`: there is no feed that may know better."""
        self._mirror = mirror
        self._snapshot = snapshot
        self._keys = keys
        self._every = every
        self._alone = alone
        self._now = now
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"snapshot-{mirror}")
        self._hurried = asyncio.Event()
        self._compared: str | None = None
        self._needed_at: datetime | None = None
        """Since when a comparison is needed with what the snapshot is then; None: it is not."""
        self._trouble = Trouble(
            snapshot.name,
            lambda: [mirror],
            first=FIRST_PAUSE,
            longest=max(LONGEST_PAUSE, min(every, timedelta(hours=1))),
            chance=chance,
        )

    def hurry(self) -> None:
        """A comparison is needed now, even with a snapshot that has been compared already."""
        self._needed_at = self._now()
        self._hurried.set()

    async def close(self) -> None:
        self._thread.shutdown()
        await self._snapshot.close()

    async def run(self, receiver: Receiver, complete: Completeness) -> None:
        """Compare now, then every so often, until cancelled."""
        while True:
            self._hurried.clear()
            began = self._now()
            try:
                await self.reconcile(receiver, complete)
                pause: timedelta | None = self._every or None
                self._trouble.over()
            except (Unreachable, Unreadable) as exc:
                before = self._compared is not None and self._needed_at is None
                hiccup = isinstance(exc, Unreachable) and not exc.refused and before
                pause = self._trouble.note(str(exc), began, getattr(exc, "retry_after", None))
                if not hiccup or self._trouble.lasts(self._now()):
                    await complete.lost(f"{self._snapshot.name}: {exc}")
            receiver.listening()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(None if pause is None else pause.total_seconds()):
                    await self._hurried.wait()

    async def reconcile(self, receiver: Receiver, complete: Completeness) -> None:
        """Once. Raises Unreachable, Unreadable."""
        began, needed_at = self._now(), self._needed_at
        state = await self._snapshot.refresh(needed_at or began, strictly=needed_at is not None)
        if needed_at is not None or state.version != self._compared:
            doubt, tally = await self._compare(receiver, began, steady=state.steady)
            log.info(
                "snapshot.compared",
                mirror=self._mirror,
                snapshot=self._snapshot.name,
                entries=tally.entries,
                new=tally.new,
                changed=tally.changed,
                removed=tally.removed,
                duration_s=round((self._now() - began).total_seconds(), 3),
            )
            if doubt is not None:
                raise Unreadable(doubt)
            self._compared = state.version
        if self._needed_at is needed_at:  # not again, meanwhile
            self._needed_at = None
            await complete.compared(state.asked_at)

    async def _compare(self, receiver: Receiver, began: datetime, *, steady: bool) -> tuple[str | None, _Tally]:
        loop = asyncio.get_running_loop()
        entries = new = changed = 0
        made: list[datetime] = []
        doubt, removed = (None if steady else UNSTEADY), 0
        counting = Counting(self._thread)
        batches: Iterator[Named] = self._snapshot.named()
        try:
            while (named := await loop.run_in_executor(self._thread, next, batches, None)) is not None:
                as_of = None if self._alone else named.made_at
                made = [min(*made, named.made_at), max(*made, named.made_at)] if made else [named.made_at] * 2
                changes, rejections = self._keys.changes(named.mentions, began, as_of=as_of, stamp=named.document)
                for rejection in (*named.bad, *rejections):
                    receiver.reject(rejection)
                await counting.add(changes)
                recorded = await receiver.take(changes)
                entries += len(named.mentions)
                new, changed = new + recorded.new, changed + recorded.changed
            if steady and (entries or self._alone):
                as_of = None if self._alone else max(made[0], made[1] - APART_MOST)
                doubt, removed = await counting.take_missing(receiver, self._keys.covers, self._now(), as_of=as_of)
        finally:
            counting.close()
        return doubt, _Tally(entries=entries, new=new, changed=changed, removed=removed)

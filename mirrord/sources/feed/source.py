"""A change feed as one mirror's origin: what its reader, its hook and its snapshot say, as changes for the intake."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Protocol, assert_never

import structlog

from mirrord.decisions.feed_keys import FeedKeys
from mirrord.model.change import Change, Rejection
from mirrord.model.coverage import UNKNOWN
from mirrord.model.cursor import Cursor
from mirrord.model.fingerprint import Fingerprint
from mirrord.model.mention import Mention
from mirrord.sources.contract import Receiver, SourceUnavailable
from mirrord.sources.feed.completeness import Completeness
from mirrord.sources.feed.counting import Counting
from mirrord.sources.feed.dialect import Batch, Unreadable
from mirrord.sources.feed.fetching import Unreachable
from mirrord.sources.feed.happenings import CaughtUp, Connected, Entries, Failing, Happening, History, Missed
from mirrord.sources.feed.place import Place, place_of
from mirrord.sources.feed.reconciling import Reconciling
from mirrord.sources.feed.shared import SharedFeed

log = structlog.get_logger()

COMPARED_EVERY = timedelta(minutes=10)
"""A feed that misses things again and again has its snapshot looked at, besides when it is due, this often."""
MOVED_EVERY = timedelta(minutes=1)
"""A feed that is read and says nothing new is noted in the journal this often, for `status`."""
NO_BEGINNING = 'the feed does not tell what was before; set a `snapshot` to compare with, or `start = "now"`'
NO_PLACE = "what happened while nobody followed the feed is not told; set a `snapshot` to compare with"
NO_PROOF = "what is pushed to us tells of changes only; set a `snapshot` to compare with"


class Pushed(Protocol):
    """What somebody told us without being asked."""

    @property
    def mentions(self) -> Sequence[Mention]: ...

    @property
    def bad(self) -> Sequence[Rejection]: ...


class FeedSource:
    """Implements Source, and Follower of the feed that it may share with other mirrors."""

    sees_origin = False

    def __init__(
        self,
        mirror: str,
        identity: str,
        keys: FeedKeys,
        *,
        now: Callable[[], datetime],
        feed: SharedFeed | None = None,
        incoming: Callable[[], Coroutine[Any, Any, None]] | None = None,
        reconciling: Reconciling | None = None,
        from_now: bool = False,
        rules: str = "",
    ) -> None:
        """`identity` names the feed: a cursor of another one means nothing. `rules` name what `keys` go by.

        `incoming`, while it is awaited, hands to `push` what is pushed to us.
        """
        self.mirror = mirror
        self._identity = f"feed {identity}"
        self._keys = keys
        self._now = now
        self._feed = feed
        self._incoming = incoming
        self._reconciling = reconciling
        self._from_now = from_now
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"feed-{mirror}")
        self._rules = rules
        self._place = Place(rules=rules)
        self._moved_at: datetime | None = None
        self._event_at: datetime | None = None
        self._counting: Counting | None = None
        self._begun = False
        self._connected = False
        self._compared_again_at: datetime | None = None
        self._batches = 0

    # -- Source ----------------------------------------------------------------------------------------

    async def follow(self, receiver: Receiver) -> None:
        """Take in what is said, pushed and found in snapshots, until cancelled."""
        await self._resume(receiver)
        async with asyncio.TaskGroup() as tasks:
            if self._feed is not None:
                tasks.create_task(self._feed.follow(self), name=f"feed {self.mirror}")
            if self._incoming is not None:
                receiver.listening()
                tasks.create_task(self._incoming(), name=f"hook {self.mirror}")
            if self._reconciling is not None:
                comparing = self._reconciling.run(receiver, self._complete)
                tasks.create_task(comparing, name=f"snapshot {self.mirror}")
            elif self._feed is None:
                await self._complete.lost(f"{UNKNOWN}: {NO_PROOF}")

    async def push(self, pushed: Pushed) -> None:
        """Take in what somebody told us; on return it survives a crash."""
        await self._take(Batch(mentions=pushed.mentions, bad=pushed.bad))

    async def survey(self, receiver: Receiver) -> None:
        await self._resume(receiver)
        try:
            if self._feed is not None and not self._feed.endless:
                await self._feed.read_to_end(self)
            elif self._reconciling is None:
                raise SourceUnavailable(
                    f"{self._identity}: has no end to read to; `mirrord run` follows it, "
                    "and with a `snapshot` a single look can be had"
                )
            if self._reconciling is not None:
                await self._reconciling.reconcile(receiver, self._complete)
        except (Unreachable, Unreadable) as exc:
            raise SourceUnavailable(f"{self._identity}: {exc}") from exc

    async def observe(self, keys: Sequence[str]) -> dict[str, Fingerprint | None]:  # noqa: ARG002 - a feed cannot
        return {}

    async def hash_of(self, keys: Sequence[str]) -> dict[str, tuple[Fingerprint, str]]:  # noqa: ARG002
        return {}

    async def close(self) -> None:
        self._thread.shutdown()
        if self._counting is not None:
            self._counting.close()
        if self._feed is not None:
            await self._feed.close()
        if self._reconciling is not None:
            await self._reconciling.close()

    # -- Follower --------------------------------------------------------------------------------------

    @property
    def begun(self) -> bool:
        return self._begun

    async def place(self) -> str | None:
        return self._place.cursor

    async def hear(self, happening: Happening) -> None:
        match happening:
            case Connected():
                self._note_connected()
            case Entries(batch, cursor):
                self._begun = True
                self._place = replace(self._place, cursor=cursor)
                await self._take(batch)
            case CaughtUp(as_of, cursor):
                self._begun = True
                self._place = replace(self._place, cursor=cursor)
                await self._caught_up(as_of)
            case History(reason, gap):
                self._begun = True
                await self._begin_anew(reason, gap=gap)
            case Missed(reason):
                await self._miss(reason)
            case Failing(reason, lasting):
                if lasting or not self._connected:
                    await self._complete.lost(f"{self._identity}: {reason}")
            case _:
                assert_never(happening)

    # -- taking in -------------------------------------------------------------------------------------

    async def _resume(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._complete = Completeness(
            receiver, self._now, follows=self._feed is not None, compares=self._reconciling is not None
        )
        if self._feed is None:
            return
        stored = await receiver.cursor(self._identity)
        if stored is not None:
            self._place, self._moved_at, self._event_at = place_of(stored.text), stored.moved_at, stored.event_at
        self._begun = known = stored is not None
        unknown = self._place.unknown
        if not known and not self._feed.has_beginning and not self._from_now and self._reconciling is None:
            unknown = NO_BEGINNING
        if known and unknown is None and self._feed.has_gap_after(self._place.cursor) and self._reconciling is None:
            unknown = NO_PLACE
        self._place = replace(self._place, unknown=unknown)
        if not known or self._place.counting or self._is_of_other_rules():
            self._place = Place(unknown=unknown, rules=self._rules)
            if known or not self._from_now:
                await self._count()
        if self._reconciling is None:
            self._complete.unknown = self._place.unknown

    def _is_of_other_rules(self) -> bool:
        """Whether what was read before has to be read again, because it would mean other keys now."""
        assert self._feed is not None
        other = self._place.rules not in (None, self._rules)
        again = other and self._feed.has_beginning and not self._from_now
        if other:
            log.info("feed.rules_changed", mirror=self.mirror, feed=self._identity, read_again=again)
            self._place = replace(self._place, rules=self._rules)
        return again

    async def _take(self, batch: Batch) -> None:
        now = self._now()
        self._batches += 1
        changes, rejections = self._keys.changes(batch.mentions, now, stamp=f"{now.isoformat()} {self._batches}")
        for rejection in (*batch.bad, *rejections):
            self._receiver.reject(rejection)
        self._note_times(batch.mentions)
        if self._counting is not None:
            await self._counting.add(changes)
        await self._record(changes)

    @property
    def _tells_news(self) -> bool:
        """Whether all that it says has just happened: what is pushed, or read from now on."""
        return self._from_now or self._feed is None or not self._feed.has_beginning

    async def _record(self, changes: Sequence[Change]) -> None:
        """The changes, and with them how far the feed has been read."""
        cursor = None
        if self._feed is not None:
            self._moved_at = self._now()
            cursor = Cursor(
                source=self._identity, text=self._place.text(), moved_at=self._moved_at, event_at=self._event_at
            )
        await self._receiver.take(changes, cursor, news=self._tells_news)

    def _note_times(self, mentions: Sequence[Mention]) -> None:
        newest = max((each.at for each in mentions if each.at is not None), default=None)
        if newest is not None:
            self._event_at = newest if self._event_at is None else max(newest, self._event_at)

    # -- complete, or not --------------------------------------------------------------------------------

    async def _caught_up(self, as_of: datetime) -> None:
        counting, self._counting = self._counting, None
        if counting is not None:
            doubt, _ = await counting.take_missing(self._receiver, self._keys.covers, as_of)
            counting.close()
            # not believed, it is counted once more by the next service
            self._place = replace(self._place, counting=doubt is not None)
            self._complete.unknown = doubt or self._complete.unknown
        if counting is not None or self._moved_at is None or self._now() - self._moved_at >= MOVED_EVERY:
            await self._record(())
        await self._complete.read(as_of)

    async def _begin_anew(self, reason: str, *, gap: bool) -> None:
        assert self._feed is not None
        unknown = self._place.unknown
        self._place = Place(rules=self._rules)
        await self._count()
        if self._reconciling is not None:
            self._compare_again(self._reconciling)
        elif (gap or not self._feed.has_beginning) and not self._feed.dialect.beginning_is_whole:
            unknown = f"{reason}; there is no snapshot to compare with"
        self._place = replace(self._place, unknown=unknown)
        self._complete.unknown = unknown if self._reconciling is None else None
        await self._complete.lost(f"{self._identity}: {reason}")
        await self._record(())

    async def _miss(self, reason: str) -> None:
        """Something cannot be known by reading on."""
        if self._reconciling is not None:
            self._complete.forget_comparison()
            if self._compared_again_at is None or self._now() - self._compared_again_at >= COMPARED_EVERY:
                self._compare_again(self._reconciling)
            await self._complete.lost(f"{self._identity}: {reason}")
        elif self._place.unknown is None:
            self._complete.unknown = f"{reason}; there is no snapshot to compare with"
            self._place = replace(self._place, unknown=self._complete.unknown)
            await self._record(())

    def _compare_again(self, reconciling: Reconciling) -> None:
        self._compared_again_at = self._now()
        self._complete.forget_comparison()
        reconciling.hurry()

    def _note_connected(self) -> None:
        assert self._feed is not None
        if not self._connected and self._reconciling is not None and self._feed.has_gap_after(self._place.cursor):
            self._compare_again(self._reconciling)  # it may have been looked at before we were connected
        self._connected = True
        self._receiver.listening()

    async def _count(self) -> None:
        """Where the beginning names every key, find out which are gone: those that it does not name."""
        if self._feed is None or not self._feed.dialect.beginning_is_whole:
            return
        if self._counting is not None:
            self._counting.close()
        self._counting = None
        counting = Counting(self._thread)
        if await counting.begin(self._receiver):
            self._counting = counting
            self._place = replace(self._place, counting=True)
        else:
            counting.close()

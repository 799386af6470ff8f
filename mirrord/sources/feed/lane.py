"""One feed read from one place on, for as long as it lasts: ask, hand on what came, wait, ask again."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from mirrord.sources.feed.course import Course
from mirrord.sources.feed.dialect import Ask, Batch, Dialect, End, Limits, Naming, Reset, Unreadable
from mirrord.sources.feed.fetching import Fetcher, Unreachable, Validators
from mirrord.sources.feed.happenings import CaughtUp, Connected, Entries, Failing, Happening, History, Missed
from mirrord.sources.feed.histories import Histories
from mirrord.sources.feed.silence import Silence
from mirrord.sources.feed.spot import Spot, spot_of
from mirrord.sources.feed.trouble import Trouble

log = structlog.get_logger()

BRIEF = timedelta(seconds=1)
"""An answer that was to wait for news, has none and took no longer: the server does not wait, so we must."""
LULL = timedelta(seconds=5)
"""A stream that says nothing for so long has told all that it had to say."""
STOPPED_PAUSE = timedelta(hours=1)
"""No feed may ask for a longer one."""
RESETS_APART = timedelta(minutes=10)
"""What begins anew more often is read less and less often: two servers, perhaps, that do not agree."""
NO_IDS = "its events have no ids: what happens while its stream is not connected is missed"

Tell = Callable[[Happening], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """How a feed is followed."""

    name: str
    """Of the feed, in log lines: its format and address."""
    waits: bool
    """Whether the server is asked to hold its answer until there is news."""
    poll_every: timedelta
    silent_after: timedelta | None
    """None: by its own rhythm; zero: never said."""
    first_pause: timedelta = timedelta(seconds=1)
    longest_pause: timedelta = timedelta(minutes=1)
    """Between attempts at a feed that cannot be read, unless it asks for more."""


@dataclass(frozen=True, slots=True)
class _Read:
    """How one request ended."""

    end: End
    entries: int
    moved: bool
    began: datetime


class Lane:
    """Reads on from a cursor until cancelled. What it reads it tells; what it told is recorded before it reads on."""

    def __init__(
        self,
        dialect: Dialect,
        fetcher: Fetcher,
        manner: Manner,
        limits: Limits,
        *,
        now: Callable[[], datetime],
        chance: Callable[[], float],
        tell: Tell,
        mirrors: Callable[[], list[str]],
        naming: Naming | None = None,
    ) -> None:
        self._dialect = dialect
        self._fetcher = fetcher
        self._manner = manner
        self._limits = limits
        self._now = now
        self._tell = tell
        self._mirrors = mirrors
        self._histories = Histories(naming, fetcher)
        self._spot = Spot()
        self.whole = True
        """False while some entries are told whose cursor is not: who joins now would miss them."""
        self.discards = False
        """Whether it is still on its way to where "now" is, and tells nothing."""
        self._between: Callable[[], bool] = lambda: False
        self._caught_up = False
        self._validators: dict[str, Validators] = {}
        """Of the document that was read last, by its address."""
        self._course = Course()
        self._streams = dialect.ask(None, wait=False).waits
        """Whether there is no end to read to."""
        self._waits_failed = 0
        """Requests that were to wait for news and failed, since one did not."""
        self._resets = 0
        self._reset_at: datetime | None = None
        self._without_ids = False
        self._trouble = Trouble(
            manner.name,
            mirrors,
            first=manner.first_pause,
            longest=max(manner.longest_pause, manner.poll_every),
            chance=chance,
        )
        self._silence = Silence(manner.name, mirrors, manner.silent_after)

    @property
    def at(self) -> str | None:
        """Where it reads on, as its followers remember it."""
        return self._spot.text()

    # -- the loop --------------------------------------------------------------------------------------

    async def follow(self, at: str | None, *, from_now: bool, between: Callable[[], bool]) -> None:
        """Until cancelled, or until `between` says, where nothing is half read, that somebody else goes on from here.

        `from_now`: what there was before is not told.
        """
        self._begin(at, from_now=from_now)
        self._between = between
        while True:
            pause = await self._turn()
            if between():
                return
            if pause:
                await asyncio.sleep(pause.total_seconds())

    async def read_to_end(self, at: str | None, *, from_now: bool) -> None:
        """Once, until it is caught up. Raises Unreachable, Unreadable; Reset is healed by beginning anew, once."""
        self._begin(at, from_now=from_now)
        anew = False
        while True:
            try:
                read = await self._ask(waiting=False)
            except Reset as reset:
                if anew:
                    raise Unreadable(f"is not what it was, again and again: {reset}") from reset
                anew = True
                await self._begin_anew(str(reset), gap=reset.gap)
                continue
            if read.end.caught_up:
                await self._note_caught_up(read)
                return
            if self._leads_nowhere(read):
                raise Unreadable("does not get any further")

    def _begin(self, at: str | None, *, from_now: bool) -> None:
        self._spot = spot_of(at)
        if at is None and from_now:
            self._spot = Spot(self._dialect.now_cursor)
            self.discards = self._spot.cursor is None

    async def _turn(self) -> timedelta:
        """One request and what follows from it; how long to leave the feed alone then."""
        waiting = self._caught_up and self._manner.waits
        try:
            read = await self._ask(waiting=waiting)
        except Reset as reset:
            return await self._begin_anew(str(reset), gap=reset.gap)
        except Unreadable as exc:
            return await self._failed(str(exc), None, waiting=waiting, lasting=True)
        except Unreachable as exc:
            return await self._failed(
                exc.sentence, exc.retry_after, waiting=waiting, lasting=exc.refused, action=_action(exc)
            )
        return await self._after(read, waiting=waiting)

    async def _after(self, read: _Read, *, waiting: bool) -> timedelta:
        """What follows from an answer that was read to its end; how long to leave the feed alone then."""
        if read.end.stop:
            ended = "has ended (204) and asks not to be asked again"
            return await self._failed(ended, STOPPED_PAUSE, waiting=waiting, lasting=True)
        if self._streams:
            return await self._after_stream(read)
        if read.end.caught_up:
            self._is_well(waiting=waiting)
            return await self._rest(read, waited=waiting)
        if self._leads_nowhere(read):
            return await self._failed("does not get any further", None, waiting=False, lasting=True, said=True)
        if not self._course.stuck:
            self._is_well(waiting=waiting)
        return timedelta(0)

    async def _after_stream(self, read: _Read) -> timedelta:
        self._is_well(waiting=True)
        if read.end.caught_up:
            await self._note_caught_up(read)
        pause = min(read.end.pause or timedelta(0), STOPPED_PAUSE)
        if self._now() - read.began > BRIEF:
            return pause
        if read.end.pause is None and not read.moved:
            return self._manner.first_pause if read.entries else self._manner.poll_every
        return max(pause, self._manner.first_pause / 10)

    async def _rest(self, read: _Read, *, waited: bool) -> timedelta:
        """How long until it is asked again, now that it is caught up."""
        await self._note_caught_up(read)
        if read.end.pause is not None:
            return read.end.pause
        if not self._manner.waits:
            return self._manner.poll_every
        has_moved = read.moved and read.entries > 0
        at_once = not waited or has_moved or self._now() - read.began > BRIEF
        return timedelta(0) if at_once else self._manner.poll_every

    def _is_well(self, *, waiting: bool) -> None:
        """An answer was read that could be. What fails again and again when it is to wait is not well until it does."""
        if waiting:
            self._waits_failed = 0
        if self._waits_failed < 2:
            self._trouble.over()

    # -- one request -------------------------------------------------------------------------------------

    async def _ask(self, *, waiting: bool) -> _Read:
        self._spot = await self._histories.check(self._spot, self._now())
        began, asked = self._now(), self._spot.cursor
        ask = self._dialect.ask(asked, wait=waiting, widen=self._course.widen)
        try:
            return await self._read(ask, began, waiting=waiting)
        except Unreachable as exc:
            if asked is None or not (exc.gone or (exc.missing and await self._is_only_the_place(ask))):
                raise
            raise Reset(exc.sentence, gap=exc.gone) from exc

    async def _read(self, ask: Ask, began: datetime, *, waiting: bool) -> _Read:
        asked, entries = self._spot.cursor, 0
        async with self._fetcher.get(ask, self._validators.get(ask.url)) as got:
            if self._without_ids:
                await self._tell(Missed(NO_IDS))
            if not self.discards:
                await self._tell(Connected())
            if got.unchanged:
                return _Read(End(caught_up=True), 0, moved=False, began=began)
            reading = self._dialect.read(got.head, asked, wait=waiting, widen=self._course.widen)
            quiet_since, was_quiet = self._now(), False
            # what it has to say since this place may still be on its way when it greets us with a heartbeat
            believed_from = began + BRIEF if self._streams and self._has_place else began
            try:
                async for chunk in got.chunks():
                    if self._streams and self._is_lull(quiet_since):
                        await self._arrive(quiet_since)
                    came = 0
                    for batch in reading.receive(chunk):
                        came += await self._hand_on(batch)
                    entries = self._counted(entries + came, endless=ask.waits)
                    if not came and ask.waits and _is_heartbeat(chunk) and self._now() >= believed_from:
                        self._is_well(waiting=True)
                        await self._arrive(self._now())
                    if ask.waits and self._is_relieved(came):
                        return _Read(End(caught_up=False), entries, moved=True, began=began)
                    quiet_since = self._now()
                batch, end = reading.end()
                entries = self._counted(entries + await self._hand_on(batch), endless=ask.waits)
            except Unreachable as exc:
                if not self._is_ordinary(exc, ask, lasted=self._now() - began > BRIEF or self._spot.cursor != asked):
                    raise
                end, was_quiet = End(caught_up=True), exc.idle
            moved = self._spot.cursor != asked
            if self._streams and moved and not (was_quiet or self._is_lull(quiet_since)):
                end = replace(end, caught_up=False)  # it ended in the middle of what it had to say, perhaps
            self.whole = self.whole or self._has_place
            self._validators = {ask.url: got.validators}
            log.debug(
                "feed.read",
                feed=self._manner.name,
                entries=entries,
                status=got.head.status,
                age_s=got.age,
                duration_s=round((self._now() - began).total_seconds(), 3),
            )
        return _Read(end, entries, moved=moved, began=began)

    @property
    def _has_place(self) -> bool:
        """Whether the feed knows what comes after where it was read up to."""
        return self._spot.cursor not in (None, self._dialect.now_cursor)

    def _is_lull(self, since: datetime) -> bool:
        return self._now() - since >= LULL

    def _is_ordinary(self, exc: Unreachable, ask: Ask, *, lasted: bool) -> bool:
        """Whether so ends a stream: quiet for long, or, with proxies on its way, broken off. Asking again tells."""
        return self._streams and ((exc.idle and not ask.beats) or (exc.cut and lasted))

    async def _is_only_the_place(self, ask: Ask) -> bool:
        """Whether the feed is there, and still not as it was asked. Raises Unreachable when it is missing, too."""
        async with self._fetcher.get(self._dialect.ask(None, wait=False)):
            pass
        try:
            async with self._fetcher.get(ask):
                return False  # it has just come back
        except Unreachable as exc:
            return exc.missing

    def _counted(self, entries: int, *, endless: bool) -> int:
        if entries > self._limits.entries and not endless:
            raise Unreadable(f"has more than {self._limits.entries} entries in one answer")
        return entries

    async def _hand_on(self, batch: Batch) -> int:
        """Tell what came, and move on; how many entries it was."""
        entries = len(batch.mentions) + len(batch.bad)
        if batch.cursor is None and not entries:
            return 0
        self.whole = batch.cursor is not None or (self.whole and not entries)
        spot = self._spot if batch.cursor is None else replace(self._spot, cursor=batch.cursor)
        if not self.discards and (entries or spot != self._spot):
            await self._tell(Entries(batch, spot.text()))
        self._spot = spot
        if entries:
            self._without_ids = self._streams and not self._has_place
            self._silence.note(self._now(), caught_up=self._caught_up)
        return entries

    def _is_relieved(self, came: int) -> bool:
        """Whether somebody else goes on from here, in the middle of an answer that may go on for days."""
        if came:
            self._is_well(waiting=True)
        return self._between()

    # -- what follows ------------------------------------------------------------------------------------

    async def _note_caught_up(self, read: _Read) -> None:
        self.discards = False
        self._course.arrive()
        await self._tell(Connected())
        await self._arrive(read.began)

    async def _arrive(self, as_of: datetime) -> None:
        """Everything that the feed had to say at `as_of` has been told."""
        self._caught_up = True
        self._silence.arrive(self._now())
        await self._tell(CaughtUp(as_of, self.at))
        self._silence.say(self._now())

    def _leads_nowhere(self, read: _Read) -> bool:
        """Whether the feed has more and does not lead there, although a wider page was asked for."""
        if not self._course.leads_nowhere(self._spot.cursor, moved=read.moved, brought=read.entries > 0):
            return False
        if not self._course.stuck:
            self._course.stuck = True
            log.error(
                "feed.stuck",
                feed=self._manner.name,
                mirrors=self._mirrors(),
                cursor=self._spot.cursor and self._spot.cursor[:200],
                action="the feed says that there is more and does not lead there: have its producer mended",
            )
        return True

    async def _begin_anew(self, reason: str, *, gap: bool) -> timedelta:
        log.warning("feed.reset", feed=self._manner.name, mirrors=self._mirrors(), reason=reason, gap=gap)
        self._spot, self._caught_up, self.whole = Spot(), False, True
        self._histories.doubt()
        self._validators.clear()
        self._course.begin_anew()
        if not self.discards:
            await self._tell(History(reason, gap))
        now = self._now()
        again = self._reset_at is not None and now - self._reset_at < RESETS_APART
        self._resets, self._reset_at = (self._resets + 1 if again else 0), now
        return min(self._manner.first_pause * (1 << min(self._resets, 12)), self._manner.longest_pause)

    async def _failed(
        self,
        reason: str,
        retry_after: timedelta | None,
        *,
        waiting: bool,
        lasting: bool,
        action: str | None = None,
        said: bool = False,
    ) -> timedelta:
        """`waiting`: it was to wait for news. `said`: somebody has told people already."""
        self._caught_up = False  # what is asked next does not wait: whether it works is to be known at once
        self._histories.doubt()
        self.whole = self.whole or self._has_place
        self._waits_failed = self._waits_failed + 1 if waiting and not self._streams else 0
        now = self._now()
        pause = self._trouble.note(reason, now, retry_after, action=action, said=said)
        lasts = lasting or self._trouble.lasts(now)
        await self._tell(Failing(reason, lasts and self._waits_failed < 2))
        return pause


def _is_heartbeat(chunk: bytes) -> bool:
    """Whether it is nothing but empty lines, or the comments of an event stream."""
    return all(not line.strip() or line.startswith(b":") for line in chunk.splitlines())


def _action(exc: Unreachable) -> str | None:
    """What a person must do; None: it may heal by itself."""
    return "see that the feed's `authorization` and `headers` are what its server expects" if exc.refused else None

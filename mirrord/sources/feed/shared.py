"""One feed and all the mirrors that follow it: it is read once from every place where some of them are.

Whoever comes to a place first reads on from there, and serves those that come to the same place. Who is slow to
record what it is told is left to itself, and comes back when it has caught up.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol, Self

from mirrord.sources.feed.dialect import Dialect, Limits, Naming
from mirrord.sources.feed.fetching import Fetcher
from mirrord.sources.feed.happenings import Happening
from mirrord.sources.feed.lane import Lane, Manner
from mirrord.sources.feed.spot import spot_of

PATIENCE = timedelta(seconds=5)
"""How long one mirror may keep the others waiting."""


class Follower(Protocol):
    """One mirror that follows the feed."""

    mirror: str

    @property
    def begun(self) -> bool:
        """Whether it has a place of its own, if only the beginning; False: it has heard nothing yet."""

    async def place(self) -> str | None:
        """The cursor it is at; None: at the beginning."""

    async def hear(self, happening: Happening) -> None:
        """Record what was told; on return it survives a crash."""


@dataclass(eq=False, slots=True)
class _Served:
    """A follower that somebody else's lane serves."""

    follower: Follower
    told: "asyncio.Queue[Happening | None]" = field(default_factory=lambda: asyncio.Queue(maxsize=2))
    """None: the lane serves it no longer."""
    heard: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(eq=False, slots=True)
class _Crowd:
    """A lane, whose it is, and whom it serves besides."""

    lane: Lane
    leader: Follower
    served: list[_Served] = field(default_factory=list)
    telling: bool = False
    """Something is on its way that who joins now would not hear."""

    def takes(self, at: str | None, *, from_now: bool = False) -> bool:
        """Whether a follower that is at this place can be served from here on."""
        return self.lane.at == at and self.lane.discards == from_now and self.lane.whole and not self.telling

    def mirrors(self) -> list[str]:
        return [self.leader.mirror, *(each.follower.mirror for each in self.served)]

    def dismiss(self) -> None:
        """Leave all that are served to themselves."""
        for each in self.served:
            each.told.put_nowait(None)
        self.served.clear()


class SharedFeed:
    """What mirrors of one feed share: its connection settings, its reader."""

    def __init__(
        self,
        dialect: Dialect,
        fetcher: Fetcher,
        manner: Manner,
        limits: Limits,
        *,
        from_now: bool,
        has_beginning: bool = True,
        naming: Naming | None = None,
        now: Callable[[], datetime],
        chance: Callable[[], float],
        patience: timedelta = PATIENCE,
    ) -> None:
        self._dialect = dialect
        self._fetcher = fetcher
        self._manner = manner
        self._limits = limits
        self._from_now = from_now
        self._naming = naming
        self.has_beginning = has_beginning
        """Whether asking without a cursor brings what there was before."""
        self._now = now
        self._chance = chance
        self._patience_s = patience.total_seconds()
        self._crowds: list[_Crowd] = []
        self._users = 0
        self.unused = False

    @property
    def name(self) -> str:
        return self._manner.name

    @property
    def dialect(self) -> Dialect:
        return self._dialect

    @property
    def endless(self) -> bool:
        """Whether it goes on for ever, so that there is no end to read to."""
        return self._dialect.ask(None, wait=False).waits

    def has_gap_after(self, cursor: str | None) -> bool:
        """Whether who goes on from there misses what came meanwhile."""
        at = spot_of(cursor).cursor
        return not self.has_beginning if at is None else at == self._dialect.now_cursor

    async def follow(self, follower: Follower) -> None:
        """Tell `follower` what happens, from its place on, until cancelled."""
        while True:
            at, from_now = await follower.place(), self._from_now and not follower.begun
            crowd = next((each for each in self._crowds if each.takes(at, from_now=from_now)), None)
            if crowd is not None:
                await self._be_served(follower, crowd)
            else:
                await self._lead(follower, at, from_now=from_now)

    async def read_to_end(self, follower: Follower) -> None:
        """Once, until everything there is has been told. Raises Unreachable, Unreadable."""
        crowd = self._crowd(follower)
        await crowd.lane.read_to_end(await follower.place(), from_now=self._from_now and not follower.begun)

    def join(self) -> Self:
        """One mirror more uses it, which says `close` when it does so no longer."""
        self._users += 1
        return self

    async def close(self) -> None:
        """With the last mirror's it lets go of its connections."""
        self._users -= 1
        if self._users <= 0:
            self.unused = True
            await self._fetcher.close()

    # -- leading -----------------------------------------------------------------------------------------

    async def _lead(self, follower: Follower, at: str | None, *, from_now: bool) -> None:
        """Read from there on, for others too, until somebody else is at the same place."""
        crowd = self._crowd(follower)
        self._crowds.append(crowd)
        try:
            await crowd.lane.follow(at, from_now=from_now, between=lambda: self._has_twin(crowd))
        finally:
            self._crowds.remove(crowd)
            crowd.dismiss()

    def _has_twin(self, crowd: _Crowd) -> bool:
        at = crowd.lane.at
        if at is None or crowd.lane.discards:
            return False
        return any(each is not crowd and each.takes(at) for each in self._crowds)

    def _crowd(self, leader: Follower) -> _Crowd:
        lane = Lane(
            self._dialect,
            self._fetcher,
            self._manner,
            self._limits,
            now=self._now,
            chance=self._chance,
            tell=lambda happening: self._tell(crowd, happening),
            mirrors=lambda: crowd.mirrors(),  # noqa: PLW0108 - each of the two needs the other
            naming=self._naming,
        )
        crowd = _Crowd(lane, leader)
        return crowd

    async def _tell(self, crowd: _Crowd, happening: Happening) -> None:
        crowd.telling = True
        try:
            await self._tell_all(crowd, happening)
        finally:
            crowd.telling = False

    async def _tell_all(self, crowd: _Crowd, happening: Happening) -> None:
        for each in crowd.served:
            each.heard.clear()
            each.told.put_nowait(happening)
        # a leader that is slow leaves the others to themselves
        resigning = asyncio.get_running_loop().call_later(self._patience_s, crowd.dismiss)
        try:
            await crowd.leader.hear(happening)
        finally:
            resigning.cancel()
        await self._until_heard(crowd)

    async def _until_heard(self, crowd: _Crowd) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._patience_s):
                for each in list(crowd.served):
                    await each.heard.wait()
        for each in list(crowd.served):
            if not each.heard.is_set():
                crowd.served.remove(each)
                each.told.put_nowait(None)

    # -- being served ------------------------------------------------------------------------------------

    async def _be_served(self, follower: Follower, crowd: _Crowd) -> None:
        """Hear what another one's lane tells, for as long as it does."""
        served = _Served(follower)
        crowd.served.append(served)
        try:
            while (happening := await served.told.get()) is not None:
                await follower.hear(happening)
                served.heard.set()
        finally:
            if served in crowd.served:
                crowd.served.remove(served)
            served.heard.set()

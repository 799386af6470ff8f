"""What one mirror may say of how complete it is: a feed read to its end, a snapshot compared, or neither."""

from collections.abc import Callable
from datetime import datetime, timedelta

from mirrord.model.coverage import UNKNOWN
from mirrord.sources.contract import Receiver

SAID_EVERY = timedelta(seconds=10)
"""A mirror that is complete all the time says so this often: it is a write to the journal."""


class Completeness:
    """Complete as of what was read last, or compared where nothing is read; once both were, where both are needed."""

    def __init__(self, receiver: Receiver, now: Callable[[], datetime], *, follows: bool, compares: bool) -> None:
        """`follows`: there is a feed to be read. `compares`: there is a snapshot to compare with."""
        self._receiver = receiver
        self._now = now
        self._follows = follows
        self._compares = compares
        self._read_at: datetime | None = None
        self._compared_at: datetime | None = None
        self._said_at: datetime | None = None
        self.unknown: str | None = None
        """Why nobody can say whether everything was seen; None: it can be said."""

    async def read(self, as_of: datetime) -> None:
        """Everything that the feed had to say at `as_of` is recorded."""
        self._read_at = as_of
        await self._say()

    async def compared(self, as_of: datetime) -> None:
        """Everything that the snapshot of `as_of` has, and has not, is recorded."""
        self._compared_at, self.unknown = as_of, None
        self._said_at = None
        await self._say()

    async def lost(self, reason: str) -> None:
        """Something may have been missed, until it is read or compared again."""
        self._said_at = None
        await self._receiver.lost(reason)

    def forget_comparison(self) -> None:
        """What was compared is not enough any more."""
        self._compared_at = None

    async def _say(self) -> None:
        if self._follows and self._read_at is None:
            return
        if self.unknown is not None:
            await self.lost(f"{UNKNOWN}: {self.unknown}")
            return
        if self._compares and self._compared_at is None:
            return
        # a feed that is followed carries a comparison on
        as_of = self._read_at if self._follows else self._compared_at
        now = self._now()
        if as_of is None or (self._said_at is not None and now - self._said_at < SAID_EVERY):
            return
        self._said_at = now
        await self._receiver.complete(as_of)

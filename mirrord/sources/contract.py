"""What a source may ask of the intake, and what the service may ask of a source."""

from collections.abc import Callable, Coroutine, Iterator, Sequence
from datetime import datetime
from typing import Any, Protocol

from mirrord.model.change import Change, Recorded, Rejection
from mirrord.model.cursor import Cursor
from mirrord.model.fingerprint import Fingerprint

HashOf = Callable[[Sequence[str]], Coroutine[Any, Any, dict[str, tuple[Fingerprint, str]]]]
"""What `Source.hash_of` is."""


class SourceUnavailable(Exception):
    """The origin cannot be read, or not be believed; the sentence says what and why."""


class Receiver(Protocol):
    """Where a source puts what it finds."""

    async def take(self, changes: Sequence[Change], cursor: Cursor | None = None, *, news: bool = False) -> Recorded:
        """Record the changes and, with them, how far their source has been read; on return they survive a crash.

        `news`: they have just happened, so that the bucket cannot hold them yet, whatever it is taken to hold.
        """

    async def cursor(self, source: str) -> Cursor | None:
        """How far `source` has been read, as last recorded; None: it has not been begun."""

    def reject(self, rejection: Rejection) -> None:
        """Say that a name can never be a key."""

    def known(self, below: str) -> Iterator[tuple[str, Fingerprint | None]]:
        """The journal's keys that start with `below`, in code point order. Blocks: for the source's own thread."""

    def listening(self) -> None:
        """From here on no change is missed; what was there before is still to be looked at."""

    async def lost(self, reason: str) -> None:
        """Something may have been missed: the mirror is not complete until `complete`."""

    async def complete(self, as_of: datetime, root: str | None = None) -> None:
        """Everything that was there at `as_of`, below the root of that identity, has been seen."""

    @property
    def root(self) -> str | None:
        """The identity of the root that was last seen whole; None before the first time."""

    async def moved_to(self, root: str) -> None:
        """Another root is there now; the next look below it may believe what it does not see."""


class Source(Protocol):
    """Where one mirror's changes come from."""

    sees_origin: bool
    """Whether `observe` can tell of a key; a feed cannot, and what it said last is believed."""

    async def follow(self, receiver: Receiver) -> None:
        """Hand on changes until cancelled, healing by itself what can be healed."""

    async def survey(self, receiver: Receiver) -> None:
        """Look at everything once. Raises SourceUnavailable."""

    async def observe(self, keys: Sequence[str]) -> dict[str, Fingerprint | None]:
        """The version of each key at the origin right now; None: not there. Keys it cannot tell of are left out."""

    async def hash_of(self, keys: Sequence[str]) -> dict[str, tuple[Fingerprint, str]]:
        """The version of each key and the qetag of its content; without the keys of which both could not be had."""

    async def close(self) -> None:
        """End its threads, and let go of what it may share with other mirrors' sources."""

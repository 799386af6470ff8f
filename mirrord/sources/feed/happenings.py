"""What a reader tells the mirrors that follow its feed, one value for each thing that happens."""

from dataclasses import dataclass
from datetime import datetime

from mirrord.sources.feed.dialect import Batch


@dataclass(frozen=True, slots=True)
class Connected:
    """The feed has answered: from here on nothing that it says is missed."""


@dataclass(frozen=True, slots=True)
class Entries:
    """Something came. On return it is recorded, together with its cursor."""

    batch: Batch
    cursor: str | None
    """Where the feed is to be read on once these are recorded."""


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """Everything that the feed had to say at `as_of` has been told."""

    as_of: datetime
    cursor: str | None


@dataclass(frozen=True, slots=True)
class History:
    """What the cursor stood for is no more: it is read again from the beginning."""

    reason: str
    gap: bool
    """Whether something may have been missed that the beginning does not bring either."""


@dataclass(frozen=True, slots=True)
class Failing:
    """The feed cannot be read; it is tried again and again."""

    reason: str
    lasting: bool
    """Not a hiccup any more."""


@dataclass(frozen=True, slots=True)
class Missed:
    """What the feed says next is not all that there was since: it cannot be asked for what came between."""

    reason: str


Happening = Connected | Entries | CaughtUp | History | Failing | Missed

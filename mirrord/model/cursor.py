"""Cursor: how far a source of changes has been read."""

from dataclasses import dataclass
from datetime import datetime

FEED = "feed "
"""How the source of every change feed begins; other cursors are somebody's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """Everything before it is recorded. Of another source it means nothing."""

    source: str
    """The source's identity, such as a feed's address."""
    text: str
    """The source's own word for the place: opaque, compared for equality only."""
    moved_at: datetime
    """When it came here; aware, UTC."""
    event_at: datetime | None = None
    """The newest event's own time, by the feed's clock; None: it had none."""

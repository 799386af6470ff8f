"""Mention: what a change feed says of one thing, before anybody knows whether it is a key of ours."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Mention:
    """One entry of a feed. All datetimes are aware, UTC."""

    name: str
    """A path, a URL or an id, as the feed has it: nothing is decoded, stripped or folded."""
    removed: bool = False
    token: str | None = None
    """The feed's own name for this version, compared for equality only; None: every mention is another version."""
    size_bytes: int | None = None
    etag: str | None = None
    """As the origin's HTTP would say it, without quotes and `W/`."""
    modified: datetime | None = None
    """When the content was last changed, exact to a second, as the origin's HTTP would say it."""
    at: datetime | None = None
    """When it happened, by the feed's clock: for the lag, never for decisions."""
    order: str | None = None
    """For feeds whose entries overtake each other: of two of one key, the lesser text is the older entry."""

"""Coverage: how much of the origin a mirror is known to have seen."""

from dataclasses import dataclass
from datetime import datetime

UNKNOWN = "completeness is unknown"
"""How a reason begins that no later look heals: the origin does not tell what was before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Complete as of a time, or not, and why. All datetimes are aware, UTC."""

    complete_as_of: datetime | None = None
    """When the last complete scan began; None before the first."""
    lost_since: datetime | None = None
    """Since when something may have been missed; None while nothing is known to be."""
    lost_reason: str | None = None
    root: str | None = None
    """The source's identity (device and inode of a directory) when it was last seen whole."""

"""Condition: what keeps a whole mirror from asking Kodo now, or its CDN from being told."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """In force from `since` until it is taken back. All datetimes are aware, UTC."""

    name: str
    """"held": Kodo refuses the account or the bucket. "origin", "kodo": the breaker of that is open. "throttled":
    Kodo said for how long to wait. "paced": calls go on, no faster than Kodo takes them. "listing": the first
    run waits for the bucket's listing. "cdn": the CDN fails, or its quota is used up; calls go on.
    """
    since: datetime
    until: datetime | None
    """When the next call may go; None: at any time."""
    reason: str
    status: int | None = None
    reqid: str | None = None

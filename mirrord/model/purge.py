"""Purge: a key whose copies in a CDN are out of date; PurgeAnswer: what was said when the CDN was told of some."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Purge:
    """One key that a CDN is still to be told of, under all its addresses. All datetimes are aware, UTC."""

    key: str
    asked: int
    """Counts how often the key came to need it while it waited: told under a lower count, it is told again."""
    since: datetime
    due_at: datetime
    """By when it is to be sent, earlier with others; with strikes, not before then."""
    strikes: int = 0
    """Requests with this key that were refused, perhaps because of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PurgeAnswer:
    """The body of an answer to `/v2/tune/refresh` (Go SDK, cdn/api.go); 200 in `code` alone means success."""

    code: int
    error: str | None
    request_id: str | None
    invalid_urls: tuple[str, ...]
    """Those that the CDN does not serve."""
    quota_day: int | None
    """How many the account may send in a day; None: not said."""
    surplus_day: int | None
    """How many of those are left; None: not said."""

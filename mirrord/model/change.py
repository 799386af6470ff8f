"""Change: what a source says of one key. A hint until the journal has recorded it."""

from dataclasses import dataclass
from datetime import datetime

from mirrord.model.fingerprint import Fingerprint


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The origin's version of `key` as a source saw it at `seen_at`."""

    key: str
    version: Fingerprint | None
    """None: the origin has the key no longer."""
    seen_at: datetime
    content_hash: str | None = None
    """The qetag of that version, when somebody computed it; "" when it could not be."""
    as_of: datetime | None = None
    """Of a snapshot: when it was made; what the journal learnt later is newer."""
    order: str | None = None
    """Of two changes of one key the lesser text is the older one."""

    @property
    def known_at(self) -> datetime:
        """As of when this is what the origin has."""
        return self.as_of or self.seen_at


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """A name that can never become a key, and why; reported once and skipped."""

    name: str
    """Printable: bytes that are not UTF-8 stand as `\\xNN`."""
    reason: str


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of the changes of one `record`."""

    new: int = 0
    changed: int = 0
    removed: int = 0
    stale: int = 0
    """Of all of them, those that somebody has to ask Kodo for."""
    doubtful: tuple[Change, ...] = ()
    """Not recorded: only the content can tell whether they changed. Give them again with `content_hash`."""

"""ObjectRow: everything the journal knows of one key; State: where the key stands."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from mirrord.model.attempt import Outcome
from mirrord.model.fingerprint import Fingerprint
from mirrord.model.pending import Pending


class State(StrEnum):
    """A key is stale while the wanted version and the confirmed one differ."""

    FRESH = "fresh"
    STALE = "stale"
    CLAIMED = "claimed"
    PARKED = "parked"
    HELD = "held"


class Why(StrEnum):
    """How it came that the wanted version is wanted."""

    NEW = "new"  # the origin has a key that it had not
    CHANGED = "changed"
    REMOVED = "removed"
    DIFFERS = "differs"  # the bucket's listing showed something else, when the key was first seen
    DRIFTED = "drifted"  # an audit found something else in the bucket
    ASKED = "asked"  # a person said `mirrord refresh`


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectRow:
    """One key of one mirror. All datetimes are aware, UTC."""

    mirror: str
    key: str
    wanted: Fingerprint | None
    """What the origin has; None: removed there."""
    wanted_at: datetime | None = None
    """When that version was first seen."""
    why: Why | None = None
    generation: int = 1
    """Counts what was wanted: a call that began under an older one does not make the key fresh."""
    confirmed: Fingerprint | None = None
    """What the bucket is known to hold; None: nothing known."""
    bucket_hash: str | None = None
    """The stored object's qetag, when a reply named it."""
    state: State = State.STALE
    stale_since: datetime | None = None
    """When the wanted version was first seen; None while fresh."""
    due_at: datetime | None = None
    """When the key may be asked for; None unless stale."""
    attempts: int = 0
    """Attempts made at the wanted version; the next one is number attempts + 1."""
    strikes: int = 0
    """Those of them that may have failed because of the key itself."""
    claims: int = 0
    """Never goes back: names one claim, so that a lapsed one cannot settle."""
    lease_until: datetime | None = None
    """When a claim lapses; None unless claimed."""
    last_at: datetime | None = None
    last_status: int | None = None
    last_reqid: str | None = None
    last_outcome: Outcome | None = None
    last_error: str | None = None
    """What was wrong last: of an attempt, or how the bucket was found to differ."""
    removed_at: datetime | None = None
    """When the origin was found without the key; None while it has it."""
    tries: int = 0
    """Attempts made at any version, ever."""
    pending: Pending | None = None
    """A pull whose end nobody has seen: the bucket is looked at before Kodo is asked again."""

"""How the service stands at this moment, as values: what only the running process knows."""

from dataclasses import dataclass
from datetime import datetime

from mirrord.model.condition import Condition
from mirrord.model.coverage import Coverage


@dataclass(frozen=True, slots=True, kw_only=True)
class MirrorStanding:
    """One mirror, as its two halves are now."""

    mirror: str
    bucket: str
    operation: str
    """As in the settings: `prefetch`, `fetch` or `glb-fetch`."""
    in_flight: int
    """Calls that wait for their answer."""
    allowed: int
    """Calls that may be in flight together now: less than the settings say while Kodo is given time."""
    held: bool
    """Whether Kodo refuses the account or the bucket."""
    listening: bool
    """Whether its source has begun to listen, or has said why it cannot."""
    coverage: Coverage
    conditions: tuple[Condition, ...]
    """What keeps it from calling, and its CDN from being told."""
    feed: str | None = None
    """The source of its feed's cursor; None: it follows none."""
    cdn_surplus: int | None = None
    """What is left of the day's quota of the CDN, as last said; None: it was not said, or there is no CDN."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The whole service."""

    version: str
    since: datetime
    """When it started."""
    generation: int
    """1 at the start; every reload that was taken adds one."""
    ready: bool
    """Whether every source listens, or has said why it cannot."""
    stopping: bool
    trouble: str | None
    """Why the journal cannot be used at present; None while it can."""
    stuck: tuple[str, ...]
    """Mirrors that take no turns; none, or systemd is about to restart the service."""
    mirrors: tuple[MirrorStanding, ...]

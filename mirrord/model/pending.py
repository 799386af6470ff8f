"""Pending: a pull that Kodo was asked for and whose end nobody has seen yet."""

from dataclasses import dataclass
from datetime import datetime

from mirrord.model.attempt import Operation


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """What was asked. Until it has ended, the key is only looked at, never asked for again."""

    operation: Operation
    began_at: datetime
    until: datetime
    """When it has surely ended, whatever the bucket holds then."""
    put_after: int
    """An object put later than this, in Kodo's ticks of 100 ns, was put by this pull or a later one."""
    hash_before: str | None = None
    """What the bucket was known to hold before; another hash shows that a pull has ended, too."""
    generation: int = 0
    """Which wanted version was asked for: of a later one it says nothing but that it must end first."""
    looks: int = 0
    """How often the bucket has been asked whether it has ended."""
    timeouts: int = 0
    """Pulls of this key in a row, this one included, of which no end was seen in time."""
    reqid: str | None = None
    task: str | None = None
    """An asynchronous fetch's id."""

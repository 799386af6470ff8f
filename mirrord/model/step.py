"""NextStep: what follows an attempt."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Done:
    """The bucket has what was asked for."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Ask again after `delay`."""

    delay: timedelta


@dataclass(frozen=True, slots=True)
class Park:
    """Give up until a person, or a new version, says otherwise."""


@dataclass(frozen=True, slots=True)
class Hold:
    """The mirror cannot work until a person acts: keep the key as it is and probe again after `delay`."""

    delay: timedelta


NextStep = Done | Retry | Park | Hold

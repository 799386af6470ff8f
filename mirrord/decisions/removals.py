"""The removal guard: how many keys may go from the bucket before a person has to say so."""

import math
from dataclasses import dataclass
from datetime import timedelta

WINDOW = timedelta(minutes=1)
"""Removals this close together count as one: what `rm -rf` does takes a while to arrive."""
SETTLE = timedelta(seconds=2)
"""Removals are decided once none has come for this long; a burst is judged as a whole, not by its first keys."""
SETTLE_MOST = timedelta(seconds=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovalLimit:
    """The settings' `removal_limit`: more than either at once is held."""

    count: int = 1000
    fraction: float = 0.1
    """Of all the keys that the origin had."""

    def most(self, keys: int) -> int:
        """How many of `keys` may go at once. One always may: a single file is never a mass removal."""
        return max(1, min(self.count, math.ceil(self.fraction * keys))) if self.count else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What became of the removals that were waiting."""

    going: int = 0
    held: int = 0
    sample: tuple[str, ...] = ()
    """Some of the held keys, for the log."""


def may_go(*, waiting: int, just_gone: int, keys: int, limit: RemovalLimit) -> bool:
    """Whether the `waiting` removals may go, after `just_gone` within the window, with `keys` still at the origin."""
    return waiting + just_gone <= limit.most(keys + waiting + just_gone)

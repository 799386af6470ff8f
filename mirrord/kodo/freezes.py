"""Which of several hosts that do the same to ask: in their order, but those that failed are left alone for a while."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from mirrord.kodo.exchange import Base

FIRST_S = 10.0
MOST_S = 600.0
"""What the official Go SDK freezes a host for (http_client.go); here that is where the doubling ends."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Freeze:
    began: float  # by the clock, in seconds
    for_s: float

    @property
    def ends(self) -> float:
        return self.began + self.for_s


class Freezes:
    """A host that has no other beside it is never frozen: it is all there is."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._freezes: dict[Base, _Freeze] = {}  # until a host answers again, also past their end
        self._replaceable: set[Base] = set()

    def in_turn(self, bases: Sequence[Base]) -> Sequence[Base]:
        """Those to try now, one after the other; when all are frozen, the one that thaws first."""
        if len(bases) < 2:
            return bases
        self._replaceable.update(bases)
        now = self._clock()
        ends = {base: freeze.ends for base in bases if (freeze := self._freezes.get(base)) and freeze.ends > now}
        return [base for base in bases if base not in ends] or [min(bases, key=lambda base: ends[base])]

    def failed(self, base: Base, error: str) -> None:
        """Leave `base` alone: for ten seconds, and for twice as long each time it has not answered in between."""
        now, last = self._clock(), self._freezes.get(base)
        if base not in self._replaceable or (last is not None and last.ends > now):
            return  # of many calls that fail together the first one has said it
        for_s = FIRST_S if last is None else min(last.for_s * 2, MOST_S)
        self._freezes[base] = _Freeze(now, for_s)
        log.warning("host.frozen", host=str(base), for_s=for_s, error=error)

    def answered(self, base: Base, duration_s: float) -> None:
        """Trust `base` again. An answer to what was asked before the freeze proves nothing of the time since."""
        freeze = self._freezes.get(base)
        if freeze is not None and self._clock() - duration_s >= freeze.began:
            del self._freezes[base]
            log.info("host.thawed", host=str(base))

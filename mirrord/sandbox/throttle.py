"""How many calls of some kinds pass in a second, and what the others are told."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import formatdate
from math import inf

from mirrord.sandbox.given import Kinds, checked

PULLS = ("prefetch", "fetch", "glb-fetch", "async-fetch")
"""The operations that make the server ask an origin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttle:
    """So many calls per second for the whole server; raises ValueError when it makes no sense."""

    per_second: float
    status: int = 573
    retry_after: int | str | None = None
    """A number is said in seconds, a text as it stands, None not at all."""
    as_date: bool = False
    """Say the number as the date by the server's clock."""
    operations: tuple[str, ...] = PULLS

    def __post_init__(self) -> None:
        if not 0 < self.per_second < inf or not 400 <= self.status <= 999:
            raise ValueError("a throttle lets more than 0 calls per second pass and refuses the others with an error")
        if isinstance(self.retry_after, str) and not self.retry_after.isprintable():
            raise ValueError("retry_after is one line")

    @property
    def burst(self) -> float:
        """How many may come at once after a pause."""
        return max(1.0, self.per_second / 10)

    def headers(self, now: datetime) -> Mapping[str, str]:
        match self.retry_after:
            case None:
                return {}
            case int() as seconds if self.as_date:
                return {"Retry-After": formatdate((now + timedelta(seconds=seconds)).timestamp(), usegmt=True)}
            case said:
                return {"Retry-After": str(said)}


class Allowance:
    """What a throttle still lets pass: a bucket of tokens, full at first. Times are seconds of one clock."""

    def __init__(self, throttle: Throttle, now_s: float) -> None:
        self.throttle = throttle
        self._tokens = throttle.burst
        self._at_s = now_s

    def take(self, now_s: float) -> bool:
        """Whether one more call may pass; one that may not uses nothing up."""
        grown = self._tokens + (now_s - self._at_s) * self.throttle.per_second
        self._tokens, self._at_s = min(self.throttle.burst, grown), now_s
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


_KINDS: Kinds = {
    "per_second": (int, float),
    "status": (int,),
    "retry_after": (int, str, type(None)),
    "as_date": (bool,),
    "operations": (list,),
}


def throttle_from(fields: object) -> Throttle:
    """A throttle from a JSON object with its fields; raises ValueError."""
    given = checked(fields, _KINDS, "throttle")
    if "per_second" not in given:
        raise ValueError("a throttle needs per_second")
    if "operations" in given:
        given["operations"] = tuple(given["operations"])
    return Throttle(**given)


def parse_throttle(text: str) -> Throttle:
    """A throttle from `N[:STATUS]`; raises ValueError."""
    number, colon, status = text.partition(":")
    try:
        return Throttle(per_second=float(number), status=int(status) if colon else 573)
    except ValueError as exc:
        raise ValueError(f"{text!r} is not calls per second, like 50 or 50:429") from exc

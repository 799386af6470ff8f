"""What holds for every call of the account, on good days and bad: secret, throttle, freezing, the server's clock."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from mirrord.kodo.auth import Credentials
from mirrord.sandbox.cdn import CdnRules, rules_from
from mirrord.sandbox.given import Kinds, checked
from mirrord.sandbox.throttle import Allowance, Throttle, throttle_from

_MOST_SKEW_S = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What can be changed while a sandbox runs. Raises ValueError when it makes no sense."""

    secret_key: str
    throttle: Throttle | None = None
    frozen: bool = False
    skew_s: float = 0.0
    """By how much the server's clock is ahead."""
    cdn: CdnRules = field(default_factory=CdnRules)

    def __post_init__(self) -> None:
        if not abs(self.skew_s) <= _MOST_SKEW_S:
            raise ValueError(f"a clock is not {self.skew_s} s ahead")

    def shown(self) -> dict[str, object]:
        """As JSON has it, without the secret."""
        throttle = self.throttle and asdict(self.throttle)
        return {"throttle": throttle, "frozen": self.frozen, "skew_s": self.skew_s, "cdn": asdict(self.cdn)}


class Conditions:
    """The state in force, and the clock that it bends."""

    def __init__(
        self,
        access_key: str,
        state: State,
        now_ns: Callable[[], int] = time.time_ns,
        elapsed_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._access_key = access_key
        self._now_ns = now_ns
        self._elapsed_s = elapsed_s
        self._allowance: Allowance | None = None
        self.change(state)

    def change(self, state: State) -> None:
        """From now on `state`; another throttle than before begins with its whole burst."""
        before = self._allowance and self._allowance.throttle
        if state.throttle != before:
            self._allowance = Allowance(state.throttle, self._elapsed_s()) if state.throttle else None
        self.state = state

    @property
    def credentials(self) -> Credentials:
        return Credentials(self._access_key, self.state.secret_key)

    def now_ns(self) -> int:
        """Nanoseconds since 1970 by the server's clock."""
        return self._now_ns() + round(self.state.skew_s * 1e9)

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.now_ns() / 1e9, UTC)

    def excess(self, operation: str) -> Throttle | None:
        """The throttle that a call of `operation` is too much for; one that is not, it counts."""
        allowance = self._allowance
        if allowance is None or operation not in allowance.throttle.operations:
            return None
        return None if allowance.take(self._elapsed_s()) else allowance.throttle


_KINDS: Kinds = {
    "throttle": (dict, type(None)),
    "frozen": (bool, type(None)),
    "skew_s": (int, float, type(None)),
    "secret_key": (str,),
    "cdn": (dict, type(None)),
}
_OFF: dict[str, Any] = {"frozen": False, "skew_s": 0.0, "cdn": {}}


def changed(state: State, fields: object) -> State:
    """`state` with what a JSON object says of it, where null switches off; raises ValueError."""
    given = checked(fields, _KINDS, "state")
    values: dict[str, Any] = {name: _OFF.get(name) if value is None else value for name, value in given.items()}
    if values.get("throttle") is not None:
        values["throttle"] = throttle_from(values["throttle"])
    if "cdn" in values:
        values["cdn"] = rules_from(values["cdn"])
    return replace(state, **values)

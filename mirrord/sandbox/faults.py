"""Rules of what shall go wrong, and which of them a call meets."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One rule. Without status, drop or stale it only delays. Raises ValueError when it makes no sense."""

    operation: str = "*"
    """prefetch, fetch, glb-fetch, stat, delete, batch, list, bucket-info, query or download; "*" is any."""
    key: str = "*"
    """A glob, as the shell has it; a call without a key has the empty one."""
    status: int | None = None
    error: str | None = None
    """The text that goes with `status`; None: the usual one."""
    delay_s: float = 0.0
    drop: bool = False
    """End the connection without an answer."""
    stale: bool = False
    """Pull, answer 200, but store the old bytes anew. A key without old bytes gets the new ones."""
    after: bool = False
    """Status and drop come when the work is done: it happened, but the caller cannot know."""
    probability: float = 1.0
    times: int | None = None
    """How often it happens; None: for ever."""

    def __post_init__(self) -> None:
        if self.status is not None and not 200 <= self.status <= 999:
            raise ValueError(f"status {self.status} is not an HTTP status that could end a call")
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability {self.probability} is not between 0 and 1")
        if self.delay_s < 0 or (self.times is not None and self.times < 1):
            raise ValueError("delay_s must not be negative, times must be at least 1")


_KINDS: Mapping[str, tuple[type, ...]] = {
    "operation": (str,),
    "key": (str,),
    "status": (int, type(None)),
    "error": (str, type(None)),
    "delay_s": (int, float),
    "drop": (bool,),
    "stale": (bool,),
    "after": (bool,),
    "probability": (int, float),
    "times": (int, type(None)),
}


def parse_fault(text: str) -> Fault:
    """A rule from `operation:status[:probability]`; `drop` and `stale` stand where a status can.

    Raises ValueError.
    """
    operation, _, rest = text.partition(":")
    what, _, chance = rest.partition(":")
    try:
        probability = float(chance) if chance else 1.0
        status = None if what in {"drop", "stale"} else int(what)
    except ValueError as exc:
        raise ValueError(f"{text!r} is not operation:status[:probability], like prefetch:478:0.1") from exc
    return Fault(
        operation=operation,
        status=status,
        drop=what == "drop",
        stale=what == "stale",
        probability=probability,
    )


def fault_from(fields: object) -> Fault:
    """A rule from a JSON object with the fields of Fault; raises ValueError."""
    if not isinstance(fields, dict):
        raise ValueError("a fault is a JSON object")  # noqa: TRY004 - people's typing, not a bug
    for name, value in fields.items():
        kinds = _KINDS.get(name, ())
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise ValueError(f"a fault has no {name} like {value!r}; it knows {', '.join(_KINDS)}")
    return Fault(**fields)


class Faults:
    """The rules in force, oldest first. `chance` gives numbers from 0 up to 1."""

    def __init__(self, chance: Callable[[], float], rules: Iterable[Fault] = ()) -> None:
        self._chance = chance
        self._rules = [(rule, rule.times) for rule in rules]

    def add(self, rule: Fault) -> None:
        self._rules.append((rule, rule.times))

    def clear(self) -> None:
        self._rules.clear()

    def listed(self) -> list[dict[str, object]]:
        """The rules as JSON objects, `times` being what is left."""
        return [asdict(rule) | {"times": left} for rule, left in self._rules]

    def draw(self, operation: str, key: str | None) -> Fault | None:
        """The first rule that a call of `operation` on `key` meets, counted as having happened."""
        for index, (rule, left) in enumerate(self._rules):
            if rule.operation not in {"*", operation} or not fnmatchcase(key or "", rule.key):
                continue
            if rule.probability < 1 and self._chance() >= rule.probability:
                continue
            if left == 1:
                del self._rules[index]
            elif left is not None:
                self._rules[index] = (rule, left - 1)
            return rule
        return None

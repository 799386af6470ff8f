"""Rules of what shall go wrong, and which of them a call meets."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from fnmatch import fnmatchcase

from mirrord.sandbox.given import Kinds, checked


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One rule. One that says nothing of how the call fails lets it go on: later, or otherwise marked.

    Raises ValueError when it makes no sense.
    """

    operation: str = "*"
    """prefetch, fetch, glb-fetch, async-fetch, async-wait, async-pull, stat, delete, batch, list, bucket-info,
    query, cdn-refresh or download; "*" is any. async-pull is the work behind async-fetch: nobody hears how it ends.
    """
    key: str = "*"
    """A glob, as the shell has it; a call without a key has the empty one."""
    status: int | None = None
    error: str | None = None
    """The text that goes with `status`; None: the usual one."""
    delay_s: float = 0.0
    """Wait before anything is done, but a pull counts as running from then on."""
    hold_s: float = 0.0
    """Wait with the origin's bytes in hand, before they are stored: what comes in meanwhile, they replace."""
    drop: bool = False
    """End the connection without an answer."""
    cut: bool = False
    """Reset the connection in the middle of the reply's body."""
    html: bool = False
    """Fail with a page, as a proxy does, instead of JSON; without `status` a page that says 200."""
    headers: Mapping[str, str | None] = field(default_factory=dict)
    """Put into the reply, or with None taken out of it; X-Reqid and X-Log too. By itself it lets the call succeed."""
    stale: bool = False
    """Pull, answer 200, but store the old bytes anew. A key without old bytes gets the new ones."""
    after: bool = False
    """The call fails when the work is done: it happened, but the caller cannot know."""
    probability: float = 1.0
    times: int | None = None
    """How often it happens; None: for ever."""

    def __post_init__(self) -> None:
        if self.status is not None and not 200 <= self.status <= 999:
            raise ValueError(f"status {self.status} is not an HTTP status that could end a call")
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability {self.probability} is not between 0 and 1")
        if min(self.delay_s, self.hold_s) < 0 or (self.times is not None and self.times < 1):
            raise ValueError("delay_s and hold_s must not be negative, times must be at least 1")
        for name, value in self.headers.items():
            if not _HEADER_NAME.fullmatch(name) or (value is not None and not _HEADER_VALUE.fullmatch(value)):
                raise ValueError(f"a fault has no header like {name}: {value}")

    @property
    def fails(self) -> bool:
        """Whether the caller gets something else than the call's own answer."""
        return self.status is not None or self.drop or self.cut or self.html


_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
_KINDS: Kinds = {
    "operation": (str,),
    "key": (str,),
    "status": (int, type(None)),
    "error": (str, type(None)),
    "delay_s": (int, float),
    "hold_s": (int, float),
    "drop": (bool,),
    "cut": (bool,),
    "html": (bool,),
    "headers": (dict,),
    "stale": (bool,),
    "after": (bool,),
    "probability": (int, float),
    "times": (int, type(None)),
}
_WORDS = ("drop", "stale", "cut", "html")


def parse_fault(text: str) -> Fault:
    """A rule from `operation:status[:probability]`; `drop`, `cut`, `html` and `stale` stand where a status can.

    Raises ValueError.
    """
    operation, _, rest = text.partition(":")
    what, _, chance = rest.partition(":")
    try:
        probability = float(chance) if chance else 1.0
        status = None if what in _WORDS else int(what)
    except ValueError as exc:
        raise ValueError(f"{text!r} is not operation:status[:probability], like prefetch:478:0.1") from exc
    return Fault(
        operation=operation,
        status=status,
        drop=what == "drop",
        cut=what == "cut",
        html=what == "html",
        stale=what == "stale",
        probability=probability,
    )


def fault_from(fields: object) -> Fault:
    """A rule from a JSON object with the fields of Fault; raises ValueError."""
    given = checked(fields, _KINDS, "fault")
    if not all(isinstance(value, str | None) for value in given.get("headers", {}).values()):
        raise ValueError("a fault has headers that are text, or null to take them out")
    return Fault(**given)


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

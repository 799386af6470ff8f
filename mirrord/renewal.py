"""Two settings, one in force and one just read, to what has to happen between them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import BaseModel

from mirrord.settings import Mirror, Settings

IN_PLACE = frozenset({"pace", "retry", "removal_limit", "cdn"})
"""What a running mirror takes without noticing; anything else of it makes another mirror of it."""
AT_A_RESTART = ("kodo", "journal", "status")
"""What all mirrors share, or the process was started with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewal:
    """What changes; what is not named goes on as it is."""

    stop: tuple[str, ...]
    """Mirrors that are gone, or replaced under their name."""
    start: tuple[Mirror, ...]
    adjust: tuple[Mirror, ...]
    needs_restart: tuple[str, ...]
    """Settings that differ and stay as they were, dotted."""
    effective: Settings
    """What is in force then."""


def renewal(present: Settings, wanted: Settings) -> Renewal:
    before = {mirror.name: mirror for mirror in present.mirror}
    after = {mirror.name: mirror for mirror in wanted.mirror}
    changed = [mirror for name, mirror in after.items() if before.get(name) != mirror]
    adjust = [mirror for mirror in changed if mirror.name in before and _is_in_place(before[mirror.name], mirror)]
    start = [mirror for mirror in changed if mirror not in adjust]
    gone = [name for name in before if name not in after]
    kept = {name: getattr(present, name) for name in AT_A_RESTART}
    return Renewal(
        stop=(*gone, *(mirror.name for mirror in start if mirror.name in before)),
        start=tuple(start),
        adjust=tuple(adjust),
        needs_restart=tuple(
            path for name in AT_A_RESTART for path in _differences(kept[name], getattr(wanted, name), name)
        ),
        effective=wanted.model_copy(update=kept),
    )


def _is_in_place(before: Mirror, after: Mirror) -> bool:
    differing = {name for name in type(after).model_fields if getattr(before, name) != getattr(after, name)}
    return differing <= IN_PLACE


def _differences(before: object, after: object, path: str) -> Iterator[str]:
    """Dotted names of what differs; values are not told, some are secret."""
    if isinstance(before, BaseModel) and isinstance(after, BaseModel):
        for name in type(before).model_fields:
            yield from _differences(getattr(before, name), getattr(after, name), f"{path}.{name}")
    elif isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in before.keys() | after.keys():
            yield from _differences(before.get(name), after.get(name), f"{path}.{name}")
    elif before != after:
        yield path

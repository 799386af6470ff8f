"""An answer of `/v4/query` to the region that a bucket is in. No input or output."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from mirrord.kodo.protocol import Host

_AUTHORITY = re.compile(r"[A-Za-z0-9._-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")
_TTL_LEAST_S, _TTL_MOST_S = 60.0, 7 * 86400.0  # Qiniu says a day; any other number would ask all the time, or never


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A region's name, "" when it has none, and which domains answer for each service, in the order to try."""

    name: str
    domains: Mapping[Host, tuple[str, ...]]
    ttl_s: float


def read_region(said: object) -> Region | None:
    """The bucket's own region, the first of the answer: the others do not have the bucket (kodo.md, "Traps").

    None when the answer has another shape, or names no domain at all.
    """
    try:
        own = said["hosts"][0]  # type: ignore[index]  # whatever shape it has, only this one counts
        domains = {host: found for host in Host if (found := _domains(own.get(host.value)))}
        ttl_s = min(max(float(own["ttl"]), _TTL_LEAST_S), _TTL_MOST_S)
        name = own.get("region")
    except (TypeError, KeyError, IndexError, ValueError, OverflowError, AttributeError):
        return None
    return Region(name=name if isinstance(name, str) else "", domains=domains, ttl_s=ttl_s) if domains else None


def _domains(service: object) -> tuple[str, ...]:
    named = service.get("domains") if isinstance(service, Mapping) else None
    if not isinstance(named, list):
        return ()
    texts = [name for name in named if isinstance(name, str)]
    return tuple(name for name in dict.fromkeys(texts) if _AUTHORITY.fullmatch(name))

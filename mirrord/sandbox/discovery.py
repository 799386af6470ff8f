"""Where the services are, as `/v4/query` tells it."""

from collections.abc import Sequence
from dataclasses import dataclass

REGION = "z0"
_OTHER = "z1"
_NOWHERE = "127.0.0.1:9"  # nobody listens on the port that discards
_SERVICES = ("io", "io_src", "up", "rs", "rsf", "api", "uc", "s3")


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovery:
    """What the answer names besides the host that was asked, which has all services."""

    io_domains: Sequence[str] = ()
    """HOST:PORT of the io service, the first first; empty: the host that was asked."""
    ttl_s: float = 86400
    other_region: bool = False
    """Name a second region, too, which must never be asked: nobody is there."""

    def hosts(self, here: str) -> list[dict[str, object]]:
        """The bucket's region, asked at `here`, then others."""
        found = [self._region(REGION, [here], self.io_domains or [here])]
        if self.other_region:
            found.append(self._region(_OTHER, [_NOWHERE], [_NOWHERE]))
        return found

    def _region(self, name: str, domains: Sequence[str], io_domains: Sequence[str]) -> dict[str, object]:
        services = {service: {"domains": list(domains)} for service in _SERVICES}
        return {"region": name, "ttl": self.ttl_s, **services, "io": {"domains": list(io_domains)}}

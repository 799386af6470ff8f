"""Target: what one mirror asks of Kodo."""

from dataclasses import dataclass
from datetime import timedelta

from mirrord.decisions.retry import RetryPolicy
from mirrord.decisions.staleness import IntakeRules
from mirrord.model.attempt import Operation


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One mirror's bucket, and the settings that say how to fill it."""

    mirror: str
    bucket: str
    operation: Operation
    origin_url: str | None
    """What a key is appended to; None only for prefetch, where the bucket itself knows."""
    rules: IntakeRules
    retry: RetryPolicy
    lease: timedelta
    call_limit: timedelta
    """The longest one call can take; nothing is sent under a lease that ends sooner."""
    concurrency: int
    read_timeout: timedelta = timedelta(minutes=5)
    """How long an answer may take, without what a file's size adds."""
    async_above: int | None = None
    """Bytes above which Kodo is to pull without being waited for; None: never."""
    sees_origin: bool = True
    """Whether the origin can be looked at; else what its feed said last is believed."""
    tells_cdn: bool = False
    """Whether a CDN is to be told of what became fresh."""

"""What came back from Kodo (Reply) and what it means for the key (Outcome)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Operation(StrEnum):
    """The calls that change something in the bucket, as the log names them."""

    PREFETCH = "prefetch"
    FETCH = "fetch"
    GLB_FETCH = "glb-fetch"
    ASYNC_FETCH = "async-fetch"
    DELETE = "delete"


PULLS = frozenset({Operation.PREFETCH, Operation.FETCH, Operation.GLB_FETCH, Operation.ASYNC_FETCH})
"""Those that make Kodo ask the origin, so that an answer may be the origin's own."""


class Content(StrEnum):
    """What the body of an answer was. Kodo says nothing or JSON; a proxy's page is neither."""

    EMPTY = "empty"
    JSON = "json"
    FOREIGN = "foreign"


class Silence(StrEnum):
    """Why there is no HTTP status."""

    CONNECT_FAILED = "connect-failed"  # name, route, TLS or connect timeout: nothing was asked
    TIMED_OUT = "timed-out"  # asked, no answer in time; the pull may still be running
    CUT = "cut"  # the same, because the service stopped: nobody else is at fault
    BROKEN = "broken"  # the connection ended, or the answer was not HTTP; what was done is unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One answer of Kodo, or why none came. `status` is an int: no enum knows 298, 478, 612, 631."""

    status: int | None
    silence: Silence | None = None
    reqid: str | None = None
    xlog: str | None = None
    error: str | None = None
    """The reply's error text, or what the network said."""
    hash: str | None = None
    size_bytes: int | None = None
    mime_type: str | None = None
    put_time: int | None = None
    """100 ns ticks since 1970 (Kodo API, "stat"); larger than 2^53, never through a float."""
    content: Content = Content.EMPTY
    task: str | None = None
    """An asynchronous fetch's id."""
    waiting: int | None = None
    """How many asynchronous fetches are before that one; negative: it has been tried at least once."""
    skew_s: float | None = None
    """How far Kodo's clock is ahead of this machine's, by X-Reqid or Date; best effort."""
    retry_after_s: float | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    duration_s: float = 0.0


class Outcome(StrEnum):
    """What an attempt means for its key; the log's `outcome`."""

    REFRESHED = "refreshed"
    REMOVED = "removed"
    ORIGIN_MISSING = "origin-missing"
    ORIGIN_FAILING = "origin-failing"
    THROTTLED = "throttled"
    UNAVAILABLE = "unavailable"
    REFUSED = "refused"
    TIMED_OUT = "timed-out"


class Fault(StrEnum):
    """Whose fault a failure is: what else is likely to fail the same way."""

    KEY = "key"
    ORIGIN = "origin"
    ACCOUNT = "account"  # credentials, account or bucket: every key of the mirror
    SERVICE = "service"  # Kodo or the way there


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """An outcome and, when it is a failure, its scope."""

    outcome: Outcome
    fault: Fault | None = None
    counts: bool = True
    """Whether the attempt is used up: not when the key cannot have had a part in the failure."""

"""Settings: what a person may set, its defaults and bounds, and how an error says what would be accepted."""

import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pathspec import GitIgnoreSpec
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)
from pydantic_core import PydanticCustomError

A_DURATION = 'a duration: "500ms", "30s", "15m", "1h30m", "7d", or a number of seconds'
A_SIZE = 'a size: "4MiB", "10MB", "1GiB", or a number of bytes'
A_URL = 'a URL such as "https://origin.example.com", without user, password, query or fragment'
A_PATTERN = 'a gitignore-style pattern that can match, such as "*.html", "/drafts/" or "!/drafts/a.html"'
PATTERNS = 'a list of gitignore-style patterns, such as ["*.html", "/drafts/"]'
ANY_WAY = (
    "the secret key: kodo.secret_key_file or kodo.secret_key in the file, MIRRORD_KODO__SECRET_KEY in the "
    "environment, or a systemd credential named secret-key"
)
WORD = r"^[A-Za-z0-9._-]{1,100}$"
ADDRESS = (
    r"^(([^\s:/\[\]]+|\[[0-9A-Fa-f:.]+\]):"
    r"([0-5]?[0-9]{1,4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?$"
)
DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?", re.ASCII)
SIZE = re.compile(r"(\d{1,18}) ?(B|[kK]B|[KMGT]i?B)?", re.ASCII)
LONGEST = timedelta(days=3650)
Loc = tuple[int | str, ...]


def duration(value: object) -> timedelta:
    """`"1h30m"`, or seconds as a number (as text, too: the environment has nothing else). Raises ValueError."""
    if isinstance(value, timedelta):
        return value
    if isinstance(value, str) and re.fullmatch(r"\d{1,9}(\.\d+)?", value, re.ASCII):
        value = float(value)
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LONGEST.total_seconds():
        return timedelta(seconds=value)
    if isinstance(value, str) and 0 < len(value) < 32 and (parts := DURATION.fullmatch(value)):
        days, hours, minutes, seconds, ms = (min(int(part or 0), 10**12) for part in parts.groups())
        total_ms = ms + 1000 * (seconds + 60 * (minutes + 60 * (hours + 24 * days)))
        if total_ms <= LONGEST.total_seconds() * 1000:
            return timedelta(milliseconds=total_ms)
    raise ValueError(f"{A_DURATION}; neither negative nor above 3650d")


def size(value: object) -> int:
    """Bytes; `MB` counts in thousands, `MiB` in 1024s. Raises ValueError."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if not isinstance(value, str) or not (parts := SIZE.fullmatch(value)):
        raise ValueError(A_SIZE)
    unit = (parts[2] or "B").upper()
    base = 1024 if "I" in unit else 1000
    return int(parts[1]) * int(base ** "BKMGT".index(unit[0]))


def _no_boolean(value: object) -> object:
    if isinstance(value, bool):
        raise PydanticCustomError("boolean", "a boolean is not a number")
    return value


def _url(value: str) -> str:
    try:
        parts = urlsplit(value)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:  # a port or an IPv6 address that is none
        usable = False
    if not usable or re.search(r"[@?#\\]|[^!-~]", value):
        raise ValueError(A_URL)
    return value.rstrip("/")


def _pattern(value: str) -> str:
    try:
        (pattern,) = GitIgnoreSpec.from_lines([value]).patterns
    except (ValueError, re.error):
        raise ValueError(A_PATTERN) from None
    if pattern.include is None:
        raise ValueError(A_PATTERN)
    return value


def _absolute(value: Path) -> Path:
    if not value.is_absolute() or "\0" in str(value):
        raise PydanticCustomError("relative", "not an absolute path")
    return value


def _need(sentence: str, default: Any = ..., **bounds: Any) -> Any:
    """A field; `sentence` is what an error says would be accepted."""
    return Field(default, description=sentence, validate_default=True, **bounds)


Duration = Annotated[timedelta, BeforeValidator(duration), Field(description=A_DURATION)]
Positive = Annotated[Duration, Field(gt=timedelta(0), description=f"{A_DURATION}; above 0")]
Size = Annotated[int, BeforeValidator(size), Field(description=A_SIZE)]
Whole = Annotated[int, BeforeValidator(_no_boolean)]
Number = Annotated[float, BeforeValidator(_no_boolean), Field(allow_inf_nan=False)]
Url = Annotated[str, AfterValidator(_url)]
Patterns = tuple[Annotated[str, AfterValidator(_pattern)], ...]


class Section(BaseModel):
    """A table of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Hosts(Section):
    """Pins what discovery would find; no trailing slash."""

    uc: Url | None = _need(A_URL, None)
    io: Url | None = _need(A_URL, None)
    rs: Url | None = _need(A_URL, None)
    rsf: Url | None = _need(A_URL, None)
    api: Url | None = _need(A_URL, None)
    fusion: Url | None = _need(A_URL, None)


class Timeouts(Section):
    connect: Positive = timedelta(seconds=10)
    read: Positive = timedelta(seconds=300)


class Kodo(Section):
    access_key: str = _need("the access key: ASCII without blanks or colons", pattern=r"^[!-9;-~]+$")
    secret_key: SecretStr = _need(ANY_WAY)
    secret_key_file: Path | None = _need("the path of a file that holds the secret key alone", None)
    scheme: Literal["qbox", "qiniu"] = "qbox"
    hosts: Hosts = Hosts()
    timeouts: Timeouts = Timeouts()

    @property
    def secret(self) -> SecretStr:
        """The secret key, whichever way it came in."""
        return self.secret_key

    @field_validator("secret_key")
    @classmethod
    def _one_word(cls, value: SecretStr) -> SecretStr:
        if not re.fullmatch(r"[!-~]+", value.get_secret_value()):
            raise ValueError("a secret key: not empty, ASCII, no blanks or line breaks")
        return value


class Journal(Section):
    url: str = _need(
        'an SQLAlchemy URL "sqlite:////absolute/path.db"; only sqlite is supported for now',
        "sqlite:////var/lib/mirrord/journal.db",
        pattern=r"^sqlite:////[^?#\x00]*[^/?#\x00]$",
    )


class Log(Section):
    format: Literal["auto", "console", "journal", "json"] = "auto"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Status(Section):
    listen: str = _need('host:port or "" for none: "127.0.0.1:9478", "[::1]:9478"', "127.0.0.1:9478", pattern=ADDRESS)


class DirectorySource(Section):
    kind: Literal["directory"]
    path: Annotated[Path, AfterValidator(_absolute)] = _need('an absolute path, such as "/srv/www"')
    watch: Literal["auto", "inotify", "poll", "off"] = "auto"
    settle: Duration = timedelta(milliseconds=500)
    settle_limit: Duration = timedelta(seconds=60)
    rescan_every: Duration = _need(f'{A_DURATION}; at least "1s"', timedelta(hours=1), ge=timedelta(seconds=1))
    rescan_limited_every: Duration = _need(
        f'{A_DURATION}; at least "1s"', timedelta(minutes=1), ge=timedelta(seconds=1)
    )
    follow_symlinks: bool = _need("true or false", default=False)


class RemovalLimit(Section):
    count: Whole = _need("a whole number of keys, 0 or more", 1000, ge=0)
    fraction: Number = _need("a part of all keys, from 0 to 1", 0.1, ge=0, le=1)


class Pace(Section):
    concurrency: Whole = _need("a whole number from 1 to 1024", 64, ge=1, le=1024)
    per_second: Number = _need("a number of calls per second, 0 for no limit of our own", 0, ge=0)


class Retry(Section):
    first_delay: Positive = timedelta(seconds=1)
    max_delay: Duration = _need(A_DURATION, timedelta(minutes=10))
    max_attempts: Whole = _need("a whole number, 1 or more", 12, ge=1)

    @field_validator("max_delay")
    @classmethod
    def _not_below_first_delay(cls, value: timedelta, others: ValidationInfo) -> timedelta:
        if value < others.data.get("first_delay", value):
            raise ValueError(f"{A_DURATION}; not below first_delay")
        return value


class Mirror(Section):
    name: str = _need("a word of its own: letters, digits, - _ and .", pattern=WORD)
    bucket: str = _need("3 to 63 letters, digits, - _ and .", pattern=r"^[A-Za-z0-9._-]{3,63}$")
    operation: Literal["prefetch", "fetch", "glb-fetch"] = "prefetch"
    origin_url: Url | None = _need(A_URL, None)  # no trailing slash
    # Qiniu's own tool says that a fetch which is waited for suits some 50 MB (qshell, docs/sync.md)
    async_above: Size | Literal["off"] = _need(f'{A_SIZE}; or "off"', 50 * 2**20)  # counts with an origin_url
    key_prefix: str = _need("text without control characters", "", pattern=r"^[^\x00-\x1f\x7f]*$")
    include: Patterns = _need(PATTERNS, ())
    exclude: Patterns | None = _need(PATTERNS, None)  # None: the default list
    on_removed: Literal["keep", "delete"] = "keep"
    removal_limit: RemovalLimit = RemovalLimit()
    first_run: Literal["compare", "verify", "refresh", "adopt"] = "compare"
    audit_every: Duration = timedelta(0)  # never
    verify: Literal["off", "stat"] = "stat"
    source: DirectorySource
    pace: Pace = Pace()
    retry: Retry = Retry()

    @field_validator("origin_url")
    @classmethod
    def _there_for_fetch(cls, value: str | None, others: ValidationInfo) -> str | None:
        operation = others.data.get("operation")
        if value is None and operation in {"fetch", "glb-fetch"}:
            raise ValueError(f'{A_URL}: operation = "{operation}" needs one')
        return value

    @field_validator("source", mode="before")
    @classmethod
    def _no_feed(cls, value: object) -> object:
        if isinstance(value, Mapping) and value.get("kind") == "feed":
            raise ValueError('kind = "directory": feed sources are not supported by this version')
        return value


class Settings(Section):
    """Everything, checked; `load` makes it."""

    kodo: Kodo
    journal: Journal = Journal()
    log: Log = Log()
    status: Status = Status()
    mirror: tuple[Mirror, ...] = _need("at least one [[mirror]] table")

    @field_validator("mirror")
    @classmethod
    def _at_least_one(cls, value: tuple[Mirror, ...]) -> tuple[Mirror, ...]:
        if not value:  # `min_length` would also complain where every mirror has a mistake
            raise ValueError("at least one [[mirror]] table")
        return value

"""Settings: what a person may set, its defaults and bounds, and how an error says what would be accepted."""

import re
from collections.abc import Mapping
from datetime import timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Final, Literal

from pathspec import GitIgnoreSpec
from pydantic import (
    AfterValidator,
    BeforeValidator,
    GetCoreSchemaHandler,
    SecretStr,
    ValidationInfo,
    field_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from mirrord.feed_settings import BY_FORMAT, KINDS, Feed, FeedSource
from mirrord.setting_values import (
    A_DURATION,
    A_SIZE,
    A_URL,
    ADDRESS,
    STAND_IN,
    WORD,
    YES_OR_NO,
    Duration,
    Number,
    Positive,
    Section,
    Url,
    Whole,
    need,
    size,
)

A_PATTERN: Final = 'a gitignore-style pattern that can match, such as "*.html", "/drafts/" or "!/drafts/a.html"'
PATTERNS: Final = 'a list of gitignore-style patterns, such as ["*.html", "/drafts/"]'
SOURCES: Final = 'a table with kind = "directory", or one with kind = "feed"; or a list with one of each'
CDN_URLS: Final = 'a list of URLs, such as ["https://cdn.example.com/"]'
TOKENS: Final = "a word for the page, /metrics and what else needs one: status.token or status.token_file"
ANY_WAY: Final = (
    "the secret key: kodo.secret_key_file or kodo.secret_key in the file, MIRRORD_KODO__SECRET_KEY in the "
    "environment, or a systemd credential named secret-key"
)


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


def _size_or_off(value: object) -> object:
    if value == "off":
        return value
    try:
        return size(value)
    except ValueError:
        raise ValueError(f'{A_SIZE}; or "off"') from None


SizeOrOff = Annotated[int | Literal["off"], BeforeValidator(_size_or_off)]
Patterns = tuple[Annotated[str, AfterValidator(_pattern)], ...]


class Hosts(Section):
    """Pins what discovery would find; no trailing slash."""

    uc: Url | None = need(A_URL, None)
    io: Url | None = need(A_URL, None)
    rs: Url | None = need(A_URL, None)
    rsf: Url | None = need(A_URL, None)
    api: Url | None = need(A_URL, None)
    fusion: Url | None = need(A_URL, None)


class Timeouts(Section):
    connect: Positive = timedelta(seconds=10)
    read: Positive = timedelta(seconds=300)


class Kodo(Section):
    access_key: str = need("the access key: ASCII without blanks or colons", pattern=r"^[!-9;-~]+$")
    secret_key: SecretStr = need(ANY_WAY)
    secret_key_file: Path | None = need("the path of a file that holds the secret key alone", None)
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
    url: str = need(
        'an SQLAlchemy URL "sqlite:////absolute/path.db"; only sqlite is supported for now',
        "sqlite:////var/lib/mirrord/journal.db",
        pattern=r"^sqlite:////[^?#\x00]*[^/?#\x00]$",
    )


class Log(Section):
    format: Literal["auto", "console", "journal", "json"] = "auto"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Status(Section):
    listen: str = need('host:port or "" for none: "127.0.0.1:9478", "[::1]:9478"', "127.0.0.1:9478", pattern=ADDRESS)
    token_file: Path | None = need("the path of a file that holds the token alone", None)
    token: SecretStr | None = need(TOKENS, None)

    @field_validator("token")
    @classmethod
    def _there_for_strangers(cls, value: SecretStr | None, others: ValidationInfo) -> SecretStr | None:
        listen = others.data.get("listen")
        if value is None and listen and not is_loopback(listen):
            raise ValueError(f"{TOKENS}: listen = {listen!r} is not loopback, and needs one")
        if value is not None and not re.fullmatch(r"[!-~]{1,1000}", value.get_secret_value()):
            raise ValueError(f"{TOKENS}: not empty, ASCII, no blanks or line breaks")
        return value


def is_loopback(listen: str) -> bool:
    """Whether nobody but this machine can come to this address."""
    host = listen.rpartition(":")[0].strip("[]")
    try:
        return ip_address(host).is_loopback
    except ValueError:  # a name; any other than this one may be any address
        return host == "localhost"


class DirectorySource(Section):
    kind: Literal["directory"] = need(KINDS)
    path: Annotated[Path, AfterValidator(_absolute)] = need('an absolute path, such as "/srv/www"')
    watch: Literal["auto", "inotify", "poll", "off"] = "auto"
    settle: Duration = timedelta(milliseconds=500)
    settle_limit: Duration = timedelta(seconds=60)
    rescan_every: Duration = need(f'{A_DURATION}; at least "1s"', timedelta(hours=1), ge=timedelta(seconds=1))
    rescan_limited_every: Duration = need(f'{A_DURATION}; at least "1s"', timedelta(minutes=1), ge=timedelta(seconds=1))
    follow_symlinks: bool = need(YES_OR_NO, default=False)


SECTIONS: Final[Mapping[str, type[Section]]] = {"directory": DirectorySource, "feed": Feed, **BY_FORMAT}
"""What a source may be, as pydantic's errors name it; "feed": a feed whose format cannot be told."""


def section_named(source: object) -> str:
    """Which of `SECTIONS` the table of a source is judged by."""
    if isinstance(source, Section):
        source = dict(source)
    if not isinstance(source, Mapping):
        return "directory"
    kind, form = source.get("kind"), source.get("format")
    if kind == "directory" or (kind != "feed" and not source.keys() & {"format", "url"}):
        return "directory"
    return form if isinstance(form, str) and form in BY_FORMAT else "feed"


def _as_list(value: object) -> object:
    return [value] if isinstance(value, Mapping | Section) else value


class _ByKind:
    """Tells pydantic which section a source is, so that its errors are about that one alone."""

    def __get_pydantic_core_schema__(self, _source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        choices = {name: handler.generate_schema(section) for name, section in SECTIONS.items()}
        return core_schema.tagged_union_schema(choices, section_named)


class RemovalLimit(Section):
    count: Whole = need("a whole number of keys, 0 or more", 1000, ge=0)
    fraction: Number = need("a part of all keys, from 0 to 1", 0.1, ge=0, le=1)


class Pace(Section):
    concurrency: Whole = need("a whole number from 1 to 1024", 64, ge=1, le=1024)
    per_second: Number = need("a number of calls per second, 0 for no limit of our own", 0, ge=0)


class Retry(Section):
    first_delay: Positive = timedelta(seconds=1)
    max_delay: Duration = need(A_DURATION, timedelta(minutes=10))
    max_attempts: Whole = need("a whole number, 1 or more", 12, ge=1)

    @field_validator("max_delay")
    @classmethod
    def _not_below_first_delay(cls, value: timedelta, others: ValidationInfo) -> timedelta:
        if value < others.data.get("first_delay", value):
            raise ValueError(f"{A_DURATION}; not below first_delay")
        return value


class Cdn(Section):
    """Addresses under which a CDN serves the bucket; none: no CDN is told of anything."""

    urls: tuple[Url, ...] = need(CDN_URLS, ())


class Mirror(Section):
    name: str = need("a word of its own: letters, digits, - _ and .", pattern=WORD)
    bucket: str = need("3 to 63 letters, digits, - _ and .", pattern=r"^[A-Za-z0-9._-]{3,63}$")
    operation: Literal["prefetch", "fetch", "glb-fetch"] = "prefetch"
    origin_url: Url | None = need(A_URL, None)  # no trailing slash
    # Qiniu's own tool says that a fetch which is waited for suits some 50 MB (qshell, docs/sync.md)
    async_above: SizeOrOff = need(f'{A_SIZE}; or "off"', 50 * 2**20)  # counts with an origin_url
    key_prefix: str = need("text without control characters", "", pattern=r"^[^\x00-\x1f\x7f]*$")
    include: Patterns = need(PATTERNS, ())
    exclude: Patterns | None = need(PATTERNS, None)  # None: the default list
    on_removed: Literal["keep", "delete"] = "keep"
    removal_limit: RemovalLimit = RemovalLimit()
    first_run: Literal["compare", "verify", "refresh", "adopt"] = "compare"
    audit_every: Duration = timedelta(0)  # never
    verify: Literal["off", "stat"] = "stat"
    sources: Annotated[tuple[Annotated[DirectorySource | FeedSource, _ByKind()], ...], BeforeValidator(_as_list)] = (
        need(SOURCES, alias="source")
    )
    pace: Pace = Pace()
    retry: Retry = Retry()
    cdn: Cdn = Cdn()

    @field_validator("origin_url")
    @classmethod
    def _there_for_fetch(cls, value: str | None, others: ValidationInfo) -> str | None:
        operation = others.data.get("operation")
        if value is None and operation in {"fetch", "glb-fetch"}:
            raise ValueError(f'{A_URL}: operation = "{operation}" needs one')
        return value

    @field_validator("sources")
    @classmethod
    def _at_least_one(cls, value: tuple[DirectorySource | FeedSource, ...]) -> tuple[DirectorySource | FeedSource, ...]:
        if not value:
            raise ValueError(SOURCES)
        return value

    @field_validator("cdn")
    @classmethod
    def _of_what_is_verified(cls, value: Cdn, others: ValidationInfo) -> Cdn:
        if value.urls and others.data.get("verify") == "off":
            raise ValueError('no mirror.cdn.urls beside verify = "off": a CDN that is told too soon keeps the old copy')
        return value

    @property
    def directory(self) -> DirectorySource | None:
        return next((each for each in self.sources if isinstance(each, DirectorySource)), None)

    @property
    def feed(self) -> FeedSource | None:
        return next((each for each in self.sources if not isinstance(each, DirectorySource)), None)

    @property
    def source(self) -> DirectorySource:
        """The directory. Raises LookupError where there is none."""
        if self.directory is None:
            raise LookupError(f"mirror {self.name} has no directory")
        return self.directory


class Settings(Section):
    """Everything, checked; `load` makes it."""

    kodo: Kodo
    journal: Journal = Journal()
    log: Log = Log()
    status: Status = Status()
    mirror: tuple[Mirror, ...] = need("at least one [[mirror]] table")

    @field_validator("mirror")
    @classmethod
    def _at_least_one(cls, value: tuple[Mirror, ...]) -> tuple[Mirror, ...]:
        if not value:  # `min_length` would also complain where every mirror has a mistake
            raise ValueError("at least one [[mirror]] table")
        return value

    @property
    def secrets(self) -> tuple[str, ...]:
        """Whatever must never be shown, for the log to cover."""
        own = self.kodo.secret.get_secret_value()
        feeds = [mirror.feed for mirror in self.mirror if mirror.feed is not None]
        token = "" if self.status.token is None else self.status.token.get_secret_value()
        told = [each for each in (own, token) if each not in {"", STAND_IN}]
        found = [*told, *(secret for feed in feeds for secret in feed.secrets)]
        return tuple(dict.fromkeys(found))

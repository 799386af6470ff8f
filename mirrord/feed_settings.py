"""Feed sections of the settings: what each format may be told, its defaults and bounds, and what must not be shown."""

import base64
import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Final, Literal
from urllib.parse import unquote_plus, urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from mirrord.feed_values import (
    A_FILE,
    A_USER,
    FIELD_NAME,
    HEADERS,
    HOSTS,
    ONE_LINE,
    ONE_WORD,
    ONLY,
    SILENCE,
    VALUES,
    Headers,
    Hosts,
    KeyFrom,
    Limits,
    Only,
    Pointers,
    Secret,
    Silence,
    Snapshot,
    Token,
    User,
    Values,
)
from mirrord.setting_values import (
    A_DURATION,
    A_FEED_URL,
    A_SIZE,
    A_URL,
    ADDRESS,
    STAND_IN,
    YES_OR_NO,
    Duration,
    FeedUrl,
    Loc,
    Positive,
    Section,
    Size,
    Whole,
    need,
)

KINDS: Final = '"directory" or "feed"'
FORMATS: Final = '"couchdb", "http-feeds", "jsonl", "sitemap", "resourcesync", "sse" or "webhook"'
A_PAGE: Final = "a whole number of entries from 1 to 100000"
A_PARAMETER: Final = "the name of a query's parameter: ASCII without blanks, & = # %"
A_REGEX: Final = "a regular expression (Python's `re`)"
BEGINNING: Final = '"beginning": this format does not tell what is new from what was there'

Disagreement = tuple[Loc, str, str]
"""Where, below the mirror; what there is; what would be accepted."""
Page = Annotated[Whole, Field(ge=1, le=100_000)]

_PARAMETER = r"^[!\"$'-<>-~]{1,100}$"
_OF_PLAIN = [
    "pointers",
    "removed",
    "written",
    "only",
    "since_param",
    "limit_param",
    "wait_param",
    "page",
    "overlap",
    "gapless",
]
_TELLING = re.compile(r"auth|token|cookie|key|secret|passw|sign|sess|credential|^sig$", re.IGNORECASE)
_NONE = SecretStr("")
_SHORTEST, _LONG = 4, 16
"""Characters of what is covered in the log at all, and of what is taken for a secret whatever its name."""


class Feed(Section):
    """What feeds of every format may be told."""

    kind: Literal["feed"] = need(KINDS)
    format: Literal["couchdb", "http-feeds", "jsonl", "sitemap", "resourcesync", "sse", "webhook"] = need(FORMATS)
    headers: Headers = need(HEADERS, {})
    allow_redirects_to: Hosts = need(HOSTS, ())
    silent_after: Silence = need(SILENCE, "auto")
    confirm_origin: bool = need(YES_OR_NO, default=False)
    confirm_most: Positive = timedelta(minutes=10)
    key_from: KeyFrom | None = None
    limits: Limits = Limits()

    @property
    def identity(self) -> str:
        """What the feed is called, in the log and in the journal; nothing that its query may hold is shown."""
        return self.format

    @property
    def plain_headers(self) -> dict[str, str]:
        """As they are sent."""
        return {name: value.get_secret_value() for name, value in self.headers.items()}

    @property
    def authorization(self) -> str | None:
        """What is sent as such, besides `headers`; None: nothing."""
        return None

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not be shown, in every form that it has on the way."""
        return tuple(secret for secret in self._secrets() if len(secret) >= _SHORTEST)

    def _secrets(self) -> Iterator[str]:
        for name, value in self.plain_headers.items():
            if _tells(name, value):
                yield from (value, value.partition(" ")[2])  # behind `Bearer`
        for url in self._urls():
            for pair in urlsplit(url).query.split("&"):
                name, _, value = pair.partition("=")
                if _tells(name, value):
                    yield from (value, unquote_plus(value))

    def _urls(self) -> list[str]:
        return []


class Compared(Feed):
    """A feed that need not name every key there is."""

    snapshot: Snapshot | None = None

    def _urls(self) -> list[str]:
        return [*super()._urls(), *([self.snapshot.url] if self.snapshot else [])]


class Asked(Feed):
    """A feed that we ask."""

    url: FeedUrl = need(A_FEED_URL)
    poll_every: Duration = need(
        f'{A_DURATION}; at least "100ms"', timedelta(seconds=10), ge=timedelta(milliseconds=100)
    )
    start: Literal["beginning", "now"] = "beginning"
    token: Token | None = need(ONE_WORD, None)
    token_file: Path | None = need(A_FILE.format("token"), None)
    username: User | None = need(A_USER, None)
    password: Secret | None = need(ONE_LINE, None)
    password_file: Path | None = need(A_FILE.format("password"), None)

    @property
    def identity(self) -> str:
        parts = urlsplit(self.url)
        digest = f"?{blake2b(parts.query.encode(), digest_size=4).hexdigest()}" if parts.query else ""
        return f"{self.format} {parts.scheme}://{parts.netloc}{parts.path}{digest}"

    @property
    def authorization(self) -> str | None:
        if self.token is not None:
            return f"Bearer {self.token.get_secret_value()}"
        if self.username is None or self.password is None:
            return None
        return f"Basic {base64.b64encode(f'{self.username}:{self.password.get_secret_value()}'.encode()).decode()}"

    @field_validator("token", "username")
    @classmethod
    def _one_way(cls, value: SecretStr | str | None, others: ValidationInfo) -> SecretStr | str | None:
        if value is not None and any(name.lower() == "authorization" for name in others.data.get("headers", ())):
            raise ValueError("nothing, as headers have an Authorization; or none there")
        if others.field_name == "username" and value is not None and others.data.get("token") is not None:
            raise ValueError("nothing, as there is a token; or no token")
        return value

    @field_validator("password")
    @classmethod
    def _both_or_none(cls, value: SecretStr | None, others: ValidationInfo) -> SecretStr | None:
        if "username" in others.data and (value is None) != (others.data["username"] is None):
            raise ValueError("username and password together, or neither of them")
        return value

    def _secrets(self) -> Iterator[str]:
        yield from super()._secrets()
        secret = (self.token or self.password or _NONE).get_secret_value()
        if self.authorization and secret != STAND_IN:
            yield from (secret, self.authorization, self.authorization.partition(" ")[2])

    def _urls(self) -> list[str]:
        return [*super()._urls(), self.url]


class CouchDbFeed(Asked, Compared):
    format: Literal["couchdb"] = need(FORMATS)
    mode: Literal["auto", "poll", "longpoll", "stream"] = "auto"
    heartbeat: Positive = timedelta(seconds=30)
    page: Page = need(A_PAGE, 2000)


class HttpFeedsFeed(Asked, Compared):
    format: Literal["http-feeds"] = need(FORMATS)
    mode: Literal["auto", "poll", "longpoll"] = "auto"
    heartbeat: Positive = timedelta(seconds=30)


class Pointing(Asked, Compared):
    """A feed whose entries can have any shape."""

    pointers: Pointers = Pointers()
    removed: Values = need(VALUES, ("remove", "removed", "delete", "deleted", True))
    written: Values | None = need(VALUES, None)  # None: the usual words
    only: Only = need(ONLY, {})


class JsonLinesFeed(Pointing):
    format: Literal["jsonl"] = need(FORMATS)
    folder: str | None = need("the id of one of Syncthing's folders", None, min_length=1)  # None: of all
    since_param: str = need(A_PARAMETER, "since", pattern=_PARAMETER)
    limit_param: str | None = need(A_PARAMETER, None, pattern=_PARAMETER)
    wait_param: str | None = need(A_PARAMETER, None, pattern=_PARAMETER)
    page: Page = need(A_PAGE, 2000)
    overlap: Duration = timedelta(0)
    gapless: bool = need(YES_OR_NO, default=False)
    preset: Literal["plain", "syncthing"] = need('"plain" or "syncthing"', "plain")
    mode: Literal["auto", "poll", "longpoll"] = "auto"
    heartbeat: Positive = timedelta(seconds=30)

    @field_validator("preset")
    @classmethod
    def _stands_alone(cls, value: str, others: ValidationInfo) -> str:
        if value == "plain" and others.data.get("folder") is not None:
            raise ValueError('"syncthing", as there is a folder')
        defaults = {name: cls.model_fields[name].default for name in _OF_PLAIN}
        own = [name for name, default in defaults.items() if others.data.get(name, default) != default]
        if value == "syncthing" and own:
            raise ValueError(f'"plain", as there is {" and ".join(own)}: "syncthing" has its own')
        return value

    @field_validator("mode")
    @classmethod
    def _is_asked_to_wait(cls, value: str, others: ValidationInfo) -> str:
        known = others.data
        if value == "longpoll" and known.get("preset") == "plain" and known.get("wait_param", "") is None:
            raise ValueError('"auto" or "poll"; "longpoll" needs a wait_param')
        return value


class SitemapFeed(Asked):
    format: Literal["sitemap"] = need(FORMATS)
    mode: Literal["auto", "poll"] = "auto"
    start: Literal["beginning"] = need(BEGINNING, "beginning")


class ResourceSyncFeed(Asked, Compared):
    format: Literal["resourcesync"] = need(FORMATS)
    mode: Literal["auto", "poll"] = "auto"
    overlap: Duration = timedelta(seconds=2)


class SseFeed(Pointing):
    format: Literal["sse"] = need(FORMATS)
    mode: Literal["auto", "stream"] = "auto"
    heartbeat: Positive = timedelta(seconds=30)
    events: tuple[str, ...] = need("a list of types of events, empty for all", ())
    earliest: bool = need(YES_OR_NO, default=False)  # Mercure: ask for all that its hub has


class WebhookFeed(Compared):
    """A feed that is posted to us; `headers` and `allow_redirects_to` are for its snapshot."""

    format: Literal["webhook"] = need(FORMATS)
    start: Literal["beginning"] = need(BEGINNING, "beginning")
    listen: str = need('host:port, or "" for that of status.listen', "", pattern=ADDRESS)
    auth: Literal["required", "none"] = "required"
    hmac_secret: Secret | None = need(ONE_LINE, None)
    hmac_secret_file: Path | None = need(A_FILE.format("secret"), None)
    signature_header: str = need(
        "the name of an HTTP header", "X-Hub-Signature-256", pattern=rf"^{FIELD_NAME.pattern}$"
    )
    token: Token | None = need(ONE_WORD, None)
    token_file: Path | None = need(A_FILE.format("token"), None)
    s3_bucket: str = need('the name of a bucket, or "" for any', "")
    removed_types: re.Pattern[str] = need(A_REGEX, re.compile("(?i)delet|remov"))
    body: Size = need(f"{A_SIZE}; above 0", 4 * 2**20, gt=0)

    @field_validator("token")
    @classmethod
    def _somebody_is_kept_out(cls, value: SecretStr | None, others: ValidationInfo) -> SecretStr | None:
        known = others.data
        if value is None and known.get("auth") == "required" and known.get("hmac_secret", value) is None:
            raise ValueError(f'{ONE_WORD}; or an hmac_secret; or auth = "none" to let everybody post')
        return value

    def _secrets(self) -> Iterator[str]:
        yield from super()._secrets()
        yield from (each.get_secret_value() for each in (self.token, self.hmac_secret) if each is not None)


FeedSource = CouchDbFeed | HttpFeedsFeed | JsonLinesFeed | SitemapFeed | ResourceSyncFeed | SseFeed | WebhookFeed

BY_FORMAT: Mapping[str, type[Feed]] = {
    "couchdb": CouchDbFeed,
    "http-feeds": HttpFeedsFeed,
    "jsonl": JsonLinesFeed,
    "sitemap": SitemapFeed,
    "resourcesync": ResourceSyncFeed,
    "sse": SseFeed,
    "webhook": WebhookFeed,
}


def _tells(name: str, value: str) -> bool:
    """Whether a header or parameter looks like a secret; "true" and the like would blot out half the log."""
    return len(value) >= _LONG or _TELLING.search(name) is not None


def disagreements(mirror: Mapping[str, object], status_listen: object) -> Iterator[Disagreement]:
    """What in a mirror, as it was typed, does not go together.

    No single table can tell that, and pydantic would not even ask while there are other mistakes.
    """
    typed = mirror.get("source")
    listed = isinstance(typed, list | tuple)
    kinds = list[object]()
    for number, source in enumerate(typed if isinstance(typed, list | tuple) else [typed]):
        if not isinstance(source, Mapping):
            continue
        place: Loc = ("source", number) if listed else ("source",)
        kind = source.get("kind")
        if kind in kinds and kind in ("directory", "feed"):
            yield (*place, "kind"), f"a second {kind}", "at most one directory and one feed for a mirror"
        kinds.append(kind)
        if kind == "feed":
            yield from _unmet_needs(source, place, mirror, status_listen)
    if mirror.get("first_run") == "verify" and kinds and all(kind == "feed" for kind in kinds):
        yield ("first_run",), "'verify'", '"compare", "refresh" or "adopt": "verify" reads files, and a feed has none'


def _unmet_needs(
    feed: Mapping[str, object], place: Loc, mirror: Mapping[str, object], status_listen: object
) -> Iterator[Disagreement]:
    form, snapshot = feed.get("format"), feed.get("snapshot")
    if "origin_url" not in mirror:
        if feed.get("confirm_origin") is True:
            yield (*place, "confirm_origin"), "true", "false, or an origin_url on the mirror: that is what is looked at"
        formats = (form, snapshot.get("format") if isinstance(snapshot, Mapping) else None)
        naming = next((each for each in formats if each in ("sitemap", "resourcesync")), None)
        if naming and mirror.get("operation") not in ("fetch", "glb-fetch"):  # they need one for themselves
            yield ("origin_url",), "nothing", f"{A_URL}: a {naming} names URLs, and a key is what comes below this one"
    if form == "webhook" and feed.get("listen", "") == "" == status_listen:
        expected = 'host:port: status.listen is "", so that nothing listens that it could be posted to'
        yield (*place, "listen"), "an empty text" if "listen" in feed else "nothing", expected

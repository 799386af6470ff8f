"""An ask and the settings to requests: which URL, with which headers, and where to after a redirect. No I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import httpx
from aiohttp import encode_basic_auth

from mirrord.sources.feed.answers import Validators, secrets_in
from mirrord.sources.feed.dialect import Ask
from mirrord.sources.feed.mishaps import Unreachable
from mirrord.sources.feed.origins import Astray, follow, is_allowed, is_told, leads, origin_of, parse_url


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What the settings say of how to ask."""

    user_agent: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    authorization: str | None = field(default=None, repr=False)
    """The whole of the header's value."""
    redirects_to: frozenset[str] = frozenset()
    """Hosts, or host:port, lower-case, besides the feed's own origin to which it may lead."""
    home: str | None = field(default=None, repr=False)
    """The feed's URL: `headers` and `authorization` are told to its origin alone; None: whatever is asked is home."""


class Asking:
    """One ask on its way through redirects; `url` is where it is now."""

    def __init__(self, ask: Ask, validators: Validators | None, access: Access) -> None:
        """Raises Unreachable when that is not to be asked."""
        self._ask = ask
        self._access = access
        self._conditions = validators.headers() if validators is not None and ask.conditional else {}
        try:
            url = parse_url(ask.url)
            self._home = origin_of(parse_url(access.home) if access.home else url)
            login = encode_basic_auth(url.username, url.password) if url.userinfo else None
        except (Astray, ValueError) as exc:
            raise Unreachable(str(exc)) from None
        there = origin_of(url)
        if self._home.scheme == "https" and there.scheme == "http":
            raise Unreachable(f"the feed leads from https to http, at {there}")
        if not leads(self._home, there) and not is_allowed(there, access.redirects_to):
            raise Unreachable(f"the feed leads to {there}, which allow_redirects_to does not name")
        self._authorization = access.authorization or login
        self.url = url.copy_with(userinfo=b"", fragment=None) if url.userinfo or url.fragment else url

    @property
    def conditional(self) -> bool:
        """Whether it may be answered with 304."""
        return bool(self._conditions)

    def redirect(self, status: int, location: str | None) -> None:
        """Raises Unreachable when we do not go there."""
        if not location:
            raise Unreachable(f"the feed answers {status} without saying where to", status=status)
        try:
            self.url = follow(self.url, location, home=self._home, allowed=self._access.redirects_to)
        except Astray as exc:
            raise Unreachable(str(exc), status=status) from None

    def headers(self) -> httpx.Headers:
        """Those of the settings win over those of the ask; from another origin both are kept that may be secret."""
        own = {
            "User-Agent": self._access.user_agent,
            "Accept": "*/*",
            "Accept-Encoding": "gzip",
            "Cache-Control": "no-cache",
        }
        secret: dict[str, str] = {}
        if is_told(self._home, origin_of(self.url)):
            secret = dict(self._access.headers)
            if self._authorization is not None:
                secret["Authorization"] = self._authorization
        headers = httpx.Headers(encoding="utf-8")  # as SSE wants it of a Last-Event-ID
        for part in (own, self._ask.headers, self._conditions, secret):
            for name, text in part.items():
                headers[name] = text
        return headers

    def secrets(self) -> set[str]:
        """What nobody may be shown, should the answer repeat it."""
        return secrets_in(self._authorization, self._access.headers.values(), self.url.query.decode("ascii", "replace"))

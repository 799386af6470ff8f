"""URLs that a CDN shall forget, to what is kept of them: a day's quota, domains of other people, codes in the body."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from urllib.parse import urlsplit

import orjson

from mirrord.sandbox.given import Kinds, checked

_CHINA = timezone(timedelta(hours=8))
_URLS_MOST = 60
TEXTS = {400031: "invalid url", 400032: "invalid host", 400034: "refresh url limit error", 500000: "internal error"}
"""What the CDN says with a code (developer.qiniu.com/fusion, "cache refresh")."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CdnRules:
    """How it answers. Raises ValueError when that makes no sense."""

    quota_day: int = 500
    domains: tuple[str, ...] | None = None
    """Those of the account; None: whatever is asked for."""
    whole: bool = False
    """Whether one invalid URL keeps all the others of its request from being taken."""
    code: int | None = None
    """Answered to every request, with status 200, and nothing is taken; None: what is right."""

    def __post_init__(self) -> None:
        if self.quota_day < 0:
            raise ValueError("a day's quota is not negative")


class Cdn:
    """The account's one. What was taken is remembered for as long as the sandbox runs."""

    def __init__(self) -> None:
        self._requests: list[list[str]] = []
        self._day: date | None = None
        self._used = 0

    def refresh(self, urls: Sequence[str], rules: CdnRules, now: datetime, request_id: str) -> dict[str, object]:
        """Take them, if the rules let it; the answer's body."""
        if (today := now.astimezone(_CHINA).date()) != self._day:
            self._day, self._used = today, 0
        invalid = [url for url in urls if not _is_served(url, rules.domains)]
        valid = [url for url in urls if url not in invalid]
        cost = sum(2 if url.startswith("https:") else 1 for url in valid)  # its http form is forgotten, too
        if rules.code is not None:
            code = rules.code
        elif invalid and (rules.whole or not valid):
            code = 400032
        elif self._used + cost > rules.quota_day:
            code = 400034
        else:
            code, self._used = 200, self._used + cost
            self._requests.append(valid)
        return {
            "code": code,
            "error": "success" if code == 200 else TEXTS.get(code, f"sandbox says {code}"),
            "requestId": request_id,
            "invalidUrls": invalid or None,
            "invalidDirs": None,
            "urlQuotaDay": rules.quota_day,
            "urlSurplusDay": max(0, rules.quota_day - self._used),
            "dirQuotaDay": 10,
            "dirSurplusDay": 10,
        }

    def shown(self) -> dict[str, object]:
        """The URLs that were taken, a list for each request."""
        return {"requests": self._requests}


def urls_from(body: bytes) -> tuple[str, ...]:
    """The URLs of a request's JSON; raises ValueError."""
    said = orjson.loads(body)
    urls = said.get("urls") if isinstance(said, dict) else None
    if not isinstance(urls, list) or not all(isinstance(url, str) for url in urls) or said.get("dirs"):
        raise ValueError("a refresh names URLs; directories need a permission of their own")
    if not 1 <= len(urls) <= _URLS_MOST:
        raise ValueError(f"a refresh names 1 to {_URLS_MOST} URLs")
    return tuple(urls)


_KINDS: Kinds = {
    "quota_day": (int,),
    "domains": (list, type(None)),
    "whole": (bool,),
    "code": (int, type(None)),
}


def rules_from(fields: object) -> CdnRules:
    """Rules from a JSON object with their fields; raises ValueError."""
    given = checked(fields, _KINDS, "cdn")
    if given.get("domains") is not None:
        given["domains"] = tuple(given["domains"])
    return CdnRules(**given)


def _is_served(url: str, domains: Sequence[str] | None) -> bool:
    parts = urlsplit(url)
    return parts.scheme in {"http", "https"} and (
        parts.netloc in domains if domains is not None else bool(parts.netloc)
    )

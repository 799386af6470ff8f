"""The head of an answer to what it means for a feed: its age, its validators, or why it cannot be read. Pure."""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import unquote_plus

from mirrord.sources.feed.mishaps import Unreachable

FRESH = timedelta(seconds=2)
"""A document so young may be written once more without its validators showing it (RFC 9110, 8.8.2.2): nginx makes
even its ETags of seconds and sizes."""
_RETRY_AFTER_MOST = timedelta(hours=1)
_SHOWN = 100
"""Characters of a refusal's text."""
_TAGS = re.compile(r"<(style|script|head)\b.*?</\1\s*>|<[^>]*>", re.DOTALL | re.IGNORECASE)
_TEXT = re.compile(r"\s*(text/|application/([\w.+-]*\+)?(json|xml)\b)", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Validators:
    """What names a version of a document, as its server wrote it; to be given back with the next request for it."""

    etag: str | None = None
    last_modified: str | None = None

    def headers(self) -> dict[str, str]:
        named = {"If-None-Match": self.etag, "If-Modified-Since": self.last_modified}
        return {name: text for name, text in named.items() if text}


def validators_of(headers: Mapping[str, str], before: Validators | None) -> Validators:
    """`before`: those of the document that an answer without a body says nothing new of."""
    date, modified = parse_date(headers.get("date")), parse_date(headers.get("last-modified"))
    if date is not None and modified is not None and date - modified < FRESH:
        return Validators()
    before = before or Validators()
    return Validators(
        etag=_ascii(headers.get("etag")) or before.etag,
        last_modified=_ascii(headers.get("last-modified")) or before.last_modified,
    )


def _ascii(text: str | None) -> str | None:
    return text if text and text.isascii() else None  # nobody can say how other bytes were meant


def age_of(headers: Mapping[str, str]) -> int | None:
    """Seconds since a cache on the way had it from the origin; None: no cache says so."""
    return _count(headers.get("age"))


def document_age_of(headers: Mapping[str, str]) -> timedelta | None:
    """How old the document was when it was answered, by the server's own clock; None: unknown."""
    date, modified = parse_date(headers.get("date")), parse_date(headers.get("last-modified"))
    if date is not None and modified is not None:
        return max(date - modified, timedelta(0))
    age = age_of(headers)
    return None if age is None else timedelta(seconds=age)


def parse_date(text: str | None) -> datetime | None:
    """An HTTP date, in any of its three forms (RFC 9110, 5.6.7); None for everything else."""
    try:
        moment = parsedate_to_datetime(text or "")
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None


def refusal(url: str, status: int, headers: Mapping[str, str], text: str, now: datetime) -> Unreachable:
    """What an answer says that is not the feed. `url` is fit to be shown; so is `text`, the beginning of the body."""
    said = f": {text}" if text else ""
    match status:
        case 401 | 403:
            sentence = f"the feed refuses us ({status}){said}"
        case 404:
            sentence = f"there is nothing at {url} (404){said}"
        case 407:
            sentence = f"the proxy refuses us (407){said}"
        case 410:
            sentence = f"{url} is gone for good (410){said}"
        case 429:
            sentence = f"the feed is asked too often (429){said}"
        case 503:
            sentence = f"the feed is not available (503){said}"
        case _:
            sentence = f"the feed answers {status}{said}"
    return Unreachable(sentence, status=status, retry_after=_retry_after(headers, now))


def _retry_after(headers: Mapping[str, str], now: datetime) -> timedelta | None:
    text = headers.get("retry-after")
    seconds, moment = _count(text), parse_date(text)
    if seconds is not None:
        return timedelta(seconds=min(seconds, _RETRY_AFTER_MOST.total_seconds()))
    if moment is None:
        return None
    wait = moment - (parse_date(headers.get("date")) or now)  # by the clock that set the date, if it says
    return min(max(wait, timedelta(0)), _RETRY_AFTER_MOST)


def _count(text: str | None) -> int | None:
    digits = (text or "").strip()
    return min(int(digits[:20]), 2**31) if digits.isascii() and digits.isdigit() else None


def plain_text(kind: str, body: bytes, secrets: Iterable[str]) -> str:
    """The first printable characters of a body of content type `kind`; of secrets that it repeats only "…"."""
    if not _TEXT.match(kind):
        return ""
    text = body.decode("utf-8", "replace")
    if "html" in kind.lower():
        text = _TAGS.sub(" ", text)
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "…")
    printable = "".join(each if each.isprintable() and each != "\N{REPLACEMENT CHARACTER}" else " " for each in text)
    return " ".join(printable.split())[:_SHOWN].rstrip()


def secrets_in(authorization: str | None, headers: Iterable[str], query: str) -> set[str]:
    """What must not be shown: credentials, whole and in their parts, the settings' headers, and a URL's query."""
    _, _, credentials = (authorization or "").partition(" ")
    parameters = {each.partition("=")[2] for each in query.split("&")}
    secrets = {authorization or "", credentials, *headers, query, *parameters, *map(unquote_plus, parameters)}
    try:
        login = base64.b64decode(credentials, validate=True).decode()
        secrets |= {login, login.partition(":")[2]}
    except (binascii.Error, ValueError):
        pass  # not Basic
    return {secret for secret in secrets if len(secret) > 3}

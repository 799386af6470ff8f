"""What Kodo answered, or somebody in its place: status, headers and body become values. No input or output."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any

import orjson

from mirrord.kodo.reqid import asked_at
from mirrord.model.attempt import Content, Reply
from mirrord.model.listing import ListedObject
from mirrord.model.purge import PurgeAnswer

RETRY_AFTER_MOST_S = 3600.0
"""A server that wants a key left alone for longer is not believed; the header can hold any number."""
ERROR_MOST = 500
"""Characters of an error that are kept: it goes into every row and line."""
NO_REQID = "the reply has no X-Reqid"

_INT64_MOST = 2**63 - 1  # what Kodo's own numbers are, and the journal keeps
_SKEW_MOST = timedelta(days=400)  # a clock that was never set is years off; beyond that, the reading is wrong


def read_reply(
    status: int, headers: Mapping[str, str], body: bytes, duration_s: float, *, now: datetime | None = None
) -> Reply:
    """What an answer says. `headers` have lower-case names; `now` is when it came, None leaves out what needs it.

    A prefetch answers with nothing, with `{}` or with an object like fetch's; an error with JSON,
    nothing, or a proxy's HTML. The whole of the headers is kept for 5xx, which Qiniu's support asks for.
    """
    reqid = headers.get("x-reqid") or None
    skew_s = None if now is None else _skew_s(reqid, headers, now, duration_s)
    if status == 200 and not body:  # the usual end of a prefetch
        error = _error(None, reqid)
        return Reply(
            status=200, reqid=reqid, xlog=headers.get("x-log"), error=error, skew_s=skew_s, duration_s=duration_s
        )
    said = read_json(headers, body)
    fields = said if isinstance(said, dict) else {}
    content = _content(said, body)
    return Reply(
        status=status,
        reqid=reqid,
        xlog=headers.get("x-log"),
        error=_error(None if status < 300 else _error_text(status, fields, content, headers, body), reqid),
        hash=_text(fields.get("hash")),
        size_bytes=_whole(fields.get("fsize"), default=0 if "hash" in fields else None),
        mime_type=_text(fields.get("mimeType")),
        put_time=_whole(fields.get("putTime")),
        content=content,
        task=_text(fields.get("id")) or None,
        waiting=_whole(fields.get("wait")),
        skew_s=skew_s,
        retry_after_s=_retry_after_s(headers, now),
        headers=dict(headers) if status >= 500 else {},
        duration_s=duration_s,
    )


def read_batch(reply: Reply, headers: Mapping[str, str], body: bytes) -> list[Reply]:
    """The answers to a batch's operations, in their order; empty when the whole batch failed.

    298 means that some or all operations failed: each still has its own code.
    """
    said = read_json(headers, body)
    if reply.status not in (200, 298) or not isinstance(said, list):
        return []
    return [_batch_item(reply, item if isinstance(item, dict) else {}) for item in said]


def _batch_item(whole: Reply, item: Mapping[str, Any]) -> Reply:
    data = item.get("data")
    fields = data if isinstance(data, dict) else {}
    return Reply(
        status=_whole(item.get("code")),
        reqid=whole.reqid,
        xlog=whole.xlog,
        error=_short(_text(fields.get("error"))),
        hash=_text(fields.get("hash")),
        size_bytes=_whole(fields.get("fsize"), default=0 if "hash" in fields else None),
        mime_type=_text(fields.get("mimeType")),
        put_time=_whole(fields.get("putTime")),
        content=whole.content,
        skew_s=whole.skew_s,
        duration_s=whole.duration_s,
    )


@dataclass(frozen=True, slots=True)
class ListPage:
    """A page of a listing. It may be empty and not the last one."""

    items: Sequence[ListedObject]
    marker: str
    """Where the next page begins; "" when there is none."""


def read_list(reply: Reply, headers: Mapping[str, str], body: bytes) -> ListPage | None:
    """The page that the answer carries; None when it does not come from Kodo or is none.

    `items` may be null or missing, also while a marker says that there is more.
    """
    said = _granted(reply, headers, body)
    if said is None:
        return None
    items, marker = said.get("items") or [], said.get("marker") or ""
    if not isinstance(items, list) or not isinstance(marker, str):
        return None
    return ListPage([listed for item in items if (listed := _listed(item)) is not None], marker)


def _listed(item: object) -> ListedObject | None:
    if not isinstance(item, dict) or not isinstance(item.get("key"), str):
        return None  # leaves its key out: then it is asked for
    return ListedObject(
        key=item["key"],
        size_bytes=min(_whole(item.get("fsize")) or 0, _INT64_MOST),
        hash=_text(item.get("hash")) or "",
        put_time=min(_whole(item.get("putTime")) or 0, _INT64_MOST),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketInfo:
    """What a bucket is set to. Empty where Kodo says nothing."""

    source: tuple[str, ...]
    """The mirror's origins, in the order Kodo tries them; () means that the bucket is no mirror."""
    host: str
    """The Host header that an origin is asked with; "": the one of its URL."""
    region: str
    private: bool


def read_bucket_info(reply: Reply, headers: Mapping[str, str], body: bytes) -> BucketInfo | None:
    """None when the answer does not come from Kodo or has no settings (Go SDK, get_bucket_info.yml)."""
    said = _granted(reply, headers, body)
    if not said:
        return None
    sources = (source.strip() for source in (_text(said.get("source")) or "").split(";"))
    return BucketInfo(
        source=tuple(source for source in sources if source),
        host=_text(said.get("host")) or "",
        region=_text(said.get("region")) or _text(said.get("zone")) or "",
        private=said.get("private") in (1, True),
    )


def read_purge(headers: Mapping[str, str], body: bytes) -> PurgeAnswer | None:
    """Whatever the status; None when the answer has no code."""
    said = read_json(headers, body)
    if not isinstance(said, dict) or (code := _whole(said.get("code"))) is None:
        return None
    invalid = said.get("invalidUrls")
    quota = _whole(said.get("urlQuotaDay")) or None  # an error leaves both at 0, as if there were none at all
    return PurgeAnswer(
        code=code,
        error=_short(_text(said.get("error"))) or None,
        request_id=_text(said.get("requestId")) or None,
        invalid_urls=tuple(url for url in invalid if isinstance(url, str)) if isinstance(invalid, list) else (),
        quota_day=quota,
        surplus_day=None if quota is None else _whole(said.get("urlSurplusDay")),
    )


def read_json(headers: Mapping[str, str], body: bytes) -> Any:
    """The body as JSON, or None: only what says that it is JSON is read as such."""
    if not body or not headers.get("content-type", "").startswith("application/json"):
        return None
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _granted(reply: Reply, headers: Mapping[str, str], body: bytes) -> dict[str, Any] | None:
    said = read_json(headers, body)
    if reply.status != 200 or (reply.reqid is None and reply.xlog is None) or not isinstance(said, dict):
        return None
    return said


def _content(said: object, body: bytes) -> Content:
    if not body:
        return Content.EMPTY
    # `null` is JSON as well, but says as little as a page that is none
    return Content.FOREIGN if said is None else Content.JSON


def _error(error: str | None, reqid: str | None) -> str | None:
    if reqid is not None:
        return error
    return NO_REQID if error is None else f"{error}; {NO_REQID}"


def _error_text(
    status: int, fields: Mapping[str, Any], content: Content, headers: Mapping[str, str], body: bytes
) -> str:
    """Kodo's own words: `error`, and in newer services a `code` or `error_code` that names them."""
    error = _short(_text(fields.get("error")))
    code = next((code for name in ("code", "error_code") if (code := _named(fields.get(name), status))), None)
    if error:
        return f"{error} ({code})" if code else error
    if code:
        return code
    if content is not Content.FOREIGN:
        return "no error text in the reply"
    kind = headers.get("content-type", "no content type").partition(";")[0]
    return f"the reply is {kind} of {len(body)} bytes instead of Kodo's JSON"


def _named(code: object, status: int) -> str | None:
    """A code that tells more than the status does."""
    number = _whole(code)
    return _short(_text(code)) if number is None else str(number) if number not in (0, status) else None


def _skew_s(reqid: str | None, headers: Mapping[str, str], now: datetime, duration_s: float) -> float | None:
    """The id tells when Kodo was asked, the Date when it answered; the pull lies between them."""
    by_reqid = asked_at(reqid) if reqid else None
    if by_reqid is not None and abs(skew := by_reqid - (now - timedelta(seconds=duration_s))) <= _SKEW_MOST:
        return skew.total_seconds()
    by_date = _instant(headers.get("date"))
    if by_date is not None and abs(skew := by_date - now) <= _SKEW_MOST:
        return skew.total_seconds()
    return None


def _retry_after_s(headers: Mapping[str, str], now: datetime | None) -> float | None:
    """A date counts from the sender's own clock where it tells that: it need not agree with ours."""
    text = headers.get("retry-after", "").strip()
    if not text:
        return None
    if text.isascii() and text.isdecimal():
        return min(float(text), RETRY_AFTER_MOST_S)
    until = _instant(text)
    since = _instant(headers.get("date")) or now
    if until is None or since is None:
        return None
    return min(max((until - since).total_seconds(), 0.0), RETRY_AFTER_MOST_S)


@lru_cache(maxsize=8)  # thousands of answers a second say the same one
def _instant(text: str | None) -> datetime | None:
    """An HTTP-date; None when it is none."""
    if not text:
        return None
    try:
        found = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _short(text: str | None) -> str | None:
    return text if text is None or len(text) <= ERROR_MOST else f"{text[:ERROR_MOST]}…"


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _whole(value: object, default: int | None = None) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else default

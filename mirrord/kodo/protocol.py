"""Kodo's calls as bytes: a question becomes a Request, an answer becomes a Reply. No input or output."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import quote

import orjson

from mirrord.kodo.entry import encode_condition, encode_entry, encode_url
from mirrord.model.attempt import Reply
from mirrord.model.listing import ListedObject

FORM = "application/x-www-form-urlencoded"
BATCH_MOST = 1000
"""Operations one batch may carry (Qiniu's API specification, "batch")."""
LIST_MOST = 1000
"""Objects one page of a listing may have (Qiniu's API specification, "list")."""
_QUERY_SAFE = "/:@?!$'()*,"  # what a query may have as it is; escaped, aiohttp would write it so after it was signed
_INT64_MOST = 2**63 - 1  # what Kodo's own numbers are, and the journal keeps
RETRY_AFTER_MOST_S = 3600.0
"""A server that wants a key left alone for longer is not believed; the header can hold any number."""


class Host(StrEnum):
    """Kodo's services; which name answers for one depends on the bucket's region."""

    UC = "uc"
    IO = "io"
    RS = "rs"
    RSF = "rsf"
    API = "api"
    FUSION = "fusion"


@dataclass(frozen=True, slots=True)
class Request:
    """One call, ready but for its host and signature. `target` is the path and query exactly as sent."""

    host: Host
    target: str
    body: bytes = b""
    method: str = "POST"
    signed: bool = True


def prefetch(bucket: str, key: str) -> Request:
    """Pull `key` again from the bucket's mirror origin (seed document "prefetch")."""
    return Request(Host.IO, f"/prefetch/{encode_entry(bucket, key)}")


def fetch(url: str, bucket: str, key: str | None) -> Request:
    """Pull `url` into `key`; without a key the object is named by its hash (Kodo API, "fetch")."""
    return Request(Host.IO, f"/fetch/{encode_url(url)}/to/{encode_entry(bucket, key)}")


def glb_fetch(url: str, bucket: str, key: str | None) -> Request:
    """The multi-region form, exactly as in the seed document "glb/fetch"."""
    return Request(Host.API, f"/glb/fetch/{encode_url(url)}/to/{encode_entry(bucket, key)}")


def stat(bucket: str, key: str) -> Request:
    """Ask what the bucket holds under `key`."""
    return Request(Host.RS, f"/stat/{encode_entry(bucket, key)}", method="GET")


def delete(bucket: str, key: str, hash_: str | None = None) -> Request:
    """Remove `key`, with `hash_` only the object of that hash: else the answer is 608. 612: it was gone already."""
    condition = "" if hash_ is None else f"/cond/{encode_condition(hash=hash_)}"
    return Request(Host.RS, f"/delete/{encode_entry(bucket, key)}{condition}")


def batch_stat(bucket: str, keys: Sequence[str]) -> Request:
    """Up to `BATCH_MOST` stats in one call; `read_batch` takes the answer apart."""
    if not 0 < len(keys) <= BATCH_MOST:
        raise ValueError(f"a batch carries 1 to {BATCH_MOST} operations, not {len(keys)}")
    # base64url needs no escaping in a form but for "=", which Qiniu's documents send as it is
    body = "&".join(f"op=/stat/{encode_entry(bucket, key)}" for key in keys)
    return Request(Host.RS, "/batch", body.encode("ascii"))


def list_objects(bucket: str, prefix: str = "", marker: str = "", limit: int = LIST_MOST) -> Request:
    """One page of what the bucket holds below `prefix`, going on after `marker`; "" begins."""
    query = {"bucket": bucket, "limit": str(limit), "prefix": prefix, "marker": marker}
    written = "&".join(f"{name}={quote(value, safe=_QUERY_SAFE)}" for name, value in query.items() if value)
    return Request(Host.RSF, f"/list?{written}", method="GET")


def query_hosts(access_key: str, bucket: str) -> Request:
    """Ask which names serve the bucket's region; the one call that is not signed."""
    return Request(
        Host.UC,
        f"/v4/query?ak={quote(access_key, safe='')}&bucket={quote(bucket, safe='')}",
        method="GET",
        signed=False,
    )


def read_reply(status: int, headers: Mapping[str, str], body: bytes, duration_s: float) -> Reply:
    """What an answer says. `headers` have lower-case names.

    A prefetch answers with nothing, with `{}` or with an object like fetch's; an error with JSON,
    nothing, or a proxy's HTML. The whole of the headers is kept for 5xx, which Qiniu's support asks for.
    """
    said = read_json(headers, body)
    fields = said if isinstance(said, dict) else {}
    return Reply(
        status=status,
        reqid=headers.get("x-reqid"),
        xlog=headers.get("x-log"),
        error=None if status < 300 else _error_text(fields, headers, body),
        hash=_text(fields.get("hash")),
        size_bytes=_whole(fields.get("fsize"), default=0 if "hash" in fields else None),
        mime_type=_text(fields.get("mimeType")),
        put_time=_whole(fields.get("putTime")),
        retry_after_s=_seconds(headers.get("retry-after")),
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
        error=_text(fields.get("error")),
        hash=_text(fields.get("hash")),
        size_bytes=_whole(fields.get("fsize"), default=0 if "hash" in fields else None),
        mime_type=_text(fields.get("mimeType")),
        put_time=_whole(fields.get("putTime")),
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
    said = read_json(headers, body)
    if reply.status != 200 or (reply.reqid is None and reply.xlog is None) or not isinstance(said, dict):
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


def read_json(headers: Mapping[str, str], body: bytes) -> Any:
    """The body as JSON, or None: only what says that it is JSON is read as such."""
    if not body or not headers.get("content-type", "").startswith("application/json"):
        return None
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _error_text(fields: Mapping[str, Any], headers: Mapping[str, str], body: bytes) -> str:
    error = _text(fields.get("error"))
    if error:
        return error
    if not body:
        return "no error text in the reply"
    kind = headers.get("content-type", "no content type").partition(";")[0]
    return f"the reply is {kind} of {len(body)} bytes instead of Kodo's JSON"


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _whole(value: object, default: int | None = None) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def _seconds(retry_after: str | None) -> float | None:
    digits = (retry_after or "").strip()
    return min(float(digits), RETRY_AFTER_MOST_S) if digits.isdecimal() else None

"""Kodo's calls as bytes: a question becomes a Request, an answer becomes a Reply. No input or output."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import quote

import orjson

from mirrord.kodo.entry import encode_entry, encode_url
from mirrord.model.attempt import Reply

FORM = "application/x-www-form-urlencoded"
BATCH_MOST = 1000
"""Operations one batch may carry (Qiniu's API specification, "batch")."""
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


def delete(bucket: str, key: str) -> Request:
    """Remove `key`; 612 means that it was gone already."""
    return Request(Host.RS, f"/delete/{encode_entry(bucket, key)}")


def batch_stat(bucket: str, keys: Sequence[str]) -> Request:
    """Up to `BATCH_MOST` stats in one call; `read_batch` takes the answer apart."""
    if not 0 < len(keys) <= BATCH_MOST:
        raise ValueError(f"a batch carries 1 to {BATCH_MOST} operations, not {len(keys)}")
    # base64url needs no escaping in a form but for "=", which Qiniu's documents send as it is
    body = "&".join(f"op=/stat/{encode_entry(bucket, key)}" for key in keys)
    return Request(Host.RS, "/batch", body.encode("ascii"))


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

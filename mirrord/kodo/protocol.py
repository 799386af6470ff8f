"""Kodo's calls as bytes: a question becomes a Request. No input or output; `replies.py` reads the answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal
from urllib.parse import quote

import orjson

from mirrord.kodo.auth import FORM, JSON
from mirrord.kodo.entry import encode_condition, encode_entry, encode_url

Scheme = Literal["qbox", "qiniu"]
BATCH_MOST = 1000
"""Operations one batch may carry (Qiniu's API specification, "batch")."""
LIST_MOST = 1000
"""Objects one page of a listing may have (Qiniu's API specification, "list")."""
_QUERY_SAFE = "/:@?!$'()*,"  # what a query may have as it is; escaped, aiohttp would write it so after it was signed


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
    scheme: Literal["qiniu"] | None = None
    """The one token that this call takes; None: what the settings say."""
    content_type: str = FORM


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
        f"/v4/query?ak={quote(access_key, safe=_QUERY_SAFE)}&bucket={quote(bucket, safe=_QUERY_SAFE)}",
        method="GET",
        signed=False,
    )


def async_fetch(url: str, bucket: str, key: str, *, etag: str | None = None, host: str | None = None) -> Request:
    """Queue a pull of `url` into `key`, overwriting it; the answer names the task (Kodo API, "asynch-fetch").

    With `etag` Kodo refuses to store any other content. `host` is the Host header for a URL that has an address.
    """
    optional = {name: value for name, value in (("host", host), ("etag", etag)) if value is not None}
    task = {"url": url, "bucket": bucket, "key": key, **optional, "file_type": 0, "ignore_same_key": False}
    return Request(Host.API, "/sisyphus/fetch", orjson.dumps(task), scheme="qiniu", content_type=JSON)


def async_state(task: str) -> Request:
    """How many tasks are before `task`, the id an `async_fetch` was answered with. It never says how it ended.

    The id ends in "=", escaped as the Go SDK does it: either is taken, as long as it is signed as it is sent.
    """
    return Request(Host.API, f"/sisyphus/fetch?id={quote(task, safe=_QUERY_SAFE)}", method="GET", scheme="qiniu")


def purge(urls: Sequence[str]) -> Request:
    """Have a CDN drop its copies of `urls`, percent-encoded, and of their http forms (Go SDK, cdn/api.go)."""
    return Request(Host.FUSION, "/v2/tune/refresh", orjson.dumps({"urls": list(urls)}), content_type=JSON)


def bucket_info(bucket: str) -> Request:
    """Ask what the bucket is set to, its mirror source above all."""
    return Request(Host.UC, f"/v2/bucketInfo?bucket={quote(bucket, safe=_QUERY_SAFE)}", scheme="qiniu")

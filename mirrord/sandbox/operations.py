"""What each call of Kodo's API does to the store, and what it answers; Refused where it does not."""

from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal
from urllib.parse import parse_qsl

import orjson
from aiohttp import web

from mirrord.kodo.entry import decode_entry, decode_url, origin_url
from mirrord.sandbox.discovery import REGION, Discovery
from mirrord.sandbox.pull import Pulls, Wanted
from mirrord.sandbox.queue import Order, Queue
from mirrord.sandbox.reply import Refused, empty_reply, json_reply
from mirrord.sandbox.store import Store, Stored, folded, past

PrefetchReply = Literal["empty", "object"]
"""Kodo's documents show an empty reply to a prefetch, its current SDK tests expect an object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One call, understood: its bucket exists, if it names one."""

    bucket: str = ""
    key: str | None = None
    parts: Mapping[str, str]
    """The variable parts of the path, undecoded."""
    params: Sequence[tuple[str, str]] = ()
    """Of the query, then of the form."""
    host: str = ""
    reqid: str = ""
    order: Order | None = None
    """The body of an async fetch."""
    urls: Sequence[str] = ()
    """Of what a CDN shall forget."""
    stale: bool = False
    hold_s: float = 0.0
    """How a pull shall go wrong, see mirrord.sandbox.faults."""

    def param(self, name: str) -> str:
        return dict(self.params).get(name, "")

    def named(self) -> str:
        """The key of a call that must have one."""
        if self.key is None:
            raise Refused(400)
        return self.key


class Operations:
    """`origins` are the buckets there are, each with its mirror source or None."""

    def __init__(
        self,
        *,
        store: Store,
        pulls: Pulls,
        queue: Queue,
        origins: Mapping[str, str | None],
        access_key: str,
        discovery: Discovery,
        prefetch_reply: PrefetchReply = "empty",
    ) -> None:
        self._store = store
        self._pulls = pulls
        self._queue = queue
        self._origins = origins
        self._access_key = access_key
        self._discovery = discovery
        self._prefetch_reply = prefetch_reply

    def existing(self, bucket: str) -> str:
        """`bucket`, or Refused 631."""
        if bucket not in self._origins:
            raise Refused(631)
        return bucket

    async def prefetch(self, asked: Asked) -> web.StreamResponse:
        origin = self._origins[asked.bucket]
        if not origin:
            raise Refused(478, "bucket has no mirror source")
        stored = await self._pull(asked, origin_url(origin, asked.named()), None)
        return empty_reply() if self._prefetch_reply == "empty" else json_reply(_fetched(stored))

    async def fetch(self, asked: Asked) -> web.StreamResponse:
        return json_reply(_fetched(await self._fetch(asked)))

    async def glb_fetch(self, asked: Asked) -> web.StreamResponse:
        stored = await self._fetch(asked)
        return json_reply({"hash": stored.hash, "key": stored.key})

    async def async_fetch(self, asked: Asked) -> web.StreamResponse:
        if asked.order is None:
            raise Refused(400)
        return self._queued(self._queue.put(asked.order, asked.reqid))

    async def async_wait(self, asked: Asked) -> web.StreamResponse:
        if not asked.param("id"):
            raise Refused(400)
        return self._queued(asked.param("id"))

    async def stat(self, asked: Asked) -> web.StreamResponse:
        return json_reply(_described(self._find(asked.bucket, asked.named())))

    async def delete(self, asked: Asked) -> web.StreamResponse:
        self._remove(asked.bucket, asked.named(), asked.parts.get("conditions"))
        return empty_reply()

    async def batch(self, asked: Asked) -> web.StreamResponse:
        operations = [value for name, value in asked.params if name == "op"]
        if not 1 <= len(operations) <= 1000:
            raise Refused(400)
        items = [self._one_of_batch(operation) for operation in operations]
        return json_reply(items, 200 if all(item["code"] == 200 for item in items) else 298)

    async def list(self, asked: Asked) -> web.StreamResponse:
        prefix, delimiter = asked.param("prefix"), asked.param("delimiter")
        limit = asked.param("limit") or "1000"
        if not asked.bucket or not limit.isdecimal() or not 1 <= int(limit) <= 1000:
            raise Refused(400, "invalid list limit" if asked.bucket else None)
        start = _start(asked.param("marker"), prefix, delimiter)
        walk = () if start is None else self._store.walk(asked.bucket, prefix, delimiter, start)
        found = list(islice(walk, int(limit) + 1))
        more, found = found[int(limit) :], found[: int(limit)]
        items = [entry for entry in found if isinstance(entry, Stored)]
        folders = [entry for entry in found if isinstance(entry, str)]
        content: dict[str, object] = {}
        if more:
            content["marker"] = _marker(found[-1])
        if folders:
            content["commonPrefixes"] = folders
        content["items"] = [{"key": item.key, **_described(item)} for item in items]
        return json_reply(content)

    async def bucket_info(self, asked: Asked) -> web.StreamResponse:
        if not asked.bucket:
            raise Refused(400)
        source = self._origins[asked.bucket] or ""
        return json_reply({"source": source, "host": "", "expires": 0, "private": 0, "region": REGION, "zone": REGION})

    async def query(self, asked: Asked) -> web.StreamResponse:
        """Where the services are: here, under the name by which the caller found this one, if not told otherwise."""
        if asked.param("ak") != self._access_key:
            raise Refused(401, "app/accesskey is not found")
        if not asked.bucket:
            raise Refused(400)
        return json_reply({"hosts": self._discovery.hosts(asked.host)})

    async def _fetch(self, asked: Asked) -> Stored:
        try:
            url = decode_url(asked.parts["url"])
            host = decode_url(asked.parts["host"]) if "host" in asked.parts else None
        except ValueError as exc:
            raise Refused(400) from exc
        return await self._pull(asked, url, host)

    async def _pull(self, asked: Asked, url: str, host: str | None) -> Stored:
        return await self._pulls.pull(
            Wanted(bucket=asked.bucket, key=asked.key, urls=[url], host=host, stale=asked.stale, hold_s=asked.hold_s)
        )

    def _queued(self, id_: str) -> web.StreamResponse:
        return json_reply({"id": id_, "wait": self._queue.wait(id_)})

    def _find(self, bucket: str, key: str) -> Stored:
        stored = self._store.find(bucket, key)
        if stored is None:
            raise Refused(612)
        return stored

    def _remove(self, bucket: str, key: str, conditions: str | None) -> None:
        stored = self._find(bucket, key)
        if conditions is not None:
            actual = {
                "hash": stored.hash,
                "fsize": str(stored.size_bytes),
                "mime": stored.mime_type,
                "putTime": str(stored.put_time),
            }
            try:
                wanted = parse_qsl(decode_url(conditions), strict_parsing=True)
            except ValueError as exc:
                raise Refused(400) from exc
            if any(name not in actual for name, _ in wanted):
                raise Refused(400)
            if any(actual[name] != value for name, value in wanted):
                raise Refused(608)
        self._store.remove(stored)

    def _one_of_batch(self, operation: str) -> dict[str, object]:
        try:
            match operation.strip("/").split("/"):
                case ["stat", entry]:
                    return {"code": 200, "data": _described(self._find(*self._place(entry)))}
                case ["delete", entry]:
                    self._remove(*self._place(entry), None)
                case ["delete", entry, "cond", conditions]:
                    self._remove(*self._place(entry), conditions)
                case _:
                    return _failed(Refused(400))
        except Refused as refused:
            return _failed(refused)
        return {"code": 200}

    def _place(self, entry: str) -> tuple[str, str]:
        bucket, key = understood(entry)
        if key is None:
            raise Refused(400)
        return self.existing(bucket), key


def understood(entry: str) -> tuple[str, str | None]:
    """Bucket and key of an entry, or Refused with the text that Kodo has for it."""
    try:
        return decode_entry(entry)
    except ValueError as exc:
        not_utf8 = isinstance(exc.__cause__, UnicodeDecodeError)
        raise Refused(400, "key must be utf8 encoding" if not_utf8 else None) from exc


def _failed(refused: Refused) -> dict[str, object]:
    return {"code": refused.status, "data": {"error": refused.error}}


def _fetched(stored: Stored) -> dict[str, object]:
    return {
        "hash": stored.hash,
        "key": stored.key,
        "fsize": stored.size_bytes,
        "mimeType": stored.mime_type,
    }


def _described(stored: Stored) -> dict[str, object]:
    return {
        "fsize": stored.size_bytes,
        "hash": stored.hash,
        "mimeType": stored.mime_type,
        "putTime": stored.put_time,
        "type": 0,
    }


def _marker(last: Stored | str) -> str:
    key = last if isinstance(last, str) else last.key
    return urlsafe_b64encode(orjson.dumps({"c": 0, "k": key})).decode()


def _start(marker: str, prefix: str, delimiter: str) -> str | None:
    """The key from which a listing goes on after `marker`; None when nothing can follow."""
    if not marker:
        return ""
    try:
        fields = orjson.loads(decode_url(marker))
    except ValueError as exc:
        raise Refused(640) from exc
    last = fields.get("k") if isinstance(fields, dict) else None
    if not isinstance(last, str):
        raise Refused(640)
    folder = folded(last, prefix, delimiter)
    return last + "\0" if folder is None else past(folder)

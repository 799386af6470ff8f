"""CloudEvents 1.0 and 0.3, as HTTP carries them, to mentions: the subject is the name.

Sources: the CloudEvents specification's HTTP and JSON bindings, its "sequence" extension and its adapter for S3;
the `method` extension is that of HTTP Feeds.
"""

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from re import Pattern
from urllib.parse import unquote_to_bytes

from mirrord.model.change import Rejection
from mirrord.model.mention import Mention
from mirrord.sources.feed import s3_records
from mirrord.sources.feed.claims import etag_of, order_of, rejection, size_of, text_of
from mirrord.sources.feed.dialect import Unreadable
from mirrord.sources.feed.documents import parse_json
from mirrord.sources.feed.times import parse_time

REMOVED_TYPES = re.compile(r"(?i)delet|remov")
"""Types of events that say that their subject is gone, unless the settings name others."""

_REQUIRED = ("id", "source", "type", "specversion")
_VERSIONS = ("1.0", "0.3")
_S3_TYPE = "com.amazonaws.s3."
_HEADER = "ce-"
_SEQUENCE_DIGITS = 20

Found = Mention | Rejection


def is_binary(headers: Mapping[str, str]) -> bool:
    """Whether an event's attributes are in `headers`, whose names are lower-case."""
    return any(name.startswith(_HEADER) for name in headers)


def read_binary(
    headers: Mapping[str, str], body: bytes, *, removed_types: Pattern[str], bucket: str | None = None
) -> Iterator[Found]:
    """The event whose attributes are in `headers`, with its data as the body."""
    said = {
        name.removeprefix(_HEADER): _header_text(text) for name, text in headers.items() if name.startswith(_HEADER)
    }
    return _read(said, _json_or_none(body), removed_types, bucket)


def read_structured(
    event: Mapping[str, object], *, removed_types: Pattern[str], bucket: str | None = None
) -> Iterator[Found]:
    """The event that is one JSON object."""
    data, coded = event.get("data"), event.get("data_base64")
    if event.get("datacontentencoding") == "base64":  # how 0.3 says it
        data, coded = None, data
    if data is None and isinstance(coded, str):
        data = _json_or_none(_from_base64(coded))
    return _read(event, data, removed_types, bucket)


def _read(
    event: Mapping[str, object], data: object, removed_types: Pattern[str], bucket: str | None
) -> Iterator[Found]:
    missing = [name for name in _REQUIRED if text_of(event.get(name)) is None]
    if missing:
        yield rejection(event.get("subject") or event.get("id"), f"the event has no {' and no '.join(missing)}")
    elif event["specversion"] not in _VERSIONS:
        yield rejection(event.get("subject"), f"the event is not of CloudEvents {' or '.join(_VERSIONS)}")
    elif (records := _s3_records(event, data)) is not None:
        for record in records:
            found = s3_records.read_record(record, bucket=bucket)
            if found is not None:
                yield _completed(found, event)
    else:
        yield _completed(_mention(event, data, removed_types), event)


def _mention(event: Mapping[str, object], data: object, removed_types: Pattern[str]) -> Found:
    name = text_of(event.get("subject"))
    if name is None:
        return rejection(event["id"], "the event has no subject")
    if _says_removed(event, removed_types):
        return Mention(name=name, removed=True)
    claimed = data if isinstance(data, dict) else {}
    etag = etag_of(claimed.get("etag"))
    return Mention(name=name, token=etag, size_bytes=size_of(claimed.get("size")), etag=etag)


def _s3_records(event: Mapping[str, object], data: object) -> Sequence[object] | None:
    """The records of an event that was made of S3's own; None: it was not."""
    records = s3_records.records_of(data) if isinstance(data, dict) else None
    if records is not None:
        return records
    made_of = str(event["type"])
    if not made_of.startswith(_S3_TYPE):
        return None
    # sent without its data: the subject is the key as S3 has encoded it
    name, key = made_of.removeprefix(_S3_TYPE), event.get("subject")
    return [{"eventName": name, "s3": {"object": {"key": key}}}]


def _completed(found: Found, event: Mapping[str, object]) -> Found:
    """`found` with what only the event itself says."""
    if isinstance(found, Rejection):
        return found
    return replace(
        found,
        token=found.token or f"{event['source']} {event['id']}",
        at=found.at or parse_time(event.get("time")),
        order=found.order or _order(event.get("sequence")),
    )


def _says_removed(event: Mapping[str, object], removed_types: Pattern[str]) -> bool:
    method = event.get("method")
    deleted = isinstance(method, str) and method.strip().upper() == "DELETE"
    return deleted or removed_types.search(str(event["type"])) is not None


def _order(sequence: object) -> str | None:
    text = order_of(str(sequence) if type(sequence) is int else sequence)
    return text.zfill(_SEQUENCE_DIGITS) if text is not None and text.isdigit() else text


def _header_text(value: str) -> str:
    """An attribute from its header, which ASGI hands over as Latin-1; what is not UTF-8 comes as surrogates."""
    if len(value) >= 2 and value[0] == value[-1] == '"':
        value = re.sub(r"\\(.)", r"\1", value[1:-1])
    return unquote_to_bytes(value.encode("latin-1", "replace")).decode("utf-8", "surrogateescape")


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return b""


def _json_or_none(text: bytes) -> object:
    """An event's data may be anything; only JSON tells us something."""
    try:
        return parse_json(text)
    except Unreadable:
        return None

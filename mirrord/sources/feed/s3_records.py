"""Records of S3 event notifications, as AWS, MinIO and their like write them, to mentions.

Sources: Amazon S3 User Guide, "Event message structure"; MinIO, internal/event/name.go and
internal/event/target/webhook.go.
"""

from collections.abc import Mapping, Sequence
from urllib.parse import unquote_to_bytes

from mirrord.model.change import Rejection
from mirrord.model.mention import Mention
from mirrord.sources.feed.claims import etag_of, order_of, rejection, size_of, text_of
from mirrord.sources.feed.times import parse_time

_WRITTEN = ("ObjectCreated:", "ObjectRestore:Completed")
_REMOVED = ("ObjectRemoved:", "LifecycleExpiration:")
_ORDER_DIGITS = 64


def records_of(document: Mapping[str, object]) -> Sequence[object] | None:
    """The records of a notification, or one that came by itself; None: it has not S3's shape."""
    records = document.get("Records")
    if isinstance(records, list):
        return records
    if isinstance(document.get("s3"), dict):
        return [document]
    if document.get("Event") == "s3:TestEvent" or ("Records" in document and records is None):
        return []
    return None


def read_record(record: object, *, bucket: str | None = None) -> Mention | Rejection | None:
    """What one record says; None: nothing that changes content. `bucket`: the only one that is meant."""
    if not isinstance(record, dict):
        return rejection(None, "is not an S3 record")
    s3 = _object(record.get("s3"))
    stored = _object(s3.get("object"))
    key = text_of(stored.get("key"))
    event = text_of(record.get("eventName"))
    if event is None:
        return rejection(key, "the S3 record has no eventName")
    event = event.removeprefix("s3:")
    if not event.startswith(_WRITTEN + _REMOVED):
        return None
    if key is None:
        return rejection(None, "the S3 record names no object")
    found_in = text_of(_object(s3.get("bucket")).get("name"))
    if bucket is not None and found_in != bucket:
        return rejection(key, f"is of another bucket than {bucket}")
    return _mention(record, event, decoded(key), stored)


def decoded(key: str) -> str:
    """An object's key from a record: plus is a blank, %XX a byte, once; what is not UTF-8 comes as surrogates."""
    octets = unquote_to_bytes(key.replace("+", " ").encode("utf-8", "surrogatepass"))
    return octets.decode("utf-8", "surrogateescape")


def sequence_of(sequencer: object) -> str | None:
    """A sequencer as text that compares as S3 says: the shorter one padded on the right with zeros."""
    text = order_of(sequencer)
    return None if text is None else text.upper().ljust(_ORDER_DIGITS, "0")


def _mention(record: Mapping[str, object], event: str, name: str, stored: Mapping[str, object]) -> Mention:
    at, order = parse_time(record.get("eventTime")), sequence_of(stored.get("sequencer"))
    sequencer, version = text_of(stored.get("sequencer")), text_of(stored.get("versionId"))
    if not event.startswith(_REMOVED):
        etag = etag_of(stored.get("eTag"))
        size = size_of(stored.get("size"))
        return Mention(name=name, token=etag or sequencer, size_bytes=size, etag=etag, at=at, order=order)
    if event.endswith(":Delete") and version not in {None, "null"}:
        # One version of many is gone for good (an old one expired, say). Only the origin knows what the key has now.
        return Mention(name=name, token=f"without {version}", at=at, order=order)
    return Mention(name=name, removed=True, token=sequencer, at=at, order=order)


def _object(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}

"""What was posted to a hook, by its type and its shape, to mentions."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from re import Pattern

from mirrord.model.change import Rejection
from mirrord.model.mention import Mention
from mirrord.sources.feed import cloudevents, s3_records
from mirrord.sources.feed.claims import rejection
from mirrord.sources.feed.cloudevents import REMOVED_TYPES
from mirrord.sources.feed.dialect import Unreadable
from mirrord.sources.feed.documents import parse_json

ENTRIES_MOST = 50_000
"""Of one delivery. S3 sends one at a time, and what is longer is no notification any more."""

_EVENTS = {"application/cloudevents+json", "application/cloudevents-batch+json"}
_JSON = {"application/json", "text/json", ""}


class UnsupportedType(Exception):
    """No such content is understood, whatever is in it; one line of text says what is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """What one delivery says, or several of them."""

    mentions: Sequence[Mention] = ()
    bad: Sequence[Rejection] = ()
    """Entries that cannot be used; none of them blocks the rest."""


def parse(
    content_type: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    removed_types: Pattern[str] = REMOVED_TYPES,
    bucket: str | None = None,
) -> Parsed:
    """Read S3 records, or CloudEvents in any of their three modes.

    `headers`: values as ASGI has them, Latin-1. `bucket`: the only one whose S3 records are meant; None: all.
    Raises Unreadable, UnsupportedType.
    """
    kind = content_type.partition(";")[0].strip().lower()
    named = {name.lower(): value for name, value in headers.items()}
    if cloudevents.is_binary(named) and not kind.startswith("application/cloudevents"):
        return _sorted_out(cloudevents.read_binary(named, body, removed_types=removed_types, bucket=bucket))
    if kind not in _EVENTS | _JSON:
        raise UnsupportedType(f"S3 records and CloudEvents are understood, as JSON, not {kind!a}")
    document = parse_json(body)
    if not isinstance(document, list):
        if not isinstance(document, dict) or not (kind in _EVENTS or _is_known(document)):
            raise Unreadable("holds neither S3 records nor CloudEvents")
        document = [document]
    return _sorted_out(found for entry in document for found in _read(entry, removed_types, bucket))


def _is_known(document: Mapping[str, object]) -> bool:
    return "specversion" in document or s3_records.records_of(document) is not None


def _read(entry: object, removed_types: Pattern[str], bucket: str | None) -> Iterator[Mention | Rejection]:
    if not isinstance(entry, dict):
        yield rejection(None, "is not an event")
        return
    records = None if "specversion" in entry else s3_records.records_of(entry)
    if records is None:
        yield from cloudevents.read_structured(entry, removed_types=removed_types, bucket=bucket)
        return
    for record in records:
        found = s3_records.read_record(record, bucket=bucket)
        if found is not None:
            yield found


def _sorted_out(found: Iterable[Mention | Rejection]) -> Parsed:
    mentions, bad = list[Mention](), list[Rejection]()
    for each in found:
        if len(mentions) + len(bad) == ENTRIES_MOST:
            raise Unreadable(f"holds more than {ENTRIES_MOST} events")
        if isinstance(each, Rejection):
            bad.append(each)
        elif _can_be_told(each.name):
            mentions.append(each)
        else:
            bad.append(rejection(each.name, "the name is half of a character"))
    return Parsed(mentions=tuple(mentions), bad=tuple(bad))


def _can_be_told(name: str) -> bool:
    """Whether the key rules can say of the name that it is not UTF-8: of half a surrogate pair they cannot."""
    try:
        name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True

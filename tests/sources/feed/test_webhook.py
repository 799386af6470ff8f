import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirrord.decisions.keymap import key_for
from mirrord.model.change import Rejection
from mirrord.model.fingerprint import of_token
from mirrord.model.mention import Mention
from mirrord.sources.feed.dialect import Unreadable
from mirrord.sources.feed.webhook import ENTRIES_MOST, Parsed, UnsupportedType, parse

_TYPES = [
    "application/json",
    "application/json; charset=utf-8",
    "application/cloudevents+json",
    "application/cloudevents-batch+json",
    "",
]
_EVENT = {"id": "7", "source": "/origin", "type": "changed", "specversion": "1.0", "subject": "a"}
_RECORD = {"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": "www"}, "object": {"key": "a", "eTag": "e"}}}


def _parse(document: object, content_type: str = "application/json", **options: Any) -> Parsed:
    return parse(content_type, {}, json.dumps(document).encode(), **options)


@pytest.mark.parametrize(
    ("document", "names"),
    [
        ({"EventName": "s3:ObjectCreated:Put", "Key": "www/a", "Records": [_RECORD]}, ["a"]),
        ({"Records": [_RECORD, _RECORD]}, ["a", "a"]),
        (_RECORD, ["a"]),
        (_EVENT, ["a"]),
        ([_EVENT, _RECORD], ["a", "a"]),
        ([], []),
        ({"Records": []}, []),
        ({"Service": "Amazon S3", "Event": "s3:TestEvent", "Time": "2026-11-20T08:30:00Z", "Bucket": "www"}, []),
    ],
    ids=["minio", "s3", "one record", "one event", "a mixture", "empty batch", "no records", "test event"],
)
def test_plain_json_is_told_by_its_shape(document: object, names: list[str]) -> None:
    parsed = _parse(document)

    assert [each.name for each in parsed.mentions] == names
    assert not parsed.bad


def test_records_that_cannot_be_used_do_not_block_the_others() -> None:
    other = _RECORD | {"s3": {"bucket": {"name": "logs"}, "object": {"key": "b"}}}

    parsed = _parse({"Records": [other, None, {}, _RECORD]}, bucket="www")

    assert [each.name for each in parsed.mentions] == ["a"]
    assert [each.reason for each in parsed.bad] == [
        "is of another bucket than www",
        "is not an S3 record",
        "the S3 record has no eventName",
    ]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff\xfe", b'{"hello": "world"}', b"17", b"null", b'"text"', b"[" * 100_000, b'{"Records": 1}'],
    ids=["empty", "cut off", "no text", "something else", "number", "null", "text", "deep", "no list"],
)
def test_a_body_that_is_neither_is_not_believed(body: bytes) -> None:
    with pytest.raises(Unreadable):
        parse("application/json", {}, body)


@pytest.mark.parametrize("kind", ["application/cloudevents+json", "application/cloudevents-batch+json"])
def test_what_calls_itself_an_event_and_is_none_is_a_bad_one(kind: str) -> None:
    assert len(_parse({"hello": "world"}, kind).bad) == 1
    assert len(_parse([{"hello": "world"}], kind).bad) == 1


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "application/cloudevents+avro", "application/cloudevents", "é"],
)
def test_a_type_that_is_not_understood_is_said_to_be_so(kind: str) -> None:
    with pytest.raises(UnsupportedType):
        _parse(_EVENT, kind)


def test_an_event_in_headers_may_have_data_of_any_type() -> None:
    headers = {f"CE-{name.title()}": value for name, value in _EVENT.items()}

    parsed = parse("image/png", headers, b"\x89PNG")

    assert [each.name for each in parsed.mentions] == ["a"]


def test_a_structured_event_does_not_heed_what_headers_say() -> None:
    parsed = parse("application/cloudevents+json", {"ce-subject": "b", "ce-id": "8"}, json.dumps(_EVENT).encode())

    assert parsed.mentions == (Mention(name="a", token="/origin 7"),)


@pytest.mark.parametrize(
    "document",
    [[1] * (ENTRIES_MOST + 1), {"Records": [1] * (ENTRIES_MOST + 1)}, [{"Records": [1] * 30_000}] * 2],
    ids=["events", "records", "records of several"],
)
def test_a_delivery_of_too_many_entries_is_refused(document: object) -> None:
    with pytest.raises(Unreadable, match="more than 50000"):
        _parse(document)


def test_half_of_a_character_is_refused_by_itself() -> None:
    body = (
        b'[{"id":"1","source":"s","type":"t","specversion":"1.0","subject":"\\ud83d"},%s]' % json.dumps(_EVENT).encode()
    )

    parsed = parse("application/json", {}, body)

    assert [each.name for each in parsed.mentions] == ["a"]
    assert parsed.bad == (Rejection(name="\\ud83d", reason="the name is half of a character"),)


def test_a_name_that_cannot_be_used_is_shown_short() -> None:
    (bad,) = _parse([_EVENT | {"subject": "x" * 100_000, "specversion": "9"}]).bad

    assert len(bad.name) < 300


# -- whatever comes -----------------------------------------------------------------------------------------

_SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
_ATTRIBUTES = ["specversion", "id", "source", "type", "subject", "time", "method", "sequence", "datacontentencoding"]
_FIELDS = ["Records", "eventName", "eventTime", "s3", "bucket", "name", "object", "key", "size", "eTag", "versionId"]
_KEYS = st.sampled_from([*_ATTRIBUTES, *_FIELDS, "sequencer", "Event", "data", "data_base64", "etag"])
_EVENTS = ["s3:ObjectCreated:Put", "ObjectRemoved:Delete", "com.amazonaws.s3.ObjectCreated:Put", "s3:TestEvent"]
_ODD = [
    "",
    "1.0",
    "0.3",
    "DELETE",
    "base64",
    "eyJldGFnIjoxfQ==",
    "%ff+%",
    "2026-11-20T08:30:00Z",
    "null",
    "\ud800",
    "\udcff",
]
_VALUES = _SCALARS | st.sampled_from([*_EVENTS, *_ODD])
_DOCUMENTS = st.recursive(
    _VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=6), max_leaves=15
)
_STORED = st.fixed_dictionaries(
    {"key": st.text() | _VALUES},
    optional=dict.fromkeys(("size", "eTag", "versionId", "sequencer"), _VALUES),
)
_RECORDS = st.fixed_dictionaries(
    {"eventName": st.sampled_from(_EVENTS) | _VALUES, "s3": st.fixed_dictionaries({"object": _STORED | _DOCUMENTS})},
    optional={"eventTime": _VALUES},
)
_LIKELY = _RECORDS | st.fixed_dictionaries(
    {"id": st.just("7"), "source": _VALUES, "type": st.sampled_from(_EVENTS), "specversion": st.just("1.0")},
    optional={
        "subject": _VALUES,
        "data": _DOCUMENTS | _RECORDS,
        "time": _VALUES,
        "sequence": _VALUES,
        "method": _VALUES,
    },
)


def _holds(parsed: Parsed) -> None:
    """Everything that is told can be recorded."""
    for mention in parsed.mentions:
        key_for(mention.name, "")
        assert mention.name
        of_token(mention.token or "", size_bytes=mention.size_bytes, etag=mention.etag).encode()
        assert mention.order is None or mention.order.isascii()
    for bad in parsed.bad:
        assert bad.name.encode()
        assert bad.reason.encode()


@settings(max_examples=100)
@given(st.sampled_from(_TYPES), st.dictionaries(st.text(), st.text()), st.binary())
def test_any_bytes_are_read_or_refused(kind: str, headers: dict[str, str], body: bytes) -> None:
    try:
        parsed = parse(kind, headers, body)
    except (Unreadable, UnsupportedType):
        return
    _holds(parsed)


@settings(max_examples=200)
@given(st.sampled_from(_TYPES), _DOCUMENTS | _LIKELY | st.lists(_LIKELY, max_size=3), st.sampled_from([None, "www"]))
def test_any_json_is_read_or_refused(kind: str, document: object, bucket: str | None) -> None:
    body = json.dumps(document, ensure_ascii=True).encode()

    try:
        parsed = parse(kind, {}, body, bucket=bucket)
    except Unreadable:
        return

    _holds(parsed)


@settings(max_examples=100)
@given(st.dictionaries(_KEYS, st.text(st.characters(max_codepoint=255))), st.binary() | _LIKELY.map(json.dumps))
def test_any_headers_are_read(attributes: dict[str, str], body: bytes | str) -> None:
    headers = {"ce-id": "7", "ce-source": "s", "ce-type": "t", "ce-specversion": "1.0"}
    headers |= {f"ce-{name}": value for name, value in attributes.items()}

    _holds(parse("", headers, body if isinstance(body, bytes) else body.encode()))

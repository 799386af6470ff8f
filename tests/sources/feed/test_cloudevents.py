import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, to_binary_event, to_structured_event
from cloudevents.core.v03.event import CloudEvent as CloudEvent03
from cloudevents.core.v1.event import CloudEvent

from mirrord.decisions.keymap import key_for
from mirrord.model.change import Rejection
from mirrord.model.mention import Mention
from mirrord.sources.feed.webhook import Parsed, parse

_AT = datetime(2026, 11, 20, 8, 30, tzinfo=UTC)
_NAMES = ["a/b.txt", "red flower.jpg", 'say "hi".txt', "50%.txt", "a+b=c&d.txt", "中文/€ 😀.txt", "back\\slash"]


def _event(**attributes: Any) -> dict[str, Any]:
    return {"id": "7", "source": "/origin", "type": "org.example.changed", "specversion": "1.0"} | attributes


def _parse(message: HTTPMessage) -> Parsed:
    return parse(message.headers.get("content-type", ""), message.headers, message.body)


def _structured(*events: object) -> Parsed:
    return parse("application/cloudevents-batch+json", {}, json.dumps(events).encode())


def _binary(body: bytes = b"", **headers: str) -> Parsed:
    plain = {"ce-id": "7", "ce-source": "/origin", "ce-type": "changed", "ce-specversion": "1.0", "ce-subject": "a"}
    return parse("application/json", plain | {f"ce-{name}": value for name, value in headers.items()}, body)


# -- from the project's own library ------------------------------------------------------------------------


@pytest.mark.parametrize("name", _NAMES)
def test_a_binary_event_of_the_library_is_read(name: str) -> None:
    event = CloudEvent(_event(subject=name, time=_AT), data={"etag": '"abc"', "size": 5})

    parsed = _parse(to_binary_event(event))

    assert parsed == Parsed(mentions=(Mention(name=name, token="abc", etag="abc", size_bytes=5, at=_AT),))


@pytest.mark.parametrize("name", _NAMES)
def test_a_structured_event_of_the_library_is_read(name: str) -> None:
    event = CloudEvent(_event(subject=name, time=_AT), data={"etag": "abc", "size": 5})

    parsed = _parse(to_structured_event(event))

    assert parsed == Parsed(mentions=(Mention(name=name, token="abc", etag="abc", size_bytes=5, at=_AT),))


def test_a_batch_of_the_librarys_events_is_read_in_order() -> None:
    events = [CloudEvent(_event(id=str(n), subject=name)) for n, name in enumerate(_NAMES)]
    bodies = b",".join(to_structured_event(event).body for event in events)

    parsed = parse("application/cloudevents-batch+json; charset=utf-8", {}, b"[" + bodies + b"]")

    assert [(each.name, each.token) for each in parsed.mentions] == [
        (name, f"/origin {n}") for n, name in enumerate(_NAMES)
    ]


def test_an_event_of_version_0_3_of_the_library_is_read() -> None:
    event = CloudEvent03(_event(subject="a", specversion="0.3"))

    for message in (to_binary_event(event), to_structured_event(event)):
        assert [each.name for each in _parse(message).mentions] == ["a"]


@pytest.mark.parametrize(
    ("kind", "version"),
    [(CloudEvent, {"specversion": "1.0"}), (CloudEvent03, {"specversion": "0.3", "datacontentencoding": "base64"})],
    ids=["1.0", "0.3"],
)
def test_data_that_the_library_sends_as_base64_is_read(kind: Any, version: dict[str, str]) -> None:
    attributes = _event(subject="a", time=_AT, datacontenttype="application/json")

    message = to_structured_event(kind(attributes | version, b'{"etag":"x"}'))

    assert b"eyJldGFnIjoieCJ9" in message.body
    assert _parse(message).mentions == (Mention(name="a", token="x", etag="x", at=_AT),)


# -- what they mean ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "removed"),
    [
        ({}, False),
        ({"method": "PUT"}, False),
        ({"method": "DELETE"}, True),
        ({"method": "delete"}, True),
        ({"type": "org.example.Deleted"}, True),
        ({"type": "org.example.object-removed"}, True),
        ({"type": "org.example.updated"}, False),
    ],
    ids=str,
)
def test_method_or_type_say_whether_the_subject_is_gone(attributes: dict[str, str], removed: bool) -> None:
    (mention,) = _structured(_event(subject="a", **attributes)).mentions

    assert mention.removed is removed


def test_the_settings_may_name_other_types_of_removal() -> None:
    body = json.dumps([_event(subject="a", type="gone"), _event(subject="b", type="deleted")]).encode()

    parsed = parse("application/cloudevents-batch+json", {}, body, removed_types=re.compile("^gone$"))

    assert [each.removed for each in parsed.mentions] == [True, False]


@pytest.mark.parametrize(
    ("sequence", "order"),
    [
        ("5", "00000000000000000005"),
        (12, "00000000000000000012"),
        ("18446744073709551615", "18446744073709551615"),
        ("a-0005", "a-0005"),
        ("", None),
        (True, None),
        ("ü", None),
        ("x" * 201, None),
    ],
    ids=repr,
)
def test_a_sequence_orders(sequence: object, order: str | None) -> None:
    (mention,) = _structured(_event(subject="a", sequence=sequence)).mentions

    assert mention.order == order


@pytest.mark.parametrize("lacking", ["id", "source", "type", "specversion", "subject"])
def test_an_event_that_lacks_something_does_not_block_the_others(lacking: str) -> None:
    event = _event(subject="bad")
    del event[lacking]

    parsed = _structured(_event(subject="a"), event, 17, _event(subject="b"))

    assert [each.name for each in parsed.mentions] == ["a", "b"]
    assert f"no {lacking}" in parsed.bad[0].reason
    assert parsed.bad[1] == Rejection(name="(without a name)", reason="is not an event")


def test_an_event_of_a_version_that_is_not_known_is_refused() -> None:
    parsed = _structured(_event(subject="a", specversion="2.0"))

    assert parsed.bad == (Rejection(name="a", reason="the event is not of CloudEvents 1.0 or 0.3"),)


def test_data_that_is_not_json_is_no_fault() -> None:
    for body in (b"\x89PNG\r\n\x1a\n", b"", b'"text"', b'{"etag": 5, "size": "many"}'):
        (mention,) = _binary(body).mentions
        assert (mention.token, mention.etag, mention.size_bytes) == ("/origin 7", None, None)


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro € 😀"),
        ("%e4%b8%ad", "中"),
        ("a+b", "a+b"),
        ("100%2525", "100%25"),
        ('"a \\"b\\" %41"', 'a "b" A'),
        ("中".encode().decode("latin-1"), "中"),
    ],
    ids=["specification's own", "small hex", "plus stays", "once only", "quoted", "raw UTF-8"],
)
def test_headers_are_decoded_as_the_binding_says(header: str, name: str) -> None:
    (mention,) = _binary(subject=header).mentions

    assert mention.name == name


def test_a_header_that_is_not_utf_8_is_a_name_that_the_key_rules_refuse() -> None:
    (mention,) = _binary(subject="%C0%A0").mentions

    assert isinstance(key_for(mention.name, ""), Rejection)


# -- made of S3's events -----------------------------------------------------------------------------------


def _s3(event: str) -> dict[str, Any]:
    return {
        "eventName": event,
        "eventTime": "2026-11-20T08:30:00Z",
        "s3": {"bucket": {"name": "www"}, "object": {"key": "a+b", "size": 3, "eTag": "e", "sequencer": "00AB"}},
    }


def test_an_event_made_of_an_s3_record_means_what_the_record_says() -> None:
    written = _event(type="com.amazonaws.s3.ObjectCreated:Put", subject="a+b", data=_s3("ObjectCreated:Put"))
    tagged = _event(type="com.amazonaws.s3.ObjectTagging:Delete", subject="a+b", data=_s3("ObjectTagging:Delete"))
    removed = _event(type="changed", data={"Records": [_s3("ObjectRemoved:Delete")]})

    parsed = _structured(written, tagged, removed)

    order = "00AB".ljust(64, "0")
    assert parsed.mentions == (
        Mention(name="a b", token="e", size_bytes=3, etag="e", at=_AT, order=order),
        Mention(name="a b", removed=True, token="00AB", at=_AT, order=order),
    )


def test_an_event_made_of_an_s3_record_may_come_without_it() -> None:
    def made_of(event: str) -> dict[str, Any]:
        return _event(type=f"com.amazonaws.s3.{event}", subject="a+b", time="2026-11-20T08:30:00Z")

    parsed = _structured(
        made_of("ObjectCreated:Put"), made_of("s3:ObjectRemoved:Delete"), made_of("s3:ObjectTagging:Delete")
    )

    assert parsed.mentions == (
        Mention(name="a b", token="/origin 7", at=_AT),
        Mention(name="a b", removed=True, token="/origin 7", at=_AT),
    )

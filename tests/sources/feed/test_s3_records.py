from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirrord.decisions.keymap import key_for
from mirrord.model.change import Rejection
from mirrord.model.mention import Mention
from mirrord.sources.feed.s3_records import decoded, read_record, records_of, sequence_of

_SEQUENCER = "17A8E3D0C4B21F00"
_ORDER = _SEQUENCER + 48 * "0"
_AT = datetime(2026, 11, 20, 8, 30, 15, 123000, tzinfo=UTC)


def _record(
    event: str = "s3:ObjectCreated:Put", key: str = "a%2Fb.txt", bucket: str = "www", **stored: Any
) -> dict[str, Any]:
    return {
        "eventVersion": "2.0",
        "eventSource": "minio:s3",
        "eventTime": "2026-11-20T08:30:15.123Z",
        "eventName": event,
        "s3": {"bucket": {"name": bucket}, "object": {"key": key, "sequencer": _SEQUENCER, **stored}},
    }


def test_what_was_written_is_named_by_its_etag() -> None:
    record = _record(size=1024, eTag="d41d8cd98f00b204e9800998ecf8427e")

    assert read_record(record) == Mention(
        name="a/b.txt",
        token="d41d8cd98f00b204e9800998ecf8427e",
        size_bytes=1024,
        etag="d41d8cd98f00b204e9800998ecf8427e",
        at=_AT,
        order=_ORDER,
    )


def test_what_has_no_etag_is_named_by_its_sequencer() -> None:
    found = read_record(_record())

    assert found == Mention(name="a/b.txt", token=_SEQUENCER, at=_AT, order=_ORDER)


@pytest.mark.parametrize(
    "event",
    [
        "s3:ObjectRemoved:Delete",
        "ObjectRemoved:Delete",
        "s3:ObjectRemoved:DeleteMarkerCreated",
        "s3:ObjectRemoved:NoOP",
        "s3:ObjectRemoved:DeleteAllVersions",
        "LifecycleExpiration:Delete",
        "s3:LifecycleExpiration:DeleteMarkerCreated",
    ],
)
def test_what_was_removed_is_gone(event: str) -> None:
    found = read_record(_record(event, versionId="marker" if "Marker" in event else "null"))

    assert found == Mention(name="a/b.txt", removed=True, token=_SEQUENCER, at=_AT, order=_ORDER)


@pytest.mark.parametrize("event", ["s3:ObjectRemoved:Delete", "LifecycleExpiration:Delete"])
def test_one_version_that_is_gone_says_only_that_something_changed(event: str) -> None:
    found = read_record(_record(event, versionId="096fKKXTRTtl3on89fVO.nfljtsv6qko"))

    assert isinstance(found, Mention)
    assert (found.removed, found.token) == (False, "without 096fKKXTRTtl3on89fVO.nfljtsv6qko")


@pytest.mark.parametrize(
    "event",
    [
        "ObjectCreated:Put",
        "s3:ObjectCreated:Post",
        "s3:ObjectCreated:Copy",
        "s3:ObjectCreated:CompleteMultipartUpload",
        "s3:ObjectRestore:Completed",
    ],
)
def test_what_was_written_in_any_way_is_there(event: str) -> None:
    found = read_record(_record(event, eTag="e"))

    assert isinstance(found, Mention)
    assert not found.removed


@pytest.mark.parametrize(
    "event",
    [
        "s3:ObjectAccessed:Get",
        "s3:ObjectAccessed:Head",
        "ObjectTagging:Put",
        "ObjectTagging:Delete",
        "ObjectAcl:Put",
        "s3:ObjectRestore:Post",
        "ObjectRestore:Delete",
        "s3:ObjectTransition:Complete",
        "s3:Replication:OperationCompletedReplication",
        "s3:LifecycleDelMarkerExpiration:Delete",
        "s3:Scanner:BigPrefix",
        "s3:BucketCreated:*",
    ],
)
def test_what_does_not_change_content_is_not_told(event: str) -> None:
    assert read_record(_record(event)) is None


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("red+flower.jpg", "red flower.jpg"),
        ("red%20flower.jpg", "red flower.jpg"),
        ("a%2Bb", "a+b"),
        ("a/b%2Fc", "a/b/c"),
        ("%E4%B8%AD%E6%96%87.txt", "中文.txt"),
        ("中文.txt", "中文.txt"),
        ("100%2525", "100%25"),
        ("100%", "100%"),
        ("%zz", "%zz"),
    ],
    ids=["plus", "%20", "a plus", "slash", "chinese", "chinese as it is", "once only", "lone percent", "no hex"],
)
def test_a_key_is_decoded_once(key: str, name: str) -> None:
    assert decoded(key) == name


@given(st.text())
def test_every_key_comes_back_from_its_encoding(name: str) -> None:
    assert decoded(quote_plus(name, safe="")) == name


def test_a_key_that_is_not_utf_8_is_one_that_the_key_rules_refuse() -> None:
    found = read_record(_record(key="caf%E9.txt"))

    assert isinstance(found, Mention)
    assert key_for(found.name, "") == Rejection(
        name="caf\\xe9.txt", reason="the name is not UTF-8, and Kodo takes no other key"
    )


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("0055AED6DCD90281E5", "0055AED6DCD90281E6"),
        ("0055aed6dcd9", "0055AED6DCD90281E5"),
        ("00A", "00B1"),
        ("0A", "0b"),
    ],
    ids=["equal lengths", "a longer one", "shorter and less", "small letters"],
)
def test_sequencers_compare_as_text(earlier: str, later: str) -> None:
    first, second = sequence_of(earlier), sequence_of(later)

    assert first is not None
    assert second is not None
    assert first < second


def test_sequencers_that_differ_in_zeros_at_the_end_are_equal() -> None:
    assert sequence_of("00AB") == sequence_of("00AB00")


@pytest.mark.parametrize("sequencer", [None, "", 17, [], "é", "0" * 201], ids=repr)
def test_what_is_no_sequencer_orders_nothing(sequencer: object) -> None:
    assert sequence_of(sequencer) is None


def test_a_record_of_another_bucket_is_refused() -> None:
    found = read_record(_record(bucket="logs", key="x+y"), bucket="www")

    assert found == Rejection(name="x+y", reason="is of another bucket than www")
    assert isinstance(read_record(_record(bucket="www"), bucket="www"), Mention)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ("text", "is not an S3 record"),
        ({"s3": {"object": {"key": "a"}}}, "the S3 record has no eventName"),
        ({"eventName": 7}, "the S3 record has no eventName"),
        ({"eventName": "ObjectCreated:Put"}, "the S3 record names no object"),
        ({"eventName": "ObjectCreated:Put", "s3": {"object": {"key": ""}}}, "the S3 record names no object"),
        ({"eventName": "ObjectCreated:Put", "s3": [1]}, "the S3 record names no object"),
    ],
    ids=["no object", "no event", "a number", "no s3", "empty key", "a list"],
)
def test_a_record_that_lacks_something_is_refused(record: object, reason: str) -> None:
    found = read_record(record)

    assert isinstance(found, Rejection)
    assert found.reason == reason


@pytest.mark.parametrize(
    ("size", "size_bytes"),
    [(0, 0), (2**63 - 1, 2**63 - 1), (2**63, None), (-1, None), (True, None), (1.5, None), ("17", 17), ("x", None)],
    ids=repr,
)
def test_a_size_is_a_number_that_can_be_stored(size: object, size_bytes: int | None) -> None:
    found = read_record(_record(size=size))

    assert isinstance(found, Mention)
    assert found.size_bytes == size_bytes


def test_a_notification_and_a_record_alone_are_told_from_other_things() -> None:
    record = _record()

    assert records_of({"EventName": "s3:ObjectCreated:Put", "Key": "www/a", "Records": [record]}) == [record]
    assert records_of(record) == [record]
    assert records_of({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "www"}) == []
    assert records_of({"Records": None}) == []
    assert records_of({"id": 1}) is None
    assert records_of({"Records": "none"}) is None

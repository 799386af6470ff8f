"""Replies of every shape that a server, or a proxy in its place, can give them."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirrord.decisions.verdict import judge
from mirrord.kodo.replies import BucketInfo, read_batch, read_bucket_info, read_purge, read_reply
from mirrord.model.attempt import Content, Operation, Outcome, Reply
from mirrord.model.purge import PurgeAnswer

JSON = {"content-type": "application/json"}
REQID = {"x-reqid": "abc"}
DATE = {"date": "Fri, 20 Nov 2026 10:00:00 GMT"}
NOW = datetime(2026, 11, 20, 10, 0, 0, tzinfo=UTC)


FETCHED = b'{"hash":"Fh8xVqod2MQ1mocfI4S4KpRL6D98","key":"a.txt","fsize":4,"mimeType":"text/plain"}'


@pytest.mark.parametrize(
    ("status", "headers", "body", "expected"),
    [
        pytest.param(200, JSON, b"", {"error": None, "hash": None, "size_bytes": None}, id="empty"),
        pytest.param(200, {}, b"", {"error": None}, id="empty-without-a-type"),
        pytest.param(200, JSON, b"{}", {"error": None, "hash": None, "size_bytes": None}, id="empty-object"),
        pytest.param(
            200, JSON, FETCHED,
            {"hash": "Fh8xVqod2MQ1mocfI4S4KpRL6D98", "size_bytes": 4, "mime_type": "text/plain"}, id="fetched",
        ),
        pytest.param(
            200, {"content-type": "application/json; charset=utf-8"}, b'{"hash":"h","putTime":17630000000000001}',
            {"hash": "h", "size_bytes": 0, "put_time": 17630000000000001}, id="an-empty-object-has-no-fsize",
        ),
        pytest.param(200, {"content-type": "text/html"}, b"<html>", {"error": None, "hash": None}, id="html-200"),
        pytest.param(200, JSON, b"[1]", {"hash": None}, id="a-list"),
        pytest.param(200, JSON, b'{"hash":7,"fsize":"4","mimeType":null,"putTime":true,"id":7,"wait":"1"}',
            {"hash": None, "size_bytes": 0, "mime_type": None, "put_time": None, "task": None, "waiting": None},
            id="wrong-types"),
        pytest.param(298, JSON, b"[]", {"error": None}, id="part-of-a-batch"),
        pytest.param(200, {"x-log": "IO:3"}, b"", {"reqid": "abc", "xlog": "IO:3"}, id="reqid"),
        pytest.param(200, JSON, b'{"id":"eyJ6b25lIjoiejAifQ==","wait":14}',
            {"task": "eyJ6b25lIjoiejAifQ==", "waiting": 14}, id="queued"),
        pytest.param(200, JSON, b'{"id":"eyJ6b25lIjoiejAifQ==","wait":-1}', {"waiting": -1}, id="tried-once"),
    ],
)  # fmt: skip
def test_a_reply_says_what_the_answer_said(
    status: int, headers: Mapping[str, str], body: bytes, expected: Mapping[str, object]
) -> None:
    reply = read_reply(status, {**REQID, **headers}, body, 0.25)

    assert {name: getattr(reply, name) for name in expected} == expected
    assert (reply.status, reply.duration_s, reply.silence) == (status, 0.25, None)


@pytest.mark.parametrize(
    ("headers", "body", "error"),
    [
        pytest.param(JSON, b'{"error":"httpGet url failed: E502"}', "httpGet url failed: E502", id="error"),
        pytest.param(JSON, b'{"error":"bad token","code":"BadToken"}', "bad token (BadToken)", id="with-a-code"),
        pytest.param(JSON, b'{"error":"bad token","error_code":"BadToken"}', "bad token (BadToken)", id="error-code"),
        pytest.param(JSON, b'{"error":"bad token","code":400001}', "bad token (400001)", id="a-number"),
        pytest.param(JSON, b'{"error":"bad token","code":401}', "bad token", id="the-status-again"),
        pytest.param(JSON, b'{"error":"bad token","code":{}}', "bad token", id="a-code-that-is-none"),
        pytest.param(JSON, b'{"code":"BadToken"}', "BadToken", id="only-a-code"),
        pytest.param(JSON, b'{"error":{"a":1}}', "no error text in the reply", id="an-error-that-is-no-text"),
        pytest.param(JSON, b"{}", "no error text in the reply", id="an-empty-object"),
        pytest.param({}, b"", "no error text in the reply", id="nothing"),
        pytest.param(JSON, b'{"error":"bad tok',
            "the reply is application/json of 17 bytes instead of Kodo's JSON", id="half-an-error"),
        pytest.param({"content-type": "text/html; charset=utf-8"}, b"<html>Bad Gateway",
            "the reply is text/html of 17 bytes instead of Kodo's JSON", id="a-proxys-page"),
        pytest.param({}, b"\xff\xfe\x00",
            "the reply is no content type of 3 bytes instead of Kodo's JSON", id="garbage"),
        pytest.param(JSON, b'{"error":"%s"}' % (b"x" * 10_000), f"{'x' * 500}…", id="endless"),
    ],
)  # fmt: skip
def test_an_error_is_told_in_kodos_words_and_so_is_the_lack_of_a_request_id(
    headers: Mapping[str, str], body: bytes, error: str
) -> None:
    assert read_reply(401, {**REQID, **headers}, body, 0.0).error == error
    assert read_reply(401, headers, body, 0.0).error == f"{error}; the reply has no X-Reqid"


@pytest.mark.parametrize("headers", [{}, {"x-reqid": ""}, {"x-log": "IO:1"}], ids=str)
def test_a_success_without_a_request_id_is_said_to_be_one(headers: Mapping[str, str]) -> None:
    reply = read_reply(200, headers, b"", 0.0)

    assert (reply.reqid, reply.error) == (None, "the reply has no X-Reqid")


@pytest.mark.parametrize(
    ("headers", "body", "content"),
    [
        pytest.param(JSON, b"", Content.EMPTY, id="nothing"),
        pytest.param({"content-type": "text/html"}, b"", Content.EMPTY, id="nothing-of-html"),
        pytest.param(JSON, b"{}", Content.JSON, id="object"),
        pytest.param({"content-type": "application/json; charset=utf-8"}, b"[]", Content.JSON, id="list"),
        pytest.param(JSON, b"{", Content.FOREIGN, id="half-an-object"),
        pytest.param({"content-type": "text/html"}, b"{}", Content.FOREIGN, id="json-that-does-not-say-so"),
        pytest.param({}, b"ok", Content.FOREIGN, id="text"),
    ],
)
def test_a_body_is_nothing_json_or_foreign(headers: Mapping[str, str], body: bytes, content: Content) -> None:
    assert read_reply(200, headers, body, 0.0).content is content


@pytest.mark.parametrize(
    ("headers", "now", "seconds"),
    [
        pytest.param({}, NOW, None, id="none"),
        pytest.param({"retry-after": "7"}, None, 7.0, id="seconds"),
        pytest.param({"retry-after": " 7 "}, None, 7.0, id="blanks"),
        pytest.param({"retry-after": "-7"}, NOW, None, id="negative"),
        pytest.param({"retry-after": "\xb2"}, NOW, None, id="superscript"),
        pytest.param({"retry-after": "٧"}, NOW, None, id="digits-of-another-script"),
        pytest.param({"retry-after": "9" * 400}, NOW, 3600.0, id="for-ever"),
        pytest.param({"retry-after": "Fri, 20 Nov 2026 10:00:30 GMT"}, NOW - timedelta(seconds=10), 40.0, id="date"),
        pytest.param({"retry-after": "Fri, 20 Nov 2026 10:00:30 GMT", **DATE}, NOW - timedelta(days=1), 30.0,
            id="date-by-the-servers-clock"),
        pytest.param({"retry-after": "Fri, 20 Nov 2026 10:00:30 GMT", **DATE}, None, 30.0, id="date-by-itself"),
        pytest.param({"retry-after": "Fri, 20 Nov 2026 10:00:30 GMT"}, None, None, id="date-without-a-clock"),
        pytest.param({"retry-after": "Fri, 20 Nov 2026 09:00:00 GMT", **DATE}, NOW, 0.0, id="a-date-that-is-over"),
        pytest.param({"retry-after": "Fri, 20 Nov 2099 09:00:00 GMT"}, NOW, 3600.0, id="a-date-for-ever"),
        pytest.param({"retry-after": "soon"}, NOW, None, id="words"),
    ],
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date(
    headers: Mapping[str, str], now: datetime | None, seconds: float | None
) -> None:
    assert read_reply(573, headers, b"", 0.0, now=now).retry_after_s == seconds


# wxIAAD3btw-v3TwT was given at 2013-12-05T06:55:29.275993Z
ASKED = datetime(2013, 12, 5, 6, 55, 29, 275993, UTC)


@pytest.mark.parametrize(
    ("headers", "now", "skew"),
    [
        pytest.param({}, NOW, None, id="nothing-to-go-by"),
        pytest.param({"x-reqid": "wxIAAD3btw-v3TwT"}, ASKED + timedelta(seconds=2), 0.0, id="reqid"),
        pytest.param({"x-reqid": "wxIAAD3btw-v3TwT"}, ASKED - timedelta(minutes=16), 962.0, id="our-clock-is-slow"),
        pytest.param({"x-reqid": "wxIAAD3btw-v3TwT", **DATE}, ASKED + timedelta(hours=1), -3598.0, id="reqid-first"),
        pytest.param({"x-reqid": "wxIAAD3btw-v3TwT", **DATE}, NOW, 0.0, id="an-implausible-reqid"),
        pytest.param({"x-reqid": "abc", **DATE}, NOW - timedelta(seconds=30), 30.0, id="date"),
        pytest.param({"x-reqid": "wxIAAD3btw-v3TwT"}, NOW, None, id="nothing-plausible"),
        pytest.param(DATE, NOW + timedelta(days=401), None, id="a-clock-from-another-year"),
        pytest.param({"date": "yesterday"}, NOW, None, id="words"),
        pytest.param({"x-reqid": "wxIAAD3btw-v3TwT", **DATE}, None, None, id="no-clock"),
    ],
)
def test_kodos_clock_is_read_off_its_headers(
    headers: Mapping[str, str], now: datetime | None, skew: float | None
) -> None:
    found = read_reply(200, headers, b"", 2.0, now=now).skew_s

    assert found == (None if skew is None else pytest.approx(skew, abs=0.001))


@pytest.mark.parametrize(("status", "kept"), [(200, False), (404, False), (478, False), (500, True), (599, True)])
def test_all_headers_are_kept_for_what_qiniu_wants_reported(status: int, *, kept: bool) -> None:
    headers = {"x-reqid": "abc", "server": "openresty", "x-any": "thing"}

    reply = read_reply(status, headers, b"", 0.0)

    assert reply.headers == (headers if kept else {})


_HEADERS = st.dictionaries(
    st.sampled_from(["content-type", "x-reqid", "x-log", "retry-after", "date", "x-other"]),
    st.one_of(
        st.sampled_from(["application/json", "text/html", "0", "12", "-1", "9" * 30, "9" * 400]),
        st.datetimes().map("{:%a, %d %b %Y %H:%M:%S} GMT".format),
        st.text("MonJan0123456789:+-, GMT", max_size=30),
        st.text(st.characters(max_codepoint=255), max_size=20),
    ),
)
_JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=10),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["error", "hash", "fsize", "putTime", "mimeType", "code", "data"]), inner)
    ),
    max_leaves=10,
)


@given(st.integers(100, 999), _HEADERS, st.binary(max_size=100))
def test_any_bytes_give_a_reply_with_a_meaning(status: int, headers: dict[str, str], body: bytes) -> None:
    reply = read_reply(status, headers, body, 0.0, now=NOW)

    for operation in Operation:
        assert isinstance(judge(operation, reply).outcome, Outcome)
    assert bool(reply.error) is (status >= 300 or not headers.get("x-reqid"))
    assert reply.retry_after_s is None or 0 <= reply.retry_after_s <= 3600


@given(st.sampled_from([200, 298, 400, 599]), _JSON_VALUES)
def test_any_json_gives_a_reply_and_a_list_of_replies(status: int, said: object) -> None:
    body = orjson.dumps(said)

    reply = read_reply(status, JSON, body, 0.0)
    items = read_batch(reply, JSON, body)

    assert len(items) == (len(said) if isinstance(said, list) and status in {200, 298} else 0)
    for each in (reply, *items):
        assert each.hash is None or isinstance(each.hash, str)
        assert each.size_bytes is None or isinstance(each.size_bytes, int)
        assert each.put_time is None or isinstance(each.put_time, int)


def test_a_batch_that_failed_in_part_has_a_reply_for_each_operation() -> None:
    body = (
        b'[{"code":200,"data":{"fsize":3,"hash":"h","mimeType":"text/plain","putTime":17630000000000001,"type":0}},'
        b'{"code":612,"data":{"error":"no such file or directory"}},{"code":200,"data":{"hash":"empty"}},7]'
    )
    headers = {**JSON, "x-reqid": "abc", "x-log": "RS:1"}
    whole = read_reply(298, headers, body, 0.5)

    replies = read_batch(whole, headers, body)

    found, missing, empty, nonsense = replies
    assert found == Reply(
        status=200, reqid="abc", xlog="RS:1", hash="h", size_bytes=3, mime_type="text/plain",
        put_time=17630000000000001, content=Content.JSON, duration_s=0.5,
    )  # fmt: skip
    assert (missing.status, missing.error, missing.hash) == (612, "no such file or directory", None)
    assert (empty.hash, empty.size_bytes) == ("empty", 0)
    assert (nonsense.status, nonsense.hash) == (None, None)


@pytest.mark.parametrize("status", [400, 401, 503, 599])
def test_a_batch_that_failed_as_a_whole_has_none(status: int) -> None:
    body = b'[{"code":200}]'

    assert read_batch(read_reply(status, JSON, body, 0.0), JSON, body) == []


OF_KODO = Reply(status=200, reqid="abc")


@pytest.mark.parametrize(
    ("said", "found"),
    [
        pytest.param(
            {"source": "http://a.example;https://b.example/x", "host": "www.example.com", "region": "z0", "private": 1},
            BucketInfo(
                source=("http://a.example", "https://b.example/x"), host="www.example.com", region="z0", private=True
            ),
            id="a-mirror",
        ),
        pytest.param(
            {"source": "", "host": "", "zone": "z1", "private": 0},
            BucketInfo(source=(), host="", region="z1", private=False),
            id="no-mirror",
        ),
        pytest.param(
            {"source": " ; http://a.example ;", "host": None, "region": 1, "private": True},
            BucketInfo(source=("http://a.example",), host="", region="", private=True),
            id="odd",
        ),
        pytest.param({}, None, id="empty"),
        pytest.param([], None, id="a-list"),
    ],
)
def test_a_bucket_is_set_to_what_kodo_says(said: object, found: BucketInfo | None) -> None:
    assert read_bucket_info(OF_KODO, JSON, orjson.dumps(said)) == found


@pytest.mark.parametrize("reply", [Reply(status=631, reqid="abc"), Reply(status=200)], ids=["refused", "not-kodos"])
def test_a_bucket_that_kodo_does_not_tell_of_has_no_settings(reply: Reply) -> None:
    assert read_bucket_info(reply, JSON, b'{"source":"http://a.example"}') is None


PURGED = {"code": 200, "error": "success", "requestId": "q", "urlQuotaDay": 500, "urlSurplusDay": 499}
TOOK = PurgeAnswer(code=200, error="success", request_id="q", invalid_urls=(), quota_day=500, surplus_day=499)
SAID_NOTHING = PurgeAnswer(code=7, error=None, request_id=None, invalid_urls=(), quota_day=None, surplus_day=None)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        pytest.param(PURGED, TOOK, id="taken"),
        pytest.param(PURGED | {"invalidUrls": None}, TOOK, id="none-invalid"),
        pytest.param(PURGED | {"invalidUrls": ["a", 1, "b"]}, replace(TOOK, invalid_urls=("a", "b")),
            id="some-invalid"),
        pytest.param(PURGED | {"urlSurplusDay": 0}, replace(TOOK, surplus_day=0), id="the-last-of-today"),
        pytest.param({"code": 7, "error": "", "requestId": "", "urlQuotaDay": 0, "urlSurplusDay": 0},
            SAID_NOTHING, id="an-error-counts-nothing"),
        pytest.param({"code": 7, "error": 1, "requestId": [], "invalidUrls": "a", "urlQuotaDay": "9"},
            SAID_NOTHING, id="wrong-types"),
        pytest.param({"error": "bad token"}, None, id="no-code"),
        pytest.param({"code": "200"}, None, id="a-code-that-is-text"),
        pytest.param([200], None, id="a-list"),
    ],
)  # fmt: skip
def test_what_a_cdn_said_is_read_from_the_body_alone(said: object, expected: PurgeAnswer | None) -> None:
    assert read_purge(JSON, orjson.dumps(said)) == expected


def test_a_page_in_place_of_a_cdns_answer_has_no_code() -> None:
    assert read_purge({"content-type": "text/html"}, b'{"code":200}') is None

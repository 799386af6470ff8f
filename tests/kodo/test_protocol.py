"""Requests against the seed documents, and replies of every shape a server or a proxy can give them."""

from collections.abc import Callable, Mapping

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirrord.decisions.verdict import judge
from mirrord.kodo.entry import decode_entry
from mirrord.kodo.protocol import (
    BATCH_MOST,
    Host,
    Request,
    batch_stat,
    delete,
    fetch,
    glb_fetch,
    prefetch,
    query_hosts,
    read_batch,
    read_reply,
    stat,
)
from mirrord.model.attempt import Operation, Outcome, Reply

ENTRY = "bmV3ZG9jczpmaW5kLm1hbi50eHQ="
URL = "aHR0cDovL3Fpbml1LmNvbS9pbmRleC5odG1s"
JSON = {"content-type": "application/json"}


@pytest.mark.parametrize(
    ("request_", "host", "method", "target"),
    [
        pytest.param(prefetch("newdocs", "find.man.txt"), Host.IO, "POST", f"/prefetch/{ENTRY}", id="prefetch-seed"),
        pytest.param(
            glb_fetch("http://qiniu.com/index.html", "newdocs", "find.man.txt"),
            Host.API, "POST", f"/glb/fetch/{URL}/to/{ENTRY}", id="glb-fetch-seed",
        ),
        pytest.param(
            fetch("http://qiniu.com/index.html", "newdocs", "find.man.txt"),
            Host.IO, "POST", f"/fetch/{URL}/to/{ENTRY}", id="fetch",
        ),
        pytest.param(
            fetch("http://qiniu.com/index.html", "newdocs", None),
            Host.IO, "POST", f"/fetch/{URL}/to/bmV3ZG9jcw==", id="fetch-without-a-key",
        ),
        pytest.param(stat("newdocs", "find.man.txt"), Host.RS, "GET", f"/stat/{ENTRY}", id="stat"),
        pytest.param(delete("newdocs", "find.man.txt"), Host.RS, "POST", f"/delete/{ENTRY}", id="delete"),
        pytest.param(
            delete("newdocs", "find.man.txt", "Fh8xVqod2MQ1mocfI4S4KpRL6D98"),
            Host.RS, "POST", f"/delete/{ENTRY}/cond/aGFzaD1GaDh4VnFvZDJNUTFtb2NmSTRTNEtwUkw2RDk4",
            id="delete-of-a-hash",
        ),
    ],
)  # fmt: skip
def test_a_question_becomes_the_documented_request(request_: Request, host: Host, method: str, target: str) -> None:
    assert request_ == Request(host, target, b"", method, signed=True)


def test_discovery_is_the_one_call_without_a_signature() -> None:
    request = query_hosts("AK-_1", "newdocs")

    assert request == Request(Host.UC, "/v4/query?ak=AK-_1&bucket=newdocs", b"", "GET", signed=False)


def test_a_batch_is_a_form_of_one_operation_a_key() -> None:
    request = batch_stat("newdocs", ["find.man.txt", "a?&=/中.txt"])

    first, second = request.body.decode("ascii").split("&")
    assert (request.host, request.method, request.target) == (Host.RS, "POST", "/batch")
    assert first == f"op=/stat/{ENTRY}"
    assert decode_entry(second.removeprefix("op=/stat/")) == ("newdocs", "a?&=/中.txt")


@pytest.mark.parametrize("count", [0, BATCH_MOST + 1])
def test_a_batch_of_more_or_less_than_kodo_takes_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match="1 to 1000"):
        batch_stat("newdocs", ["a"] * count)


@given(st.text(st.characters(codec="utf-8"), max_size=50), st.sampled_from([prefetch, delete, stat]))
def test_every_key_is_one_segment_of_ascii(key: str, build: Callable[[str, str], Request]) -> None:
    target = build("newdocs", key).target

    assert target.isascii()
    assert target.count("/") == 2
    assert decode_entry(target.rpartition("/")[2]) == ("newdocs", key)


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
        pytest.param(200, JSON, b'{"hash":7,"fsize":"4","mimeType":null,"putTime":true}',
            {"hash": None, "size_bytes": 0, "mime_type": None, "put_time": None}, id="wrong-types"),
        pytest.param(478, JSON, b'{"error":"httpGet url failed: E502"}',
            {"error": "httpGet url failed: E502"}, id="error"),
        pytest.param(401, JSON, b'{"error":"bad tok', {"error": "the reply is application/json of 17 bytes instead of "
            "Kodo's JSON"}, id="half-an-error"),
        pytest.param(502, {"content-type": "text/html; charset=utf-8"}, b"<html>Bad Gateway",
            {"error": "the reply is text/html of 17 bytes instead of Kodo's JSON"}, id="a-proxys-page"),
        pytest.param(503, {}, b"", {"error": "no error text in the reply"}, id="nothing"),
        pytest.param(503, {}, b"\xff\xfe\x00", {"error": "the reply is no content type of 3 bytes instead of "
            "Kodo's JSON"}, id="garbage"),
        pytest.param(298, JSON, b"[]", {"error": None}, id="part-of-a-batch"),
        pytest.param(573, {"retry-after": "7"}, b"", {"retry_after_s": 7.0}, id="retry-after"),
        pytest.param(573, {"retry-after": "Fri, 20 Nov 2026 10:00:00 GMT"}, b"", {"retry_after_s": None},
            id="retry-after-as-a-date"),
        pytest.param(573, {"retry-after": "\xb2"}, b"", {"retry_after_s": None}, id="retry-after-superscript"),
        pytest.param(573, {"retry-after": "9" * 400}, b"", {"retry_after_s": 3600.0}, id="retry-after-for-ever"),
        pytest.param(200, {"x-reqid": "abc", "x-log": "IO:3"}, b"", {"reqid": "abc", "xlog": "IO:3"}, id="reqid"),
    ],
)  # fmt: skip
def test_a_reply_says_what_the_answer_said(
    status: int, headers: Mapping[str, str], body: bytes, expected: Mapping[str, object]
) -> None:
    reply = read_reply(status, headers, body, 0.25)

    assert {name: getattr(reply, name) for name in expected} == expected
    assert (reply.status, reply.duration_s, reply.silence) == (status, 0.25, None)


@pytest.mark.parametrize(("status", "kept"), [(200, False), (404, False), (478, False), (500, True), (599, True)])
def test_all_headers_are_kept_for_what_qiniu_wants_reported(status: int, *, kept: bool) -> None:
    headers = {"x-reqid": "abc", "server": "openresty", "x-any": "thing"}

    reply = read_reply(status, headers, b"", 0.0)

    assert reply.headers == (headers if kept else {})


_HEADERS = st.dictionaries(
    st.sampled_from(["content-type", "x-reqid", "x-log", "retry-after", "x-other"]),
    st.one_of(
        st.sampled_from(["application/json", "text/html", "0", "12", "-1", "9" * 30, "9" * 400]),
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
    reply = read_reply(status, headers, body, 0.0)

    for operation in Operation:
        assert isinstance(judge(operation, reply).outcome, Outcome)
    assert status >= 300 or reply.error is None
    assert status < 300 or reply.error
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
        put_time=17630000000000001, duration_s=0.5,
    )  # fmt: skip
    assert (missing.status, missing.error, missing.hash) == (612, "no such file or directory", None)
    assert (empty.hash, empty.size_bytes) == ("empty", 0)
    assert (nonsense.status, nonsense.hash) == (None, None)


@pytest.mark.parametrize("status", [400, 401, 503, 599])
def test_a_batch_that_failed_as_a_whole_has_none(status: int) -> None:
    body = b'[{"code":200}]'

    assert read_batch(read_reply(status, JSON, body, 0.0), JSON, body) == []

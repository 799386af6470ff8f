"""Kodo's calls over the wire: the seeds' shapes, statuses, tokens, ids, faults, the record."""

import os
import struct
import threading
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime, timedelta
from http.client import RemoteDisconnected
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from mirrord.kodo.auth import FORM, JSON, Credentials, qbox, qiniu_date
from mirrord.kodo.entry import encode_entry, encode_url, origin_url
from mirrord.kodo.etag import etag_of
from mirrord.sandbox.faults import Fault
from tests.sandbox.conftest import Caller, ScriptedOrigin, held, in_background
from tests.servers import Sandbox, running_sandbox

HELLO = "Fqr0xh3cxeii2r7eDztILNmuqUNN"


def test_a_prefetch_answers_as_the_seed_shows(caller: Caller, origin: ScriptedOrigin) -> None:
    origin.page("/find.man.txt", b"hello", Content_Type="text/plain")

    answer = caller.ask("POST", "/prefetch/ZG9jczpmaW5kLm1hbi50eHQ=")

    assert answer.status == 200
    assert answer.body == b""
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Content-Length"] == "0"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["X-Log"].startswith("IO:")


def test_a_prefetch_answers_with_an_object_when_told_to(tmp_path: Path, origin: ScriptedOrigin) -> None:
    origin.page("/a", b"hello", Content_Type="text/plain")
    with running_sandbox(tmp_path / "object", {"docs": origin.url}, prefetch_reply="object") as kodo:
        answer = Caller(kodo.port, kodo.credentials).prefetch("a")

    assert answer.json == {"hash": HELLO, "key": "a", "fsize": 5, "mimeType": "text/plain"}


def test_a_glb_fetch_answers_with_hash_and_key(caller: Caller, origin: ScriptedOrigin) -> None:
    origin.page("/index.html", b"hello")

    target = f"/glb/fetch/{encode_url(origin.url + '/index.html')}/to/{encode_entry('docs', 'a')}"
    answer = caller.ask("POST", target)

    assert answer.body == f'{{"hash":"{HELLO}","key":"a"}}'.encode()


@pytest.mark.parametrize(
    ("form", "more"),
    [("/fetch", {"fsize": 5, "mimeType": "text/x"}), ("/glb/fetch", {})],
    ids=["fetch", "glb-fetch"],
)
def test_a_fetch_to_a_bucket_alone_names_the_object_by_its_hash(
    kodo: Sandbox, caller: Caller, origin: ScriptedOrigin, form: str, more: dict[str, object]
) -> None:
    origin.page("/index.html?v=1", b"hello", Content_Type="text/x")

    target = f"{form}/{encode_url(origin.url + '/index.html?v=1')}/to/{encode_entry('docs', None)}"
    answer = caller.ask("POST", target)

    assert answer.json == {"hash": HELLO, "key": HELLO} | more
    assert kodo.read("docs", HELLO) == b"hello"


def test_a_fetch_can_name_the_host(caller: Caller, origin: ScriptedOrigin) -> None:
    origin.page("/a", b"hello")

    tail = f"/host/{encode_url('www.example.com')}"
    answer = caller.ask("POST", f"/fetch/{encode_url(origin.url + '/a')}/to/{encode_entry('docs', 'a')}{tail}")

    assert answer.status == 200
    assert origin.requests[0][1]["Host"] == "www.example.com"


def test_the_origin_sees_the_spider(caller: Caller, origin: ScriptedOrigin) -> None:
    origin.page("/a", b"hello")

    caller.prefetch("a")

    assert origin.requests[0][1]["User-Agent"] == "z0-qiniu-imgstg-spider-1.0"


def test_a_stat_describes_what_was_pulled(caller: Caller, origin: ScriptedOrigin) -> None:
    origin.page("/a", b"hello", Content_Type="text/plain; charset=utf-8")
    before = time.time_ns() // 100
    caller.prefetch("a")

    answer = caller.stat("a")

    put_time = answer.json.pop("putTime")
    assert answer.json | {"putTime": 0} == {
        "fsize": 5,
        "hash": HELLO,
        "mimeType": "text/plain; charset=utf-8",
        "putTime": 0,
        "type": 0,
    }
    assert before <= put_time <= time.time_ns() // 100


def test_a_prefetch_overwrites_and_its_put_time_advances(kodo: Sandbox, caller: Caller, origin: ScriptedOrigin) -> None:
    origin.page("/a", b"one")
    caller.prefetch("a")
    first = caller.stat("a").json
    origin.page("/a", b"two")

    caller.prefetch("a")

    second = caller.stat("a").json
    assert kodo.read("docs", "a") == b"two"
    assert second["putTime"] > first["putTime"]
    assert second["hash"] == etag_of([b"two"])


@pytest.mark.parametrize(
    ("status", "expected", "error"),
    [
        pytest.param(404, 404, "httpGet url failed: E404", id="missing"),
        pytest.param(410, 478, "httpGet url failed: E410", id="gone"),
        pytest.param(204, 478, "httpGet url failed: E204", id="no-content"),
        pytest.param(302, 478, "httpGet url failed: E302", id="redirect"),
        pytest.param(401, 478, "httpGet url failed: E401", id="unauthorised"),
        pytest.param(502, 478, "httpGet url failed: E502", id="bad-gateway"),
    ],
)
def test_an_origin_that_does_not_say_200_is_told_apart(
    kodo: Sandbox, caller: Caller, origin: ScriptedOrigin, status: int, expected: int, error: str
) -> None:
    origin.page("/a", b"old")
    caller.prefetch("a")
    origin.page("/a", b"", status, Location="/b")

    answer = caller.prefetch("a")

    assert (answer.status, answer.json) == (expected, {"error": error})
    assert answer.headers["Content-Type"] == "application/json"
    assert kodo.read("docs", "a") == b"old"


def test_an_origin_out_of_reach_is_478(tmp_path: Path) -> None:
    with running_sandbox(tmp_path, {"docs": "http://127.0.0.1:1"}) as kodo:
        answer = Caller(kodo.port, kodo.credentials).prefetch("a")

    assert (answer.status, answer.json) == (478, {"error": "httpGet url failed: E502"})


@pytest.mark.parametrize("url", ["docs", "ftp://127.0.0.1/a", "http://127.0.0.1:99999/", "http://[", "/"])
def test_what_is_no_url_is_478_as_when_somebody_swapped_the_two(caller: Caller, url: str) -> None:
    answer = caller.ask("POST", f"/fetch/{encode_url(url)}/to/{encode_entry('docs', 'a')}")

    assert answer.status == 478


def test_a_body_cut_short_is_478_and_leaves_the_old_object(
    kodo: Sandbox, caller: Caller, origin: ScriptedOrigin
) -> None:
    origin.page("/a", b"old")
    caller.prefetch("a")
    origin.page("/a", b"new but not whole").claimed_size = 1000

    answer = caller.prefetch("a")

    assert answer.status == 478
    assert kodo.read("docs", "a") == b"old"
    assert not list(kodo.root.glob("incoming/*"))


def test_a_bucket_without_mirror_source_gives_478(caller: Caller) -> None:
    assert caller.prefetch("a", "bare").status == 478


BATCHED = f"op=/stat/{encode_entry('docs', 'a')}".encode()


@pytest.mark.parametrize(
    ("method", "target", "body", "status", "error"),
    [
        pytest.param("POST", "/prefetch/Yjr_", b"", 400, "key must be utf8 encoding", id="not-utf-8"),
        pytest.param("POST", "/prefetch/ZG9jczph!", b"", 400, "invalid argument", id="not-base64"),
        pytest.param("POST", "/prefetch/ZG9jczph", b"", 404, "httpGet url failed: E404", id="no-padding-due"),
        pytest.param("POST", "/prefetch/ZG9jczphYQ", b"", 400, "invalid argument", id="padding-lost"),
        pytest.param("POST", "/prefetch/ZG9jcw==", b"", 400, "invalid argument", id="prefetch-of-a-bucket"),
        pytest.param("POST", "/prefetch/bm9uZTph", b"", 631, "no such bucket", id="no-bucket"),
        pytest.param("POST", "/fetch/!!/to/ZG9jczph", b"", 400, "invalid argument", id="bad-url"),
        pytest.param("GET", "/stat/ZG9jczph", b"", 612, "no such file or directory", id="stat-of-nothing"),
        pytest.param("POST", "/stat/bm9uZTph", b"", 631, "no such bucket", id="stat-in-no-bucket"),
        pytest.param("POST", "/delete/ZG9jczph", b"", 612, "no such file or directory", id="delete-of-nothing"),
        pytest.param("GET", "/list?bucket=none", b"", 631, "no such bucket", id="list-of-no-bucket"),
        pytest.param("GET", "/list", b"", 400, "invalid argument", id="list-of-what"),
        pytest.param("GET", "/list?bucket=docs&limit=1001", b"", 400, "invalid list limit", id="limit-above"),
        pytest.param("GET", "/list?bucket=docs&limit=0", b"", 400, "invalid list limit", id="limit-below"),
        pytest.param("GET", "/list?bucket=docs&marker=!", b"", 640, "invalid marker", id="marker-not-base64"),
        pytest.param("GET", "/list?bucket=docs&marker=e30=", b"", 640, "invalid marker", id="marker-empty"),
        pytest.param("GET", "/list?bucket=docs&prefix=%FF", b"", 400, "invalid argument", id="prefix-not-utf-8"),
        pytest.param("POST", "/v2/bucketInfo?bucket=none", b"", 631, "no such bucket", id="info-of-no-bucket"),
        pytest.param("POST", "/v2/bucketInfo", b"", 400, "invalid argument", id="info-of-what"),
        pytest.param("POST", "/batch", b"", 400, "invalid argument", id="batch-of-nothing"),
        pytest.param("POST", "/batch", b"&".join([BATCHED] * 1001), 400, "invalid argument", id="batch-too-long"),
        pytest.param("POST", "/move/a/b", b"", 404, "no such resource", id="unknown-call"),
        pytest.param("GET", "/", b"", 404, "no such resource", id="root"),
        pytest.param("GET", "/docs/a", b"", 404, "no such resource", id="no-object"),
        pytest.param("GET", "/docs/%FF", b"", 400, "invalid argument", id="no-object-possible"),
        pytest.param("GET", "/v4/query?ak=who&bucket=docs", b"", 401, "app/accesskey is not found", id="who"),
    ],
)  # fmt: skip
def test_every_refusal_has_its_status_text_and_trace(
    caller: Caller, method: str, target: str, body: bytes, status: int, error: str
) -> None:
    answer = caller.ask(method, target, body)

    assert (answer.status, answer.json) == (status, {"error": error})
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert len(answer.headers["X-Reqid"]) == 16
    assert answer.headers["X-Log"].endswith(f"/{status}")


def test_request_ids_are_kodos_and_never_repeat(caller: Caller) -> None:
    before = time.time_ns()

    reqids = [caller.stat("a").headers["X-Reqid"] for _ in range(20)]

    assert len(set(reqids)) == 20
    for reqid in reqids:
        process, nanoseconds = struct.unpack("<Iq", urlsafe_b64decode(reqid))
        assert process == os.getpid()
        assert before <= nanoseconds <= time.time_ns()


@pytest.mark.parametrize("scheme", ["QBox", "Qiniu"])
@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        pytest.param("GET", f"/stat/{encode_entry('docs', 'a')}", b"", id="path"),
        pytest.param("GET", "/list?bucket=docs&prefix=%E4%B8%AD%2f", b"", id="query-as-sent"),
        pytest.param("POST", "/batch", BATCHED, id="form"),
        pytest.param("GET", f"/stat/{encode_entry('docs', 'aa')}".replace("=", "%3D"), b"", id="path-as-sent"),
    ],
)
def test_both_schemes_are_admitted(caller: Caller, scheme: str, method: str, target: str, body: bytes) -> None:
    date = {"X-Qiniu-Date": qiniu_date(datetime.now(UTC))}

    assert caller.ask(method, target, body, date, scheme).status in {200, 298, 612}


@pytest.mark.parametrize(
    "authorization",
    [
        pytest.param("", id="none"),
        pytest.param("QBox", id="scheme-alone"),
        pytest.param("Basic YTpi", id="another-scheme"),
        pytest.param("QBox who:j4osfqjd5GB4j-5OBEfDve_IMjo=", id="another-key"),
        pytest.param("QBox sandbox-access-key:j4osfqjd5GB4j-5OBEfDve_IMjo=", id="another-signature"),
        pytest.param("Qiniu sandbox-access-key:j4osfqjd5GB4j-5OBEfDve_IMjo=", id="another-signature-qiniu"),
        pytest.param("QBox sandbox-access-key:\u00e9", id="not-ascii"),
    ],
)
def test_a_token_that_is_not_right_is_a_bad_token(caller: Caller, authorization: str) -> None:
    answer = caller.ask("GET", f"/stat/{encode_entry('docs', 'a')}", authorization=authorization)

    assert (answer.status, answer.json) == (401, {"error": "bad token"})


def test_a_form_is_part_of_the_signature(kodo: Sandbox, caller: Caller) -> None:
    token = qbox(kodo.credentials, "/batch", b"op=/stat/other", FORM)

    assert caller.ask("POST", "/batch", BATCHED, authorization=token).status == 401


def test_another_secret_is_a_bad_token(kodo: Sandbox) -> None:
    stranger = Caller(kodo.port, Credentials(kodo.credentials.access_key, "guess"))

    assert stranger.prefetch("a").status == 401


@pytest.mark.parametrize(
    ("offset", "status"),
    [(-16, 403), (-14, 612), (14, 612), (16, 403)],
    ids=["late", "nearly-late", "nearly-early", "early"],
)
def test_a_qiniu_date_may_be_a_quarter_of_an_hour_off(caller: Caller, offset: int, status: int) -> None:
    date = qiniu_date(datetime.now(UTC) + timedelta(minutes=offset))

    answer = caller.ask("GET", f"/stat/{encode_entry('docs', 'a')}", headers={"X-Qiniu-Date": date}, scheme="Qiniu")

    assert answer.status == status
    if status == 403:
        assert answer.json == {"error": "request time too skewed"}


def test_discovery_needs_no_token_and_names_this_listener(kodo: Sandbox, caller: Caller) -> None:
    answer = caller.ask("GET", "/v4/query?ak=sandbox-access-key&bucket=docs", authorization="")

    (region,) = answer.json["hosts"]
    assert (region["region"], region["ttl"]) == ("z0", 86400)
    here = {"domains": [f"127.0.0.1:{kodo.port}"]}
    assert all(region[service] == here for service in ("io", "rs", "rsf", "api", "uc"))


def test_bucket_info_names_the_mirror_source(caller: Caller, origin: ScriptedOrigin) -> None:
    mirrored = caller.ask("POST", "/v2/bucketInfo?bucket=docs").json
    bare = caller.ask("GET", "/v2/bucketInfo?bucket=bare").json

    assert (mirrored["source"], mirrored["region"]) == (origin.url, "z0")
    assert bare["source"] == ""


@pytest.mark.parametrize("escaped", [True, False], ids=["escaped", "raw"])
def test_a_batch_answers_each_operation_in_order(caller: Caller, origin: ScriptedOrigin, *, escaped: bool) -> None:
    origin.page("/a", b"hello")
    caller.prefetch("a")
    here, gone, nowhere = encode_entry("docs", "a"), encode_entry("docs", "b"), encode_entry("none", "a")
    operations = [f"/stat/{here}", f"stat/{gone}", f"/stat/{nowhere}", "/chgm/x", f"delete/{here}", f"/stat/{here}"]
    body = "&".join(f"op={quote(op, safe='') if escaped else op}" for op in operations).encode()

    answer = caller.ask("POST", "/batch", body)

    assert answer.status == 298
    stat, *rest = answer.json
    assert (stat["code"], stat["data"]["hash"]) == (200, HELLO)
    assert rest == [
        {"code": 612, "data": {"error": "no such file or directory"}},
        {"code": 631, "data": {"error": "no such bucket"}},
        {"code": 400, "data": {"error": "invalid argument"}},
        {"code": 200},
        {"code": 612, "data": {"error": "no such file or directory"}},
    ]


def test_a_batch_that_all_went_well_is_200(caller: Caller, origin: ScriptedOrigin) -> None:
    origin.page("/a", b"hello")
    caller.prefetch("a")

    answer = caller.ask("POST", "/batch", BATCHED)

    assert (answer.status, [item["code"] for item in answer.json]) == (200, [200])


def test_a_conditional_delete_removes_only_what_it_was_meant_for(
    kodo: Sandbox, caller: Caller, origin: ScriptedOrigin
) -> None:
    origin.page("/a", b"hello")
    caller.prefetch("a")
    put_time = caller.stat("a").json["putTime"]

    other = caller.delete("a", f"/cond/{encode_url(f'putTime={put_time + 1}')}")
    nonsense = caller.delete("a", f"/cond/{encode_url('colour=red')}")
    left = kodo.read("docs", "a")
    matching = caller.delete("a", f"/cond/{encode_url(f'putTime={put_time}&hash={HELLO}')}")

    assert (other.status, nonsense.status, matching.status) == (608, 400, 200)
    assert left == b"hello"
    assert kodo.read("docs", "a") is None


def test_a_delete_answers_with_nothing(caller: Caller, origin: ScriptedOrigin) -> None:
    origin.page("/a", b"hello")
    caller.prefetch("a")

    answer = caller.delete("a")

    assert (answer.status, answer.body, answer.headers["Content-Type"]) == (200, b"", "application/json")


def test_a_download_has_the_stored_bytes_and_their_qetag(caller: Caller, origin: ScriptedOrigin) -> None:
    origin.page("/a", b"hello", Content_Type="text/css")
    caller.prefetch("a")

    got, head = caller.ask("GET", "/docs/a", scheme=""), caller.ask("HEAD", "/docs/a", scheme="")

    for answer in (got, head):
        assert answer.status == 200
        assert answer.headers["ETag"] == f'"{HELLO}"'
        assert answer.headers["Content-Type"] == "text/css"
        assert answer.headers["Content-Length"] == "5"
        assert "X-Reqid" in answer.headers
    assert (got.body, head.body) == (b"hello", b"")


KEYS = [
    pytest.param("a b.txt", id="space"),
    pytest.param("中文/é e\u0301/😀", id="unicode"),
    pytest.param("#?&%+~:=;,'\"<>|\\", id="reserved"),
    pytest.param("100%25", id="percent-that-looks-encoded"),
    pytest.param("%2F%2e%2e", id="slash-that-looks-encoded"),
    pytest.param("../../etc/passwd", id="dots"),
    pytest.param("./a", id="dot"),
    pytest.param("a//b", id="double-slash"),
    pytest.param("/a", id="leading-slash"),
    pytest.param("a/", id="trailing-slash"),
    pytest.param("", id="empty"),
    pytest.param("a\nb\r\t\x01", id="control-characters"),
    pytest.param("x" * 4000, id="4000-ascii"),
    pytest.param("中" * 4000, id="4000-chinese"),
]


@pytest.mark.parametrize("key", KEYS)
def test_any_key_is_pulled_kept_listed_and_given_back(
    kodo: Sandbox, caller: Caller, origin: ScriptedOrigin, key: str
) -> None:
    origin.page(origin_url("", key), b"hello")

    pulled = caller.prefetch(key)

    assert pulled.status == 200
    assert caller.stat(key).json["hash"] == HELLO
    assert kodo.read("docs", key) == b"hello"
    assert [item["key"] for item in caller.ask("GET", "/list?bucket=docs").json["items"]] == [key]
    assert caller.delete(key).status == 200
    assert kodo.read("docs", key) is None


@pytest.mark.parametrize("size", [0, 4 << 20, (4 << 20) + 1, 9 << 20], ids=["0", "4MiB", "4MiB+1", "9MiB"])
def test_any_size_is_stored_whole_under_its_qetag(
    kodo: Sandbox, caller: Caller, origin: ScriptedOrigin, size: int
) -> None:
    content = bytes(range(251)) * (size // 251 + 1)
    content = content[:size]
    origin.page("/a", content)

    assert caller.prefetch("a").status == 200

    described = caller.stat("a").json
    assert (described["fsize"], described["hash"]) == (size, etag_of([content]))
    assert described["hash"].startswith("l") is (size > 4 << 20)
    assert kodo.read("docs", "a") == content


def listed(caller: Caller, **params: str) -> list[dict[str, Any]]:
    """All pages of a listing."""
    pages: list[dict[str, Any]] = []
    marker = ""
    while True:
        query = "&".join(f"{k}={quote(v, safe='')}" for k, v in ({"marker": marker} | params).items() if v)
        pages.append(caller.ask("GET", f"/list?bucket=docs&{query}").json)
        marker = pages[-1].get("marker", "")
        if not marker:
            return pages


def filled(caller: Caller, origin: ScriptedOrigin, keys: list[str]) -> None:
    for key in keys:
        origin.page(origin_url("", key), key.encode())
        assert caller.prefetch(key).status == 200


def test_a_listing_goes_on_from_its_marker_in_the_order_of_bytes(caller: Caller, origin: ScriptedOrigin) -> None:
    keys = ["b", "a", "Z", "中", "a/b", "a!", "😀", "\uffff", "ab"]
    filled(caller, origin, keys)

    pages = listed(caller, limit="2")

    found = [item["key"] for page in pages for item in page["items"]]
    assert found == sorted(keys, key=str.encode)
    assert [len(page["items"]) for page in pages] == [2, 2, 2, 2, 1]
    assert urlsafe_b64decode(pages[0]["marker"]) == b'{"c":0,"k":"a"}'


def test_a_listing_folds_what_lies_below_a_delimiter(caller: Caller, origin: ScriptedOrigin) -> None:
    filled(caller, origin, ["a", "d/", "d/1", "d/2/x", "e/1", "e!", "f"])

    pages = listed(caller, limit="1", delimiter="/")
    below = listed(caller, prefix="d/", delimiter="/")

    assert [page.get("commonPrefixes", []) + [item["key"] for item in page["items"]] for page in pages] == [
        ["a"], ["d/"], ["e!"], ["e/"], ["f"]
    ]  # fmt: skip
    assert [item["key"] for item in below[0]["items"]] == ["d/", "d/1"]
    assert below[0]["commonPrefixes"] == ["d/2/"]


def test_a_listing_is_posted_as_well(caller: Caller, origin: ScriptedOrigin) -> None:
    filled(caller, origin, ["a"])

    assert caller.ask("POST", "/list?bucket=docs").json == caller.ask("POST", "/list", b"bucket=docs").json


def test_more_than_a_thousand_objects_take_more_than_one_page(
    kodo: Sandbox, caller: Caller, origin: ScriptedOrigin
) -> None:
    origin.page("/x", b"hello")
    target = f"/fetch/{encode_url(origin.url + '/x')}/to/"

    def fill(numbers: range) -> None:
        for number in numbers:
            caller.ask("POST", target + encode_entry("docs", f"k/{number:05}"))

    fillers = [threading.Thread(target=fill, args=(range(start, 1205, 8),)) for start in range(8)]
    for filler in fillers:
        filler.start()
    for filler in fillers:
        filler.join()

    pages = listed(caller, prefix="k/")

    assert [len(page["items"]) for page in pages] == [1000, 205]
    assert [item["key"] for page in pages for item in page["items"]] == [f"k/{n:05}" for n in range(1205)]


def test_of_two_pulls_of_a_key_the_last_to_finish_wins(kodo: Sandbox, caller: Caller, origin: ScriptedOrigin) -> None:
    slow = held(origin, "/a", b"older")
    first = in_background(caller, "a")
    slow.asked.wait()
    origin.page("/a", b"newer")
    caller.prefetch("a")
    between = kodo.read("docs", "a")

    slow.release()
    first.join()

    assert between == b"newer"
    assert kodo.read("docs", "a") == b"older"
    assert kodo.max_overlap("docs") == {"a": 2}


def test_pulls_one_after_the_other_do_not_overlap(kodo: Sandbox, caller: Caller, origin: ScriptedOrigin) -> None:
    origin.page("/a", b"hello")

    for _ in range(3):
        caller.prefetch("a")

    assert kodo.max_overlap("docs") == {"a": 1}


def test_the_record_of_calls_says_how_each_ended(kodo: Sandbox, caller: Caller, origin: ScriptedOrigin) -> None:
    origin.page("/a", b"hello")
    good, bad = caller.prefetch("a"), caller.prefetch("b")

    first, second = kodo.calls("prefetch")
    kodo.forget_calls()

    assert (first["bucket"], first["key"], first["status"], first["error"]) == ("docs", "a", 200, None)
    assert (second["key"], second["status"], second["error"]) == ("b", 404, "httpGet url failed: E404")
    assert [first["reqid"], second["reqid"]] == [good.headers["X-Reqid"], bad.headers["X-Reqid"]]
    assert first["started"] <= first["ended"] <= second["started"]
    assert kodo.calls() == []
    assert kodo.max_overlap("docs") == {}


def test_a_fault_answers_in_place_of_kodo_as_often_as_it_says(
    kodo: Sandbox, caller: Caller, origin: ScriptedOrigin
) -> None:
    origin.page("/a/1", b"hello")
    origin.page("/b", b"hello")
    kodo.fail(operation="prefetch", key="a/*", status=573, times=2)

    statuses = [caller.prefetch(key).status for key in ("a/1", "b", "a/1", "a/1")]

    assert statuses == [573, 200, 573, 200]
    assert len(origin.requests) == 2


def test_a_fault_can_be_taken_back(kodo: Sandbox, caller: Caller, origin: ScriptedOrigin) -> None:
    origin.page("/a", b"hello")
    kodo.fail(status=599, error="boom")
    failed = caller.prefetch("a")

    kodo.heal()

    assert (failed.status, failed.json) == (599, {"error": "boom"})
    assert caller.prefetch("a").status == 200


def test_a_fault_drops_the_connection(kodo: Sandbox, caller: Caller) -> None:
    kodo.fail(operation="prefetch", drop=True, times=1)

    with pytest.raises((RemoteDisconnected, ConnectionResetError)):
        caller.prefetch("a")

    (call,) = kodo.calls("prefetch")
    assert (call["key"], call["status"]) == ("a", None)


@pytest.mark.parametrize("how", [{"drop": True}, {"status": 504}], ids=["drop", "status"])
def test_a_fault_after_the_work_leaves_the_work_done(
    kodo: Sandbox, caller: Caller, origin: ScriptedOrigin, how: dict[str, Any]
) -> None:
    origin.page("/a", b"hello")
    kodo.fail(operation="prefetch", after=True, **how)

    try:
        status = caller.prefetch("a").status
    except ConnectionError:
        status = None

    assert status == how.get("status")
    assert kodo.read("docs", "a") == b"hello"


def test_a_stale_fault_stores_the_old_bytes_anew(kodo: Sandbox, caller: Caller, origin: ScriptedOrigin) -> None:
    origin.page("/a", b"old")
    caller.prefetch("a")
    before = caller.stat("a").json
    origin.page("/a", b"new")
    kodo.fail(operation="prefetch", stale=True, times=1)

    answer = caller.prefetch("a")

    after = caller.stat("a").json
    assert answer.status == 200
    assert kodo.read("docs", "a") == b"old"
    assert after["hash"] == before["hash"]
    assert after["putTime"] > before["putTime"]
    assert len(origin.requests) == 2


def test_a_fault_delays(kodo: Sandbox, caller: Caller, origin: ScriptedOrigin) -> None:
    origin.page("/a", b"hello")
    kodo.fail(operation="prefetch", delay_s=0.05)

    caller.prefetch("a")

    (call,) = kodo.calls("prefetch")
    assert call["ended"] - call["started"] >= 0.05


def test_a_download_can_fail_too(kodo: Sandbox, caller: Caller, origin: ScriptedOrigin) -> None:
    origin.page("/a", b"hello")
    caller.prefetch("a")
    kodo.fail(operation="download", status=503)

    assert caller.ask("GET", "/docs/a", scheme="").status == 503


def test_faults_given_at_the_start_are_in_force(tmp_path: Path, origin: ScriptedOrigin) -> None:
    rules = [Fault(operation="prefetch", status=478, probability=0.5)]
    with running_sandbox(tmp_path / "k", {"docs": origin.url}, faults=rules) as kodo:
        caller = Caller(kodo.port, kodo.credentials)
        statuses = {caller.prefetch("a").status for _ in range(50)}

    assert statuses == {404, 478}


@pytest.mark.parametrize("rule", [b"[]", b"{", b'{"operation":1}', b'{"what":"?"}', b'{"status":1}'])
def test_a_fault_that_makes_no_sense_is_refused(caller: Caller, rule: bytes) -> None:
    answer = caller.ask("POST", "/_control/faults", rule, {"Content-Type": JSON})

    assert answer.status == 400
    assert caller.ask("GET", "/_control/faults").json == {"faults": []}


def test_objects_outlive_the_process_that_stored_them(tmp_path: Path, origin: ScriptedOrigin) -> None:
    origin.page("/a", b"hello")
    with running_sandbox(tmp_path / "k", {"docs": origin.url}) as kodo:
        Caller(kodo.port, kodo.credentials).prefetch("a")
        port = kodo.port

    with running_sandbox(tmp_path / "k", {"docs": origin.url}, port=port) as again:
        assert again.read("docs", "a") == b"hello"
        assert Caller(again.port, again.credentials).stat("a").json["hash"] == HELLO


def test_stopping_during_a_pull_leaves_the_old_object(tmp_path: Path, origin: ScriptedOrigin) -> None:
    origin.page("/a", b"old")
    with running_sandbox(tmp_path / "k", {"docs": origin.url}) as kodo:
        caller = Caller(kodo.port, kodo.credentials)
        caller.prefetch("a")
        page = held(origin, "/a", b"new")
        pulling = in_background(caller, "a")
        page.asked.wait()

    pulling.join()
    with running_sandbox(tmp_path / "k", {"docs": origin.url}) as again:
        assert again.read("docs", "a") == b"old"
        assert not list(again.root.glob("incoming/*"))


def test_a_marker_beyond_every_key_ends_the_listing(caller: Caller, origin: ScriptedOrigin) -> None:
    filled(caller, origin, ["a"])
    marker = urlsafe_b64encode('{"c":0,"k":"\U0010ffff/x"}'.encode()).decode()

    answer = caller.ask("GET", f"/list?bucket=docs&delimiter=%F4%8F%BF%BF&marker={quote(marker)}")

    assert answer.json == {"items": []}

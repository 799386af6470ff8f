"""Async fetches: an id at once, the pull later, and never a word on how it went."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import md5
from pathlib import Path
from typing import Any

import pytest

from mirrord.kodo.auth import JSON
from mirrord.kodo.etag import etag_of
from tests.sandbox.conftest import Caller, ScriptedOrigin, held, in_background
from tests.servers import Sandbox, running_sandbox

HELLO = etag_of([b"hello"])


def test_an_order_is_answered_with_an_id_and_pulled(kodo: Sandbox, caller: Caller, origin: ScriptedOrigin) -> None:
    origin.page("/a", b"hello")

    answer = caller.fetch_later(origin.url + "/a", "k", file_type=0, callbackurl="http://127.0.0.1:9/", callbackbody="")

    assert answer.status == 200
    assert set(answer.json) == {"id", "wait"}
    assert answer.json["wait"] == 0
    assert answer.json["id"].endswith("=")
    assert json.loads(urlsafe_b64decode(answer.json["id"])).keys() == {"zone", "queue", "part_id", "offset"}
    (pull,) = kodo.calls("async-pull", at_least=1)
    assert (pull["bucket"], pull["key"], pull["status"], pull["error"]) == ("docs", "k", 200, None)
    assert (pull["reqid"], pull["target"]) == (answer.headers["X-Reqid"], origin.url + "/a")
    assert kodo.read("docs", "k") == b"hello"
    assert caller.wait(answer.json["id"]).json == {"id": answer.json["id"], "wait": -1}


def test_the_answer_does_not_wait_for_the_pull(kodo: Sandbox, caller: Caller, origin: ScriptedOrigin) -> None:
    page = held(origin, "/a", b"hello")

    answer = caller.fetch_later(origin.url + "/a", "k")
    page.asked.wait()
    running = caller.wait(answer.json["id"])
    before = kodo.read("docs", "k")
    page.release()
    kodo.calls("async-pull", at_least=1)

    assert running.json["wait"] == 0
    assert before is None
    assert kodo.read("docs", "k") == b"hello"


def test_the_wait_counts_the_orders_that_come_before(tmp_path: Path, origin: ScriptedOrigin) -> None:
    page = held(origin, "/a", b"hello")
    with running_sandbox(tmp_path / "k", {"docs": origin.url}, async_workers=1) as kodo:
        caller = Caller(kodo.port, kodo.credentials)

        first, *others = [caller.fetch_later(origin.url + "/a", key).json for key in "abc"]
        page.asked.wait()
        waits = [caller.wait(order["id"]).json["wait"] for order in (first, *others)]
        page.release()
        pulls = kodo.calls("async-pull", at_least=3)
        after = [caller.wait(order["id"]).json["wait"] for order in (first, *others)]

    assert [order["wait"] for order in (first, *others)] == [0, 1, 2]
    assert waits == [0, 1, 2]
    assert after == [-1, -1, -1]
    assert [pull["key"] for pull in pulls] == ["a", "b", "c"]


def test_no_more_pulls_run_at_once_than_there_are_workers(tmp_path: Path, origin: ScriptedOrigin) -> None:
    page = held(origin, "/a", b"hello")
    with running_sandbox(tmp_path / "k", {"docs": origin.url}, async_workers=2) as kodo:
        caller = Caller(kodo.port, kodo.credentials)

        waits = [caller.fetch_later(origin.url + "/a", "same").json["wait"] for _ in range(4)]
        page.release()
        kodo.calls("async-pull", at_least=4)

        assert kodo.max_overlap("docs") == {"same": 2}
    assert waits == [0, 0, 1, 2]


def test_pulls_now_and_later_of_one_key_count_together(kodo: Sandbox, caller: Caller, origin: ScriptedOrigin) -> None:
    page = held(origin, "/a", b"hello")
    now = in_background(caller, "a")
    page.asked.wait()
    page.asked.clear()

    caller.fetch_later(origin.url + "/a", "a")
    page.asked.wait()
    page.release()
    now.join()
    kodo.calls("async-pull", at_least=1)

    assert kodo.max_overlap("docs") == {"a": 2}


def test_the_urls_are_tried_in_order(kodo: Sandbox, caller: Caller, origin: ScriptedOrigin) -> None:
    origin.page("/b", b"", 503)
    origin.page("/c", b"hello")
    origin.page("/d", b"unasked")

    caller.fetch_later(";".join(f"{origin.url}/{name}" for name in "abcd"), "k")
    kodo.calls("async-pull", at_least=1)

    assert [path for path, _ in origin.requests] == ["/a", "/b", "/c"]
    assert kodo.read("docs", "k") == b"hello"


def test_without_a_key_the_hash_names_the_object(kodo: Sandbox, caller: Caller, origin: ScriptedOrigin) -> None:
    origin.page("/a", b"hello")

    caller.fetch_later(origin.url + "/a")
    (pull,) = kodo.calls("async-pull", at_least=1)

    assert pull["key"] == HELLO
    assert kodo.read("docs", HELLO) == b"hello"


def test_an_order_can_name_the_host(kodo: Sandbox, caller: Caller, origin: ScriptedOrigin) -> None:
    origin.page("/a", b"hello")

    caller.fetch_later(origin.url + "/a", "k", host="www.example.com")
    kodo.calls("async-pull", at_least=1)

    assert origin.requests[0][1]["Host"] == "www.example.com"


RIGHT = md5(b"hello").hexdigest()
WRONG = md5(b"other").hexdigest()


@pytest.mark.parametrize(
    ("expected", "stored"),
    [
        pytest.param({"md5": RIGHT}, b"hello", id="md5"),
        pytest.param({"md5": RIGHT.upper(), "etag": HELLO}, b"hello", id="both"),
        pytest.param({"md5": WRONG}, b"old", id="other-md5"),
        pytest.param({"etag": etag_of([b"other"])}, b"old", id="other-etag"),
        pytest.param({"md5": RIGHT, "etag": etag_of([b"other"])}, b"old", id="one-of-two"),
    ],
)
def test_content_that_is_not_the_expected_is_not_stored_and_nobody_says_so(
    kodo: Sandbox, caller: Caller, origin: ScriptedOrigin, expected: dict[str, str], stored: bytes
) -> None:
    origin.page("/k", b"old")
    caller.prefetch("k")
    origin.page("/k", b"hello")

    order = caller.fetch_later(origin.url + "/k", "k", **expected).json
    kodo.calls("async-pull", at_least=1)

    assert kodo.read("docs", "k") == stored
    assert caller.wait(order["id"]).json["wait"] == -1
    assert not list(kodo.root.glob("incoming/*"))


def test_a_pull_that_fails_leaves_the_old_object_and_nobody_says_so(
    kodo: Sandbox, caller: Caller, origin: ScriptedOrigin
) -> None:
    origin.page("/k", b"old")
    caller.prefetch("k")
    origin.page("/k", b"", 500)

    order = caller.fetch_later(origin.url + "/k", "k").json
    (pull,) = kodo.calls("async-pull", at_least=1)

    assert (pull["status"], pull["error"]) == (478, "httpGet url failed: E500")
    assert kodo.read("docs", "k") == b"old"
    assert caller.wait(order["id"]).json["wait"] == -1


@pytest.mark.parametrize(("ignore", "stored"), [(True, b"old"), (False, b"new")], ids=["ignored", "overwritten"])
def test_a_key_that_exists_is_left_alone_when_asked_to(
    kodo: Sandbox, caller: Caller, origin: ScriptedOrigin, ignore: bool, stored: bytes
) -> None:
    origin.page("/k", b"old")
    caller.prefetch("k")
    origin.page("/k", b"new")

    caller.fetch_later(origin.url + "/k", "k", ignore_same_key=ignore)
    caller.fetch_later(origin.url + "/k", "another", ignore_same_key=ignore)
    kodo.calls("async-pull", at_least=2)

    assert kodo.read("docs", "k") == stored
    assert kodo.read("docs", "another") == b"new"


@pytest.mark.parametrize("scheme", ["QBox", ""])
@pytest.mark.parametrize(
    ("method", "target"), [("POST", "/sisyphus/fetch"), ("GET", "/sisyphus/fetch?id=e30=")], ids=["order", "wait"]
)
def test_only_the_scheme_that_signs_json_is_accepted(
    kodo: Sandbox, caller: Caller, scheme: str, method: str, target: str
) -> None:
    body = b'{"url":"http://127.0.0.1:9/a","bucket":"docs"}' if method == "POST" else b""

    answer = caller.ask(method, target, body, {"Content-Type": JSON}, scheme)

    assert (answer.status, answer.json) == (401, {"error": "bad token"})


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param(b"", 400, id="empty"),
        pytest.param(b"[]", 400, id="no-object"),
        pytest.param(b'{"bucket":"docs"}', 400, id="no-url"),
        pytest.param(b'{"bucket":"docs","url":";"}', 400, id="no-url-either"),
        pytest.param(b'{"url":"http://127.0.0.1:9/a"}', 400, id="no-bucket"),
        pytest.param(b'{"url":"http://127.0.0.1:9/a","bucket":"docs","key":1}', 400, id="key-no-text"),
        pytest.param(b'{"url":"http://127.0.0.1:9/a","bucket":"none"}', 631, id="unknown-bucket"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused(kodo: Sandbox, caller: Caller, body: bytes, status: int) -> None:
    answer = caller.ask("POST", "/sisyphus/fetch", body, {"Content-Type": JSON}, "Qiniu")

    assert answer.status == status
    assert kodo.calls("async-pull") == []


@pytest.mark.parametrize(
    ("id_", "status"),
    [
        pytest.param("", 400, id="none"),
        pytest.param("what", 612, id="no-locator"),
        pytest.param("e30=", 612, id="no-offset"),
        pytest.param(urlsafe_b64encode(b'{"offset":1}').decode(), 612, id="long-ago"),
    ],
)
def test_an_id_that_was_never_given_is_unknown(caller: Caller, id_: str, status: int) -> None:
    assert caller.wait(id_).status == status


def test_a_fault_of_the_order_keeps_it_from_being_accepted(
    kodo: Sandbox, caller: Caller, origin: ScriptedOrigin
) -> None:
    origin.page("/a", b"hello")
    kodo.fail(operation="async-fetch", status=573, key="k", times=1)

    refused, accepted = (caller.fetch_later(origin.url + "/a", "k") for _ in range(2))
    kodo.calls("async-pull", at_least=1)

    assert (refused.status, accepted.status) == (573, 200)
    assert len(origin.requests) == 1


@pytest.mark.parametrize(
    ("fault", "stored", "status"),
    [
        pytest.param({"status": 599}, b"old", 599, id="status"),
        pytest.param({"drop": True}, b"old", 500, id="drop"),
        pytest.param({"stale": True}, b"old", 200, id="stale"),
        pytest.param({"status": 599, "after": True}, b"new", 599, id="after"),
        pytest.param({"delay_s": 0.05}, b"new", 200, id="delay"),
        pytest.param({"hold_s": 0.05}, b"new", 200, id="hold"),
    ],
)
def test_a_fault_of_the_pull_is_met_in_the_background(
    kodo: Sandbox, caller: Caller, origin: ScriptedOrigin, fault: dict[str, Any], stored: bytes, status: int
) -> None:
    origin.page("/k", b"old")
    caller.prefetch("k")
    origin.page("/k", b"new")
    kodo.fail(operation="async-pull", key="k", times=1, **fault)

    answer = caller.fetch_later(origin.url + "/k", "k")
    (pull,) = kodo.calls("async-pull", at_least=1)

    assert answer.status == 200
    assert pull["status"] == status
    assert pull["ended"] - pull["started"] >= fault.get("delay_s", 0) + fault.get("hold_s", 0)
    assert kodo.read("docs", "k") == stored


def test_what_is_not_pulled_when_the_sandbox_stops_is_lost(tmp_path: Path, origin: ScriptedOrigin) -> None:
    page = held(origin, "/a", b"hello")
    with running_sandbox(tmp_path / "k", {"docs": origin.url}, async_workers=1) as kodo:
        caller = Caller(kodo.port, kodo.credentials)
        orders = [caller.fetch_later(origin.url + "/a", key).json for key in "ab"]
        page.asked.wait()

    page.release()
    with running_sandbox(tmp_path / "k", {"docs": origin.url}) as again:
        caller = Caller(again.port, again.credentials)
        assert [caller.wait(order["id"]).status for order in orders] == [612, 612]
        assert [again.read("docs", key) for key in "ab"] == [None, None]
        assert not list(again.root.glob("incoming/*"))

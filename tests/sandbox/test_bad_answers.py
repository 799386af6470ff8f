"""Answers that are none: a proxy's pages, headers gone, replies cut, callers gone, an origin's own words."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse, IncompleteRead
from pathlib import Path
from typing import Any

import pytest

from mirrord.kodo.auth import FORM, qbox
from mirrord.kodo.entry import encode_entry
from tests.sandbox.conftest import Answer, Caller, ScriptedOrigin, held
from tests.servers import Sandbox, running_sandbox


@contextmanager
def begun(kodo: Sandbox, key: str) -> Iterator[HTTPConnection]:
    """A prefetch, sent but not yet answered."""
    target = f"/prefetch/{encode_entry('docs', key)}"
    connection = HTTPConnection("127.0.0.1", kodo.port, timeout=20)
    headers = {"Content-Type": FORM, "Authorization": qbox(kodo.credentials, target, b"", FORM)}
    connection.request("POST", target, b"", headers)
    try:
        yield connection
    finally:
        connection.close()


@pytest.mark.parametrize("status", [502, 403, None], ids=["bad-gateway", "forbidden", "captive-portal"])
def test_a_fault_answers_with_a_page_as_a_proxy_does(
    kodo: Sandbox, caller: Caller, origin: ScriptedOrigin, status: int | None
) -> None:
    kodo.fail(operation="prefetch", html=True, status=status)

    answer = caller.prefetch("a")

    assert answer.status == (status or 200)
    assert answer.headers["Content-Type"].startswith("text/html")
    assert answer.body.startswith(b"<html>")
    assert origin.requests == []


def test_a_fault_takes_headers_away_and_puts_others_in(kodo: Sandbox, caller: Caller, origin: ScriptedOrigin) -> None:
    origin.page("/a", b"hello")
    kodo.fail(operation="prefetch", headers={"x-reqid": None, "X-Log": None, "Retry-After": "7", "Server": "nginx"})

    answer = caller.prefetch("a")

    assert answer.status == 200
    assert answer.headers.keys().isdisjoint({"X-Reqid", "X-Log"})
    assert (answer.headers["Retry-After"], answer.headers["Server"]) == ("7", "nginx")
    assert kodo.read("docs", "a") == b"hello"
    assert "X-Reqid" in caller.stat("a").headers


@pytest.mark.parametrize("status", [301, 302, 307])
def test_a_fault_redirects(kodo: Sandbox, caller: Caller, status: int) -> None:
    kodo.fail(operation="prefetch", status=status, headers={"Location": "http://127.0.0.1:9/"})

    answer = caller.prefetch("a")

    assert (answer.status, answer.headers["Location"]) == (status, "http://127.0.0.1:9/")


def read_cut(connection: HTTPConnection) -> tuple[HTTPResponse, bytes]:
    """The reply's head, and what came of its body before the end that was too soon."""
    reply = connection.getresponse()
    got = bytearray()
    with pytest.raises((IncompleteRead, ConnectionResetError)):  # noqa: PT012 - byte by byte up to there
        while byte := reply.read(1):
            got += byte
        raise IncompleteRead(bytes(got))
    return reply, bytes(got)


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        pytest.param({}, 200, id="nothing-but-cut"),
        pytest.param({"status": 599}, 599, id="error"),
        pytest.param({"html": True, "status": 502}, 502, id="page"),
        pytest.param({"after": True}, 200, id="after-the-work"),
    ],
)
def test_a_fault_cuts_the_reply_in_its_middle(
    kodo: Sandbox, origin: ScriptedOrigin, fault: dict[str, Any], status: int
) -> None:
    origin.page("/a", b"hello")
    kodo.fail(operation="prefetch", cut=True, **fault)

    with begun(kodo, "a") as connection:
        reply, got = read_cut(connection)

    assert reply.status == status
    assert "X-Reqid" in reply.headers
    assert len(got) == int(reply.headers["Content-Length"]) // 2 > 0
    (call,) = kodo.calls("prefetch", at_least=1)
    assert call["status"] is None
    assert kodo.read("docs", "a") == (b"hello" if fault.get("after") else None)


def test_a_pull_goes_on_when_its_caller_hangs_up(kodo: Sandbox, origin: ScriptedOrigin) -> None:
    origin.page("/a", b"hello")
    kodo.fail(operation="prefetch", delay_s=0.5)

    with begun(kodo, "a") as connection:
        connection.sock.settimeout(0.1)
        with pytest.raises(TimeoutError):
            connection.sock.recv(1)
    asked_by_then = list(origin.requests)

    (call,) = kodo.calls("prefetch", at_least=1)
    assert asked_by_then == []
    assert (call["key"], call["status"]) == ("a", 200)
    assert call["ended"] - call["started"] >= 0.5
    assert kodo.read("docs", "a") == b"hello"


def test_a_pull_goes_on_when_its_caller_hangs_up_in_the_middle(kodo: Sandbox, origin: ScriptedOrigin) -> None:
    page = held(origin, "/a", b"hello")

    with begun(kodo, "a"):
        page.asked.wait()
    gone = kodo.calls("prefetch")
    page.release()

    (call,) = kodo.calls("prefetch", at_least=1)
    assert gone == []
    assert call["status"] == 200
    assert kodo.read("docs", "a") == b"hello"


def test_a_fault_holds_the_old_bytes_in_hand_and_stores_them_last(
    kodo: Sandbox, caller: Caller, origin: ScriptedOrigin
) -> None:
    origin.page("/a", b"older")
    kodo.fail(operation="prefetch", key="a", hold_s=1.0, times=1)
    with begun(kodo, "a"):  # and given up on at once
        origin.pages["/a"].asked.wait()
    origin.page("/a", b"newer")

    caller.prefetch("a")
    between = kodo.read("docs", "a")
    kodo.calls("prefetch", at_least=2)

    assert between == b"newer"
    assert kodo.read("docs", "a") == b"older"
    assert kodo.max_overlap("docs") == {"a": 2}


def test_a_held_answer_waits_for_as_many_calls_as_it_was_told(kodo: Sandbox, caller: Caller) -> None:
    found: list[int] = []
    waiting = threading.Thread(target=lambda: found.append(len(kodo.calls("stat", at_least=2))))
    waiting.start()

    caller.stat("a")
    caller.ask("GET", "/list?bucket=docs")
    before = list(found)
    caller.stat("b")
    waiting.join(timeout=20)

    assert (before, found) == ([], [2])


@pytest.fixture
def passing(tmp_path: Path, origin: ScriptedOrigin) -> Iterator[Sandbox]:
    """A sandbox that passes an origin's own status through."""
    with running_sandbox(tmp_path / "passing", {"docs": origin.url}, pass_through=True) as sandbox:
        yield sandbox


def pulled(kodo: Sandbox) -> Answer:
    return Caller(kodo.port, kodo.credentials).prefetch("a")


@pytest.mark.parametrize("status", [302, 401, 403, 410, 429, 500, 503])
def test_an_origins_own_status_is_passed_through(passing: Sandbox, origin: ScriptedOrigin, status: int) -> None:
    page = b"<html>no</html>" * 1000
    origin.page("/a", page, status, Content_Type="text/html", Location="/b", Retry_After="5")

    answer = pulled(passing)

    assert (answer.status, answer.body) == (status, page)
    assert answer.headers["Content-Type"].startswith("text/html")
    assert (answer.headers["Location"], answer.headers["Retry-After"]) == ("/b", "5")
    assert answer.headers["X-Log"] == f"QINIUPROXY:3/{status};IO:4/{status}"
    assert "X-Reqid" in answer.headers
    assert passing.read("docs", "a") is None


def test_what_is_no_page_is_passed_through_empty(passing: Sandbox, origin: ScriptedOrigin) -> None:
    origin.page("/a", b'{"error":"no such bucket"}', 403, Content_Type="application/json")

    answer = pulled(passing)

    assert (answer.status, answer.body) == (403, b"")


@pytest.mark.parametrize(("said", "status"), [(404, 404), (204, 478)], ids=["missing", "no-content"])
def test_what_the_documents_name_stays_as_it_is(
    passing: Sandbox, origin: ScriptedOrigin, said: int, status: int
) -> None:
    origin.page("/a", b"", said, Content_Type="text/html")

    answer = pulled(passing)

    assert (answer.status, answer.json) == (status, {"error": f"httpGet url failed: E{said}"})

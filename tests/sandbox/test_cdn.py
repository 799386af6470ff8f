"""The sandbox's CDN: signed requests, a day's quota, domains of other people, and codes in the body."""

import json
from typing import Any

import pytest

from mirrord.kodo.auth import JSON
from tests.sandbox.conftest import Answer, Caller
from tests.servers import Sandbox

A, B = "http://cdn.example.com/a", "http://cdn.example.com/b"
S = "https://cdn.example.com/s"


def refresh(caller: Caller, *urls: str, scheme: str = "QBox", **more: Any) -> Answer:
    body = json.dumps({"urls": list(urls)} | more).encode()
    return caller.ask("POST", "/v2/tune/refresh", body, {"Content-Type": JSON}, scheme)


@pytest.mark.parametrize("scheme", ["QBox", "Qiniu"])
def test_urls_are_taken_and_counted_and_https_counts_twice(kodo: Sandbox, caller: Caller, scheme: str) -> None:
    kodo.set_cdn(quota_day=10)

    first = refresh(caller, A, S, scheme=scheme)
    second = refresh(caller, B, scheme=scheme)

    assert (first.status, first.json["code"], first.json["error"]) == (200, 200, "success")
    assert (first.json["urlQuotaDay"], first.json["urlSurplusDay"]) == (10, 7)
    assert (second.json["urlSurplusDay"], second.json["invalidUrls"]) == (6, None)
    assert first.json["requestId"] != second.json["requestId"]
    assert first.headers["X-Reqid"]
    assert kodo.purged() == [[A, S], [B]]
    assert [call["operation"] for call in kodo.calls()] == ["cdn-refresh"] * 2


def test_an_unsigned_request_is_refused(kodo: Sandbox, caller: Caller) -> None:
    assert refresh(caller, A, scheme="none").status == 401
    assert kodo.purged() == []


def test_beyond_the_quota_nothing_is_taken_until_it_is_another_day_in_china(kodo: Sandbox, caller: Caller) -> None:
    kodo.set_cdn(quota_day=2)

    over = refresh(caller, A, S)
    taken = refresh(caller, A, B)
    late = refresh(caller, A)
    kodo.skew(86400)
    tomorrow = refresh(caller, A)

    assert [each.json["code"] for each in (over, taken, late, tomorrow)] == [400034, 200, 400034, 200]
    assert [each.json["urlSurplusDay"] for each in (over, taken, late, tomorrow)] == [2, 0, 0, 1]
    assert over.status == 200
    assert kodo.purged() == [[A, B], [A]]


@pytest.mark.parametrize(("whole", "code", "taken"), [(False, 200, [[A]]), (True, 400032, [])], ids=["partly", "whole"])
def test_urls_of_other_peoples_domains_are_invalid(
    kodo: Sandbox, caller: Caller, whole: bool, code: int, taken: list[list[str]]
) -> None:
    kodo.set_cdn(domains=["cdn.example.com"], whole=whole)

    answer = refresh(caller, A, "http://other.example.com/a", "nonsense")

    assert (answer.json["code"], answer.json["invalidUrls"]) == (code, ["http://other.example.com/a", "nonsense"])
    assert kodo.purged() == taken


def test_a_code_can_be_what_every_request_is_answered_with(kodo: Sandbox, caller: Caller) -> None:
    kodo.set_cdn(code=500000)
    failed = refresh(caller, A)
    kodo.set_cdn()
    taken = refresh(caller, A)

    assert (failed.status, failed.json["code"], taken.json["code"]) == (200, 500000, 200)
    assert kodo.purged() == [[A]]


def test_a_fault_meets_it_like_any_other_call(kodo: Sandbox, caller: Caller) -> None:
    kodo.fail(operation="cdn-refresh", status=503, times=1)

    assert [refresh(caller, A).status for _ in range(2)] == [503, 200]


@pytest.mark.parametrize(
    ("urls", "more"),
    [((), {}), ((A,) * 61, {}), ((A,), {"dirs": ["http://cdn.example.com/"]}), ((A,), {"urls": "a"})],
    ids=["none", "too-many", "directories", "no-list"],
)
def test_what_makes_no_sense_is_a_400(caller: Caller, urls: tuple[str, ...], more: dict[str, Any]) -> None:
    assert refresh(caller, *urls, **more).status == 400

"""Bad days of the whole account: throttled, frozen, a clock that is off, another secret."""

import struct
import time
from base64 import urlsafe_b64decode
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from mirrord.kodo.auth import JSON, Credentials, qiniu_date
from mirrord.kodo.entry import encode_entry, encode_url
from mirrord.sandbox.throttle import Throttle
from tests.sandbox.conftest import Answer, Caller, ScriptedOrigin
from tests.servers import Sandbox, running_sandbox

ALMOST_NEVER = 0.0001
"""Calls per second: after the first, the next may come in hours."""
AS_AT_FIRST = {"quota_day": 500, "domains": None, "whole": False, "code": None}
"""How the CDN answers."""


@pytest.mark.parametrize("status", [573, 429, 503])
def test_calls_over_the_throttle_are_refused_and_do_nothing(
    kodo: Sandbox, caller: Caller, origin: ScriptedOrigin, status: int
) -> None:
    origin.page("/a", b"hello")
    kodo.throttle(ALMOST_NEVER, status)

    answers = [caller.prefetch("a") for _ in range(3)]

    assert [answer.status for answer in answers] == [200, status, status]
    assert "error" in answers[1].json
    assert "Retry-After" not in answers[1].headers
    assert answers[1].headers["X-Log"].endswith(f"/{status}")
    assert len(origin.requests) == 1
    assert kodo.max_overlap("docs") == {"a": 1}


def test_the_throttle_counts_all_that_pulls_together_and_nothing_else(
    kodo: Sandbox, caller: Caller, origin: ScriptedOrigin
) -> None:
    origin.page("/a", b"hello")
    url, entry = encode_url(origin.url + "/a"), encode_entry("docs", "a")
    kodo.throttle(ALMOST_NEVER)

    pulls = [
        caller.prefetch("a"),
        caller.ask("POST", f"/fetch/{url}/to/{entry}"),
        caller.ask("POST", f"/glb/fetch/{url}/to/{entry}"),
        caller.fetch_later(origin.url + "/a", "a"),
    ]
    others = [caller.stat("a"), caller.ask("GET", "/list?bucket=docs"), caller.delete("a")]

    assert [answer.status for answer in pulls] == [200, 573, 573, 573]
    assert [answer.status for answer in others] == [200, 200, 200]


def test_the_throttle_can_count_other_calls(kodo: Sandbox, caller: Caller, origin: ScriptedOrigin) -> None:
    origin.page("/a", b"hello")
    kodo.throttle(ALMOST_NEVER, operations=["stat"])

    pulls = [caller.prefetch("a").status for _ in range(3)]
    stats = [caller.stat("a").status for _ in range(2)]

    assert (pulls, stats) == ([200, 200, 200], [200, 573])


def test_a_throttle_lifted_lets_all_pass(kodo: Sandbox, caller: Caller, origin: ScriptedOrigin) -> None:
    origin.page("/a", b"hello")
    kodo.throttle(ALMOST_NEVER)
    caller.prefetch("a")
    refused = caller.prefetch("a").status

    kodo.unthrottle()

    assert (refused, caller.prefetch("a").status) == (573, 200)


def test_another_condition_that_changes_does_not_refill_the_throttle(kodo: Sandbox, caller: Caller) -> None:
    kodo.throttle(ALMOST_NEVER)
    caller.prefetch("a")

    kodo.skew(60)

    assert caller.prefetch("a").status == 573


@pytest.mark.parametrize("said", [7, "soon", "Fri, 20 Nov 2026 12:00:00 GMT"], ids=["seconds", "nonsense", "date"])
def test_a_throttle_can_say_when_to_come_again(
    kodo: Sandbox, caller: Caller, origin: ScriptedOrigin, said: int | str
) -> None:
    kodo.throttle(ALMOST_NEVER, 429, said)
    caller.prefetch("a")

    assert caller.prefetch("a").headers["Retry-After"] == str(said)


def test_a_throttle_can_say_it_as_a_date_by_the_servers_clock(kodo: Sandbox, caller: Caller) -> None:
    kodo.skew(-3600)
    kodo.throttle(ALMOST_NEVER, 503, 120, as_date=True)
    caller.prefetch("a")

    answer = caller.prefetch("a")

    again, now = (parsedate_to_datetime(answer.headers[name]) for name in ("Retry-After", "Date"))
    assert timedelta(seconds=119) <= again - now <= timedelta(seconds=120)


CALLS = [
    pytest.param("POST", f"/prefetch/{encode_entry('docs', 'a')}", id="prefetch"),
    pytest.param("GET", f"/stat/{encode_entry('docs', 'a')}", id="stat"),
    pytest.param("GET", "/list?bucket=docs", id="list"),
    pytest.param("POST", "/v2/bucketInfo?bucket=docs", id="bucket-info"),
    pytest.param("POST", "/sisyphus/fetch", id="async-fetch"),
]


@pytest.mark.parametrize(("method", "target"), CALLS)
def test_an_account_that_is_frozen_can_do_nothing(
    kodo: Sandbox, caller: Caller, origin: ScriptedOrigin, method: str, target: str
) -> None:
    kodo.freeze()

    answer = caller.ask(method, target, scheme="Qiniu")

    assert (answer.status, answer.json) == (419, {"error": "account is frozen"})
    assert origin.requests == []


def test_what_needs_no_token_goes_on_while_the_account_is_frozen(
    kodo: Sandbox, caller: Caller, origin: ScriptedOrigin
) -> None:
    origin.page("/a", b"hello")
    caller.prefetch("a")

    kodo.freeze()

    assert caller.ask("GET", "/v4/query?ak=sandbox-access-key&bucket=docs", authorization="").status == 200
    assert kodo.read("docs", "a") == b"hello"
    assert caller.ask("GET", "/list?bucket=docs", authorization="").status == 401


def test_an_account_is_thawed(kodo: Sandbox, caller: Caller, origin: ScriptedOrigin) -> None:
    origin.page("/a", b"hello")
    kodo.freeze()

    kodo.thaw()

    assert caller.prefetch("a").status == 200


def dated(caller: Caller, offset_s: float) -> Answer:
    date = qiniu_date(datetime.now(UTC) + timedelta(seconds=offset_s))
    return caller.ask("GET", f"/stat/{encode_entry('docs', 'a')}", headers={"X-Qiniu-Date": date}, scheme="Qiniu")


@pytest.mark.parametrize("skew_s", [1200, -1200], ids=["ahead", "behind"])
def test_a_clock_that_is_off_refuses_what_is_signed_by_the_right_time(
    kodo: Sandbox, caller: Caller, skew_s: int
) -> None:
    kodo.skew(skew_s)

    right, bent = dated(caller, 0), dated(caller, skew_s)

    assert (right.status, right.json) == (403, {"error": "request time too skewed"})
    assert bent.status == 612


@pytest.mark.parametrize("skew_s", [86400, 0.0, -86400], ids=["ahead", "right", "behind"])
def test_the_servers_time_shows_in_every_stamp(
    kodo: Sandbox, caller: Caller, origin: ScriptedOrigin, skew_s: float
) -> None:
    origin.page("/a", b"hello")
    kodo.skew(skew_s)
    expected = time.time() + skew_s

    answer = caller.prefetch("a")

    date = parsedate_to_datetime(answer.headers["Date"]).timestamp()
    _, nanoseconds = struct.unpack("<Iq", urlsafe_b64decode(answer.headers["X-Reqid"]))
    stamps = [date, nanoseconds / 1e9, caller.stat("a").json["putTime"] / 1e7]
    assert stamps == [pytest.approx(expected, abs=30)] * 3


def test_the_record_of_calls_keeps_the_right_time(kodo: Sandbox, caller: Caller) -> None:
    kodo.skew(86400)

    caller.stat("a")

    assert kodo.calls("stat")[0]["started"] == pytest.approx(time.time(), abs=30)


def test_a_secret_can_be_changed_while_it_runs(kodo: Sandbox, caller: Caller) -> None:
    kodo.change_secret("another")

    renewed = Caller(kodo.port, Credentials(kodo.credentials.access_key, "another"))
    assert (caller.stat("a").status, renewed.stat("a").status) == (401, 612)


def test_the_state_is_shown_without_the_secret(kodo: Sandbox, caller: Caller) -> None:
    kodo.throttle(50, 429, 3)
    kodo.freeze()
    kodo.skew(60)
    kodo.change_secret("hush-hush")
    kodo.set_cdn(quota_day=7)

    answer = caller.ask("GET", "/_control/state", authorization="")

    assert answer.json == {
        "throttle": {
            "per_second": 50,
            "status": 429,
            "retry_after": 3,
            "as_date": False,
            "operations": ["prefetch", "fetch", "glb-fetch", "async-fetch"],
        },
        "frozen": True,
        "skew_s": 60,
        "cdn": AS_AT_FIRST | {"quota_day": 7},
    }
    assert b"hush-hush" not in answer.body


def test_null_switches_off(kodo: Sandbox, caller: Caller) -> None:
    kodo.throttle(50)
    kodo.freeze()
    kodo.skew(60)

    caller.ask("POST", "/_control/state", b'{"throttle":null,"frozen":null,"skew_s":null,"cdn":null}')

    assert kodo.state() == {"throttle": None, "frozen": False, "skew_s": 0.0, "cdn": AS_AT_FIRST}


@pytest.mark.parametrize(
    "state",
    [
        "{", "[]", '{"what":1}', '{"frozen":1}', '{"skew_s":"1"}', '{"skew_s":1e12}', '{"secret_key":null}',
        '{"cdn":{"quota_day":-1}}', '{"cdn":{"what":1}}', '{"cdn":[]}',
        '{"throttle":{}}', '{"throttle":{"per_second":0}}', '{"throttle":{"per_second":1,"status":200}}',
        '{"throttle":{"per_second":1,"retry_after":"a\\nb"}}', '{"throttle":50}',
    ],
)  # fmt: skip
def test_a_state_that_makes_no_sense_changes_nothing(kodo: Sandbox, caller: Caller, state: str) -> None:
    before = kodo.state()

    answer = caller.ask("POST", "/_control/state", state.encode(), {"Content-Type": JSON})

    assert answer.status == 400
    assert kodo.state() == before


def test_conditions_given_at_the_start_are_in_force(tmp_path: Path, origin: ScriptedOrigin) -> None:
    throttle = Throttle(per_second=50, status=429)
    with running_sandbox(tmp_path / "k", {"docs": origin.url}, throttle=throttle, frozen=True, skew_s=-60) as kodo:
        state = kodo.state()
        status = Caller(kodo.port, kodo.credentials).prefetch("a").status

    assert (state["throttle"]["per_second"], state["frozen"], state["skew_s"]) == (50, True, -60)
    assert status == 419

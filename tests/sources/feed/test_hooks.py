import asyncio
import gzip
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from datetime import timedelta
from typing import Any
from urllib.parse import quote_plus

import pytest
from cloudevents.core.bindings.http import to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from structlog.testing import capture_logs

from mirrord.sources.feed.hook_access import HookAccess
from mirrord.sources.feed.hooks import Hook
from tests.sources.feed.listening import Journal, Running, running, until

_TOKEN = "mF_9.B5f-4.1JqM"
_SECRET = "another one entirely"
_OPEN = HookAccess(open=True)
_JSON = {"Content-Type": "application/json"}
_NAMES = ["red flower.jpg", "a+b.txt", "中文/文件.txt", "dir/sub dir/100%.txt"]


def _minio(*names: str, event: str = "s3:ObjectCreated:Put") -> bytes:
    """What MinIO posts; keys are encoded as Go's url.QueryEscape does it."""
    records = [
        {
            "eventName": event,
            "eventTime": "2026-11-20T08:30:15.123Z",
            "s3": {
                "bucket": {"name": "www"},
                "object": {"key": quote_plus(name, safe=""), "size": 5, "eTag": f"e{n}", "sequencer": "17A8E3D0C4B2"},
            },
        }
        for n, name in enumerate(names)
    ]
    return json.dumps({"EventName": event, "Key": f"www/{names[0]}", "Records": records}).encode()


def _with(
    act: Callable[[Running, Journal], Coroutine[Any, Any, None]], access: HookAccess = _OPEN, **options: Any
) -> None:
    """Do something with a hook that runs."""

    async def whole() -> None:
        journal = Journal()
        async with running(Hook("docs", journal.take, access, **options)) as it:
            await act(it, journal)

    asyncio.run(whole())


# -- what is taken -----------------------------------------------------------------------------------------


def test_records_of_minio_are_taken() -> None:
    async def act(it: Running, journal: Journal) -> None:
        answer = await it.client.post("/hooks/docs", content=_minio(*_NAMES), headers=_JSON)

        assert (answer.status_code, answer.json()) == (200, {"recorded": 4, "rejected": 0})
        assert [each.name for each in journal.mentions] == _NAMES

    _with(act)


def test_events_of_all_three_modes_are_taken() -> None:
    events = [
        CloudEvent({"id": str(n), "source": "/o", "type": "changed", "subject": name, "specversion": "1.0"})
        for n, name in enumerate(_NAMES)
    ]
    structured = [to_structured_event(event) for event in events]
    batch = b"[" + b",".join(each.body for each in structured) + b"]"

    async def act(it: Running, journal: Journal) -> None:
        for message in (*map(to_binary_event, events), *structured):
            answer = await it.client.post("/hooks/docs", content=message.body, headers=message.headers)
            assert answer.json() == {"recorded": 1, "rejected": 0}
        kind = {"Content-Type": "application/cloudevents-batch+json"}
        answer = await it.client.post("/hooks/docs", content=batch, headers=kind)

        assert answer.json() == {"recorded": 4, "rejected": 0}
        assert [each.name for each in journal.mentions] == _NAMES * 3

    _with(act)


def test_what_is_bad_is_handed_on_and_counted() -> None:
    async def act(it: Running, journal: Journal) -> None:
        answer = await it.client.post("/hooks/docs", json=[{"specversion": "1.0", "subject": "a"}])

        assert answer.json() == {"recorded": 0, "rejected": 1}
        assert [each.name for parsed in journal.taken for each in parsed.bad] == ["a"]

    _with(act)


def test_a_test_event_is_accepted_and_records_nothing() -> None:
    async def act(it: Running, journal: Journal) -> None:
        answer = await it.client.post("/hooks/docs", json={"Service": "Amazon S3", "Event": "s3:TestEvent"})

        assert answer.json() == {"recorded": 0, "rejected": 0}
        assert journal.taken == []

    _with(act)


def test_records_of_another_bucket_are_rejected() -> None:
    async def act(it: Running, journal: Journal) -> None:
        answer = await it.client.post("/hooks/docs", content=_minio("a"), headers=_JSON)

        assert answer.json() == {"recorded": 0, "rejected": 1}

    _with(act, bucket="another")


def test_it_is_not_answered_before_it_is_recorded() -> None:
    async def act(it: Running, journal: Journal) -> None:
        journal.gate.clear()
        async with asyncio.TaskGroup() as tasks:
            posting = tasks.create_task(it.client.post("/hooks/docs", content=_minio("a"), headers=_JSON))
            await journal.asked.wait()
            greeting = await it.client.options("/hooks/docs")  # another round trip, all of it

            assert greeting.status_code == 200
            assert not posting.done()
            journal.gate.set()
        assert posting.result().status_code == 200

    _with(act)


def test_a_hundred_deliveries_at_once_are_recorded_together() -> None:
    journal = Journal()
    journal.gate.clear()
    hook = Hook("docs", journal.take, _OPEN, waiting_most=100)
    names = {f"f{n}" for n in range(100)}

    async def whole() -> None:
        async with running(hook) as it:
            async with asyncio.TaskGroup() as tasks:
                posting = [
                    tasks.create_task(it.client.post("/hooks/docs", content=_minio(name), headers=_JSON))
                    for name in names
                ]
                await until(lambda: hook.waiting == 100)
                journal.gate.set()
            assert {each.result().status_code for each in posting} == {200}

    asyncio.run(whole())

    assert len(journal.mentions) == 100
    assert {each.name for each in journal.mentions} == names
    assert len(journal.taken) <= 2  # what came first, and what came in the meantime


# -- who may ------------------------------------------------------------------------------------------------


def _signed(body: bytes, prefix: str = "sha256=", name: str = "X-Hub-Signature-256") -> dict[str, str]:
    return {name: prefix + hmac.new(_SECRET.encode(), body, hashlib.sha256).hexdigest()}


_BOTH = HookAccess(token=_TOKEN, hmac_secret=_SECRET)
_BEARER = {"Authorization": f"Bearer {_TOKEN}"}
_BODY = _minio("a")


@pytest.mark.parametrize(
    ("access", "headers", "status"),
    [
        (HookAccess(token=_TOKEN), {}, 401),
        (HookAccess(token=_TOKEN), {"Authorization": "Bearer wrong"}, 401),
        (HookAccess(token=_TOKEN), {"Authorization": "Bearer"}, 401),
        (HookAccess(token=_TOKEN), {"Authorization": f"Basic {_TOKEN}"}, 401),
        (HookAccess(token=_TOKEN), {"Authorization": f"Bearer {_TOKEN}é".encode()}, 401),
        (HookAccess(token=_TOKEN), _BEARER, 200),
        (HookAccess(token=_TOKEN, open=True), {}, 401),
        (HookAccess(token=_TOKEN), {"Authorization": f"bearer  {_TOKEN}"}, 200),
        (HookAccess(token="schlüssel"), {"Authorization": "Bearer schlüssel".encode()}, 200),
        (HookAccess(hmac_secret=_SECRET), {}, 401),
        (HookAccess(hmac_secret=_SECRET), _signed(b"another body"), 401),
        (HookAccess(hmac_secret=_SECRET), {"X-Hub-Signature-256": "sha256=é".encode()}, 401),
        (HookAccess(hmac_secret=_SECRET), _signed(_BODY), 200),
        (HookAccess(hmac_secret=_SECRET), _signed(_BODY, prefix=""), 200),
        (
            HookAccess(hmac_secret=_SECRET, signature_header="X-Sum"),
            {"x-sum": _signed(_BODY)["X-Hub-Signature-256"]},
            200,
        ),
        (HookAccess(hmac_secret=_SECRET, signature_header="X-Sum"), _signed(_BODY), 401),
        (_BOTH, _BEARER, 401),
        (_BOTH, _signed(_BODY), 401),
        (_BOTH, _BEARER | _signed(_BODY), 200),
        (_OPEN, {}, 200),
    ],
)
def test_only_who_shows_everything_may_post(access: HookAccess, headers: dict[str, Any], status: int) -> None:
    async def act(it: Running, journal: Journal) -> None:
        answer = await it.client.post("/hooks/docs", content=_BODY, headers=_JSON | headers)

        assert answer.status_code == status
        assert ("WWW-Authenticate" in answer.headers) == (status == 401)
        assert len(journal.taken) == (status == 200)

    _with(act, access)


def test_a_hook_that_is_not_open_needs_something_to_be_shown() -> None:
    for nothing in (HookAccess, lambda: HookAccess(token="")):
        with pytest.raises(ValueError, match="needs a token"):
            nothing()


def test_what_is_secret_is_not_shown() -> None:
    assert _TOKEN not in repr(_BOTH)
    assert _SECRET not in repr(_BOTH)


def test_the_token_is_looked_at_before_the_body_comes() -> None:
    async def act(it: Running, journal: Journal) -> None:
        assert await it.head_of_answer(content_length=100) == (401, True)

    _with(act, HookAccess(token=_TOKEN))


def test_refusals_are_said_once_a_minute_without_the_token() -> None:
    now = [1000.0]

    async def act(it: Running, journal: Journal) -> None:
        for _ in range(3):
            await it.client.post("/hooks/docs", content=_BODY, headers={"Authorization": "Bearer guessed"})
        now[0] += 60
        await it.client.post("/hooks/docs", content=_BODY)

    with capture_logs() as lines:
        _with(act, HookAccess(token=_TOKEN), clock=lambda: now[0])

    first, second = (line for line in lines if line["event"] == "hook.refused")
    expected = {"event": "hook.refused", "log_level": "warning", "mirror": "docs", "peer": "127.0.0.1"}
    assert first == expected | {"reason": "the bearer token is another one", "unsaid": 0}
    assert second == expected | {"reason": "no bearer token was sent", "unsaid": 2}
    assert "guessed" not in repr(lines)


# -- what is not taken ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"{", _JSON, 400),
        (b'{"hello": "world"}', _JSON, 400),
        (b"a=b", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
        (gzip.compress(_BODY), _JSON | {"Content-Encoding": "gzip"}, 415),
        (_BODY, _JSON | {"Content-Encoding": "identity"}, 200),
        (b" " * 1000 + _BODY, _JSON, 413),
    ],
    ids=["cut off", "something else", "a form", "gzip", "identity", "too long"],
)
def test_what_cannot_be_read_is_refused_with_one_line(body: bytes, headers: dict[str, str], status: int) -> None:
    async def act(it: Running, journal: Journal) -> None:
        answer = await it.client.post("/hooks/docs", content=body, headers=headers)

        assert answer.status_code == status
        assert status == 200 or len(answer.text.splitlines()) == 1
        assert len(journal.taken) == (status == 200)

    _with(act, body_most=1000)


def test_a_body_that_says_that_it_is_too_long_is_not_waited_for() -> None:
    async def act(it: Running, journal: Journal) -> None:
        assert await it.head_of_answer(content_length=10 * 2**30) == (413, True)

    _with(act)


def test_a_body_that_does_not_say_how_long_it_is_is_cut_where_it_is_too_long() -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(80):
            yield b" " * 65536

    async def act(it: Running, journal: Journal) -> None:
        answer = await it.client.post("/hooks/docs", content=parts(), headers=_JSON)

        assert answer.status_code == 413

    _with(act)


def test_who_sends_too_much_can_read_why_it_was_refused() -> None:
    async def act(it: Running, journal: Journal) -> None:
        for _ in range(5):
            answer = await it.client.post("/hooks/docs", content=b" " * (16 * 2**20), headers=_JSON)
            assert answer.status_code == 413

    _with(act)


def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    async def act(it: Running, journal: Journal) -> None:
        assert await it.head_of_answer(content_length=100, body=b"some") == (408, True)

    _with(act, body_within=timedelta(milliseconds=50))


def test_a_peer_that_goes_away_disturbs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async def act(it: Running, journal: Journal) -> None:
        _, writer = await it.connect()
        writer.write(b"POST /hooks/docs HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nsome")
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        answer = await it.client.post("/hooks/docs", content=_BODY, headers=_JSON)

        assert answer.status_code == 200

    _with(act)

    assert caplog.records == []


def test_what_cannot_be_recorded_in_time_is_to_be_sent_again() -> None:
    async def act(it: Running, journal: Journal) -> None:
        journal.gate.clear()
        first = await it.client.post("/hooks/docs", content=_minio("a"), headers=_JSON)
        second = await it.client.post("/hooks/docs", content=_minio("b"), headers=_JSON)
        journal.gate.set()
        third = await it.client.post("/hooks/docs", content=_minio("c"), headers=_JSON)

        for late in (first, second):
            assert (late.status_code, late.headers["Retry-After"]) == (503, "5")
        assert third.status_code == 200
        assert [each.name for each in journal.mentions] == ["a", "c"]  # nobody waited for the second any more

    _with(act, patience=timedelta(milliseconds=250))


@pytest.mark.parametrize(
    "limits", [{"waiting_most": 2}, {"waiting_bytes_most": 2 * len(_BODY) + 10}], ids=["deliveries", "bytes"]
)
def test_when_too_many_wait_the_next_is_to_come_later(limits: dict[str, int]) -> None:
    journal = Journal()
    journal.gate.clear()
    hook = Hook("docs", journal.take, _OPEN, **limits)  # type: ignore[arg-type]

    async def whole() -> None:
        async with running(hook) as it:
            async with asyncio.TaskGroup() as tasks:
                posting = [
                    tasks.create_task(it.client.post("/hooks/docs", content=_BODY, headers=_JSON)) for _ in range(2)
                ]
                await until(lambda: hook.waiting == 2)
                refused = await it.client.post("/hooks/docs", content=_BODY, headers=_JSON)
                if "waiting_most" in limits:  # nothing of its body is needed to know it
                    assert await it.head_of_answer(content_length=100) == (429, True)
                journal.gate.set()
            again = await it.client.post("/hooks/docs", content=_BODY, headers=_JSON)

            assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
            assert [each.result().status_code for each in posting] == [200, 200]
            assert again.status_code == 200

    asyncio.run(whole())


def test_once_nobody_records_any_more_it_is_to_be_sent_again() -> None:
    async def act(it: Running, journal: Journal) -> None:
        journal.gate.clear()
        async with asyncio.TaskGroup() as tasks:
            posting = tasks.create_task(it.client.post("/hooks/docs", content=_BODY, headers=_JSON))
            await journal.asked.wait()
            it.recording.cancel()
        later = await it.client.post("/hooks/docs", content=_BODY, headers=_JSON)

        for late in (posting.result(), later):
            assert (late.status_code, late.headers["Retry-After"]) == (503, "5")

    _with(act)


# -- other requests ------------------------------------------------------------------------------------------


def test_who_asks_whether_it_may_send_is_told_so() -> None:
    async def act(it: Running, journal: Journal) -> None:
        asked = {"WebHook-Request-Origin": "events.example.com", "WebHook-Request-Rate": "120"}
        answer = await it.client.options("/hooks/docs", headers=asked)

        assert answer.status_code == 200
        assert answer.headers["WebHook-Allowed-Origin"] == "events.example.com"
        assert answer.headers["WebHook-Allowed-Rate"] == "*"
        assert answer.headers["Allow"] == "POST, OPTIONS"

    _with(act, HookAccess(token=_TOKEN))


def test_who_asks_for_options_alone_is_told_the_methods() -> None:
    async def act(it: Running, journal: Journal) -> None:
        answer = await it.client.options("/hooks/docs")

        assert (answer.status_code, answer.headers["Allow"]) == (200, "POST, OPTIONS")
        assert "WebHook-Allowed-Origin" not in answer.headers

    _with(act)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH"])
def test_other_methods_are_not_allowed(method: str) -> None:
    async def act(it: Running, journal: Journal) -> None:
        answer = await it.client.request(method, "/hooks/docs")

        assert answer.status_code == 405
        assert set(answer.headers["Allow"].split(", ")) == {"POST", "OPTIONS"}

    _with(act)


@pytest.mark.parametrize("path", ["/hooks/other", "/hooks/docs/", "/hooks/docs/x", "/hooks/", "/", "/hooks/do%63sx"])
def test_an_unknown_hook_is_not_found(path: str) -> None:
    async def act(it: Running, journal: Journal) -> None:
        answer = await it.client.post(path, content=_BODY, headers=_JSON)

        assert answer.status_code == 404

    _with(act)


def test_each_mirror_has_a_hook_of_its_own() -> None:
    first, second = Journal(), Journal()

    async def whole() -> None:
        hooks = [Hook("a.b", first.take, _OPEN), Hook("a-b_c", second.take, _OPEN)]
        async with running(*hooks) as it:
            await it.client.post("/hooks/a.b", content=_minio("x"), headers=_JSON)
            await it.client.post("/hooks/a-b_c", content=_minio("y"), headers=_JSON)
            unknown = await it.client.post("/hooks/aXb", content=_minio("z"), headers=_JSON)

        assert unknown.status_code == 404

    asyncio.run(whole())

    assert [each.name for each in first.mentions] == ["x"]
    assert [each.name for each in second.mentions] == ["y"]

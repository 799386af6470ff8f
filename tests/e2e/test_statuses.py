"""Every answer there is, over real sockets: what the client makes of it, and whose fault that is found to be."""

import asyncio
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from mirrord.decisions.statuses import CLOCK_ADVICE
from mirrord.decisions.verdict import advice, judge, wording
from mirrord.kodo import protocol
from mirrord.kodo.client import KodoClient
from mirrord.kodo.exchange import Timeouts
from mirrord.kodo.hosts import Hosts
from mirrord.kodo.protocol import Host, Request
from mirrord.kodo.wire import Wire
from mirrord.model.attempt import Content, Fault, Operation, Outcome, Reply, Silence, Verdict
from tests.servers import CREDENTIALS, Sandbox, running_origin, running_sandbox

BUCKET, KEY = "docs", "a.txt"
PREFETCH = protocol.prefetch(BUCKET, KEY)
DELETE = protocol.delete(BUCKET, KEY)
PATIENCE = Timeouts(connect=timedelta(seconds=20), read=timedelta(seconds=20))
UNMARKED = {"X-Reqid": None, "X-Log": None}
"""Headers of an answer that Kodo did not give."""

FETCHED = "httpGet url failed: E403"
BY_THE_ORIGIN = {"X-Log": "QINIUPROXY:3/403;gS.h:4;IO:4/403"}


def verdict(outcome: Outcome, fault: Fault | None = None, *, counts: bool = True) -> Verdict:
    return Verdict(outcome=outcome, fault=fault, counts=counts)


REFRESHED = verdict(Outcome.REFRESHED)
REMOVED = verdict(Outcome.REMOVED)
REFUSED = verdict(Outcome.REFUSED, Fault.KEY)
MISSING = verdict(Outcome.ORIGIN_MISSING, Fault.KEY)
TIMED_OUT = verdict(Outcome.TIMED_OUT, Fault.KEY)
ORIGIN = verdict(Outcome.ORIGIN_FAILING, Fault.ORIGIN)
ACCOUNT = verdict(Outcome.REFUSED, Fault.ACCOUNT, counts=False)
SERVICE = verdict(Outcome.UNAVAILABLE, Fault.SERVICE)
AWAY = verdict(Outcome.UNAVAILABLE, Fault.SERVICE, counts=False)
THROTTLED = verdict(Outcome.THROTTLED, Fault.SERVICE, counts=False)


@dataclass(frozen=True)
class Conversation:
    """One client that asks a sandbox, all on one event loop."""

    kodo: Sandbox
    runner: asyncio.Runner
    client: KodoClient

    def ask(self, request: Request) -> Reply:
        return self.runner.run(self.client.ask(BUCKET, request))


def client_of(url: str, timeouts: Timeouts = PATIENCE, clock_off: timedelta = timedelta(0)) -> KodoClient:
    wire = Wire(timeouts=timeouts)
    hosts = Hosts(
        wire=wire, access_key=CREDENTIALS.access_key, pinned=dict.fromkeys(Host, url), user_agent="ua", clock=float
    )
    return KodoClient(
        wire=wire,
        hosts=hosts,
        credentials=CREDENTIALS,
        scheme="qiniu",
        user_agent="mirrord/t",
        now=lambda: datetime.now(UTC) + clock_off,
    )


@pytest.fixture(scope="module")
def conversation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Conversation]:
    """Bucket `docs` mirrors one file."""
    root = tmp_path_factory.mktemp("statuses")
    (root / "www").mkdir()
    (root / "www" / KEY).write_text("one")
    with (
        running_origin(root / "www") as origin,
        running_sandbox(root / "kodo", {BUCKET: origin}) as kodo,
        asyncio.Runner() as runner,
    ):
        client = client_of(kodo.url)
        yield Conversation(kodo, runner, client)
        runner.run(client.close())


@pytest.fixture
def talk(conversation: Conversation) -> Iterator[Conversation]:
    """The conversation, with nothing left of the test before."""
    conversation.kodo.heal()
    conversation.kodo.forget_calls()
    yield conversation
    conversation.kodo.heal()


STATUSES = [
    pytest.param(298, SERVICE, id="298-belongs-to-batches"),
    pytest.param(301, AWAY, id="301"),
    pytest.param(302, AWAY, id="302"),
    pytest.param(307, AWAY, id="307"),
    pytest.param(308, AWAY, id="308"),
    pytest.param(400, REFUSED, id="400-malformed"),
    pytest.param(401, ACCOUNT, id="401-keys-wrong"),
    pytest.param(402, ORIGIN, id="402-origin"),
    pytest.param(403, ACCOUNT, id="403-no-permission"),
    pytest.param(404, MISSING, id="404-origin-has-it-not"),
    pytest.param(405, REFUSED, id="405-wrong-method"),
    pytest.param(406, ORIGIN, id="406-origin"),
    pytest.param(407, ORIGIN, id="407-origin"),
    pytest.param(408, ORIGIN, id="408-origin"),
    pytest.param(409, ORIGIN, id="409-origin"),
    pytest.param(410, MISSING, id="410-gone-at-the-origin"),
    pytest.param(413, REFUSED, id="413-too-large"),
    pytest.param(414, ORIGIN, id="414-origin"),
    pytest.param(416, ORIGIN, id="416-origin"),
    pytest.param(418, ORIGIN, id="418-origin"),
    pytest.param(419, ACCOUNT, id="419-frozen"),
    pytest.param(425, ORIGIN, id="425-origin"),
    pytest.param(426, ORIGIN, id="426-origin"),
    pytest.param(429, THROTTLED, id="429-rate"),
    pytest.param(431, ORIGIN, id="431-origin"),
    pytest.param(451, ORIGIN, id="451-origin"),
    pytest.param(478, ORIGIN, id="478-origin-trouble"),
    pytest.param(499, ORIGIN, id="499-origin"),
    pytest.param(500, SERVICE, id="500-server"),
    pytest.param(501, REFUSED, id="501-permanent"),
    pytest.param(502, SERVICE, id="502-gateway"),
    pytest.param(503, SERVICE, id="503-unavailable"),
    pytest.param(504, TIMED_OUT, id="504-server-side-timeout"),
    pytest.param(509, THROTTLED, id="509-bandwidth"),
    pytest.param(511, AWAY, id="511-log-in-first"),
    pytest.param(571, THROTTLED, id="571-rate"),
    pytest.param(573, THROTTLED, id="573-one-resource-too-often"),
    pytest.param(579, REFUSED, id="579-callback"),
    pytest.param(599, SERVICE, id="599-operation-failed"),
    pytest.param(608, REFUSED, id="608-modified"),
    pytest.param(612, REFUSED, id="612-missing"),
    pytest.param(614, REFUSED, id="614-exists"),
    pytest.param(616, REFUSED, id="616-undocumented"),
    pytest.param(618, REFUSED, id="618-undocumented"),
    pytest.param(630, REFUSED, id="630-too-many-buckets"),
    pytest.param(631, ACCOUNT, id="631-no-such-bucket"),
    pytest.param(632, REFUSED, id="632-undocumented"),
    pytest.param(640, REFUSED, id="640-list-marker"),
    pytest.param(701, REFUSED, id="701-upload-context"),
]


@pytest.mark.parametrize(("status", "expected"), STATUSES)
def test_a_status_comes_with_its_words_and_reqid_and_is_judged(
    talk: Conversation, status: int, expected: Verdict
) -> None:
    talk.kodo.fail(operation="prefetch", status=status, error="words of the sandbox")

    reply = talk.ask(PREFETCH)

    (call,) = talk.kodo.calls("prefetch")  # asked once: neither followed nor repeated
    assert (reply.status, reply.silence, reply.reqid) == (status, None, call["reqid"])
    assert reply.xlog
    assert reply.content is Content.JSON
    assert judge(Operation.PREFETCH, reply) == expected
    assert (wording(Operation.PREFETCH, reply, expected) or "").endswith("words of the sandbox" if status > 298 else "")
    assert ("x-reqid" in reply.headers) is (status >= 500)


ODD = [
    pytest.param(
        {"headers": {"X-Reqid": None}}, AWAY, "come from Kodo: the reply has no X-Reqid", id="200-with-x-log-alone"
    ),
    pytest.param({"headers": UNMARKED}, AWAY, "did not come from Kodo", id="200-without-marks"),
    pytest.param({"html": True, "headers": UNMARKED}, AWAY, "did not come from Kodo", id="200-of-a-portal"),
    pytest.param({"html": True}, AWAY, "something between", id="200-with-a-page-in-place-of-the-body"),
    pytest.param({"status": 302, "headers": UNMARKED}, AWAY, "redirect", id="302-of-a-portal"),
    pytest.param({"status": 404, "html": True, "headers": UNMARKED}, SERVICE, "come from Kodo", id="404-of-a-proxy"),
    pytest.param({"status": 403, "html": True, "headers": UNMARKED}, AWAY, "come from Kodo", id="403-of-a-firewall"),
    pytest.param({"status": 502, "html": True, "headers": UNMARKED}, SERVICE, "text/html", id="502-of-a-proxy"),
    pytest.param({"status": 403, "html": True}, ORIGIN, "the origin refuses", id="403-page-of-the-origin"),
    pytest.param({"status": 401, "html": True}, ORIGIN, "the origin refuses", id="401-page-of-the-origin"),
    pytest.param({"status": 403, "error": FETCHED}, ORIGIN, FETCHED, id="403-of-the-origin-by-its-text"),
    pytest.param({"status": 403, "headers": BY_THE_ORIGIN}, ORIGIN, "the origin refuses", id="403-by-its-trace"),
    pytest.param({"status": 403, "error": "request time too skewed"}, ACCOUNT, "clock", id="403-of-the-clock"),
    pytest.param({"status": 612, "error": "no such bucket"}, ACCOUNT, "bucket", id="612-of-the-bucket"),
    pytest.param({"status": 503, "headers": {"Retry-After": "7"}}, THROTTLED, "wait", id="503-with-a-time-to-wait"),
]


@pytest.mark.parametrize(("fault", "expected", "said"), ODD)
def test_an_answer_is_judged_by_who_gave_it(
    talk: Conversation, fault: dict[str, Any], expected: Verdict, said: str
) -> None:
    talk.kodo.fail(operation="prefetch", **fault)

    reply = talk.ask(PREFETCH)

    assert judge(Operation.PREFETCH, reply) == expected
    assert said in (wording(Operation.PREFETCH, reply, expected) or "")


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        pytest.param({}, REMOVED, id="removed"),
        pytest.param({"status": 612}, REMOVED, id="gone-already"),
        pytest.param({"status": 612, "error": "no such bucket"}, ACCOUNT, id="gone-with-its-bucket"),
        pytest.param({"status": 612, "html": True, "headers": UNMARKED}, AWAY, id="gone-says-somebody-else"),
        pytest.param({"status": 608}, REFUSED, id="another-ones"),
        pytest.param({"status": 401}, ACCOUNT, id="401-no-origin-was-asked"),
        pytest.param({"status": 403, "error": FETCHED}, ACCOUNT, id="403-no-origin-was-asked"),
        pytest.param({"status": 478}, SERVICE, id="478-no-origin-was-asked"),
        pytest.param({"html": True, "headers": UNMARKED}, AWAY, id="200-of-a-portal"),
        pytest.param({"drop": True}, AWAY, id="dropped"),
    ],
)
def test_a_removal_is_judged(talk: Conversation, fault: dict[str, Any], expected: Verdict) -> None:
    talk.ask(PREFETCH)
    talk.kodo.fail(operation="delete", **fault)

    reply = talk.ask(DELETE)

    assert judge(Operation.DELETE, reply) == expected


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        pytest.param({}, REFRESHED, id="accepted"),
        pytest.param({"status": 200}, SERVICE, id="accepted-without-a-task"),
        pytest.param({"headers": {"X-Reqid": None}}, AWAY, id="accepted-by-somebody-else"),
        pytest.param({"status": 401}, ACCOUNT, id="401"),
        pytest.param({"status": 573}, THROTTLED, id="573"),
    ],
)
def test_an_asynchronous_fetch_is_judged(talk: Conversation, fault: dict[str, Any], expected: Verdict) -> None:
    talk.kodo.fail(operation="async-fetch", **fault)

    reply = talk.ask(protocol.async_fetch(f"{talk.kodo.url}/nothing", BUCKET, "b.txt"))

    assert judge(Operation.ASYNC_FETCH, reply) == expected


def test_a_pull_is_a_refresh(talk: Conversation) -> None:
    reply = talk.ask(PREFETCH)

    assert judge(Operation.PREFETCH, reply) == REFRESHED
    assert wording(Operation.PREFETCH, reply, REFRESHED) is None
    assert talk.kodo.read(BUCKET, KEY) == b"one"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed_wherever_it_leads(talk: Conversation, status: int) -> None:
    elsewhere = f"{talk.kodo.url}{protocol.stat(BUCKET, KEY).target}"
    talk.kodo.fail(operation="prefetch", status=status, headers={"Location": elsewhere})

    reply = talk.ask(PREFETCH)

    assert judge(Operation.PREFETCH, reply) == AWAY
    assert [call["operation"] for call in talk.kodo.calls()] == ["prefetch"]


@pytest.mark.parametrize("fault", [{"drop": True}, {"cut": True}, {"cut": True, "after": True}], ids=str)
def test_a_connection_that_breaks_tells_nothing_of_how_the_pull_ended(
    talk: Conversation, fault: dict[str, Any]
) -> None:
    talk.kodo.fail(operation="prefetch", **fault)

    reply = talk.ask(PREFETCH)

    assert (reply.status, reply.silence) == (None, Silence.BROKEN)
    assert judge(Operation.PREFETCH, reply) == AWAY
    assert wording(Operation.PREFETCH, reply, AWAY) == reply.error
    assert len(talk.kodo.calls("prefetch")) == 1


def test_no_answer_in_time_is_the_keys_own_fault_and_kodo_may_still_be_pulling(talk: Conversation) -> None:
    client = client_of(talk.kodo.url, Timeouts(connect=timedelta(seconds=0.2), read=timedelta(seconds=0.2)))
    talk.kodo.fail(operation="prefetch", delay_s=60)

    reply = talk.runner.run(client.ask(BUCKET, PREFETCH))

    talk.runner.run(client.close())
    assert (reply.status, reply.silence) == (None, Silence.TIMED_OUT)
    assert judge(Operation.PREFETCH, reply) == TIMED_OUT


def test_a_closed_port_uses_no_attempt_up(talk: Conversation) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound, but nobody listens
        client = client_of(f"http://127.0.0.1:{bound.getsockname()[1]}")

        reply = talk.runner.run(client.ask(BUCKET, PREFETCH))

    talk.runner.run(client.close())
    assert (reply.status, reply.silence) == (None, Silence.CONNECT_FAILED)
    assert judge(Operation.PREFETCH, reply) == AWAY


@pytest.mark.parametrize(("minutes", "said"), [(-20, "20 min behind Kodo's"), (20, "20 min ahead of Kodo's")])
def test_a_wrong_clock_is_told_from_wrong_keys(talk: Conversation, minutes: int, said: str) -> None:
    client = client_of(talk.kodo.url, clock_off=timedelta(minutes=minutes))

    reply = talk.runner.run(client.ask(BUCKET, PREFETCH))

    talk.runner.run(client.close())
    assert judge(Operation.PREFETCH, reply) == ACCOUNT
    assert f"this machine's clock is {said}" in (wording(Operation.PREFETCH, reply, ACCOUNT) or "")
    assert advice(Operation.PREFETCH, reply, ACCOUNT) == CLOCK_ADVICE


def test_the_headers_of_a_599_are_kept_for_qinius_support(talk: Conversation) -> None:
    talk.kodo.fail(operation="prefetch", status=599, headers={"X-Via": "somebody", "X-Log": "IO:4/599"})

    reply = talk.ask(PREFETCH)

    assert reply.headers["x-reqid"] == reply.reqid
    assert (reply.headers["x-via"], reply.headers["x-log"]) == ("somebody", "IO:4/599")
    assert judge(Operation.PREFETCH, reply) == SERVICE


def test_a_time_to_wait_is_read(talk: Conversation) -> None:
    talk.kodo.fail(operation="prefetch", status=573, headers={"Retry-After": "7"})

    reply = talk.ask(PREFETCH)

    assert reply.retry_after_s == 7
    assert judge(Operation.PREFETCH, reply) == THROTTLED

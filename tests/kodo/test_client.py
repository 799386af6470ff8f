"""The client: what the sandbox accepts, what goes over the wire, and which host is asked when one fails."""

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from mirrord.kodo import protocol
from mirrord.kodo.auth import FORM, Credentials, qiniu
from mirrord.kodo.client import KodoClient, Scheme
from mirrord.kodo.exchange import NoAnswer, Timeouts
from mirrord.kodo.hosts import Hosts
from mirrord.kodo.protocol import Host, Request
from mirrord.kodo.replies import BucketInfo
from mirrord.kodo.wire import Wire
from mirrord.model.attempt import Reply, Silence
from mirrord.model.purge import PurgeAnswer
from tests.fakes.kodo import FakeKodo, failing
from tests.fakes.sender import BROKEN, LATE, FakeSender, answer
from tests.kodo.raw_server import OK, saying, serving
from tests.servers import CREDENTIALS, Sandbox, running_origin, running_sandbox

PREFETCH = protocol.prefetch("docs", "a.txt")
LONG = Timeouts(connect=timedelta(seconds=20), read=timedelta(seconds=20))


def now() -> datetime:
    return datetime.now(UTC)


def client_of(
    url: str,
    *,
    timeouts: Timeouts = LONG,
    credentials: Credentials = CREDENTIALS,
    scheme: Scheme = "qbox",
    now: Callable[[], datetime] = now,
    pinned: Mapping[Host, str] | None = None,
) -> KodoClient:
    """Everything is pinned to `url`, unless `pinned` says what is."""
    wire = Wire(timeouts=timeouts)
    pins = dict.fromkeys(Host, url) if pinned is None else pinned
    hosts = Hosts(wire=wire, access_key=credentials.access_key, pinned=pins, user_agent="ua", clock=float)
    return KodoClient(wire=wire, hosts=hosts, credentials=credentials, scheme=scheme, user_agent="mirrord/t", now=now)


def ask(client: Callable[[], KodoClient], *requests: Request) -> list[Reply]:
    """One reply per request, asked one after the other by one client."""

    async def asked() -> list[Reply]:
        kodo = client()
        try:
            return [await kodo.ask("docs", request) for request in requests or [PREFETCH]]
        finally:
            await kodo.close()

    return asyncio.run(asked())


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    """Bucket `docs` mirrors a tree of two files."""
    (tmp_path / "www").mkdir()
    for name in ("a.txt", "中 #?&%+~\n.txt"):
        (tmp_path / "www" / name).write_text(name)
    with (
        running_origin(tmp_path / "www") as origin,
        running_sandbox(tmp_path / "kodo", {"docs": origin}) as running,
    ):
        yield running


@pytest.mark.parametrize("scheme", ["qbox", "qiniu"])
@pytest.mark.parametrize("key", ["a.txt", "中 #?&%+~\n.txt"], ids=["plain", "tricky"])
def test_the_sandbox_accepts_every_signed_call(sandbox: Sandbox, scheme: Scheme, key: str) -> None:
    url = f"http://127.0.0.1:{sandbox.port}"

    replies = ask(
        lambda: client_of(sandbox.url, scheme=scheme),
        protocol.prefetch("docs", key),
        protocol.stat("docs", key),
        protocol.delete("docs", key),
        protocol.fetch(f"{url}/nothing", "docs", key),
    )

    pulled, found, removed, missing = replies
    assert [reply.status for reply in replies] == [200, 200, 200, 404]
    assert all(reply.reqid and reply.xlog and reply.silence is None for reply in replies)
    assert (pulled.error, removed.error) == (None, None)
    assert found.size_bytes == len(key.encode())
    assert missing.error == "httpGet url failed: E404"


def test_the_fake_that_other_tests_use_answers_as_the_real_one_does(sandbox: Sandbox) -> None:
    error = "httpGet url failed: E502"
    sandbox.fail(operation="prefetch", key="b", status=478, error=error, times=1)
    requests = [protocol.prefetch("docs", "b"), PREFETCH, protocol.delete("docs", "a.txt")]

    async def asked(kodo: KodoClient | FakeKodo) -> list[Reply]:
        return [await kodo.ask("docs", request) for request in requests]

    async def both() -> tuple[list[Reply], list[Reply]]:
        client = client_of(sandbox.url)
        try:
            return await asked(client), await asked(FakeKodo({"b": [failing(478, error)]}))
        finally:
            await client.close()

    real, fake = asyncio.run(both())

    told = [(reply.status, reply.error, bool(reply.reqid), bool(reply.xlog), reply.silence) for reply in real]
    assert told == [(reply.status, reply.error, bool(reply.reqid), bool(reply.xlog), reply.silence) for reply in fake]


@pytest.mark.parametrize("scheme", ["qbox", "qiniu"])
def test_a_batch_answers_for_every_key(sandbox: Sandbox, scheme: Scheme) -> None:
    async def stats() -> tuple[Reply, list[Reply]]:
        kodo = client_of(sandbox.url, scheme=scheme)
        try:
            await kodo.ask("docs", PREFETCH)
            return await kodo.stat_all("docs", ["a.txt", "none"])
        finally:
            await kodo.close()

    whole, (found, missing) = asyncio.run(stats())

    assert whole.status == 298
    assert (found.status, found.size_bytes) == (200, 5)
    assert (missing.status, missing.error) == (612, "no such file or directory")


@pytest.mark.parametrize("scheme", ["qbox", "qiniu"])
def test_another_secret_key_is_refused(sandbox: Sandbox, scheme: Scheme) -> None:
    stranger = Credentials(CREDENTIALS.access_key, "another")

    (reply,) = ask(lambda: client_of(sandbox.url, scheme=scheme, credentials=stranger))

    assert (reply.status, reply.error) == (401, "bad token")


def test_a_clock_that_is_wrong_is_refused_where_the_date_is_signed(sandbox: Sandbox) -> None:
    (reply,) = ask(lambda: client_of(sandbox.url, scheme="qiniu", now=lambda: now() - timedelta(minutes=16)))

    assert (reply.status, reply.error) == (403, "request time too skewed")


def test_every_attempt_is_signed_with_the_time_it_is_made_at() -> None:
    times = iter([datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), datetime(2026, 1, 2, 3, 24, 5, tzinfo=UTC)])

    with serving(saying(OK)) as server:
        ask(lambda: client_of(server.url, scheme="qiniu", now=lambda: next(times)), PREFETCH, PREFETCH)

    first, second = (_headers(head) for head in server.heads)
    assert (first["x-qiniu-date"], second["x-qiniu-date"]) == ("20260102T030405Z", "20260102T032405Z")
    assert first["authorization"] != second["authorization"]


def test_a_request_is_what_was_signed_and_names_the_program() -> None:
    with serving(saying(OK)) as server:
        ask(lambda: client_of(server.url))

    (head,) = server.heads
    headers = _headers(head)
    assert head.startswith(f"POST {PREFETCH.target} HTTP/1.1\r\n")
    assert headers["host"] == f"127.0.0.1:{server.port}"
    assert headers["user-agent"] == "mirrord/t"
    assert headers["content-type"] == FORM
    assert headers["content-length"] == "0"
    assert headers["authorization"].startswith(f"QBox {CREDENTIALS.access_key}:")


def test_connections_are_kept() -> None:
    accepted: list[socket.socket] = []

    def speak(connection: socket.socket, _: threading.Event) -> None:
        accepted.append(connection)
        connection.sendall(OK)

    with serving(speak) as server:
        ask(lambda: client_of(server.url), PREFETCH, PREFETCH, PREFETCH)

    assert len(accepted) == 3
    assert len(set(map(id, accepted))) == 1


def _headers(head: str) -> dict[str, str]:
    lines = head.split("\r\n")[1:-2]
    return {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_answer_and_not_followed(status: int) -> None:
    with serving(saying(OK)) as elsewhere:
        moved = f"HTTP/1.1 {status} Moved\r\nLocation: {elsewhere.url}/x\r\nContent-Length: 0\r\n\r\n".encode()
        with serving(saying(moved)) as server:
            (reply,) = ask(lambda: client_of(server.url))

    assert reply.status == status
    assert elsewhere.heads == []


def test_headers_of_an_error_are_told_as_they_came() -> None:
    body = b'{"error":"server operation failed"}'
    answer = (
        b"HTTP/1.1 599 Kodo\r\nX-Reqid: abc\r\nX-Log: IO:1;RS\r\nX-Odd: caf\xe9\r\nRetry-After: \xb2\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    )

    with serving(saying(answer)) as server:
        (reply,) = ask(lambda: client_of(server.url))

    assert (reply.status, reply.error) == (599, "server operation failed")
    assert (reply.headers["x-reqid"], reply.headers["x-odd"]) == ("abc", "caf\xe9")
    assert reply.retry_after_s is None


def test_a_chunked_answer_is_read_to_its_end() -> None:
    answer = (
        b"HTTP/1.1 200 OK\r\nX-Reqid: abc\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        b'9\r\n{"hash":"\r\n3\r\nh"}\r\n0\r\n\r\n'
    )

    with serving(saying(answer)) as server:
        (reply,) = ask(lambda: client_of(server.url))

    assert (reply.status, reply.hash) == (200, "h")


def test_cancelling_a_call_ends_it(sandbox: Sandbox) -> None:
    sandbox.fail(operation="prefetch", delay_s=15)

    async def cancelled() -> bool:
        kodo = client_of(sandbox.url)
        try:
            async with asyncio.timeout(0.2):
                await kodo.ask("docs", PREFETCH)
        except TimeoutError:
            return True
        finally:
            await kodo.close()
        return False

    assert asyncio.run(cancelled())


def fake_client(
    wire: FakeSender,
    *,
    pinned: Mapping[Host, str] | None = None,
    scheme: Scheme = "qbox",
    now: Callable[[], datetime] = now,
    credentials: Credentials = CREDENTIALS,
) -> KodoClient:
    hosts = Hosts(
        wire=wire, access_key=credentials.access_key, pinned=pinned or {}, user_agent="ua", clock=lambda: 1000.0
    )
    return KodoClient(wire=wire, hosts=hosts, credentials=credentials, scheme=scheme, user_agent="mirrord/t", now=now)


UC_1 = "uc.qiniuapi.com"
TWO_DOMAINS = answer({"hosts": [{"ttl": 100, "io": {"domains": ["io-1.example", "io-2.example"]}}]})
OF_KODO = answer({"hash": "h"})


@pytest.mark.parametrize("scheme", ["qbox", "qiniu"])
def test_a_host_that_cannot_be_reached_is_followed_by_the_next_under_a_signature_of_its_own(scheme: Scheme) -> None:
    times = iter([datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), datetime(2026, 1, 2, 3, 4, 6, tzinfo=UTC)])
    wire = FakeSender({UC_1: TWO_DOMAINS, "io-2.example": OF_KODO})

    (reply,) = ask(lambda: fake_client(wire, scheme=scheme, now=lambda: next(times)))

    first, second = (sent.headers for sent in wire.sent[1:])
    assert (reply.status, reply.hash, reply.error) == (200, "h", None)
    assert wire.hosts == [UC_1, "io-1.example", "io-2.example"]
    assert (first["Authorization"] == second["Authorization"]) is (scheme == "qbox")  # which does not sign the host
    assert first.get("X-Qiniu-Date") == (None if scheme == "qbox" else "20260102T030405Z")
    assert second.get("X-Qiniu-Date") == (None if scheme == "qbox" else "20260102T030406Z")


def test_when_no_host_can_be_reached_all_that_was_tried_is_told() -> None:
    wire = FakeSender({UC_1: TWO_DOMAINS})

    (reply,) = ask(lambda: fake_client(wire))

    assert (reply.status, reply.silence) == (None, Silence.CONNECT_FAILED)
    assert reply.error == "no connection; no connection"


@pytest.mark.parametrize(
    ("first", "next_host"),
    [pytest.param(BROKEN, "io-2.example", id="broken"), pytest.param(LATE, "io-1.example", id="timed-out")],
)
def test_what_may_have_been_carried_out_is_not_asked_again(first: NoAnswer, next_host: str) -> None:
    wire = FakeSender({UC_1: TWO_DOMAINS, "io-1.example": first, "io-2.example": OF_KODO})

    broken, _ = ask(lambda: fake_client(wire), PREFETCH, PREFETCH)

    assert (broken.silence, broken.error) == (first.silence, first.error)
    assert wire.hosts == [UC_1, "io-1.example", next_host]


def test_a_host_that_took_long_to_be_unreachable_is_followed_by_the_next_only_the_next_time() -> None:
    slow = NoAnswer(Silence.CONNECT_FAILED, "no connection", 10.0)
    wire = FakeSender({UC_1: TWO_DOMAINS, "io-1.example": slow, "io-2.example": OF_KODO})

    failed, pulled = ask(lambda: fake_client(wire), PREFETCH, PREFETCH)

    assert (failed.silence, failed.duration_s) == (Silence.CONNECT_FAILED, 10.0)
    assert pulled.status == 200
    assert wire.hosts == [UC_1, "io-1.example", "io-2.example"]


def test_an_error_of_a_host_is_an_answer_and_no_other_is_asked() -> None:
    wire = FakeSender({UC_1: TWO_DOMAINS, "io-1.example": answer({"error": "busy"}, 503)})

    replies = ask(lambda: fake_client(wire), PREFETCH, PREFETCH)

    assert [reply.status for reply in replies] == [503, 503]
    assert wire.hosts == [UC_1, "io-1.example", "io-1.example"]


def test_a_pinned_host_is_asked_again_each_time_however_it_fails() -> None:
    wire = FakeSender()

    ask(lambda: fake_client(wire, pinned={Host.IO: "http://io.example"}), PREFETCH, PREFETCH, PREFETCH)

    assert wire.hosts == ["io.example"] * 3


def test_a_region_that_is_not_known_is_the_reply() -> None:
    wire = FakeSender({UC_1: answer({"error": "no such bucket"}, 631)})

    replies = ask(lambda: fake_client(wire), *[PREFETCH] * 100)

    assert {reply.status for reply in replies} == {631}
    assert len(wire.sent) == 1


N5 = b'{"url":"http://origin.example.com/a.bin","bucket":"newdocs","key":"a.bin","file_type":0}'


@pytest.mark.parametrize("scheme", ["qbox", "qiniu"])
def test_an_asynchronous_fetch_is_json_signed_as_published_whatever_the_settings_say(scheme: Scheme) -> None:
    wire = FakeSender({"api-z0.qiniuapi.com": answer({"id": "eyJ6b25lIjoiejAifQ==", "wait": 14})})
    mine = Credentials("MY_ACCESS_KEY", "MY_SECRET_KEY")
    request = replace(protocol.async_fetch("http://origin.example.com/a.bin", "newdocs", "a.bin"), body=N5)

    (reply,) = ask(
        lambda: fake_client(
            wire,
            pinned={Host.API: "https://api-z0.qiniuapi.com"},
            scheme=scheme,
            now=lambda: datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
            credentials=mine,
        ),
        request,
    )

    (sent,) = wire.sent
    assert (sent.method, sent.url, sent.body) == ("POST", "https://api-z0.qiniuapi.com/sisyphus/fetch", N5)
    assert sent.headers["Content-Type"] == "application/json"
    assert sent.headers["X-Qiniu-Date"] == "20260102T030405Z"
    assert sent.headers["Authorization"] == "Qiniu MY_ACCESS_KEY:b82nmtal_xBp-Mp8HBfarHsgV50="
    assert (reply.task, reply.waiting) == ("eyJ6b25lIjoiejAifQ==", 14)


def test_the_state_of_a_task_is_asked_in_the_bytes_that_were_signed() -> None:
    request = protocol.async_state("a-_/+b==")
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    with serving(saying(OK)) as server:
        ask(lambda: client_of(server.url, now=lambda: at), request)

    (head,) = server.heads
    headers = _headers(head)
    signed = {"Content-Type": FORM, "X-Qiniu-Date": "20260102T030405Z"}
    target = head.split(" ")[1]
    assert target == request.target
    assert headers["authorization"] == qiniu(CREDENTIALS, "GET", target, headers["host"], signed)


def test_one_call_may_have_a_time_of_its_own() -> None:
    wire = FakeSender({"io.example": OF_KODO})

    async def two_calls() -> None:
        client = fake_client(wire, pinned={Host.IO: "http://io.example"})
        await client.ask("docs", PREFETCH, read=timedelta(minutes=10))
        await client.ask("docs", PREFETCH)

    asyncio.run(two_calls())

    assert [sent.read for sent in wire.sent] == [timedelta(minutes=10), None]


def test_kodos_clock_is_compared_with_ours_when_the_request_was_sent() -> None:
    date = {"date": "Fri, 20 Nov 2026 10:00:30 GMT"}
    wire = FakeSender({"io.example": replace(answer(**date), duration_s=10.0)})
    sent_at = datetime(2026, 11, 20, 10, 0, 0, tzinfo=UTC)

    (reply,) = ask(lambda: fake_client(wire, pinned={Host.IO: "http://io.example"}, now=lambda: sent_at))

    assert reply.skew_s == 20.0


def test_the_sandboxs_clock_is_ours(sandbox: Sandbox) -> None:
    right, slow = (
        ask(lambda back=back: client_of(sandbox.url, now=lambda: now() - back))[0].skew_s
        for back in (timedelta(0), timedelta(hours=1))
    )

    assert right == pytest.approx(0, abs=30)
    assert slow == pytest.approx(3600, abs=30)


@pytest.mark.parametrize("scheme", ["qbox", "qiniu"])
def test_the_sandbox_tells_a_buckets_mirror_source(sandbox: Sandbox, scheme: Scheme) -> None:
    async def asked() -> list[tuple[Reply, BucketInfo | None]]:
        client = client_of(sandbox.url, scheme=scheme)
        try:
            return [await client.bucket_info(bucket) for bucket in ("docs", "nowhere")]
        finally:
            await client.close()

    (reply, info), (missing, none) = asyncio.run(asked())

    assert reply.status == 200
    assert info is not None
    assert len(info.source) == 1
    assert info.source[0].startswith("http://127.0.0.1:")
    assert (missing.status, none) == (631, None)


def test_settings_are_asked_of_the_next_host_when_the_first_is_unreachable() -> None:
    wire = FakeSender({"kodo-config.qiniuapi.com": answer({"source": "http://a.example", "private": 1})})

    async def asked() -> tuple[Reply, BucketInfo | None]:
        return await fake_client(wire).bucket_info("docs")

    _, info = asyncio.run(asked())

    assert wire.hosts == [UC_1, "kodo-config.qiniuapi.com"]
    assert wire.sent[1].headers["Authorization"].startswith("Qiniu ")
    assert info == BucketInfo(source=("http://a.example",), host="", region="", private=True)


def test_a_client_keeps_its_hosts_fresh_and_knows_the_region() -> None:
    wire = FakeSender({UC_1: answer({"hosts": [{"region": "z0", "ttl": 100, "io": {"domains": ["io.example"]}}]})})
    time = 1000.0
    hosts = Hosts(wire=wire, access_key="AK", pinned={}, user_agent="ua", clock=lambda: time)
    client = KodoClient(wire=wire, hosts=hosts, credentials=CREDENTIALS, scheme="qbox", user_agent="ua", now=now)

    async def refreshed() -> str | Reply:
        nonlocal time
        name = await client.region("docs")
        time += 50
        again = asyncio.Event()
        wire.on_sent = lambda _: again.set()
        async with asyncio.TaskGroup() as tasks, asyncio.timeout(20):
            keeper = tasks.create_task(client.keep_fresh(), name="keep-fresh")
            await again.wait()
            keeper.cancel()
        return name

    assert asyncio.run(refreshed()) == "z0"
    assert wire.hosts == [UC_1, UC_1]


def test_a_domain_that_is_down_costs_nothing_but_a_line_each_time_it_is_frozen(sandbox: Sandbox) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound, but nobody listens
        down = f"127.0.0.1:{bound.getsockname()[1]}"
        domains = {"domains": [down, f"127.0.0.1:{sandbox.port}"]}
        body = json.dumps({"hosts": [{"region": "z0", "ttl": 86400, "io": domains}]}).encode()
        head = b"HTTP/1.1 200 OK\r\nX-Reqid: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"

        with serving(saying(head % len(body) + body)) as uc, capture_logs() as lines:
            replies = ask(lambda: client_of(uc.url, pinned={Host.UC: uc.url}), PREFETCH, PREFETCH, PREFETCH)

    assert [reply.status for reply in replies] == [200, 200, 200]
    assert [line["event"] for line in lines] == ["region.discovered", "host.frozen"]
    assert (lines[1]["host"], lines[1]["error"]) == (f"http://{down}", f"no connection to {down}: connection refused")


@pytest.mark.parametrize("scheme", ["qbox", "qiniu"])
def test_a_cdn_takes_what_is_signed_and_says_what_is_left_of_the_quota(sandbox: Sandbox, scheme: Scheme) -> None:
    urls = ["http://cdn.example.com/%E4%B8%AD%20%23", "https://cdn.example.com/b"]

    async def purged() -> tuple[Reply, PurgeAnswer | None]:
        kodo = client_of(sandbox.url, scheme=scheme)
        try:
            return await kodo.purge("docs", urls)
        finally:
            await kodo.close()

    reply, said = asyncio.run(purged())

    assert sandbox.purged() == [urls]
    assert said is not None
    assert (reply.status, said.code, said.quota_day, said.surplus_day) == (200, 200, 500, 497)


def test_a_cdn_that_cannot_be_reached_has_said_nothing() -> None:
    async def purged() -> tuple[Reply, PurgeAnswer | None]:
        wire = FakeSender()
        hosts = Hosts(wire=wire, access_key="AK", pinned={}, user_agent="ua", clock=float)
        kodo = KodoClient(
            wire=wire, hosts=hosts, credentials=CREDENTIALS, scheme="qbox", user_agent="mirrord/t", now=now
        )
        return await kodo.purge("docs", ["http://cdn.example.com/a"])

    reply, said = asyncio.run(purged())

    assert (reply.status, reply.silence, said) == (None, Silence.CONNECT_FAILED, None)

"""The client over real sockets: what the sandbox accepts, and what becomes of everything a network can do."""

import asyncio
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from mirrord.dispatcher import Kodo
from mirrord.kodo import protocol
from mirrord.kodo.auth import FORM, Credentials
from mirrord.kodo.client import KodoClient, Scheme
from mirrord.kodo.exchange import Timeouts
from mirrord.kodo.hosts import Hosts
from mirrord.kodo.protocol import Host, Request
from mirrord.kodo.wire import REPLY_MOST, Wire
from mirrord.model.attempt import Reply, Silence
from tests.fakes.kodo import FakeKodo, failing
from tests.servers import CREDENTIALS, Sandbox, running_origin, running_sandbox

PREFETCH = protocol.prefetch("docs", "a.txt")
OK = b"HTTP/1.1 200 OK\r\nX-Reqid: abc\r\nContent-Length: 0\r\n\r\n"
SHORT = Timeouts(connect=timedelta(seconds=0.2), read=timedelta(seconds=0.3))
LONG = Timeouts(connect=timedelta(seconds=20), read=timedelta(seconds=20))

Speak = Callable[[socket.socket, threading.Event], None]
"""Answers the request that was read from a connection; the event comes when the test is over."""


def now() -> datetime:
    return datetime.now(UTC)


def client_of(
    url: str,
    *,
    timeouts: Timeouts = LONG,
    credentials: Credentials = CREDENTIALS,
    scheme: Scheme = "qbox",
    now: Callable[[], datetime] = now,
) -> KodoClient:
    wire = Wire(timeouts=timeouts, connections=10)
    hosts = Hosts(
        wire=wire, access_key=credentials.access_key, pinned=dict.fromkeys(Host, url), user_agent="ua", clock=float
    )
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


class Server:
    """Reads requests, remembers their heads and lets `speak` answer."""

    def __init__(self, speak: Speak, tls: ssl.SSLContext | None = None) -> None:
        self.heads: list[str] = []
        self._speak = speak
        self._over = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._tls = tls
        self._threads = [threading.Thread(target=self._accept, name="raw server")]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._over.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                thread = threading.Thread(target=self._serve, args=[connection], name="raw connection")
                thread.start()
                self._threads.append(thread)

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(20)
        with connection, suppress(OSError):
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
            with connection:
                while head := _read_head(connection):
                    self.heads.append(head)
                    self._speak(connection, self._over)


def _read_head(connection: socket.socket) -> str:
    received = b""
    while b"\r\n\r\n" not in received:
        more = connection.recv(4096)
        if not more:
            return ""
        received += more
    return received.decode("latin-1")


@contextmanager
def serving(speak: Speak, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    server = Server(speak, tls)
    try:
        yield server
    finally:
        server.close()


def saying(answer: bytes, *, then_close: bool = False) -> Speak:
    def speak(connection: socket.socket, _: threading.Event) -> None:
        connection.sendall(answer)
        if then_close:
            connection.close()

    return speak


def silent(_: socket.socket, over: threading.Event) -> None:
    over.wait()


@pytest.fixture(autouse=True)
def no_proxy_unless_the_test_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


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

    async def asked(kodo: Kodo) -> list[Reply]:
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


def test_no_answer_in_time_is_a_timeout_and_the_pull_may_go_on() -> None:
    with serving(silent) as server:
        (reply,) = ask(lambda: client_of(server.url, timeouts=SHORT))

    assert (reply.status, reply.silence) == (None, Silence.TIMED_OUT)
    assert reply.error
    assert 0.3 <= reply.duration_s < 5


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"], ids=["head", "body"])
def test_an_answer_that_comes_drop_by_drop_ends_with_the_time_limit(start: bytes) -> None:
    drip = (b"HTTP/1.1 200 OK\r\nX-Long: " if not start else b"") + b"x" * 10_000

    def speak(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(start)
        for n in range(len(drip)):
            connection.sendall(drip[n : n + 1])
            if over.wait(0.02):
                return

    with serving(speak) as server:
        (reply,) = ask(lambda: client_of(server.url, timeouts=SHORT))

    assert (reply.status, reply.silence) == (None, Silence.TIMED_OUT)
    assert reply.duration_s < 5


@pytest.mark.parametrize(
    "speak",
    [
        pytest.param(saying(b"", then_close=True), id="hangs-up"),
        pytest.param(saying(b"HTTP/1.1 200 OK\r\nX-Re", then_close=True), id="within-the-head"),
        pytest.param(
            saying(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", then_close=True), id="within-the-body"
        ),
        pytest.param(
            saying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhal", then_close=True), id="in-a-chunk"
        ),
        pytest.param(saying(b"SSH-2.0-OpenSSH_9.2\r\n", then_close=True), id="is-no-http"),
        pytest.param(saying(b"HTTP/1.1 2xx OK\r\n\r\n", then_close=True), id="has-no-status"),
    ],
)
def test_a_server_that_hangs_up_is_broken_and_what_it_did_is_unknown(speak: Speak) -> None:
    with serving(speak) as server:
        (reply,) = ask(lambda: client_of(server.url))

    assert (reply.status, reply.silence) == (None, Silence.BROKEN)
    assert reply.error
    assert len(server.heads) == 1  # never sent twice by itself


def test_a_kept_connection_that_breaks_is_told_and_not_tried_again_behind_our_back() -> None:
    answers = iter([OK, b"", OK])

    def speak(connection: socket.socket, _: threading.Event) -> None:
        answer = next(answers)
        if answer:
            connection.sendall(answer)
        else:
            connection.close()

    with serving(speak) as server:
        replies = ask(lambda: client_of(server.url), PREFETCH, PREFETCH, PREFETCH)

    assert [reply.silence for reply in replies] == [None, Silence.BROKEN, None]
    assert len(server.heads) == 3


def test_an_answer_without_end_is_cut_off() -> None:
    def speak(connection: socket.socket, _: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nX-Reqid: abc\r\n\r\n")
        while True:
            connection.sendall(b"x" * 2**20)

    with serving(speak) as server:
        (reply,) = ask(lambda: client_of(server.url))

    assert (reply.status, reply.silence) == (None, Silence.BROKEN)
    assert str(REPLY_MOST) in (reply.error or "")


def test_a_closed_port_means_that_nothing_was_asked() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound, but nobody listens

        (reply,) = ask(lambda: client_of(f"http://127.0.0.1:{bound.getsockname()[1]}"))

    assert (reply.status, reply.silence) == (None, Silence.CONNECT_FAILED)
    assert "127.0.0.1" in (reply.error or "")


def test_a_name_that_does_not_exist_means_that_nothing_was_asked() -> None:
    timeouts = Timeouts(connect=timedelta(seconds=5), read=timedelta(seconds=5))

    (reply,) = ask(lambda: client_of("http://no-such-host.invalid", timeouts=timeouts))

    assert (reply.status, reply.silence) == (None, Silence.CONNECT_FAILED)


def test_a_server_that_does_not_speak_tls_means_that_nothing_was_asked() -> None:
    with serving(saying(OK)) as server:
        url = server.url.replace("http://", "https://")
        (reply,) = ask(lambda: client_of(url, timeouts=SHORT))

    assert (reply.status, reply.silence) == (None, Silence.CONNECT_FAILED)


Trusted = Callable[[str], AbstractContextManager[Server]]


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trusted:
    """Servers whose certificate this process trusts, made out to a given name."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed here")

    def start(name: str) -> AbstractContextManager[Server]:
        key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
             "-subj", "/CN=test", "-addext", f"subjectAltName={name}", "-keyout", key, "-out", certificate],
            check=True, capture_output=True,
        )  # fmt: skip
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate, key)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        return serving(saying(OK), tls)

    return start


def test_a_certificate_of_the_systems_trust_store_is_accepted(trusted: Trusted) -> None:
    with trusted("IP:127.0.0.1") as server:
        (reply,) = ask(lambda: client_of(server.url))

    assert (reply.status, reply.reqid) == (200, "abc")


def test_a_certificate_for_another_name_means_that_nothing_was_asked(trusted: Trusted) -> None:
    with trusted("DNS:io.example.com") as server:
        (reply,) = ask(lambda: client_of(server.url))

    assert (reply.status, reply.silence) == (None, Silence.CONNECT_FAILED)
    assert "mismatch" in (reply.error or "")
    assert server.heads == []


def test_a_certificate_that_nobody_vouches_for_means_that_nothing_was_asked(
    trusted: Trusted, monkeypatch: pytest.MonkeyPatch
) -> None:
    with trusted("IP:127.0.0.1") as server:
        monkeypatch.delenv("SSL_CERT_FILE")
        (reply,) = ask(lambda: client_of(server.url))

    assert (reply.status, reply.silence) == (None, Silence.CONNECT_FAILED)
    assert server.heads == []


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_the_environments_proxy_is_used(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    with serving(saying(OK)) as proxy:
        if variable == "HTTP_PROXY":
            monkeypatch.delenv("REQUEST_METHOD", raising=False)
        monkeypatch.setenv(variable, proxy.url)

        (reply,) = ask(lambda: client_of("http://iovip.example.com"))

    (head,) = proxy.heads
    assert reply.status == 200
    assert head.startswith(f"POST http://iovip.example.com{PREFETCH.target} HTTP/1.1\r\n")
    assert _headers(head)["host"] == "iovip.example.com"


@pytest.mark.parametrize("exempt", ["127.0.0.1", "*", "example.com,127.0.0.1"])
def test_no_proxy_exempts_a_server(monkeypatch: pytest.MonkeyPatch, exempt: str) -> None:
    with serving(saying(OK)) as proxy, serving(saying(OK)) as server:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", exempt)

        (reply,) = ask(lambda: client_of(server.url))

    assert reply.status == 200
    assert (len(proxy.heads), len(server.heads)) == (0, 1)


def test_a_proxy_that_is_not_there_means_that_nothing_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{bound.getsockname()[1]}")

        (reply,) = ask(lambda: client_of("http://iovip.example.com"))

    assert (reply.status, reply.silence) == (None, Silence.CONNECT_FAILED)


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

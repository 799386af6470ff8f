"""One call over real sockets: each thing a network can do gives its kind of silence and one clear line."""

import asyncio
import re
import socket
import threading
import time
from contextlib import ExitStack
from datetime import timedelta

import pytest

from mirrord.kodo import mishaps
from mirrord.kodo.exchange import Answer, NoAnswer, Timeouts, base_of
from mirrord.kodo.wire import REPLY_MOST, Wire
from mirrord.model.attempt import Silence
from tests.kodo.conftest import Trusted
from tests.kodo.raw_server import OK, Speak, proxying, saying, serving, silent

SHORT = Timeouts(connect=timedelta(seconds=0.2), read=timedelta(seconds=0.3))
LONG = Timeouts(connect=timedelta(seconds=20), read=timedelta(seconds=20))
RESET = b"\x01\x00\x00\x00\x00\x00\x00\x00"  # SO_LINGER of 0 s: closing sends RST


def sent(
    url: str, *, timeouts: Timeouts = LONG, read: timedelta | None = None, times: int = 1, method: str = "POST"
) -> list[Answer | NoAnswer]:
    """What comes of asking `url` for /a, one time after the other, over one wire."""

    async def asked() -> list[Answer | NoAnswer]:
        wire = Wire(timeouts=timeouts)
        try:
            return [await wire.send(method, base_of(url), "/a?b=c%3D", {}, read=read) for _ in range(times)]
        finally:
            await wire.close()

    return asyncio.run(asked())


def silence_of(url: str, *, timeouts: Timeouts = LONG, read: timedelta | None = None) -> tuple[Silence, str]:
    """Why there was no answer, and the line that says so: one line, with nothing of a library's insides."""
    (answer,) = sent(url, timeouts=timeouts, read=read)
    assert isinstance(answer, NoAnswer), answer
    assert not re.search(r"[<>\n]|\[Errno|Error|object at|ssl:|_ssl", answer.error), answer.error
    assert len(answer.error) < 160
    return answer.silence, answer.error


def resetting(start: bytes) -> Speak:
    def speak(connection: socket.socket, _: threading.Event) -> None:
        connection.sendall(start)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        connection.close()

    return speak


@pytest.fixture
def closed_port() -> int:
    """Nobody listens there: it was given to this test a moment ago, and back."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
    return port


def test_an_answer_is_status_headers_and_body() -> None:
    with serving(
        saying(b"HTTP/1.1 478 Kodo\r\nX-Reqid: abc\r\nX-Odd: caf\xe9\r\nContent-Length: 2\r\n\r\n{}")
    ) as server:
        (answer,) = sent(server.url)

    assert isinstance(answer, Answer)
    assert (answer.status, answer.body) == (478, b"{}")
    assert (answer.headers["x-reqid"], answer.headers["x-odd"]) == ("abc", "caf\xe9")
    assert server.heads[0].startswith("POST /a?b=c%3D HTTP/1.1\r\n")


def test_a_refused_connection_means_that_nothing_was_asked(closed_port: int) -> None:
    silence = silence_of(f"http://127.0.0.1:{closed_port}")

    assert silence == (Silence.CONNECT_FAILED, f"no connection to 127.0.0.1:{closed_port}: connection refused")


def test_a_name_that_does_not_exist_means_that_nothing_was_asked() -> None:
    silence, error = silence_of("http://no-such-host.invalid")

    assert silence is Silence.CONNECT_FAILED
    assert error.startswith("the name no-such-host.invalid cannot be resolved: ")


def test_a_server_that_never_takes_the_connection_means_that_nothing_was_asked() -> None:
    with ExitStack() as queue:
        listener = queue.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port = listener.getsockname()[1]
        if not _filled(queue, port):
            pytest.skip("this kernel takes connections beyond the backlog")
        silence = silence_of(f"http://127.0.0.1:{port}", timeouts=SHORT)

    assert silence == (Silence.CONNECT_FAILED, f"no connection to 127.0.0.1:{port}: not within 0.2 s")


def _filled(queue: ExitStack, port: int) -> bool:
    """Whether so many connections wait to be accepted that the next one gets no answer."""
    for _ in range(20):
        waiting = queue.enter_context(socket.socket())
        waiting.settimeout(0.1)
        try:
            waiting.connect(("127.0.0.1", port))
        except TimeoutError:
            return True
    return False


def test_no_answer_in_time_is_a_timeout_and_the_pull_may_go_on() -> None:
    with serving(silent) as server:
        silence = silence_of(server.url, timeouts=SHORT)

    assert silence == (Silence.TIMED_OUT, f"127.0.0.1:{server.port} did not give an answer within 0.3 s")


def test_one_call_may_have_less_time_than_the_others() -> None:
    timeouts = Timeouts(connect=timedelta(seconds=0.2), read=timedelta(seconds=100))

    with serving(silent) as server:
        began = time.perf_counter()
        silence = silence_of(server.url, timeouts=timeouts, read=timedelta(seconds=0.3))

    assert silence == (Silence.TIMED_OUT, f"127.0.0.1:{server.port} did not give an answer within 0.3 s")
    assert time.perf_counter() - began < 20


@pytest.mark.parametrize(
    ("within_s", "words"), [(5.00002, "5 s"), (0.3, "0.3 s"), (7265.25, "7265.25 s"), (100.004, "100 s")], ids=str
)
def test_a_time_limit_is_said_as_a_person_would(within_s: float, words: str) -> None:
    _, said = mishaps.of_asking(TimeoutError(), "io", within_s, answering=False)

    assert said == f"io did not give an answer within {words}"


@pytest.mark.parametrize(
    ("start", "part"),
    [
        pytest.param(b"", "an answer", id="head"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", "the whole answer", id="body"),
    ],
)
def test_an_answer_that_comes_drop_by_drop_ends_with_the_time_limit(start: bytes, part: str) -> None:
    drip = (b"HTTP/1.1 200 OK\r\nX-Long: " if not start else b"") + b"x" * 10_000

    def speak(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(start)
        for n in range(len(drip)):
            connection.sendall(drip[n : n + 1])
            if over.wait(0.02):
                return

    with serving(speak) as server:
        silence = silence_of(server.url, timeouts=SHORT)

    assert silence == (Silence.TIMED_OUT, f"127.0.0.1:{server.port} did not give {part} within 0.3 s")


@pytest.mark.parametrize(
    ("speak", "said"),
    [
        pytest.param(saying(b"", then_close=True), "{} hung up without an answer", id="hangs-up"),
        pytest.param(resetting(b""), "{} gave no answer: connection reset by peer", id="resets"),
        pytest.param(
            saying(b"HTTP/1.1 200 OK\r\nX-Re", then_close=True), "{} hung up without an answer", id="within-the-head"
        ),
        pytest.param(
            saying(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", then_close=True),
            "{} broke off in mid-reply", id="within-the-body",
        ),
        pytest.param(
            resetting(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"),
            "{} broke off in mid-reply", id="resets-within-the-body",
        ),
        pytest.param(
            saying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhal", then_close=True),
            "{} broke off in mid-reply", id="in-a-chunk",
        ),
        pytest.param(
            saying(b"SSH-2.0-OpenSSH_9.2\r\n", then_close=True), "what {} answered is not HTTP", id="is-no-http"
        ),
        pytest.param(
            saying(b"HTTP/1.1 2xx OK\r\n\r\n", then_close=True), "what {} answered is not HTTP", id="has-no-status"
        ),
    ],
)  # fmt: skip
def test_a_server_that_breaks_off_leaves_unknown_what_it_did(speak: Speak, said: str) -> None:
    with serving(speak) as server:
        silence = silence_of(server.url)

    assert silence == (Silence.BROKEN, said.format(f"127.0.0.1:{server.port}"))
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
        said = sent(server.url, times=3)

    assert [answer.silence if isinstance(answer, NoAnswer) else None for answer in said] == [None, Silence.BROKEN, None]
    assert len(server.heads) == 3


def test_an_answer_without_end_is_cut_off() -> None:
    def speak(connection: socket.socket, _: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nX-Reqid: abc\r\n\r\n")
        while True:
            connection.sendall(b"x" * 2**20)

    with serving(speak) as server:
        silence = silence_of(server.url)

    said = f"the reply of 127.0.0.1:{server.port} is longer than {REPLY_MOST} bytes"
    assert silence == (Silence.BROKEN, said)


def test_an_address_that_is_none_means_that_nothing_was_asked() -> None:
    silence = silence_of("http://io..example.com")

    failed = "no connection to io..example.com: that is not the name of a server"
    assert silence == (Silence.CONNECT_FAILED, failed)


def test_a_server_that_does_not_speak_tls_means_that_nothing_was_asked() -> None:
    with serving(saying(OK)) as server:
        silence, error = silence_of(server.url.replace("http://", "https://"), timeouts=SHORT)

    assert silence is Silence.CONNECT_FAILED
    assert error.startswith(f"no connection to 127.0.0.1:{server.port}: ")


def test_a_server_that_answers_tls_with_http_means_that_nothing_was_asked() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def speak() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                while connection.recv(4096):
                    pass

        thread = threading.Thread(target=speak)
        thread.start()
        silence = silence_of(f"https://127.0.0.1:{port}")
        thread.join()

    assert silence == (Silence.CONNECT_FAILED, f"TLS with 127.0.0.1:{port} failed: wrong version number")


def test_a_certificate_of_the_systems_trust_store_is_accepted(trusted: Trusted) -> None:
    with trusted("IP:127.0.0.1") as server:
        (answer,) = sent(server.url)

    assert isinstance(answer, Answer)
    assert answer.status == 200


def test_a_certificate_for_another_name_means_that_nothing_was_asked(trusted: Trusted) -> None:
    with trusted("DNS:io.example.com") as server:
        silence, error = silence_of(server.url)

    assert silence is Silence.CONNECT_FAILED
    assert error.startswith(f"TLS with 127.0.0.1:{server.port} failed: ")
    assert "mismatch" in error
    assert server.heads == []


def test_a_certificate_that_nobody_vouches_for_means_that_nothing_was_asked(
    trusted: Trusted, monkeypatch: pytest.MonkeyPatch
) -> None:
    with trusted("IP:127.0.0.1") as server:
        monkeypatch.delenv("SSL_CERT_FILE")
        silence = silence_of(server.url)

    failed = f"TLS with 127.0.0.1:{server.port} failed: self-signed certificate"
    assert silence == (Silence.CONNECT_FAILED, failed)
    assert server.heads == []


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("scheme", ["http://", ""], ids=["url", "bare"])
def test_plain_http_is_asked_of_the_environments_proxy(
    monkeypatch: pytest.MonkeyPatch, variable: str, scheme: str
) -> None:
    with proxying() as proxy:
        monkeypatch.setenv(variable, f"{scheme}127.0.0.1:{proxy.port}")

        (answer,) = sent("http://iovip.example.com")

    (head,) = proxy.heads
    assert isinstance(answer, Answer)
    assert head.startswith("POST http://iovip.example.com/a?b=c%3D HTTP/1.1\r\n")
    assert "\r\nHost: iovip.example.com\r\n" in head


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_https_goes_through_a_tunnel_that_the_proxy_cannot_look_into(
    trusted: Trusted, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    with trusted("DNS:io.example.com") as server, proxying(server.url) as proxy:
        monkeypatch.setenv(variable, f"http://user:pass@127.0.0.1:{proxy.port}")

        answers = sent("https://io.example.com", times=2)

    (asked,) = proxy.heads
    assert all(isinstance(answer, Answer) for answer in answers)
    assert asked.startswith("CONNECT io.example.com:443 HTTP/1.1\r\n")
    assert "\r\nProxy-Authorization: Basic dXNlcjpwYXNz\r\n" in asked
    assert [head.partition("\r\n")[0] for head in server.heads] == ["POST /a?b=c%3D HTTP/1.1"] * 2
    assert "Proxy-Authorization" not in server.heads[0]


def test_a_password_of_a_plain_proxy_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    with proxying() as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://user:pass@127.0.0.1:{proxy.port}")

        sent("http://iovip.example.com")

    assert "\r\nProxy-Authorization: Basic dXNlcjpwYXNz\r\n" in proxy.heads[0]


def test_a_certificate_is_checked_through_a_tunnel_as_well(trusted: Trusted, monkeypatch: pytest.MonkeyPatch) -> None:
    with trusted("DNS:another.example.com") as server, proxying(server.url) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)

        silence, error = silence_of("https://io.example.com")

    assert silence is Silence.CONNECT_FAILED
    assert error.startswith("TLS with io.example.com failed: hostname mismatch")
    assert server.heads == []


@pytest.mark.parametrize(
    ("speak", "why"),
    [
        pytest.param(
            saying(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"), "the proxy answered 403", id="403"
        ),
        pytest.param(saying(b"HTTP/1.1 407 Who?\r\nContent-Length: 0\r\n\r\n"), "the proxy answered 407", id="407"),
        pytest.param(saying(b"", then_close=True), "the proxy hung up", id="hangs-up"),
        pytest.param(saying(b"SSH-2.0\r\n", then_close=True), "the proxy does not speak HTTP", id="is-no-http"),
        pytest.param(resetting(b""), "connection reset by peer", id="resets"),
        pytest.param(silent, "not within 0.2 s", id="says-nothing"),
    ],
)
def test_a_proxy_that_makes_no_tunnel_means_that_nothing_was_asked(
    monkeypatch: pytest.MonkeyPatch, speak: Speak, why: str
) -> None:
    timeouts = Timeouts(connect=timedelta(seconds=0.2), read=timedelta(seconds=20)) if "within" in why else LONG

    with serving(speak) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        silence = silence_of("https://io.example.com", timeouts=timeouts)

    assert silence == (Silence.CONNECT_FAILED, f"no connection to io.example.com: {why}")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_is_not_there_means_that_nothing_was_asked(
    monkeypatch: pytest.MonkeyPatch, scheme: str, closed_port: int
) -> None:
    monkeypatch.setenv("ALL_PROXY", f"http://user:pass@127.0.0.1:{closed_port}")

    silence = silence_of(f"{scheme}://iovip.example.com")

    failed = f"no connection to the proxy 127.0.0.1:{closed_port}: connection refused"
    assert silence == (Silence.CONNECT_FAILED, failed)


@pytest.mark.parametrize(
    ("proxy", "why"),
    [
        ("socks5://user:pass@127.0.0.1:1080", "a socks5 proxy cannot be used, only an http one"),
        ("http://user:pass@[::1", "the proxy's address is not a URL"),
    ],
    ids=["socks", "nonsense"],
)
def test_a_proxy_that_cannot_be_used_is_told_without_its_password(
    monkeypatch: pytest.MonkeyPatch, proxy: str, why: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)

    silence = silence_of("http://iovip.example.com")

    assert silence == (Silence.CONNECT_FAILED, f"no connection to iovip.example.com: {why}")


@pytest.mark.parametrize(
    ("exempt", "direct"),
    [
        pytest.param("127.0.0.1", True, id="host"),
        pytest.param("127.0.0.1:{}", True, id="host-and-port"),
        pytest.param("127.0.0.1:1", False, id="another-port"),
        pytest.param("*", True, id="all"),
        pytest.param("example.com, 127.0.0.1", True, id="one-of-a-list"),
        pytest.param("0.0.1", True, id="suffix"),
        pytest.param(".0.0.1", True, id="suffix-with-a-dot"),
        pytest.param("27.0.0.1", False, id="half-a-label"),
        pytest.param("example.com", False, id="another"),
    ],
)
def test_no_proxy_exempts_a_server(monkeypatch: pytest.MonkeyPatch, exempt: str, direct: bool) -> None:
    with proxying() as proxy, serving(saying(OK)) as server:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", exempt.format(server.port))

        (answer,) = sent(server.url)

    assert isinstance(answer, Answer)
    assert (len(proxy.heads), len(server.heads)) == ((0, 1) if direct else (1, 0))


@pytest.mark.parametrize("exempt", ["io.invalid:443", "::1", "invalid"])
def test_no_proxy_may_name_a_port_that_the_url_leaves_out(monkeypatch: pytest.MonkeyPatch, exempt: str) -> None:
    url = "https://[::1]:9" if exempt == "::1" else "https://io.invalid"

    with proxying() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", exempt)

        silence, _ = silence_of(url)

    assert silence is Silence.CONNECT_FAILED
    assert proxy.heads == []

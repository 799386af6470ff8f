"""Feeds asked over real sockets: what comes is unpacked, and each thing a server can do gives one plain sentence."""

import asyncio
import base64
import contextlib
import gzip
import hashlib
import re
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from email.utils import formatdate
from pathlib import Path

import pytest

from mirrord.sources.feed.dialect import Ask, Unreadable
from mirrord.sources.feed.fetching import Access, Fetcher, Got, Patience, Unreachable, Validators, shown_url
from tests.kodo.raw_server import Server, Speak, proxying, saying, serving, silent, tls_for

ACCESS = Access(user_agent="mirrord/1 (test)")
SECRETS = replace(ACCESS, headers={"X-API-Key": "hidden-1"}, authorization="Bearer hidden-2")
LONG = Patience(connect=timedelta(seconds=20), idle=timedelta(seconds=20))
SHORT = Patience(connect=timedelta(seconds=0.2), idle=timedelta(seconds=0.3))
LINES = b'{"seq": 1}\n{"seq": 2}\n'
MIB = 2**20
RESET = b"\x01\x00\x00\x00\x00\x00\x00\x00"  # SO_LINGER of 0 s: closing sends RST


@pytest.fixture(autouse=True)
def no_proxy_unless_the_test_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def answer(body: bytes = b"", status: str = "200 OK", **headers: str) -> bytes:
    named = {"Content-Length": str(len(body)), **{name.replace("_", "-"): text for name, text in headers.items()}}
    head = "\r\n".join([f"HTTP/1.1 {status}", *(f"{name}: {text}" for name, text in named.items()), "", ""])
    return head.encode("latin-1") + body


def chunk(body: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(body), body)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@dataclass(frozen=True)
class Came:
    got: Got
    body: bytes
    digest: str | None


async def read(fetcher: Fetcher, ask: Ask, validators: Validators | None = None) -> Came:
    async with fetcher.get(ask, validators) as got:
        body = b"".join([piece async for piece in got.chunks()])
    return Came(got, body, got.digest() if ask.conditional else None)


def fetched(
    *asks: Ask,
    validators: Validators | None = None,
    access: Access = ACCESS,
    patience: Patience = LONG,
    unpacked: int = 64 * MIB,
) -> list[Came]:
    """What comes of asking for these, one after the other, of one fetcher."""

    async def asked() -> list[Came]:
        fetcher = Fetcher(access, patience, unpacked=unpacked)
        try:
            return [await read(fetcher, ask, validators) for ask in asks]
        finally:
            await fetcher.close()

    return asyncio.run(asked())


def unreachable(ask: Ask, access: Access = ACCESS, patience: Patience = LONG) -> Unreachable:
    """Why there is no answer: one line, with nothing secret and nothing of a library's insides."""
    with pytest.raises(Unreachable) as caught:
        fetched(ask, access=access, patience=patience)
    error = caught.value
    assert not re.search(r"[<>\n]|\[Errno|Error|Exception|object at|ssl:|_ssl|hidden", error.sentence), error.sentence
    assert error.__cause__ is None  # whose text might hold what is secret
    assert len(error.sentence) < 200
    return error


@contextmanager
def serving_pages(pages: dict[str, bytes]) -> Iterator[Server]:
    """A server with an answer for each path."""
    server: Server

    def speak(connection: socket.socket, _: threading.Event) -> None:
        connection.sendall(pages[server.heads[-1].split(" ", 2)[1]])

    with serving(speak) as server:
        yield server


def resetting(start: bytes) -> Speak:
    def speak(connection: socket.socket, _: threading.Event) -> None:
        connection.sendall(start)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        connection.close()

    return speak


def dripping(start: bytes, drop: bytes, times: int = 10**6, end: bytes = b"") -> Speak:
    """Every 20 ms a drop."""

    def speak(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(start)
        for _ in range(times):
            if over.wait(0.02):
                return
            connection.sendall(drop)
        connection.sendall(end)

    return speak


def header(head: str, name: str) -> str | None:
    found = re.search(rf"^{name}: (.*)\r$", head, re.MULTILINE | re.IGNORECASE)
    return found and found[1]


@pytest.fixture
def closed_port() -> int:
    """Nobody listens there: it was given to this test a moment ago, and back."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
    return port


Trusted = Callable[[str, Speak], AbstractContextManager[Server]]


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trusted:
    """Servers whose certificate this process trusts, made out to a given name such as `IP:127.0.0.1`."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed here")

    def start(name: str, speak: Speak) -> AbstractContextManager[Server]:
        tls, certificate = tls_for(tmp_path, name)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        return serving(speak, tls)

    return start


# -- what is asked ---------------------------------------------------------------------------------------------------


def test_an_answer_is_its_head_and_its_body() -> None:
    with serving(saying(answer(LINES, Content_Type="application/x-ndjson", X_Odd="caf\xe9"))) as server:
        (came,) = fetched(Ask(url=f"{server.url}/changes?since=5%2B1%20&x=a+b"))

    assert came.body == LINES
    assert (came.got.head.status, came.got.unchanged) == (200, False)
    assert came.got.head.url == f"{server.url}/changes?since=5%2B1%20&x=a+b"
    assert came.got.head.headers["content-type"] == "application/x-ndjson"
    assert came.got.head.headers["x-odd"] == "caf\xe9"
    assert server.heads[0].startswith("GET /changes?since=5%2B1%20&x=a+b HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("", "/"),
        ("?a=b", "/?a=b"),
        ("/a%2Fb%7e%3D?c=%2f%20%3d", "/a%2Fb%7e%3D?c=%2f%20%3d"),
        ("/ä b?ö=ü#ß", "/%C3%A4%20b?%C3%B6=%C3%BC"),
        ("/a?since=%22x%22&y={z}", "/a?since=%22x%22&y={z}"),
    ],
)
def test_a_url_is_asked_as_it_is_written(path: str, asked: str) -> None:
    with serving(saying(answer())) as server:
        fetched(Ask(url=server.url + path))

    assert server.heads[0].split(" ")[1] == asked


def test_the_headers_say_who_asks_and_that_no_cache_should_answer() -> None:
    with serving(saying(answer())) as server:
        fetched(Ask(url=server.url, headers={"Accept": "application/json", "Last-Event-ID": "ü-1"}), access=SECRETS)

    (head,) = server.heads
    assert header(head, "User-Agent") == "mirrord/1 (test)"
    assert header(head, "Cache-Control") == "no-cache"
    assert header(head, "Accept-Encoding") == "gzip"
    assert header(head, "Accept") == "application/json"
    assert header(head, "Last-Event-ID") == "ü-1".encode().decode("latin-1")
    assert header(head, "X-API-Key") == "hidden-1"
    assert header(head, "Authorization") == "Bearer hidden-2"


def test_the_settings_headers_win() -> None:
    access = replace(ACCESS, headers={"accept": "text/special", "accept-encoding": "identity"})

    with serving(saying(answer())) as server:
        fetched(Ask(url=server.url, headers={"Accept": "application/json"}), access=access)

    assert header(server.heads[0], "Accept") == "text/special"
    assert header(server.heads[0], "Accept-Encoding") == "identity"
    assert server.heads[0].lower().count("\r\naccept:") == 1


def test_a_login_in_the_url_is_sent_and_not_shown() -> None:
    with serving(saying(answer())) as server:
        (came,) = fetched(Ask(url=server.url.replace("//", "//me:hid%20den@") + "/a"))

    assert header(server.heads[0], "Authorization") == "Basic " + base64.b64encode(b"me:hid den").decode()
    assert came.got.head.url == f"{server.url}/a"


def test_no_login_is_taken_from_netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login me password hidden\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("HOME", str(tmp_path))

    with serving(saying(answer())) as server:
        fetched(Ask(url=server.url))

    assert header(server.heads[0], "Authorization") is None


def test_cookies_are_not_kept() -> None:
    with serving(saying(answer(Set_Cookie="a=b; Path=/"))) as server:
        fetched(Ask(url=server.url), Ask(url=server.url))

    assert [header(head, "Cookie") for head in server.heads] == [None, None]


def test_a_connection_serves_one_request_after_the_other() -> None:
    ports = set()

    def speak(connection: socket.socket, _: threading.Event) -> None:
        ports.add(connection.getpeername()[1])
        connection.sendall(answer(LINES))

    with serving(speak) as server:
        came = fetched(*[Ask(url=server.url)] * 5)

    assert [each.body for each in came] == [LINES] * 5
    assert len(ports) == 1


def test_a_kept_connection_that_the_server_has_closed_is_replaced_unseen() -> None:
    with serving(saying(answer(LINES), then_close=True)) as server:
        came = fetched(*[Ask(url=server.url)] * 3)

    assert [each.body for each in came] == [LINES] * 3


def test_eight_requests_wait_at_once() -> None:
    all_here = threading.Barrier(8)

    def speak(connection: socket.socket, _: threading.Event) -> None:
        all_here.wait(20)
        connection.sendall(answer(LINES))

    async def ask_all(url: str) -> list[bytes]:
        fetcher = Fetcher(ACCESS, LONG)
        async with asyncio.TaskGroup() as tasks:
            reading = [tasks.create_task(read(fetcher, Ask(url=url, waits=True))) for _ in range(8)]
        await fetcher.close()
        return [task.result().body for task in reading]

    with serving(speak) as server:
        assert asyncio.run(ask_all(server.url)) == [LINES] * 8


def test_a_fetcher_may_be_used_again_after_it_was_closed() -> None:
    fetcher = Fetcher(ACCESS, LONG)

    async def once(url: str) -> bytes:
        came = await read(fetcher, Ask(url=url))
        await fetcher.close()
        await fetcher.close()
        return came.body

    with serving(saying(answer(LINES))) as server:
        assert [asyncio.run(once(server.url)) for _ in range(2)] == [LINES, LINES]


# -- versions and ages -----------------------------------------------------------------------------------------------

VALIDATORS = Validators(etag='W/"v1"', last_modified="Thu, 05 Nov 2026 12:00:00 GMT")


def test_a_version_is_named_and_can_be_given_back() -> None:
    with serving(saying(answer(LINES, ETag='W/"v1"', Last_Modified=str(VALIDATORS.last_modified)))) as server:
        (came,) = fetched(Ask(url=server.url, conditional=True))
        fetched(Ask(url=server.url, conditional=True), validators=came.got.validators)

    first, second = server.heads
    assert came.got.validators == VALIDATORS
    assert (header(first, "If-None-Match"), header(first, "If-Modified-Since")) == (None, None)
    assert (header(second, "If-None-Match"), header(second, "If-Modified-Since")) == (
        'W/"v1"',
        VALIDATORS.last_modified,
    )


def test_only_conditional_asks_give_a_version_back() -> None:
    with serving(saying(answer(LINES))) as server:
        fetched(Ask(url=server.url), validators=VALIDATORS)

    assert "if-" not in server.heads[0].lower()


def test_a_304_means_unchanged_and_renews_what_it_names() -> None:
    with serving(saying(answer(status="304 Not Modified", ETag='"v1"', Content_Length="500"))) as server:
        (came, again) = fetched(*[Ask(url=server.url, conditional=True)] * 2, validators=VALIDATORS)

    assert came.got.unchanged
    assert came.body == again.body == b""
    assert came.got.validators == replace(VALIDATORS, etag='"v1"')


@pytest.mark.parametrize("conditional", [True, False])
def test_a_304_that_nobody_asked_for_is_no_answer(conditional: bool) -> None:
    with serving(saying(answer(status="304 Not Modified"))) as server:
        error = unreachable(Ask(url=server.url, conditional=conditional))

    assert (error.sentence, error.status) == ("the feed answers 304", 304)


def test_a_204_is_an_answer_without_body() -> None:
    with serving(saying(b"HTTP/1.1 204 No Content\r\n\r\n")) as server:
        (came,) = fetched(Ask(url=server.url, waits=True))

    assert (came.got.head.status, came.body) == (204, b"")


def test_the_digest_is_of_the_unpacked_body() -> None:
    packed = answer(gzip.compress(LINES, mtime=0), Content_Encoding="gzip")

    with serving_pages({"/plain": answer(LINES), "/packed": packed, "/other": answer(b"")}) as server:
        came = fetched(*[Ask(url=f"{server.url}/{path}", conditional=True) for path in ("plain", "packed", "other")])

    plain, of_packed, other = [each.digest for each in came]
    assert plain == of_packed == hashlib.blake2b(LINES, digest_size=20).hexdigest()
    assert other != plain


def test_there_is_no_digest_of_what_was_not_read_to_its_end() -> None:
    async def ask(url: str) -> None:
        fetcher = Fetcher(ACCESS, LONG)
        async with fetcher.get(Ask(url=url, conditional=True)) as got:
            with pytest.raises(RuntimeError):
                got.digest()
        await fetcher.close()

    with serving(saying(answer(LINES))) as server:
        asyncio.run(ask(server.url))


@pytest.mark.parametrize(
    ("headers", "age", "document_age"),
    [
        pytest.param({}, None, None, id="nothing"),
        pytest.param({"Age": "7"}, 7, timedelta(seconds=7), id="age"),
        pytest.param({"Age": "seven"}, None, None, id="no number"),
        pytest.param({"Age": "-7"}, None, None, id="below zero"),
        pytest.param({"Age": "9" * 5000}, 2**31, timedelta(seconds=2**31), id="more than anything"),
        pytest.param({"Date": formatdate(1000, usegmt=True)}, None, None, id="date alone"),
        pytest.param(
            {"Date": formatdate(1000, usegmt=True), "Last_Modified": formatdate(400, usegmt=True), "Age": "7"},
            7, timedelta(minutes=10), id="both dates",
        ),
        pytest.param(
            {"Date": formatdate(400, usegmt=True), "Last_Modified": formatdate(1000, usegmt=True)},
            None, timedelta(0), id="from the future",
        ),
        pytest.param({"Date": "today", "Last_Modified": "yesterday"}, None, None, id="no dates"),
    ],
)  # fmt: skip
def test_an_answer_says_how_old_it_is(headers: dict[str, str], age: int | None, document_age: timedelta | None) -> None:
    with serving(saying(answer(LINES, "200 OK", **headers))) as server:
        (came,) = fetched(Ask(url=server.url))

    assert (came.got.age, came.got.document_age) == (age, document_age)


# -- unpacking -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(answer(gzip.compress(LINES, mtime=0), Content_Encoding="gzip"), id="gzip"),
        pytest.param(answer(gzip.compress(LINES, mtime=0), Content_Type="application/gzip"), id="a gzip file"),
        pytest.param(
            answer(gzip.compress(gzip.compress(LINES, mtime=0)), Content_Encoding="gzip"), id="a gzip file in gzip"
        ),
        pytest.param(CHUNKED + b"".join(chunk(bytes([each])) for each in LINES) + chunk(b""), id="chunks"),
    ],
)
def test_a_body_comes_unpacked(said: bytes) -> None:
    with serving(saying(said)) as server:
        came = fetched(Ask(url=server.url), Ask(url=server.url))

    assert [each.body for each in came] == [LINES, LINES]


def test_a_body_may_end_with_its_connection() -> None:
    with serving(saying(b"HTTP/1.0 200 OK\r\n\r\n" + LINES, then_close=True)) as server:
        (came,) = fetched(Ask(url=server.url))

    assert came.body == LINES


def test_what_a_stream_says_comes_at_once() -> None:
    heard = threading.Event()

    def speak(connection: socket.socket, _: threading.Event) -> None:
        connection.sendall(CHUNKED + chunk(b"data: 1\n\n"))
        assert heard.wait(20)
        connection.sendall(chunk(b"data: 2\n\n") + chunk(b""))

    async def listen(url: str) -> list[bytes]:
        fetcher, came = Fetcher(ACCESS, LONG), []
        async with fetcher.get(Ask(url=url, waits=True)) as got:
            async for piece in got.chunks():
                came.append(piece)
                heard.set()
        await fetcher.close()
        return came

    with serving(speak) as server:
        assert asyncio.run(listen(server.url)) == [b"data: 1\n\n", b"data: 2\n\n"]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (answer(LINES, Content_Encoding="br"), "is packed as 'br', only gzip was asked for"),
        (answer(LINES, Content_Encoding="gzip, gzip"), "is packed more than once, only gzip was asked for"),
        (answer(gzip.compress(LINES, mtime=0)[:-9], Content_Encoding="gzip"), "was cut off: its gzip does not end"),
        (answer(LINES, Content_Encoding="gzip"), "is not the gzip that it seems to be, or broken"),
    ],
    ids=["another", "stacked", "cut off", "none"],
)
def test_a_body_that_cannot_be_unpacked_is_unreadable(said: bytes, words: str) -> None:
    with serving(saying(said)) as server, pytest.raises(Unreadable) as caught:
        fetched(Ask(url=server.url))

    assert str(caught.value) == words


def test_a_body_without_end_is_cut_off_and_its_connection_too() -> None:
    gone = threading.Event()

    def speak(connection: socket.socket, _: threading.Event) -> None:
        connection.sendall(CHUNKED)
        with contextlib.suppress(OSError):
            while True:
                connection.sendall(chunk(bytes(MIB)))
        gone.set()

    with serving(speak) as server, pytest.raises(Unreadable, match="is longer than 3 MiB and"):
        fetched(Ask(url=server.url), unpacked=3 * MIB)

    assert gone.wait(20)


def test_a_stream_may_go_on_for_ever() -> None:
    with serving(saying(answer(bytes(4 * MIB)))) as server:
        (came,) = fetched(Ask(url=server.url, waits=True), unpacked=MIB)

    assert len(came.body) == 4 * MIB


def test_a_bomb_leaves_others_their_turn() -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def ask(url: str) -> None:
        fetcher, counting = Fetcher(ACCESS, LONG, unpacked=100 * MIB), asyncio.ensure_future(count())
        async with fetcher.get(Ask(url=url)) as got:
            before = turns
            with pytest.raises(Unreadable):
                [len(piece) async for piece in got.chunks()]
        counting.cancel()
        await fetcher.close()
        assert turns - before >= 90

    with serving(saying(answer(gzip.compress(bytes(200 * MIB), 1)))) as server:
        asyncio.run(ask(server.url))


# -- statuses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "kind", "sentence", "is_"),
    [
        ("401 No", b"Who are\nyou?", "text/plain", "the feed refuses us (401): Who are you?", "refused"),
        ("403 No", b'{"error":"no"}', "application/json", 'the feed refuses us (403): {"error":"no"}', "refused"),
        ("404 Not Found", b"", "text/plain", "there is nothing at {}/a (404)", "missing"),
        ("410 Gone", b"\x89PNG", "image/png", "{}/a is gone for good (410)", "gone"),
        ("407 Who", b"", "", "the proxy refuses us (407)", ""),
        ("429 Slow", b"", "", "the feed is asked too often (429)", ""),
        ("503 Busy", b"x" * 300, "text/plain; charset=utf-8", "the feed is not available (503): " + "x" * 100, ""),
        ("500 Oops", b"\x1b[31m\xff\x00a\tb", "text/plain", "the feed answers 500: [31m a b", ""),
        ("201 Created", b"", "", "the feed answers 201", ""),
        ("206 Partial", b"abc", "application/octet-stream", "the feed answers 206", ""),
        ("300 Choices", b"abc", "", "the feed answers 300", ""),
        ("502 Bad", b"<html><head><title>No</title></head><body bgcolor='red'><h1>502 Bad</h1>\r\n nginx</body></html>",
         "text/html", "the feed answers 502: 502 Bad nginx", ""),
        ("500 Oops", gzip.compress(b"packed", mtime=0), "text/plain", "the feed answers 500: packed", ""),
    ],
)  # fmt: skip
def test_a_status_that_is_no_answer_is_said_with_its_text(
    status: str, body: bytes, kind: str, sentence: str, is_: str
) -> None:
    with serving(saying(answer(body, status=status, Content_Type=kind))) as server:
        error = unreachable(Ask(url=f"{server.url}/a?token=hidden"))

    assert error.sentence == sentence.replace("{}", server.url)
    assert error.status == int(status[:3])
    assert [name for name in ("gone", "missing", "refused") if getattr(error, name)] == ([is_] if is_ else [])
    assert error.retry_after is None


def test_what_a_refusal_repeats_of_our_secrets_is_not_shown() -> None:
    access = replace(ACCESS, headers={"X-API-Key": "hidden-1"}, authorization="Basic " + _base64("me:hidden-2"))
    echo = f"{access.authorization} {_base64('me:hidden-2')} hidden-1 hidden-2 /a?token=hidden%2D3 hidden-3 end"

    with serving(saying(answer(echo.encode(), status="500 Oops", Content_Type="text/plain"))) as server:
        error = unreachable(Ask(url=f"{server.url}/a?token=hidden%2D3"), access=access)

    assert error.sentence == "the feed answers 500: … … … … /a?… … end"


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_secrets_are_not_in_what_is_printed_of_the_settings() -> None:
    assert "hidden" not in repr(SECRETS)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry_After": "30"}, 30),
        ({"Retry_After": "0"}, 0),
        ({"Retry_After": "86400"}, 3600),
        ({"Retry_After": "9" * 5000}, 3600),
        ({"Retry_After": "-5"}, None),
        ({"Retry_After": "soon"}, None),
        ({"Retry_After": formatdate(1060, usegmt=True), "Date": formatdate(1000, usegmt=True)}, 60),
        ({"Retry_After": formatdate(400, usegmt=True), "Date": formatdate(1000, usegmt=True)}, 0),
        ({"Retry_After": formatdate(10**9, usegmt=True)}, 0),
        ({"Retry_After": formatdate(10**10, usegmt=True)}, 3600),
    ],
    ids=["seconds", "none", "a day", "for ever", "below", "words", "a date", "past", "past by our clock", "far"],
)
@pytest.mark.parametrize("status", ["429 Slow", "503 Busy"])
def test_a_server_may_ask_to_be_left_alone(status: str, headers: dict[str, str], seconds: int | None) -> None:
    with serving(saying(answer(b"", status, **headers))) as server:
        error = unreachable(Ask(url=server.url))

    assert error.retry_after == (None if seconds is None else timedelta(seconds=seconds))


@pytest.mark.parametrize("drop", [b"", b"n"], ids=["none of it", "drop by drop"])
def test_a_refusal_is_said_with_as_much_of_its_text_as_comes(drop: bytes) -> None:
    head = b"HTTP/1.1 500 Oops\r\nContent-Type: text/plain\r\nContent-Length: 999999\r\n\r\n"

    with serving(dripping(head, drop)) as server:
        began = time.perf_counter()
        error = unreachable(Ask(url=server.url), patience=SHORT)

    assert re.fullmatch("the feed answers 500(: n+)?", error.sentence)
    assert time.perf_counter() - began < 10


# -- redirects -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See", "307 Temporary", "308 Permanent"])
@pytest.mark.parametrize("location", ["/b?c=d", "b?c=d", "{}/b?c=d", "{}/b?c=d#e", "//{host}/b?c=d"])
def test_a_redirect_within_the_origin_is_followed(status: str, location: str) -> None:
    pages = {"/a": b"", "/b?c=d": answer(LINES)}
    with serving_pages(pages) as server:
        to = location.format(server.url, host=server.url.removeprefix("http://"))
        pages["/a"] = answer(status=status, Location=to)
        (came,) = fetched(Ask(url=f"{server.url}/a", headers={"Accept": "text/x"}), access=SECRETS)

    assert came.body == LINES
    assert came.got.head.url == f"{server.url}/b?c=d"
    assert header(server.heads[1], "Authorization") == "Bearer hidden-2"
    assert header(server.heads[1], "X-API-Key") == "hidden-1"
    assert header(server.heads[1], "Accept") == "text/x"


def test_a_redirect_to_another_origin_is_not_followed() -> None:
    with serving(saying(answer(LINES))) as other:
        elsewhere = other.url.removeprefix("http://")
        with serving(saying(answer(status="302 Found", Location=f"http://u:hidden@{elsewhere}/x?hidden"))) as server:
            error = unreachable(Ask(url=server.url), access=SECRETS)

    assert error.sentence == f"the feed sends us to {elsewhere}, which allow_redirects_to does not name"
    assert error.status == 302
    assert other.heads == []


@pytest.mark.parametrize("named", ["127.0.0.1", "127.0.0.1:{}"], ids=["host", "host and port"])
def test_a_redirect_to_an_allowed_host_is_followed_without_our_secrets(named: str) -> None:
    with serving(saying(answer(LINES))) as other:
        access = replace(SECRETS, redirects_to=frozenset({"cdn.example.com", named.format(other.port)}))
        with serving(saying(answer(status="302 Found", Location=f"http://me:guess@127.0.0.1:{other.port}/"))) as server:
            ask = Ask(url=server.url.replace("//", "//me:hidden@"), headers={"Accept": "text/x"})
            (came,) = fetched(ask, access=access)

    (head,) = other.heads
    assert came.body == LINES
    assert header(server.heads[0], "Authorization") == "Bearer hidden-2"
    assert header(head, "Authorization") is None
    assert header(head, "X-API-Key") is None
    assert header(head, "Accept") == "text/x"
    assert header(head, "User-Agent") == "mirrord/1 (test)"


def test_an_allowed_host_may_send_us_home_again() -> None:
    pages = {"/a": b"", "/b": answer(LINES)}
    with serving_pages(pages) as server, serving(saying(b"")) as other:
        other._speak = saying(answer(status="302 Found", Location=f"{server.url}/b"))
        pages["/a"] = answer(status="302 Found", Location=other.url)
        access = replace(SECRETS, redirects_to=frozenset({f"127.0.0.1:{other.port}"}))
        (came,) = fetched(Ask(url=f"{server.url}/a"), access=access)

    assert came.body == LINES
    assert header(server.heads[1], "Authorization") == "Bearer hidden-2"


def test_an_upgrade_to_https_is_followed_and_another_port_is_not_told_our_secrets(trusted: Trusted) -> None:
    pages: dict[str, bytes] = {}

    with trusted("IP:127.0.0.1", saying(answer(LINES))) as secure, serving_pages(pages) as server:
        pages["/"] = answer(status="301 Moved", Location=f"{secure.url}/a")
        (came,) = fetched(Ask(url=server.url), access=SECRETS)

    assert came.body == LINES
    assert header(secure.heads[0], "Authorization") is None


def test_nobody_sends_us_from_https_to_http(trusted: Trusted) -> None:
    access = replace(SECRETS, redirects_to=frozenset({"127.0.0.1"}))

    with ExitStack() as servers:
        plain = servers.enter_context(serving(saying(answer(LINES))))
        away = saying(answer(status="302 Found", Location=plain.url))
        secure = servers.enter_context(trusted("IP:127.0.0.1", away))
        error = unreachable(Ask(url=secure.url), access=access)

    assert error.sentence == f"the feed sends us from https to http, at 127.0.0.1:{plain.port}"
    assert plain.heads == []


@pytest.mark.parametrize(
    ("location", "sentence"),
    [
        ("", "the feed answers 302 without saying where to"),
        ("ftp://127.0.0.1/a", "ftp://127.0.0.1/a is not a URL of http or https"),
        ("javascript:alert(1)", "javascript:alert(1) is not a URL of http or https"),
        ("http://[::1", "the feed sends us to what is not a URL"),
        ("http://127.0.0.1:99999/", "http://127.0.0.1:99999/ is not a URL of http or https"),
    ],
)
def test_a_redirect_that_leads_nowhere_is_said(location: str, sentence: str) -> None:
    with serving(saying(answer(status="302 Found", Location=location))) as server:
        error = unreachable(Ask(url=server.url))

    assert (error.sentence, error.status) == (sentence, 302)


def test_the_fifth_redirect_is_followed_and_the_sixth_is_not() -> None:
    pages = {f"/{n}": answer(status="302 Found", Location=f"/{n + 1}") for n in range(6)} | {"/6": answer(LINES)}

    with serving_pages(pages) as server:
        (came,) = fetched(Ask(url=f"{server.url}/1"))
        error = unreachable(Ask(url=f"{server.url}/0"))

    assert came.body == LINES
    assert (error.sentence, error.status) == ("the feed sends us on and on, more than 5 times", 302)


def test_a_document_that_the_feed_names_elsewhere_is_not_asked() -> None:
    with serving(saying(answer(LINES))) as other:
        error = unreachable(Ask(url=f"{other.url}/a"), access=replace(SECRETS, home="http://127.0.0.1:1/feed?hidden"))

    assert error.sentence == f"the feed leads to 127.0.0.1:{other.port}, which allow_redirects_to does not name"
    assert other.heads == []


def test_a_document_on_an_allowed_host_is_asked_without_our_secrets() -> None:
    access = replace(SECRETS, home="http://127.0.0.1:1/feed", redirects_to=frozenset({"127.0.0.1"}))

    with serving(saying(answer(LINES))) as other:
        (came,) = fetched(Ask(url=f"{other.url}/a"), access=access)

    assert came.body == LINES
    assert header(other.heads[0], "Authorization") is None
    assert header(other.heads[0], "X-API-Key") is None


def test_a_document_that_the_feed_names_without_its_tls_is_not_asked() -> None:
    access = replace(SECRETS, home="https://127.0.0.1:1/feed", redirects_to=frozenset({"127.0.0.1"}))

    with serving(saying(answer(LINES))) as other:
        error = unreachable(Ask(url=f"{other.url}/a"), access=access)

    assert error.sentence == f"the feed leads from https to http, at 127.0.0.1:{other.port}"
    assert other.heads == []


# -- time ------------------------------------------------------------------------------------------------------------


def test_a_server_that_says_nothing_is_given_up() -> None:
    with serving(silent) as server:
        error = unreachable(Ask(url=server.url, waits=True), patience=SHORT)

    assert error.sentence == f"nothing came from 127.0.0.1:{server.port} for 0.3 s"


def test_a_body_that_stops_is_given_up() -> None:
    def speak(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(CHUNKED + chunk(LINES))
        over.wait()

    with serving(speak) as server:
        error = unreachable(Ask(url=server.url, waits=True), patience=SHORT)

    assert error.sentence == f"nothing came from 127.0.0.1:{server.port} for 0.3 s"


def test_an_ask_may_have_a_patience_of_its_own() -> None:
    with serving(silent) as server:
        began = time.perf_counter()
        error = unreachable(Ask(url=server.url, waits=True, idle=timedelta(seconds=0.2)))

    assert error.sentence == f"nothing came from 127.0.0.1:{server.port} for 0.2 s"
    assert time.perf_counter() - began < 10


def test_a_stream_that_drips_is_alive() -> None:
    with serving(dripping(CHUNKED, chunk(b"\n"), times=40, end=chunk(b""))) as server:
        (came,) = fetched(Ask(url=server.url, waits=True), patience=replace(SHORT, whole=timedelta(seconds=0.4)))

    assert came.body == b"\n" * 40  # 0.8 s, with 0.3 s of patience


def test_a_page_that_drips_ends() -> None:
    with serving(dripping(CHUNKED, chunk(b"\n"))) as server:
        error = unreachable(Ask(url=server.url), patience=replace(LONG, whole=timedelta(seconds=0.4)))

    assert error.sentence == f"the answer of 127.0.0.1:{server.port} was not over after 0.4 s"


@pytest.mark.parametrize("waits", [True, False])
def test_a_head_that_drips_ends(waits: bool) -> None:
    with serving(dripping(b"HTTP/1.1 200 OK\r\nX-Long: ", b"x")) as server:
        error = unreachable(Ask(url=server.url, waits=waits), patience=SHORT)

    assert error.sentence == f"the answer of 127.0.0.1:{server.port} was not over after 0.5 s"


def test_the_time_of_a_slow_reader_does_not_count() -> None:
    async def ask(url: str) -> int:
        size, patience = 0, replace(LONG, whole=timedelta(seconds=0.5))
        fetcher = Fetcher(ACCESS, patience)
        async with fetcher.get(Ask(url=url)) as got:
            async for piece in got.chunks():
                if size == 0:
                    time.sleep(0.6)  # noqa: ASYNC251 - what a reader does
                size += len(piece)
        await fetcher.close()
        return size

    with serving(saying(answer(bytes(2 * MIB)))) as server:
        assert asyncio.run(ask(server.url)) == 2 * MIB


@pytest.mark.parametrize("said", [b"", CHUNKED + chunk(LINES)], ids=["head", "body"])
def test_who_is_cancelled_leaves_no_connection_behind(said: bytes) -> None:
    asked, left = threading.Event(), threading.Event()

    def speak(connection: socket.socket, _: threading.Event) -> None:
        connection.sendall(said)
        asked.set()
        if not connection.recv(1):
            left.set()

    async def ask(url: str) -> None:
        fetcher = Fetcher(ACCESS, LONG)
        reading = asyncio.ensure_future(read(fetcher, Ask(url=url, waits=True)))
        await asyncio.to_thread(asked.wait, 20)
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reading
        assert await asyncio.to_thread(left.wait, 20)
        await fetcher.close()

    with serving(speak) as server:
        asyncio.run(ask(server.url))


def test_who_leaves_early_leaves_no_connection_behind() -> None:
    left = threading.Event()

    def speak(connection: socket.socket, _: threading.Event) -> None:
        connection.sendall(CHUNKED + chunk(LINES))
        if not connection.recv(1):
            left.set()

    async def ask(url: str) -> None:
        fetcher = Fetcher(ACCESS, LONG)
        async with fetcher.get(Ask(url=url, waits=True)) as got:
            await anext(got.chunks())
        assert await asyncio.to_thread(left.wait, 20)
        await fetcher.close()

    with serving(speak) as server:
        asyncio.run(ask(server.url))


# -- mishaps ---------------------------------------------------------------------------------------------------------


def test_a_refused_connection(closed_port: int) -> None:
    error = unreachable(Ask(url=f"http://127.0.0.1:{closed_port}/a?hidden"))

    assert error.sentence == f"no connection to 127.0.0.1:{closed_port}: connection refused"
    assert error.status is None


def test_a_name_that_does_not_exist() -> None:
    error = unreachable(Ask(url="http://no-such-host.invalid/a?hidden"))

    assert error.sentence.startswith("the name no-such-host.invalid cannot be resolved: ")


def test_a_server_that_never_takes_the_connection() -> None:
    with ExitStack() as queue:
        listener = queue.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port = listener.getsockname()[1]
        if not _filled(queue, port):
            pytest.skip("this kernel takes connections beyond the backlog")
        error = unreachable(Ask(url=f"http://127.0.0.1:{port}/"), patience=replace(LONG, connect=SHORT.connect))

    assert error.sentence == f"no connection to 127.0.0.1:{port} within 0.2 s"


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


def test_a_server_that_makes_no_tls_is_no_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # takes the connection, and says nothing
        port = listener.getsockname()[1]
        error = unreachable(Ask(url=f"https://127.0.0.1:{port}/"), patience=replace(LONG, connect=SHORT.connect))

    assert error.sentence == f"no connection to 127.0.0.1:{port} within 0.2 s"


@pytest.mark.parametrize(
    ("speak", "sentence"),
    [
        pytest.param(saying(b"", then_close=True), "{} hung up without an answer", id="hangs up"),
        pytest.param(resetting(b""), "{} broke off without an answer: connection reset by peer", id="resets"),
        pytest.param(
            saying(b"HTTP/1.1 200 OK\r\nX-Re", then_close=True), "{} hung up without an answer", id="within the head"
        ),
        pytest.param(saying(answer(LINES)[:-3], then_close=True), "{} broke off in mid-answer", id="within the body"),
        pytest.param(resetting(answer(LINES)[:-3]), "{} broke off in mid-answer", id="resets within the body"),
        pytest.param(
            saying(CHUNKED + chunk(LINES)[:-9], then_close=True), "{} broke off in mid-answer", id="within a chunk"
        ),
        pytest.param(
            saying(CHUNKED + chunk(LINES), then_close=True), "{} broke off in mid-answer", id="before the last chunk"
        ),
        pytest.param(saying(CHUNKED + b"what?\r\n"), "what {} answers is not HTTP", id="no chunk"),
        pytest.param(saying(b"SSH-2.0-OpenSSH_9.2\r\n"), "what {} answers is not HTTP", id="no http"),
        pytest.param(saying(b"HTTP/1.1 2xx OK\r\n\r\n"), "what {} answers is not HTTP", id="no status"),
        pytest.param(
            saying(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * MIB), "what {} answers is not HTTP", id="an endless header"
        ),
    ],
)
def test_an_answer_that_is_none_or_breaks_off(speak: Speak, sentence: str) -> None:
    with serving(speak) as server:
        error = unreachable(Ask(url=f"{server.url}/?hidden", headers={"X-Last": "hidden"}), access=SECRETS)

    assert error.sentence == sentence.format(f"127.0.0.1:{server.port}")


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("ftp://example.com/a?hidden", "ftp://example.com/a is not a URL of http or https"),
        ("example.com/a?hidden", "example.com/a is not a URL of http or https"),
        ("http://me:hidden@[::1/a", "http://[::1/a is not a URL"),
        ("http://exa mple.com/", "http://exa mple.com/ is not a URL of http or https"),
        ("http://io..example.com/", "http://io..example.com/ is not a URL of http or https"),
    ],
)
def test_what_is_not_a_url_is_said(url: str, sentence: str) -> None:
    assert unreachable(Ask(url=url)).sentence == sentence


@pytest.mark.parametrize("text", ["hidden\r\nX-Other: a", "hidden\0", "hidden\ud800"], ids=repr)
def test_a_header_that_cannot_be_sent_is_said(text: str) -> None:
    with serving(saying(answer())) as server:
        error = unreachable(Ask(url=server.url, headers={"Last-Event-ID": text}))

    assert error.sentence.startswith(f"127.0.0.1:{server.port} cannot be asked: ")
    assert server.heads == []


# -- TLS and proxies -------------------------------------------------------------------------------------------------


def test_a_certificate_of_the_systems_trust_store_is_accepted(trusted: Trusted) -> None:
    with trusted("IP:127.0.0.1", saying(answer(LINES))) as server:
        came = fetched(Ask(url=server.url), Ask(url=server.url))

    assert [each.body for each in came] == [LINES, LINES]


def test_a_certificate_for_another_name_is_not(trusted: Trusted) -> None:
    with trusted("DNS:feed.example.com", saying(answer(LINES))) as server:
        error = unreachable(Ask(url=server.url))

    assert error.sentence.startswith(f"TLS with 127.0.0.1:{server.port} failed: its certificate is not trusted: ")
    assert "mismatch" in error.sentence
    assert server.heads == []


def test_a_certificate_that_nobody_vouches_for_is_not(trusted: Trusted, monkeypatch: pytest.MonkeyPatch) -> None:
    with trusted("IP:127.0.0.1", saying(answer(LINES))) as server:
        monkeypatch.delenv("SSL_CERT_FILE")
        error = unreachable(Ask(url=server.url))

    said = f"TLS with 127.0.0.1:{server.port} failed: its certificate is not trusted: self-signed certificate"
    assert error.sentence == said
    assert server.heads == []


def test_a_server_that_answers_tls_with_http_is_said() -> None:
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
        error = unreachable(Ask(url=f"https://127.0.0.1:{port}"))
        thread.join()

    assert error.sentence == f"TLS with 127.0.0.1:{port} failed: wrong version number"


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
@pytest.mark.parametrize("scheme", ["http://me:pass@", "me:pass@"], ids=["url", "bare"])
def test_plain_http_is_asked_of_the_environments_proxy(
    monkeypatch: pytest.MonkeyPatch, variable: str, scheme: str
) -> None:
    with proxying() as proxy:
        monkeypatch.setenv(variable, f"{scheme}127.0.0.1:{proxy.port}")

        with contextlib.suppress(Unreachable):
            fetched(*[Ask(url="http://feed.example.com/a?b=%3D")] * 2)

    assert [head.split("\r\n")[0] for head in proxy.heads] == ["GET http://feed.example.com/a?b=%3D HTTP/1.1"] * 2
    assert header(proxy.heads[1], "Host") == "feed.example.com"
    assert header(proxy.heads[1], "Proxy-Authorization") == "Basic " + _base64("me:pass")


@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_https_goes_through_a_tunnel_that_the_proxy_cannot_look_into(
    trusted: Trusted, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    with trusted("DNS:feed.example.com", saying(answer(LINES))) as server, proxying(server.url) as proxy:
        monkeypatch.setenv(variable, f"http://me:pass@127.0.0.1:{proxy.port}")

        came = fetched(*[Ask(url="https://feed.example.com/a")] * 2, access=SECRETS)

    (asked,) = proxy.heads
    assert [each.body for each in came] == [LINES, LINES]
    assert asked.startswith("CONNECT feed.example.com:443 HTTP/1.1\r\n")
    assert header(asked, "Proxy-Authorization") == "Basic " + _base64("me:pass")
    assert "hidden" not in asked
    assert [header(head, "Proxy-Authorization") for head in server.heads] == [None, None]
    assert header(server.heads[0], "Authorization") == "Bearer hidden-2"


def test_no_proxy_exempts_a_server(monkeypatch: pytest.MonkeyPatch, closed_port: int) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{closed_port}")
    monkeypatch.setenv("NO_PROXY", "example.com, 127.0.0.1")

    with serving(saying(answer(LINES))) as server:
        (came,) = fetched(Ask(url=server.url))

    assert came.body == LINES


@pytest.mark.parametrize(
    ("speak", "sentence"),
    [
        (
            saying(answer(status="407 Who?")),
            "no connection to feed.example.com by way of the proxy {}: the proxy answers 407",
        ),
        (saying(b"", then_close=True), "feed.example.com by way of the proxy {} hung up without an answer"),
        (saying(b"SSH-2.0\r\n"), "what feed.example.com by way of the proxy {} answers is not HTTP"),
        (silent, "no connection to feed.example.com by way of the proxy {} within 0.2 s"),
    ],
    ids=["407", "hangs up", "no http", "silent"],
)
def test_a_proxy_that_makes_no_tunnel_is_named(monkeypatch: pytest.MonkeyPatch, speak: Speak, sentence: str) -> None:
    with serving(speak) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:hidden@127.0.0.1:{proxy.port}")
        error = unreachable(
            Ask(url="https://feed.example.com/a"), patience=replace(LONG, connect=timedelta(seconds=0.2))
        )

    assert error.sentence == sentence.format(f"127.0.0.1:{proxy.port}")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch, scheme: str, closed_port: int) -> None:
    monkeypatch.setenv("ALL_PROXY", f"http://me:hidden@127.0.0.1:{closed_port}")

    error = unreachable(Ask(url=f"{scheme}://feed.example.com/"))

    assert error.sentence == f"no connection to the proxy 127.0.0.1:{closed_port}: connection refused"


@pytest.mark.parametrize(
    ("proxy", "why"),
    [
        ("socks5://me:hidden@127.0.0.1:1080", "the proxy that the environment names is not one of http"),
        ("http://me:hidden@[::1", "the proxy that the environment names has no valid address"),
    ],
    ids=["socks", "nonsense"],
)
def test_a_proxy_that_cannot_be_used_is_said_without_its_password(
    monkeypatch: pytest.MonkeyPatch, proxy: str, why: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)

    error = unreachable(Ask(url="http://feed.example.com/"))

    assert error.sentence == f"feed.example.com cannot be asked: {why}"


# -- what is shown ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:hidden@example.com:8443/a/b?since=5&token=hidden#hidden", "https://example.com:8443/a/b"),
        ("https://example.com?token=hidden", "https://example.com"),
        ("https://example.com/@a", "https://example.com/@a"),
        ("https://me:hid@den@example.com/a", "https://example.com/a"),
        ("me:hidden@example.com", "example.com"),
        ("//me:hidden@example.com/a", "//example.com/a"),
        ("http://[::1]:80/a\nb", "http://[::1]:80/a?b"),
        ("", ""),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert shown_url(url) == shown

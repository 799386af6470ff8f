"""The static origin: every file below its directory, and nothing else."""

import os
from collections.abc import Iterator
from http.client import HTTPConnection, IncompleteRead
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from mirrord.kodo.entry import origin_url
from tests.sandbox.conftest import Answer, Caller
from tests.servers import running_origin, running_sandbox


@pytest.fixture
def www(tmp_path: Path) -> Path:
    (tmp_path / "outside.txt").write_text("secret")
    directory = tmp_path / "www"
    directory.mkdir()
    return directory


@pytest.fixture
def url(www: Path) -> Iterator[str]:
    with running_origin(www) as url:
        yield url


def ask(url: str, path: str, method: str = "GET") -> Answer:
    connection = HTTPConnection(urlsplit(url).netloc, timeout=20)
    try:
        connection.request(method, path)
        reply = connection.getresponse()
        return Answer(reply.status, dict(reply.getheaders()), reply.read())
    finally:
        connection.close()


@pytest.mark.parametrize(
    "name",
    ["a.txt", "a b#?&%+~:;=.txt", "中文/é e\u0301/😀.png", "%2e%2e", "...", ".hidden", "a\nb", "x" * 255],
)
def test_any_name_is_served(www: Path, url: str, name: str) -> None:
    (www / name).parent.mkdir(parents=True, exist_ok=True)
    (www / name).write_text("hello")

    answer = ask(url, origin_url("", name))

    assert (answer.status, answer.body) == (200, b"hello")


def test_a_name_that_is_not_utf8_is_served_by_its_bytes(www: Path, url: str) -> None:
    Path(os.fsdecode(os.fsencode(www) + b"/\xff.bin")).write_text("hello")

    assert ask(url, "/%FF.bin").body == b"hello"


def test_a_file_comes_with_what_identifies_its_version(www: Path, url: str) -> None:
    (www / "a.html").write_text("hello")
    os.utime(www / "a.html", (0, 0))

    got, head = ask(url, "/a.html"), ask(url, "/a.html", "HEAD")

    for answer in (got, head):
        assert answer.status == 200
        assert answer.headers["Content-Length"] == "5"
        assert answer.headers["Content-Type"] == "text/html"
        assert answer.headers["Last-Modified"] == "Thu, 01 Jan 1970 00:00:00 GMT"
        assert answer.headers["ETag"] == '"0-5"'
    assert (got.body, head.body) == (b"hello", b"")


def test_compressed_files_are_served_as_they_are(www: Path, url: str) -> None:
    (www / "a.tar.gz").write_bytes(b"\x1f\x8b")

    answer = ask(url, "/a.tar.gz")

    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert "Content-Encoding" not in answer.headers


@pytest.mark.parametrize(
    "path",
    ["/", "/d", "/d/", "/d//f", "//d/f", "/./d/f", "/none", "/../outside.txt", "/d/../../outside.txt",
     "/%2e%2e/outside.txt", "/d%00", "/" + "x" * 300, "/" + "x/" * 3000, "/fifo"],
)  # fmt: skip
def test_whatever_is_no_file_below_the_directory_is_missing(www: Path, url: str, path: str) -> None:
    (www / "d").mkdir()
    (www / "d" / "f").write_text("hello")
    os.mkfifo(www / "fifo")

    assert ask(url, path).status == 404


def test_a_file_that_shrinks_while_it_is_read_breaks_the_connection(www: Path, url: str) -> None:
    large = www / "large"
    large.touch()
    os.truncate(large, 64 << 20)  # more than the sockets between us can hold
    connection = HTTPConnection(urlsplit(url).netloc, timeout=20)
    connection.request("GET", "/large")
    reply = connection.getresponse()

    os.truncate(large, 0)

    with pytest.raises((IncompleteRead, ConnectionResetError)):
        reply.read()
    connection.close()


def test_only_reading_is_allowed(url: str) -> None:
    assert ask(url, "/a.txt", "PUT").status == 405


def test_a_directory_is_mirrored_byte_for_byte(www: Path, url: str, tmp_path: Path) -> None:
    contents = {"index.html": b"<p>", "empty": b"", "d/large.bin": os.urandom(5 << 20)}
    for name, content in contents.items():
        (www / name).parent.mkdir(exist_ok=True)
        (www / name).write_bytes(content)

    with running_sandbox(tmp_path / "kodo", {"docs": url + "/"}) as kodo:
        caller = Caller(kodo.port, kodo.credentials)
        statuses = [caller.prefetch(name).status for name in contents]

        assert statuses == [200, 200, 200]
        assert {name: kodo.read("docs", name) for name in contents} == contents
        assert ask(kodo.url, f"/docs/{quote('index.html')}").headers["Content-Type"] == "text/html"

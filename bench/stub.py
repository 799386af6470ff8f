"""A server that answers every request at once with `{}` and an X-Reqid: nginx, or this module as a process.

As a process it remembers when each request arrived (`time.monotonic`, one clock for the whole machine);
`GET /arrivals` gives the list as JSON. It ends when its stdin does, so it never outlives who started it.
"""

import asyncio
import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench.process import BenchFailed, module, running

NGINX = """\
daemon off; worker_processes 1; pid {work}/nginx.pid; error_log {work}/nginx-error.log;
events {{ worker_connections 4096; }}
http {{
    access_log off; keepalive_requests 100000000; keepalive_timeout 600s; tcp_nodelay on;
    client_body_temp_path {work}/body; proxy_temp_path {work}/proxy; fastcgi_temp_path {work}/fastcgi;
    uwsgi_temp_path {work}/uwsgi; scgi_temp_path {work}/scgi;
    default_type application/json;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        add_header X-Reqid $request_id;
        add_header X-Log stub;
        location / {{ return 200 ''; }}  # a prefetch that succeeds answers with nothing (seed document)
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Stub:
    kind: str
    url: str


@contextmanager
def fastest_stub(work: Path) -> Iterator[Stub]:
    """nginx where it is installed, else this module: the quicker the stub, the more the caller is measured."""
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if nginx is not None:
        port = _free_port()
        conf = work / "nginx.conf"
        conf.write_text(NGINX.format(work=work, port=port))
        with running([nginx, "-p", str(work), "-c", str(conf), "-e", str(work / "nginx-error.log")]) as process:
            url = f"http://127.0.0.1:{port}"
            if _comes_up(process, url):
                yield Stub("nginx with 1 worker", url)
                return
    with recording_stub() as stub:
        yield replace(stub, kind=f"{stub.kind} (nginx {'is not installed' if nginx is None else 'did not start'})")


@contextmanager
def recording_stub() -> Iterator[Stub]:
    """This module as a process of its own."""
    with running(module("bench.stub")) as process:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        if not port:
            raise BenchFailed("the stub did not start")
        yield Stub("an asyncio stub in its own process", f"http://127.0.0.1:{port}")


def arrivals(stub: Stub) -> list[tuple[str, float]]:
    """Path and arrival of every request so far, in order."""
    with urllib.request.urlopen(f"{stub.url}/arrivals", timeout=10) as reply:
        return [(path, at) for path, at in json.load(reply)]


def _comes_up(server: subprocess.Popen[str], url: str) -> bool:
    for _ in range(100):
        if server.poll() is not None:
            return False
        try:
            with urllib.request.urlopen(url, timeout=5):
                return True
        except OSError:
            time.sleep(0.05)
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class _Exchange(asyncio.Protocol):
    """One connection: HTTP/1.1 requests in, one answer each out."""

    seen: list[tuple[str, float]] = []  # noqa: RUF012 - of all connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._unread = b""

    def data_received(self, chunk: bytes) -> None:
        at = time.monotonic()
        self._unread += chunk
        while (end := self._unread.find(b"\r\n\r\n")) >= 0:
            head = self._unread[:end]
            whole = end + 4 + _content_length(head)
            if len(self._unread) < whole:
                return
            self._unread = self._unread[whole:]
            self._transport.write(self._answer(head.split(b" ", 2)[1].decode(), at))

    def _answer(self, path: str, at: float) -> bytes:
        if path == "/arrivals":
            body = json.dumps(self.seen).encode()
        else:
            body = b""  # a prefetch that succeeds answers with nothing (seed document)
            self.seen.append((path, at))
        return (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Reqid: %032x\r\nContent-Length: %d\r\n\r\n%b"
            % (len(self.seen), len(body), body)
        )


def _content_length(head: bytes) -> int:
    _, found, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.split(b"\r\n", 1)[0]) if found else 0


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Exchange, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve())

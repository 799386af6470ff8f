"""A server that answers every request at once with `{}` and an X-Reqid: nginx, or this module as a process.

As a process it remembers when each request arrived (`time.monotonic`, one clock for the whole machine) and how
it was answered; `GET /arrivals` gives the list as JSON. `python -m bench.stub PER_SECOND LATENCY_S STATUS` answers
as late as that, and refuses with that status what is too much. It ends when its stdin does, so it never outlives
who started it.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much a server bears, which it does not tell."""

    per_second: float
    latency_s: float
    status: int
    """Of a refusal; 429 says "Retry-After: 1" with it."""

    @property
    def burst(self) -> float:
        """What a tenth of a second allows may come at once."""
        return max(1.0, self.per_second / 10)


@contextmanager
def recording_stub(limits: Limits | None = None) -> Iterator[Stub]:
    """This module as a process of its own; without `limits` it answers everything at once."""
    arguments = [limits.per_second, limits.latency_s, limits.status] if limits else []
    with running(module("bench.stub", *map(str, arguments))) as process:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        if not port:
            raise BenchFailed("the stub did not start")
        yield Stub("an asyncio stub in its own process", f"http://127.0.0.1:{port}")


def arrivals(stub: Stub) -> list[tuple[str, float]]:
    """Path and arrival of every request so far, in order."""
    return [(path, at) for path, at, _ in answers(stub)]


def answers(stub: Stub) -> list[tuple[str, float, int]]:
    """The same, with the status of its answer."""
    with urllib.request.urlopen(f"{stub.url}/arrivals", timeout=10) as reply:
        return [(path, at, status) for path, at, status in json.load(reply)]


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


class _Bucket:
    """Tokens of what is allowed."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._tokens = limits.burst
        self._at = time.monotonic()

    def admits(self, at: float) -> bool:
        self._tokens = min(self.limits.burst, self._tokens + (at - self._at) * self.limits.per_second)
        self._at = at
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class _Exchange(asyncio.Protocol):
    """One connection: HTTP/1.1 requests in, one answer each out."""

    seen: list[tuple[str, float, int]] = []  # noqa: RUF012 - of all connections

    def __init__(self, bucket: _Bucket | None) -> None:
        self._bucket = bucket

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
            answer = self._answer(head.split(b" ", 2)[1].decode(), at)
            if self._bucket is None:
                self._transport.write(answer)
            else:
                latency_s = self._bucket.limits.latency_s
                asyncio.get_running_loop().call_later(latency_s, self._transport.write, answer)

    def _answer(self, path: str, at: float) -> bytes:
        status, body = 200, b""  # a prefetch that succeeds answers with nothing (seed document)
        if path == "/arrivals":
            body = json.dumps(self.seen).encode()
        else:
            if self._bucket and not self._bucket.admits(at):
                status, body = self._bucket.limits.status, b'{"error":"too many requests"}'
            self.seen.append((path, at, status))
        return (
            b"HTTP/1.1 %d %b\r\nContent-Type: application/json\r\n%bX-Reqid: %032x\r\nContent-Length: %d\r\n\r\n%b"
            % (
                status,
                b"OK" if status == 200 else b"Refused",
                b"Retry-After: 1\r\n" if status == 429 else b"",
                len(self.seen),
                len(body),
                body,
            )
        )


def _content_length(head: bytes) -> int:
    _, found, rest = head.lower().partition(b"\r\ncontent-length:")
    return int(rest.split(b"\r\n", 1)[0]) if found else 0


async def _serve(limits: Limits | None) -> None:
    loop = asyncio.get_running_loop()
    bucket = _Bucket(limits) if limits else None
    server = await loop.create_server(lambda: _Exchange(bucket), "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


def _limits(arguments: list[str]) -> Limits | None:
    if not arguments:
        return None
    per_second, latency_s, status = arguments
    return Limits(per_second=float(per_second), latency_s=float(latency_s), status=int(status))


if __name__ == "__main__":
    asyncio.run(_serve(_limits(sys.argv[1:])))

"""A feed of entries that it makes up and holds in memory: `python -m bench.feed_server couchdb|jsonl ENTRIES`.

`…/_changes` pages and long-polls as CouchDB does; `…/lines?since=` has all that came later, a line each. `POST
/publish?key=` adds an entry and says when it had it (`time.monotonic`, one clock for the whole machine); `GET /asked`
says when which path was asked for. It prints its port, and ends when its stdin does.
"""

import asyncio
import contextlib
import json
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs, quote, urlsplit

from bench.process import BenchFailed, module, running
from bench.tree import key_of

SLICE = 1000
"""Entries that are written at once."""
LONGEST_WAIT_S = 60.0
_CHUNKED = "Transfer-Encoding: chunked"


@contextmanager
def feed_server(form: str, entries: int) -> Iterator[str]:
    """This module as a process; its URL, without a path."""
    with listening(module("bench.feed_server", form, str(entries))) as url:
        yield url


@contextmanager
def listening(command: list[str]) -> Iterator[str]:
    """The URL of a server that says its port once it listens."""
    with running(command) as process:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        if not port:
            raise BenchFailed(f"{command[2]} did not start")
        yield f"http://127.0.0.1:{port}"


def publish(url: str, key: str) -> float:
    """Let the server at `url` tell of `key`; when it had it."""
    asked = urllib.request.Request(f"{url}/publish?key={quote(key)}", method="POST")
    with urllib.request.urlopen(asked, timeout=10) as reply:
        return float(json.load(reply))


def first_asked(url: str, path: str) -> float:
    """When the first request came whose path begins so."""
    with urllib.request.urlopen(f"{url}/asked", timeout=10) as reply:
        times = [at for asked, at in json.load(reply) if asked.startswith(path)]
    if not times:
        raise BenchFailed(f"nobody asked for {path}")
    return float(min(times))


class _Feed:
    """Entries from 1 on, as they go over the wire."""

    def __init__(self, form: str, entries: int) -> None:
        self._row = {"couchdb": _couchdb_row, "jsonl": _line}[form]
        self._rows = [self._row(seq, key_of(seq)) for seq in range(1, entries + 1)]
        self._news = asyncio.Event()
        self._asked: list[tuple[str, float]] = []

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection's requests, none of which has a body."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError), contextlib.closing(writer):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                target = urlsplit(head.split(b" ", 2)[1].decode())
                self._asked.append((target.path, time.monotonic()))
                query = {name: values[-1] for name, values in parse_qs(target.query).items()}
                await self._answer(writer, target.path, query)
                await writer.drain()

    async def _answer(self, writer: asyncio.StreamWriter, path: str, query: dict[str, str]) -> None:
        since = int(query.get("since", "0"))
        if path.endswith("/_changes"):
            await self._changes(writer, since, int(query["limit"]), waits=query.get("feed") == "longpoll")
        elif path.endswith("/lines"):
            await self._lines(writer, since)
        elif path == "/publish":
            at = time.monotonic()
            self._rows.append(self._row(len(self._rows) + 1, query["key"]))
            news, self._news = self._news, asyncio.Event()
            news.set()
            _document(writer, at)
        else:
            _document(writer, self._asked if path == "/asked" else {"instance_start_time": "1763670000000000"})

    async def _changes(self, writer: asyncio.StreamWriter, since: int, limit: int, *, waits: bool) -> None:
        """One page: its beginning at once, its rows when there are any (as CouchDB does)."""
        _begin(writer, "application/json", _CHUNKED)
        _chunk(writer, b'{"results":[\n')
        if waits and since >= len(self._rows):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LONGEST_WAIT_S):
                    await self._news.wait()
        rows = self._rows[since : since + limit]
        last = since + len(rows)
        ends = b'\n],\n"last_seq":%d,"pending":%d}\n' % (last, len(self._rows) - last)
        _chunk(writer, b",\n".join(rows) + ends)
        writer.write(b"0\r\n\r\n")

    async def _lines(self, writer: asyncio.StreamWriter, since: int) -> None:
        rows = self._rows[since:]
        _begin(writer, "application/jsonl", f"Content-Length: {sum(map(len, rows))}")
        for start in range(0, len(rows), SLICE):
            writer.write(b"".join(rows[start : start + SLICE]))
            await writer.drain()


def _couchdb_row(seq: int, key: str) -> bytes:
    return f'{{"seq":{seq},"id":"{key}","changes":[{{"rev":"1-{seq:032x}"}}]}}'.encode()


def _line(seq: int, key: str) -> bytes:
    entry = f'{{"seq":{seq},"key":"{key}","op":"write","version":"{seq:032x}","time":"2026-11-20T20:15:00Z"}}'
    return entry.encode() + b"\n"


def _begin(writer: asyncio.StreamWriter, kind: str, length: str) -> None:
    writer.write(f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\n{length}\r\n\r\n".encode())


def _chunk(writer: asyncio.StreamWriter, body: bytes) -> None:
    writer.write(b"%x\r\n%b\r\n" % (len(body), body))


def _document(writer: asyncio.StreamWriter, said: object) -> None:
    body = json.dumps(said).encode()
    _begin(writer, "application/json", f"Content-Length: {len(body)}")
    writer.write(body)


async def _serve(form: str, entries: int) -> None:
    server = await asyncio.start_server(_Feed(form, entries).converse, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], int(sys.argv[2])))

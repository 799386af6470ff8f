"""`confirm_origin`: Kodo is asked for a version only once the origin's public address shows it."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from aiohttp import web

from tests.e2e.place import BUCKETS, CREDENTIALS, Place, Program
from tests.servers import running_app, running_sandbox

GENEROUS = {"count": 1000, "fraction": 1.0}


@dataclass
class Cached:
    """An origin behind a cache that keeps an old copy until it was asked so many times; its feed is always right."""

    contents: dict[str, bytes | None] = field(default_factory=dict)
    old: dict[str, bytes | None] = field(default_factory=dict)
    looks_left: Counter[str] = field(default_factory=Counter)
    """HEADs until the new copy is shown."""
    asked: list[tuple[str, str, bool]] = field(default_factory=list)
    """Method, key, whether the copy was the new one."""
    head_status: int | None = None
    lines: list[dict[str, Any]] = field(default_factory=list)

    def put(self, key: str, content: bytes | None, *, looks: int = 0, tell_etag: bool = True) -> None:
        self.old[key] = self.contents.get(key)
        self.contents[key] = content
        self.looks_left[key] = looks
        line: dict[str, Any] = {"seq": len(self.lines) + 1, "key": key, "op": "remove" if content is None else "write"}
        if content is not None:
            line["version"] = _etag(content)
        if content is not None and tell_etag:
            line["etag"] = _etag(content)
        self.lines.append(line)

    def heads(self, key: str) -> int:
        return sum(method == "HEAD" and asked == key for method, asked, _ in self.asked)

    def pulls(self, key: str) -> list[bool]:
        """Of each pull, whether it got the new copy."""
        return [new for method, asked, new in self.asked if method == "GET" and asked == key]

    def application(self) -> web.Application:
        app = web.Application()
        app.add_routes([web.get("/feed.jsonl", self._tell), web.get("/files/{key:.*}", self._serve)])
        return app

    async def _tell(self, request: web.Request) -> web.Response:
        since = int(request.query.get("since", "0"))
        lines = [json.dumps(line) + "\n" for line in self.lines if line["seq"] > since]
        return web.Response(text="".join(lines), content_type="application/jsonl")

    async def _serve(self, request: web.Request) -> web.Response:
        key = unquote(request.raw_path).removeprefix("/files/")
        new = self.looks_left[key] <= 0
        self.asked.append((request.method, key, new))
        if request.method == "HEAD":
            self.looks_left[key] -= 1
            if self.head_status is not None:
                return web.Response(status=self.head_status)
        content = self.contents.get(key) if new else self.old.get(key)
        if content is None:
            return web.Response(status=404)
        return web.Response(body=content, headers={"ETag": f'"{_etag(content)}"'})


def _etag(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


@pytest.fixture(name="origin")
def _origin() -> Cached:
    return Cached()


@pytest.fixture(name="place")
def _place(origin: Cached, tmp_path: Path) -> Iterator[Place]:
    with running_app(origin.application) as url:
        files = f"{url}/files"
        with running_sandbox(tmp_path / "kodo", dict.fromkeys(BUCKETS, files), credentials=CREDENTIALS) as kodo:
            place = Place(tmp_path, tmp_path, files, kodo)
            try:
                yield place
            finally:
                place.close()


def follow(place: Place, **source: Any) -> Program:
    """Run with the origin's feed."""
    url = place.origin.replace("/files", "/feed.jsonl")
    feed = {"kind": "feed", "format": "jsonl", "url": url, "poll_every": "100ms", "confirm_origin": True, **source}
    place.configure({"source": feed, "on_removed": "delete", "removal_limit": GENEROUS, "origin_url": place.origin})
    return place.run()


def test_kodo_is_asked_once_the_new_copy_is_shown(place: Place, origin: Cached) -> None:
    origin.put("a b.txt", b"one")
    service = follow(place)
    service.until(lambda: place.kodo.read("docs", "a b.txt") == b"one", "one")

    origin.put("a b.txt", b"two", looks=2)
    service.until(lambda: place.kodo.read("docs", "a b.txt") == b"two", "two")

    assert origin.pulls("a b.txt") == [True, True]
    assert origin.heads("a b.txt") == 4
    assert [line["retry_in_s"] for line in service.said("origin.awaited", key="a b.txt")] == [1.0, 1.0]
    assert service.said("origin.unconfirmed") == []
    assert [line["attempt"] for line in service.said("refresh.attempted")] == [1, 1]


def test_keys_of_which_a_head_shows_nothing_are_not_held_up(place: Place, origin: Cached) -> None:
    origin.put("waits.txt", b"one", looks=1000)
    origin.put("goes.txt", b"two", tell_etag=False)

    service = follow(place)
    service.until(lambda: place.kodo.read("docs", "goes.txt") == b"two", "the other one")

    assert origin.heads("goes.txt") == 0
    assert origin.pulls("waits.txt") == []


def test_an_old_copy_that_stays_is_asked_for_anyway(place: Place, origin: Cached) -> None:
    origin.put("a.txt", b"one")
    service = follow(place, confirm_most="1500ms")
    service.until(lambda: place.kodo.read("docs", "a.txt") == b"one", "one")

    origin.put("a.txt", b"two", looks=1000)
    (line,) = service.until_said("origin.unconfirmed")
    service.until(lambda: len(origin.pulls("a.txt")) == 2, "the pull")

    assert line["waited_s"] >= 1.5
    assert line["etag"] == _etag(b"one")
    assert line["wanted"].endswith(_etag(b"two"))


def test_a_removal_waits_until_the_origin_has_it_no_longer(place: Place, origin: Cached) -> None:
    origin.put("a.txt", b"one")
    service = follow(place)
    service.until(lambda: place.kodo.read("docs", "a.txt") == b"one", "one")

    origin.put("a.txt", None, looks=2)
    service.until(lambda: place.kodo.read("docs", "a.txt") is None, "gone")

    assert len(service.said("origin.awaited", key="a.txt", wanted=None)) == 2
    assert [line["operation"] for line in service.said("refresh.attempted")] == ["prefetch", "delete"]


def test_an_origin_without_head_is_asked_at_once(place: Place, origin: Cached) -> None:
    origin.head_status = 405
    origin.put("a.txt", b"one")

    service = follow(place)
    service.until(lambda: place.kodo.read("docs", "a.txt") == b"one", "one")

    (line,) = service.said("origin.unconfirmed")
    assert line["status"] == 405

"""A reload beside change feeds: whoever stays reads on, whoever comes joins, and no delivery is lost after its 2xx."""

import itertools
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.feed_place import FeedPlace, feed_place
from tests.e2e.place import Place, Program
from tests.e2e.relay import Relay, relayed
from tests.producers.process import free_port
from tests.producers.webhook import TOKEN, Happening, structured

DOCS: dict[str, Any] = {}
PAGES: dict[str, Any] = {"name": "pages", "bucket": "pages"}
SHARED: Mapping[str, Mapping[str, Any]] = {"jsonl": {}, "http-feeds": {"heartbeat": "500ms"}}
"""Asked every 200 ms, and one whose answer waits for news, but not for so long that the relay's end has to."""
HOSTS = ("own", "status")
"""Whether a hook has an address of its own, or is at that of the page."""


def reload(place: Place) -> None:
    assert place.start("reload").wait().code == 0


# -- feeds that are read ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHARED)
@pytest.mark.parametrize("gone", ["docs", "pages"])
def test_who_stays_reads_on_and_who_comes_back_joins(tmp_path: Path, name: str, gone: str) -> None:
    stays = "pages" if gone == "docs" else "docs"
    with feed_place(tmp_path, name) as place, relayed(place.source()["url"]) as (relay, url):
        followed = {"url": url, **SHARED[name]}
        place.publish("old.txt", b"old")
        place.follow(DOCS, PAGES, **followed)
        service = place.run()
        publish_until_told_once(place, service, relay, "before")
        told_before = relay.times_told("old.txt")

        place.follow(PAGES if gone == "docs" else DOCS, **followed)
        reload(place)
        place.publish("alone.txt", b"alone")
        place.until_mirrored(service, stays)
        service.until_said("mirror.stopped", mirror=gone)
        alone = (place.kodo.read(gone, "alone.txt"), relay.times_told("alone.txt"))
        place.follow(DOCS, PAGES, **followed)
        reload(place)
        place.until_mirrored(service, gone)
        publish_until_told_once(place, service, relay, "after")
        service.stop()

        assert alone == (None, 1)
        assert relay.times_told("old.txt") == told_before
        assert relay.times_told("alone.txt") == 2  # once more, for the one that was away
        assert place.asked_for() == sorted([*place.content] * 2)
        for event in ("feed.reset", "feed.failed", "coverage.lost", "change.rejected"):
            assert service.said(event) == []


def publish_until_told_once(place: FeedPlace, service: Program, relay: Relay, name: str) -> None:
    """Until both mirrors have one reader: what comes from then on is told once."""
    for n in range(20):
        key = f"{name}-{n}.txt"
        place.publish(key, b"new")
        for bucket in ("docs", "pages"):
            place.until_mirrored(service, bucket)
        if relay.times_told(key) == 1:
            return
    raise AssertionError(f"still two readers; {relay.asked[-5:]}")


# -- feeds that are posted to us -------------------------------------------------------------------------


class Hooks:
    """Mirrors `docs` and `pages` that are posted to, all at one address; and who posts."""

    def __init__(self, place: Place, *, at: str) -> None:
        self.place = place
        self._address = f"127.0.0.1:{free_port()}"
        self._at = at
        self._numbers = itertools.count(1)

    def configure(self, *mirrors: Mapping[str, Any]) -> None:
        own = self._address if self._at == "own" else ""
        hook = {"kind": "feed", "format": "webhook", "listen": own, "token": TOKEN}
        ours = {"source": hook, "origin_url": self.place.origin}
        listen = "" if own else self._address
        self.place.configure(*({**ours, **mirror} for mirror in mirrors), status={"listen": listen})

    def post(self, key: str, *, to: str = "docs", by: httpx.Client | None = None) -> int:
        """Tell the mirror of a key, which the origin has: the status."""
        self.place.write(key, key)
        told = structured(Happening(next(self._numbers), time.time_ns(), key, key.encode()))
        headers = {**told.headers, "Authorization": f"Bearer {TOKEN}"}
        url = f"http://{self._address}/hooks/{to}"
        if by is not None:
            return by.post(url, content=told.body, headers=headers).status_code
        return httpx.post(url, content=told.body, headers=headers, trust_env=False).status_code


@pytest.fixture(params=HOSTS)
def hooks(request: pytest.FixtureRequest, place: Place) -> Hooks:
    return Hooks(place, at=request.param)


def test_a_replaced_hook_takes_deliveries_by_its_new_rules(place: Place, hooks: Hooks) -> None:
    hooks.configure({"exclude": ["*.old"]})
    service = place.run()
    before = [hooks.post(key) for key in ("a.old", "a.new", "a.txt")]
    place.until_equal(service, {"a.new", "a.txt"})

    hooks.configure({"exclude": ["*.new"]})
    reload(place)
    after = [hooks.post(key) for key in ("b.old", "b.new", "b.txt")]
    place.until_equal(service, {"b.old", "b.txt"})

    assert (before, after) == ([200] * 3, [200] * 3)
    assert service.said("settings.reloaded")[0]["replaced"] == ["docs"]
    assert sorted(call["key"] for call in place.kodo.calls("prefetch")) == ["a.new", "a.txt", "b.old", "b.txt"]
    assert service.said("listener.failed") == []


def test_a_removed_hook_is_not_found_and_one_that_is_added_answers(place: Place, hooks: Hooks) -> None:
    hooks.configure(DOCS)
    service = place.run()
    first = {to: hooks.post("a.txt", to=to) for to in ("docs", "pages")}
    hooks.configure(DOCS, PAGES)
    reload(place)
    both = {to: hooks.post("b.txt", to=to) for to in ("docs", "pages")}
    hooks.configure(PAGES)
    reload(place)
    last = {to: hooks.post("c.txt", to=to) for to in ("docs", "pages")}
    service.until_said("refresh.attempted", mirror="pages", key="c.txt")
    hooks.configure(DOCS)
    reload(place)
    again = {to: hooks.post("d.txt", to=to) for to in ("docs", "pages")}
    place.until_equal(service, {"a.txt", "b.txt", "d.txt"})

    assert [first, both, last, again] == [
        {"docs": 200, "pages": 404},
        {"docs": 200, "pages": 200},
        {"docs": 404, "pages": 200},
        {"docs": 200, "pages": 404},
    ]
    assert {line["key"] for line in service.said("refresh.attempted", mirror="pages")} == {"b.txt", "c.txt"}
    assert service.said("listener.failed") == []


@contextmanager
def posting(hooks: Hooks, *, ways: int = 2) -> Iterator[dict[str, int]]:
    """Post beside what goes on in the block, one delivery after the other: what became of each key.

    By one connection that is kept, and by a new one every time.
    """
    over, statuses, failed = threading.Event(), dict[str, int](), list[BaseException]()

    def post(way: int) -> None:
        try:
            with httpx.Client(trust_env=False, timeout=30) as kept:
                for n in itertools.count():
                    if over.is_set():
                        return
                    key = f"{way}/{n}.txt"
                    statuses[key] = hooks.post(key, by=None if way else kept)
        except BaseException as exc:  # noqa: BLE001 - to raise it where the test can see it
            failed.append(exc)

    threads = [threading.Thread(target=post, args=[way]) for way in range(ways)]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        over.set()
        for thread in threads:
            thread.join()
    if failed:
        raise failed[0]


def test_what_is_posted_during_reloads_is_taken_or_refused_and_never_lost(place: Place, hooks: Hooks) -> None:
    hooks.configure(DOCS)
    service = place.run()

    with posting(hooks) as statuses:
        for n in range(4):
            hooks.configure({"exclude": [f"*.{n}"]})
            reload(place)
        service.until_said("mirror.stopped", 4)
    taken = {key for key, status in statuses.items() if status == 200}
    place.until_equal(service, taken)

    assert set(statuses.values()) <= {200, 503}
    assert len(taken) > 20
    assert service.said("listener.failed") == []

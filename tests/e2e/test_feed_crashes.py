"""mirrord or the producer of its feed killed, at any moment: nothing is skipped, and nobody has to help."""

import json
import random
import signal
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.feed_place import FeedPlace, feed_place
from tests.e2e.place import Program
from tests.e2e.relay import Relay, relayed
from tests.producers.webhook import Webhook

KEYS = [f"{n % 7}/{n:03}.txt" for n in range(300)]
LIVES = 6
PAGED: Mapping[str, tuple[int, Mapping[str, Any]]] = {
    "couchdb": (10, {"mode": "poll", "page": 20}),
    "http-feeds": (60, {"mode": "poll"}),
    "jsonl": (35, {"limit_param": "limit", "page": 20}),
    "sse": (45, {}),
}
"""Feeds with a place in them, in how many pieces of answers a kill is due, and settings that make answers small."""
RECOVERING = ["couchdb-on-disk", "http-feeds", "jsonl", "jsonl-file", "resourcesync", "sitemap", "sitemap-index", "sse"]
ADOPTED = {"first_run": "adopt"}
"""So that no kill meets a call: what one cuts short waits for ten seconds. All is asked for at the end."""


@pytest.mark.parametrize("name", PAGED)
def test_killed_again_and_again_while_it_reads_it_skips_nothing(name: str, tmp_path: Path) -> None:
    dice, (most, settings) = random.Random(name), PAGED[name]
    with feed_place(tmp_path, name) as place, relayed(place.source()["url"], slow=True) as (relay, url):
        for key in KEYS:
            place.publish(key, key.encode())
        place.follow(ADOPTED, url=url, **settings)

        reached = [0]
        for _ in range(LIVES):
            _live_until_killed(place, relay, after=dice.randint(1, most), delay_s=dice.choice([0, dice.random() / 100]))
            reached.append(_place_in_history(name, place.cursor()))
            assert place.rows() >= set(KEYS[: reached[-1]])
        last = place.run()
        last.until(lambda: place.rows() == set(KEYS), "all rows")
        refreshing = place.start("refresh", "docs", "--all").wait()
        place.until_mirrored(last)

        assert refreshing.code == 0
        assert reached == sorted(reached)
        assert any(0 < each < len(KEYS) for each in reached)  # or the kills have met nothing
        assert last.said("feed.reset") == []


def _live_until_killed(place: FeedPlace, relay: Relay, *, after: int, delay_s: float) -> None:
    """Run the service until so many pieces of the feed have come, and so long."""
    victim = Future[Program]()
    relay.strike(lambda: victim.result().send(signal.SIGKILL), after=after, delay_s=delay_s)
    victim.set_result(place.start("run"))
    assert victim.result().wait().code == -signal.SIGKILL


def _place_in_history(name: str, cursor: str | None) -> int:
    """How many of the keys, published once each, are before this cursor."""
    match name, cursor:
        case _, None:
            return 0
        case "http-feeds", str():
            return int(cursor.partition("::")[0])
        case _:
            found = json.loads(cursor)
            return int(found["seq"] if isinstance(found, dict) else found)


def test_what_a_hook_has_accepted_outlives_every_kill(tmp_path: Path) -> None:
    with feed_place(tmp_path, "webhook-structured") as place:
        producer = place.producer
        assert isinstance(producer, Webhook)
        for key in KEYS:
            place.publish(key, key.encode())
        place.follow(ADOPTED)

        for left in (250, 180, 90, 20):
            service = place.start("run")
            service.until(lambda left=left: producer.waiting() <= left, f"{left} deliveries left")
            service.send(signal.SIGKILL)
            service.wait()
            accepted = KEYS[: len(KEYS) - producer.waiting()]
            assert place.rows() >= set(accepted)
        last = place.run()
        last.until(lambda: producer.waiting() == 0, "all delivered")
        refreshing = place.start("refresh", "docs", "--all").wait()
        place.until_mirrored(last)

        assert refreshing.code == 0


@pytest.mark.parametrize("name", RECOVERING)
def test_a_producer_that_was_killed_is_followed_again(name: str, tmp_path: Path) -> None:
    with feed_place(tmp_path, name) as place:
        place.publish("before.txt", b"1")
        service = place.run()
        place.until_mirrored(service)
        place.until_settled(service)

        place.producer.kill()
        service.until_said("feed.failed")
        if place.producer.takes_while_down:
            place.publish("meanwhile.txt", b"2")
        place.producer.start()
        place.publish("after.txt", b"3")
        place.until_mirrored(service)
        service.until_said("feed.recovered")
        stopped = service.stop()

        reasons = [line["reason"] for line in stopped.said("feed.failed")]
        assert len(reasons) == len(set(reasons))  # what was cut is one, what cannot be reached another
        assert len(stopped.said("feed.recovered")) == 1
        # a PouchDB does not name its history, only when its server started: it is read again, and nothing is new
        assert len(stopped.said("feed.reset")) == (name == "couchdb-on-disk")
        assert place.asked_for() == sorted(place.content)


def test_a_history_that_begins_anew_is_one_reset_and_no_mass_removal(tmp_path: Path) -> None:
    with feed_place(tmp_path, "couchdb") as place:
        place.follow({"removal_limit": {"count": 3, "fraction": 0.5}})
        old = [f"{n}.txt" for n in range(10)]
        for key in old:
            place.publish(key, b"old")
        service = place.run()
        place.until_mirrored(service)
        place.until_settled(service)

        place.producer.kill()
        service.until_said("feed.failed")
        place.producer.start()
        place.publish("new.txt", b"new")
        place.until_mirrored(service)
        (held,) = service.until_said("removals.held")
        stopped = service.stop()
        again = place.run()
        place.publish("newer.txt", b"newer")
        place.until_mirrored(again)

        assert len(stopped.said("feed.reset")) == 1
        assert held["count"] == len(old)
        assert [place.kodo.read("docs", key) for key in old] == [b"old"] * len(old)
        assert again.said("feed.reset") == []

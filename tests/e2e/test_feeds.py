"""`mirrord` over real producers of change feeds: what they tell is in the bucket, and nothing is asked for twice."""

import json
import signal
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from mirrord.model.coverage import UNKNOWN
from tests.e2e.feed_place import FeedPlace, feed_place
from tests.e2e.place import Program
from tests.e2e.relay import relayed
from tests.producers.every import EVERY
from tests.producers.files import url_of
from tests.producers.followed import Followed
from tests.producers.nginx import running_nginx
from tests.producers.webhook import Webhook

ODD = ("a b+c%41/100% 中文 ü.txt", "deep/" * 30 + "file.txt", "plain.txt")
PUSHED = {name for name in EVERY if name.startswith("webhook")}
ENDLESS = {"sse"} | PUSHED
"""They do not tell what was there before, and have no end."""
WHOLE = sorted(set(EVERY) - ENDLESS - {"syncthing"})
"""Read to the end, they have told everything."""
READ: Mapping[str, Mapping[str, Any]] = {
    "couchdb": {"mode": "poll"},
    "http-feeds": {"mode": "poll"},
    "jsonl": {},
    "sse": {},
}
"""Feeds with a place in them, and settings with which no answer is held back by a relay's end."""
OTHER = {"name": "pages", "bucket": "pages"}


@pytest.fixture(params=EVERY)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FeedPlace]:
    with feed_place(tmp_path, request.param) as here:
        yield here


@pytest.fixture(params=WHOLE)
def whole(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FeedPlace]:
    with feed_place(tmp_path, request.param) as here:
        yield here


def test_what_is_published_changed_and_removed_reaches_the_bucket(place: FeedPlace) -> None:
    checked = place.start("check").wait()
    for key in ODD:
        place.publish(key, b"one")
    service = place.run()
    place.until_mirrored(service)

    place.publish(ODD[0], b"two")
    place.publish("new.txt", b"new")
    place.remove(ODD[1])
    place.until_mirrored(service)

    assert checked.code == 0
    if place.producer.name in WHOLE:
        service.until(lambda: place.report().complete, "complete")
        assert service.said("coverage.lost") == []
    elif place.producer.name in ENDLESS:
        service.until(lambda: place.report().coverage.lost_since is not None, "not complete")
        assert str(place.report().coverage.lost_reason).startswith(f"{UNKNOWN}: ")
        assert place.report().coverage.complete_as_of is None
    assert service.said("change.rejected") == []
    assert service.stop().code == 0


def test_what_happens_while_it_is_down_is_found_and_nothing_else_asked_for(place: FeedPlace) -> None:
    for key in ODD:
        place.publish(key, b"one")
    service = place.run()
    place.until_mirrored(service)

    for number in (signal.SIGTERM, signal.SIGKILL):
        place.until_settled(service)
        service.send(number)
        service.wait()
        place.kodo.forget_calls()
        place.publish(f"{number.name}.txt", b"new")
        place.publish(ODD[0], number.name.encode())
        service = place.run()
        place.until_mirrored(service)
        place.publish(f"after {number.name}.txt", b"last")
        place.until_mirrored(service)

        assert place.asked_for() == sorted([ODD[0], f"{number.name}.txt", f"after {number.name}.txt"])
        assert service.said("feed.reset") == []


@pytest.mark.parametrize("name", READ)
def test_a_feed_is_read_on_where_a_killed_service_had_been(name: str, tmp_path: Path) -> None:
    with feed_place(tmp_path, name) as place, relayed(place.source()["url"]) as (relay, url):
        place.publish("old.txt", b"old")
        place.follow(url=url, **READ[name])
        service = place.run()
        place.until_mirrored(service)

        service.send(signal.SIGKILL)
        service.wait()
        place.publish("new.txt", b"new")
        place.until_mirrored(place.run())

        assert (relay.times_told("old.txt"), relay.times_told("new.txt")) == (1, 1)


def test_once_reads_to_the_end_and_a_second_time_asks_for_nothing(whole: FeedPlace) -> None:
    for key in ODD:
        whole.publish(key, b"one")

    first = whole.once()
    whole.kodo.forget_calls()
    second = whole.once()
    status = whole.start("status", "--json").wait()

    assert (first.code, second.code, status.code) == (0, 0, 0)
    assert {key: whole.kodo.read("docs", key) for key in ODD} == dict.fromkeys(ODD, b"one")
    assert whole.asked_for() == []
    if whole.producer.name.startswith("sitemap"):
        assert [len(each.said("snapshot.compared")) for each in (first, second)] == [1, 1]
    (mirror,) = status.json["mirrors"]
    assert mirror["complete_as_of"] is not None
    assert mirror["lost_since"] is None


def test_status_tells_how_far_a_feed_was_read_and_how_far_behind_that_is(tmp_path: Path) -> None:
    with feed_place(tmp_path, "jsonl") as place:
        place.publish("a.txt", b"one")
        place.once()

        status = place.start("status", "--json").wait()

    (source,) = status.json["mirrors"][0]["sources"]
    assert source["source"] == f"feed jsonl {place.source()['url']}"
    assert 0 < source["lag_s"] < 60
    assert source["read_at"] > source["newest_event_at"]


@pytest.mark.parametrize("name", ["sse", "webhook-structured"])
def test_once_of_a_feed_without_an_end_says_so(name: str, tmp_path: Path) -> None:
    with feed_place(tmp_path, name) as place:
        ended = place.once()

    assert ended.code == 1
    assert "has no end to read to" in "".join(ended.noise)
    assert "`snapshot`" in "".join(ended.noise)


def test_once_of_a_feed_without_an_end_looks_at_its_snapshot(tmp_path: Path) -> None:
    with feed_place(tmp_path, "webhook-structured") as place, running_nginx(place.www, tmp_path / "nginx") as (url, _):
        place.publish("a.txt", b"one")
        _write_snapshot(place, "sitemap")
        place.follow(snapshot={"format": "sitemap", "url": f"{url}/snapshot"})

        ended = place.once()

        assert (ended.code, place.kodo.read("docs", "a.txt")) == (0, b"one")
        assert place.report().complete


@pytest.mark.parametrize("name", ["couchdb", "jsonl", "sitemap"])
def test_plan_tells_what_a_feed_has_and_changes_nothing(name: str, tmp_path: Path) -> None:
    with feed_place(tmp_path, name) as place:
        place.publish("old.txt", b"one")
        place.once()
        place.kodo.forget_calls()
        place.publish("new.txt", b"one")
        place.remove("old.txt")
        before = place.cursor()

        plan = place.start("plan", "--json").wait()

        assert plan.code == 0
        (mirror,) = plan.json["mirrors"]
        assert {each["key"] for each in mirror["keys"]} == {"old.txt", "new.txt"}
        assert place.asked_for() == []
        assert place.cursor() == before
        assert place.rows() == {"old.txt"}


@pytest.mark.parametrize("name", ["couchdb", "http-feeds", "jsonl"])
def test_from_now_on_nothing_from_before_is_asked_for(name: str, tmp_path: Path) -> None:
    with feed_place(tmp_path, name) as place:
        place.producer.publish("old.txt", b"old")
        place.follow(start="now")

        service = place.run()
        place.publish("new.txt", b"new")
        place.until_mirrored(service)
        service.until(lambda: place.report().complete, "complete")

        assert place.asked_for() == ["new.txt"]


def test_a_bad_name_and_what_is_left_out_do_not_stop_the_rest(tmp_path: Path) -> None:
    with feed_place(tmp_path, "jsonl") as place:
        assert isinstance(place.producer, Followed)
        place.follow({"exclude": ["*.log"]})
        for name in ("a/../b.txt", "dir/", "x.log"):
            place.producer.tell(name)
        place.publish("ok.txt", b"x")

        service = place.run()
        place.until_mirrored(service)

        assert place.asked_for() == ["ok.txt"]
        assert [line["name"] for line in service.said("change.rejected")] == ["a/../b.txt", "dir/"]


@pytest.mark.parametrize("name", READ)
def test_two_mirrors_of_one_feed_have_one_reader(name: str, tmp_path: Path) -> None:
    with feed_place(tmp_path, name) as place, relayed(place.source()["url"]) as (relay, url):
        place.publish("old.txt", b"old")
        place.follow({}, OTHER, url=url, **READ[name])
        service = place.run()
        _publish_one_by_one(place, service, ["0.txt", "1.txt", "2.txt", "3.txt"], "docs", "pages")
        service.stop()

        assert relay.times_told("3.txt") == 1
        assert place.asked_for() == sorted([*place.content] * 2)


@pytest.mark.parametrize("name", READ)
def test_a_mirror_that_came_later_joins_the_reader_of_the_other(name: str, tmp_path: Path) -> None:
    with feed_place(tmp_path, name) as place, relayed(place.source()["url"]) as (relay, url):
        place.publish("old.txt", b"old")
        place.follow(url=url, **READ[name])
        place.until_mirrored(before := place.run())
        before.stop()

        place.follow({}, OTHER, url=url, **READ[name])
        service = place.run()
        _publish_one_by_one(place, service, ["0.txt", "1.txt", "2.txt", "3.txt"], "docs", "pages")
        service.stop()

        assert relay.times_told("old.txt") == 2  # once for each
        assert relay.times_told("3.txt") == 1


@pytest.mark.parametrize("first", [True, False], ids=["the first", "the last"])
def test_a_mirror_that_must_wait_for_kodo_does_not_hold_up_the_others(first: bool, tmp_path: Path) -> None:
    ready = [{}, OTHER]
    waiting = {"name": "third", "bucket": "third", "first_run": "compare"}
    with feed_place(tmp_path, "jsonl", buckets=("docs", "pages", "third")) as place:
        place.kodo.fail(operation="list", status=503)
        place.follow(*([waiting, *ready] if first else [*ready, waiting]))
        place.publish("old.txt", b"old")
        service = place.run()
        _publish_one_by_one(place, service, ["0.txt", "1.txt"], "docs", "pages")
        held_up = place.kodo.read("third", "old.txt")

        place.kodo.heal()
        place.until_mirrored(service, "third")

        assert held_up is None


def _publish_one_by_one(place: FeedPlace, program: Program, keys: Iterable[str], *buckets: str) -> None:
    for key in keys:
        place.publish(key, b"new")
        for bucket in buckets:
            place.until_mirrored(program, bucket)


def test_a_file_that_a_feed_names_is_looked_at_at_once(tmp_path: Path) -> None:
    with feed_place(tmp_path, "jsonl") as place:
        place.follow({"source": [_unwatched(place, "1h"), place.source()]})
        service = _run_following(place)

        place.publish("a.txt", b"one")
        place.publish("b.txt", b"one")
        place.until_mirrored(service)
        place.publish("a.txt", b"two")
        place.remove("b.txt")
        place.until_mirrored(service)
        stopped = service.stop()

        assert len(stopped.said("scan.finished")) == 1
        assert place.asked_for() == ["a.txt", "a.txt", "b.txt", "b.txt"]


def test_a_feed_that_names_a_file_that_is_not_there_removes_nothing(tmp_path: Path) -> None:
    with feed_place(tmp_path, "jsonl") as place:
        assert isinstance(place.producer, Followed)
        place.follow({"source": [_unwatched(place, "1h"), place.source()]})
        service = _run_following(place)
        place.publish("a.txt", b"one")
        place.until_mirrored(service)

        place.producer.tell("missing.txt")
        place.publish("b.txt", b"one")
        place.until_mirrored(service)
        service.stop()

        assert place.asked_for() == ["a.txt", "b.txt"]
        assert place.rows() == {"a.txt", "b.txt"}


def test_what_a_feed_named_is_no_news_to_the_next_scan(tmp_path: Path) -> None:
    with feed_place(tmp_path, "jsonl") as place:
        place.follow({"source": [_unwatched(place, "1s"), place.source()]})
        service = _run_following(place)
        place.publish("a.txt", b"one")
        place.until_mirrored(service)

        scans = len(service.said("scan.finished"))
        service.until_said("scan.finished", scans + 2)
        service.stop()

        assert place.asked_for() == ["a.txt"]


@pytest.mark.parametrize("form", ["jsonl", "sitemap"])
def test_a_delivery_that_was_given_up_is_found_by_the_snapshot(form: str, tmp_path: Path) -> None:
    with (
        feed_place(tmp_path, "webhook-structured") as place,
        running_nginx(place.www, tmp_path / "nginx") as (url, _),
    ):
        assert isinstance(place.producer, Webhook)
        place.publish("a.txt", b"one")
        _write_snapshot(place, form)
        place.follow(snapshot={"format": form, "url": f"{url}/snapshot"})
        service = place.run()
        place.until_mirrored(service)
        service.until(lambda: place.report().complete, "complete")
        service.stop()

        place.producer.stop()
        place.publish("lost.txt", b"one")
        place.producer.give_up()
        place.producer.start()
        _write_snapshot(place, form)
        again = place.run()
        place.until_mirrored(again)
        again.until(lambda: place.report().complete, "complete")
        place.publish("told.txt", b"one")
        place.until_mirrored(again)

        assert again.said("coverage.lost") == []


def _run_following(place: FeedPlace) -> Program:
    """The service, once it has scanned, and knows where the feed is: what comes from here on is new to both."""
    service = place.run()
    service.until_said("scan.finished")
    service.until(lambda: len(place.report().sources) > 0, "a place in the feed")
    return service


def _unwatched(place: FeedPlace, rescan_every: str) -> dict[str, str]:
    return {"kind": "directory", "path": str(place.www), "watch": "off", "rescan_every": rescan_every}


def _write_snapshot(place: FeedPlace, form: str) -> None:
    """All that was published, in a file that comes into its place whole."""
    if form == "jsonl":
        text = "".join(json.dumps({"key": key}) + "\n" for key in place.content)
    else:
        urls = "".join(f"<url><loc>{url_of(place.origin, key)}</loc></url>" for key in place.content)
        text = f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{urls}</urlset>'
    half = place.root / "half a snapshot"
    half.write_text(text)
    half.replace(place.www / "snapshot")

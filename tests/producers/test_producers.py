"""The producers of feeds alone: that they do what is said of them, so that nobody looks for their faults in mirrord."""

import gzip
import hashlib
import json
import tomllib
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.producers import http_feeds_server, webhook_sender
from tests.producers.couchdb import couchdb
from tests.producers.every import EVERY
from tests.producers.files import url_of
from tests.producers.http_feeds import http_feeds
from tests.producers.jsonl import jsonl, jsonl_file
from tests.producers.producer import Producer
from tests.producers.reading import HTTP, RESOURCESYNC, SITEMAP, locations, present
from tests.producers.receiver import receiving
from tests.producers.resourcesync import resourcesync
from tests.producers.sitemap import sitemap, sitemap_index
from tests.producers.sse import sse
from tests.producers.webhook import TOKEN, webhook_batched, webhook_binary, webhook_minio, webhook_structured

ODD = "img/ä 1+2%.txt"


@pytest.fixture(params=EVERY)
def producer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Producer]:
    with EVERY[request.param](tmp_path / "producer") as made:
        yield made


def test_what_is_published_is_told_and_served(producer: Producer) -> None:
    producer.publish(ODD, b"one")
    producer.publish("changed.txt", b"one")
    producer.publish("removed.txt", b"one")
    producer.publish("changed.txt", b"two")
    producer.remove("removed.txt")

    assert present(producer, happenings=5) == {ODD, "changed.txt"}
    assert [served(producer, key) for key in (ODD, "changed.txt")] == [b"one", b"two"]
    assert HTTP.get(url_of(producer.origin_url, "removed.txt")).status_code == 404


def test_after_a_kill_it_is_where_it_was(producer: Producer) -> None:
    producer.publish("before.txt", b"1")
    before = producer.settings()

    producer.kill()
    if producer.takes_while_down:
        producer.publish("meanwhile.txt", b"2")
    producer.start()
    producer.publish("after.txt", b"3")

    assert producer.settings() == before
    expected = {"before.txt": producer.keeps_history, "meanwhile.txt": producer.takes_while_down, "after.txt": True}
    present_now = {key for key, is_told in expected.items() if is_told}
    assert present(producer, happenings=len(present_now)) == present_now


def test_what_is_stopped_can_be_started(producer: Producer) -> None:
    producer.stop()
    producer.start()
    producer.publish(ODD, b"1")

    assert present(producer, happenings=1) == {ODD}


def test_its_settings_are_those_of_one_feed(producer: Producer) -> None:
    settings = tomllib.loads(producer.settings())

    assert settings["kind"] == "feed"
    assert producer.name.startswith(settings.get("preset", settings["format"]))
    assert settings.keys() >= ({"listen", "token"} if settings["format"] == "webhook" else {"url", "poll_every"})


@pytest.mark.parametrize("name", EVERY)
def test_nothing_of_it_lives_on_when_a_test_fails(name: str, tmp_path: Path) -> None:
    before = children()

    with pytest.raises(ZeroDivisionError):
        fail_beside(EVERY[name](tmp_path / "producer"), before)

    assert children() == before


def test_couchdb_is_what_is_known_of_it(tmp_path: Path) -> None:
    with couchdb(tmp_path) as producer:
        changes = f"{producer.database_url}/_changes"

        with ThreadPoolExecutor(1) as beside:
            waiting = beside.submit(HTTP.get, changes, params={"feed": "longpoll", "since": 0})
            producer.publish("a.txt", b"1")
            told = waiting.result().json()
        producer.remove("a.txt")
        later = HTTP.get(changes, params={"since": told["last_seq"]}).json()
        not_a_stream = HTTP.get(changes, params={"feed": "eventsource"})

    assert [row["id"] for row in told["results"]] == ["a.txt"]
    assert [row["deleted"] for row in later["results"]] == [True]
    assert type(later["last_seq"]) is int
    assert "pending" not in later
    assert not not_a_stream.headers["Content-Type"].startswith("text/event-stream")


def test_a_sitemap_is_304_until_it_changes(tmp_path: Path) -> None:
    with sitemap(tmp_path) as producer:
        producer.publish("a.txt", b"1")
        first = HTTP.get(producer.feed_url)
        known = {"If-None-Match": first.headers["ETag"]}
        same = HTTP.get(producer.feed_url, headers=known)
        producer.publish("b.txt", b"1")  # of another size, therefore of another ETag even within this second
        changed = HTTP.get(producer.feed_url, headers=known)

    assert "Last-Modified" in first.headers
    assert [answer.status_code for answer in (same, changed)] == [304, 200]


def test_a_sitemap_says_when_each_file_changed(tmp_path: Path) -> None:
    with sitemap(tmp_path) as producer:
        for content in (b"1", b"2"):
            producer.publish("a.txt", content)

        (url,) = ET.fromstring(HTTP.get(producer.feed_url).content)

        modified = HTTP.get(url_of(producer.origin_url, "a.txt")).headers["Last-Modified"]
    lastmod = url.findtext(f"{SITEMAP}lastmod", "")
    assert lastmod.endswith("Z")
    assert lastmod[17:19] == modified.split(":")[2][:2]


def test_a_sitemap_index_names_gzipped_sitemaps_and_the_last_ones_stay_for_those_who_read_them(tmp_path: Path) -> None:
    with sitemap_index(tmp_path) as producer:
        for number in range(9):
            producer.publish(f"{number}.txt", b"1")
        old = locations(producer.feed_url)
        producer.publish("another.txt", b"1")

        new = locations(producer.feed_url)

        assert (len(old), len(new)) == (3, 3)
        assert not set(old) & set(new)
        for url in (*old, *new):
            answer = HTTP.get(url)
            assert answer.headers["Content-Type"] == "application/gzip"
            assert gzip.decompress(answer.content).startswith(b"<?xml")


def test_resourcesync_gives_hashes_and_lengths(tmp_path: Path) -> None:
    with resourcesync(tmp_path) as producer:
        producer.publish("a.txt", b"123")

        (url,) = ET.fromstring(HTTP.get(f"{producer.origin_url}/changelist.xml").content).iter(f"{SITEMAP}url")

    says = url.find(f"{RESOURCESYNC}md")
    assert says is not None
    assert (says.get("change"), says.get("length")) == ("created", "3")
    hashes = f"md5:{hashlib.md5(b'123').hexdigest()} sha-256:{hashlib.sha256(b'123').hexdigest()}"
    assert says.get("hash") == hashes


def test_a_snapshot_of_resourcesync_begins_a_new_change_list(tmp_path: Path) -> None:
    with resourcesync(tmp_path) as producer:
        producer.publish("a.txt", b"1")
        producer.snapshot()
        producer.publish("b.txt", b"1")

        resources = locations(f"{producer.origin_url}/resourcelist.xml")
        changes = locations(f"{producer.origin_url}/changelist.xml")

    assert [resources, changes] == [[f"{producer.origin_url}/a.txt"], [f"{producer.origin_url}/b.txt"]]


def test_jsonl_gives_what_is_behind_a_sequence(tmp_path: Path) -> None:
    with jsonl(tmp_path) as producer:
        for key in ("a.txt", "b.txt", "c.txt"):
            producer.publish(key, b"1")

        behind = HTTP.get(producer.feed_url, params={"since": 1})
        nonsense = HTTP.get(producer.feed_url, params={"since": "x"})

    assert [json.loads(line)["key"] for line in behind.text.splitlines()] == ["b.txt", "c.txt"]
    assert nonsense.status_code == 400


def test_a_jsonl_file_only_grows(tmp_path: Path) -> None:
    with jsonl_file(tmp_path) as producer:
        producer.publish("a.txt", b"1")
        before = HTTP.get(producer.feed_url).content
        producer.remove("a.txt")
        after = HTTP.get(producer.feed_url, params={"since": 1}).content

    assert after.startswith(before)
    assert after.count(b"\n") == 2


def test_http_feeds_waits_for_what_comes(tmp_path: Path) -> None:
    with http_feeds(tmp_path) as producer, ThreadPoolExecutor(1) as beside:
        waiting = beside.submit(HTTP.get, producer.feed_url, params={"timeout": 5000})
        producer.publish("a.txt", b"1")
        nothing = HTTP.get(producer.feed_url, params={"lastEventId": waiting.result().json()[0]["id"], "timeout": 20})

    assert [event["subject"] for event in waiting.result().json()] == ["a.txt"]
    assert nothing.json() == []


def test_http_feeds_gives_batches_and_knows_where_a_compacted_event_was(tmp_path: Path) -> None:
    with http_feeds(tmp_path) as producer:
        producer.publish("again.txt", b"1")
        (compacted,) = HTTP.get(producer.feed_url).json()
        for number in range(http_feeds_server.BATCH):
            producer.publish(f"{number}.txt", b"1")
        producer.publish("again.txt", b"2")

        whole = HTTP.get(producer.feed_url).json()
        behind = HTTP.get(producer.feed_url, params={"lastEventId": compacted["id"]}).json()
        last = HTTP.get(producer.feed_url, params={"lastEventId": behind[-1]["id"]}).json()

    assert [event["subject"] for event in whole] == [f"{number}.txt" for number in range(http_feeds_server.BATCH)]
    assert behind == whole
    assert [event["subject"] for event in last] == ["again.txt"]


def test_sse_replays_what_is_behind_an_id_and_pings_with_comments(tmp_path: Path) -> None:
    with sse(tmp_path) as producer:
        for key in ("a.txt", "b.txt"):
            producer.publish(key, b"1")

        lines = []
        with HTTP.stream("GET", producer.feed_url, headers={"Last-Event-ID": "1"}) as answer:
            for line in answer.iter_lines():
                lines.append(line)
                if line.startswith(":"):
                    break

    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert lines[0] == "id: 2"
    assert json.loads(lines[1].removeprefix("data: "))["key"] == "b.txt"
    assert lines[2:-1] == [""]


def test_a_webhook_is_delivered_until_it_is_accepted_and_in_order(tmp_path: Path) -> None:
    with webhook_structured(tmp_path) as producer:
        for number in range(3):
            producer.publish(f"{number}.txt", b"1")

        with receiving(producer, statuses=[503, 401, 200, 500]) as receiver:
            receiver.until(6)

    subjects = [json.loads(delivery.body)["subject"] for delivery in receiver.deliveries]
    assert subjects == ["0.txt", "0.txt", "0.txt", "1.txt", "1.txt", "2.txt"]
    assert {delivery.path for delivery in receiver.deliveries} == {"/hooks/docs"}
    assert {delivery.headers["Authorization"] for delivery in receiver.deliveries} == {f"Bearer {TOKEN}"}


def test_minio_asks_whether_somebody_is_there_and_then_posts_records(tmp_path: Path) -> None:
    with webhook_minio(tmp_path) as producer:
        producer.publish(ODD, b"123")
        producer.remove(ODD)

        with receiving(producer) as receiver:
            receiver.until(2)

    written, removed = (json.loads(delivery.body) for delivery in receiver.deliveries)
    assert receiver.heads == 1
    assert (written["EventName"], written["Key"]) == ("s3:ObjectCreated:Put", f"origin/{ODD}")
    thing, gone = (entry["Records"][0]["s3"]["object"] for entry in (written, removed))
    assert thing["key"] == "img%2F%C3%A4+1%2B2%25.txt"
    assert (thing["size"], thing["eTag"]) == (3, hashlib.md5(b"123").hexdigest())
    assert removed["EventName"] == "s3:ObjectRemoved:Delete"
    assert thing["sequencer"] < gone["sequencer"]


def test_a_binary_cloud_event_is_in_headers(tmp_path: Path) -> None:
    with webhook_binary(tmp_path) as producer:
        producer.publish(ODD, b"123")

        with receiving(producer) as receiver:
            receiver.until(1)

    (delivery,) = receiver.deliveries
    assert delivery.headers["ce-type"] == "org.example.file.updated"
    assert delivery.headers["ce-subject"] == "img/%C3%A4%201+2%25.txt"
    assert delivery.headers["Content-Type"] == "application/json"
    assert json.loads(delivery.body) == {"size": 3}


def test_a_batch_is_all_that_waits_up_to_a_limit(tmp_path: Path) -> None:
    with webhook_batched(tmp_path) as producer:
        for number in range(webhook_sender.BATCH + 2):
            producer.publish(f"{number:02}.txt", b"1")

        with receiving(producer) as receiver:
            receiver.until(2)

    first, second = (json.loads(delivery.body) for delivery in receiver.deliveries)
    assert [event["subject"] for event in second] == ["10.txt", "11.txt"]
    assert len(first) == webhook_sender.BATCH
    assert {delivery.headers["Content-Type"] for delivery in receiver.deliveries} == {
        "application/cloudevents-batch+json"
    }


def served(producer: Producer, key: str) -> bytes:
    return HTTP.get(url_of(producer.origin_url, key)).raise_for_status().content


def fail_beside(made: AbstractContextManager[Producer], before: set[str]) -> None:
    with made:
        assert children() > before
        raise ZeroDivisionError


def children() -> set[str]:
    """The processes that this one has started and that have not ended."""
    return {child for listed in Path("/proc/self/task").glob("*/children") for child in listed.read_text().split()}

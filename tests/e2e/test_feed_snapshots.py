"""`mirrord` over snapshots of real producers: gaps heal, many removals wait, half a sitemap is not believed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.feed_place import GENEROUS, FeedPlace, feed_place
from tests.producers.resourcesync import ResourceSync

MANY = [f"many/{number}.txt" for number in range(5)]
FEW = ["a.txt", "b.txt", "c.txt"]


@pytest.fixture(name="resourcesync")
def _resourcesync(tmp_path: Path) -> Iterator[FeedPlace]:
    with feed_place(tmp_path, "resourcesync") as place:
        yield place


@pytest.fixture(name="index")
def _index(tmp_path: Path) -> Iterator[FeedPlace]:
    with feed_place(tmp_path, "sitemap-index") as place:
        yield place


def producer_of(place: FeedPlace) -> ResourceSync:
    assert isinstance(place.producer, ResourceSync)
    return place.producer


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
def test_what_a_change_list_has_forgotten_the_resource_list_tells(resourcesync: FeedPlace, running: bool) -> None:
    place = resourcesync
    for key in FEW:
        place.publish(key, b"one")
    service = place.run()
    place.until_mirrored(service)
    place.until_settled(service)
    if not running:
        service.stop()
    place.kodo.forget_calls()

    place.producer.stop()
    place.publish("a.txt", b"two")
    place.publish("new.txt", b"new")
    place.remove("b.txt")
    producer_of(place).snapshot()  # the change list begins after all that
    place.producer.start()
    if not running:
        service = place.run()
    service.until_said("feed.reset", gap=True)
    place.until_mirrored(service)
    service.until(lambda: place.report().complete, "complete")

    assert place.asked_for() == ["a.txt", "b.txt", "new.txt"]
    assert len(service.said("feed.reset")) == 1


def test_what_both_lists_tell_is_asked_for_once(resourcesync: FeedPlace) -> None:
    place = resourcesync
    for key in FEW:
        place.publish(key, b"one")
    service = place.run()
    place.until_mirrored(service)
    place.until_settled(service)
    place.remove("c.txt")
    place.until_mirrored(service)
    place.until_settled(service)
    service.stop()
    producer_of(place).snapshot()

    service = place.run()
    service.until_said("snapshot.compared")
    service.until(lambda: place.report().complete, "complete")

    assert place.asked_for() == ["a.txt", "b.txt", "c.txt", "c.txt"]


def test_removals_that_one_mirror_holds_and_another_one_does_not(tmp_path: Path) -> None:
    with feed_place(tmp_path, "sitemap") as place:
        careful = {"removal_limit": {"count": 2, "fraction": 1.0}}
        place.follow({"name": "docs", **careful}, {"name": "pages", "bucket": "pages", "removal_limit": GENEROUS})
        for key in [*MANY, *FEW]:
            place.publish(key, b"one")
        service = place.run()
        for bucket in ("docs", "pages"):
            place.until_mirrored(service, bucket)
        place.until_settled(service)

        place.producer.stop()  # so that they are gone all at once
        for key in MANY:
            place.remove(key)
        place.producer.start()
        service.until_said("removals.held", mirror="docs")
        place.until_mirrored(service, "pages")
        kept = [place.kodo.read("docs", key) for key in MANY]
        released = place.start("release", "docs").wait()
        place.until_mirrored(service)

        assert kept == [b"one"] * len(MANY)
        assert released.code == 0
        assert len(service.said("removals.held")) == 1
        assert place.kodo.read("docs", FEW[0]) == b"one"


def test_half_an_index_of_sitemaps_removes_nothing(index: FeedPlace) -> None:
    place = index
    for key in [*MANY, *FEW]:
        place.publish(key, b"one")
    service = place.run()
    place.until_mirrored(service)
    place.until_settled(service)
    place.kodo.forget_calls()

    children = [path for path in place.www.iterdir() if path.name.endswith(".xml.gz")]
    whole = {path: path.read_bytes() for path in children}
    for path, content in whole.items():
        path.write_bytes(content[: len(content) // 2])
    (failed,) = service.until_said("feed.failed")
    for path, content in whole.items():
        path.write_bytes(content)
    service.until_said("feed.recovered")
    place.publish("new.txt", b"new")
    place.until_mirrored(service)

    assert len(children) > 1
    assert ".xml.gz: " in failed["reason"]
    assert place.asked_for() == ["new.txt"]


def test_a_sitemap_that_is_emptied_removes_nothing_and_says_so(tmp_path: Path) -> None:
    with feed_place(tmp_path, "sitemap") as place:
        for key in FEW:
            place.publish(key, b"one")
        service = place.run()
        place.until_mirrored(service)
        place.until_settled(service)
        place.kodo.forget_calls()

        (place.www / "sitemap.xml").write_text("<urlset xmlns='http://www.sitemaps.org/schemas/sitemap/0.9'/>")
        (failed,) = service.until_said("feed.failed")
        service.until(lambda: not place.report().complete, "incomplete")

        assert "names no key at all" in failed["reason"]
        assert place.asked_for() == []

"""What has just happened is news: a first run may take the bucket for right, but not what is told after that."""

from pathlib import Path

import pytest

from tests.e2e.feed_place import feed_place


@pytest.mark.parametrize("first_run", ["adopt", "compare"])
@pytest.mark.parametrize("name", ["webhook-minio", "sse"])
def test_what_is_pushed_is_pulled_whatever_the_bucket_is_taken_to_hold(
    tmp_path: Path, name: str, first_run: str
) -> None:
    with feed_place(tmp_path, name) as place:
        place.follow({"first_run": first_run})
        service = place.run()

        place.publish("a.txt", b"a")

        place.until_mirrored(service)


def test_what_comes_after_now_is_pulled_though_what_was_before_is_adopted(tmp_path: Path) -> None:
    with feed_place(tmp_path, "jsonl") as place:
        place.producer.publish("old.txt", b"old")
        place.follow({"first_run": "adopt"}, start="now")
        service = place.run()

        place.publish("new.txt", b"new")

        place.until_mirrored(service)
        assert place.asked_for() == ["new.txt"]

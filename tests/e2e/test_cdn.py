"""A CDN in front of the bucket: told of what was refreshed and verified, whatever happens, and never in the way."""

import signal
from typing import Any

from tests.e2e.place import Place, Program

ADDRESSES = ["http://a.example.com", "http://b.example.com/"]
CDN = {"cdn": {"urls": ADDRESSES}}
KEYS = [f"{n:02} ü.txt" for n in range(25)]
"""Under two addresses just what one request takes, so that nothing is waited for."""
URLS = sorted(f"{address.rstrip('/')}/{n:02}%20%C3%BC.txt" for address in ADDRESSES for n in range(25))


def write(place: Place, content: str) -> None:
    for key in KEYS:
        place.write(key, f"{content} {key}")


def running(place: Place, **settings: Any) -> Program:
    place.configure(CDN | settings)
    return place.run()


def told(place: Place) -> list[list[str]]:
    return [sorted(urls) for urls in place.kodo.purged()]


def test_what_was_refreshed_and_verified_is_told_to_the_cdn_under_every_address(place: Place) -> None:
    write(place, "old")

    service = running(place)
    (line,) = service.until_said("cdn.refreshed")
    write(place, "new")
    service.until_said("cdn.refreshed", times=2)
    stopped = service.stop()

    assert told(place) == [URLS, URLS]
    assert place.differing(KEYS) == set()
    assert (line["mirror"], line["urls"], line["keys"], line["status"], line["code"]) == ("docs", 50, 25, 200, 200)
    assert (line["quota_day"], line["surplus_day"]) == (500, 450)
    assert line["reqid"]
    assert line["request_id"]
    assert stopped.said("cdn.failed") == []


def test_a_cdn_is_not_told_of_what_could_not_be_verified(place: Place) -> None:
    write(place, "old")
    service = running(place)
    service.until_said("cdn.refreshed")

    place.kodo.fail(operation="prefetch", stale=True, times=25)
    write(place, "new")
    service.until_said("cdn.refreshed", times=2)

    assert len(service.said("verification.failed")) == 25
    assert told(place) == [URLS, URLS]
    assert place.differing(KEYS) == set()


def test_what_was_removed_from_the_bucket_is_told_as_well(place: Place) -> None:
    write(place, "old")
    service = running(place, on_removed="delete", removal_limit={"count": 1000, "fraction": 1.0})
    service.until_said("cdn.refreshed")

    for key in KEYS:
        (place.www / key).unlink()
    service.until_said("cdn.refreshed", times=2)

    assert told(place) == [URLS, URLS]
    assert len(place.kodo.calls("delete")) == 25


def test_what_was_still_to_be_told_outlives_a_kill(place: Place) -> None:
    place.kodo.fail(operation="cdn-refresh", status=503)
    write(place, "old")
    service = running(place)
    service.until_said("cdn.failed")
    service.until(lambda: place.report().keys["fresh"] == 25)  # type: ignore[index]  # a StrEnum is its text

    service.send(signal.SIGKILL)
    service.wait()
    place.kodo.heal()
    again = place.run()
    again.until_said("cdn.refreshed")
    ended = again.stop()

    assert told(place) == [URLS]
    assert ended.said("refresh.attempted") == []


def test_a_key_pair_without_the_permission_holds_nothing_up(place: Place) -> None:
    place.kodo.fail(operation="cdn-refresh", status=403, error="permission denied")
    write(place, "old")
    service = running(place)
    (line,) = service.until_said("cdn.failed")

    write(place, "new")
    place.until_equal(service, KEYS)
    stopped = service.stop()

    assert line["level"] == "error"
    assert line["action"]
    assert len(stopped.said("cdn.failed")) == 1
    assert stopped.said("refresh.attempted", next="hold") == []


def test_once_tells_the_cdn_before_it_ends(place: Place) -> None:
    place.configure(CDN)
    place.write("a.txt")

    ended = place.once()

    assert ended.code == 0
    assert told(place) == [["http://a.example.com/a.txt", "http://b.example.com/a.txt"]]


def test_without_addresses_no_cdn_is_told_of_anything(place: Place) -> None:
    write(place, "old")

    ended = place.once()

    assert ended.code == 0
    assert place.kodo.calls("cdn-refresh") == []

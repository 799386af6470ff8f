"""A success is believed when the bucket confirms it: in batches, against old bytes, and while nobody can tell."""

import os
from pathlib import Path
from typing import Any

from tests.e2e.place import Ended, Place, keys_below, place_at


def batches(place: Place) -> int:
    """How many there were; and not one question about a single key."""
    assert place.kodo.calls("stat") == []
    return len(place.kodo.calls("batch"))


def nexts(ended: Ended, key: str) -> list[tuple[int, str]]:
    return [(line["attempt"], line["next"]) for line in ended.said("verification.failed", key=key)]


def keys_by_state(place: Place) -> dict[str, int]:
    (mirror,) = place.start("status", "--json").wait().json["mirrors"]
    return {state: count for state, count in mirror["keys"].items() if count}


def test_many_small_files_are_verified_in_a_few_batches(place: Place) -> None:
    for n in range(2500):
        place.write(f"{n % 50}/{n}.txt", f"{n}")

    ended = place.once()

    assert ended.code == 0
    assert len(place.kodo.calls("prefetch")) == len(ended.said("refresh.attempted")) == 2500
    assert 3 <= batches(place) <= 15  # a second's successes are asked about together: more on a slow machine
    assert ended.said("verification.failed") == []
    assert keys_by_state(place) == {"fresh": 2500}


def test_a_reply_that_names_hash_and_size_needs_no_further_call(tmp_path: Path) -> None:
    with place_at(tmp_path, prefetch_reply="object") as place:
        place.write("small.txt", "small")
        place.write("empty", b"")
        place.write("large.bin", os.urandom(9 * 2**20))
        first = place.once()
        place.write("small.txt", "SMALL")
        place.kodo.fail(operation="prefetch", key="small.txt", stale=True, times=1)

        second = place.once()

        assert (first.code, second.code) == (0, 0)
        assert nexts(second, "small.txt") == [(1, "retry")]
        assert place.differing(keys_below(place.www, place.www)) == set()
        assert batches(place) == 0


def test_off_asks_nothing(place: Place) -> None:
    place.write("a.txt")
    place.configure({"verify": "off"})

    ended = place.once()

    assert ended.code == 0
    assert [call["operation"] for call in place.kodo.calls()] == ["prefetch"]


def test_an_origin_that_serves_old_bytes_for_a_while_is_caught_and_healed(place: Place) -> None:
    place.write("a.txt", "old")
    place.write("large.bin", b"o" * (9 * 2**20))
    place.write("same.txt")
    place.once()
    place.write("a.txt", "new")  # as long as before: only the hash can tell
    place.write("large.bin", b"n" * (9 * 2**20))
    place.kodo.fail(operation="prefetch", key="a.txt", stale=True, times=3)
    place.kodo.fail(operation="prefetch", key="large.bin", stale=True, times=1)

    ended = place.once()

    assert ended.code == 0
    assert nexts(ended, "a.txt") == [(1, "retry"), (2, "retry"), (3, "retry")]
    assert nexts(ended, "large.bin") == [(1, "retry")]
    assert place.differing({"a.txt", "large.bin", "same.txt"}) == set()
    attempted = ended.said("refresh.attempted", key="a.txt")
    assert [(line["attempt"], line["next"]) for line in attempted] == [(n, "done") for n in (1, 2, 3, 4)]
    for failed, line in zip(ended.said("verification.failed", key="a.txt"), attempted, strict=False):
        told: dict[str, Any] = {
            name: failed[name] for name in ("level", "mirror", "bucket", "wanted_size", "found_size")
        }
        assert told == {"level": "warning", "mirror": "docs", "bucket": "docs", "wanted_size": 3, "found_size": 3}
        assert failed["wanted_hash"] != failed["found_hash"]
        assert failed["reqid"] == line["reqid"]
        assert failed["retry_in_s"] >= 0.005


def test_an_origin_that_goes_on_with_old_bytes_gets_its_key_parked_with_the_reason(place: Place) -> None:
    place.write("a.txt", "old")
    place.once()
    place.write("a.txt", "newer")
    place.write("b.txt")
    place.kodo.fail(operation="prefetch", key="a.txt", stale=True)

    ended = place.once()

    assert ended.code == 1
    assert nexts(ended, "a.txt") == [(n, "retry") for n in range(1, 8)] + [(8, "park")]
    parked = ended.said("verification.failed")[-1]
    assert (parked["level"], parked["retry_in_s"]) == ("error", None)
    assert "cache" in parked["action"]
    assert "parked  'a.txt'" in ended.out
    assert "the origin, or a cache in front of it" in ended.out
    assert place.kodo.read("docs", "b.txt") == b"x"


def test_while_nobody_can_tell_nothing_is_fresh(place: Place) -> None:
    for n in range(5):
        place.write(f"{n}.txt")
    place.kodo.fail(operation="batch", status=403)
    service = place.run()
    (told, *_) = service.until_said("verification.postponed", keys=5)

    meanwhile = keys_by_state(place)
    place.kodo.heal()
    stopped = service.stop()
    ended = place.once()

    assert "fresh" not in meanwhile
    assert (told["level"], told["status"]) == ("error", 403)
    assert "verify" in told["action"]
    assert (stopped.code, ended.code) == (0, 0)
    assert stopped.said("verification.failed") == []
    assert keys_by_state(place) == {"fresh": 5}


def test_a_batch_that_fails_is_asked_again_without_pulling_again(place: Place) -> None:
    place.write("a.txt")
    place.kodo.fail(operation="batch", status=503, times=1)

    ended = place.once()

    assert ended.code == 0
    assert len(place.kodo.calls("prefetch")) == 1
    assert batches(place) == 2


def test_sigterm_verifies_what_has_succeeded_before_it_ends(place: Place) -> None:
    for n in range(20):
        place.write(f"{n}.txt")
    service = place.run()
    service.until_said("refresh.attempted", 20)

    ended = service.stop()

    assert ended.code == 0
    assert keys_by_state(place) == {"fresh": 20}

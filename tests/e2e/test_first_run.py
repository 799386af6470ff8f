"""The first run over a bucket that holds most of it already: listed, compared, and only the rest asked for."""

import os
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mirrord.kodo.etag import etag_of, etag_v2
from tests.e2e import bucket
from tests.e2e.place import BUCKETS, Ended, Place, place_at

MANY = 20_000
COMPARE = {"first_run": "compare"}


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A tree of `MANY` files, and a bucket that holds every one of them."""
    root = tmp_path_factory.mktemp("crowd")
    contents = {f"{n % 100:02}/{n:05}.txt": b"%d" % n for n in range(MANY)}
    for n in range(100):
        (root / "www" / f"{n:02}").mkdir(parents=True)
    for key, content in contents.items():
        (root / "www" / key).write_bytes(content)
    bucket.show(root, contents.items())
    with place_at(root) as place:
        yield place


def begin(place: Place, name: str, *mirrors: dict[str, Any]) -> None:
    """A journal of its own, and nothing asked so far."""
    place.configure(*mirrors or (COMPARE,), journal={"url": f"sqlite:///{place.root}/{name}.db"})
    place.kodo.heal()
    place.kodo.forget_calls()


def operations(place: Place) -> list[str]:
    """What was asked, but for what only looks at one object or another, or at the bucket's settings."""
    return [call["operation"] for call in place.calls() if call["operation"] != "download"]


def refreshed(ended: Ended) -> set[str]:
    return {line["key"] for line in ended.said("refresh.attempted")}


def test_twenty_thousand_equal_objects_cost_twenty_calls_and_then_none(crowd: Place) -> None:
    begin(crowd, "equal")

    ended = crowd.once()
    calls = operations(crowd)
    crowd.kodo.forget_calls()
    again = crowd.once()

    assert (ended.code, again.code) == (0, 0)
    assert calls == ["list"] * 20
    assert operations(crowd) == []
    (line,) = ended.said("inventory.finished")
    assert (line["mirror"], line["bucket"], line["objects"], line["calls"]) == ("docs", "docs", MANY, 20)
    assert ended.said("scan.finished")[0]["new"] == MANY


def test_a_listing_that_was_killed_goes_on_where_it_was(crowd: Place) -> None:
    begin(crowd, "killed")
    crowd.configure(COMPARE, journal={"url": f"sqlite:///{crowd.root}/killed.db"}, log={"level": "debug"})
    crowd.kodo.fail(operation="list", delay_s=0.1)
    program = crowd.start("run")
    program.until_said("page.listed", 5)
    program.send(signal.SIGKILL)
    kept = len(program.wait().said("page.listed"))
    begin(crowd, "killed")

    ended = crowd.once()

    assert ended.code == 0
    assert 5 <= kept < 20
    assert set(operations(crowd)) == {"list"}
    (line,) = ended.said("inventory.finished")
    assert 20 - kept - 1 <= line["calls"] <= 20 - kept
    assert (line["objects"], line["resumed"]) == (MANY, True)


def mixed(root: Path) -> dict[str, bytes]:
    """A tree and a bucket that differ in every way; the files and their contents."""
    files = {
        "equal.txt": b"equal",
        "missing.txt": b"missing",
        "longer.txt": b"longer than stored",
        "older-but-equal.txt": b"touched since",
        "older-and-other.txt": b"rewritten",
        "large-and-older.bin": b"x" * (4 * 2**20 + 1),
        "odd-parts.bin": b"uploaded",
        "empty": b"",
    }
    (root / "www").mkdir(parents=True)
    for key in ("equal.txt", "empty"):
        (root / "www" / key).write_bytes(files[key])
    stored = files | {"longer.txt": b"short", "older-and-other.txt": b"REWRITTEN", "unknown.txt": b"another's"}
    del stored["missing.txt"]
    bucket.put(root, stored.items())
    for key, content in files.items():
        if key not in {"equal.txt", "empty"}:
            (root / "www" / key).write_bytes(content)
    return files


DIFFERENT = {"missing.txt", "longer.txt", "older-and-other.txt"}


def test_only_what_differs_is_asked_for_and_in_doubt_the_content_decides(tmp_path: Path) -> None:
    files = mixed(tmp_path)
    with place_at(tmp_path) as place:
        place.configure(COMPARE)

        ended = place.once()

        assert ended.code == 0
        assert refreshed(ended) == DIFFERENT
        assert operations(place).count("list") == 1
        assert place.differing(files) == set()
        assert place.kodo.read("docs", "unknown.txt") == b"another's"


def test_verifying_reads_every_file_and_finds_what_time_and_size_hide(tmp_path: Path) -> None:
    (tmp_path / "www").mkdir()
    for key, content in {"a.txt": b"right", "b.txt": b"right"}.items():
        (tmp_path / "www" / key).write_bytes(content)
    for name in BUCKETS:
        bucket.put(tmp_path, [("a.txt", b"right"), ("b.txt", b"wrong")], name)
    index = sqlite3.connect(tmp_path / "kodo" / "index.db")
    with index:  # stored long after the files changed, as far as the clocks can tell
        index.execute("UPDATE objects SET put_time = put_time + ?", (20 * 60 * 10**7,))
    index.close()
    with place_at(tmp_path) as place:
        place.configure({"name": "compared", **COMPARE}, {"name": "verified", "bucket": "pages", "first_run": "verify"})

        ended = place.once()

        assert ended.code == 0
        assert {(line["mirror"], line["key"]) for line in ended.said("refresh.attempted")} == {("verified", "b.txt")}


def test_a_hash_of_odd_parts_cannot_be_compared_and_is_refreshed_in_doubt(tmp_path: Path) -> None:
    content = os.urandom(5 * 2**20)
    (tmp_path / "www").mkdir()
    bucket.put(tmp_path, [("a.bin", content)])
    index = sqlite3.connect(tmp_path / "kodo" / "index.db")
    with index:
        index.execute("UPDATE objects SET hash = ?", (etag_v2([[content]]),))
    index.close()
    (tmp_path / "www" / "a.bin").write_bytes(content)
    with place_at(tmp_path) as place:
        place.configure(COMPARE)

        ended = place.once()

        assert etag_v2([[content]]) != etag_of([content])
        assert refreshed(ended) == {"a.bin"}


def test_when_kodo_gives_no_listing_everything_is_refreshed(place: Place) -> None:
    for n in range(3):
        place.write(f"{n}.txt")
    place.configure(COMPARE)
    place.kodo.fail(operation="list", status=403)

    ended = place.once()

    assert ended.code == 0
    assert operations(place) == ["list"] + ["prefetch"] * 3
    (line,) = ended.said("inventory.failed")
    assert (line["level"], line["status"], line["calls"]) == ("error", 403, 1)
    assert line["reason"]
    assert line["action"]


def test_only_what_is_below_the_prefix_is_listed(place: Place) -> None:
    place.write("v2/a b.txt", "a")
    place.configure({**COMPARE, "key_prefix": "v2/", "source": {"path": str(place.www / "v2")}})

    place.once()

    (listing,) = place.kodo.calls("list")
    assert listing["target"] == "/list?bucket=docs&limit=1000&prefix=v2/"


def test_the_service_compares_once_and_what_comes_later_is_news_whatever_the_bucket_holds(tmp_path: Path) -> None:
    (tmp_path / "www").mkdir()
    (tmp_path / "www" / "a.txt").write_bytes(b"a")
    bucket.put(tmp_path, [("a.txt", b"a"), ("b.txt", b"b")])
    with place_at(tmp_path) as place:
        place.configure(COMPARE)

        program = place.run()
        program.until_said("scan.finished")
        before = operations(place)
        place.write("b.txt", "b")
        program.until_said("refresh.attempted")
        program.stop()

        assert before == ["list"]
        assert operations(place) == ["list", "prefetch"]
        assert place.kodo.calls("prefetch")[0]["key"] == "b.txt"

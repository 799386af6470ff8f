"""A mirror of the same name that is about another bucket, or other keys: all is asked for there, and nothing undone."""

import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import closing
from typing import Any

import pytest

from tests.e2e.place import PATIENCE_S, GatedOrigin, Place, Program

WARM = "first.txt"
KEYS = [f"{n}.txt" for n in range(5)]
ALL = [WARM, *KEYS]
PREFIXES = ("", "one/", "two/")
MANY = 40_000
"""Rows, so that to drop them takes long enough to be killed in the middle of it."""
GENEROUS = {"count": 1000, "fraction": 1.0}


def about(place: Place, *, bucket: str = "docs", key_prefix: str = "one/", **more: Any) -> None:
    """Configure one mirror; a removal would reach the bucket."""
    (place.root / "tree").mkdir(exist_ok=True)
    mirror = {
        "bucket": bucket,
        "key_prefix": key_prefix,
        "source": {"path": str(place.root / "tree")},
        "on_removed": "delete",
        "removal_limit": GENEROUS,
    }
    place.configure(mirror | more)


def publish(place: Place, names: Iterable[str]) -> None:
    """Files of the tree, which the origin serves below every prefix."""
    for name in names:
        for prefix in PREFIXES:
            place.write(f"{prefix}{name}", name)
        (place.root / "tree" / name).write_text(name)


def until_held(place: Place, service: Program, keys: Iterable[str], bucket: str) -> None:
    """Wait until the bucket has these keys' bytes, and the journal knows."""
    left = set(keys)

    def is_held() -> bool:
        left.intersection_update(place.differing(left, bucket))
        return not left and place.report().settled

    service.until(is_held, left)


def asked_for(place: Place) -> Counter[tuple[str, str]]:
    """How often each key of each bucket was pulled; nothing may have been deleted."""
    assert place.kodo.calls("delete") == []
    return Counter((call["bucket"], call["key"]) for call in place.kodo.calls("prefetch"))


def once_each(bucket: str, prefix: str, names: Iterable[str] = KEYS) -> Counter[tuple[str, str]]:
    return Counter((bucket, f"{prefix}{name}") for name in names)


OTHERS = {"another bucket": ("pages", "one/"), "another prefix": ("docs", "two/")}
other = pytest.mark.parametrize(("bucket", "prefix"), OTHERS.values(), ids=OTHERS)


@other
def test_between_two_runs_everything_is_asked_for_anew_and_nothing_deleted(
    place: Place, bucket: str, prefix: str
) -> None:
    about(place)
    publish(place, KEYS)
    first = place.run()
    until_held(place, first, [f"one/{name}" for name in KEYS], "docs")
    first.stop()
    about(place, bucket=bucket, key_prefix=prefix)

    second = place.run()
    until_held(place, second, [f"{prefix}{name}" for name in KEYS], bucket)

    (line,) = second.said("mirror.retargeted")
    assert (line["before"], line["key_prefix_before"]) == ("docs", "one/")
    assert (line["bucket"], line["key_prefix"]) == (bucket, prefix)
    assert asked_for(place) == once_each("docs", "one/") + once_each(bucket, prefix)
    assert place.differing([f"one/{name}" for name in KEYS], "docs") == set()


@pytest.fixture
def busy(gated: Place, gate: GatedOrigin) -> Program:
    """A service whose calls for `KEYS` in the first bucket wait for the gate."""
    about(gated)
    service = gated.run()
    publish(gated, [WARM])
    service.until_said("refresh.attempted", key=f"one/{WARM}")
    gate.shut()
    publish(gated, KEYS)
    gate.until_asked(1 + len(KEYS))
    return service


def test_by_a_reload_old_calls_end_first_and_then_everything_is_asked_for(
    gated: Place, gate: GatedOrigin, busy: Program
) -> None:
    about(gated, bucket="pages", key_prefix="two/")

    answer = gated.start("reload")
    busy.until_said("settings.reloaded")
    gate.open()
    until_held(gated, busy, [f"two/{name}" for name in ALL], "pages")

    assert answer.wait().code == 0
    assert busy.said("settings.reloaded")[0]["replaced"] == ["docs"]
    assert_the_one_after_the_other(gated, busy, "pages", "two/")


@other
def test_a_mirror_that_was_away_for_a_moment_waits_for_its_old_calls_too(
    gated: Place, gate: GatedOrigin, busy: Program, bucket: str, prefix: str
) -> None:
    about(gated, name="away", bucket="pages", include=["/nothing"])
    first = gated.start("reload").wait()
    about(gated, bucket=bucket, key_prefix=prefix)

    second = gated.start("reload")
    busy.until_said("settings.reloaded", 2)
    busy.until_said("mirror.stopped", mirror="away")
    gate.open()
    until_held(gated, busy, [f"{prefix}{name}" for name in ALL], bucket)

    assert (first.code, second.wait().code) == (0, 0)
    assert busy.said("settings.reloaded")[1]["started"] == ["docs"]
    assert_the_one_after_the_other(gated, busy, bucket, prefix)


def assert_the_one_after_the_other(place: Place, service: Program, bucket: str, prefix: str) -> None:
    """All of the first bucket once, and then all of the other one, once; nothing was taken for left behind."""
    told = [line["event"] for line in service.lines if line.get("mirror") == "docs"]
    assert told.index("mirror.stopped") < told.index("mirror.retargeted")
    assert service.said("claims.recovered") == []
    assert asked_for(place) == once_each("docs", "one/", ALL) + once_each(bucket, prefix, ALL)
    calls = place.kodo.calls("prefetch")
    assert max(call["ended"] for call in calls[: len(ALL)]) <= min(call["started"] for call in calls[len(ALL) :])
    assert place.differing([f"one/{name}" for name in ALL], "docs") == set()


def test_a_service_that_stops_leaves_the_change_to_the_next(gated: Place, gate: GatedOrigin, busy: Program) -> None:
    about(gated, bucket="pages")
    gated.start("reload")
    busy.until_said("settings.reloaded")

    busy.send(signal.SIGTERM)
    busy.until_notified("STOPPING=1")
    gate.open()
    ended = busy.wait()
    again = gated.run()
    until_held(gated, again, [f"one/{name}" for name in ALL], "pages")

    assert ended.code == 0
    assert ended.said("mirror.retargeted") == []
    assert len(again.said("mirror.retargeted")) == 1
    assert asked_for(gated) == once_each("docs", "one/", ALL) + once_each("pages", "one/", ALL)


def test_killed_while_old_calls_end_the_next_service_asks_for_everything(
    gated: Place, gate: GatedOrigin, busy: Program
) -> None:
    about(gated, bucket="pages")
    gated.start("reload")
    busy.until_said("settings.reloaded")

    busy.send(signal.SIGKILL)
    busy.wait()
    gate.open()
    again = gated.run()
    until_held(gated, again, [f"one/{name}" for name in ALL], "pages")

    assert busy.said("mirror.retargeted") == []
    assert len(again.said("mirror.retargeted")) == 1
    assert asked_for(gated) == once_each("docs", "one/", ALL) + once_each("pages", "one/", ALL)


@pytest.mark.parametrize(
    ("rows_of", "bucket"),
    [("attempts", "pages"), ("orders", "docs")],
    ids=["before the keys go, and goes on", "after the keys have gone, and is taken back"],
)
def test_killed_in_the_middle_nothing_is_missed(place: Place, rows_of: str, bucket: str) -> None:
    about(place)
    publish(place, KEYS)
    first = place.run()
    until_held(place, first, [f"one/{name}" for name in KEYS], "docs")
    first.stop()
    fill(place, rows_of)
    about(place, bucket="pages")

    killed = place.start("run")
    until_begun(place, keys_gone=rows_of == "orders")
    killed.send(signal.SIGKILL)
    killed.wait()
    is_begun, left = one(place, "SELECT key_prefix IS NULL FROM served"), one(place, f"SELECT count(*) FROM {rows_of}")
    publish(place, [WARM])
    about(place, bucket=bucket)
    again = place.run()
    until_held(place, again, [f"one/{name}" for name in ALL], bucket)

    assert (is_begun, left > 0, killed.said("mirror.retargeted")) == (1, True, [])
    assert asked_for(place) == once_each("docs", "one/", KEYS) + once_each(bucket, "one/", ALL)
    assert place.differing([f"one/{name}" for name in KEYS], "docs") == set()
    assert one(place, "SELECT bucket || ' ' || key_prefix FROM served") == f"{bucket} one/"


def fill(place: Place, table: str) -> None:
    """Rows of the mirror that nobody misses; tables are emptied in the order of their names."""
    columns = {
        "attempts": "(mirror, key, slot, at, operation, duration_us) VALUES ('docs', ?, 0, 1, 'prefetch', 1)",
        "orders": "(mirror, key, at_text) VALUES ('docs', ?, '1')",
    }
    with closing(sqlite3.connect(place.root / "journal.db")) as journal, journal:
        rows = ((f"one/{n}",) for n in range(MANY))
        journal.executemany(f"INSERT INTO {table} {columns[table]}", rows)


def until_begun(place: Place, *, keys_gone: bool) -> None:
    """Wait until the journal is said to be of no target; with `keys_gone`, of no key either."""
    deadline = time.monotonic() + PATIENCE_S
    begun = "SELECT (SELECT key_prefix FROM served) IS NULL"
    if keys_gone:
        begun += " AND NOT EXISTS (SELECT * FROM objects)"
    while not one(place, begun):
        assert time.monotonic() < deadline


def one(place: Place, query: str) -> Any:
    with closing(sqlite3.connect(f"file:{place.root}/journal.db?mode=ro", uri=True)) as journal:
        ((found,),) = journal.execute(query)
        return found

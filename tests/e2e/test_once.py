"""`mirrord once` over a whole tree: every byte arrives, every call leaves its line, a second time nothing happens."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from mirrord.kodo.entry import encode_entry
from tests.e2e.place import CREDENTIALS, Ended, Place, keys_below, place_at

NAMES = (
    "a b.txt",
    "ünïcödé/中文/ファイル.html",
    "e\u0301.txt",
    "\u00e9.txt",
    "emoji-\U0001f600.txt",
    "tricky/#?&%+~.txt",
    "tricky/%41.txt",
    "tricky/100%",
    "line\nbreak.txt",
    "tab\there",
    "a:b:c",
    "back\\slash",
    "'quotes\".txt",
    " leading and trailing ",
    "-dash",
    "~home",
    ".well-known/security.txt",
    "a/" * 40 + "deep.txt",
    "x" * 250,
)
FIELDS = {
    *("timestamp", "level", "event", "mirror", "bucket", "key", "operation", "attempt", "status", "reqid", "xlog"),
    *("outcome", "next", "retry_in_s", "duration_s", "lag_s", "error"),
}


@dataclass(frozen=True)
class Mirrored:
    """A tree of several hundred files after `once`, and after another one."""

    place: Place
    keys: set[str]
    calls: list[dict[str, object]]
    """What the first one asked of the sandbox."""
    first: Ended
    calls_of_second: list[dict[str, object]]
    second: Ended


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mirrored]:
    with place_at(tmp_path_factory.mktemp("once")) as place:
        for name in NAMES:
            place.write(name, name * 3)
        for n in range(400):
            place.write(f"many/{n % 20}/{n}.bin", os.urandom(n))
        place.write("empty", b"")
        place.write("large.bin", os.urandom(4 * 2**20 + 4097))
        keys = keys_below(place.www, place.www)
        for name in (".git/config", "sub/.git/HEAD", ".page.html.Ab12Cd", "half.part", "draft.tmp", "notes.txt~"):
            place.write(name)
        Path(os.fsdecode(os.fsencode(place.www) + b"/latin-\xe9.txt")).write_bytes(b"x")

        first = place.once()
        calls = place.calls()
        place.kodo.forget_calls()
        second = place.once()
        yield Mirrored(place, keys, calls, first, place.calls(), second)


def test_every_file_arrives_with_the_origins_bytes(mirrored: Mirrored) -> None:
    assert mirrored.first.code == 0
    assert len(mirrored.keys) > 400
    assert mirrored.place.differing(mirrored.keys) == set()


def test_every_call_has_exactly_one_line_with_the_servers_reqid(mirrored: Mirrored) -> None:
    lines = mirrored.first.said("refresh.attempted")

    assert {call["operation"] for call in mirrored.calls} == {"prefetch"}
    assert len(lines) == len(mirrored.calls)
    assert {line["reqid"]: line["key"] for line in lines} == {call["reqid"]: call["key"] for call in mirrored.calls}
    assert sorted(line["key"] for line in lines) == sorted(mirrored.keys)


def test_the_lines_say_what_the_interface_promises(mirrored: Mirrored) -> None:
    lines = mirrored.first.said("refresh.attempted")

    for line in lines:
        assert set(line) == FIELDS
        assert line["timestamp"].endswith("Z")
        assert line["duration_s"] > 0
        assert line["lag_s"] >= 0
        assert line["xlog"].startswith("IO:")
        told = {name: line[name] for name in ("level", "mirror", "bucket", "operation", "attempt", "status")}
        assert told == {
            "level": "info",
            "mirror": "docs",
            "bucket": "docs",
            "operation": "prefetch",
            "attempt": 1,
            "status": 200,
        }
        assert (line["outcome"], line["next"], line["retry_in_s"], line["error"]) == ("refreshed", "done", None, None)


def test_the_scan_is_summed_up(mirrored: Mirrored) -> None:
    (line,) = mirrored.first.said("scan.finished")

    counted = {name: line[name] for name in ("mirror", "new", "changed", "removed")}
    assert counted == {"mirror": "docs", "new": len(mirrored.keys), "changed": 0, "removed": 0}
    assert line["duration_s"] >= 0


def test_a_second_time_makes_no_call(mirrored: Mirrored) -> None:
    assert mirrored.second.code == 0
    assert mirrored.calls_of_second == []
    assert mirrored.second.said("refresh.attempted") == []


def test_a_name_that_is_not_utf_8_is_reported_once_and_stops_nothing(mirrored: Mirrored) -> None:
    (line,) = mirrored.first.said("change.rejected")

    assert line["level"] == "warning"
    assert line["name"] == "latin-\\xe9.txt"
    assert "UTF-8" in line["reason"]


def test_temporary_names_and_version_control_are_never_asked_for(mirrored: Mirrored) -> None:
    assert {call["key"] for call in mirrored.calls} == mirrored.keys


def test_the_journal_keeps_what_status_tells(mirrored: Mirrored) -> None:
    ended = mirrored.place.start("status", "--json").wait()

    (mirror,) = ended.json["mirrors"]
    assert ended.code == 0
    assert mirror["mirror"] == "docs"
    assert mirror["keys"] == {"fresh": len(mirrored.keys), "stale": 0, "claimed": 0, "parked": 0, "held": 0}
    assert mirror["oldest_stale_key"] is None
    assert mirror["complete_as_of"].endswith("Z")
    assert mirror["lost_since"] is None


def test_what_changed_between_two_runs_is_asked_for_alone(place: Place) -> None:
    for name in ("same.txt", "changed.txt", "removed.txt"):
        place.write(name, "old")
    place.once()
    place.kodo.forget_calls()
    times = (place.www / "changed.txt").stat()
    os.utime(place.write("changed.txt", "new"), ns=(times.st_atime_ns, times.st_mtime_ns))  # size and mtime as before
    place.write("added.txt")
    (place.www / "removed.txt").unlink()

    ended = place.once()

    assert ended.code == 0
    assert sorted(call["key"] for call in place.calls()) == ["added.txt", "changed.txt"]
    assert place.differing({"same.txt", "changed.txt", "added.txt"}) == set()
    assert place.kodo.read("docs", "removed.txt") == b"old"
    (scan,) = ended.said("scan.finished")
    assert (scan["new"], scan["changed"], scan["removed"]) == (1, 1, 1)


def test_two_mirrors_of_one_config_keep_to_their_buckets(place: Place) -> None:
    place.write("docs/a.txt", "document")
    place.write("pages/b.html", "page")
    place.configure(
        {"name": "one", "include": ["/docs/"]},
        {"name": "two", "bucket": "pages", "source": {"path": str(place.www)}, "exclude": ["/docs/"]},
    )

    ended = place.once("--json")

    assert ended.code == 0
    assert {(call["bucket"], call["key"]) for call in place.calls()} == {
        ("docs", "docs/a.txt"),
        ("pages", "pages/b.html"),
    }
    assert {(line["mirror"], line["bucket"], line["key"]) for line in ended.said("refresh.attempted")} == {
        ("one", "docs", "docs/a.txt"),
        ("two", "pages", "pages/b.html"),
    }
    assert [mirror["mirror"] for mirror in ended.json["mirrors"]] == ["one", "two"]
    assert [mirror["unfinished"] for mirror in ended.json["mirrors"]] == [[], []]


def test_include_and_exclude_are_relative_to_the_source_and_the_prefix_goes_before(place: Place) -> None:
    for name in ("a.html", "sub/b c.html", "sub/c.css", "drafts/d.html", "sub/drafts/e.html", "f.tmp"):
        place.write(f"v2/{name}", name)  # the origin serves the tree one level above the source
    place.configure(
        {
            "include": ["*.html", "*.tmp"],
            "exclude": ["/drafts/"],
            "key_prefix": "v2/",
            "source": {"path": str(place.www / "v2")},
        }
    )

    ended = place.once()

    expected = {"v2/a.html", "v2/sub/b c.html", "v2/sub/drafts/e.html", "v2/f.tmp"}
    assert ended.code == 0
    assert {call["key"] for call in place.calls()} == expected
    assert place.differing(expected) == set()


def test_links_are_not_followed_unless_asked_and_never_out_of_the_source(place: Place) -> None:
    place.write("real/a.txt")
    (place.root / "outside").mkdir()
    (place.root / "outside" / "private.txt").write_text("private")
    (place.www / "in").symlink_to("real")
    (place.www / "to-a").symlink_to("real/a.txt")
    (place.www / "out").symlink_to(place.root / "outside")
    (place.www / "out.txt").symlink_to("../outside/private.txt")
    (place.www / "loop").symlink_to(".")
    (place.www / "dangling").symlink_to("nowhere")
    os.mkfifo(place.www / "fifo")
    following = {"kind": "directory", "path": str(place.www), "follow_symlinks": True}
    place.configure({}, {"name": "following", "bucket": "pages", "source": following})

    ended = place.once()

    assert ended.code == 0
    assert {(call["bucket"], call["key"]) for call in place.calls()} == {
        ("docs", "real/a.txt"),
        ("pages", "real/a.txt"),
        ("pages", "in/a.txt"),
        ("pages", "to-a"),
    }


def test_adopting_believes_the_bucket_and_asks_for_nothing_until_a_file_changes(place: Place) -> None:
    place.write("a.txt", "old")
    place.write("b.txt")
    place.configure({"first_run": "adopt"})

    adopting = place.once()
    calls_of_adopting = place.calls()
    place.write("a.txt", "new")
    place.write("c.txt")
    place.once()

    assert adopting.code == 0
    assert calls_of_adopting == []
    assert sorted(call["key"] for call in place.calls()) == ["a.txt", "c.txt"]


def test_fetching_names_the_origins_url_itself(place: Place) -> None:
    names = {"a b.txt", "sub/中#?.txt", "100%/x+y.txt"}
    for name in names:
        place.write(name, name)
    place.configure(
        {"name": "one", "operation": "fetch", "origin_url": f"{place.origin}/"},
        {"name": "two", "operation": "glb-fetch", "origin_url": place.origin, "bucket": "pages"},
    )

    ended = place.once()

    expected = {("docs", "fetch"), ("pages", "glb-fetch")}
    assert ended.code == 0
    assert {(call["bucket"], call["operation"]) for call in place.calls()} == expected
    assert {(line["bucket"], line["operation"]) for line in ended.said("refresh.attempted")} == expected
    assert place.differing(names, "docs") == set()
    assert place.differing(names, "pages") == set()


def test_without_pinned_hosts_the_region_is_asked_for_once_whatever_the_signature(place: Place) -> None:
    for n in range(10):
        place.write(f"{n}.txt")
    place.configure(kodo={"scheme": "qiniu", "hosts": {"uc": place.kodo.url}})

    ended = place.once()

    (discovery,) = place.kodo.calls("query")
    calls = place.calls()
    assert ended.code == 0
    assert discovery["status"] == 200
    assert {call["target"] for call in calls} == {f"/prefetch/{encode_entry('docs', f'{n}.txt')}" for n in range(10)}
    assert [call["status"] for call in calls] == [200] * 10


def test_the_secret_key_is_in_no_line_even_when_a_server_echoes_it(place: Place) -> None:
    secret = CREDENTIALS.secret_key
    place.write("a.txt")
    place.write("b.txt")
    place.kodo.fail(operation="prefetch", key="a.txt", status=599, error=f"cannot sign with {secret}")
    place.configure({"retry": {"max_attempts": 2}}, log={"format": "json", "level": "debug"})

    ended = place.once()
    listed = place.start("status").wait()

    said = "".join([*map(str, ended.lines), ended.out, *ended.noise, listed.out, *listed.noise])
    assert ended.code == 1
    assert "cannot sign with" in said
    assert secret not in "".join(map(str, ended.lines))
    assert "QBox " not in said

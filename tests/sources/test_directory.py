"""A directory as an origin: surveyed, followed and observed, with a real tree and real watches."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import pytest
from structlog.testing import capture_logs

from mirrord.decisions.keymap import Selection
from mirrord.kodo.etag import etag_of
from mirrord.model.fingerprint import Fingerprint, of_file
from mirrord.sources.contract import SourceUnavailable
from mirrord.sources.directory import DirectorySettings, DirectorySource
from tests.fakes.receiver import FakeReceiver

OLD = Fingerprint("1:1:1:1")


def now() -> datetime:
    return datetime.now(UTC)


def source_of(
    root: Path,
    *,
    prefix: str = "",
    watch: Literal["auto", "inotify", "poll", "off"] = "auto",
    rescan_every: timedelta = timedelta(hours=1),
    rescan_limited_every: timedelta = timedelta(minutes=1),
    follow_symlinks: bool = False,
) -> DirectorySource:
    settings = DirectorySettings(
        root=root,
        mirror="docs",
        key_prefix=prefix,
        watch=watch,
        settle=timedelta(milliseconds=20),
        settle_limit=timedelta(seconds=10),
        rescan_every=rescan_every,
        rescan_limited_every=rescan_limited_every,
        follow_symlinks=follow_symlinks,
    )
    return DirectorySource(settings, Selection(), now, etag_of)


def run(source: DirectorySource, work: Callable[[], Awaitable[None]]) -> None:
    async def worked() -> None:
        await work()

    try:
        asyncio.run(worked())
    finally:
        asyncio.run(source.close())


@asynccontextmanager
async def following(source: DirectorySource, receiver: FakeReceiver) -> AsyncIterator[None]:
    """The source is followed while the block runs; at its beginning the first scan is complete."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(source.follow(receiver), name="follow")
        await receiver.until(lambda: len(receiver.completed) > 0)
        yield
        task.cancel()


def version_of(path: Path) -> Fingerprint:
    found = path.stat()
    return of_file(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def test_a_survey_hands_on_what_differs_and_is_complete_as_of_its_beginning(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("a", "sub/b c", "half.tmp"):
        (tmp_path / name).write_text(name)
    source = source_of(tmp_path, prefix="v2/")

    async def survey() -> None:
        receiver = FakeReceiver({"v2/gone": OLD, "v2/a": version_of(tmp_path / "a")})
        began = now()
        with capture_logs() as lines:
            await source.survey(receiver)

        assert {change.key: change.version for change in receiver.taken} == {
            "v2/gone": None,
            "v2/sub/b c": version_of(tmp_path / "sub/b c"),
        }
        (as_of,) = receiver.completed
        assert began <= as_of <= receiver.taken[0].seen_at
        (line,) = lines
        told = {name: line[name] for name in ("event", "mirror", "files", "new", "changed", "removed")}
        assert told == {
            "event": "scan.finished",
            "mirror": "docs",
            "files": 2,
            "new": 1,
            "changed": 0,
            "removed": 1,
        }

    run(source, survey)


@pytest.mark.parametrize("what", ["nothing", "a file"])
def test_a_root_that_is_no_directory_cannot_be_surveyed(tmp_path: Path, what: str) -> None:
    root = tmp_path / "root"
    if what == "a file":
        root.touch()
    source = source_of(root)

    async def survey() -> None:
        receiver = FakeReceiver({"a": OLD})
        with pytest.raises(SourceUnavailable, match=str(root)):
            await source.survey(receiver)

        assert (receiver.taken, receiver.completed) == ([], [])

    run(source, survey)


@pytest.mark.parametrize("watch", ["inotify", "poll"])
def test_what_happens_while_it_is_followed_is_handed_on(tmp_path: Path, watch: Literal["inotify", "poll"]) -> None:
    (tmp_path / "before").touch()
    (tmp_path / "removed").touch()
    source = source_of(tmp_path, watch=watch)

    async def follow() -> None:
        receiver = FakeReceiver()
        async with following(source, receiver):
            (tmp_path / "new" / "deep").mkdir(parents=True)
            (tmp_path / "new" / "deep" / "a").write_text("a")
            (tmp_path / "half.tmp").write_text("b")
            (tmp_path / "half.tmp").rename(tmp_path / "whole")
            (tmp_path / "removed").unlink()
            await receiver.until(
                lambda: {"new/deep/a", "whole"} <= set(receiver.versions) and receiver.versions["removed"] is None
            )

        assert receiver.listens
        assert receiver.losses == []
        assert {key for key, version in receiver.versions.items() if version} == {"before", "new/deep/a", "whole"}
        assert receiver.versions["whole"] == version_of(tmp_path / "whole")
        assert "half.tmp" not in receiver.versions

    run(source, follow)


def test_a_renamed_directory_is_many_removals_and_many_new_files(tmp_path: Path) -> None:
    (tmp_path / "old" / "deep").mkdir(parents=True)
    for n in range(20):
        (tmp_path / "old" / "deep" / f"{n}").touch()
    source = source_of(tmp_path)

    async def follow() -> None:
        receiver = FakeReceiver()
        async with following(source, receiver):
            (tmp_path / "old").rename(tmp_path / "new")
            there = {f"new/deep/{n}" for n in range(20)}
            await receiver.until(lambda: {key for key, version in receiver.versions.items() if version} == there)

        assert all(receiver.versions[f"old/deep/{n}"] is None for n in range(20))

    run(source, follow)


def test_a_name_that_is_not_utf_8_is_rejected_when_it_appears(tmp_path: Path) -> None:
    source = source_of(tmp_path)

    async def follow() -> None:
        receiver = FakeReceiver()
        async with following(source, receiver):
            Path(os.fsdecode(os.fsencode(tmp_path) + b"/b\xff")).write_text("x")
            (tmp_path / "c").write_text("x")
            await receiver.until(lambda: "c" in receiver.versions)
            if not receiver.rejected:  # both settled at once, or one after the other
                (tmp_path / "d").write_text("x")
                await receiver.until(lambda: "d" in receiver.versions)

        assert {rejection.name for rejection in receiver.rejected} == {"b\\xff"}
        assert set(receiver.versions) <= {"c", "d"}

    run(source, follow)


def test_without_a_watch_the_rescan_finds_it(tmp_path: Path) -> None:
    source = source_of(tmp_path, watch="off", rescan_every=timedelta(milliseconds=20))

    async def follow() -> None:
        receiver = FakeReceiver()
        async with following(source, receiver):
            (tmp_path / "a").write_text("x")
            await receiver.until(lambda: "a" in receiver.versions)

    run(source, follow)


def test_a_root_that_is_replaced_is_followed_anew(tmp_path: Path) -> None:
    root = tmp_path / "current"
    root.mkdir()
    (root / "a").write_text("old")
    (tmp_path / "next").mkdir()
    (tmp_path / "next" / "b").write_text("new")
    source = source_of(root, rescan_limited_every=timedelta(milliseconds=100))

    async def follow() -> None:
        receiver = FakeReceiver()
        async with following(source, receiver):
            root.rename(tmp_path / "previous")
            (tmp_path / "next").rename(root)
            await receiver.until(lambda: any("is another directory" in reason for reason in receiver.losses))
            taken_at_first = dict(receiver.versions)
            await receiver.until(lambda: receiver.versions["a"] is None)
            await receiver.until(lambda: len(receiver.completed) > 1)
            (root / "c").write_text("after")
            await receiver.until(lambda: receiver.versions.get("c") is not None)

        assert taken_at_first["a"] is not None
        assert taken_at_first["b"] == version_of(root / "b")

    run(source, follow)


# -- what was missed is not always gone ------------------------------------------------------------------


class Meddler(FakeReceiver):
    """A receiver of a journal with these keys. Once the last one is read, in the middle of the scan, `meddle` is."""

    def __init__(self, keys: Iterable[str], meddle: Callable[[], object]) -> None:
        super().__init__(dict.fromkeys(keys, OLD))
        self._meddle = meddle

    def known(self, below: str) -> Iterator[tuple[str, Fingerprint | None]]:
        yield from super().known(below)
        self._meddle()


def test_a_root_that_is_empty_and_had_files_has_lost_none_of_them(tmp_path: Path) -> None:
    (tmp_path / "half.tmp").touch()  # of no account
    source = source_of(tmp_path)

    async def survey() -> None:
        receiver = FakeReceiver({"a": OLD, "b/c": OLD})
        with pytest.raises(SourceUnavailable, match="is empty, and had 2 files"):
            await source.survey(receiver)

        assert (receiver.taken, receiver.completed, receiver.root) == ([], [], None)

    run(source, survey)


@pytest.mark.parametrize("versions", [{}, {"a": None}], ids=["none", "removed-long-ago"])
def test_a_root_that_is_empty_and_had_no_files_is_complete(
    tmp_path: Path, versions: dict[str, Fingerprint | None]
) -> None:
    source = source_of(tmp_path)

    async def survey() -> None:
        receiver = FakeReceiver(versions)
        await source.survey(receiver)

        assert (receiver.taken, receiver.losses, len(receiver.completed)) == ([], [], 1)
        assert receiver.root is not None

    run(source, survey)


def test_what_another_root_lacks_is_removed_by_the_second_scan_of_it(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    source = source_of(tmp_path)

    async def survey() -> None:
        receiver = FakeReceiver({"a": OLD, "gone": OLD}, root="1:1")
        await source.survey(receiver)
        first = (dict(receiver.versions), len(receiver.completed), list(receiver.losses), receiver.root)
        await source.survey(receiver)

        versions, completed, (reason,), root = first
        assert versions == {"a": version_of(tmp_path / "a"), "gone": OLD}
        assert completed == 0
        assert "another directory than before" in reason
        assert root == f"{tmp_path.stat().st_dev}:{tmp_path.stat().st_ino}"
        assert receiver.removed == {"gone"}
        assert (len(receiver.completed), receiver.root) == (1, root)

    run(source, survey)


@pytest.mark.parametrize("replaced", [True, False], ids=["replaced", "vanished"])
def test_a_root_that_goes_during_a_scan_has_lost_no_file(tmp_path: Path, replaced: bool) -> None:
    root = tmp_path / "current"
    for directory in (root, tmp_path / "next"):
        directory.mkdir()
        (directory / "a").touch()
    source = source_of(root)

    def go() -> None:
        root.rename(tmp_path / "previous")
        if replaced:
            (tmp_path / "next").rename(root)

    async def survey() -> None:
        receiver = Meddler(["a", "gone"], go)
        with pytest.raises(SourceUnavailable, match="replaced or unmounted during a scan"):
            await source.survey(receiver)

        assert (receiver.removed, receiver.completed, receiver.root) == (set(), [], None)

    run(source, survey)


def test_a_file_that_comes_during_a_scan_that_missed_it_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    source = source_of(tmp_path)

    async def survey() -> None:
        receiver = Meddler(["a", "back", "gone"], (tmp_path / "back").touch)
        await source.survey(receiver)

        assert receiver.removed == {"gone"}
        assert len(receiver.completed) == 1

    run(source, survey)


def test_a_key_that_the_settings_leave_out_now_is_not_removed(tmp_path: Path) -> None:
    for name in ("a", "b.tmp"):
        (tmp_path / name).touch()
    source = source_of(tmp_path)

    async def survey() -> None:
        receiver = FakeReceiver({"a": OLD, "b.tmp": OLD, "gone.tmp": OLD, ".git/config": OLD, "gone": OLD})
        await source.survey(receiver)

        assert receiver.removed == {"gone"}
        assert len(receiver.completed) == 1

    run(source, survey)


def test_keys_outside_the_prefix_are_nobodys_business(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    source = source_of(tmp_path, prefix="v2/")

    async def survey() -> None:
        receiver = FakeReceiver({"v1/a": OLD, "v2": OLD, "v2/gone": OLD, "v20": OLD, "z": OLD})
        await source.survey(receiver)

        assert receiver.removed == {"v2/gone"}

    run(source, survey)


def test_many_more_removals_than_are_recorded_together_are_all_recorded(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    source = source_of(tmp_path)
    keys = {f"gone/{n:05}" for n in range(2500)}

    async def survey() -> None:
        receiver = FakeReceiver(dict.fromkeys(keys, OLD))
        with capture_logs() as lines:
            await source.survey(receiver)

        assert receiver.removed == keys
        assert [line["removed"] for line in lines] == [2500]

    run(source, survey)


def test_a_file_deleted_just_before_the_root_went_is_not_removed(tmp_path: Path) -> None:
    root = tmp_path / "current"
    root.mkdir()
    (root / "a").touch()
    source = source_of(root)

    async def follow() -> None:
        receiver = FakeReceiver()
        async with following(source, receiver):
            (root / "a").unlink()  # looked at once it has been quiet
            root.rename(tmp_path / "away")
            await receiver.until(lambda: any(str(root) in reason for reason in receiver.losses))

        assert receiver.removed == set()

    run(source, follow)


def test_a_directory_deleted_just_before_the_root_went_has_lost_no_file(tmp_path: Path) -> None:
    root, below = tmp_path / "current", tmp_path / "current" / "sub"
    below.mkdir(parents=True)
    (below / "a").touch()
    source = source_of(root)

    def go_once_it_is_deleted() -> None:
        if root.exists() and not below.exists():
            root.rename(tmp_path / "away")

    async def follow() -> None:
        receiver = Meddler([], go_once_it_is_deleted)
        async with following(source, receiver):
            shutil.rmtree(below)
            await receiver.until(lambda: any(str(root) in reason for reason in receiver.losses))

        assert receiver.removed == set()

    run(source, follow)


def test_nothing_is_known_of_a_key_while_the_root_is_another_one(tmp_path: Path) -> None:
    root = tmp_path / "current"
    root.mkdir()
    (root / "a").touch()
    source = source_of(root)

    async def observe() -> None:
        await source.survey(FakeReceiver())
        root.rename(tmp_path / "away")
        vanished = await source.observe(["a", "b"])
        root.mkdir()
        replaced = await source.observe(["a", "b"])
        root.rmdir()
        (tmp_path / "away").rename(root)
        back = await source.observe(["a", "b"])

        assert (vanished, replaced) == ({}, {})
        assert back == {"a": version_of(root / "a"), "b": None}

    run(source, observe)


def test_the_content_of_our_own_files_is_hashed_with_its_version(tmp_path: Path) -> None:
    for name in ("a", "half.tmp"):
        (tmp_path / name).write_text(name)
    source = source_of(tmp_path, prefix="v2/")

    async def hash_them() -> None:
        hashed = await source.hash_of(["v2/a", "v2/none", "v2/half.tmp", "a"])

        assert hashed == {"v2/a": (version_of(tmp_path / "a"), etag_of([b"a"]))}

    run(source, hash_them)


def test_observing_tells_what_is_there_now(tmp_path: Path) -> None:
    for name in ("a", "half.tmp"):
        (tmp_path / name).write_text(name)
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("a")
    source = source_of(tmp_path, prefix="v2/")

    async def observe() -> None:
        asked = ["v2/a", "v2/none", "v2/none/deep", "v2/a/below", "v2/half.tmp", "v2/directory", "v2/link", "a"]
        versions = await source.observe(asked)

        # of an excluded name, or of a key that is not below the prefix, nothing is said
        there = ["v2/a", "v2/none", "v2/none/deep", "v2/a/below", "v2/directory", "v2/link"]
        assert versions == dict.fromkeys(there) | {"v2/a": version_of(tmp_path / "a")}

    run(source, observe)


def test_observing_follows_links_only_where_asked_and_never_out(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "a").write_text("a")
    (tmp_path / "private").write_text("private")
    (root / "in").symlink_to("a")
    (root / "out").symlink_to("../private")
    source = source_of(root, follow_symlinks=True)

    async def observe() -> None:
        versions = await source.observe(["in", "out"])

        assert versions == {"in": version_of(root / "a"), "out": None}

    run(source, observe)

"""A directory as an origin: surveyed, followed and observed, with a real tree and real watches."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import pytest
from structlog.testing import capture_logs

from mirrord.decisions.keymap import Selection
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
        follow_symlinks=follow_symlinks,
    )
    return DirectorySource(settings, Selection(), now)


def run(source: DirectorySource, work: Callable[[], Awaitable[None]]) -> None:
    async def worked() -> None:
        await work()

    try:
        asyncio.run(worked())
    finally:
        source.close()


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
    source = source_of(root)

    async def follow() -> None:
        receiver = FakeReceiver()
        async with following(source, receiver):
            root.rename(tmp_path / "previous")
            (tmp_path / "next").rename(root)
            await receiver.until(lambda: receiver.versions.get("b") is not None and receiver.versions["a"] is None)
            await receiver.until(lambda: len(receiver.completed) > 1)
            (root / "c").write_text("after")
            await receiver.until(lambda: receiver.versions.get("c") is not None)

        assert receiver.losses

    run(source, follow)


def test_observing_tells_what_is_there_now(tmp_path: Path) -> None:
    for name in ("a", "half.tmp"):
        (tmp_path / name).write_text(name)
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("a")
    source = source_of(tmp_path, prefix="v2/")

    async def observe() -> None:
        asked = ["v2/a", "v2/none", "v2/none/deep", "v2/a/below", "v2/half.tmp", "v2/directory", "v2/link", "a"]
        versions = await source.observe(asked)

        assert versions == dict.fromkeys(asked) | {"v2/a": version_of(tmp_path / "a")}

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

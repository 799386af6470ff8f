"""A real directory and a feed that says where to look: the disk decides what is there."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from structlog.testing import capture_logs

from mirrord.decisions.feed_keys import FeedKeys
from mirrord.decisions.keymap import Selection
from mirrord.kodo.etag import etag_of
from mirrord.model.change import Change, Rejection
from mirrord.model.coverage import UNKNOWN
from mirrord.model.cursor import Cursor
from mirrord.model.fingerprint import Fingerprint, of_token, parse_file
from mirrord.sources.contract import Receiver
from mirrord.sources.directory import DirectorySettings, DirectorySource
from mirrord.sources.feed.source import FeedSource
from mirrord.sources.hinted import HintedDirectory
from tests.fakes.receiver import FakeReceiver

CURSOR = Cursor(source="feed f", text="{}", moved_at=datetime(2026, 1, 1, tzinfo=UTC), event_at=None)
SAID = of_token("what the feed calls it")


def now() -> datetime:
    return datetime.now(UTC)


def directory(root: Path) -> DirectorySource:
    """Scanned once, then never again while a test lasts."""
    settings = DirectorySettings(
        root=root,
        mirror="docs",
        key_prefix="",
        watch="off",
        settle=timedelta(0),
        settle_limit=timedelta(seconds=10),
        rescan_every=timedelta(hours=1),
        rescan_limited_every=timedelta(hours=1),
        follow_symlinks=False,
    )
    return DirectorySource(settings, Selection(), now, etag_of)


@dataclass
class Feed:
    """Implements Source: hands its receiver to the test."""

    sees_origin = False
    receiver: asyncio.Future[Receiver] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    may_listen: asyncio.Event = field(default_factory=asyncio.Event)
    closed: bool = False

    async def follow(self, receiver: Receiver) -> None:
        self.receiver.set_result(receiver)
        await self.may_listen.wait()
        receiver.listening()
        await asyncio.Event().wait()

    async def survey(self, receiver: Receiver) -> None:
        raise AssertionError(receiver)

    async def observe(self, keys: Sequence[str]) -> dict[str, Fingerprint | None]:
        raise AssertionError(keys)

    async def hash_of(self, keys: Sequence[str]) -> dict[str, tuple[Fingerprint, str]]:
        raise AssertionError(keys)

    async def close(self) -> None:
        self.closed = True


@dataclass
class Scene:
    root: Path
    source: HintedDirectory
    receiver: FakeReceiver
    hints: Receiver

    async def hint(self, key: str, version: Fingerprint | None = SAID) -> list[tuple[str, Fingerprint | None]]:
        """What reaches the intake when the feed says so."""
        before = len(self.receiver.taken)
        change = Change(key=key, version=version, seen_at=now(), as_of=now(), order="1")
        await self.hints.take([change], CURSOR)
        assert all(each.as_of is None and each.order is None for each in self.receiver.taken[before:])
        return [(each.key, each.version) for each in self.receiver.taken[before:]]


@asynccontextmanager
async def following(root: Path) -> AsyncIterator[Scene]:
    feed, receiver = Feed(), FakeReceiver()
    source = HintedDirectory("docs", directory(root), feed)
    task = asyncio.create_task(source.follow(receiver))
    try:
        async with asyncio.timeout(20):
            hints = await feed.receiver
            assert (
                not receiver.completed
            )  # what is published from here on is seen by the feed, what is there by the scan
            feed.may_listen.set()
            await receiver.until(lambda: bool(receiver.completed))
            yield Scene(root, source, receiver, hints)
    finally:
        task.cancel()
        await asyncio.wait([task])
        await source.close()
        assert feed.closed


def run(root: Path, scenario: Callable[[Scene], Awaitable[None]]) -> None:
    async def scene() -> None:
        async with following(root) as here:
            await scenario(here)

    asyncio.run(scene())


def test_what_the_feed_names_is_looked_at_on_the_disk(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one")

    async def scenario(here: Scene) -> None:
        (tmp_path / "a").write_bytes(b"longer")
        (tmp_path / "new").write_bytes(b"new one")
        sizes = {}
        for key in ("a", "new"):
            ((_, version),) = await here.hint(key)
            assert version is not None
            found = parse_file(version)
            assert found is not None
            sizes[key] = found.size_bytes

        assert sizes == {"a": 6, "new": 7}
        assert here.receiver.cursors == {"feed f": CURSOR}

    run(tmp_path, scenario)


def test_a_removal_of_a_file_that_is_there_only_says_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one")

    async def scenario(here: Scene) -> None:
        before = dict(here.receiver.versions)

        assert await here.hint("a", None) == [("a", before["a"])]
        (tmp_path / "a").unlink()
        assert await here.hint("a", None) == [("a", None)]

    run(tmp_path, scenario)


def test_a_file_that_is_not_there_is_not_there_whatever_the_feed_says(tmp_path: Path) -> None:
    async def scenario(here: Scene) -> None:
        assert await here.hint("announced too early") == [("announced too early", None)]

    run(tmp_path, scenario)


def test_while_the_root_is_away_hints_say_nothing_and_are_passed_over(tmp_path: Path) -> None:
    root = tmp_path / "www"
    root.mkdir()
    (root / "a").write_bytes(b"one")

    async def scenario(here: Scene) -> None:
        root.rename(tmp_path / "away")
        assert await here.hint("a") == []
        assert await here.hint("a", None) == []

        root.mkdir()  # another one: an empty mount point
        assert await here.hint("a", None) == []
        assert here.receiver.cursors == {"feed f": CURSOR}
        assert here.receiver.removed == set()

    run(root, scenario)


def test_what_the_settings_leave_out_is_left_out(tmp_path: Path) -> None:
    async def scenario(here: Scene) -> None:
        (tmp_path / ".git").mkdir()
        (tmp_path / ".git" / "index").write_bytes(b"x")
        assert await here.hint(".git/index") == []

    run(tmp_path, scenario)


def test_only_a_scan_says_how_complete_the_mirror_is(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one")

    async def scenario(here: Scene) -> None:
        completed = list(here.receiver.completed)

        await here.hints.complete(now())
        await here.hints.lost("the feed fails")
        await here.hints.moved_to("another root")

        assert here.receiver.completed == completed
        assert here.receiver.losses == []
        assert here.hints.root is None
        assert list(here.hints.known("")) == []

    run(tmp_path, scenario)


def test_that_hints_are_lost_is_said_once_for_each_reason(tmp_path: Path) -> None:
    async def scenario(here: Scene) -> None:
        with capture_logs() as logs:
            for reason in ("first", "first", "second", "second"):
                await here.hints.lost(reason)
            await here.hints.complete(now())
            await here.hints.lost("second")

        assert [line["reason"] for line in logs if line["event"] == "hints.lost"] == ["first", "second", "second"]

    run(tmp_path, scenario)


def test_names_that_no_key_can_have_and_places_are_handed_through(tmp_path: Path) -> None:
    async def scenario(here: Scene) -> None:
        rejection = Rejection(name="\\xff", reason="is not UTF-8")

        here.hints.reject(rejection)
        await here.hint("a")

        assert here.receiver.rejected == [rejection]
        assert await here.hints.cursor("feed f") == CURSOR

    run(tmp_path, scenario)


def test_of_a_hook_beside_a_directory_it_is_not_said_that_completeness_is_unknown(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one")

    async def scenario() -> None:
        keys = FeedKeys(origin_url=None, key_prefix="", selection=Selection(), key_from=None)
        listening = asyncio.Event()

        async def incoming() -> None:
            listening.set()
            await asyncio.Event().wait()

        feed = FeedSource("docs", "webhook", keys, now=now, incoming=incoming)
        source, receiver = HintedDirectory("docs", directory(tmp_path), feed), FakeReceiver()
        task = asyncio.create_task(source.follow(receiver))
        async with asyncio.timeout(20):
            await listening.wait()
            await receiver.until(lambda: bool(receiver.completed))
        task.cancel()
        await asyncio.wait([task])
        await source.close()
        assert receiver.losses == []

    with capture_logs() as logs:
        asyncio.run(scenario())

    assert UNKNOWN not in str(logs)
    assert [line for line in logs if line["event"] == "hints.lost"] == []


def test_a_survey_is_the_directorys(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"one")

    async def scenario() -> tuple[FakeReceiver, HintedDirectory]:
        source, receiver = HintedDirectory("docs", directory(tmp_path), Feed()), FakeReceiver()
        await source.survey(receiver)
        assert await source.observe(["a"]) == receiver.versions
        ((version, _),) = (await source.hash_of(["a"])).values()
        assert receiver.versions == {"a": version}
        await source.close()
        return receiver, source

    receiver, source = asyncio.run(scenario())
    assert receiver.removed == set()
    assert source.sees_origin

"""A real snapshot held against a real journal: what is new, changed and gone, and what is not to be believed."""

import asyncio
import functools
import inspect
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from mirrord.decisions.feed_keys import FeedKeys
from mirrord.decisions.keymap import Selection
from mirrord.decisions.removals import RemovalLimit
from mirrord.decisions.staleness import IntakeRules, OnRemoved
from mirrord.guard import RemovalGuard
from mirrord.intake import Intake
from mirrord.inventory import Inventory
from mirrord.journal.listing import Listing
from mirrord.journal.report import unfinished
from mirrord.journal.store import Journal
from mirrord.kodo.replies import ListPage
from mirrord.model.attempt import Reply
from mirrord.model.change import Change
from mirrord.model.fingerprint import of_token
from mirrord.model.row import State
from mirrord.model.step import Done
from mirrord.sources.contract import SourceUnavailable
from mirrord.sources.feed.completeness import Completeness
from mirrord.sources.feed.dialect import Limits
from mirrord.sources.feed.forms import SitemapForm
from mirrord.sources.feed.reconciling import Reconciling
from mirrord.sources.feed.source import FeedSource
from mirrord.sources.feed.walk import Walk
from tests.fakes.receiver import FakeReceiver
from tests.journal.ledger import ended
from tests.sources.feed.site import Site, fetcher, running_site

DELETE = IntakeRules(on_removed=OnRemoved.DELETE)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
ALL = RemovalLimit(count=1000, fraction=1.0)
OLD = "2020-01-01T00:00:00Z"


class NoListing:
    """Implements mirrord.inventory.Lister for a mirror that never asks."""

    async def list_page(self, bucket: str, prefix: str, marker: str) -> tuple[Reply, ListPage | None]:
        raise AssertionError(bucket)


@dataclass
class Bench:
    site: Site
    journal: Journal
    url: str
    now: datetime = datetime(2026, 1, 10, 12, tzinfo=UTC)
    _made: list[Reconciling] = field(default_factory=list)

    def reconciling(
        self,
        *,
        alone: bool = True,
        every: timedelta = HOUR,
        first: str = "sitemap.xml",
        fresh_for: timedelta = timedelta(0),
    ) -> Reconciling:
        walk = Walk(
            "the snapshot",
            f"{self.site.url}/{first}",
            SitemapForm(Limits()),
            fetcher(),
            Limits(),
            fresh_for=fresh_for,
            now=self.clock,
        )
        made = Reconciling("docs", walk, self.keys(), every=every, alone=alone, now=self.clock, chance=lambda: 0.0)
        self._made.append(made)
        return made

    def keys(self) -> FeedKeys:
        return FeedKeys(origin_url=self.site.url, key_prefix="", selection=Selection(), key_from=None)

    def intake(self, reconciling: Reconciling, limit: RemovalLimit = ALL) -> Intake:
        guard = RemovalGuard(
            mirror="docs",
            journal=self.journal,
            on_removed=OnRemoved.DELETE,
            limit=limit,
            now=self.clock,
            due=lambda: None,
        )
        inventory = Inventory(
            mirror="docs",
            bucket="newdocs",
            prefix="",
            listing=Listing(self.journal, "docs", "newdocs:"),
            kodo=NoListing(),
            now=self.clock,
            chance=lambda: 0.0,
        )
        return Intake(
            mirror="docs",
            source=FeedSource("docs", "the feed", self.keys(), now=self.clock, reconciling=reconciling),
            journal=self.journal,
            rules=DELETE,
            now=self.clock,
            stale=lambda: None,
            guard=guard,
            inventory=inventory,
        )

    async def told(self, key: str, version: str | None) -> None:
        """A feed said so just now."""
        fingerprint = None if version is None else of_token(version)
        await self.journal.record("docs", [Change(key=key, version=fingerprint, seen_at=self.clock())], DELETE)

    async def mirror(self) -> None:
        """The bucket has all that it is to have."""
        claims = await self.journal.claim("docs", self.clock(), 1000, HOUR)
        await self.journal.settle([ended(claim, Done()) for claim in claims], DELETE)

    def states(self) -> dict[str, State]:
        """Of the keys that are not fresh."""
        return {row.key: row.state for row in unfinished(self.url, "docs", 1000)}

    def there(self) -> list[str]:
        return [key for key, version in self.journal.known("docs", "") if version is not None]

    def put_made(self, path: str, made_at: datetime, entries: Mapping[str, str | None]) -> None:
        """A document that says when it was made, as static files do."""
        self.site.headers[path] = {
            "Last-Modified": format_datetime(made_at, usegmt=True),
            "Date": format_datetime(self.now, usegmt=True),
        }
        self.site.put_sitemap(path, entries)

    def put_index_made(self, path: str, made_at: datetime, *children: str) -> None:
        self.put_made(path, made_at, {})
        self.site.put_index(path, *children)

    def clock(self) -> datetime:
        self.now += timedelta(microseconds=1)
        return self.now

    async def close(self) -> None:
        for each in self._made:
            await each.close()


def with_bench(scenario: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """A test that is a coroutine with a bench of its own, and what else it is parametrized with."""

    @functools.wraps(scenario, assigned=("__name__", "__qualname__", "__doc__", "__module__"))
    def test(tmp_path: Path, **more: Any) -> None:
        async def run(site: Site) -> None:
            url = f"sqlite:///{tmp_path}/journal.db"
            journal = Journal(url)
            journal.open()
            bench = Bench(site, journal, url)
            try:
                async with asyncio.timeout(20):
                    await scenario(bench, **more)
            finally:
                await bench.close()
                journal.close()

        with running_site() as site:
            asyncio.run(run(site))

    # what pytest is to give: the coroutine's own arguments but the bench, and what that is made of
    _, *more = inspect.signature(scenario).parameters.values()
    folder = inspect.Parameter("tmp_path", inspect.Parameter.KEYWORD_ONLY)
    test.__signature__ = inspect.Signature([folder, *(each.replace(kind=folder.kind) for each in more)])  # type: ignore[attr-defined]
    return test


def compared(logs: Sequence[Any]) -> list[tuple[int, int, int, int]]:
    """Entries, new, changed and removed of each comparison."""
    return [
        (line["entries"], line["new"], line["changed"], line["removed"])
        for line in logs
        if line["event"] == "snapshot.compared"
    ]


@with_bench
async def test_what_is_new_changed_and_gone_is_found(bench: Bench) -> None:
    intake = bench.intake(bench.reconciling())
    bench.site.put_sitemap("sitemap.xml", {"a": OLD, "b": OLD, "c": OLD})

    with capture_logs() as logs:
        await intake.survey()
        await bench.mirror()
        bench.site.put_sitemap("sitemap.xml", {"a": OLD, "b": "2026-01-01T00:00:00Z", "d": OLD})
        await intake.survey()

    assert compared(logs) == [(3, 3, 0, 0), (3, 1, 1, 1)]
    assert bench.there() == ["a", "b", "d"]
    assert bench.states() == {"b": State.STALE, "c": State.STALE, "d": State.STALE}


@with_bench
async def test_with_an_unchanged_snapshot_nothing_is_compared(bench: Bench) -> None:
    intake = bench.intake(bench.reconciling())
    bench.site.put_sitemap("sitemap.xml", {"a": OLD})

    with capture_logs() as logs:
        await intake.survey()
        first = intake.coverage.complete_as_of
        await intake.survey()

    assert len(compared(logs)) == 1
    assert first is not None
    assert intake.coverage.complete_as_of is not None
    assert intake.coverage.complete_as_of > first


@with_bench
async def test_a_sitemap_that_names_nothing_removes_nothing_and_says_so(bench: Bench) -> None:
    intake = bench.intake(bench.reconciling())
    bench.site.put_sitemap("sitemap.xml", {"a": OLD, "b": OLD})
    await intake.survey()
    bench.site.put_sitemap("sitemap.xml", {})

    for _ in range(2):
        with pytest.raises(SourceUnavailable, match="names no key at all, and had some"):
            await intake.survey()

    assert bench.there() == ["a", "b"]


@with_bench
async def test_a_sitemap_of_another_host_removes_nothing(bench: Bench) -> None:
    intake = bench.intake(bench.reconciling())
    bench.site.put_sitemap("sitemap.xml", {"a": OLD})
    await intake.survey()
    bench.site.put("sitemap.xml", bench.site.documents["sitemap.xml"].replace(b"127.0.0.1", b"elsewhere.example"))

    with capture_logs() as logs, pytest.raises(SourceUnavailable, match="names no key at all"):
        await intake.survey()

    assert bench.there() == ["a"]
    assert [line["event"] for line in logs].count("change.rejected") == 1


@with_bench
async def test_an_origin_without_files_is_compared_like_any_other(bench: Bench) -> None:
    intake = bench.intake(bench.reconciling())
    bench.site.put_sitemap("sitemap.xml", {})

    await intake.survey()

    assert intake.coverage.complete_as_of is not None


@with_bench
async def test_more_removals_than_the_limit_are_held(bench: Bench) -> None:
    intake = bench.intake(bench.reconciling(), RemovalLimit(count=2, fraction=1.0))
    bench.site.put_sitemap("sitemap.xml", dict.fromkeys("abcdef", OLD))
    await intake.survey()
    await bench.mirror()
    bench.site.put_sitemap("sitemap.xml", dict.fromkeys("abc", OLD))

    await intake.survey()

    assert bench.states() == dict.fromkeys("def", State.HELD)


@with_bench
async def test_entries_that_no_document_can_mean_are_reported_once(bench: Bench) -> None:
    intake = bench.intake(bench.reconciling(first="sitemap.txt"))
    bench.site.headers["sitemap.txt"] = {"Content-Type": "text/plain"}

    with capture_logs() as logs:
        for name in ("a", "b"):
            bench.site.put("sitemap.txt", f"{bench.site.url}/{name}\nno url at all\n")
            await intake.survey()

    assert [line["name"] for line in logs if line["event"] == "change.rejected"] == ["no url at all"]


# -- lastmod -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lastmod", "again"),
    [
        pytest.param("2026-01-10T10:00:00Z", False, id="a second of today"),
        pytest.param("2026-01-10", True, id="today"),
        pytest.param("2026-01-08", False, id="the day before yesterday"),
        pytest.param(None, True, id="none"),
    ],
)
@with_bench
async def test_keys_that_may_have_changed_are_asked_for_when_the_document_has(
    bench: Bench, lastmod: str | None, again: bool
) -> None:
    intake = bench.intake(bench.reconciling())
    bench.site.put_sitemap("sitemap.xml", {"a": lastmod})
    await intake.survey()
    await bench.mirror()

    await intake.survey()
    unchanged = bench.states()
    bench.site.put_sitemap("sitemap.xml", {"a": lastmod, "b": lastmod})
    await intake.survey()
    await bench.mirror()
    bench.site.put_sitemap("sitemap.xml", {"a": lastmod, "b": lastmod, "c": OLD})
    with capture_logs() as logs:
        await intake.survey()

    assert unchanged == {}
    assert compared(logs) == [(3, 1, 2 if again else 0, 0)]


# -- beside a feed -------------------------------------------------------------------------------------------


@with_bench
async def test_what_a_feed_told_later_is_neither_set_back_nor_removed(bench: Bench) -> None:
    reconciling = bench.reconciling(alone=False)
    intake = bench.intake(reconciling)
    await bench.told("older", "1")
    bench.now += HOUR
    made_at = bench.now
    bench.now += HOUR
    await bench.told("a", "newer")
    await bench.told("b", "newer")
    await bench.told("gone", "1")
    await bench.told("gone", None)
    bench.put_made("sitemap.xml", made_at, {"a": OLD, "gone": OLD, "new": OLD})

    with capture_logs() as logs:
        await intake.survey()

    assert dict(bench.journal.known("docs", ""))["a"] == of_token("newer")
    assert bench.there() == ["a", "b", "new"]
    assert compared(logs) == [(3, 1, 0, 1)]


@with_bench
async def test_of_a_snapshot_that_is_seldom_made_nothing_newer_is_removed(bench: Bench) -> None:
    intake = bench.intake(bench.reconciling(alone=False))
    bench.put_made("sitemap.xml", bench.now, {"a": OLD})
    bench.now += 5 * DAY
    await bench.told("since", "1")
    bench.now += 10 * DAY
    bench.put_made("sitemap.xml", bench.now - 15 * DAY, {"a": OLD})

    await intake.survey()

    assert bench.there() == ["a", "since"]


@with_bench
async def test_an_old_part_of_a_snapshot_does_not_keep_what_is_gone(bench: Bench) -> None:
    intake = bench.intake(bench.reconciling(alone=False, first="index.xml"))
    await bench.told("gone", "1")
    bench.now += 3 * DAY
    await bench.told("just now", "1")
    bench.put_index_made("index.xml", bench.now - HOUR, "archive.xml", "recent.xml")
    bench.put_made("archive.xml", bench.now - 700 * DAY, {"a": OLD})
    bench.put_made("recent.xml", bench.now - HOUR, {"b": OLD})

    await intake.survey()

    assert bench.there() == ["a", "b", "just now"]


@with_bench
async def test_what_may_be_of_a_part_that_is_older_is_not_removed(bench: Bench) -> None:
    intake = bench.intake(bench.reconciling(alone=False, first="index.xml"))
    bench.put_made("pages.xml", bench.now, {"a": OLD})
    bench.now += HOUR
    await bench.told("page that is new", "1")
    bench.now += HOUR
    bench.put_index_made("index.xml", bench.now, "pages.xml", "images.xml")
    bench.put_made("pages.xml", bench.now - 2 * HOUR, {"a": OLD})
    bench.put_made("images.xml", bench.now, {"b": OLD})

    await intake.survey()

    assert bench.there() == ["a", "b", "page that is new"]


@with_bench
async def test_a_document_that_only_leads_on_may_be_as_old_as_it_likes(bench: Bench) -> None:
    intake = bench.intake(bench.reconciling(alone=False, first="index.xml"))
    bench.put_index_made("index.xml", bench.now - 700 * DAY, "recent.xml")
    await bench.told("gone", "1")
    bench.now += HOUR
    bench.put_made("recent.xml", bench.now, {"a": OLD})

    await intake.survey()

    assert bench.there() == ["a"]


@with_bench
async def test_an_empty_snapshot_beside_a_feed_removes_nothing(bench: Bench) -> None:
    intake = bench.intake(bench.reconciling(alone=False))
    await bench.told("a", "1")
    bench.now += 2 * DAY
    bench.put_made("sitemap.xml", bench.now, {})

    await intake.survey()

    assert bench.there() == ["a"]


# -- again and again -------------------------------------------------------------------------------------------


class Watched:
    """A comparison that runs over and over, for a receiver that a test can wait for."""

    def __init__(self, bench: Bench, **more: Any) -> None:
        self.reconciling = bench.reconciling(**more)
        self.receiver = FakeReceiver()
        self._complete = Completeness(self.receiver, bench.clock, follows=False, compares=True)

    async def __aenter__(self) -> "Watched":
        self._task = asyncio.create_task(self.reconciling.run(self.receiver, self._complete))
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def until_compared(self) -> None:
        before = len(self.receiver.completed)
        await self.receiver.until(lambda: len(self.receiver.completed) > before)


async def until_asked(site: Site, times: int) -> None:
    """From now on."""
    left, asked = iter(range(times - 1)), threading.Event()
    site.before = lambda _: None if next(left, None) is not None else asked.set()
    assert await asyncio.get_running_loop().run_in_executor(None, asked.wait, 10)


def events(logs: Sequence[Any], event: str) -> list[Any]:
    return [line for line in logs if line["event"] == event]


@with_bench
async def test_a_snapshot_that_fails_at_the_start_is_a_loss_and_said_once(bench: Bench) -> None:
    bench.site.statuses["sitemap.xml"] = 503
    bench.site.put_sitemap("sitemap.xml", {"a": OLD})

    with capture_logs() as logs:
        async with Watched(bench) as watched:
            await watched.receiver.until(lambda: len(watched.receiver.losses) == 2)
            assert watched.receiver.listens
            bench.site.statuses.clear()
            await watched.until_compared()

    assert "503" in watched.receiver.losses[0]
    assert list(watched.receiver.versions) == ["a"]
    assert [len(events(logs, event)) for event in ("feed.failed", "feed.recovered")] == [1, 1]


@with_bench
async def test_later_on_a_failure_is_a_loss_when_it_lasts(bench: Bench) -> None:
    bench.site.put_sitemap("sitemap.xml", {"a": OLD})

    with capture_logs() as logs:
        async with Watched(bench, every=timedelta(milliseconds=10)) as watched:
            await watched.until_compared()
            bench.site.statuses["sitemap.xml"] = 503
            await until_asked(bench.site, 3)
            assert watched.receiver.losses == []

            bench.now += timedelta(minutes=1)
            await watched.receiver.until(lambda: bool(watched.receiver.losses))

    assert len(events(logs, "feed.failed")) == 1


@with_bench
async def test_what_is_no_sitemap_is_a_loss_at_once(bench: Bench) -> None:
    bench.site.put_sitemap("sitemap.xml", {"a": OLD})

    async with Watched(bench, every=timedelta(milliseconds=10)) as watched:
        await watched.until_compared()
        bench.site.put("sitemap.xml", "<!doctype html>")
        await watched.receiver.until(lambda: bool(watched.receiver.losses))

    assert "HTML" in watched.receiver.losses[0]
    assert watched.receiver.removed == set()


@with_bench
async def test_without_an_interval_it_compares_when_it_is_told_to(bench: Bench) -> None:
    bench.site.put_sitemap("sitemap.xml", {"a": OLD})

    with capture_logs() as logs:
        async with Watched(bench, every=timedelta(0), fresh_for=DAY) as watched:
            await watched.until_compared()
            assert len(bench.site.asked) == 1

            watched.reconciling.hurry()
            await watched.until_compared()
            assert len(bench.site.asked) == 2

    assert len(events(logs, "snapshot.compared")) == 2, "even though nothing has changed"


@with_bench
async def test_to_be_told_so_in_the_middle_of_a_comparison_is_not_forgotten(bench: Bench) -> None:
    bench.site.put_sitemap("sitemap.xml", {"a": OLD})
    watched = Watched(bench, every=timedelta(0))
    bench.site.before = lambda _: watched.reconciling.hurry() if len(bench.site.asked) == 1 else None

    with capture_logs() as logs:
        async with watched:
            await watched.until_compared()

    assert len(bench.site.asked) == 2
    assert len(events(logs, "snapshot.compared")) == 2
    assert len(watched.receiver.completed) == 1


@with_bench
async def test_what_never_rests_removes_nothing_and_says_so(bench: Bench) -> None:
    intake = bench.intake(bench.reconciling(first="index.xml"))
    bench.site.put_index("index.xml", "1.xml", "2.xml")
    bench.site.put_sitemap("1.xml", {"a": OLD})
    bench.site.put_sitemap("2.xml", {"b": OLD})
    await intake.survey()
    count = iter(range(100))
    bench.site.before = lambda _: bench.site.put_sitemap("2.xml", {f"new-{next(count)}": OLD})

    with pytest.raises(SourceUnavailable, match="changed whenever they were looked at"):
        await intake.survey()

    there = bench.there()
    assert there[:2] == ["a", "b"]
    assert len(there) == 3

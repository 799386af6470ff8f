"""The left half with a real journal: what a source finds is recorded, doubted, hashed, noticed by the guard."""

import asyncio
import functools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from mirrord.decisions.removals import RemovalLimit
from mirrord.decisions.staleness import IntakeRules, OnRemoved
from mirrord.guard import RemovalGuard
from mirrord.intake import Intake
from mirrord.inventory import Inventory
from mirrord.journal.listing import Listing
from mirrord.journal.report import report, unfinished
from mirrord.journal.store import Journal
from mirrord.kodo.replies import ListPage
from mirrord.model.attempt import Outcome, Reply
from mirrord.model.change import Change
from mirrord.model.coverage import Coverage
from mirrord.model.fingerprint import Fingerprint, of_file
from mirrord.model.row import State
from mirrord.model.step import Done
from mirrord.sources.contract import Receiver, SourceUnavailable
from tests.journal.ledger import ended

START = datetime(2026, 1, 1, tzinfo=UTC)
BEFORE, TOUCHED, LATER = (of_file(5, 1000, changed_ns, 1) for changed_ns in (1000, 2000, 3000))
DELETE = IntakeRules(on_removed=OnRemoved.DELETE)


def change(key: str, version: Fingerprint | None) -> Change:
    return Change(key=key, version=version, seen_at=START)


class NoListing:
    """Implements mirrord.inventory.Lister for a mirror that never asks."""

    async def list_page(self, bucket: str, prefix: str, marker: str) -> tuple[Reply, ListPage | None]:
        raise AssertionError(bucket)


@dataclass
class FakeSource:
    """Implements mirrord.sources.contract.Source: a survey is `looks`, a hash is one of `hashes`."""

    looks: Callable[[Receiver], Awaitable[None]] | None = None
    hashes: dict[str, tuple[Fingerprint, str]] = field(default_factory=dict)
    hashed: list[list[str]] = field(default_factory=list)

    async def survey(self, receiver: Receiver) -> None:
        if self.looks:
            await self.looks(receiver)

    async def follow(self, receiver: Receiver) -> None:
        await self.survey(receiver)
        await asyncio.Event().wait()

    async def observe(self, keys: Sequence[str]) -> dict[str, Fingerprint | None]:
        return {}

    async def hash_of(self, keys: Sequence[str]) -> dict[str, tuple[Fingerprint, str]]:
        self.hashed.append(list(keys))
        return {key: self.hashes[key] for key in keys if key in self.hashes}

    def close(self) -> None:
        """It has no threads."""


@dataclass
class Bench:
    journal: Journal
    url: str
    source: FakeSource = field(default_factory=FakeSource)
    stale: int = 0
    let_go: int = 0
    any_let_go: asyncio.Event = field(default_factory=asyncio.Event)

    def intake(self, rules: IntakeRules = IntakeRules(), limit: RemovalLimit = RemovalLimit()) -> Intake:  # noqa: B008
        guard = RemovalGuard(
            mirror="docs",
            journal=self.journal,
            on_removed=rules.on_removed,
            limit=limit,
            now=lambda: START,
            due=self._count_let_go,
        )
        inventory = Inventory(
            mirror="docs",
            bucket="newdocs",
            prefix="",
            listing=Listing(self.journal, "docs", "newdocs:"),
            kodo=NoListing(),
            now=lambda: START,
            chance=lambda: 0.0,
        )
        return Intake(
            mirror="docs",
            source=self.source,
            journal=self.journal,
            rules=rules,
            now=lambda: START,
            stale=self._count_stale,
            guard=guard,
            inventory=inventory,
        )

    def _count_stale(self) -> None:
        self.stale += 1

    def _count_let_go(self) -> None:
        self.let_go += 1
        self.any_let_go.set()

    async def mirrored(self, *keys: str) -> None:
        """The bucket has these keys of version BEFORE, each with its key as the hash."""
        await self.journal.record("docs", [change(key, BEFORE) for key in keys], IntakeRules())
        claims = await self.journal.claim("docs", START, 1000, timedelta(hours=1))
        await self.journal.settle([ended(claim, Done(), bucket_hash=claim.key) for claim in claims], IntakeRules())

    def states(self) -> dict[str, State]:
        """Of the keys that are not fresh."""
        return {row.key: row.state for row in unfinished(self.url, "docs", 1000)}


def with_bench(scenario: Callable[[Bench], Awaitable[None]]) -> Callable[[Path], None]:
    """A test that is a coroutine with a bench of its own."""

    @functools.wraps(scenario, assigned=("__name__", "__qualname__", "__doc__", "__module__"))
    def test(tmp_path: Path) -> None:
        async def run() -> None:
            url = f"sqlite:///{tmp_path}/journal.db"
            journal = Journal(url)
            journal.open()
            try:
                async with asyncio.timeout(20):
                    await scenario(Bench(journal, url))
            finally:
                journal.close()

        asyncio.run(run())

    del test.__wrapped__  # type: ignore[attr-defined]  # pytest would read the coroutine's arguments
    return test


@with_bench
async def test_a_touched_file_of_the_same_content_is_fresh_without_a_call(bench: Bench) -> None:
    await bench.mirrored("same", "other")
    bench.source.hashes = {"same": (TOUCHED, "same"), "other": (TOUCHED, "another hash")}

    recorded = await bench.intake().take([change("same", TOUCHED), change("other", TOUCHED), change("new", BEFORE)])

    assert (recorded.new, recorded.changed, recorded.stale, recorded.doubtful) == (1, 2, 2, ())
    assert bench.source.hashed == [["same", "other"]]
    assert bench.states() == {"other": State.STALE, "new": State.STALE}
    assert list(bench.journal.known("docs")) == [("new", BEFORE), ("other", TOUCHED), ("same", TOUCHED)]
    assert bench.stale == 1


@with_bench
async def test_only_touched_files_are_read(bench: Bench) -> None:
    await bench.mirrored("changed", "gone")

    await bench.intake().take([change("changed", of_file(6, 1000, 2000, 1)), change("gone", None)])

    assert bench.source.hashed == []


@with_bench
async def test_a_file_that_cannot_be_hashed_is_asked_for(bench: Bench) -> None:
    await bench.mirrored("a")

    recorded = await bench.intake().take([change("a", TOUCHED)])

    assert recorded.stale == 1
    assert bench.states() == {"a": State.STALE}


@with_bench
async def test_the_version_that_was_hashed_is_the_one_that_counts(bench: Bench) -> None:
    await bench.mirrored("same", "moved-on")
    grown = of_file(9, 3000, 3000, 1)
    bench.source.hashes = {"same": (LATER, "same"), "moved-on": (grown, "of more")}

    await bench.intake().take([change("same", TOUCHED), change("moved-on", TOUCHED)])

    assert list(bench.journal.known("docs")) == [("moved-on", grown), ("same", LATER)]
    assert bench.states() == {"moved-on": State.STALE}


@with_bench
async def test_a_survey_ends_with_the_guards_decision(bench: Bench) -> None:
    await bench.mirrored("a", "b", "c")

    async def looks(receiver: Receiver) -> None:
        await receiver.take([change("a", None)])
        assert bench.states() == {"a": State.HELD}
        await receiver.complete(START, "8:1")

    bench.source.looks = looks

    await bench.intake(DELETE).survey()

    (claim,) = await bench.journal.claim("docs", START, 10, timedelta(hours=1))
    assert (claim.key, claim.wanted, claim.bucket_hash, claim.last_outcome) == ("a", None, "a", Outcome.REFRESHED)
    assert bench.let_go == 1


@with_bench
async def test_a_survey_that_removes_too_many_says_so_and_lets_none_go(bench: Bench) -> None:
    await bench.mirrored("a", "b", "c")

    async def looks(receiver: Receiver) -> None:
        await receiver.take([change("a", None), change("b", None)])

    bench.source.looks = looks

    with capture_logs() as lines:
        await bench.intake(DELETE).survey()

    (line,) = lines
    assert (line["event"], line["count"], line["sample"]) == ("removals.held", 2, ["a", "b"])
    assert bench.states() == {"a": State.HELD, "b": State.HELD}
    assert bench.let_go == 0


@with_bench
async def test_a_survey_that_fails_lets_nothing_go(bench: Bench) -> None:
    await bench.mirrored("a", "b")

    async def looks(receiver: Receiver) -> None:
        await receiver.take([change("a", None)])
        raise SourceUnavailable("it went")

    bench.source.looks = looks

    with pytest.raises(SourceUnavailable, match="it went"):
        await bench.intake(DELETE).survey()

    assert bench.states() == {"a": State.HELD}


@with_bench
async def test_under_keep_a_removal_is_nothing_to_do(bench: Bench) -> None:
    await bench.mirrored("a")

    recorded = await bench.intake().take([change("a", None)])

    (docs,) = report(bench.url, ["docs"])
    assert (recorded.removed, recorded.stale, bench.stale) == (1, 0, 0)
    assert (bench.states(), docs.kept) == ({}, 1)


@with_bench
async def test_a_followed_source_has_its_guard(bench: Bench) -> None:
    await bench.mirrored("a", "b")
    await bench.journal.record("docs", [change("a", None)], DELETE)  # what an earlier service left undecided
    intake = bench.intake(DELETE)

    async with asyncio.TaskGroup() as tasks:
        following = tasks.create_task(intake.follow())
        await bench.any_let_go.wait()
        following.cancel()

    assert bench.states() == {"a": State.STALE}


@with_bench
async def test_the_root_is_remembered_across_processes(bench: Bench) -> None:
    roots = list[str | None]()

    async def looks(receiver: Receiver) -> None:
        roots.append(receiver.root)
        await receiver.complete(START, "8:1")

    bench.source.looks = looks
    await bench.intake().survey()

    await bench.intake().survey()

    assert roots == [None, "8:1"]


@with_bench
async def test_a_root_that_moved_is_remembered_and_the_loss_stays(bench: Bench) -> None:
    intake = bench.intake()
    await intake.complete(START, "8:1")
    await intake.lost("another directory")

    await intake.moved_to("8:2")

    expected = Coverage(complete_as_of=START, lost_since=START, lost_reason="another directory", root="8:2")
    assert intake.coverage == expected
    assert await bench.journal.covered("docs") == expected


@with_bench
async def test_a_complete_look_ends_the_loss_and_says_so_once(bench: Bench) -> None:
    intake = bench.intake()
    await intake.complete(START, "8:1")
    with capture_logs() as lines:
        await intake.lost("gone")
        await intake.lost("gone")

        await intake.complete(START + timedelta(seconds=5), "8:2")
        await intake.complete(START + timedelta(seconds=9), "8:2")

    assert [line["event"] for line in lines] == ["coverage.lost", "coverage.restored"]
    assert await bench.journal.covered("docs") == Coverage(complete_as_of=START + timedelta(seconds=9), root="8:2")

"""Any order of changes, scans, claims, settlements and crashes: what is called fresh is what the bucket holds."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mirrord.decisions.removals import RemovalLimit
from mirrord.decisions.staleness import IntakeRules, OnRemoved, Settlement
from mirrord.guard import RemovalGuard
from mirrord.intake import Intake
from mirrord.inventory import Inventory
from mirrord.journal.listing import Listing
from mirrord.journal.report import report, unfinished
from mirrord.journal.store import Journal
from mirrord.model.attempt import Outcome
from mirrord.model.change import Change
from mirrord.model.fingerprint import Fingerprint, of_token
from mirrord.model.row import ObjectRow
from mirrord.model.step import Done, Retry
from tests.journal.ledger import url_of
from tests.test_intake import FakeSource, NoListing

MIRROR = "docs"
LEASE = timedelta(seconds=100)
RULES = IntakeRules(on_removed=OnRemoved.DELETE)
KEYS = st.sampled_from(["a", "b", "c/d"])


class OriginBucketAndService:
    """The origin and the bucket are dicts; between them are the real intake, guard and journal."""

    def __init__(self) -> None:
        self.directory = TemporaryDirectory()
        self.url = url_of(Path(self.directory.name) / "journal.db")
        self.runner = asyncio.Runner()
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.origin: dict[str, Fingerprint] = {}
        self.bucket: dict[str, Fingerprint] = {}
        self.versions = 0
        self.claims: list[tuple[ObjectRow, Fingerprint | None]] = []
        """Calls in flight, each with what the origin had when it began."""
        self.begin()

    def begin(self) -> None:
        self.journal = Journal(self.url)
        self.journal.open()
        guard = RemovalGuard(
            mirror=MIRROR,
            journal=self.journal,
            on_removed=RULES.on_removed,
            limit=RemovalLimit(count=1000, fraction=1.0),
            now=lambda: self.now,
            due=lambda: None,
        )
        inventory = Inventory(
            mirror=MIRROR,
            bucket="bucket",
            prefix="",
            listing=Listing(self.journal, MIRROR, "bucket:"),
            kodo=NoListing(),
            now=lambda: self.now,
            chance=lambda: 0.0,
        )
        self.guard = guard
        self.intake = Intake(
            mirror=MIRROR,
            source=FakeSource(),
            journal=self.journal,
            rules=RULES,
            now=lambda: self.now,
            stale=lambda: None,
            guard=guard,
            inventory=inventory,
        )

    def close(self) -> None:
        self.journal.close()
        self.runner.close()
        self.directory.cleanup()

    def see(self, key: str) -> Change:
        return Change(key=key, version=self.origin.get(key), seen_at=self.now)

    # -- the world -----------------------------------------------------------------------------------

    def the_origin_changes(self, key: str, removed: bool, seen: bool) -> None:
        self.versions += 1
        if removed:
            self.origin.pop(key, None)
        else:
            self.origin[key] = of_token(str(self.versions))
        if seen:
            self.runner.run(self.intake.take([self.see(key)]))

    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    # -- the left half -------------------------------------------------------------------------------

    def everything_is_scanned(self) -> None:
        keys = {key for key, _ in self.intake.known("")} | set(self.origin)
        self.runner.run(self.intake.take([self.see(key) for key in sorted(keys)]))
        self.runner.run(self.guard.decide())

    # -- the right half ------------------------------------------------------------------------------

    def claim(self, most: int) -> None:
        alive = {row.key for row, _ in self.claims if row.lease_until and row.lease_until > self.now}
        rows = self.runner.run(self.journal.claim(MIRROR, self.now, most, LEASE))
        assert alive.isdisjoint(row.key for row in rows)  # never claimed twice at once
        self.claims += [(row, self.origin.get(row.key)) for row in rows]

    def a_call_ends(self, number: int, succeeds: bool, observed: bool) -> None:
        if self.claims:
            self.end(number % len(self.claims), succeeds=succeeds, observed=observed)

    def end(self, number: int, *, succeeds: bool, observed: bool = True) -> None:
        """`observed`: the origin could be looked at after the call; of a feed's, only the generation tells."""
        row, version = self.claims.pop(number)
        lapsed = (
            row.lease_until is None or row.lease_until <= self.now
        )  # its pull ended long ago; it settles all the same
        same_kind = (row.wanted is None) == (version is None)
        if succeeds and same_kind and not lapsed:
            if version is None:
                self.bucket.pop(row.key, None)
            else:
                self.bucket[row.key] = version
        end = Settlement(
            mirror=MIRROR,
            key=row.key,
            claims=row.claims,
            generation=row.generation,
            step=Done() if succeeds and same_kind else Retry(timedelta(seconds=1)),
            at=self.now,
            asked_for=version if same_kind else row.wanted,
            found=self.origin.get(row.key) if observed or not same_kind else version,
            attempted=same_kind,
            outcome=Outcome.REFRESHED if succeeds else Outcome.ORIGIN_FAILING,
        )
        self.runner.run(self.journal.settle([end], RULES))

    def the_service_is_killed_and_starts_again(self) -> None:
        self.journal.close()
        self.claims.clear()
        self.begin()
        self.runner.run(self.journal.give_back_orphans(MIRROR, self.now, RULES))

    # -- what always holds ---------------------------------------------------------------------------

    def what_is_fresh_is_in_the_bucket(self) -> None:
        known = dict(self.intake.known(""))
        unfinished_keys = {row.key for row in unfinished(self.url, MIRROR, 100)}
        for key, wanted in known.items():
            if key not in unfinished_keys:
                assert self.bucket.get(key) == wanted

    def left_alone_it_ends_with_bucket_equal_to_origin(self) -> None:
        self.now += LEASE + timedelta(seconds=1)
        self.claims.clear()
        for _ in range(4):
            self.everything_is_scanned()
            self.claim(100)
            while self.claims:
                self.end(0, succeeds=True)
            self.now += timedelta(seconds=11)
        (state,) = report(self.url, [MIRROR])
        assert state.settled
        assert self.bucket == self.origin


STEPS = st.one_of(
    st.tuples(st.just("the_origin_changes"), KEYS, st.booleans(), st.just(True)),
    st.tuples(st.just("the_origin_changes"), KEYS, st.booleans(), st.booleans()),
    st.tuples(st.just("claim"), st.just(3)),
    st.tuples(st.just("a_call_ends"), st.integers(0, 9), st.booleans(), st.booleans()),
    st.tuples(st.just("a_call_ends"), st.integers(0, 9), st.just(True), st.booleans()),
    st.tuples(st.just("everything_is_scanned")),
    st.tuples(st.just("time_passes"), st.sampled_from([1, 11, 101])),
    st.tuples(st.just("the_service_is_killed_and_starts_again")),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEPS, min_size=15, max_size=45))
def test_in_any_order_what_is_fresh_is_in_the_bucket_and_in_the_end_all_is(steps: list[tuple[Any, ...]]) -> None:
    world = OriginBucketAndService()
    try:
        for step, *arguments in steps:
            getattr(world, step)(*arguments)
            world.what_is_fresh_is_in_the_bucket()
        world.left_alone_it_ends_with_bucket_equal_to_origin()
    finally:
        world.close()

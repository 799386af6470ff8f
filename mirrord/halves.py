"""One mirror's settings to its two halves, joined by the journal; and what of them a running mirror can take."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from mirrord.audit import Audit
from mirrord.cdn import Cdn
from mirrord.confirmation import Confirmation
from mirrord.decisions.keymap import DEFAULT_EXCLUDE, Selection
from mirrord.decisions.pulling import GROWTH_MOST
from mirrord.decisions.removals import RemovalLimit
from mirrord.decisions.retry import RetryPolicy
from mirrord.decisions.staleness import IntakeRules, NewKeys, OnRemoved, lease_for
from mirrord.dispatcher import Dispatcher
from mirrord.feeds import Feeds
from mirrord.fleet import Mirror
from mirrord.gate import Gate
from mirrord.guard import RemovalGuard
from mirrord.intake import Intake
from mirrord.inventory import Inventory
from mirrord.journal import targets
from mirrord.journal.listing import Listing
from mirrord.journal.store import Journal
from mirrord.kodo.client import KodoClient
from mirrord.kodo.etag import etag_of
from mirrord.kodo.exchange import Sender
from mirrord.model.attempt import Operation
from mirrord.model.cursor import FEED
from mirrord.pulls import Pulls
from mirrord.settings import DirectorySource as DirectorySection
from mirrord.settings import Kodo, Timeouts
from mirrord.settings import Mirror as MirrorSettings
from mirrord.sources.contract import Source
from mirrord.sources.directory import DirectorySettings, DirectorySource
from mirrord.sources.hinted import HintedDirectory
from mirrord.target import Target
from mirrord.verifier import VERIFICATION_MOST, Verifier


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What all mirrors have in common."""

    settings: Kodo
    journal: Journal
    kodo: KodoClient
    wire: Sender
    feeds: Feeds
    now: Callable[[], datetime]
    wall: Callable[[], datetime]
    """What signatures go by: it may jump, where `now` may not."""
    chance: Callable[[], float]
    user_agent: str


def joined(mirror: MirrorSettings, shared: Shared) -> Mirror:
    """Both halves, ready to be started."""
    source, gate, cdn, rules = _source(mirror, shared), _gate(mirror, shared), _cdn(mirror, shared), _rules(mirror)

    def removed() -> None:
        guard.notice()  # each of the two needs the other

    dispatcher = _dispatcher(mirror, shared, source=source, gate=gate, cdn=cdn, removed=removed)
    guard = RemovalGuard(
        mirror=mirror.name,
        journal=shared.journal,
        on_removed=rules.on_removed,
        limit=_limit(mirror),
        now=shared.now,
        due=dispatcher.wake,
    )
    listing = Listing(shared.journal, mirror.name, f"{mirror.bucket}:{mirror.key_prefix}")
    inventory = _inventory(mirror, shared, listing, gate)
    intake = Intake(
        mirror=mirror.name,
        source=source,
        journal=shared.journal,
        rules=rules,
        now=shared.now,
        stale=dispatcher.wake,
        guard=guard,
        inventory=inventory,
    )
    audit = Audit(
        mirror=mirror.name,
        prefix=mirror.key_prefix,
        every=mirror.audit_every,
        journal=shared.journal,
        listing=listing,
        inventory=inventory,
        now=shared.now,
        stale=dispatcher.wake,
    )
    return Mirror(
        name=mirror.name,
        bucket=mirror.bucket,
        operation=mirror.operation,
        source=source,
        intake=intake,
        guard=guard,
        gate=gate,
        dispatcher=dispatcher,
        feed=FEED + mirror.feed.identity if mirror.feed else None,
        cdn=cdn,
        beside={"audit": audit, "cdn": cdn} if mirror.audit_every else {"cdn": cdn},
        prepare=partial(_prepare, mirror, shared),
    )


async def _prepare(mirror: MirrorSettings, shared: Shared) -> None:
    """What the journal knows of another bucket says nothing of this one."""
    await targets.adopt(shared.journal, mirror.name, mirror.bucket, mirror.key_prefix, shared.now())


def adjust(running: Mirror, mirror: MirrorSettings, settings: Kodo) -> None:
    """Let a mirror that runs take what `renewal.IN_PLACE` names."""
    running.gate.adjust(concurrency=mirror.pace.concurrency, per_second=mirror.pace.per_second)
    running.dispatcher.adjust(_target(mirror, settings.timeouts, _rules(mirror)))
    running.guard.adjust(_limit(mirror))
    running.cdn.adjust(mirror.cdn.urls)


def selection(mirror: MirrorSettings) -> Selection:
    """Which paths below the origin are the mirror's."""
    return Selection(mirror.include, DEFAULT_EXCLUDE if mirror.exclude is None else mirror.exclude)


def _rules(mirror: MirrorSettings) -> IntakeRules:
    return IntakeRules(
        on_removed=OnRemoved(mirror.on_removed),
        new_keys=_NEW_KEYS[mirror.first_run],
        thorough=mirror.first_run == "verify",
    )


def _limit(mirror: MirrorSettings) -> RemovalLimit:
    return RemovalLimit(count=mirror.removal_limit.count, fraction=mirror.removal_limit.fraction)


def _dispatcher(
    mirror: MirrorSettings,
    shared: Shared,
    *,
    source: Source,
    gate: Gate,
    cdn: Cdn,
    removed: Callable[[], None],
) -> Dispatcher:
    target = _target(mirror, shared.settings.timeouts, _rules(mirror))
    return Dispatcher(
        target=target,
        journal=shared.journal,
        pulls=Pulls(target, shared.kodo, hash_of=source.hash_of, now=shared.now, wall=shared.wall),
        gate=gate,
        observe=source.observe,
        now=shared.now,
        chance=shared.chance,
        verifier=_verifier(mirror, shared, source),
        confirmation=_confirmation(mirror, shared),
        removed=removed,
        purged=cdn.wake,
    )


def _inventory(mirror: MirrorSettings, shared: Shared, listing: Listing, gate: Gate) -> Inventory:
    return Inventory(
        mirror=mirror.name,
        bucket=mirror.bucket,
        prefix=mirror.key_prefix,
        listing=listing,
        kodo=shared.kodo,
        now=shared.now,
        chance=shared.chance,
        tell=gate.tell,
    )


def _gate(mirror: MirrorSettings, shared: Shared) -> Gate:
    return Gate(
        mirror=mirror.name,
        bucket=mirror.bucket,
        concurrency=mirror.pace.concurrency,
        per_second=mirror.pace.per_second,
        now=shared.now,
        chance=shared.chance,
    )


_NEW_KEYS = {
    "adopt": NewKeys.FRESH,
    "refresh": NewKeys.STALE,
    "compare": NewKeys.COMPARED,
    "verify": NewKeys.COMPARED,
}


def _cdn(mirror: MirrorSettings, shared: Shared) -> Cdn:
    return Cdn(
        mirror=mirror.name,
        bucket=mirror.bucket,
        urls=mirror.cdn.urls,
        journal=shared.journal,
        kodo=shared.kodo,
        now=shared.now,
        chance=shared.chance,
    )


def _verifier(mirror: MirrorSettings, shared: Shared, source: Source) -> Verifier | None:
    if mirror.verify == "off":
        return None
    return Verifier(mirror=mirror.name, bucket=mirror.bucket, kodo=shared.kodo, hash_of=source.hash_of, now=shared.now)


def _confirmation(mirror: MirrorSettings, shared: Shared) -> Confirmation | None:
    feed = mirror.feed
    if feed is None or not feed.confirm_origin or mirror.origin_url is None:
        return None
    return Confirmation(
        mirror=mirror.name,
        origin=mirror.origin_url,
        most=feed.confirm_most,
        wire=shared.wire,
        user_agent=shared.user_agent,
        now=shared.now,
    )


def _source(mirror: MirrorSettings, shared: Shared) -> Source:
    takes = selection(mirror)
    directory = None if mirror.directory is None else _directory(mirror, mirror.directory, takes, shared.now)
    feed = None if mirror.feed is None else shared.feeds.source(mirror, mirror.feed, takes)
    if directory is not None and feed is not None:
        return HintedDirectory(mirror.name, directory, feed)
    found = directory or feed
    assert found is not None
    return found


def _directory(
    mirror: MirrorSettings, source: DirectorySection, takes: Selection, now: Callable[[], datetime]
) -> DirectorySource:
    return DirectorySource(
        DirectorySettings(
            root=source.path,
            mirror=mirror.name,
            key_prefix=mirror.key_prefix,
            watch=source.watch,
            settle=source.settle,
            settle_limit=source.settle_limit,
            rescan_every=source.rescan_every,
            rescan_limited_every=source.rescan_limited_every,
            follow_symlinks=source.follow_symlinks,
        ),
        takes,
        now,
        etag_of,
    )


def _async_above(mirror: MirrorSettings) -> int | None:
    if mirror.origin_url is None or mirror.operation == "glb-fetch" or mirror.async_above == "off":
        return None
    return mirror.async_above


def _target(mirror: MirrorSettings, timeouts: Timeouts, rules: IntakeRules) -> Target:
    verification = timedelta(0) if mirror.verify == "off" else VERIFICATION_MOST
    return Target(
        mirror=mirror.name,
        bucket=mirror.bucket,
        operation=Operation(mirror.operation),
        origin_url=mirror.origin_url,
        rules=rules,
        retry=RetryPolicy(
            first_delay=mirror.retry.first_delay,
            max_delay=mirror.retry.max_delay,
            max_attempts=mirror.retry.max_attempts,
        ),
        lease=lease_for(timeouts.connect, timeouts.read + GROWTH_MOST, verification),
        call_limit=timeouts.connect + timeouts.read + GROWTH_MOST + verification,
        concurrency=mirror.pace.concurrency,
        read_timeout=timeouts.read,
        async_above=_async_above(mirror),
        sees_origin=mirror.directory is not None,
        tells_cdn=bool(mirror.cdn.urls),
    )

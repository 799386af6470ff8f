"""Settings to running objects: the one place that reads clocks, rolls dice and picks backends."""

import os
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from mirrord import __version__
from mirrord.audit import Audit
from mirrord.confirmation import Confirmation
from mirrord.daemon import Mirror, Service
from mirrord.decisions.findings import Wanted
from mirrord.decisions.keymap import DEFAULT_EXCLUDE, Selection
from mirrord.decisions.pulling import GROWTH_MOST
from mirrord.decisions.removals import RemovalLimit
from mirrord.decisions.retry import RetryPolicy
from mirrord.decisions.staleness import IntakeRules, NewKeys, OnRemoved, lease_for
from mirrord.dispatcher import Dispatcher
from mirrord.feeds import Feeds
from mirrord.gate import Gate
from mirrord.guard import RemovalGuard
from mirrord.intake import Intake
from mirrord.inventory import Inventory
from mirrord.journal.listing import Listing
from mirrord.journal.patience import PatientJournal
from mirrord.journal.store import Journal
from mirrord.kodo.auth import Credentials
from mirrord.kodo.client import KodoClient
from mirrord.kodo.etag import etag_of
from mirrord.kodo.exchange import Answer, Base, NoAnswer, Sender, Timeouts
from mirrord.kodo.hosts import Hosts
from mirrord.kodo.protocol import Host
from mirrord.model.attempt import Operation
from mirrord.preflight import Preflight, sample
from mirrord.pulls import Pulls
from mirrord.settings import DirectorySource as DirectorySection
from mirrord.settings import Mirror as MirrorSettings
from mirrord.settings import Settings
from mirrord.sources.contract import Source
from mirrord.sources.directory import DirectorySettings, DirectorySource
from mirrord.sources.hinted import HintedDirectory
from mirrord.systemd import Notifier
from mirrord.target import Target
from mirrord.verifier import STATS_MOST, VERIFICATION_MOST, Verifier

USER_AGENT = f"mirrord/{__version__}"
DRAIN_MOST = timedelta(seconds=30)


class SteadyClock:
    """Wall time that never jumps: read once, then carried on by a clock that nobody sets.

    Rows outlive the process, so they need wall time; but a key that is due in a second must not wait
    an hour because the clock was set back. Signatures ask the real one.
    """

    def __init__(self) -> None:
        self._began = datetime.now(UTC)
        self._offset_ns = _uptime_ns()

    def __call__(self) -> datetime:
        return self._began + timedelta(microseconds=(_uptime_ns() - self._offset_ns) // 1000)


_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", None)  # Linux; counts the time a laptop sleeps
_uptime_ns = time.monotonic_ns if _BOOTTIME is None else partial(time.clock_gettime_ns, _BOOTTIME)


def _wall_clock() -> datetime:
    return datetime.now(UTC)


now = SteadyClock()


def service(settings: Settings) -> Service:
    """Everything that `settings` ask for, connected and opened, not yet running. Raises JournalUnavailable."""
    journal = PatientJournal(settings.journal.url, now=now)
    journal.open()
    wire = _wire(settings)
    kodo = _client(settings, wire)
    feeds = Feeds(settings, user_agent=USER_AGENT, now=now, chance=random.random)
    shared = _Shared(settings, journal, kodo, wire, feeds)
    mirrors = [_mirror(each, shared) for each in settings.mirror]
    return Service(
        preflights=[_preflight(each, kodo, wire) for each in settings.mirror],
        mirrors=mirrors,
        listeners=feeds.listeners(),
        journal=journal,
        kodo=kodo,
        notifier=Notifier.from_environment(os.environ),
        now=now,
        drain_most=min(DRAIN_MOST, settings.kodo.timeouts.read),
    )


class _WireOnDemand:
    """Opens the wire when there is something to ask: a look that finds nothing new need not load an HTTP client."""

    def __init__(self, timeouts: Timeouts, connections: int) -> None:
        self._timeouts = timeouts
        self._connections = connections
        self._wire: Sender | None = None

    async def send(
        self,
        method: str,
        base: Base,
        target: str,
        headers: Mapping[str, str],
        body: bytes = b"",
        *,
        read: timedelta | None = None,
    ) -> Answer | NoAnswer:
        if self._wire is None:
            from mirrord.kodo.wire import Wire  # noqa: PLC0415 - a fifth of the whole start

            self._wire = Wire(timeouts=self._timeouts, connections=self._connections)
        return await self._wire.send(method, base, target, headers, body, read=read)

    async def close(self) -> None:
        if self._wire is not None:
            await self._wire.close()


def preflights(settings: Settings) -> tuple[list[Preflight], KodoClient]:
    """What `check --online` asks, a preflight for each mirror; the client is to be closed then."""
    wire = _wire(settings)
    kodo = _client(settings, wire)
    feeds = Feeds(settings, user_agent=USER_AGENT, now=now, chance=random.random)
    return [_preflight(each, kodo, wire, feeds) for each in settings.mirror], kodo


def _preflight(mirror: MirrorSettings, kodo: KodoClient, wire: Sender, feeds: Feeds | None = None) -> Preflight:
    """Without `feeds` a feed is asked nothing: a service that follows it says by itself how that goes."""
    source, feed = mirror.directory, mirror.feed
    return Preflight(
        wanted=Wanted(
            mirror=mirror.name,
            bucket=mirror.bucket,
            operation=Operation(mirror.operation),
            origin_url=mirror.origin_url,
            verify=mirror.verify == "stat",
        ),
        kodo=kodo,
        wire=wire,
        sample=lambda: (
            sample(source.path, _selection(mirror), mirror.key_prefix, follow_symlinks=source.follow_symlinks)
            if source is not None
            else None
        ),
        user_agent=USER_AGENT,
        probes=() if feed is None or feeds is None else feeds.probes(mirror, feed, _selection(mirror)),
    )


def _selection(mirror: MirrorSettings) -> Selection:
    return Selection(mirror.include, DEFAULT_EXCLUDE if mirror.exclude is None else mirror.exclude)


def _wire(settings: Settings) -> Sender:
    timeouts = Timeouts(connect=settings.kodo.timeouts.connect, read=settings.kodo.timeouts.read)
    return _WireOnDemand(timeouts, connections=sum(each.pace.concurrency + STATS_MOST for each in settings.mirror))


def _client(settings: Settings, wire: Sender) -> KodoClient:
    pinned = {host: url for host in Host if (url := getattr(settings.kodo.hosts, host.value))}
    return KodoClient(
        wire=wire,
        hosts=Hosts(
            wire=wire,
            access_key=settings.kodo.access_key,
            pinned=pinned,
            user_agent=USER_AGENT,
            clock=time.monotonic,
        ),
        credentials=Credentials(settings.kodo.access_key, settings.kodo.secret.get_secret_value()),
        scheme=settings.kodo.scheme,
        user_agent=USER_AGENT,
        now=_wall_clock,
    )


@dataclass(frozen=True, slots=True)
class _Shared:
    """What all mirrors have in common."""

    settings: Settings
    journal: Journal
    kodo: KodoClient
    wire: Sender
    feeds: Feeds


def _mirror(mirror: MirrorSettings, shared: _Shared) -> Mirror:
    journal, kodo, source = shared.journal, shared.kodo, _source(mirror, shared.feeds)
    rules = IntakeRules(
        on_removed=OnRemoved(mirror.on_removed),
        new_keys=_NEW_KEYS[mirror.first_run],
        thorough=mirror.first_run == "verify",
    )
    target = _target(mirror, shared.settings, rules)
    gate = _gate(mirror)
    dispatcher = Dispatcher(
        target=target,
        journal=journal,
        pulls=Pulls(target, kodo, hash_of=source.hash_of, now=now, wall=_wall_clock),
        gate=gate,
        observe=source.observe,
        now=now,
        chance=random.random,
        verifier=_verifier(mirror, kodo, source),
        confirmation=_confirmation(mirror, shared.wire),
        removed=lambda: guard.notice(),  # noqa: PLW0108 - each of the two needs the other
    )
    guard = RemovalGuard(
        mirror=mirror.name,
        journal=journal,
        on_removed=rules.on_removed,
        limit=RemovalLimit(count=mirror.removal_limit.count, fraction=mirror.removal_limit.fraction),
        now=now,
        due=dispatcher.wake,
    )
    listing = Listing(journal, mirror.name, f"{mirror.bucket}:{mirror.key_prefix}")
    inventory = Inventory(
        mirror=mirror.name,
        bucket=mirror.bucket,
        prefix=mirror.key_prefix,
        listing=listing,
        kodo=kodo,
        now=now,
        chance=random.random,
        tell=gate.tell,
    )
    intake = Intake(
        mirror=mirror.name,
        source=source,
        journal=journal,
        rules=rules,
        now=now,
        stale=dispatcher.wake,
        guard=guard,
        inventory=inventory,
    )
    audit = Audit(
        mirror=mirror.name,
        prefix=mirror.key_prefix,
        every=mirror.audit_every,
        journal=journal,
        listing=listing,
        inventory=inventory,
        now=now,
        stale=dispatcher.wake,
    )
    return Mirror(mirror.name, source, intake, dispatcher, audit if mirror.audit_every else None)


def _gate(mirror: MirrorSettings) -> Gate:
    return Gate(
        mirror=mirror.name,
        bucket=mirror.bucket,
        concurrency=mirror.pace.concurrency,
        per_second=mirror.pace.per_second,
        now=now,
        chance=random.random,
    )


_NEW_KEYS = {
    "adopt": NewKeys.FRESH,
    "refresh": NewKeys.STALE,
    "compare": NewKeys.COMPARED,
    "verify": NewKeys.COMPARED,
}


def _verifier(mirror: MirrorSettings, kodo: KodoClient, source: Source) -> Verifier | None:
    if mirror.verify == "off":
        return None
    return Verifier(mirror=mirror.name, bucket=mirror.bucket, kodo=kodo, hash_of=source.hash_of, now=now)


def _confirmation(mirror: MirrorSettings, wire: Sender) -> Confirmation | None:
    feed = mirror.feed
    if feed is None or not feed.confirm_origin or mirror.origin_url is None:
        return None
    return Confirmation(
        mirror=mirror.name,
        origin=mirror.origin_url,
        most=feed.confirm_most,
        wire=wire,
        user_agent=USER_AGENT,
        now=now,
    )


def _source(mirror: MirrorSettings, feeds: Feeds) -> Source:
    selection = _selection(mirror)
    directory = None if mirror.directory is None else _directory(mirror, mirror.directory, selection)
    feed = None if mirror.feed is None else feeds.source(mirror, mirror.feed, selection)
    if directory is not None and feed is not None:
        return HintedDirectory(mirror.name, directory, feed)
    found = directory or feed
    assert found is not None
    return found


def _directory(mirror: MirrorSettings, source: DirectorySection, selection: Selection) -> DirectorySource:
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
        selection,
        now,
        etag_of,
    )


def _async_above(mirror: MirrorSettings) -> int | None:
    if mirror.origin_url is None or mirror.operation == "glb-fetch" or mirror.async_above == "off":
        return None
    return mirror.async_above


def _target(mirror: MirrorSettings, settings: Settings, rules: IntakeRules) -> Target:
    timeouts = settings.kodo.timeouts
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
    )

"""Settings to running objects: the one place that reads clocks, rolls dice and picks backends."""

import os
import random
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import partial

from mirrord import __version__, halves
from mirrord.daemon import Renewed, Service
from mirrord.decisions.findings import Wanted
from mirrord.doors import Doors
from mirrord.feeds import Feeds
from mirrord.fleet import Fleet
from mirrord.halves import Shared
from mirrord.housekeeping import Housekeeping
from mirrord.journal.patience import PatientJournal
from mirrord.journal.pruning import Kept
from mirrord.kodo.auth import Credentials
from mirrord.kodo.client import KodoClient
from mirrord.kodo.exchange import Answer, Base, NoAnswer, Sender, Timeouts
from mirrord.kodo.hosts import Hosts
from mirrord.kodo.protocol import Host
from mirrord.model.attempt import Operation
from mirrord.preflight import Preflight, sample
from mirrord.renewal import Renewal, renewal
from mirrord.settings import Mirror as MirrorSettings
from mirrord.settings import Settings
from mirrord.status.meters import Meters
from mirrord.systemd import Notifier

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


class Assembly:
    """What one process runs, and how it becomes what other settings ask for."""

    def __init__(self, settings: Settings) -> None:
        """Everything connected and opened, not yet running. Raises JournalUnavailable."""
        self.settings = settings
        """Those in force."""
        self._meters = Meters(_wall_clock)
        journal = PatientJournal(settings.journal.url, now=now, committed=self._meters.committed)
        journal.open()
        wire = _wire(settings)
        self._kodo = _client(settings, wire)
        self._doors = Doors()
        self._shared = Shared(
            settings=settings.kodo,
            journal=journal,
            kodo=self._kodo,
            wire=wire,
            feeds=_feeds(settings, self._doors),
            now=now,
            wall=_wall_clock,
            chance=random.random,
            user_agent=USER_AGENT,
        )
        drain_most = min(DRAIN_MOST, settings.kodo.timeouts.read)
        mirrors = [halves.joined(each, self._shared) for each in settings.mirror]
        self.service = Service(
            fleet=Fleet(mirrors, journal=journal, now=now, drain_most=drain_most),
            preflights=[_preflight(each, self._kodo, wire) for each in settings.mirror],
            doors=self._doors,
            journal=journal,
            kodo=self._kodo,
            notifier=Notifier.from_environment(os.environ),
            now=now,
            monotonic_ns=time.monotonic_ns,
            drain_most=drain_most,
            beside={"housekeeping": Housekeeping(journal=journal, mirrors=self._kept, now=now)},
            version=__version__,
        )

    def show(self) -> None:
        """From its start on let the service show itself, where the settings say so."""
        if not self.settings.status.listen:
            return
        from mirrord import shown  # noqa: PLC0415 - a web server and templates: only where somebody may look

        shown.show(self.service, self.settings, self._doors, self._meters, _wall_clock)

    def renew(self, wanted: Settings) -> tuple[Renewal, Renewed]:
        """What changes when `wanted` are taken, and the objects that are to run then; those to adjust are."""
        changes = renewal(self.settings, wanted)
        for name in changes.stop:
            self._doors.shut(name)
        running = {mirror.name: mirror for mirror in self.service.mirrors}
        for mirror in changes.adjust:
            halves.adjust(running[mirror.name], mirror, self._shared.settings)
        self.settings = changes.effective
        return changes, Renewed(
            stop=changes.stop,
            start=[halves.joined(each, self._shared) for each in changes.start],
            order=[mirror.name for mirror in wanted.mirror],
            preflights=[_preflight(each, self._kodo, self._shared.wire) for each in changes.start],
        )

    def _kept(self) -> list[Kept]:
        return [Kept(mirror=each.name, feed=each.feed) for each in self.service.mirrors]


def service(settings: Settings) -> Service:
    """For one look, or for as long as somebody waits. Raises JournalUnavailable."""
    return Assembly(settings).service


class _WireOnDemand:
    """Opens the wire when there is something to ask: a look that finds nothing new need not load an HTTP client."""

    def __init__(self, timeouts: Timeouts) -> None:
        self._timeouts = timeouts
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

            self._wire = Wire(timeouts=self._timeouts)
        return await self._wire.send(method, base, target, headers, body, read=read)

    async def close(self) -> None:
        if self._wire is not None:
            await self._wire.close()


def preflights(settings: Settings) -> tuple[list[Preflight], KodoClient]:
    """What `check --online` asks, a preflight for each mirror; the client is to be closed then."""
    wire = _wire(settings)
    kodo = _client(settings, wire)
    feeds = _feeds(settings, Doors())
    return [_preflight(each, kodo, wire, feeds) for each in settings.mirror], kodo


def _feeds(settings: Settings, doors: Doors) -> Feeds:
    return Feeds(settings, doors=doors, user_agent=USER_AGENT, now=now, chance=random.random)


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
            sample(source.path, halves.selection(mirror), mirror.key_prefix, follow_symlinks=source.follow_symlinks)
            if source is not None
            else None
        ),
        user_agent=USER_AGENT,
        probes=() if feed is None or feeds is None else feeds.probes(mirror, feed, halves.selection(mirror)),
    )


def _wire(settings: Settings) -> Sender:
    timeouts = Timeouts(connect=settings.kodo.timeouts.connect, read=settings.kodo.timeouts.read)
    return _WireOnDemand(timeouts)


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

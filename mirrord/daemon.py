"""Lifetime: start both halves of every mirror, wait for a signal, stop them in the direction the data flows."""

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from mirrord.doors import Doors
from mirrord.fleet import Beside, Fleet, Mirror
from mirrord.heartbeat import Heartbeat
from mirrord.journal.errors import JournalBusy
from mirrord.journal.patience import PatientJournal
from mirrord.kodo.client import KodoClient
from mirrord.preflight import Preflight, warn
from mirrord.sources.contract import SourceUnavailable
from mirrord.status.standing import Standing
from mirrord.systemd import Notifier

log = structlog.get_logger()

STARTING_MOST = timedelta(seconds=30)
"""Asked of systemd again and again while a large tree is still being watched."""
STUCK = timedelta(seconds=30)
"""A half that takes no turn for so long does no work: the watchdog is not fed, and systemd restarts it."""
RENEWING_MOST = timedelta(seconds=20)
"""How long a reload waits for new mirrors to watch their origins; those that take longer go on by themselves."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewed:
    """Other settings, as running objects: which mirrors stop, which start; all others go on."""

    stop: Sequence[str]
    start: Sequence[Mirror]
    order: Sequence[str]
    """All that are to run then."""
    preflights: Sequence[Preflight]


class Reloads(Protocol):
    """Where other settings come from while the service runs."""

    async def asked(self) -> None:
        """Returns when somebody wants the settings to be read again."""

    def read(self) -> Renewed | None:
        """The settings as they are now; None: they cannot be taken, which has been said."""

    def answer(self) -> None:
        """Tell whoever asked how it went."""


@dataclass(slots=True, kw_only=True)
class Service:
    """Everything that runs, ready to be run once."""

    fleet: Fleet
    preflights: Sequence[Preflight]
    doors: Doors
    """Where others may tell us of changes, and see how we are."""
    journal: PatientJournal
    kodo: KodoClient
    notifier: Notifier
    now: Callable[[], datetime]
    monotonic_ns: Callable[[], int]
    """CLOCK_MONOTONIC, as systemd wants it."""
    drain_most: timedelta
    """How long calls in flight may take to end once a signal came."""
    beside: Mapping[str, Beside] = field(default_factory=dict)
    """What goes on beside all mirrors."""
    version: str
    generation: int = field(default=1, init=False)
    since: datetime = field(init=False)
    _ready: bool = field(default=False, init=False)
    _stopping: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.since = self.now()

    @property
    def mirrors(self) -> list[Mirror]:
        return self.fleet.mirrors

    async def run(self, stop: asyncio.Event, stop_now: asyncio.Event, reloads: Reloads) -> None:
        """The service, until `stop`; `stop_now` cuts short what is then still in flight.

        Raises JournalBusy; JournalUnavailable when the journal cannot be used any more, or not even at the end;
        ListenerUnavailable at the start.
        """
        if not self.journal.become_service():
            raise JournalBusy(f"{self.journal.name}: another mirrord works with this journal; only one can")
        self.journal.wait_for_ever()
        try:
            await self._run(stop, stop_now, reloads)
        finally:
            self.journal.give_up()  # the thread of a scan may still wait for it, and the process for that thread
        await self._close()
        log.info("service.stopped")
        if self.journal.loss is not None:
            raise self.journal.loss

    async def _run(self, stop: asyncio.Event, stop_now: asyncio.Event, reloads: Reloads) -> None:
        async with asyncio.TaskGroup() as tasks:
            heartbeat = Heartbeat(self.notifier, status=self._status, stuck=self._stuck, now=self.now)
            beating = tasks.create_task(heartbeat.beat(), name="heartbeat")
            self.doors.start(tasks)
            self.fleet.start(tasks)
            if await self._started(stop):
                self._ready = True
                reloads.answer()
                self.notifier.ready(self._status())
                log.info("service.started", mirrors=[each.name for each in self.mirrors], journal=self.journal.name)
            beside = [
                tasks.create_task(self.kodo.keep_fresh(), name="hosts"),
                tasks.create_task(warn(self.preflights), name="preflight"),
                tasks.create_task(self._reload_for_ever(reloads), name="reload"),
                *(tasks.create_task(part.run(), name=what) for what, part in self.beside.items()),
            ]
            await stop.wait()
            self._stopping = True
            self.notifier.stopping()
            log.info(
                "service.stopping", calls_in_flight=self.fleet.in_flight, at_most_s=self.drain_most.total_seconds()
            )
            for task in beside:
                task.cancel()
            self.doors.stop()
            self.fleet.stop()
            await self._drain(stop_now)
            beating.cancel()

    async def _reload_for_ever(self, reloads: Reloads) -> None:
        async with asyncio.TaskGroup() as tasks:
            while True:
                await reloads.asked()
                self.notifier.reloading(self.monotonic_ns())
                renewed = reloads.read()
                if renewed is not None:
                    await self._become(renewed)
                    tasks.create_task(warn(renewed.preflights), name="preflight")
                reloads.answer()
                self.notifier.ready(self._status())  # a refused one is over, too

    async def _become(self, renewed: Renewed) -> None:
        self.generation += 1
        self.doors.renew()
        self.fleet.become(stop=renewed.stop, start=renewed.start, order=renewed.order)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(RENEWING_MOST.total_seconds()):
                await self.fleet.started([each.name for each in renewed.start])

    async def once(self, stop: asyncio.Event) -> None:
        """One look at every origin, and calls until nothing is due or `stop`. Raises SourceUnavailable at the end."""
        if self.journal.become_service():
            for each in self.mirrors:  # else a service is at work: its claims are alive
                await each.prepare()
                await self.fleet.give_back_orphans(each)
        async with asyncio.TaskGroup() as tasks:
            working = [tasks.create_task(self._once(each, stop), name=f"once {each.name}") for each in self.mirrors]
            unavailable = [exc for exc in [await each for each in working] if exc is not None]
        await self._close()
        if unavailable:
            raise unavailable[0]

    async def look(self, stop: asyncio.Event) -> None:
        """One look at every origin, recorded; Kodo is asked to change nothing. Raises SourceUnavailable at the end."""
        if self.journal.become_service():
            for each in self.mirrors:
                await each.prepare()
        async with asyncio.TaskGroup() as tasks:
            looking = [tasks.create_task(_survey(each), name=f"survey {each.name}") for each in self.mirrors]
            stopped = tasks.create_task(stop.wait(), name="stop")
            while not (stopped.done() or all(each.done() for each in looking)):
                left = [each for each in looking if not each.done()]
                await asyncio.wait([*left, stopped], return_when=asyncio.FIRST_COMPLETED)
            for task in (*looking, stopped):
                task.cancel()
        await self._close()
        unavailable = [exc for each in looking if not each.cancelled() and (exc := each.result()) is not None]
        if unavailable:
            raise unavailable[0]

    async def _once(self, mirror: Mirror, stop: asyncio.Event) -> SourceUnavailable | None:
        async with asyncio.TaskGroup() as tasks:
            dispatching = tasks.create_task(mirror.dispatcher.run(), name=f"dispatcher {mirror.name}")
            surveying = tasks.create_task(_survey(mirror), name=f"survey {mirror.name}")
            stopped = tasks.create_task(stop.wait(), name="stop")
            await asyncio.wait({surveying, stopped}, return_when=asyncio.FIRST_COMPLETED)
            mirror.dispatcher.finish()
            await asyncio.wait({dispatching, stopped}, return_when=asyncio.FIRST_COMPLETED)
            surveying.cancel()  # what it had not recorded, the next scan finds
            mirror.dispatcher.stop()
            if not stopped.done():
                await dispatching
                telling = tasks.create_task(mirror.cdn.finish(), name=f"cdn {mirror.name}")
                await asyncio.wait({telling, stopped}, return_when=asyncio.FIRST_COMPLETED)
                telling.cancel()
            stopped.cancel()
        return None if surveying.cancelled() else surveying.result()

    async def _started(self, stop: asyncio.Event) -> bool:
        """Whether every source listens, or has said why it cannot, before `stop`. Raises ListenerUnavailable."""
        async with asyncio.TaskGroup() as tasks:
            stopped = tasks.create_task(stop.wait(), name="stop while starting")
            starting = [
                tasks.create_task(self.doors.started(), name="start to listen"),
                tasks.create_task(self.fleet.started(), name="start to watch"),
            ]
            waiting: set[asyncio.Task[object]] = {*starting}
            while waiting and not stopped.done():
                _, pending = await asyncio.wait(
                    {*waiting, stopped}, timeout=STARTING_MOST.total_seconds() / 3, return_when=asyncio.FIRST_COMPLETED
                )
                waiting = pending - {stopped}
                self.notifier.extend_timeout(STARTING_MOST)
            for task in (*starting, stopped):
                task.cancel()
        return not waiting

    async def _drain(self, stop_now: asyncio.Event) -> None:
        """Wait for the calls in flight and for their settlements, at most `drain_most`."""
        give_up_at = self.now() + self.drain_most
        async with asyncio.TaskGroup() as tasks:
            hurry = tasks.create_task(stop_now.wait(), name="second signal")
            while working := self.fleet.working():
                if hurry.done() or self.now() >= give_up_at:
                    self.fleet.cut_short()
                    self.journal.give_up()
                self.notifier.extend_timeout(timedelta(seconds=10))
                await asyncio.wait(working if hurry.done() else {*working, hurry}, timeout=0.2)
            hurry.cancel()

    def _stuck(self) -> list[str]:
        """Mirrors whose dispatcher takes no turns; who waits for the journal is not stuck."""
        now = self.now()
        well_for = self.journal.well_for(now)
        return [each.name for each in self.mirrors if min(each.dispatcher.stuck_for(now), well_for) > STUCK]

    async def _close(self) -> None:
        await self.kodo.close()
        await self.fleet.close()
        self.journal.close()

    def standing(self) -> Standing:
        """How it is at this moment."""
        return Standing(
            version=self.version,
            since=self.since,
            generation=self.generation,
            ready=self._ready,
            stopping=self._stopping,
            trouble=self.journal.trouble,
            stuck=tuple(self._stuck()),
            mirrors=tuple(each.standing() for each in self.mirrors),
        )

    def _status(self) -> str:
        if self.journal.trouble is not None:
            return f"journal unavailable: {self.journal.trouble}"
        return "; ".join(f"{each.name}: {_in_words(each)}" for each in self.mirrors)


async def _survey(mirror: Mirror) -> SourceUnavailable | None:
    try:
        await mirror.intake.survey()
    except SourceUnavailable as exc:
        await mirror.intake.lost(str(exc))
        return exc
    return None


def _in_words(mirror: Mirror) -> str:
    coverage, flying = mirror.intake.coverage, mirror.dispatcher.in_flight
    calls = f"{flying} call{'' if flying == 1 else 's'} in flight"
    if mirror.dispatcher.stopping:
        return f"stopping, {calls}"
    if mirror.dispatcher.held:
        return "held, Kodo refuses the account or the bucket"
    if coverage.lost_since is not None:
        return f"not complete since {coverage.lost_since:%H:%M:%S} UTC, {coverage.lost_reason}"
    if coverage.complete_as_of is None:
        return f"first scan, {calls}"
    return f"complete as of {coverage.complete_as_of:%H:%M:%S} UTC, {calls}"

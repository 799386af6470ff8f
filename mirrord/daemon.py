"""Lifetime: start both halves of every mirror, wait for a signal, stop them in the direction the data flows."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from mirrord.audit import Audit
from mirrord.dispatcher import Dispatcher
from mirrord.heartbeat import Heartbeat
from mirrord.intake import Intake
from mirrord.journal.errors import JournalBusy
from mirrord.journal.patience import PatientJournal
from mirrord.kodo.client import KodoClient
from mirrord.listening import Listening
from mirrord.preflight import Preflight, warn
from mirrord.sources.contract import Source, SourceUnavailable
from mirrord.systemd import Notifier

log = structlog.get_logger()

STARTING_MOST = timedelta(seconds=30)
"""Asked of systemd again and again while a large tree is still being watched."""
STUCK = timedelta(seconds=30)
"""A half that takes no turn for so long does no work: the watchdog is not fed, and systemd restarts it."""


@dataclass(frozen=True, slots=True)
class Mirror:
    """One origin and its bucket: the two halves that share the journal."""

    name: str
    source: Source
    intake: Intake
    dispatcher: Dispatcher
    audit: Audit | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Everything that runs, ready to be run once."""

    mirrors: Sequence[Mirror]
    preflights: Sequence[Preflight]
    listeners: Sequence[Listening]
    """Where others may tell us of changes."""
    journal: PatientJournal
    kodo: KodoClient
    notifier: Notifier
    now: Callable[[], datetime]
    drain_most: timedelta
    """How long calls in flight may take to end once a signal came."""

    async def run(self, stop: asyncio.Event, stop_now: asyncio.Event) -> None:
        """The service, until `stop`; `stop_now` cuts short what is then still in flight.

        Raises JournalBusy; JournalUnavailable when the journal cannot be used any more, or not even at the end.
        """
        if not self.journal.become_service():
            raise JournalBusy(f"{self.journal.name}: another mirrord works with this journal; only one can")
        self.journal.wait_for_ever()
        try:
            await self._run(stop, stop_now)
        finally:
            self.journal.give_up()  # the thread of a scan may still wait for it, and the process for that thread
        await self._close()
        log.info("service.stopped")
        if self.journal.loss is not None:
            raise self.journal.loss

    async def _run(self, stop: asyncio.Event, stop_now: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as tasks:
            intakes = [tasks.create_task(each.intake.follow(), name=f"intake {each.name}") for each in self.mirrors]
            heartbeat = Heartbeat(self.notifier, status=self._status, stuck=self._stuck, now=self.now)
            beating = tasks.create_task(heartbeat.beat(), name="heartbeat")
            listening = [tasks.create_task(each.run(), name=f"listen {each.address}") for each in self.listeners]
            audits = [
                tasks.create_task(each.audit.run(), name=f"audit {each.name}") for each in self.mirrors if each.audit
            ]
            dispatching = [
                tasks.create_task(self._dispatch(each), name=f"dispatcher {each.name}") for each in self.mirrors
            ]
            if await self._started(stop):
                self.notifier.ready(self._status())
                log.info("service.started", mirrors=[each.name for each in self.mirrors], journal=self.journal.name)
            finding = tasks.create_task(self.kodo.keep_fresh(), name="hosts")
            doubting = tasks.create_task(warn(self.preflights), name="preflight")
            await stop.wait()
            self.notifier.stopping()
            flying = sum(each.dispatcher.in_flight for each in self.mirrors)
            log.info("service.stopping", calls_in_flight=flying, at_most_s=self.drain_most.total_seconds())
            for task in (*listening, *intakes, *audits, doubting, finding):
                task.cancel()  # what they had not recorded, the next scan finds
            for each in self.mirrors:
                each.dispatcher.stop()
            await self._drain(dispatching, stop_now)
            beating.cancel()

    async def _dispatch(self, mirror: Mirror) -> None:
        await self._give_back_orphans(mirror)
        await mirror.dispatcher.run()

    async def once(self, stop: asyncio.Event) -> None:
        """One look at every origin, and calls until nothing is due or `stop`. Raises SourceUnavailable at the end."""
        if self.journal.become_service():
            for each in self.mirrors:
                await self._give_back_orphans(each)  # else a service is at work: its claims are alive
        async with asyncio.TaskGroup() as tasks:
            working = [tasks.create_task(self._once(each, stop), name=f"once {each.name}") for each in self.mirrors]
            unavailable = [exc for exc in [await each for each in working] if exc is not None]
        await self._close()
        if unavailable:
            raise unavailable[0]

    async def look(self, stop: asyncio.Event) -> None:
        """One look at every origin, recorded; Kodo is asked to change nothing. Raises SourceUnavailable at the end."""
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
            stopped.cancel()
        return None if surveying.cancelled() else surveying.result()

    async def _give_back_orphans(self, mirror: Mirror) -> None:
        orphans = await self.journal.give_back_orphans(mirror.name, self.now(), mirror.intake.rules)
        if orphans:
            log.warning("claims.recovered", mirror=mirror.name, keys=orphans)

    async def _started(self, stop: asyncio.Event) -> bool:
        """Whether every source listens, or has said why it cannot, before `stop`."""
        async with asyncio.TaskGroup() as tasks:
            stopped = tasks.create_task(stop.wait(), name="stop while starting")
            starting = [
                *(tasks.create_task(each.started(), name=f"listening {each.address}") for each in self.listeners),
                *(tasks.create_task(each.intake.started(), name=f"start {each.name}") for each in self.mirrors),
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

    async def _drain(self, dispatching: Sequence[asyncio.Task[None]], stop_now: asyncio.Event) -> None:
        """Wait for the calls in flight and for their settlements, at most `drain_most`."""
        give_up_at = self.now() + self.drain_most
        async with asyncio.TaskGroup() as tasks:
            hurry = tasks.create_task(stop_now.wait(), name="second signal")
            while not all(task.done() for task in dispatching):
                if hurry.done() or self.now() >= give_up_at:
                    for each in self.mirrors:
                        each.dispatcher.cut_short()
                    self.journal.give_up()
                self.notifier.extend_timeout(timedelta(seconds=10))
                await asyncio.wait({*dispatching} if hurry.done() else {*dispatching, hurry}, timeout=0.2)
            hurry.cancel()

    def _stuck(self) -> list[str]:
        """Mirrors whose dispatcher takes no turns; who waits for the journal is not stuck."""
        now = self.now()
        well_for = self.journal.well_for(now)
        return [each.name for each in self.mirrors if min(each.dispatcher.stuck_for(now), well_for) > STUCK]

    async def _close(self) -> None:
        await self.kodo.close()
        for each in self.mirrors:
            await each.source.close()
        self.journal.close()

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

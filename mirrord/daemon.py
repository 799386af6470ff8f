"""Lifetime: start both halves of every mirror, wait for a signal, stop them in the direction the data flows."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from mirrord.dispatcher import Dispatcher
from mirrord.intake import Intake
from mirrord.journal.errors import JournalBusy
from mirrord.journal.store import Journal
from mirrord.kodo.client import KodoClient
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Everything that runs, ready to be run once."""

    mirrors: Sequence[Mirror]
    journal: Journal
    kodo: KodoClient
    notifier: Notifier
    now: Callable[[], datetime]
    drain_most: timedelta
    """How long calls in flight may take to end once a signal came."""

    async def run(self, stop: asyncio.Event, stop_now: asyncio.Event) -> None:
        """The service, until `stop`; `stop_now` cuts short what is then still in flight. Raises JournalBusy."""
        if not self.journal.become_service():
            raise JournalBusy(f"{self.journal.name}: another mirrord works with this journal; only one can")
        await self._give_back_orphans()
        async with asyncio.TaskGroup() as tasks:
            intakes = [tasks.create_task(each.intake.follow(), name=f"intake {each.name}") for each in self.mirrors]
            background = [tasks.create_task(self._report_to_systemd(), name="systemd")]
            dispatching = [
                tasks.create_task(each.dispatcher.run(), name=f"dispatcher {each.name}") for each in self.mirrors
            ]
            if await self._started(stop):
                self.notifier.ready(self._status())
                log.info("service.started", mirrors=[each.name for each in self.mirrors], journal=self.journal.name)
            await stop.wait()
            self.notifier.stopping()
            for intake in intakes:
                intake.cancel()  # what it had not recorded, the next scan finds
            for each in self.mirrors:
                each.dispatcher.stop()
            await self._drain(dispatching, stop_now)
            for task in background:
                task.cancel()
        await self._close()
        log.info("service.stopped")

    async def once(self, stop: asyncio.Event) -> None:
        """One look at every origin, and calls until nothing is due or `stop`. Raises SourceUnavailable at the end."""
        if self.journal.become_service():
            await self._give_back_orphans()  # else a service is at work: its claims are alive
        async with asyncio.TaskGroup() as tasks:
            working = [tasks.create_task(self._once(each, stop), name=f"once {each.name}") for each in self.mirrors]
            unavailable = [exc for exc in [await each for each in working] if exc is not None]
        await self._close()
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

    async def _give_back_orphans(self) -> None:
        for each in self.mirrors:
            orphans = await self.journal.give_back_orphans(each.name, self.now())
            if orphans:
                log.warning("claims.recovered", mirror=each.name, keys=orphans)

    async def _started(self, stop: asyncio.Event) -> bool:
        """Whether every source listens, or has said why it cannot, before `stop`."""
        async with asyncio.TaskGroup() as tasks:
            stopped = tasks.create_task(stop.wait(), name="stop while starting")
            starting = [tasks.create_task(each.intake.started(), name=f"start {each.name}") for each in self.mirrors]
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
        """Wait for the calls in flight, at most `drain_most`."""
        give_up_at = self.now() + self.drain_most
        async with asyncio.TaskGroup() as tasks:
            hurry = tasks.create_task(stop_now.wait(), name="second signal")
            while not all(task.done() for task in dispatching):
                if hurry.done() or self.now() >= give_up_at:
                    for each in self.mirrors:
                        each.dispatcher.cut_short()
                self.notifier.extend_timeout(timedelta(seconds=10))
                await asyncio.wait({*dispatching} if hurry.done() else {*dispatching, hurry}, timeout=0.2)
            hurry.cancel()

    async def _report_to_systemd(self) -> None:
        """Feed the watchdog while every half takes its turns; say what is going on."""
        interval = self.notifier.watchdog_interval or timedelta(seconds=15)
        while True:
            await asyncio.sleep(interval.total_seconds())
            stuck = [each.name for each in self.mirrors if each.dispatcher.stuck_for(self.now()) > STUCK]
            if stuck:
                log.error("service.stuck", mirrors=stuck, action="send the log to the developers; systemd restarts it")
                continue
            self.notifier.watchdog()
            self.notifier.status(self._status())

    async def _close(self) -> None:
        await self.kodo.close()
        for each in self.mirrors:
            each.source.close()
        self.journal.close()

    def _status(self) -> str:
        return "; ".join(_in_words(each) for each in self.mirrors)


async def _survey(mirror: Mirror) -> SourceUnavailable | None:
    try:
        await mirror.intake.survey()
    except SourceUnavailable as exc:
        await mirror.intake.lost(str(exc))
        return exc
    return None


def _in_words(mirror: Mirror) -> str:
    coverage, flying = mirror.intake.coverage, mirror.dispatcher.in_flight
    if mirror.dispatcher.held:
        return f"{mirror.name}: held, Kodo refuses the account or the bucket"
    if coverage.lost_since is not None:
        return f"{mirror.name}: not complete since {coverage.lost_since:%H:%M:%S} UTC, {coverage.lost_reason}"
    if coverage.complete_as_of is None:
        return f"{mirror.name}: first scan, {flying} calls in flight"
    return f"{mirror.name}: complete as of {coverage.complete_as_of:%H:%M:%S} UTC, {flying} calls in flight"

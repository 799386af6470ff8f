"""The mirrors that run: each is started, replaced and stopped on its own, in the direction its data flows."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from mirrord.cdn import Cdn
from mirrord.dispatcher import Dispatcher
from mirrord.gate import Gate
from mirrord.guard import RemovalGuard
from mirrord.intake import Intake
from mirrord.journal.patience import PatientJournal
from mirrord.sources.contract import Source
from mirrord.status.standing import MirrorStanding

log = structlog.get_logger()


class Beside(Protocol):
    """What goes on beside the two halves, such as audits."""

    async def run(self) -> None:
        """Until cancelled."""


async def _nothing() -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Mirror:
    """One origin and its bucket: the two halves that share the journal."""

    name: str
    bucket: str
    operation: str
    source: Source
    intake: Intake
    guard: RemovalGuard
    gate: Gate
    dispatcher: Dispatcher
    cdn: Cdn
    """What is told of keys that were refreshed; one of those beside."""
    feed: str | None = None
    """The source of its feed's cursor; None: it follows none."""
    beside: Mapping[str, Beside] = field(default_factory=dict)
    prepare: Callable[[], Awaitable[None]] = _nothing
    """Before anything of the mirror is recorded or claimed."""

    def standing(self) -> MirrorStanding:
        condition = self.cdn.condition
        return MirrorStanding(
            mirror=self.name,
            bucket=self.bucket,
            operation=self.operation,
            in_flight=self.dispatcher.in_flight,
            allowed=self.gate.allowed,
            held=self.gate.held,
            listening=self.intake.has_started,
            coverage=self.intake.coverage,
            conditions=self.gate.in_force if condition is None else (*self.gate.in_force, condition),
            feed=self.feed,
            cdn_surplus=self.cdn.surplus,
        )


@dataclass(eq=False, slots=True)
class _Afloat:
    """A mirror and the tasks that it consists of."""

    mirror: Mirror
    left: list[asyncio.Task[None]] = field(default_factory=list)
    right: asyncio.Task[None] | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once nothing of it runs any more."""


class Fleet:
    """All mirrors of one service."""

    def __init__(
        self,
        mirrors: Iterable[Mirror],
        *,
        journal: PatientJournal,
        now: Callable[[], datetime],
        drain_most: timedelta,
    ) -> None:
        """`drain_most`: how long calls in flight may take to end once a mirror is to stop."""
        self._afloat = {each.name: _Afloat(each) for each in mirrors}
        self._leaving: list[_Afloat] = []
        self._journal = journal
        self._now = now
        self._drain_most = drain_most
        self._tasks: asyncio.TaskGroup | None = None
        self._stopping = False

    @property
    def mirrors(self) -> list[Mirror]:
        """Those that are to run, in the settings' order."""
        return [each.mirror for each in self._afloat.values()]

    @property
    def in_flight(self) -> int:
        return sum(each.mirror.dispatcher.in_flight for each in self._all())

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Start all of them; `tasks` is where they run, and where they fail."""
        self._tasks = tasks
        for each in self._afloat.values():
            self._start(each)

    async def started(self, names: Collection[str] | None = None) -> None:
        """Wait until the sources of these listen, or have said why they cannot; None: of all."""
        for name, each in list(self._afloat.items()):
            if names is None or name in names:
                await each.mirror.intake.started()

    def become(self, *, stop: Collection[str], start: Sequence[Mirror], order: Sequence[str]) -> None:
        """Stop some, start others. One that takes another's name waits until that one's calls have ended."""
        for name in stop:
            if name in self._afloat:
                self._leave(name)
        leaving = {each.mirror.name: each for each in self._leaving}  # of earlier reloads, too; the last one of a name
        for mirror in start:
            self._afloat[mirror.name] = _Afloat(mirror)
            self._start(self._afloat[mirror.name], after=leaving.get(mirror.name))
        self._afloat = {name: self._afloat[name] for name in order}

    # -- the end ---------------------------------------------------------------------------------------

    def stop(self) -> None:
        """Take nothing in any more and claim nothing more; calls in flight go on."""
        self._stopping = True
        for each in self._afloat.values():
            for task in each.left:
                task.cancel()  # what it had not recorded, the next scan finds
            each.mirror.dispatcher.stop()

    def cut_short(self) -> None:
        """End the calls in flight, too."""
        for each in self._all():
            each.mirror.dispatcher.cut_short()

    def working(self) -> set[asyncio.Task[None]]:
        """What still has calls or settlements to end."""
        return {each.right for each in self._all() if each.right is not None and not each.right.done()}

    async def close(self) -> None:
        for each in self._afloat.values():
            await each.mirror.source.close()

    # -- one of them -----------------------------------------------------------------------------------

    def _all(self) -> Iterator[_Afloat]:
        yield from self._afloat.values()
        yield from self._leaving

    def _start(self, each: _Afloat, after: _Afloat | None = None) -> None:
        assert self._tasks is not None
        create, mirror, prepared = self._tasks.create_task, each.mirror, asyncio.Event()
        each.right = create(self._dispatch(mirror, prepared, after), name=f"dispatcher {mirror.name}")
        each.left = [create(_once(prepared, mirror.intake.follow), name=f"intake {mirror.name}")]
        for what, part in mirror.beside.items():
            each.left.append(create(_once(prepared, part.run), name=f"{what} {mirror.name}"))

    async def _dispatch(self, mirror: Mirror, prepared: asyncio.Event, after: _Afloat | None) -> None:
        if after is not None and not after.ended.is_set():
            log.info("mirror.waiting", mirror=mirror.name, calls_in_flight=after.mirror.dispatcher.in_flight)
            await after.ended.wait()
            if mirror.dispatcher.stopping:
                return  # it comes to nothing: what the journal knows stays as the one before has left it
        await mirror.prepare()
        prepared.set()
        await self.give_back_orphans(mirror)
        await mirror.dispatcher.run()

    async def give_back_orphans(self, mirror: Mirror) -> None:
        """Make due what a service that was killed had claimed."""
        orphans = await self._journal.give_back_orphans(mirror.name, self._now(), mirror.intake.rules)
        if orphans:
            log.warning("claims.recovered", mirror=mirror.name, keys=orphans)

    def _leave(self, name: str) -> None:
        """Let it end by itself, however long its calls take."""
        assert self._tasks is not None
        each = self._afloat.pop(name)
        self._leaving.append(each)
        self._tasks.create_task(self._end(each), name=f"stop {name}")

    async def _end(self, each: _Afloat) -> None:
        right = each.right
        assert right is not None
        for task in each.left:
            task.cancel()
        await asyncio.wait(each.left)
        each.mirror.dispatcher.stop()
        _, pending = await asyncio.wait({right}, timeout=self._drain_most.total_seconds())
        if pending:
            each.mirror.dispatcher.cut_short()
            await asyncio.wait({right})
        await each.mirror.source.close()
        self._leaving.remove(each)
        each.ended.set()
        log.info("mirror.stopped", mirror=each.mirror.name)


async def _once(prepared: asyncio.Event, run: Callable[[], Awaitable[None]]) -> None:
    await prepared.wait()
    await run()

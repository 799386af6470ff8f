"""A journal for the running service: what may heal is waited out, said once, and nothing that waits is lost."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Self, TypeVar

import sqlalchemy as sa
import structlog

from mirrord.decisions.staleness import IntakeRules, Settlement
from mirrord.journal.database import BUSY_TIMEOUT
from mirrord.journal.errors import JournalFull, JournalUnavailable
from mirrord.journal.store import Journal
from mirrord.model.row import ObjectRow

log = structlog.get_logger()

T = TypeVar("T")

FIRST_PAUSE = timedelta(seconds=0.5)
LONGEST_PAUSE = timedelta(seconds=10)
PATIENCE = timedelta(seconds=30)
"""For who waits at a terminal; the service lifts it."""


class Outage:
    """From the first write or read that failed until all that wait went through: one line at each end.

    Writes wait in the loop, reads in the threads of scans: every method may be called from any thread.
    """

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._waiting = 0
        self._ended_at: datetime | None = None
        self._outlasted: JournalUnavailable | None = None
        self.patience: timedelta | None = PATIENCE
        """Nobody waits in an outage that has lasted this long; None: there is no end to it."""
        self.since: datetime | None = None
        self.reason: str | None = None
        """Why the last try failed; None while there is no outage."""

    def well_for(self, now: datetime) -> timedelta:
        """How long ago the last outage ended: nothing while there is one, for ever when there was none."""
        if self.since is not None:
            return timedelta(0)
        return timedelta.max if self._ended_at is None else now - self._ended_at

    def check(self) -> None:
        """Raise when somebody gave up: the next would wait as long for a lock, and the end of the service with it."""
        if self._outlasted is not None:
            raise JournalUnavailable(self._outlasted.reason, action=self._outlasted.action, may_heal=True)

    def joined(self, exc: JournalUnavailable, *, anew: bool) -> timedelta | None:
        """Somebody failed, `anew` or as before; how much longer to try, None: for ever. Raises `exc` when no longer."""
        if not exc.may_heal:
            raise exc
        with self._lock:
            began, lasted = self.since is None, timedelta(0)
            if self.since is None:
                self.since = self._now()
            else:
                lasted = self._now() - self.since
            self.reason = exc.reason
            over = self.patience is not None and lasted >= self.patience
            self._waiting += anew and not over
            if over:
                self._outlasted = exc
        if began:
            log.error(
                "journal.unavailable",
                reason=exc.reason,
                action=f"{exc.action}; mirrord tries again by itself and reports nothing as fresh meanwhile",
            )
        if over:
            raise exc
        return None if self.patience is None else self.patience - lasted

    def left(self, *, waited: bool, succeeded: bool) -> None:
        """Somebody is through, or no longer wants to be."""
        with self._lock:
            self._waiting -= waited
            # what writes nothing succeeds on a full disk, too: the last one that had failed says that it is over
            if self.since is None or self._waiting or self._outlasted or not succeeded:
                return
            self._ended_at = self._now()
            lasted, reason = self._ended_at - self.since, self.reason
            self.since = self.reason = None
        log.info("journal.recovered", lasted_s=round(lasted.total_seconds(), 3), reason=reason)


class Try:
    """One write or read, tried until it succeeds."""

    __slots__ = ("_outage", "_pause", "_tried", "_waits")

    def __init__(self, outage: Outage) -> None:
        self._outage = outage
        self._pause = FIRST_PAUSE
        self._tried = 0
        self._waits = False

    def __enter__(self) -> Self:
        self._outage.check()
        return self

    def __exit__(self, kind: type[BaseException] | None, _exc: BaseException | None, _at: TracebackType | None) -> None:
        self._outage.left(waited=self._waits, succeeded=kind is None)

    def failed(self, exc: JournalUnavailable) -> float:
        """How many seconds to wait before the next try. Raises `exc` when there shall be none."""
        self._tried += 1
        if isinstance(exc, JournalFull) and self._tried == 1:
            return 0.0  # else a journal that makes room for itself would be lost and recovered all the time
        most = self._outage.joined(exc, anew=not self._waits)
        self._waits = True
        pause, self._pause = self._pause, min(2 * self._pause, LONGEST_PAUSE)
        return (pause if most is None else min(pause, most)).total_seconds()


class PatientJournal(Journal):
    """Tries again what may heal, such as a full disk; raises JournalUnavailable for the rest, and past its patience."""

    def __init__(
        self,
        url: str,
        *,
        now: Callable[[], datetime],
        busy_timeout: timedelta = BUSY_TIMEOUT,
        committed: Callable[[float], None] = lambda _seconds: None,
    ) -> None:
        super().__init__(url, busy_timeout=busy_timeout, committed=committed)
        self._outage = Outage(now)
        self._unrecorded = 0
        self._hurried = asyncio.Event()
        self._given_up = threading.Event()

    @property
    def trouble(self) -> str | None:
        """Why it cannot be used at present; None while it can."""
        return self._outage.reason

    def well_for(self, now: datetime) -> timedelta:
        """How long nobody has had to wait for it."""
        return self._outage.well_for(now)

    def wait_for_ever(self) -> None:
        """From now on an outage may last as long as it likes, until `give_up`."""
        self._outage.patience = None

    def give_up(self) -> None:
        """The service ends: wait for nothing any more. Settlements that fail once more are counted.

        So dispatchers end as they always do, each attempt with its line, and `loss` says what is missing.
        """
        self._outage.patience = timedelta(0)
        self._given_up.set()
        self._hurried.set()

    @property
    def loss(self) -> JournalUnavailable | None:
        """What must be said of a service that ends in an outage; None when everything was recorded."""
        if self._outage.reason is None and not self._unrecorded:
            return None
        reason = self._outage.reason or f"{self.name}: was unavailable"
        return JournalUnavailable(
            f"{reason}; settlements not recorded: {self._unrecorded}",
            action=(
                "their keys count as stale and are asked for again at the next start"
                if self._unrecorded
                else "changes that were still waiting are found by the next scan"
            ),
        )

    # -- what a dispatcher needs to end ----------------------------------------------------------------

    async def settle_and_claim(
        self,
        ends: Sequence[Settlement],
        rules: IntakeRules,
        *,
        mirror: str,
        now: datetime,
        most: int,
        lease: timedelta,
    ) -> list[ObjectRow]:
        try:
            return await super().settle_and_claim(ends, rules, mirror=mirror, now=now, most=most, lease=lease)
        except JournalUnavailable as exc:
            self._only_when_given_up(exc)
            self._unrecorded += sum(end.attempted for end in ends)
            return []

    async def next_due(self, mirror: str) -> datetime | None:
        try:
            return await super().next_due(mirror)
        except JournalUnavailable as exc:
            self._only_when_given_up(exc)
            return None

    async def give_back_orphans(self, mirror: str, now: datetime, rules: IntakeRules) -> int:
        try:
            return await super().give_back_orphans(mirror, now, rules)
        except JournalUnavailable as exc:
            self._only_when_given_up(exc)
            return 0

    def _only_when_given_up(self, exc: JournalUnavailable) -> None:
        if not (self._given_up.is_set() and exc.may_heal):
            raise exc

    # -- plumbing --------------------------------------------------------------------------------------

    async def _write(self, work: Callable[[sa.Connection], T]) -> T:
        with Try(self._outage) as attempt:
            while True:
                try:
                    return await super()._write(work)
                except JournalUnavailable as exc:
                    pause_s = attempt.failed(exc)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):
                        await self._hurried.wait()

    def _page(self, mirror: str, begins: sa.ColumnElement[bool], ends: str | None) -> list[Any]:
        with Try(self._outage) as attempt:
            while True:
                try:
                    return super()._page(mirror, begins, ends)
                except JournalUnavailable as exc:
                    pause_s = attempt.failed(exc)
                self._given_up.wait(pause_s)

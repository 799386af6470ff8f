"""The removal guard's timing and words, in a time that passes only while nobody has anything to do."""

import asyncio
import selectors
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from mirrord.decisions.removals import SETTLE, SETTLE_MOST, Decision, RemovalLimit
from mirrord.decisions.staleness import OnRemoved
from mirrord.guard import RemovalGuard

QUIET_S = SETTLE.total_seconds()
LIMIT = RemovalLimit(count=7, fraction=0.25)


class _Hurried(selectors.SelectSelector):
    """Waits for nothing: what a loop would wait has passed."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        self.now += timeout or 0.0
        return super().select(0)


class _HurriedLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._hurried = _Hurried()
        super().__init__(self._hurried)

    def time(self) -> float:
        return self._hurried.now


class Decisions:
    """The part of a journal that a guard needs: decides as it is told, and remembers when it was asked."""

    def __init__(self) -> None:
        self.next: Decision = Decision()
        self.decided_at: list[float] = []
        self.released: list[bool] = []
        """Of every release, whether it dropped."""
        self.while_deciding: Callable[[], None] = lambda: None
        """Happens once, before the next decision is known."""

    async def decide_removals(self, mirror: str, _now: datetime, limit: RemovalLimit) -> Decision:
        assert (mirror, limit) == ("docs", LIMIT)
        self.decided_at.append(asyncio.get_running_loop().time())
        happens, self.while_deciding = self.while_deciding, lambda: None
        happens()
        return self.next

    async def release(self, _mirror: str, _now: datetime, *, drop: bool) -> int:
        self.released.append(drop)
        return 0


class Watched:
    """A guard at work."""

    def __init__(self, on_removed: OnRemoved = OnRemoved.DELETE) -> None:
        self.journal = Decisions()
        self.due = 0
        self.guard = RemovalGuard(
            mirror="docs",
            journal=self.journal,  # type: ignore[arg-type]  # only what a guard asks of it
            on_removed=on_removed,
            limit=LIMIT,
            now=lambda: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=asyncio.get_running_loop().time()),
            due=self._count_due,
        )

    def _count_due(self) -> None:
        self.due += 1

    async def notices_every(self, seconds: float, times: int) -> None:
        for _ in range(times):
            self.guard.notice()
            await asyncio.sleep(seconds)


def watching(watched: Watched, work: Callable[[], Awaitable[None]]) -> list[Any]:
    """Run `work` while the guard watches; the log lines."""

    async def run() -> None:
        async with asyncio.TaskGroup() as tasks:
            guard = tasks.create_task(watched.guard.watch())
            await work()
            guard.cancel()

    with capture_logs() as lines, asyncio.Runner(loop_factory=_HurriedLoop) as runner:
        runner.run(run())
    return lines


def test_what_an_earlier_service_left_is_decided_at_the_start() -> None:
    watched = Watched()
    watched.journal.next = Decision(going=2)

    lines = watching(watched, lambda: asyncio.sleep(1000))

    assert watched.journal.decided_at == [0]
    assert watched.due == 1
    assert lines == []


def test_a_burst_is_decided_as_a_whole_once_it_has_been_quiet() -> None:
    watched = Watched()

    async def burst() -> None:
        await asyncio.sleep(10)
        await watched.notices_every(0.5, 8)
        await asyncio.sleep(1000)

    watching(watched, burst)

    last_notice_at = 10 + 7 * 0.5
    assert watched.journal.decided_at[0] == 0
    (decided_at,) = watched.journal.decided_at[1:]
    assert last_notice_at + QUIET_S <= decided_at <= last_notice_at + 2 * QUIET_S


def test_a_burst_that_does_not_end_is_decided_in_time() -> None:
    watched = Watched()

    watching(watched, lambda: watched.notices_every(0.5, 200))

    gaps = [after - before for before, after in zip(watched.journal.decided_at, watched.journal.decided_at[1:])]  # noqa: B905
    assert len(gaps) >= 3
    assert max(gaps) <= SETTLE_MOST.total_seconds() + 0.5


def test_a_removal_noticed_while_others_are_decided_is_decided_after_them() -> None:
    watched = Watched()

    async def late() -> None:
        await asyncio.sleep(5)
        watched.journal.while_deciding = watched.guard.notice
        watched.guard.notice()
        await asyncio.sleep(100)

    watching(watched, late)

    assert len(watched.journal.decided_at) == 3


def test_held_removals_are_one_line_that_says_what_to_do() -> None:
    watched = Watched()
    watched.journal.next = Decision(held=9, sample=("a", "b"))

    async def again() -> None:
        for _ in range(4):
            await asyncio.sleep(60)
            watched.guard.notice()

    (line,) = watching(watched, again)

    assert len(watched.journal.decided_at) == 4
    assert watched.due == 0
    assert (line["event"], line["log_level"], line["mirror"]) == ("removals.held", "error", "docs")
    assert (line["count"], line["sample"], line["limit_count"], line["limit_fraction"]) == (9, ["a", "b"], 7, 0.25)
    for part in ("mirrord release docs", "--drop"):
        assert part in line["action"]


@pytest.mark.parametrize(
    ("then", "counts"),
    [
        pytest.param([Decision(held=9, sample=("a",))], [9], id="the-same"),
        pytest.param([Decision(held=10, sample=("a",))], [9, 10], id="more"),
        pytest.param([Decision(held=8, sample=("a",))], [9, 8], id="fewer"),
        pytest.param([Decision(held=9, sample=("z",))], [9, 9], id="as-many-others"),
        pytest.param([Decision(), Decision(held=9, sample=("a",))], [9, 9], id="released-and-again"),
    ],
)
def test_held_removals_are_said_again_when_they_are_others(then: list[Decision], counts: list[int]) -> None:
    watched = Watched()
    watched.journal.next = Decision(held=9, sample=("a",))

    async def change() -> None:
        await asyncio.sleep(1)
        for decision in then:
            watched.journal.next = decision
            watched.guard.notice()
            await asyncio.sleep(60)

    lines = watching(watched, change)

    assert [line["count"] for line in lines] == counts


def test_under_keep_what_was_held_is_forgotten() -> None:
    watched = Watched(OnRemoved.KEEP)

    async def remove() -> None:
        watched.guard.notice()
        await asyncio.sleep(60)

    lines = watching(watched, remove)

    assert watched.journal.decided_at == []
    assert set(watched.journal.released) == {True}
    assert (watched.due, lines) == (0, [])

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from mirrord.model.change import Rejection
from mirrord.model.mention import Mention
from mirrord.sources.feed.deliveries import Deliveries
from mirrord.sources.feed.webhook import Parsed
from tests.sources.feed.listening import Journal, until


def _of(name: str) -> Parsed:
    return Parsed(mentions=[Mention(name=name)], bad=[Rejection(name=f"bad {name}", reason="so")])


def _with(act: Callable[[Deliveries, Journal, asyncio.TaskGroup], Coroutine[Any, Any, None]]) -> Journal:
    """Do something with deliveries that are recorded; what was."""
    journal = Journal()

    async def whole() -> None:
        deliveries = Deliveries(journal.take)
        async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
            running = tasks.create_task(deliveries.run())
            await act(deliveries, journal, tasks)
            running.cancel()

    asyncio.run(whole())
    return journal


def test_what_came_in_the_meantime_is_recorded_together_and_in_order() -> None:
    async def act(deliveries: Deliveries, journal: Journal, tasks: asyncio.TaskGroup) -> None:
        journal.gate.clear()
        putting = [tasks.create_task(deliveries.put(_of("0")))]
        await journal.asked.wait()
        putting += [tasks.create_task(deliveries.put(_of(str(n)))) for n in range(1, 6)]
        await until(lambda: deliveries.waiting == 6)
        assert not any(each.done() for each in putting)
        journal.gate.set()

        assert [await each for each in putting] == [True] * 6
        assert deliveries.waiting == 0

    journal = _with(act)

    assert [[each.name for each in parsed.mentions] for parsed in journal.taken] == [["0"], ["1", "2", "3", "4", "5"]]
    assert [each.name for each in journal.taken[1].bad] == [f"bad {n}" for n in range(1, 6)]


def test_what_is_taken_back_is_not_recorded() -> None:
    async def act(deliveries: Deliveries, journal: Journal, tasks: asyncio.TaskGroup) -> None:
        journal.gate.clear()
        first = tasks.create_task(deliveries.put(_of("0")))
        await journal.asked.wait()
        second = tasks.create_task(deliveries.put(_of("1")))
        third = tasks.create_task(deliveries.put(_of("2")))
        await until(lambda: deliveries.waiting == 3)
        second.cancel()
        first.cancel()  # too late: it is under way
        await until(lambda: deliveries.waiting == 1)
        journal.gate.set()
        assert await third

    journal = _with(act)

    assert [each.name for each in journal.mentions] == ["0", "2"]


def test_whoever_waits_when_it_ends_is_told_so() -> None:
    journal = Journal()
    journal.gate.clear()

    async def whole() -> None:
        deliveries = Deliveries(journal.take)
        async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
            running = tasks.create_task(deliveries.run())
            first = tasks.create_task(deliveries.put(_of("0")))
            await journal.asked.wait()
            second = tasks.create_task(deliveries.put(_of("1")))
            await until(lambda: deliveries.waiting == 2)
            running.cancel()

            assert [await first, await second, await deliveries.put(_of("2"))] == [False] * 3

    asyncio.run(whole())


def test_it_can_be_run_again() -> None:
    journal = Journal()

    async def whole() -> None:
        deliveries = Deliveries(journal.take)
        async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
            for name in ("a", "b"):
                running = tasks.create_task(deliveries.run())
                await asyncio.sleep(0)
                assert await deliveries.put(_of(name))
                running.cancel()
                await asyncio.wait([running])

    asyncio.run(whole())

    assert [each.name for each in journal.mentions] == ["a", "b"]


def test_a_fault_of_who_records_ends_it_and_answers_all() -> None:
    async def broken(_: Parsed) -> None:
        raise RuntimeError("a bug")

    async def whole() -> None:
        deliveries = Deliveries(broken)
        async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
            putting = tasks.create_task(deliveries.put(_of("0")))
            with pytest.raises(RuntimeError, match="a bug"):
                await deliveries.run()
            assert await putting is False

    asyncio.run(whole())

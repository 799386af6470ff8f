"""Routes by address and by whose they are, to the listeners that serve them; both may come and go while they run."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog

from mirrord.listening import ListenerUnavailable

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

    from mirrord.listener import Listener

log = structlog.get_logger()

AGAIN_AFTER = timedelta(seconds=10)
"""When an address that could not be had while the service runs is tried again."""


@dataclass(eq=False, slots=True)
class _Door:
    owned: dict[str, Sequence["BaseRoute"]] = field(default_factory=dict)
    routes: list["BaseRoute"] = field(default_factory=list)
    """All of them; the listener looks here at every request."""
    listener: "Listener | None" = None
    task: asyncio.Task[None] | None = None


class Doors:
    """Where others may come to us."""

    def __init__(self) -> None:
        self._doors: dict[str, _Door] = {}
        self._tasks: asyncio.TaskGroup | None = None

    def open(self, address: str, owner: str, routes: Sequence["BaseRoute"]) -> None:
        """Serve these, too; in the place of what was the owner's there."""
        door = self._doors.setdefault(address, _Door())
        door.owned[owner] = routes
        door.routes[:] = [route for each in door.owned.values() for route in each]

    def shut(self, owner: str) -> None:
        """Serve nothing of this owner's any more; where nothing is left, it is listened until `renew`."""
        for door in self._doors.values():
            door.owned.pop(owner, None)
            door.routes[:] = [route for each in door.owned.values() for route in each]

    # -- listening -------------------------------------------------------------------------------------

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Listen wherever there are routes, or fail."""
        self._tasks = tasks
        for address, door in self._doors.items():
            door.listener = _listener(address, door.routes)
            door.task = tasks.create_task(door.listener.run(), name=f"listen {address}")

    async def started(self) -> None:
        """Returns when all of them listen. Raises ListenerUnavailable when one never will."""
        for door in self._doors.values():
            if door.listener is not None:
                await door.listener.started()

    def renew(self) -> None:
        """Listen where routes have come since, no longer where none are left."""
        assert self._tasks is not None
        for address in [address for address, door in self._doors.items() if not door.owned]:
            task = self._doors.pop(address).task
            if task is not None:
                task.cancel()
        for address, door in self._doors.items():
            if door.task is None:
                door.listener = _listener(address, door.routes)
                door.task = self._tasks.create_task(_insist(door.listener), name=f"listen {address}")

    def stop(self) -> None:
        """Listen nowhere."""
        for door in self._doors.values():
            if door.task is not None:
                door.task.cancel()


def _listener(address: str, routes: "list[BaseRoute]") -> "Listener":
    from mirrord.listener import Listener  # noqa: PLC0415 - a tenth of the whole start

    host, _, port = address.rpartition(":")
    return Listener(host, int(port), routes)


async def _insist(listener: "Listener") -> None:
    """What a reload asked for may not be had: that ends nothing that runs."""
    said = None
    while True:
        try:
            await listener.run()
        except ListenerUnavailable as exc:
            reason = str(exc)
        if reason != said:
            action = "free the address or set another one; it is tried again by itself"
            log.error("listener.failed", address=listener.address, reason=reason, action=action)
            said = reason
        await asyncio.sleep(AGAIN_AFTER.total_seconds())

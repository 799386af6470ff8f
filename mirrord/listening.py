"""What listens, to those who own it and who wait for it; `listener.py` is what does, and slow to import."""

from typing import Protocol


class ListenerUnavailable(Exception):
    """Nothing can listen there; the sentence says where and why."""


class Listening(Protocol):
    """A part of the outside that may call us."""

    @property
    def address(self) -> str: ...

    async def run(self) -> None:
        """Until cancelled. Raises ListenerUnavailable."""

    async def started(self) -> None:
        """Returns when it listens. Raises ListenerUnavailable when it never will."""

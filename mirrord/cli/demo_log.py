"""The service's JSON log to events that can be waited for, while the file keeps every line."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

MOST_UNREAD = 10_000


class ServiceEnded(Exception):
    """The log ended where a line was waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A `refresh.attempted` line. Times are seconds since 1970."""

    key: str
    outcome: str
    status: int | None
    reqid: str | None
    error: str | None
    began: float
    ended: float
    lag_s: float

    @property
    def refreshed(self) -> bool:
        return self.outcome == "refreshed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Any other line."""

    name: str
    level: str
    fields: Mapping[str, Any]


class ServiceLog:
    """What the service has said, one start after the other."""

    def __init__(self, file: Path) -> None:
        self._file = file.open("ab", buffering=0)
        self._unread: asyncio.Queue[Attempt | Event | None] = asyncio.Queue(MOST_UNREAD)
        self.attempts: list[Attempt] = []
        """All that were read by `next`."""

    async def take_in(self, stream: asyncio.StreamReader) -> None:
        """Read one start's log to its end."""
        async for line in stream:
            self._file.write(line)
            said = parsed(line)
            if said is not None:
                await self._unread.put(said)
        await self._unread.put(None)

    async def next(self) -> Attempt | Event:
        """The next line, as soon as it is there. Raises ServiceEnded after a start's last one."""
        said = await self._unread.get()
        if said is None:
            raise ServiceEnded
        if isinstance(said, Attempt):
            self.attempts.append(said)
        return said

    def close(self) -> None:
        self._file.close()


def parsed(line: bytes) -> Attempt | Event | None:
    """None: not an event, but, say, a line of a traceback."""
    try:
        fields = orjson.loads(line)
        name, level = fields["event"], fields["level"]
    except (orjson.JSONDecodeError, TypeError, KeyError):
        return None
    if name != "refresh.attempted":
        return Event(name=name, level=level, fields=fields)
    ended = datetime.fromisoformat(fields["timestamp"]).timestamp()
    return Attempt(
        key=fields["key"],
        outcome=fields["outcome"],
        status=fields["status"],
        reqid=fields["reqid"],
        error=fields["error"],
        began=ended - fields["duration_s"],
        ended=ended,
        lag_s=fields["lag_s"],
    )

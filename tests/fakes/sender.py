"""A wire without a network: it says what each server was told to say, and remembers who was asked for what."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import orjson

from mirrord.kodo.exchange import Answer, Base, NoAnswer
from mirrord.model.attempt import Silence

UNREACHABLE = NoAnswer(Silence.CONNECT_FAILED, "no connection", 0.0)
BROKEN = NoAnswer(Silence.BROKEN, "hung up", 0.0)
LATE = NoAnswer(Silence.TIMED_OUT, "no answer in time", 0.0)


def answer(said: object = None, status: int = 200, **headers: str) -> Answer:
    """An answer of Kodo's; `x_reqid=""` takes its X-Reqid away."""
    body = b"" if said is None else said if isinstance(said, bytes) else orjson.dumps(said)
    given = {"x-reqid": "abc", "content-type": "application/json"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    return Answer(status, {name: value for name, value in given.items() if value}, body, 0.0)


@dataclass(frozen=True)
class Sent:
    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    read: timedelta | None

    @property
    def host(self) -> str:
        return self.url.partition("://")[2].partition("/")[0]


@dataclass
class FakeSender:
    """Implements mirrord.kodo.exchange.Sender. `says` has an answer for each authority; no other is reachable."""

    says: dict[str, Answer | NoAnswer] = field(default_factory=dict)
    sent: list[Sent] = field(default_factory=list)
    on_sent: Callable[[Sent], None] = lambda _: None
    closed: bool = False

    @property
    def hosts(self) -> list[str]:
        """Who was asked, in order."""
        return [each.host for each in self.sent]

    async def send(
        self,
        method: str,
        base: Base,
        target: str,
        headers: Mapping[str, str],
        body: bytes = b"",
        *,
        read: timedelta | None = None,
    ) -> Answer | NoAnswer:
        self.sent.append(Sent(method, f"{base}{target}", dict(headers), body, read))
        self.on_sent(self.sent[-1])
        await asyncio.sleep(0)  # a real one lets others run, too
        return self.says.get(base.authority, UNREACHABLE)

    async def close(self) -> None:
        self.closed = True

"""What goes over the wire and comes back, as values; `wire.py` moves them, and is slow to import."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol
from urllib.parse import urlsplit

from mirrord.model.attempt import Silence


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long to wait for a connection (with TLS), and then for the whole answer."""

    connect: timedelta
    read: timedelta


@dataclass(frozen=True, slots=True)
class Base:
    """Where a service answers: `https` and `iovip.qiniuio.com`, with a port when there is one."""

    scheme: str
    authority: str

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}"


def base_of(url: str) -> Base:
    """The scheme and authority of a URL; a path does not count, Kodo's begin at the root."""
    parsed = urlsplit(url)
    host, port = parsed.hostname or "", parsed.port
    if ":" in host:
        host = f"[{host}]"
    default = 443 if parsed.scheme == "https" else 80
    return Base(parsed.scheme, host if port in (None, default) else f"{host}:{port}")


@dataclass(frozen=True, slots=True)
class Answer:
    """A server's answer, whatever its status. Header names are lower-case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    duration_s: float


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """Why there is none, in kind and in words."""

    silence: Silence
    error: str
    duration_s: float


class Sender(Protocol):
    """What can ask a server once: Wire, or what opens one when it is first needed."""

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
        """`read` is how long this one answer may take; None: what the settings say."""

    async def close(self) -> None: ...

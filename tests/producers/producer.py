"""What every producer of a change feed is to the tests that run over all of them."""

import json
from collections.abc import Mapping
from typing import Protocol


class Producer(Protocol):
    """An origin and its feed. Both are there when its block begins, and its processes are gone when it ends."""

    name: str
    origin_url: str
    """Where the content is, percent-encoded keys below it; ends without a slash."""
    keeps_history: bool
    """Whether after `kill` and `start` the feed still tells all that it told before."""
    takes_while_down: bool
    """Whether `publish` and `remove` work between `stop` or `kill` and `start`; the feed then tells of it later."""

    def settings(self) -> str:
        """The lines of [mirror.source] that follow this feed, as TOML."""

    def publish(self, key: str, content: bytes) -> None:
        """On return the origin has this content, and then the feed says so (or is about to, where it pushes)."""

    def remove(self, key: str) -> None:
        """The same, for a key that the origin answers with 404 from now on."""

    def start(self) -> None:
        """Serve the feed again, on the port that it had; on return it answers."""

    def stop(self) -> None:
        """End what serves the feed as an operator does; on return it has ended."""

    def kill(self) -> None:
        """The same with SIGKILL."""


def toml(**settings: str | int | bool | Mapping[str, str]) -> str:
    """Settings of one feed, a line each."""
    return "".join(f"{name} = {_value(value)}\n" for name, value in {"kind": "feed", **settings}.items())


def _value(value: str | int | bool | Mapping[str, str]) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(name)} = {json.dumps(text)}" for name, text in value.items()) + " }"
    return json.dumps(value)

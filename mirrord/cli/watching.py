"""Looks at the mirrors, one after the other until a signal, to a screen, to tables or to lines of JSON."""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from mirrord.cli.overview import Overview

PAUSE_FACTOR = 10
"""A look at a journal of a million rows takes a while: so many times that passes before the next."""


class _Ended(BaseException):
    """A signal came: as KeyboardInterrupt, but of any signal."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def watched(look: "Callable[[], Overview]", document: "Callable[[Overview], Any] | None", period: timedelta) -> int:
    """Look and show until SIGINT or SIGTERM; the exit code. With `document`, one line of JSON for each look.

    Raises what `look` raises.
    """
    try:
        with _signals_raised(), _shown(document) as show:
            while True:
                began = time.monotonic()
                overview = look()
                took_s = time.monotonic() - began
                show(overview)
                time.sleep(pause_s(period, took_s))
    except _Ended as ended:
        return 128 + ended.number


def pause_s(period: timedelta, took_s: float) -> float:
    """How long to wait after a look that took so long."""
    return max(period.total_seconds(), PAUSE_FACTOR * took_s)


@contextmanager
def _signals_raised() -> Iterator[None]:
    def raise_it(number: int, _frame: FrameType | None) -> NoReturn:
        raise _Ended(number)

    before = {number: signal.signal(number, raise_it) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _shown(document: "Callable[[Overview], Any] | None") -> "Iterator[Callable[[Overview], None]]":
    """What shows a look; on a terminal the screen is as before when the block ends."""
    if document is not None:
        import orjson

        yield lambda overview: _line(orjson.dumps(document(overview)).decode())
        return
    from mirrord.cli.overview import show
    from mirrord.cli.tables import console

    if not sys.stdout.isatty():

        def print_below(overview: "Overview") -> None:
            _line(f"{overview.at:%Y-%m-%d %H:%M:%S}Z")
            show(overview, console())
            _line("")

        yield print_below
        return
    with console().screen():
        yield lambda overview: _redraw(overview, console())


def _line(text: str) -> None:
    typer.echo(text)  # which flushes


def _redraw(overview: "Overview", out: "Console") -> None:
    from mirrord.cli.overview import show
    from mirrord.cli.tables import height

    with out.capture() as captured:
        show(overview, out)
    lines = captured.get().rstrip("\n").split("\n")
    room = max(2, height() - 2)  # the heading is above, and below is where the cursor stays
    if len(lines) > room:
        lines = [*lines[: room - 1], f"… {len(lines) - room + 1} more lines; `mirrord status` shows all"]
    head = f"mirrord status  {overview.at:%Y-%m-%d %H:%M:%S}Z  Ctrl-C ends it"
    # home, each line and what was there to its right, then what was there below: nothing flickers
    sys.stdout.write("\x1b[H" + "".join(f"{line}\x1b[K\n" for line in [head, *lines]) + "\x1b[J")
    sys.stdout.flush()

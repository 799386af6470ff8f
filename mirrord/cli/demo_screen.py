"""What the demo shows: steps, attempts as they come, and a bar while somebody waits on a terminal."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from mirrord.cli.demo_log import Attempt

SHOWN = 4
"""Attempts of one burst that get a line; any that is not a success always does."""
_PLAIN_WIDTH = 80
_BEFORE_KEY = 54


class _Console(Console):
    """Ends quietly when nobody reads any more, as in `| head`; the stock one ends the process on the spot."""

    gone: Callable[[], None]

    def on_broken_pipe(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        self.gone()


class Screen:
    """Lines on stdout: plain text anywhere, colours and a bar on a terminal only."""

    def __init__(self, gone: Callable[[], None]) -> None:
        """`gone` is called when nobody reads the lines any more."""
        terminal = sys.stdout.isatty()
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(errors="replace")  # a locale without our letters must not end the demo
        self._console = _Console(highlight=False, markup=False, emoji=False, soft_wrap=True, force_terminal=terminal)
        self._console.gone = gone
        self._width = max(self._console.width, _BEFORE_KEY + 10) if terminal else _PLAIN_WIDTH
        self._moving = terminal and "CI" not in os.environ and os.environ.get("TERM") != "dumb"
        self._steps = 0
        self._shown = 0
        self._hidden: list[tuple[Attempt, float]] = []

    # -- lines -----------------------------------------------------------------------------------------

    def say(self, line: str = "", style: str = "") -> None:
        self._console.print(Text(line, style))

    def step(self, title: str) -> None:
        self._steps += 1
        self.say()
        self.say(f"{self._steps}. {title}", "bold")

    def note(self, line: str, style: str = "dim") -> None:
        self.fold()
        self.say(f"  {line}", style)

    def columns(self) -> None:
        self.say("  at        status         X-Reqid             after  key", "dim")

    def attempt(self, attempt: Attempt, after_s: float) -> None:
        """A line; past SHOWN of them only counted."""
        if self._shown >= SHOWN and attempt.refreshed:
            self._hidden.append((attempt, after_s))
            return
        self._shown += 1
        self._row(attempt, after_s)

    def fold(self) -> None:
        """End a burst: say how many attempts got no line."""
        if len(self._hidden) == 1:
            self._row(*self._hidden[0])
        elif self._hidden:
            slowest_s = max(after_s for _, after_s in self._hidden)
            self.say(f"  … and {len(self._hidden)} more 200 refreshed, the slowest after {slowest_s:.2f} s", "dim")
        self._hidden, self._shown = [], 0

    def _row(self, attempt: Attempt, after_s: float) -> None:
        status = "---" if attempt.status is None else attempt.status
        row = Text(f"  {datetime.fromtimestamp(attempt.ended).astimezone():%H:%M:%S}  ")
        row.append(f"{status} {attempt.outcome:<9}", "green" if attempt.refreshed else "red")
        row.append(f"  {attempt.reqid or '-':<16}  ")
        row.append(f"{after_s:5.2f} s  ", "cyan")
        row.append(_fitting(attempt.key, self._width - cell_len(row.plain)))
        if not attempt.refreshed and attempt.error:
            row.append(f": {attempt.error}", "red")
        self._console.print(row)

    # -- waiting ---------------------------------------------------------------------------------------

    @contextmanager
    def waiting(self, total: int) -> Iterator["Bar"]:
        """A bar below the lines while the block runs."""
        columns = (TextColumn(" "), BarColumn(), MofNCompleteColumn(), TextColumn("refreshed"), TimeElapsedColumn())
        with Progress(*columns, console=self._console, transient=True, disable=not self._moving) as bars:
            yield Bar(bars, total)


class Bar:
    """Keys refreshed of keys touched."""

    def __init__(self, bars: Progress, total: int) -> None:
        self._bars = bars
        self._task = bars.add_task("", total=total)

    def move(self, done: int) -> None:
        self._bars.update(self._task, completed=done)


def _fitting(key: str, width: int) -> str:
    """The key without control characters, and without its beginning where all of it does not fit."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in key)
    if cell_len(shown) <= width:
        return shown
    while shown and cell_len(shown) >= width:
        shown = shown[1:]
    return f"…{shown}"

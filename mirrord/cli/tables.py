"""Sentences, keys and tables to a stream: no wider than it, nothing cut, nothing that a terminal obeys."""

import os
import re
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, TextIO

import typer
from rich.cells import cell_len, chop_cells

if TYPE_CHECKING:
    from rich.console import Console

USUAL_WIDTH = 80
USUAL_HEIGHT = 24
NARROWEST = 20
HANG = 4
"""How far the lines below the first are indented."""

_BLANK = "\ue000"
"""Stands for a blank at which no line may end; as wide as one."""
_PARTS = re.compile(r"\$'(?:\\.|[^'\\])*'|'[^']*'|\"[^\"]*\"|\\.|[^'\"\\]")
_UNITS = {"$'": re.compile(r"\\x..|\\u.{4}|\\U.{8}|\\.|."), "'": re.compile("."), '"': re.compile(".")}


def width(stream: TextIO | None = None) -> int:
    """Cells in a line of `stream`, else of stdout: $COLUMNS, else the terminal's, else 80."""
    asked_for = os.environ.get("COLUMNS", "")
    if asked_for.isascii() and asked_for.isdecimal() and int(asked_for):
        return max(NARROWEST, int(asked_for))
    stream = stream or sys.stdout
    if not stream.isatty():
        return USUAL_WIDTH
    try:
        return max(NARROWEST, os.get_terminal_size(stream.fileno()).columns or USUAL_WIDTH)
    except OSError:
        return USUAL_WIDTH


def height(stream: TextIO | None = None) -> int:
    """Lines of the terminal that `stream` is, else stdout; of one that does not tell, 24."""
    stream = stream or sys.stdout
    try:
        return os.get_terminal_size(stream.fileno()).lines or USUAL_HEIGHT
    except (OSError, ValueError):
        return USUAL_HEIGHT


def console() -> "Console":
    """Stdout as rich sees it: colours on a terminal only, and none with NO_COLOR, FORCE_COLOR or not."""
    from rich.console import Console

    return Console(
        width=width(),
        force_terminal=sys.stdout.isatty(),
        color_system=None if os.environ.get("NO_COLOR") else "auto",
        highlight=False,
        markup=False,
        emoji=False,
    )


def say(line: str, indent: int = 0, *, whole: Iterable[str] = (), err: bool = False) -> None:
    """Print it; what does not fit stands indented below. No line ends within the `whole` parts of it that fit one."""
    for each in wrapped(line, width(sys.stderr if err else sys.stdout), indent, whole):
        typer.echo(each, err=err)


def say_typed(command: str, indent: int = 0, *, err: bool = False) -> None:
    """Print what is to be typed; what is too long for a line goes on below, for the shell as for a reader."""
    for each in typed(" " * indent + command, width(sys.stderr if err else sys.stdout)):
        typer.echo(each, err=err)


def say_with(sentence: str, command: str | None, *, whole: Iterable[str] = (), err: bool = False) -> None:
    """Print a sentence and what is to be typed: on one line if that takes both, else on lines of its own."""
    if command is None:
        say(sentence, whole=whole, err=err)
        return
    together = f"{sentence}: {command}"
    if cell_len(together) <= width(sys.stderr if err else sys.stdout):
        typer.echo(together, err=err)
    else:
        say(f"{sentence}:", whole=whole, err=err)
        say_typed(command, HANG, err=err)


def wrapped(text: str, most: int, indent: int = 0, whole: Iterable[str] = (), *, hang: int = HANG) -> Iterator[str]:
    """Lines of at most `most` cells that end between words; a longer word is folded, and nothing of it is lost."""
    for each in whole:
        text = text.replace(each, each.replace(" ", _BLANK))
    first, below = " " * indent, " " * (indent + hang)
    line, begun = first, False
    for word in re.split(r"(?<= )(?=[^ ])", text):
        if begun and cell_len(line + word.rstrip(" ")) > most:
            yield _finished(line)
            line = below
        *full, rest = folded(word, most - cell_len(line), most - len(below))
        for part in full:
            yield _finished(line + part)
            line = below
        line, begun = line + rest, True
    yield _finished(line)


def folded(word: str, first: int, others: int) -> list[str]:
    """`word` in parts of so many cells; none ends or begins with a blank where that can be helped."""
    bare = word.rstrip(" ")  # blanks at the end of a line take no room
    parts, room = [], max(1, first)
    while cell_len(bare) > room:
        part = chop_cells(bare, room)[0] or bare[0]
        cut = len(part)
        while cut > 1 and (_BLANK in bare[cut - 1 : cut + 1]):
            cut -= 1
        cut = cut if cut > 1 else len(part)
        parts.append(bare[:cut])
        bare, room = bare[cut:], max(1, others)
    return [*parts, bare + word[len(word.rstrip(" ")) :]]


def typed(command: str, most: int) -> Iterator[str]:
    r"""Lines that a shell reads as the one command: each but the last ends with `\`, outside of quotes."""
    if cell_len(command) <= most:
        yield command
        return
    line, quote = "", ""
    for mark, unit in _shell_units(command):
        change = ("" if mark == quote else quote[-1:] + mark) + unit
        if cell_len(line + change) + 2 > most:  # a quote and a backslash may have to follow
            yield line + quote[-1:] + "\\"
            line, quote = "", ""
            change = mark + unit
        line, quote = line + change, mark
    yield line + quote[-1:]


def _shell_units(command: str) -> Iterator[tuple[str, str]]:
    """What must not be torn apart, each with the quote that it is in."""
    for part in _PARTS.findall(command):
        mark = next((each for each in _UNITS if len(part) > 1 and part.startswith(each)), None)
        if mark is None:
            yield "", part
        else:
            yield from ((mark, unit) for unit in _UNITS[mark].findall(part[len(mark) : -1]))


def _finished(line: str) -> str:
    return line.rstrip(" ").replace(_BLANK, " ")

"""Where the mirrors stand, to what a person reads first at night: complete or not, what fails and why, what to type."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from mirrord.cli.stories import UNSERVED

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from mirrord.journal.report import Failing, MirrorReport
    from mirrord.model.row import ObjectRow

REASONS_MOST = 5
"""Reasons of failures that are told of each mirror."""
_TABLE_LEAST = 60
"""Narrower, and columns of numbers would be cut: then the terminal itself folds the lines."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """Every mirror, looked at once."""

    at: datetime
    served: bool | None
    """Whether a service works with the journal; None: this user may not know."""
    mirrors: "tuple[tuple[MirrorReport, tuple[Failing, ...]], ...]"

    @property
    def complete(self) -> bool:
        """Whether every mirror knows every key, and all are fresh."""
        return all(report.complete for report, _ in self.mirrors)


def show(overview: Overview, out: "Console") -> None:
    """The table, and below it what its numbers do not say."""
    from mirrord.cli.tables import typed, wrapped

    out.print(_table(overview), width=max(out.width, _TABLE_LEAST))
    if overview.served is False:
        out.out(UNSERVED, style=None if overview.complete else "yellow", highlight=False)
    for line in _remarks(overview):
        for each in wrapped(line, out.width):
            out.out(each, highlight=False)
    for report, failing in overview.mirrors:
        _show_failing(report.mirror, failing, overview.at, out)
    commands = list(dict.fromkeys(_commands(overview)))
    if commands:
        out.out("\nwhat to type next", highlight=False)
    for command in commands:
        for each in typed(f"    {command}", out.width):
            out.out(each, highlight=False)


def _table(overview: Overview) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from mirrord.model.row import State

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
    for heading in ("mirror", "complete"):
        table.add_column(heading, overflow="fold")
    for heading in ("fresh", "stale", "parked", "held", "kept", "oldest"):
        table.add_column(heading, justify="right", no_wrap=True)
    for report, _ in overview.mirrors:
        stale = report.keys[State.STALE] + report.keys[State.CLAIMED]
        table.add_row(
            Text(report.mirror),
            _complete(report),
            str(report.keys[State.FRESH]),
            _count(stale, "yellow"),
            _count(report.keys[State.PARKED], "bold red"),
            _count(report.keys[State.HELD], "yellow"),
            str(report.kept),
            age(report.oldest_stale_since, overview.at),
        )
    return table


def _complete(report: "MirrorReport") -> "Text":
    from rich.text import Text

    as_of, lost = report.coverage.complete_as_of, report.coverage.lost_since
    if lost is not None:
        return Text(f"not since {lost:%m-%d %H:%M:%S}Z", "red")
    if as_of is None:
        return Text("not yet", "yellow")
    return Text(f"as of {as_of:%m-%d %H:%M:%S}Z", "green")


def _count(number: int, style: str) -> "Text":
    from rich.text import Text

    return Text(str(number), style if number else "")


def _remarks(overview: Overview) -> Iterator[str]:
    from mirrord.decisions.explaining import condition_in_words, counted, plain
    from mirrord.model.row import State

    reports = [report for report, _ in overview.mirrors]
    if any(each.kept for each in reports):
        yield "kept: gone at the origin, left in the bucket (on_removed)"
    if any(each.keys[State.HELD] for each in reports):
        yield "held: removals that wait, see `mirrord parked`"
    for each in reports:
        if each.coverage.lost_since is not None:
            yield f"{each.mirror}: not complete: {plain(each.coverage.lost_reason or 'changes may have been missed')}"
        for condition in each.conditions:
            yield f"{each.mirror}: {condition_in_words(condition, overview.at, served=each.served)}"
        for cursor in each.sources:
            newest = "" if cursor.event_at is None else f", newest event {age(cursor.event_at, overview.at)} ago"
            yield f"{each.mirror}: {plain(cursor.source)}: read {age(cursor.moved_at, overview.at)} ago{newest}"
        if each.untold:
            waits = f"{each.mirror}: the CDN is still to be told of {counted(each.untold, 'key')}"
            yield f"{waits}, for {age(each.untold_since, overview.at)}"


def _show_failing(mirror: str, failing: "tuple[Failing, ...]", now: datetime, out: "Console") -> None:
    """Each reason with how many keys have it, for how long, and one of them to look at."""
    from mirrord.cli.tables import wrapped
    from mirrord.decisions.explaining import counted, moment, plain
    from mirrord.model.row import State

    for each in failing:
        row, since = each.example, f", the oldest {age(each.since, now)}" if each.since else ""
        style = "red" if each.state is State.PARKED else "yellow"
        others = " (others had other errors)" if each.errors_differ else ""
        head = f"{mirror}: {counted(each.keys, 'key')} {each.state.value}{since}: {_reason(row)}{others}"
        asked = f"X-Reqid {plain(row.last_reqid)}" if row.last_reqid else "no X-Reqid"
        last = f", asked last {moment(row.last_at, now)}" if row.last_at else ""
        example = repr(row.key)
        for number, line in enumerate(wrapped(head, out.width)):
            out.out(line, style=style if number == 0 else None, highlight=False)
        for line in (
            *wrapped(f"such as {example}", out.width, 4, [example]),
            *wrapped(f"{asked}{last}", out.width, 4, [asked]),
        ):
            out.out(line, highlight=False)


def _reason(row: "ObjectRow") -> str:
    from mirrord.decisions.explaining import came

    if row.last_outcome is None:
        return "not asked yet"
    return f"{row.last_outcome.value}: {came(row.last_status, row.last_outcome, row.last_error)}"


def _commands(overview: Overview) -> Iterator[str]:
    """What finds out more, or what is to be done; nothing while all is well."""
    from mirrord.decisions.explaining import command
    from mirrord.model.row import State

    if overview.served is False and not overview.complete and Path("/run/systemd/system").is_dir():
        yield "systemctl status mirrord"
    for report, failing in overview.mirrors:
        if any(each.name == "held" for each in report.conditions):
            yield "mirrord check --online"
        for each in failing[:1]:
            yield command("explain", report.mirror, each.example.key)
        if report.keys[State.PARKED] or report.keys[State.HELD]:
            yield command("parked", report.mirror)


def age(since: datetime | None, now: datetime) -> str:
    """In the largest unit of which there are two; "-": since never."""
    if since is None:
        return "-"
    seconds = max(0, int((now - since).total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"

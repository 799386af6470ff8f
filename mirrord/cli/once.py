"""`mirrord once`: one look at every origin, refresh until nothing is due, say what is left."""

import asyncio
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from mirrord.cli.settings import EXIT_NOT_FRESH, ConfigOption, JsonOption, configure_log, failures_said, load

if TYPE_CHECKING:
    import signal

    from mirrord.config import Loaded
    from mirrord.journal.report import MirrorReport
    from mirrord.model.row import ObjectRow

LISTED_MOST = 20
"""Unfinished keys a person is shown; `--json` has all."""


def once(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Refresh until nothing is due, and end. One look at every origin first; what is left at the end is listed."""
    loaded = load(config)
    with failures_said():
        came = asyncio.run(_once(loaded))
        if came is not None:
            raise typer.Exit(128 + came)
        fresh = _report(loaded, as_json=as_json)
    raise typer.Exit(0 if fresh else EXIT_NOT_FRESH)


async def _once(loaded: "Loaded") -> "signal.Signals | None":
    from mirrord import wiring
    from mirrord.cli.signals import StopSignals

    signals = StopSignals()
    signals.listen()
    if sys.stderr.isatty():
        from mirrord.cli.progress import shown

        async with shown() as progress:
            configure_log(loaded, sys.stderr)  # the bar's own stderr: lines go above it
            service = wiring.service(loaded.settings)
            progress.follow(service.mirrors)
            await service.once(signals.stop)
    else:
        configure_log(loaded)
        await wiring.service(loaded.settings).once(signals.stop)
    return signals.first


def _report(loaded: "Loaded", *, as_json: bool) -> bool:
    """Say where every mirror stands; whether all keys are fresh."""
    from mirrord.cli.status import as_document, row_document
    from mirrord.journal import report

    url, names = loaded.settings.journal.url, [mirror.name for mirror in loaded.settings.mirror]
    reports = report.report(url, names)
    left = {each.mirror: [] if each.settled else report.unfinished(url, each.mirror, 1_000_000) for each in reports}
    if as_json:
        import orjson

        document = [as_document(each) | {"unfinished": list(map(row_document, left[each.mirror]))} for each in reports]
        typer.echo(orjson.dumps({"mirrors": document}).decode())
    else:
        for each in reports:
            _print(each, left[each.mirror])
    return all(each.settled for each in reports)


def _print(report: "MirrorReport", left: "Sequence[ObjectRow]") -> None:
    from mirrord.cli.stories import say_conditions
    from mirrord.cli.tables import say
    from mirrord.decisions.explaining import command, last_in_words
    from mirrord.model.row import State

    counts = ", ".join(f"{count} {state.value}" for state, count in report.keys.items() if count)
    say(f"{report.mirror}: {counts or 'no keys'}")
    say_conditions(report.mirror, report.conditions, served=report.served)
    for row in left[:LISTED_MOST]:
        reqid = [f"(reqid {row.last_reqid})"] if row.last_reqid else []
        say(f"{row.state.value}  {row.key!r}  {last_in_words(row)}", 2, whole=[repr(row.key), *reqid])
    if len(left) > LISTED_MOST:
        say(f"… and {len(left) - LISTED_MOST} more; --json lists all", 2)
    if any(row.state in {State.PARKED, State.HELD} for row in left):
        say(f"{report.mirror}: what to do about these: {command('parked', report.mirror)}")

"""`mirrord plan`: what `once` would do and why, key by key; nothing is changed."""

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mirrord.cli.settings import ConfigOption, JsonOption, configure_log, failures_said, load

if TYPE_CHECKING:
    import signal

    from mirrord.config import Loaded
    from mirrord.decisions.planning import Planned
    from mirrord.journal.report import MirrorReport
    from mirrord.settings import Settings

_BUCKET = {None: "not asked", True: "listed", False: "unavailable"}


def plan(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """What `once` would do, key by key. Changes nothing, not even the journal."""
    loaded = load(config)
    configure_log(loaded)
    with failures_said(), tempfile.TemporaryDirectory(prefix="mirrord-plan-") as directory:
        settings = _on_a_copy(loaded, Path(directory) / "journal.db")
        came, asked = asyncio.run(_look(settings))
        if came is not None:
            raise typer.Exit(128 + came)
        _show(settings, asked, as_json=as_json)


def _on_a_copy(loaded: "Loaded", copy: Path) -> "Settings":
    """The settings, but for the journal: a copy of what there is, for a look at the origins to write to."""
    from mirrord.journal.snapshot import copy_journal

    settings = loaded.settings
    copy_journal(settings.journal.url, copy)
    journal = settings.journal.model_copy(update={"url": f"sqlite:///{copy}"})
    return settings.model_copy(update={"journal": journal})


async def _look(settings: "Settings") -> "tuple[signal.Signals | None, dict[str, bool | None]]":
    """The signal that came, if any, and of each mirror whether its bucket was listed; None: it was not asked to."""
    from mirrord import wiring
    from mirrord.cli.signals import StopSignals

    signals = StopSignals()
    signals.listen()
    service = wiring.service(settings)
    await service.look(signals.stop)
    return signals.first, {each.name: each.intake.listed for each in service.mirrors}


def _show(settings: "Settings", asked: "dict[str, bool | None]", *, as_json: bool) -> None:
    from mirrord.cli.tables import say
    from mirrord.decisions.planning import planned
    from mirrord.journal.report import report
    from mirrord.journal.snapshot import unsettled

    url = settings.journal.url
    documents = []
    for each in report(url, list(asked)):
        found = map(planned, unsettled(url, each.mirror))
        if as_json:
            documents.append(_document(each, asked[each.mirror], list(found)))
            continue
        say(f"{each.mirror}: {_summary(each, asked[each.mirror])}")
        for key in found:
            name = repr(key.row.key)
            say(f"{key.action.value:<8} {_why(key):<18} {name}", 2, whole=[name])
    if as_json:
        import orjson

        typer.echo(orjson.dumps({"mirrors": documents}).decode())


def _document(report: "MirrorReport", asked: bool | None, found: "list[Planned]") -> dict[str, Any]:
    from mirrord.model.row import State

    return {
        "mirror": report.mirror,
        "bucket": _BUCKET[asked],
        "fresh": report.keys[State.FRESH],
        "kept": report.kept,
        "keys": [
            {
                "key": each.row.key,
                "reason": each.reason,
                "action": each.action.value,
                "state": each.row.state.value,
                "attempts": each.row.attempts,
                "outcome": each.row.last_outcome.value if each.row.last_outcome else None,
                "status": each.row.last_status,
                "reqid": each.row.last_reqid,
                "error": each.row.last_error,
            }
            for each in found
        ],
    }


def _summary(report: "MirrorReport", asked: bool | None) -> str:
    from mirrord.model.row import State

    due = report.keys[State.STALE] + report.keys[State.CLAIMED]
    parts = [f"{due} to do", f"{report.keys[State.FRESH]} fresh"]
    for count, word in (
        (report.keys[State.PARKED], "parked"),
        (report.keys[State.HELD], "held"),
        (report.kept, "kept, gone at the origin"),
    ):
        if count:
            parts.append(f"{count} {word}")
    if asked is False:
        parts.append("the bucket could not be listed, so every new key is refreshed")
    return ", ".join(parts)


def _why(key: "Planned") -> str:
    from mirrord.model.row import State

    waits = key.row.state in {State.PARKED, State.HELD}
    return f"{key.row.state.value}, {key.reason}" if waits else key.reason

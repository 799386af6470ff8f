"""`mirrord status`: where each mirror stands, from the journal."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import typer

from mirrord.cli.settings import EXIT_NOT_FRESH, ConfigOption, JsonOption, failures_said, load
from mirrord.cli.stories import UNSERVED, say

if TYPE_CHECKING:
    from mirrord.journal.report import MirrorReport
    from mirrord.model.condition import Condition
    from mirrord.model.cursor import Cursor
    from mirrord.model.row import ObjectRow
    from mirrord.settings import Mirror


def status(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Keys by state, the oldest stale one, complete as of when, what keeps a mirror from calling.

    --json: {"service": whether one works with this journal (null: this user may not know), "mirrors": […]}.
    A mirror's "sources": how far its feed was read, and how old its newest event is (lag_s).
    Exit 0: complete and fresh; 1: something is not.
    """
    from mirrord.journal.report import is_served, report

    loaded = load(config, need_secret=False)
    url = loaded.settings.journal.url
    with failures_said():
        reports, served = report(url, [mirror.name for mirror in loaded.settings.mirror]), is_served(url)
    reports = [_with_its_feed(each, mirror) for each, mirror in zip(reports, loaded.settings.mirror, strict=True)]
    if as_json:
        import orjson

        document = {"service": served, "mirrors": [as_document(each) for each in reports]}
        typer.echo(orjson.dumps(document).decode())
    else:
        _print_table(reports)
        if served is False:
            typer.echo(UNSERVED)
    raise typer.Exit(0 if all(each.complete for each in reports) else EXIT_NOT_FRESH)


def _with_its_feed(report: "MirrorReport", mirror: "Mirror") -> "MirrorReport":
    """Without the feeds that the mirror followed earlier: their places stay in the journal."""
    from mirrord.model.cursor import FEED

    now = FEED + mirror.feed.identity if mirror.feed else None
    return replace(report, sources=tuple(each for each in report.sources if each.source == now))


def as_document(report: "MirrorReport") -> dict[str, Any]:
    """One mirror as `--json` shows it; times are ISO 8601, UTC."""
    return {
        "mirror": report.mirror,
        "keys": {state.value: count for state, count in report.keys.items()},
        "kept": report.kept,
        "oldest_stale_key": report.oldest_stale_key,
        "oldest_stale_since": iso(report.oldest_stale_since),
        "complete_as_of": iso(report.coverage.complete_as_of),
        "lost_since": iso(report.coverage.lost_since),
        "lost_reason": report.coverage.lost_reason,
        "conditions": [condition_document(each) for each in report.conditions],
        "sources": [source_document(each, datetime.now(UTC)) for each in report.sources],
    }


def source_document(cursor: "Cursor", now: datetime) -> dict[str, Any]:
    """How far a feed has been read, as `--json` shows it; `lag_s` null: none of its events had a time."""
    return {
        "source": cursor.source,
        "read_at": iso(cursor.moved_at),
        "newest_event_at": iso(cursor.event_at),
        "lag_s": None if cursor.event_at is None else round((now - cursor.event_at).total_seconds(), 3),
    }


def condition_document(condition: "Condition") -> dict[str, Any]:
    """What keeps a mirror from calling, as `--json` shows it; `until` null: at any time it may call again."""
    return {
        "name": condition.name,
        "since": iso(condition.since),
        "until": iso(condition.until),
        "reason": condition.reason,
        "status": condition.status,
        "reqid": condition.reqid,
    }


def row_document(row: "ObjectRow") -> dict[str, Any]:
    """One key that is not fresh, as `--json` shows it."""
    return {
        "key": row.key,
        "state": row.state.value,
        "stale_since": iso(row.stale_since),
        "due_at": iso(row.due_at),
        "attempts": row.attempts,
        "status": row.last_status,
        "reqid": row.last_reqid,
        "outcome": row.last_outcome.value if row.last_outcome else None,
        "error": row.last_error,
        "at": iso(row.last_at),
    }


def _print_table(reports: "list[MirrorReport]") -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from mirrord.model.row import State

    now = datetime.now(UTC)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("mirror", overflow="fold")
    for heading in ("fresh", "stale", "parked", "held", "kept"):
        table.add_column(heading, justify="right")
    table.add_column("oldest", justify="right")
    table.add_column("complete", overflow="fold")
    for each in reports:
        table.add_row(
            Text(each.mirror),
            str(each.keys[State.FRESH]),
            str(each.keys[State.STALE] + each.keys[State.CLAIMED]),
            str(each.keys[State.PARKED]),
            str(each.keys[State.HELD]),
            str(each.kept),
            _age(each.oldest_stale_since, now),
            Text(_complete(each)),
        )
    Console(highlight=False).print(table)
    if any(each.kept for each in reports):
        typer.echo("kept: gone at the origin, left in the bucket (on_removed)")
    if any(each.keys[State.HELD] for each in reports):
        typer.echo("held: removals that wait, see `mirrord parked`")
    for each in reports:
        if each.coverage.lost_since is not None:
            say(f"{each.mirror}: not complete: {each.coverage.lost_reason}")
        say_conditions(each, now)
        for cursor in each.sources:
            newest = "" if cursor.event_at is None else f", newest event {_age(cursor.event_at, now)} ago"
            say(f"{each.mirror}: {cursor.source}: read {_age(cursor.moved_at, now)} ago{newest}")


def say_conditions(report: "MirrorReport", now: datetime) -> None:
    """What keeps the mirror from calling, a sentence each."""
    from mirrord.decisions.explaining import condition_in_words

    for each in report.conditions:
        say(f"{report.mirror}: {condition_in_words(each, now, served=report.served)}")


def _complete(report: "MirrorReport") -> str:
    as_of = report.coverage.complete_as_of
    if report.coverage.lost_since is not None:
        return f"not since {report.coverage.lost_since:%m-%d %H:%M:%S}Z"
    return f"as of {as_of:%m-%d %H:%M:%S}Z" if as_of else "not yet"


def _age(since: datetime | None, now: datetime) -> str:
    if since is None:
        return "-"
    seconds = max(0, int((now - since).total_seconds()))
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def iso(at: datetime | None) -> str | None:
    """As every `--json` writes times."""
    return None if at is None else at.isoformat().replace("+00:00", "Z")

"""`mirrord status`: where each mirror stands, from the journal."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mirrord.cli.settings import EXIT_NOT_FRESH, ConfigOption, JsonOption, failures_said, load

if TYPE_CHECKING:
    from mirrord.cli.overview import Overview
    from mirrord.config import Loaded
    from mirrord.journal.report import Failing, MirrorReport
    from mirrord.model.condition import Condition
    from mirrord.model.cursor import Cursor
    from mirrord.model.row import ObjectRow
    from mirrord.settings import Mirror


def status(
    config: ConfigOption = None,
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Look again and again, until Ctrl-C.")] = False,
    every: Annotated[
        str, typer.Option(metavar="DURATION", help="With --watch: how long to wait between two looks, at least.")
    ] = "2s",
    as_json: JsonOption = False,
) -> None:
    """Where each mirror stands. Is it complete, as of when, how many keys are stale, and what fails?"""
    from mirrord.cli.watching import watched

    period = _period(every)
    loaded = load(config, need_secret=False)
    if watch:
        with failures_said():
            raise typer.Exit(watched(lambda: look(loaded), document if as_json else None, period))
    with failures_said():
        overview = look(loaded)
    if as_json:
        import orjson

        typer.echo(orjson.dumps(document(overview)).decode())
    else:
        from mirrord.cli.overview import show
        from mirrord.cli.tables import console

        show(overview, console())
    raise typer.Exit(0 if overview.complete else EXIT_NOT_FRESH)


def _period(text: str) -> timedelta:
    from mirrord.setting_values import duration

    try:
        period = duration(text)
    except ValueError as exc:
        raise typer.BadParameter(f"{text!r} is not {exc}", param_hint="--every") from exc
    return period


def look(loaded: "Loaded") -> "Overview":
    """How things stand now. Raises JournalUnavailable."""
    from mirrord.cli.overview import REASONS_MOST, Overview
    from mirrord.journal.report import failing, is_served, report
    from mirrord.model.row import State

    url, mirrors = loaded.settings.journal.url, loaded.settings.mirror
    reports = report(url, [mirror.name for mirror in mirrors])
    may_fail = (State.STALE, State.CLAIMED, State.PARKED)
    return Overview(
        at=datetime.now(UTC),
        served=is_served(url),
        mirrors=tuple(
            (
                _with_its_feed(each, mirror),
                tuple(failing(url, each.mirror, REASONS_MOST)) if any(map(each.keys.__getitem__, may_fail)) else (),
            )
            for each, mirror in zip(reports, mirrors, strict=True)
        ),
    )


def document(overview: "Overview") -> dict[str, Any]:
    """As `--json` shows it; times are ISO 8601, UTC."""
    return {
        "service": overview.served,
        "complete": overview.complete,
        "at": iso(overview.at),
        "mirrors": [
            as_document(report) | {"failing": list(map(failing_document, failing))}
            for report, failing in overview.mirrors
        ],
    }


def _with_its_feed(report: "MirrorReport", mirror: "Mirror") -> "MirrorReport":
    """Without the feeds that the mirror followed earlier: their places stay in the journal."""
    from mirrord.model.cursor import FEED

    now = FEED + mirror.feed.identity if mirror.feed else None
    return replace(report, sources=tuple(each for each in report.sources if each.source == now))


def as_document(report: "MirrorReport") -> dict[str, Any]:
    """One mirror as `--json` shows it; times are ISO 8601, UTC."""
    return {
        "mirror": report.mirror,
        "complete": report.complete,
        "keys": {state.value: count for state, count in report.keys.items()},
        "kept": report.kept,
        "oldest_stale_key": report.oldest_stale_key,
        "oldest_stale_since": iso(report.oldest_stale_since),
        "complete_as_of": iso(report.coverage.complete_as_of),
        "lost_since": iso(report.coverage.lost_since),
        "lost_reason": report.coverage.lost_reason,
        "conditions": [condition_document(each) for each in report.conditions],
        "sources": [source_document(each, datetime.now(UTC)) for each in report.sources],
        "cdn_keys_waiting": report.untold,
        "cdn_waiting_since": iso(report.untold_since),
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


def failing_document(failing: "Failing") -> dict[str, Any]:
    """One reason why keys are not fresh, as `--json` shows it; `example` is one of them."""
    from mirrord.decisions.statuses import meaning_of

    row = failing.example
    return {
        "state": failing.state.value,
        "keys": failing.keys,
        "since": iso(failing.since),
        "status": row.last_status,
        "means": None if row.last_status is None else meaning_of(row.last_status).says,
        "outcome": row.last_outcome.value if row.last_outcome else None,
        "errors_differ": failing.errors_differ,
        "example": row_document(row),
    }


def iso(at: datetime | None) -> str | None:
    """As every `--json` writes times."""
    return None if at is None else at.isoformat().replace("+00:00", "Z")

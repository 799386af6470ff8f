"""`mirrord parked [MIRROR]`: what waits for a person, why, since when, and the way out."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mirrord.cli import completing
from mirrord.cli.settings import ConfigOption, JsonOption, failures_said, load, mirror_named
from mirrord.cli.stories import NAMED_MOST, say_held

if TYPE_CHECKING:
    from mirrord.model.row import ObjectRow, State

LISTED_MOST = 1_000_000


def parked(
    mirror: Annotated[
        str | None, typer.Argument(metavar="MIRROR", help="Only this mirror.", autocompletion=completing.mirrors)
    ] = None,
    config: ConfigOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """List what waits for a person. Of each key: what was wrong, what that means, since when, what to do."""
    from mirrord.journal.report import conditions_of, is_served, waiting_for_a_person

    loaded = load(config, need_secret=False)
    url = loaded.settings.journal.url
    names = [mirror_named(mirror, loaded).name] if mirror else [each.name for each in loaded.settings.mirror]
    with failures_said():
        rows = {name: waiting_for_a_person(url, name, LISTED_MOST) for name in names}
        kept, served = {name: conditions_of(url, name) for name in names}, is_served(url)
    if as_json:
        import orjson

        document = [{"mirror": name, "keys": list(map(_document, of))} for name, of in rows.items()]
        typer.echo(orjson.dumps({"mirrors": document}).decode())
        return
    now = datetime.now(UTC)
    for name, of in rows.items():
        _print(name, of, now)
        say_held(name, kept[name], served=served)
    if not any(rows.values()):
        typer.echo("nothing is parked or held")


def _document(row: "ObjectRow") -> dict[str, Any]:
    from mirrord.cli.status import row_document
    from mirrord.decisions.statuses import meaning_of

    return row_document(row) | {
        "means": None if row.last_status is None else meaning_of(row.last_status).says,
        "removed": row.wanted is None,
        "advice": _way_out(row),
    }


def _print(mirror: str, rows: "Sequence[ObjectRow]", now: datetime) -> None:
    """All of one mirror, by reason, those that most keys have first; each with what can be done, once."""
    from mirrord.cli.tables import say
    from mirrord.decisions.explaining import counted
    from mirrord.model.row import State

    by_reason = defaultdict[tuple[State, str], list["ObjectRow"]](list)
    for row in rows:
        by_reason[row.state, _reason(row)].append(row)
    reasons = sorted(by_reason.items(), key=lambda reason: -len(reason[1]))
    named_most = max(1, NAMED_MOST // max(1, len(reasons)))
    for (state, reason), alike in reasons[:NAMED_MOST]:
        say(f"{mirror}  {state.value}  {counted(len(alike), 'key')}: {reason}")
        for advice in dict.fromkeys(filter(None, map(_way_out, alike))):
            say(advice, 4)
        for row in alike[:named_most]:
            reqid = [f"X-Reqid {row.last_reqid}"] if row.last_reqid else []
            say(f"{row.key!r}  {_since(row, now)}", 4, whole=[repr(row.key), *reqid])
        if len(alike) > named_most:
            say(f"… and {len(alike) - named_most} more; --json lists all", 4)
    if len(reasons) > NAMED_MOST:
        say(f"{mirror}: … and {len(reasons) - NAMED_MOST} more reasons; --json lists all")
    _say_ways_out(mirror, {row.state for row in rows})


def _say_ways_out(mirror: str, states: "set[State]") -> None:
    from mirrord.cli.tables import say
    from mirrord.decisions.explaining import command
    from mirrord.model.row import State

    if State.PARKED in states:
        retry = command("retry", mirror)
        whole = [f"{retry} --all", f"{retry} KEY"]
        say(f"{mirror}: once the reason is gone: {whole[0]}, or {whole[1]}", whole=whole)
    if State.HELD in states:
        whole = [let_go, kept] = [command("release", mirror), command("release --drop", mirror)]
        say(f"{mirror}: what is held is deleted by {let_go}, and stays there by {kept}", whole=whole)


def _reason(row: "ObjectRow") -> str:
    from mirrord.decisions.explaining import came
    from mirrord.model.row import State

    if row.state is State.HELD:
        return "removed at the origin; held by removal_limit until `mirrord release`"
    outcome = row.last_outcome.value if row.last_outcome else "not asked yet"
    return f"{outcome}: {came(row.last_status, row.last_outcome, row.last_error)}"


def _way_out(row: "ObjectRow") -> str | None:
    from mirrord.decisions.explaining import way_out
    from mirrord.model.row import State

    return way_out(row) if row.state is State.PARKED else None


def _since(row: "ObjectRow", now: datetime) -> str:
    from mirrord.decisions.explaining import counted, moment, plain
    from mirrord.model.row import State

    at = row.removed_at if row.state is State.HELD else row.last_at
    since = f"since {moment(at, now)}" if at else ""
    if row.state is State.HELD:
        return since
    reqid = f"X-Reqid {plain(row.last_reqid)}" if row.last_reqid else "no X-Reqid"
    return ", ".join(filter(None, (since, counted(row.attempts, "attempt"), reqid)))

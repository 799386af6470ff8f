"""`mirrord parked [MIRROR]`: what waits for a person, with what Kodo said last."""

from typing import Annotated

import typer

from mirrord.cli.settings import ConfigOption, JsonOption, failures_said, load, mirror_named

LISTED_MOST = 1_000_000


def parked(
    mirror: Annotated[str | None, typer.Argument(metavar="MIRROR", help="Only this mirror.")] = None,
    config: ConfigOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """List parked keys and held removals, with their last status and X-Reqid."""
    from mirrord.cli.status import row_document
    from mirrord.journal.report import waiting_for_a_person
    from mirrord.model.row import State

    loaded = load(config, need_secret=False)
    names = [mirror_named(mirror, loaded).name] if mirror else [each.name for each in loaded.settings.mirror]
    with failures_said():
        rows = {name: waiting_for_a_person(loaded.settings.journal.url, name, LISTED_MOST) for name in names}
    if as_json:
        import orjson

        document = [{"mirror": name, "keys": list(map(row_document, of))} for name, of in rows.items()]
        typer.echo(orjson.dumps({"mirrors": document}).decode())
        return
    for name, of in rows.items():
        for row in of:
            typer.echo(f"{name}  {row.state.value}  {row.key!r}")
            if row.state is State.HELD:
                typer.echo("    removed at the origin; held by removal_limit until `mirrord release`")
            else:
                typer.echo(
                    f"    {row.last_outcome}, status {row.last_status}, reqid {row.last_reqid}: {row.last_error}"
                )
    if not any(rows.values()):
        typer.echo("nothing is parked or held")

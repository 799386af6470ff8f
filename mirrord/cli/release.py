"""`mirrord release MIRROR`: let held removals go, or forget them."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from mirrord.cli.settings import ConfigOption, JsonOption, failures_said, load, mirror_named
from mirrord.cli.stories import UNSERVED, MirrorArgument


def release(
    mirror: MirrorArgument,
    config: ConfigOption = None,
    *,
    drop: Annotated[bool, typer.Option("--drop", help="Forget them: the bucket keeps its copies.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Let held removals go ahead. A running service deletes them within seconds."""
    from mirrord.journal.report import is_served

    loaded = load(config, need_secret=False)
    name, url = mirror_named(mirror, loaded).name, loaded.settings.journal.url
    with failures_said():
        count = _released(url, name, drop=drop)
        served = is_served(url)
    if as_json:
        import orjson

        typer.echo(orjson.dumps({"mirror": name, "removals": count, "dropped": drop, "service": served}).decode())
        return
    from mirrord.cli.tables import say

    say(_in_words(name, count, drop=drop))
    if served is False and count and not drop:
        say(f"mirrord: {UNSERVED}: nothing is deleted before one runs", err=True)


def _released(url: str, mirror: str, *, drop: bool) -> int:
    """How many; a journal that does not exist yet is not made: it would be the wrong user's."""
    import asyncio

    from mirrord.journal.report import is_empty
    from mirrord.journal.store import Journal

    if is_empty(url):
        return 0
    journal = Journal(url)
    journal.open()
    try:
        return asyncio.run(journal.release(mirror, datetime.now(UTC), drop=drop))
    finally:
        journal.close()


def _in_words(mirror: str, count: int, *, drop: bool) -> str:
    from mirrord.decisions.explaining import counted

    if not count:
        return f"{mirror}: no removals are held"
    they = "they are" if count > 1 else "it is"
    done = "forgotten; the bucket keeps its copies" if drop else f"let go; {they} deleted from the bucket next"
    return f"{mirror}: {counted(count, 'held removal')} {done}"

"""`mirrord release MIRROR`: let held removals go, or forget them."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from mirrord.cli.settings import ConfigOption, failures_said, load, mirror_named


def release(
    mirror: Annotated[str, typer.Argument(metavar="MIRROR", help="The mirror's name in the settings.")],
    config: ConfigOption = None,
    *,
    drop: Annotated[bool, typer.Option("--drop", help="Forget them: the bucket keeps its copies.")] = False,
) -> None:
    """Let held removals go ahead; a running service deletes them within seconds."""
    import asyncio

    from mirrord.journal.store import Journal

    loaded = load(config, need_secret=False)
    name = mirror_named(mirror, loaded).name
    with failures_said():
        journal = Journal(loaded.settings.journal.url)
        journal.open()
        try:
            count = asyncio.run(journal.release(name, datetime.now(UTC), drop=drop))
        finally:
            journal.close()
    done = "forgotten; the bucket keeps its copies" if drop else "let go; they are deleted from the bucket next"
    typer.echo(f"{name}: {count} held removals {done}" if count else f"{name}: no removals are held")

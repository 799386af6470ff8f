"""`mirrord retry MIRROR KEY… | --all`: parked keys are tried again, as if they had never been."""

from typing import Annotated

import typer

from mirrord.cli.settings import ConfigOption, JsonOption
from mirrord.cli.stories import MirrorArgument, ParkedKeysArgument, ask


def retry(
    mirror: MirrorArgument,
    keys: ParkedKeysArgument = None,
    config: ConfigOption = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="Every parked key of the mirror.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make parked keys due again. A running service asks for them within seconds."""
    ask("retry", mirror, keys, every=every, config=config, as_json=as_json)

"""`mirrord retry MIRROR KEY… | --all`: parked keys are tried again, as if they had never been."""

from typing import Annotated

import typer

from mirrord.cli.settings import ConfigOption, JsonOption
from mirrord.cli.stories import KeysArgument, ask


def retry(
    mirror: Annotated[str, typer.Argument(metavar="MIRROR", help="The mirror's name in the settings.")],
    keys: KeysArgument = None,
    config: ConfigOption = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="Every parked key of the mirror.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make parked keys due again; a running service asks for them within seconds.

    Exit 0: done; 1: some KEY is unknown or not parked.
    """
    ask("retry", mirror, keys, every=every, config=config, as_json=as_json)

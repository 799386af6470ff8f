"""`mirrord refresh MIRROR KEY… | --all`: keys are asked for again, whatever the bucket is believed to hold."""

from typing import Annotated

import typer

from mirrord.cli.settings import ConfigOption, JsonOption
from mirrord.cli.stories import KeysArgument, ask


def refresh(
    mirror: Annotated[str, typer.Argument(metavar="MIRROR", help="The mirror's name in the settings.")],
    keys: KeysArgument = None,
    config: ConfigOption = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="Every key of the mirror that the origin has.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make keys due now; a running service asks for them within seconds.

    Exit 0: done; 1: some KEY is unknown, or gone at the origin.
    """
    ask("refresh", mirror, keys, every=every, config=config, as_json=as_json)

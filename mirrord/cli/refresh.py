"""`mirrord refresh MIRROR KEY… | --all`: keys are asked for again, whatever the bucket is believed to hold."""

from typing import Annotated

import typer

from mirrord.cli.settings import ConfigOption, JsonOption
from mirrord.cli.stories import KeysArgument, MirrorArgument, ask


def refresh(
    mirror: MirrorArgument,
    keys: KeysArgument = None,
    config: ConfigOption = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="Every key of the mirror that the origin has.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make keys due now. A running service asks for them within seconds."""
    ask("refresh", mirror, keys, every=every, config=config, as_json=as_json)

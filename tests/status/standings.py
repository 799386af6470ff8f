"""A service as it may stand, for tests to say what is different."""

from typing import Any

from mirrord.model.coverage import Coverage
from mirrord.status.standing import MirrorStanding, Standing
from tests.journal.ledger import at


def mirror(name: str = "docs", **different: Any) -> MirrorStanding:
    """One that is well."""
    well: dict[str, Any] = {
        "bucket": "newdocs",
        "operation": "prefetch",
        "in_flight": 0,
        "allowed": 64,
        "held": False,
        "listening": True,
        "coverage": Coverage(complete_as_of=at(0)),
        "conditions": (),
    }
    return MirrorStanding(mirror=name, **{**well, **different})


def standing(*mirrors: MirrorStanding, **different: Any) -> Standing:
    """One that is well."""
    well: dict[str, Any] = {
        "version": "1.2.3",
        "since": at(-100),
        "generation": 1,
        "ready": True,
        "stopping": False,
        "trouble": None,
        "stuck": (),
    }
    return Standing(mirrors=mirrors or (mirror(),), **{**well, **different})

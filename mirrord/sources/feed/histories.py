"""Whether a cursor still is of the history that there is: feeds that name theirs are asked for it now and then."""

from dataclasses import replace
from datetime import datetime, timedelta

from mirrord.sources.feed.dialect import Naming, Reset
from mirrord.sources.feed.fetching import Fetcher, Unreachable
from mirrord.sources.feed.spot import Spot

ASKED_EVERY = timedelta(minutes=1)
"""After each failure, too."""
BODY_MOST = 2**16
UNNAMED = frozenset({400, 401, 403, 404, 405})
"""What a proxy answers that lets nothing through but the changes."""


class Histories:
    """One feed's. `naming` None: it does not name them."""

    def __init__(self, naming: Naming | None, fetcher: Fetcher) -> None:
        self._naming = naming
        self._fetcher = fetcher
        self._asked_at: datetime | None = None

    def doubt(self) -> None:
        """It is to be asked for before the next request."""
        self._asked_at = None

    async def check(self, spot: Spot, now: datetime) -> Spot:
        """`spot`, with the name that its history has. Raises Reset when there is another one, and Unreachable."""
        if self._naming is None or (self._asked_at is not None and now - self._asked_at < ASKED_EVERY):
            return spot
        history = await self._name(self._naming)
        self._asked_at = now
        if history is not None and spot.history not in (None, history):
            raise Reset(
                f"it was begun anew: its history is {history[:80]}, and was {str(spot.history)[:80]}", gap=False
            )
        return replace(spot, history=history or spot.history)

    async def _name(self, naming: Naming) -> str | None:
        """None: nobody says, or we may not ask."""
        body = bytearray()
        try:
            async with self._fetcher.get(naming.ask_history()) as got:
                async for chunk in got.chunks():
                    body += chunk
                    if len(body) > BODY_MOST:
                        return None
        except Unreachable as exc:
            if exc.status in UNNAMED:
                return None
            raise
        return naming.history_of(bytes(body))

"""Where in which history a feed is to be read on: a dialect's cursor and the name of what it is a cursor of."""

from dataclasses import dataclass

import orjson


@dataclass(frozen=True, slots=True)
class Spot:
    """`history` None: the feed does not name it, or has not been asked yet."""

    cursor: str | None = None
    history: str | None = None

    def text(self) -> str | None:
        """For a Place; None: at the beginning of whatever history."""
        if self.history is None:
            return self.cursor
        return _MARK + orjson.dumps((self.cursor, self.history)).decode()


_MARK = "\x01"
"""No cursor of a dialect begins so."""


def spot_of(text: str | None) -> Spot:
    """What `Spot.text` wrote."""
    if text is None or not text.startswith(_MARK):
        return Spot(text)
    return Spot(*orjson.loads(text.removeprefix(_MARK)))

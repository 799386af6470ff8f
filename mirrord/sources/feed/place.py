"""Place: how far one mirror has read a feed, as its journal keeps it."""

from dataclasses import dataclass

import orjson


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where to go on. Two mirrors at equal places can be served by one reader."""

    cursor: str | None = None
    """The dialect's own; None: from the beginning."""
    counting: bool = False
    """Every key since the beginning is being counted, to find out which are gone: such a reading cannot be
    gone on with by another process."""
    rules: str | None = None
    """What named and chose the keys of what was read; with other rules it would have been other keys."""
    unknown: str | None = None
    """Why nobody can say whether everything was seen; None: nothing is known to be missing."""

    def text(self) -> str:
        """For the journal."""
        fields: dict[str, str | bool | None] = {"cursor": self.cursor}
        if self.counting:
            fields["counting"] = True
        if self.rules is not None:
            fields["rules"] = self.rules
        if self.unknown is not None:
            fields["unknown"] = self.unknown
        return orjson.dumps(fields).decode()


def place_of(text: str) -> Place:
    """What `Place.text` wrote."""
    return Place(**orjson.loads(text))

"""Rows of the table `listed` to ListedObject and back."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from mirrord.journal.tables import listed
from mirrord.model.listing import ListedObject

CELLS = (listed.c.key, listed.c.size_bytes, listed.c.hash, listed.c.put_time)


def look_up(connection: sa.Connection, mirror: str, keys: Sequence[str]) -> dict[str, ListedObject]:
    """What the listing of `mirror` has of `keys`."""
    rows = connection.execute(sa.select(*CELLS).where(listed.c.mirror == mirror, listed.c.key.in_(keys)))
    found = [object_of(row) for row in rows]
    return {each.key: each for each in found if each is not None}


def object_of(cells: Sequence[Any]) -> ListedObject | None:
    """`cells` are `CELLS` of a row, or of none."""
    key, size_bytes, hash_, put_time = cells
    return None if key is None else ListedObject(key=key, size_bytes=size_bytes, hash=hash_, put_time=put_time)


def values_of(mirror: str, found: ListedObject) -> Mapping[str, Any]:
    """The parameters of an INSERT."""
    return {
        "mirror": mirror,
        "key": found.key,
        "size_bytes": found.size_bytes,
        "hash": found.hash,
        "put_time": found.put_time,
    }

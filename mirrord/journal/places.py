"""The table `cursors`: where sources were read up to, one place for each source of a mirror."""

from typing import Any

import sqlalchemy as sa

from mirrord.journal.tables import cursors, from_microseconds, to_microseconds
from mirrord.model.cursor import FEED, Cursor


def move(connection: sa.Connection, mirror: str, cursor: Cursor) -> None:
    """Remember `cursor` instead of the one before it of the same source."""
    connection.execute(sa.delete(cursors).where(*_of(mirror, cursor.source)))
    connection.execute(
        sa.insert(cursors).values(
            mirror=mirror,
            source=cursor.source,
            cursor=cursor.text,
            moved_at=to_microseconds(cursor.moved_at),
            event_at=to_microseconds(cursor.event_at),
        )
    )


def find(connection: sa.Connection, mirror: str, source: str) -> Cursor | None:
    """How far `source` has been read; None when it has not been begun."""
    row = connection.execute(sa.select(cursors).where(*_of(mirror, source))).one_or_none()
    return None if row is None else _cursor_of(row)


def of_feeds(connection: sa.Connection, mirror: str) -> list[Cursor]:
    """How far the mirror's feeds have been read, by their names."""
    rows = connection.execute(sa.select(cursors).where(cursors.c.mirror == mirror).order_by(cursors.c.source))
    return [_cursor_of(row) for row in rows if row.source.startswith(FEED)]


def _cursor_of(row: sa.Row[Any]) -> Cursor:
    moved_at = from_microseconds(row.moved_at)
    assert moved_at is not None
    return Cursor(source=row.source, text=row.cursor, moved_at=moved_at, event_at=from_microseconds(row.event_at))


def _of(mirror: str, source: str) -> tuple[sa.ColumnElement[bool], ...]:
    return cursors.c.mirror == mirror, cursors.c.source == source

"""The table `cursors`: where sources were read up to, one place for each source of a mirror."""

import sqlalchemy as sa

from mirrord.journal.tables import cursors, from_microseconds, to_microseconds
from mirrord.model.cursor import Cursor


def move(connection: sa.Connection, mirror: str, cursor: Cursor) -> None:
    """Remember `cursor` instead of the one before it of the same source."""
    connection.execute(sa.delete(cursors).where(*_of(mirror, cursor.source)))
    connection.execute(
        sa.insert(cursors).values(
            mirror=mirror, source=cursor.source, cursor=cursor.text, moved_at=to_microseconds(cursor.moved_at)
        )
    )


def find(connection: sa.Connection, mirror: str, source: str) -> Cursor | None:
    """How far `source` has been read; None when it has not been begun."""
    row = connection.execute(sa.select(cursors).where(*_of(mirror, source))).one_or_none()
    moved_at = from_microseconds(row.moved_at) if row else None
    return None if row is None or moved_at is None else Cursor(source=source, text=row.cursor, moved_at=moved_at)


def _of(mirror: str, source: str) -> tuple[sa.ColumnElement[bool], ...]:
    return cursors.c.mirror == mirror, cursors.c.source == source

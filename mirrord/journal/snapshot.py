"""A journal as it is now, copied without touching it."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import sqlalchemy as sa

from mirrord.journal.database import file_of, open_engine, translated
from mirrord.journal.statements import row_from
from mirrord.journal.tables import objects
from mirrord.model.row import ObjectRow, State


def copy_journal(url: str, to: Path) -> None:
    """Copy the journal's file; when there is none, make none. A service may be writing. Raises JournalUnavailable."""
    file = file_of(url)
    if file is None or not file.exists() or file.stat().st_size == 0:
        return
    # without a log there is no writer: then not even the files are made that readers agree by
    used = file.with_name(file.name + "-wal").exists()
    source = f"file:{quote(str(file))}?{'mode=ro' if used else 'immutable=1'}"
    with (
        translated(url),
        closing(sqlite3.connect(source, uri=True)) as journal,
        closing(sqlite3.connect(to)) as copy,
    ):
        journal.backup(copy)


def unsettled(url: str, mirror: str) -> Iterator[ObjectRow]:
    """Every row of `mirror` that is not fresh, in key order."""
    query = (
        sa.select(objects)
        .where(objects.c.mirror == mirror, objects.c.state != State.FRESH.value)
        .order_by(objects.c.key)
        .execution_options(yield_per=1000)
    )
    with translated(url), open_engine(url, writing=False).connect() as connection:
        for values in connection.execute(query):
            yield row_from(values)

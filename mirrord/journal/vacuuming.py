"""A person's wish for a small journal: pruned, and its room given back, as far as a running service allows."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from mirrord.journal import schema
from mirrord.journal.database import file_of, name_of, open_engine, translated
from mirrord.journal.errors import JournalTooNew
from mirrord.journal.lock import ServiceLock
from mirrord.journal.pruning import Kept, Pruned, prunable, prune
from mirrord.journal.shrinking import Room, empty_wal, give_back, on_disk, rebuild, room
from mirrord.journal.store import Journal
from mirrord.journal.targets import SERVED_LATELY

EVER = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vacuumed:
    """What was done, or would be."""

    journal: str
    served: bool | None
    """Whether a service works with it; None: nobody can tell this user."""
    pruned: Pruned
    bytes_before: int
    """On disk, with the WAL; 0: there is no journal yet."""
    bytes_after: int
    free_bytes: int
    """Of these: what is left between the rows."""
    rebuilt: bool


def vacuum(url: str, mirrors: Sequence[Kept], now: datetime) -> Vacuumed:
    """Prune and shrink. Beside a service in small steps, and a mirror that it may still have stays.

    Blocks. Raises JournalUnavailable.
    """
    before = on_disk(url)
    if not before:
        return _nothing(url)
    if _is_served(url):
        _standing(url)  # a service of another version would have its tables changed under it
    journal = Journal(url)
    try:
        journal.open()
        alone = journal.become_service()  # who starts now is told that the journal is in use, and tries again
        unserved_since = EVER if alone else now - SERVED_LATELY
        pruned = asyncio.run(_pruned_and_given_back(journal, mirrors, now, unserved_since, whole=alone))
        if alone:
            rebuild(url)
        empty_wal(url)
    finally:
        journal.close()
    return Vacuumed(
        journal=name_of(url),
        served=not alone,
        pruned=pruned,
        bytes_before=before,
        bytes_after=on_disk(url),
        free_bytes=_standing(url).free_bytes,
        rebuilt=alone,
    )


def survey(url: str, mirrors: Sequence[Kept], now: datetime) -> Vacuumed:
    """What `vacuum` would do now. Changes nothing. Raises JournalUnavailable."""
    size = on_disk(url)
    if not size:
        return _nothing(url)
    served, free = _is_served(url), _standing(url).free_bytes
    unserved_since = EVER if served is False else now - SERVED_LATELY
    engine = open_engine(url, writing=False)
    try:
        with translated(url, writing=False), engine.connect() as connection:
            pruned = prunable(connection, mirrors, now, unserved_since=unserved_since)
    finally:
        engine.dispose()
    return Vacuumed(
        journal=name_of(url),
        served=served,
        pruned=pruned,
        bytes_before=size,
        bytes_after=size,
        free_bytes=free,
        rebuilt=False,
    )


async def _pruned_and_given_back(
    journal: Journal, mirrors: Sequence[Kept], now: datetime, unserved_since: datetime, *, whole: bool
) -> Pruned:
    pruned = await prune(journal, mirrors, now, unserved_since=unserved_since)
    if not whole:
        await give_back(journal)
    return pruned


def _standing(url: str) -> Room:
    """What it takes. Raises JournalTooNew when its tables are not those of this version."""
    engine = open_engine(url, writing=False)
    try:
        with translated(url, writing=False), engine.connect() as connection:
            revision = schema.current(connection)
            if revision != schema.HEAD:
                raise JournalTooNew(
                    f"{name_of(url)}: its revision is {revision}, this mirrord's is {schema.HEAD}; "
                    "start the service with this version first, or run the version that the service runs"
                )
            return room(connection)
    finally:
        engine.dispose()


def _is_served(url: str) -> bool | None:
    file = file_of(url)
    return None if file is None else ServiceLock(file).is_held()


def _nothing(url: str) -> Vacuumed:
    return Vacuumed(
        journal=name_of(url),
        served=_is_served(url),
        pruned=Pruned(),
        bytes_before=0,
        bytes_after=0,
        free_bytes=0,
        rebuilt=False,
    )

"""Journals as older programs left them: the tables of their revision, a key in every state, a row in every table."""

import sqlite3
from contextlib import closing
from importlib.resources import files
from pathlib import Path

from alembic import command
from alembic.config import Config

from mirrord.journal.database import open_engine
from mirrord.journal.tables import to_microseconds
from tests.journal.ledger import at, url_of

REVISIONS = ["0001", "0002", "0003", "0004", "0005"]
"""All but the newest; a test holds that none is missing."""
STATES = {
    "claimed": "claimed",
    "deleted": "fresh",
    "fresh": "fresh",
    "held": "held",
    "kept": "fresh",
    "new": "stale",
    "parked": "parked",
    "waiting": "stale",
}
"""The keys of `fill`."""


def micros(seconds: float) -> int:
    count = to_microseconds(at(seconds))
    assert count is not None
    return count


def fill(file: Path, revision: str) -> None:
    """Make the journal at `file` what the program of that revision may have left: it claimed at 1 s, and died."""
    for number in REVISIONS[: REVISIONS.index(revision) + 1]:
        _migrate(file, number)
        with closing(sqlite3.connect(file)) as connection, connection:
            for statement in _ROWS[number]:
                connection.execute(statement)


def _migrate(file: Path, revision: str) -> None:
    engine = open_engine(url_of(file), writing=True)
    with engine.connect() as connection, connection.begin():
        config = Config()
        config.set_main_option("script_location", str(files("mirrord.journal") / "migrations"))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()


_OBJECTS = f"""INSERT INTO objects (mirror, key, wanted, generation, confirmed, bucket_hash, state, stale_since, due_at,
    attempts, strikes, claims, lease_until, last_at, last_status, last_reqid, last_outcome, last_error) VALUES
    ('docs', 'claimed', '=2', 3, '=1', 'h', 'claimed', {micros(1)}, {micros(1)}, 0, 0, 4, {micros(500)},
     {micros(1)}, 200, 'r', 'refreshed', NULL),
    ('docs', 'deleted', NULL, 2, NULL, NULL, 'fresh', NULL, NULL, 0, 0, 2, NULL,
     {micros(2)}, 200, 'r', 'removed', NULL),
    ('docs', 'fresh', '=1', 1, '=1', 'h', 'fresh', NULL, NULL, 0, 0, 1, NULL,
     {micros(2)}, 200, 'r', 'refreshed', NULL),
    ('docs', 'held', NULL, 2, '=1', 'h', 'held', {micros(3)}, NULL, 0, 0, 1, NULL,
     {micros(2)}, 200, 'r', 'refreshed', NULL),
    ('docs', 'kept', NULL, 2, '=1', 'h', 'fresh', NULL, NULL, 0, 0, 1, NULL,
     {micros(2)}, 200, 'r', 'refreshed', NULL),
    ('docs', 'new', '=1', 1, NULL, NULL, 'stale', {micros(4)}, {micros(4)}, 0, 0, 0, NULL,
     NULL, NULL, NULL, NULL, NULL),
    ('docs', 'parked', '=1', 1, NULL, NULL, 'parked', {micros(2)}, NULL, 5, 5, 5, NULL,
     {micros(9)}, 404, 'r', 'origin-missing', 'Ü'),
    ('docs', 'waiting', '=1', 1, '=0', 'h', 'stale', {micros(2)}, {micros(60)}, 5, 4, 5, NULL,
     {micros(9)}, 599, 'r', 'unavailable', 'E')"""
_ROWS = {
    "0001": [
        _OBJECTS,
        f"INSERT INTO cursors (mirror, source, cursor, moved_at) VALUES ('docs', 'feed f', '17', {micros(6)})",
        (
            "INSERT INTO coverage (mirror, complete_as_of, lost_since, lost_reason) "
            f"VALUES ('docs', {micros(7)}, {micros(8)}, 'overflow')"
        ),
    ],
    "0002": [
        f"UPDATE objects SET removed_at = {micros(2)} WHERE wanted IS NULL",
        "UPDATE coverage SET root = '8:1'",
        "INSERT INTO listed (mirror, key, size_bytes, hash, put_time) VALUES ('docs', 'fresh', 5, 'h', 17672256000000)",
    ],
    "0003": [
        f"UPDATE objects SET wanted_at = {micros(1)}, why = 'new', tries = claims",
        (
            "INSERT INTO attempts (mirror, key, slot, at, operation, status, reqid, outcome, error, duration_us) "
            f"VALUES ('docs', 'waiting', 5, {micros(9)}, 'prefetch', 599, 'r', 'unavailable', 'E', 5)"
        ),
        (
            "INSERT INTO conditions (mirror, name, since, until, reason, status, reqid) "
            f"VALUES ('docs', 'held', {micros(9)}, {micros(99)}, 'bad token', 401, 'r')"
        ),
    ],
    "0004": [
        f"UPDATE cursors SET event_at = {micros(5)}",
        "INSERT INTO orders (mirror, key, at_text) VALUES ('docs', 'deleted', '7')",
    ],
    "0005": [
        (
            "INSERT INTO purges (mirror, key, since, due_at, asked, strikes, last_status, last_reqid, last_error) "
            f"VALUES ('docs', 'fresh', {micros(2)}, {micros(3)}, 1, 0, NULL, NULL, NULL)"
        ),
    ],
}

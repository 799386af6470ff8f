"""The journal's tables, as SQLAlchemy Core sees them; `migrations/` creates and changes them."""

from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


INSTANT = sa.BigInteger
"""Whole microseconds since 1970, UTC: sorts, indexes and compares as it is. `to_microseconds` and back."""


def to_microseconds(at: datetime | None) -> int | None:
    return None if at is None else (at - _EPOCH) // _MICROSECOND


def from_microseconds(count: int | None) -> datetime | None:
    return None if count is None else _EPOCH + timedelta(microseconds=count)


# SQLite and PostgreSQL must sort keys as Python sorts str: by code point
KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

metadata = sa.MetaData()

objects = sa.Table(
    "objects",
    metadata,
    sa.Column("mirror", sa.Text, primary_key=True),
    sa.Column("key", KEY, primary_key=True),
    sa.Column("wanted", sa.Text),
    sa.Column("generation", sa.Integer, nullable=False),
    sa.Column("confirmed", sa.Text),
    sa.Column("bucket_hash", sa.Text),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("stale_since", INSTANT),
    sa.Column("due_at", INSTANT),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("strikes", sa.Integer, nullable=False),
    sa.Column("claims", sa.Integer, nullable=False),
    sa.Column("lease_until", INSTANT),
    sa.Column("last_at", INSTANT),
    sa.Column("last_status", sa.Integer),
    sa.Column("last_reqid", sa.Text),
    sa.Column("last_outcome", sa.Text),
    sa.Column("last_error", sa.Text),
    sa.Column("removed_at", INSTANT),  # when the origin was found without the key; null while it has it
    sa.Column("wanted_at", INSTANT),
    sa.Column("why", sa.Text),
    sa.Column("tries", sa.Integer, nullable=False, server_default="0"),
    sa.Column("pending", sa.Text),  # JSON; null but for a pull whose end nobody has seen
    # the primary key is the table: a scan reads it in order, a claim or settlement finds a row in one step
    sqlite_with_rowid=False,
)

# partial: the fresh majority costs neither space nor time here
IS_STALE = sa.text("state = 'stale'")
IS_CLAIMED = sa.text("state = 'claimed'")
sa.Index("objects_due", objects.c.mirror, objects.c.due_at, sqlite_where=IS_STALE)
sa.Index("objects_leased", objects.c.mirror, objects.c.lease_until, sqlite_where=IS_CLAIMED)

attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column("mirror", sa.Text, primary_key=True),
    sa.Column("key", KEY, primary_key=True),
    sa.Column("slot", sa.Integer, primary_key=True),  # a ring: the key's n-th attempt overwrites the one before by KEPT
    sa.Column("at", INSTANT, nullable=False),
    sa.Column("operation", sa.Text, nullable=False),
    sa.Column("status", sa.Integer),
    sa.Column("reqid", sa.Text),
    sa.Column("outcome", sa.Text),
    sa.Column("error", sa.Text),
    sa.Column("duration_us", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

conditions = sa.Table(
    "conditions",
    metadata,
    sa.Column("mirror", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("since", INSTANT, nullable=False),
    sa.Column("until", INSTANT),  # when the next probe may go
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("status", sa.Integer),
    sa.Column("reqid", sa.Text),
    # what keeps a whole mirror from calling now; a row is there while it does
)

cursors = sa.Table(
    "cursors",
    metadata,
    sa.Column("mirror", sa.Text, primary_key=True),
    sa.Column("source", sa.Text, primary_key=True),  # the source's identity: a cursor of another one is worthless
    sa.Column("cursor", sa.Text, nullable=False),
    sa.Column("moved_at", INSTANT, nullable=False),
    sa.Column("event_at", INSTANT),  # the newest event's own time, by the feed's clock; null: it had none
)

orders = sa.Table(
    "orders",
    metadata,
    sa.Column("mirror", sa.Text, primary_key=True),
    sa.Column("key", KEY, primary_key=True),
    sa.Column("at_text", sa.Text, nullable=False),  # compared in Python, by code point, never by the database
    sa.Column("ownerless_since", INSTANT),  # when a sweep first found no row of the key; null: it has one, or is new
    # only keys of feeds whose entries overtake each other; a row outlives the key: its removal has an order, too
    sqlite_with_rowid=False,
)

purges = sa.Table(
    "purges",
    metadata,
    sa.Column("mirror", sa.Text, primary_key=True),
    sa.Column("key", KEY, primary_key=True),
    sa.Column("since", INSTANT, nullable=False),
    sa.Column("due_at", INSTANT, nullable=False),
    sa.Column("asked", sa.Integer, nullable=False),  # counts the settlements that a CDN has not been told of
    sa.Column("strikes", sa.Integer, nullable=False),
    sa.Column("last_status", sa.Integer),
    sa.Column("last_reqid", sa.Text),
    sa.Column("last_error", sa.Text),
    # a row from the settlement that made a key fresh until a CDN was told of it
    sqlite_with_rowid=False,
)

sa.Index("purges_due", purges.c.mirror, purges.c.due_at)

coverage = sa.Table(
    "coverage",
    metadata,
    sa.Column("mirror", sa.Text, primary_key=True),
    sa.Column("complete_as_of", INSTANT),  # null: no complete scan yet
    sa.Column("lost_since", INSTANT),  # null: nothing is known to be missing
    sa.Column("lost_reason", sa.Text),
    sa.Column("root", sa.Text),  # the source's identity when it was last seen whole; another one is suspect
)

served = sa.Table(
    "served",
    metadata,
    sa.Column("mirror", sa.Text, primary_key=True),
    sa.Column("bucket", sa.Text),  # null: gone from the settings before anybody remembered it
    sa.Column("key_prefix", sa.Text),  # null: a change of the target has begun and not ended
    sa.Column("last_at", INSTANT, nullable=False),  # when a service last had it, or first noticed that it has not
)

listed = sa.Table(
    "listed",
    metadata,
    sa.Column("mirror", sa.Text, primary_key=True),
    sa.Column("key", KEY, primary_key=True),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
    sa.Column("put_time", sa.BigInteger, nullable=False),  # Kodo's own: 100 ns ticks since 1970
    # what the bucket was found to hold; filled by a listing, emptied once it has been compared
    sqlite_with_rowid=False,
)

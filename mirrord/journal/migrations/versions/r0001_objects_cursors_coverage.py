"""One row per key, the cursors of feeds, and each mirror's coverage."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# types are spelt out here, not imported: a revision describes one day's tables and never changes again
KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
INSTANT = sa.BigInteger


def upgrade() -> None:
    op.create_table(
        "objects",
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
        sqlite_with_rowid=False,
    )
    for name, column, state in (
        ("objects_due", "due_at", "stale"),
        ("objects_leased", "lease_until", "claimed"),
    ):
        where = sa.text(f"state = '{state}'")
        op.create_index(name, "objects", ["mirror", column], sqlite_where=where, postgresql_where=where)
    op.create_table(
        "cursors",
        sa.Column("mirror", sa.Text, primary_key=True),
        sa.Column("source", sa.Text, primary_key=True),
        sa.Column("cursor", sa.Text, nullable=False),
        sa.Column("moved_at", INSTANT, nullable=False),
    )
    op.create_table(
        "coverage",
        sa.Column("mirror", sa.Text, primary_key=True),
        sa.Column("complete_as_of", INSTANT),
        sa.Column("lost_since", INSTANT),
        sa.Column("lost_reason", sa.Text),
    )

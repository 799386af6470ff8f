"""Which order a key's newest event had, and the time that a feed's newest event bears."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("cursors", sa.Column("event_at", sa.BigInteger))
    op.create_table(
        "orders",
        sa.Column("mirror", sa.Text, primary_key=True),
        sa.Column("key", KEY, primary_key=True),
        sa.Column("at_text", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )

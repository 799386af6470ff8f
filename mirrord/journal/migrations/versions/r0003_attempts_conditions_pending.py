"""Why and since when a version is wanted, pulls without an end, each key's last attempts, what holds a mirror."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
INSTANT = sa.BigInteger


def upgrade() -> None:
    op.add_column("objects", sa.Column("wanted_at", INSTANT))
    op.add_column("objects", sa.Column("why", sa.Text))
    op.add_column("objects", sa.Column("tries", sa.Integer, nullable=False, server_default="0"))
    op.add_column("objects", sa.Column("pending", sa.Text))
    op.create_table(
        "attempts",
        sa.Column("mirror", sa.Text, primary_key=True),
        sa.Column("key", KEY, primary_key=True),
        sa.Column("slot", sa.Integer, primary_key=True),
        sa.Column("at", INSTANT, nullable=False),
        sa.Column("operation", sa.Text, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("reqid", sa.Text),
        sa.Column("outcome", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("duration_us", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "conditions",
        sa.Column("mirror", sa.Text, primary_key=True),
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("since", INSTANT, nullable=False),
        sa.Column("until", INSTANT),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("reqid", sa.Text),
    )

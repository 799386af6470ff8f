"""Which keys a CDN is still to be told of."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "purges",
        sa.Column("mirror", sa.Text, primary_key=True),
        sa.Column("key", KEY, primary_key=True),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("due_at", sa.BigInteger, nullable=False),
        sa.Column("asked", sa.Integer, nullable=False),
        sa.Column("strikes", sa.Integer, nullable=False),
        sa.Column("last_status", sa.Integer),
        sa.Column("last_reqid", sa.Text),
        sa.Column("last_error", sa.Text),
        sqlite_with_rowid=False,
    )
    op.create_index("purges_due", "purges", ["mirror", "due_at"])

"""When a key was removed, which root was seen, and what a listing of the bucket found."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

KEY = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("objects", sa.Column("removed_at", sa.BigInteger))
    op.add_column("coverage", sa.Column("root", sa.Text))
    op.create_table(
        "listed",
        sa.Column("mirror", sa.Text, primary_key=True),
        sa.Column("key", KEY, primary_key=True),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.Text, nullable=False),
        sa.Column("put_time", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )

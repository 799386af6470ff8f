"""Which bucket each mirror was about, and since when an order's key has no row."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "served",
        sa.Column("mirror", sa.Text, primary_key=True),
        sa.Column("bucket", sa.Text),
        sa.Column("key_prefix", sa.Text),
        sa.Column("last_at", sa.BigInteger, nullable=False),
    )
    op.add_column("orders", sa.Column("ownerless_since", sa.BigInteger))

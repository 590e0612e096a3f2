"""What clusters spent their time on and how leases came by theirs, added up by day and pool."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema to this revision."""
    # Of clusters that are there the ledger begins with the state in which they are.
    op.add_column("clusters", sa.Column("booked_state", sa.Text(), nullable=False, server_default=""))
    op.add_column("clusters", sa.Column("booked_at", sa.Double(), nullable=False, server_default="0"))
    op.create_table(
        "ledger",
        sa.Column("day", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("pool", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("day", "pool", "tenant", "kind", "what", "reason", name=op.f("pk_ledger")),
    )

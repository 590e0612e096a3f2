"""Clusters that let their workers go: since when they are idle, and how often and how fast they got them back."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema to this revision."""
    # Without making the table anew: a default lets both databases add a column to rows that are there.
    op.add_column("clusters", sa.Column("idle_since", sa.Double(), nullable=False, server_default="0"))
    op.add_column("clusters", sa.Column("resizes", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("clusters", sa.Column("grow_s", sa.Double(), nullable=True))
    op.execute("UPDATE clusters SET idle_since = changed_at")

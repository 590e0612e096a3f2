"""Who can use the database: the oldest code that can, and the key that its tokens are made of."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.add_column("meta", sa.Column("usable_from", sa.Text(), nullable=False, server_default=""))
    op.add_column("meta", sa.Column("key_id", sa.Text(), nullable=False, server_default=""))

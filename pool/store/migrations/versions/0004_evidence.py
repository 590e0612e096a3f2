"""Why a cluster could not be proven clean: what was left, and whose it was."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Bring the schema to this revision."""
    op.add_column("clusters", sa.Column("evidence", sa.Text(), nullable=False, server_default=""))

"""Makes the next version of this one: the same code with one more migration, laid into where it is installed.

python lay.py DIRECTORY_OF_POOL [--breaks]   the latter: with a schema that the version before cannot use
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

MIGRATION = '''"""What the next version adds: a column that is filled from what is there, an index on it, a table."""

import sqlalchemy as sa
from alembic import op

revision = "{next}"
down_revision = "{this}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("leases", sa.Column("project", sa.Text(), nullable=False, server_default=""))
    op.execute("UPDATE leases SET project = substr(tenant, 1, 8)")
    op.create_index("ix_leases_project", "leases", ["project"])
    op.create_table("notes", sa.Column("id", sa.Integer(), primary_key=True), sa.Column("text", sa.Text()))
'''


def lay(package: Path, *, breaks: bool = False) -> str:
    """Lay the migration into an installed package `pool`, and return its number.

    Args:
        package: its directory.
        breaks: say that older code cannot use the schema.
    """
    tables = package / "store" / "tables.py"
    text = tables.read_text()
    (this,) = re.findall(r'^SCHEMA = "(\d+)"$', text, re.M)
    number = f"{int(this) + 1:04d}"
    text = text.replace(f'SCHEMA = "{this}"', f'SCHEMA = "{number}"', 1)
    if breaks:
        text = re.sub(r'^USABLE_FROM = ".*"$', f'USABLE_FROM = "{number}"', text, flags=re.M)
    tables.write_text(text)
    versions = package / "store" / "migrations" / "versions"
    (versions / f"{number}_next.py").write_text(MIGRATION.format(next=number, this=this))
    return number


if __name__ == "__main__":
    lay(Path(sys.argv[1]), breaks="--breaks" in sys.argv[2:])

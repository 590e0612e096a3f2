"""What every command shares."""

from __future__ import annotations

from typing import Annotated

import typer

from pool.cli.talk import Where

JSON = Annotated[bool, typer.Option("--json", help="Write JSON to stdout, and nothing else.")]


def where(ctx: typer.Context) -> Where:
    """Return what the command line says about where the daemon is."""
    found = ctx.find_object(Where)
    return found if found is not None else Where()

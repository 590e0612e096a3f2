"""Commands about what the pool was asked: its own history as demand."""

from __future__ import annotations

import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from pool.cli.context import where
from pool.cli.errors import Group, tell
from pool.cli.files import whole
from pool.cli.looking import PoolName, Tenant
from pool.cli.period import moment
from pool.cli.talk import Operator

app = typer.Typer(cls=Group, no_args_is_help=True, help="What the pool was asked.", rich_markup_mode=None)


@app.callback()
def _root() -> None:
    """What the pool was asked."""


@app.command()
def export(
    ctx: typer.Context,
    since: Annotated[
        str | None, typer.Option("--since", help="Asked for since then: last-7d, 36h, 2026-03-01.", show_default="all")
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", help="Asked for before then.", show_default="until now")
    ] = None,
    pool: PoolName = None,
    tenant: Tenant = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write, instead of stdout.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line, instead of CSV.")] = False,
) -> None:
    """Write the leases that were, and that are, as demand: to keep it, or to try policies on it.

    \b
    It is a CSV file with the columns
      lease,arrival_s,wait_s,duration_s,pool,pool_name,tenant,group,outcome,reason,end_reason,key
    Times are seconds since the epoch, and the key is JSON. A lease that lives has lasted until now, and no end_reason.
    `warmpool simulate --format history` reads it, also as JSON.

    \b
    Examples:
      warmpool history export --since last-7d > week.csv
      warmpool history export --tenant team/production --json -o demand.jsonl
    """
    from pool.replay.history import write_csv, write_json

    now = time.time()
    begins = None if since is None else moment(since, "--since", now)
    ends = None if until is None else moment(until, "--until", now)
    with Operator(where(ctx)) as daemon:
        items = daemon.items("/v1/history", since=begins, until=ends, pool=pool, tenant=tenant)
        with nullcontext(sys.stdout) if output is None else whole(output) as file:
            count = (write_json if json else write_csv)(items, file)
    if output is not None:
        tell(f"wrote {count} leases to {output}")

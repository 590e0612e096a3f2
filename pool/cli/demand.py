"""The demand that a policy is tried on: a trace, or what a running daemon was asked."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pool.cli.context import where
from pool.cli.errors import CommandError
from pool.cli.period import moment
from pool.cli.talk import Operator

if TYPE_CHECKING:
    from pool.replay import Job

Trace = Annotated[Path | None, typer.Option("--trace", "-t", help="File with the demand.")]
Format = Annotated[str, typer.Option("--format", "-f", help="philly, openb, azure, history or requests.")]
History = Annotated[
    str | None, typer.Option("--history", help="What the daemon was asked since then, instead of a file: last-7d.")
]


def demand(ctx: typer.Context, trace: Path | None, format_: str, history: str | None) -> list[Job]:
    """Return the jobs that the command line names, first come first.

    Raises:
        CommandError: it names none, or both a trace and a daemon's history, or there is nothing in them.
        Unreadable: the trace cannot be read; naming file, line and column.
    """
    from pool.replay import FORMATS, read

    if (trace is None) == (history is None):
        raise CommandError(
            "There is no demand." if trace is None else "There are two demands.",
            remedy="Give either --trace FILE with its --format, or --history last-7d.",
        )
    if history is not None:
        return _asked(ctx, history)
    if format_ not in FORMATS:
        raise CommandError(f"There is no format {format_!r}.", remedy=f"Name one of {', '.join(FORMATS)}.")
    if trace is None:
        raise TypeError("one of both is given")
    return read(trace, format_)


def _asked(ctx: typer.Context, since: str) -> list[Job]:
    from pool.replay.history import jobs_of

    with Operator(where(ctx)) as daemon:
        jobs = jobs_of(daemon.items("/v1/history", since=moment(since, "--history", time.time())))
    if not jobs:
        raise CommandError(f"--history: the daemon was asked for nothing in {since}.", remedy="Say a longer time.")
    return jobs

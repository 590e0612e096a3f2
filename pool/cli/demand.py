"""The demand that a policy is tried on: a trace, or what a running daemon was asked."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from pool.cli.context import where
from pool.cli.errors import CommandError
from pool.cli.period import moment
from pool.cli.show import span
from pool.cli.talk import Operator

if TYPE_CHECKING:
    from pool.replay import Job, Times

Trace = Annotated[Path | None, typer.Option("--trace", "-t", help="File with the demand.")]
Format = Annotated[
    str, typer.Option("--format", "-f", help="philly, openb, azure, history, requests; or workflows, to draw it.")
]
Starts = Annotated[
    list[str] | None, typer.Option("--start", help="How long a start took; repeat it, and each is as likely.")
]
BreakEven = Annotated[str, typer.Option("--break-even", help="Idle time that costs as much as one miss: 600, 10m.")]
LiveStarts = Annotated[
    bool, typer.Option("--live-starts", help="Starts take their time in the replay, instead of being charged.")
]
Days = Annotated[
    int | None, typer.Option("--days", min=1, help="For so many days --format workflows draws demand; 14 without it.")
]
WarmUp = Annotated[
    str,
    typer.Option("--warm-up", help="So much from the beginning policies only learn from: 7d. It counts nowhere."),
]
Seed = Annotated[int, typer.Option("--seed", help="Of what is drawn: the same seed gives the same figures.")]
Plot = Annotated[Path | None, typer.Option("--plot", help="Draw it: FILE.svg, or FILE.html. Needs warmpool[plots].")]
History = Annotated[
    str | None, typer.Option("--history", help="What the daemon was asked since then, instead of a file: last-7d.")
]


STARTS = 1_000
"""So many starts of a daemon's history are drawn from, the latest."""


class Demand(NamedTuple):
    """What was asked, and how long starts took while it was.

    Attributes:
        jobs: first come first.
        starts_s: what leases waited for a start; empty if that is not known.
    """

    jobs: list[Job]
    starts_s: tuple[float, ...] = ()


DRAWN = "workflows"
"""The format that needs no file: executions of workflows, drawn from published parameters."""


def demand(
    ctx: typer.Context, trace: Path | None, format_: str, history: str | None, *, seed: int = 0, days: int | None = None
) -> Demand:
    """Return the demand that the command line names.

    Raises:
        CommandError: it names none, or both a trace and a daemon's history, or there is nothing in them; or it says for
            how many days to draw what is not drawn.
        Unreadable: the trace cannot be read; naming file, line and column.
    """
    from pool.replay import FORMATS, read, workflows

    if format_ == DRAWN:
        if trace is not None or history is not None:
            raise CommandError(
                f"--format {DRAWN} is drawn, and reads nothing.",
                remedy="Leave --trace and --history out; --seed draws others.",
            )
        wanted = workflows.Demand()
        return Demand(workflows.generate(wanted if days is None else replace(wanted, days=float(days)), seed))
    if days is not None:
        raise CommandError("--days: only demand that is drawn has them.", remedy=f"Leave it out without -f {DRAWN}.")
    if (trace is None) == (history is None):
        raise CommandError(
            "There is no demand." if trace is None else "There are two demands.",
            remedy="Give either --trace FILE with its --format, or --history last-7d.",
        )
    if history is not None:
        return _asked(ctx, history)
    if format_ not in FORMATS:
        raise CommandError(f"There is no format {format_!r}.", remedy=f"Name one of {', '.join([*FORMATS, DRAWN])}.")
    if trace is None:
        raise TypeError("one of both is given")
    return Demand(read(trace, format_))


def _asked(ctx: typer.Context, since: str) -> Demand:
    from pool.core.model import Outcome
    from pool.replay.history import jobs_of

    with Operator(where(ctx)) as daemon:
        items = list(daemon.items("/v1/history", since=moment(since, "--history", time.time())))
    jobs = jobs_of(items)
    if not jobs:
        raise CommandError(f"--history: the daemon was asked for nothing in {since}.", remedy="Say a longer time.")
    return Demand(jobs, tuple(item["wait_s"] for item in items if item["outcome"] == Outcome.COLD)[-STARTS:])


def times_of(asked: Demand, start: Sequence[str] | None, *, reset: str = "0", live_starts: bool = False) -> Times:
    """Return how long clusters take: as the command line says, else as they took when it was asked.

    Raises:
        CommandError: one is no duration.
    """
    from pool.replay import Times

    given = tuple(seconds_of(text, "--start") for text in start or ())
    times = Times(reset_s=seconds_of(reset, "--reset"), charged=not live_starts)
    starts_s = given or asked.starts_s
    return replace(times, starts_s=starts_s) if starts_s else times


def seconds_of(text: str, option: str) -> float:
    """Return the seconds that an option says.

    Raises:
        CommandError: it is no duration.
    """
    from pool.config.values import seconds

    try:
        return seconds(float(text) if text.replace(".", "", 1).isdigit() else text)
    except ValueError as error:
        raise CommandError(f"{option}: {error}.") from None


def warm_up_of(text: str, jobs: Sequence[Job]) -> float:
    """Return the seconds of a warm-up.

    Raises:
        CommandError: it is no duration, or longer than the demand.
    """
    warm_up_s = seconds_of(text, "--warm-up")
    lasts_s = jobs[-1].arrival_s - jobs[0].arrival_s
    if warm_up_s > lasts_s:
        raise CommandError(
            f"--warm-up {text}: the demand's last job comes {span(lasts_s)} after its first.",
            remedy="Say a shorter time.",
        )
    return warm_up_s

"""The command that tries a policy on demand that was, before it is used."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from pool.cli.comparing import compare, is_configuration
from pool.cli.context import JSON
from pool.cli.demand import (
    BreakEven,
    Days,
    Format,
    History,
    LiveStarts,
    Plot,
    Seed,
    Starts,
    Trace,
    WarmUp,
    demand,
    seconds_of,
    times_of,
    warm_up_of,
)
from pool.cli.errors import CommandError, tell
from pool.cli.outcome import as_lines, picture, show
from pool.cli.plan import of_configuration, of_policy
from pool.cli.replaying import CURRENT, configuration, play, progress
from pool.cli.show import span


def simulate(
    ctx: typer.Context,
    trace: Trace = None,
    format_: Format = "requests",
    history: History = None,
    policy: Annotated[
        str,
        typer.Option(
            "--policy",
            "-p",
            help="A policy: its name, '{type: ..., option: ...}', a configuration FILE.yaml, or current.",
        ),
    ] = "break_even",
    against: Annotated[
        str | None,
        typer.Option("--against", help="With a configuration: another FILE.yaml, or `current` for the daemon's."),
    ] = None,
    break_even: BreakEven = "600",
    start: Starts = None,
    live_starts: LiveStarts = False,
    reset: Annotated[str, typer.Option("--reset", help="How long a reset takes.")] = "0",
    ceiling: Annotated[
        int | None, typer.Option("--ceiling", min=1, help="Clusters that may exist at once. Needs warmpool[optimum].")
    ] = None,
    eviction: Annotated[
        str, typer.Option("--eviction", help="Which idle cluster makes room under it: longest_idle or greedy_dual.")
    ] = "longest_idle",
    idle_cost: Annotated[
        str | None,
        typer.Option("--idle-cost-per-hour", help="Of what nobody uses, as in a configuration: '{gpu: 2.5}'."),
    ] = None,
    waiting_cost: Annotated[
        float | None, typer.Option("--waiting-cost-per-hour", min=0, help="What an hour of somebody's waiting costs.")
    ] = None,
    warm_up: WarmUp = "0",
    days: Days = None,
    seed: Seed = 0,
    plot: Plot = None,
    json: JSON = False,
) -> None:
    """Replay demand through the daemon's own decisions in simulated time.

    It tells hits, waits, idle time and cost, in total and pool by pool, and how far the objective (idle time, and the
    break-even time for each miss) is from the least that anybody could have had who knew all that comes, under the same
    ceiling, and from the best fixed idle times in hindsight.

    \b
    A trace of your own (--format requests) is a CSV file that begins with
      arrival_s,duration_s,key,group,tenant
    Starts are charged: jobs run when the trace says, and who missed is said to have waited for a start. --live-starts
    has them take their time, so that jobs end later and a release may come before the start.
    A policy that is not one of idle times, such as newsvendor or just_in_time, has `auto` beside it.
    A configuration is tried as a whole, with all its pools, ceilings and schedules, `current` is the daemon's; with
    --against it stands beside another one.
    --format workflows needs no file: executions are drawn from published parameters, others by each --seed, for 14
    days or as many as --days says.
    With --warm-up 7d the first week is replayed, so that what learns has learned as in production, and not counted: no
    lease that came in it, and of leased and idle clusters, and the optimum's, only the time after it.

    \b
    Examples:
      warmpool simulate --trace demand.csv --format requests --policy break_even --break-even 10m
      warmpool simulate --history last-7d --policy learned --break-even 10m
      warmpool simulate --history last-7d --policy '{type: newsvendor, hits: 99%}' --live-starts
      warmpool simulate --history last-14d --warm-up 7d --policy current
      warmpool simulate --history last-7d --policy candidate.yaml --against current --plot whatif.html
      warmpool simulate -f workflows --seed 4 --live-starts --start 52s -p ahead.yaml --against fixed.yaml
      warmpool simulate -f workflows --days 28 --warm-up 7d --live-starts -p ahead.yaml
      warmpool simulate -t philly_jobs.csv -f philly -p '{type: fixed_ttl, ttl: 5m}' --json
    """
    from pool.replay import report
    from pool.replay.ceiling import require
    from pool.replay.plots import check

    began = time.perf_counter()
    break_even_s = seconds_of(break_even, "--break-even")
    whole = is_configuration(policy)
    if against is not None and not whole:
        raise CommandError(
            "--against needs a configuration.", remedy="Give both, as in --policy candidate.yaml --against current."
        )
    if whole and (ceiling is not None or idle_cost is not None or waiting_cost is not None):
        what = "--ceiling" if ceiling is not None else "--idle-cost-per-hour and --waiting-cost-per-hour"
        raise CommandError(f"{what}: a configuration has its own.", remedy="Write it into the file.")
    plan = None
    if not whole:
        plan = of_policy(policy, break_even_s, ceiling, eviction, idle_cost, waiting_cost or 0.0)
    elif against is None:
        plan = of_configuration(policy, configuration(ctx, policy))
    if plan is not None and plan.clusters is not None:
        require()
    if plot is not None:
        check(plot)
    asked = demand(ctx, trace, format_, history, seed=seed, days=days)
    jobs, times = asked.jobs, times_of(asked, start, reset=reset, live_starts=live_starts)
    warm_up_s = warm_up_of(warm_up, jobs)
    if warm_up_s and not json:
        tell(f"The first {span(warm_up_s)} are not counted.")
    if plan is None:
        compare(
            ctx, policy, against or CURRENT, jobs, times,
            break_even_s=break_even_s, seed=seed, json=json, plot=plot, warm_up_s=warm_up_s,
        )  # fmt: skip
        return
    with progress(len(jobs)) as told:
        replay = play(
            plan.rules, plan.windows, jobs, times,
            seed=seed, told=told, timeline=plot is not None, warm_up_s=warm_up_s,
        )  # fmt: skip
    outcome = report(
        replay.ledger, jobs, break_even_s, times, clusters=plan.clusters, prices=plan.prices, warm_up_s=warm_up_s
    )
    took_s = time.perf_counter() - began
    keys = {job.key.digest: job.key for job in jobs}
    if json:
        as_lines(outcome, plan, keys, round(took_s, 3), warm_up_s)
    else:
        show(outcome, plan, keys)
    if plot is not None:
        picture(plot, replay, outcome, plan, jobs, times, warm_up_s)

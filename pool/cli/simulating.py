"""The command that tries a policy on demand that was, before it is used."""

from __future__ import annotations

import json as json_
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pool.cli.comparing import compare, is_configuration
from pool.cli.context import JSON
from pool.cli.demand import (
    BreakEven,
    Format,
    History,
    LiveStarts,
    Plot,
    Seed,
    Starts,
    Trace,
    demand,
    seconds_of,
    times_of,
)
from pool.cli.errors import CommandError, tell
from pool.cli.replaying import play, progress
from pool.cli.show import span, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pool.core.policy import Reclaim
    from pool.core.settings import Rules
    from pool.replay import Job, Replay, Report, Times

LAST = ("hit_rate", "wait_p95_s", "idle_s", "misses", "objective", "optimum", "ratio_to_optimum", "ratio_of_hindsight")


def simulate(
    ctx: typer.Context,
    trace: Trace = None,
    format_: Format = "requests",
    history: History = None,
    policy: Annotated[
        str,
        typer.Option(
            "--policy", "-p", help="Reclaim policy: its name, '{type: ..., option: ...}', or a configuration FILE.yaml."
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
    ceiling: Annotated[int | None, typer.Option("--ceiling", min=1, help="Clusters that may exist at once.")] = None,
    eviction: Annotated[
        str, typer.Option("--eviction", help="Which idle cluster makes room under it: longest_idle or greedy_dual.")
    ] = "longest_idle",
    seed: Seed = 0,
    plot: Plot = None,
    json: JSON = False,
) -> None:
    """Replay demand through the daemon's own decisions in simulated time.

    It tells hits, waits and idle time, and how far the objective (idle time, and the break-even time for each miss) is
    from the least that anybody could have had who knew all that comes, and from the best fixed idle times in hindsight.

    \b
    A trace of your own (--format requests) is a CSV file that begins with
      arrival_s,duration_s,key,group,tenant
    Starts are charged: jobs run when the trace says, and who missed is said to have waited for a start. --live-starts
    has them take their time, so that jobs end later and a release may come before the start.
    A configuration is tried as a whole, with all its pools, ceilings and schedules; --against says beside what.
    --format workflows needs no file: executions are drawn from published parameters, others by each --seed.

    \b
    Examples:
      warmpool simulate --trace demand.csv --format requests --policy break_even --break-even 10m
      warmpool simulate --history last-7d --policy learned --break-even 10m
      warmpool simulate --history last-7d --policy candidate.yaml --against current --plot whatif.html
      warmpool simulate -f workflows --seed 4 --live-starts --start 52s -p ahead.yaml --against fixed.yaml
      warmpool simulate -t philly_jobs.csv -f philly -p '{type: fixed_ttl, ttl: 5m}' --json
    """
    from pool.replay import report

    began = time.perf_counter()
    break_even_s = seconds_of(break_even, "--break-even")
    if against is not None or is_configuration(policy):
        if against is None or not is_configuration(policy):
            raise CommandError(
                "--policy FILE.yaml and --against go together.",
                remedy="Give both, as in --policy candidate.yaml --against current.",
            )
        if ceiling is not None:
            raise CommandError("--ceiling: a configuration has its own.", remedy="Write it into the file.")
    else:
        rules = _rules(reclaim_policy(policy, break_even_s), ceiling, eviction)
    asked = demand(ctx, trace, format_, history, seed=seed)
    jobs, times = asked.jobs, times_of(asked, start, reset=reset, live_starts=live_starts)
    if against is not None:
        compare(ctx, policy, against, jobs, times, break_even_s=break_even_s, seed=seed, json=json, plot=plot)
        return
    with progress(len(jobs)) as told:
        replay = play(rules, (), jobs, times, seed=seed, told=told, timeline=plot is not None)
    outcome = report(replay.ledger, jobs, break_even_s, times, refused=replay.refused)
    took_s = round(time.perf_counter() - began, 3)
    if plot is not None:
        _plot(plot, policy, replay, jobs, break_even_s, times, ceiling)
    if not json:
        _show(outcome, policy)
        return
    figures = outcome.figures()
    first = {name: value for name, value in figures.items() if name not in LAST}
    print(json_.dumps({"policy": policy, **first}))
    print(json_.dumps({**{name: figures[name] for name in LAST}, "seconds": took_s}))


def reclaim_policy(text: str, break_even_s: float) -> Reclaim:
    """Return the policy that a command line names.

    The break-even time is that of the command, for policies that have one; a bare ``fixed_ttl`` has it as its ttl, and
    no jitter.

    Raises:
        CommandError: there is no such policy, or its options are wrong.
    """
    import yaml
    from pydantic import TypeAdapter, ValidationError

    from pool.config.choice import ReclaimChoice

    try:
        given = yaml.safe_load(text)
    except yaml.YAMLError:
        given = None
    options: dict[str, Any] = {"type": given} if isinstance(given, str) else given
    if not isinstance(options, dict):
        raise CommandError(
            f"--policy: {text!r} is no policy.", remedy="Write break_even or '{type: fixed_ttl, ttl: 5m}'."
        )
    if options == {"type": "fixed_ttl"}:
        options |= {"ttl": break_even_s, "jitter": 0.0}
    adapter: TypeAdapter[Any] = TypeAdapter(ReclaimChoice)
    try:
        chosen = adapter.validate_python(options)
        worth = {"break_even", "start_worth", "hits", "wait_p95"}
        if "break_even" in type(chosen).model_fields and not worth & options.keys():
            chosen = adapter.validate_python({**options, "break_even": break_even_s})
    except ValidationError as error:
        from policies.registry import RECLAIMS

        what = error.errors(include_url=False)[0]["msg"]
        raise CommandError(f"--policy {text}: {what}.", remedy=f"Policies are {', '.join(RECLAIMS)}.") from None
    policy: Reclaim = chosen.build()
    return policy


def _rules(reclaim: Reclaim, clusters: int | None, eviction: str = "longest_idle") -> Rules:
    from policies.grant_order import MostRecentlyUsed
    from policies.queue_order import PriorityWithAging
    from policies.registry import EVICTIONS
    from policies.sizing import FloorAndBuffer
    from pool.core.settings import NO_CEILING, Ceiling, PoolSettings, Rules
    from pool.replay.run import FOREVER_S

    if eviction not in EVICTIONS:
        raise CommandError(f"--eviction {eviction}: there is none.", remedy=f"There are {', '.join(EVICTIONS)}.")
    settings = PoolSettings(
        "trace",
        MostRecentlyUsed(),
        PriorityWithAging(),
        FloorAndBuffer(),
        reclaim,
        max_wait_s=FOREVER_S,
        max_waiting=10**9,
    )
    daemon = NO_CEILING if clusters is None else Ceiling(clusters=clusters)
    return Rules(lambda key: settings, daemon=daemon, max_starting=10**9, eviction=EVICTIONS[eviction]())


def _plot(
    plot: Path,
    policy: str,
    replay: Replay,
    jobs: Sequence[Job],
    break_even_s: float,
    times: Times,
    ceiling: int | None,
) -> None:
    """Draw a replay, and where it stands among other policies of the same demand."""
    from pool.replay import report
    from pool.replay.frontier import best, fixed_times, point
    from pool.replay.plots import Picture, draw
    from pool.replay.timeline import Timeline

    # Under a ceiling, or where starts take their time, gaps alone do not say what a fixed idle time costs.
    free = ceiling is None and times.charged
    others = [name for name in ("break_even", "auto", "never_keep") if name != policy]
    points = [point(policy, replay.ledger.total())]
    with progress(len(jobs), len(others)) as told:
        for name in others:
            rules = _rules(reclaim_policy(name, break_even_s), ceiling)
            points.append(point(name, play(rules, (), jobs, times, told=told).ledger.total()))
    if free:
        points.append(best(jobs, break_even_s, times))
    picture = Picture(
        title=f"{policy}, a miss is {span(break_even_s)} idle",
        spells=replay.ledger.spells if isinstance(replay.ledger, Timeline) else (),
        fixed=fixed_times(jobs, times) if free else (),
        points=points,
        figures=_rows(report(replay.ledger, jobs, break_even_s, times, refused=replay.refused)),
    )
    draw(picture, plot)
    tell(f"drew {plot}")


def _show(outcome: Report, policy: str) -> None:
    if outcome.refused:
        tell(f"{outcome.refused} jobs got no lease: a single cluster is over the ceiling.")
    table((policy, ">FIGURE"), _rows(outcome), "")


def _rows(outcome: Report) -> list[tuple[str, str]]:
    return [
        ("leases", f"{outcome.leases:,}"),
        ("hits", f"{outcome.hits:,} ({outcome.hit_rate:.1%})"),
        ("wait p50, p95, p99", ", ".join(map(span, (outcome.wait_p50_s, outcome.wait_p95_s, outcome.wait_p99_s)))),
        ("clusters started", f"{outcome.starts:,}"),
        ("idle, leased", f"{outcome.idle_s / 3600:,.1f} h, {outcome.busy_s / 3600:,.1f} h"),
        (f"objective (a miss is {span(outcome.break_even_s)} idle)", f"{outcome.objective / 3600:,.1f} h"),
        ("the optimum", f"{outcome.optimum / 3600:,.1f} h"),
        ("objective / optimum", f"{outcome.ratio_to_optimum:.3f}"),
        ("starts and idle time of who starts all just in time", f"{outcome.optimum_prewarming / 3600:,.1f} h"),
        ("the best fixed idle times in hindsight / optimum", f"{outcome.ratio_of_hindsight:.3f}"),
    ]

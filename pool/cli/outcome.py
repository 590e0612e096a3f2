"""How a replay is told: in total and pool by pool, as tables, as JSON and as a picture."""

from __future__ import annotations

import json as json_
from pathlib import Path
from typing import TYPE_CHECKING

from pool.cli.errors import tell
from pool.cli.plan import Plan, policies_of, rules_of
from pool.cli.replaying import play, progress
from pool.cli.show import hours, money, share, span, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pool.core.key import ClusterKey
    from pool.replay import Job, Replay, Report, Times

LAST = ("hit_rate", "wait_p95_s", "idle_s", "misses", "objective", "optimum", "ratio_to_optimum", "ratio_of_hindsight")

MOST = 10
"""So many pools are shown, the most used ones."""


def said_of(warm_up_s: float) -> dict[str, float]:
    """Return what JSON says of a warm-up: nothing where there is none."""
    return {"warm_up_s": warm_up_s} if warm_up_s else {}


def as_lines(outcome: Report, plan: Plan, keys: dict[str, ClusterKey], took_s: float, warm_up_s: float = 0.0) -> None:
    """Write two lines of JSON: everything with every pool, then the figures that programs look at."""
    from pool.core.key import describe

    figures = outcome.figures()
    first = {name: value for name, value in figures.items() if name not in LAST}
    pools = [
        {"pool": digest, **_name(plan, keys[digest]), "image": keys[digest].image, "tenant": keys[digest].tenant,
         "shape": describe(keys[digest].shape), **one.figures()}
        for digest, one in _most_used(outcome)
    ]  # fmt: skip
    print(json_.dumps({"policy": plan.name, "ceiling": plan.clusters, **said_of(warm_up_s), **first, "pools": pools}))
    print(json_.dumps({**{name: figures[name] for name in LAST}, "seconds": took_s}))


def _name(plan: Plan, key: ClusterKey) -> dict[str, str]:
    return {"pool_name": plan.rules.settings_for(key).name} if plan.named else {}


def _most_used(outcome: Report) -> list[tuple[str, Report]]:
    return sorted(outcome.pools.items(), key=lambda pool: (-pool[1].leases, pool[0]))


def show(outcome: Report, plan: Plan, keys: dict[str, ClusterKey]) -> None:
    """Write a table of all pools together, and one of those that are used most."""
    from pool.core.key import describe

    if outcome.refused:
        tell(f"{outcome.refused} jobs got no lease: a single cluster is over the ceiling.")
    priced = _priced(plan, keys)
    table((plan.name, ">FIGURE"), rows(outcome, plan, priced), "")
    print()
    shown = _most_used(outcome)
    if len(shown) > MOST:
        print(f"The {MOST} most used of {len(shown)} pools:")
    cells = [
        (
            digest, *_name(plan, keys[digest]).values(), keys[digest].image, describe(keys[digest].shape),
            keys[digest].tenant, f"{one.leases:,}", share(one.hits, one.leases),
            span(one.wait_p50_s), span(one.wait_p95_s), span(one.wait_p99_s), hours(one.idle_s), hours(one.cluster_s),
            *([money(one.cost)] if priced else []), hours(one.objective), _ratio(one),
        )
        for digest, one in shown[:MOST]
    ]  # fmt: skip
    columns = (
        "POOL", *(["NAME"] if plan.named else []), "IMAGE", "SHAPE", "TENANT", ">LEASES", ">HITS", ">P50", ">P95",
        ">P99", ">IDLE H", ">ALL H", *([">COST"] if priced else []), ">OBJECTIVE H", ">/ OPTIMUM",
    )  # fmt: skip
    table(columns, cells, "")


def _priced(plan: Plan, keys: dict[str, ClusterKey]) -> bool:
    return any(plan.prices(key).idle(key.footprint) or plan.prices(key).waiting for key in keys.values())


def _ratio(one: Report) -> str:
    return f"{one.ratio_to_optimum:.3f}" if one.optimum else "-"


def rows(outcome: Report, plan: Plan, priced: bool) -> list[tuple[str, str]]:
    """Return the figures of all pools together, each with its name."""
    waits = (outcome.wait_p50_s, outcome.wait_p95_s, outcome.wait_p99_s)
    spent = (outcome.idle_s, outcome.busy_s, outcome.cluster_s)
    found = [
        ("leases", f"{outcome.leases:,}"),
        ("hits", f"{outcome.hits:,} ({share(outcome.hits, outcome.leases)})"),
        ("wait p50, p95, p99", ", ".join(map(span, waits))),
        ("clusters started", f"{outcome.starts:,}"),
        ("idle, leased, all cluster hours", ", ".join(map(_hours, spent))),
    ]
    if priced:
        found.append(("cost of idle time, starts and waiting", money(outcome.cost)))
    found.append((f"objective (a miss is {span(outcome.break_even_s)} idle)", _hours(outcome.objective)))
    ahead = "starts and idle time of who starts all just in time"
    fixed = "the best fixed idle times in hindsight / optimum"
    if plan.clusters is None:
        found.append(("the optimum", _hours(outcome.optimum)))
    else:
        found.append((f"the optimum under a ceiling of {plan.clusters:,}", _hours(outcome.optimum)))
        found.append(("the optimum without a ceiling", _hours(outcome.optimum_unbounded)))
        ahead = "starts, idle time and misses of who starts just in time under it"
        fixed += ", without a ceiling"
    return [
        *found,
        ("objective / optimum", _ratio(outcome)),
        (ahead, _hours(outcome.optimum_prewarming)),
        (fixed, f"{outcome.ratio_of_hindsight:.3f}"),
    ]


def _hours(seconds: float) -> str:
    return f"{hours(seconds)} h"


def picture(
    path: Path,
    replay: Replay,
    outcome: Report,
    plan: Plan,
    jobs: Sequence[Job],
    times: Times,
    warm_up_s: float = 0.0,
) -> None:
    """Draw a replay, and where it stands among other policies of the same demand; all that counts of it."""
    from pool.replay.demand import counted_from
    from pool.replay.frontier import best, fixed_times, point
    from pool.replay.plots import Picture, draw
    from pool.replay.timeline import Timeline

    break_even_s, since_s = outcome.break_even_s, counted_from(jobs, warm_up_s)
    # Under a ceiling, or where starts take their time, gaps alone do not say what a fixed idle time costs.
    free = plan.rules.daemon.clusters is None and times.charged
    others = [name for name in ("break_even", "auto", "never_keep") if name != plan.name]
    points = [point(plan.name, replay.ledger.total())]
    with progress(len(jobs), len(others)) as told:
        for name in others:
            rules = rules_of(policies_of(name, break_even_s)["reclaim"], plan.clusters)
            other = play(rules, (), jobs, times, told=told, warm_up_s=warm_up_s)
            points.append(point(name, other.ledger.total()))
    if free:
        points.append(best(jobs, break_even_s, times, since_s))
    keys = {job.key.digest: job.key for job in jobs}
    drawn = Picture(
        title=f"{plan.name}, a miss is {span(break_even_s)} idle",
        spells=replay.ledger.spells if isinstance(replay.ledger, Timeline) else (),
        fixed=fixed_times(jobs, times, since_s) if free else (),
        points=points,
        figures=rows(outcome, plan, _priced(plan, keys)),
    )
    draw(drawn, path)
    tell(f"drew {path}")

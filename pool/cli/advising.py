"""The command that proposes settings for each pool, with the evidence, as YAML that is ready to paste."""

from __future__ import annotations

import json as json_
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pool.cli.context import JSON
from pool.cli.demand import (
    DRAWN,
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
from pool.cli.errors import tell
from pool.cli.outcome import said_of
from pool.cli.replaying import CURRENT, configuration, play_config, progress
from pool.cli.show import hours, money, span

if TYPE_CHECKING:
    from pool.config import Config
    from pool.core.key import ClusterKey
    from pool.core.settings import Prices
    from pool.replay import Job, Replay
    from pool.replay.advise import Advice
    from pool.replay.compare import Figures

DAY_S, YEAR_S = 86_400.0, 31_536_000.0

Settings = Mapping[str, Mapping[str, Any]]
"""Policies of a pool, as a configuration writes them."""

FEW = 100
"""Of fewer leases than these it is said that they are few."""

RECLAIMS: tuple[dict[str, Any], ...] = (
    {"type": "auto"},
    {"type": "histogram"},
    {"type": "never_keep"},
    *({"type": "fixed_ttl", "ttl": ttl} for ttl in ("1m", "3m", "10m", "30m", "1h", "3h")),
)
"""The policies of idle times that are tried."""


def tried(worth: Mapping[str, Any], *, live: bool, groups: bool) -> dict[str, Settings]:
    """Return what is tried, by its name.

    Args:
        worth: what a start is worth, as an option of policies that start clusters ahead of demand.
        live: whether starts take their time. Where they take none, starting ahead of demand would cost nothing.
        groups: whether leases are of groups, so that there is something to look ahead to.
    """
    found: dict[str, Settings] = {_name(policy): {"reclaim": policy} for policy in RECLAIMS}
    if not live:
        return found
    auto, sized, ahead = {"type": "auto"}, {"type": "newsvendor", **worth}, {"type": "just_in_time", **worth}
    at_once = {"type": "fixed_ttl", "ttl": "0s"}
    found["newsvendor"] = {"reclaim": at_once, "sizing": sized}
    found["next_use"] = {"reclaim": auto, "prewarm": {"type": "next_use", **worth}}
    found["least_recently_used"] = {"reclaim": auto, "grant_order": {"type": "least_recently_used"}}
    if groups:
        found["just_in_time"] = {"reclaim": auto, "look_ahead": ahead}
        found["newsvendor, just_in_time"] = {"reclaim": at_once, "sizing": sized, "look_ahead": ahead}
    return found


def advise(
    ctx: typer.Context,
    trace: Trace = None,
    format_: Format = "requests",
    history: History = None,
    config: Annotated[
        str, typer.Option("--config", "-c", help="The configuration to improve: a file, or `current` for the daemon's.")
    ] = CURRENT,
    break_even: BreakEven = "600",
    start: Starts = None,
    live_starts: LiveStarts = False,
    warm_up: WarmUp = "0",
    days: Days = None,
    seed: Seed = 0,
    plot: Plot = None,
    json: JSON = False,
) -> None:
    """Propose settings for each configured pool, from what they would have cost on demand that was.

    Every policy is replayed on all of it, and each pool gets the one that costs least there, if it saves 2 % or more:
    by the prices in the configuration, or where there are none, by idle time and --break-even for each miss. What all
    proposals together would have cost is replayed too. The answer is the `pools:` of a configuration file, with the
    evidence as comments. With --live-starts, policies that start clusters ahead of demand are tried too.
    With --warm-up 7d the first week is replayed by each policy, so that what learns has learned as in production, and
    decides nothing: neither leases that came in it count, nor what clusters did in it.

    \b
    Examples:
      warmpool advise --history last-7d
      warmpool advise --history last-30d --plot frontier.svg > pools.yaml
      warmpool advise --history last-7d --live-starts
      warmpool advise --history last-14d --warm-up 7d --live-starts
      warmpool advise --trace week.csv --format history --config warmpool.yaml --start 52s
    """
    from pool.config import build_rules
    from pool.replay.advise import advise as advised
    from pool.replay.advise import by_name
    from pool.replay.plots import check

    if plot is not None:
        check(plot)
    now = configuration(ctx, config)
    if trace is None and history is None and format_ != DRAWN:
        history = "last-7d"
    asked = demand(ctx, trace, format_, history, seed=seed, days=days)
    jobs, times = asked.jobs, times_of(asked, start, live_starts=live_starts)
    warm_up_s = warm_up_of(warm_up, jobs)
    break_even_s = seconds_of(break_even, "--break-even")
    rules = build_rules(now, {})
    keys = {job.key.digest: job.key for job in jobs}

    def prices(key: ClusterKey) -> Prices:
        return rules.settings_for(key).prices

    def figures(replay: Replay) -> tuple[dict[str, Figures], Figures]:
        found, total = by_name(replay, keys, lambda key: rules.settings_for(key).name, prices, break_even_s)
        return found, total.total

    priced = any(prices(key).idle(key.footprint) for key in keys.values())
    candidates = tried({} if priced else {"break_even": break_even_s}, live=live_starts, groups=_has_groups(jobs))
    with progress(len(jobs), len(candidates) + 2) as told:
        play = partial(play_config, jobs=jobs, times=times, seed=seed, warm_up_s=warm_up_s, told=told)
        before, was = figures(play(now))
        worth = _worth(was)
        found: dict[str, tuple[dict[str, Figures], Figures]] = {}
        for name, settings in candidates.items():
            found[name] = figures(play(_with(now, lambda pool, s=settings: s)))  # type: ignore[misc]
        targets = {pool.name for pool in now.pools if pool.target is not None}
        advice = advised(before, {name: by for name, (by, _) in found.items()}, worth, targets)
        best = {one.pool: one.best for one in advice}
        proposed = _with(now, lambda pool: candidates.get(best.get(pool, "")))
        last = play(proposed, timeline=plot is not None)
        _, then = figures(last)
    if json:
        _json(advice, was, then, proposed, warm_up_s)
    else:
        print(_yaml(advice, was, then, proposed, jobs, times.starts_s, worth, warm_up_s), end="")
    if plot is not None:
        _plot(plot, last, {"as it is": was, **{name: total for name, (_, total) in found.items()}})


def _name(policy: Mapping[str, Any]) -> str:
    return f"{policy['type']} {policy['ttl']}" if "ttl" in policy else str(policy["type"])


def _has_groups(jobs: Sequence[Job]) -> bool:
    """Tell whether some group asks more than once."""
    groups = [job.group for job in jobs if job.group]
    return len(groups) > len(set(groups))


def _worth(now: Figures) -> Callable[[Figures], float]:
    """Return what figures cost: money where there are prices, else cluster hours with misses."""
    if now.cost:
        return lambda one: one.cost
    return lambda one: one.objective_s / 3600


def _with(config: Config, settings_of: Callable[[str], Settings | None]) -> Config:
    """Return a configuration with other policies; None leaves a pool's as they are."""
    from pydantic import TypeAdapter

    from pool.config.choice import OF_A_POOL

    pools = []
    for pool in config.pools:
        settings = settings_of(pool.name)
        update: dict[str, Any] = {} if settings is None else {"target": None}
        for name, policy in (settings or {}).items():
            update[name] = TypeAdapter(OF_A_POOL[name]).validate_python(dict(policy))
        pools.append(pool.model_copy(update=update))
    return config.model_copy(update={"pools": pools})


def _sections(config: Config) -> list[dict[str, Any]]:
    """Return the pools as a file would say them: with what is not the default."""
    from pool.config import load
    from pool.config.show import effective

    default = effective(load(None))["pools"][0]
    sections = []
    for pool in effective(config)["pools"]:
        kept = {"name", "match", "key", "reclaim"}
        sections.append({name: value for name, value in pool.items() if name in kept or default.get(name) != value})
    return sections


def _short(setting: Any, shown: Any) -> Any:
    """Return a setting as somebody would write it: without the options that are as if nothing was said."""
    from pydantic import BaseModel

    if not isinstance(setting, BaseModel) or not isinstance(shown, dict):
        return shown
    said = setting.model_dump(exclude_defaults=True)
    options = {name: value for name, value in shown.items() if name == "type" or name in said}
    return options["type"] if options.keys() == {"type"} else options


def _yaml(
    advice: Sequence[Advice],
    was: Figures,
    then: Figures,
    proposed: Config,
    jobs: Sequence[Job],
    starts_s: Sequence[float],
    worth: Callable[[Figures], float],
    warm_up_s: float,
) -> str:
    import yaml

    from pool.replay.demand import counted_from

    since_s = counted_from(jobs, warm_up_s)
    counted = [job for job in jobs if job.arrival_s >= since_s]
    after = f", after a warm-up of {span(warm_up_s)}" if warm_up_s else ""
    first, last = (_moment(job.arrival_s) for job in (counted[0], counted[-1]))
    typical_s = sorted(starts_s)[len(starts_s) // 2]
    unit = (
        "Costs are" if was.cost else "There are no prices: costs are idle cluster hours, and --break-even for misses,"
    )
    lines = [
        f"{len(counted):,} leases from {first} to {last}, replayed{after}; a start takes {span(typical_s)}.",
        f"{unit} without leased time. All pools: {_say(was, worth)} as it is,",
        f"{_say(then, worth)} as proposed.",
    ]
    if len(counted) < FEW:
        lines.insert(1, "So few leases say little of those to come: ask again when there are some hundreds.")
    by_pool = {one.pool: one for one in advice}
    out = [*(f"# {line}" for line in lines), "pools:"]
    for pool, full in zip(proposed.pools, _sections(proposed), strict=True):
        one = by_pool.get(pool.name)
        section = {name: _short(getattr(pool, name), value) for name, value in full.items()}
        out += [f"# {line}" for line in _evidence(one, worth)]
        out.append(
            yaml.safe_dump([section], default_flow_style=None, sort_keys=False, allow_unicode=True, width=110).rstrip()
        )
    return "\n".join(out) + "\n"


def _moment(at: float) -> str:
    """Return a time of demand; a trace whose clock begins at 0 has no dates."""
    moment = datetime.fromtimestamp(at, UTC)
    return f"{moment:%Y-%m-%d %H:%M} UTC" if at >= YEAR_S else f"day {int(at // DAY_S) + 1} {moment:%H:%M}"


def _evidence(one: Advice | None, worth: Callable[[Figures], float]) -> list[str]:
    if one is None:
        return ["Nobody asked for it: left as it is."]
    said = [f"As it is: {one.now.leases:,} leases, {_say(one.now, worth)}."]
    if one.best:
        said.append(f"With {one.best}: {_say(one.proposed, worth)}.")
    elif one.has_target:
        said.append("It has a target, which is to be reached whatever it costs: left as it is.")
    else:
        said.append("Nothing that was tried saves 2 %: left as it is.")
    others = sorted((worth(figures), name) for name, figures in one.tried.items() if name != one.best)
    said.append("Tried: " + ", ".join(f"{name} {money(cost)}" for cost, name in others) + ".")
    return said


def _say(one: Figures, worth: Callable[[Figures], float]) -> str:
    return f"{one.hit_rate:.1%} hits, {hours(one.idle_s)} idle hours, cost {money(worth(one))}"


def _json(advice: Sequence[Advice], was: Figures, then: Figures, proposed: Config, warm_up_s: float) -> None:
    settings = {section["name"]: section for section in _sections(proposed)}
    pools = [
        {
            "pool": one.pool,
            "proposed": one.best or None,
            "now": one.now.plain(),
            "then": one.proposed.plain(),
            "tried": {name: figures.plain() for name, figures in one.tried.items()},
            "settings": settings[one.pool],
        }
        for one in advice
    ]
    print(json_.dumps({**said_of(warm_up_s), "pools": pools}))
    print(json_.dumps({"now": was.plain(), "then": then.plain(), "changed": sum(bool(one.best) for one in advice)}))


def _plot(plot: Path, last: Replay, totals: Mapping[str, Figures]) -> None:
    from pool.replay.frontier import Point, point
    from pool.replay.plots import Picture, draw
    from pool.replay.timeline import Timeline

    def at(name: str, one: Figures) -> Point:
        return Point(name, one.idle_s, one.waited_s / max(1, one.leases), one.hit_rate)

    ledger = last.ledger
    fixed = [at(name.removeprefix("fixed_ttl "), one) for name, one in totals.items() if name.startswith("fixed_ttl")]
    others = [at(name, one) for name, one in totals.items() if not name.startswith("fixed_ttl")]
    picture = Picture(
        title="Settings as proposed",
        spells=ledger.spells if isinstance(ledger, Timeline) else (),
        fixed=fixed,
        points=[point("as proposed", ledger.total()), *others],
    )
    draw(picture, plot)
    tell(f"drew {plot}")

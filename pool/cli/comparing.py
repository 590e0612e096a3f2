"""What a candidate configuration would have changed, beside the one in force."""

from __future__ import annotations

import json as json_
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pool.cli.errors import tell
from pool.cli.outcome import said_of
from pool.cli.replaying import CURRENT, configuration, play_config, progress
from pool.cli.show import hours, money, span, table

if TYPE_CHECKING:
    from pool.core.key import ClusterKey
    from pool.core.settings import Prices
    from pool.replay import Job, Replay, Times
    from pool.replay.compare import Difference, Figures, Side

MOST = 10
"""So many pools are named that gain or lose most."""


def compare(
    ctx: typer.Context,
    candidate: str,
    against: str,
    jobs: Sequence[Job],
    times: Times,
    *,
    break_even_s: float,
    seed: int,
    json: bool,
    plot: Path | None,
    warm_up_s: float = 0.0,
) -> None:
    """Replay demand under two configurations, and show what differs. Prices are those of the candidate, for both."""
    from pool.config import build_rules
    from pool.replay.compare import differences, side

    new, old = configuration(ctx, candidate), configuration(ctx, against)
    rules = build_rules(new, {})
    keys = {job.key.digest: job.key for job in jobs}

    def prices(key: ClusterKey) -> Prices:
        return rules.settings_for(key).prices

    with progress(len(jobs), 2) as told:
        before = play_config(old, jobs, times, seed=seed, told=told, warm_up_s=warm_up_s)
        after = play_config(new, jobs, times, seed=seed, told=told, warm_up_s=warm_up_s, timeline=plot is not None)
    sides = tuple(side(r.ledger.pools, keys, prices, break_even_s, r.refused) for r in (before, after))
    priced = any(found.cost for one in sides for found in one.pools.values())
    found = differences(sides[0], sides[1], priced)
    names = {digest: rules.settings_for(key).name for digest, key in keys.items()}
    if json:
        _json(sides, found, names, keys, priced, warm_up_s)
    else:
        _show(candidate, against, sides, found, names, keys, priced)
    if plot is not None:
        _plot(plot, candidate, against, (before, after), found, names, keys, priced, sides)


def _json(
    sides: Sequence[Side],
    found: Sequence[Difference],
    names: dict[str, str],
    keys: dict[str, ClusterKey],
    priced: bool,
    warm_up_s: float,
) -> None:
    pools = [
        {
            "pool": one.digest, "pool_name": names[one.digest], "tenant": keys[one.digest].tenant,
            "image": keys[one.digest].image, "worth": round(one.worth(priced), 6),
            "against": one.before.plain(), "candidate": one.after.plain(),
        }
        for one in found[:MOST]
    ]  # fmt: skip
    print(json_.dumps({"unit": "cost" if priced else "cluster_hours", **said_of(warm_up_s), "pools": pools}))
    last = {name: one.total.plain() | {"refused": one.refused} for name, one in zip(_SIDES, sides, strict=True)}
    print(json_.dumps(last))


_SIDES = ("against", "candidate")


def _show(
    candidate: str,
    against: str,
    sides: Sequence[Side],
    found: Sequence[Difference],
    names: dict[str, str],
    keys: dict[str, ClusterKey],
    priced: bool,
) -> None:
    for name, one in zip((against, candidate), sides, strict=True):
        if one.refused:
            tell(f"{name}: {one.refused} jobs got no lease.")
    rows = [(what, *(say(one.total) for one in sides)) for what, say in _rows(priced)]
    table(("", f">{against}", f">{candidate}"), rows, "")
    print()
    lines = [
        (
            one.digest, names[one.digest], keys[one.digest].image, keys[one.digest].tenant, f"{one.after.leases:,}",
            f"{one.before.hit_rate:.0%} to {one.after.hit_rate:.0%}",
            f"{span(one.before.waited_s)} to {span(one.after.waited_s)}",
            f"{hours(one.before.idle_s)} to {hours(one.after.idle_s)}",
            ("+" if one.worth(priced) > 0 else "") + money(one.worth(priced)),
        )
        for one in found[:MOST]
        if one.worth(priced)
    ]  # fmt: skip
    unit = "COST" if priced else "CLUSTER HOURS"
    columns = ("POOL", "NAME", "IMAGE", "TENANT", ">LEASES", ">HITS", ">WAITED", ">IDLE HOURS", f">{unit}")
    table(columns, lines, "No pool gains or loses anything.")


def _rows(priced: bool) -> list[tuple[str, Any]]:
    def cost(one: Figures) -> str:
        return money(one.cost) if priced else hours(one.objective_s)

    return [
        ("leases", lambda one: f"{one.leases:,}"),
        ("hits", lambda one: f"{one.hits:,} ({one.hit_rate:.1%})"),
        ("waited, together", lambda one: span(one.waited_s)),
        ("wait p95", lambda one: span(one.wait_p95_s)),
        ("clusters started", lambda one: f"{one.starts:,}"),
        ("idle hours", lambda one: hours(one.idle_s)),
        ("cost" if priced else "cluster hours, idle and for misses", cost),
    ]


def _plot(
    plot: Path,
    candidate: str,
    against: str,
    replays: tuple[Replay, Replay],
    found: Sequence[Difference],
    names: dict[str, str],
    keys: dict[str, ClusterKey],
    priced: bool,
    sides: Sequence[Side],
) -> None:
    from pool.replay.frontier import point
    from pool.replay.plots import Change, Picture, draw
    from pool.replay.timeline import Timeline

    before, after = replays
    ledger = after.ledger
    changes = [
        Change(f"{names[one.digest]} {keys[one.digest].image[-24:]} {one.digest[:6]}", one.worth(priced))
        for one in found[:MOST]
        if one.worth(priced)
    ]
    figures = [(what, f"{say(sides[0].total)} → {say(sides[1].total)}") for what, say in _rows(priced)]
    picture = Picture(
        title=f"{Path(candidate).name} against {against}",
        of=Path(candidate).name,
        spells=ledger.spells if isinstance(ledger, Timeline) else (),
        fixed=(),
        points=[point(Path(candidate).name, ledger.total()), point(against, before.ledger.total())],
        changes=changes,
        unit="cost" if priced else "cluster hours",
        figures=figures,
    )
    draw(picture, plot)
    tell(f"drew {plot}")


def is_configuration(policy: str) -> bool:
    """Tell whether what was given as a policy is a whole configuration: a file, or the daemon's."""
    return policy == CURRENT or policy.endswith((".yaml", ".yml"))

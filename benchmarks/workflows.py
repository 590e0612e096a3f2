"""What policies reach on drawn workflows: hits and idle hours beside a fixed idle time, and beside who knows the rates.

The tables of `docs/policies.md`, "What it reaches on workflows". For each seed of `pool.replay.workflows`, of all its
14 days, which begin with nothing learned, and of their second half alone, with the first as warm-up:

- the shortest ``fixed_ttl`` in whole hours that finds 90 %;
- each of `POLICIES`;
- what somebody needs for 99 % who knows the rates (`benchmarks.rates`): by cluster hours, and by core hours.

Starts take their time, 50 to 54 s, as on a Kubernetes. Core hours are the cost where a core that nobody uses costs 1 an
hour, as ``warmpool simulate`` counts it: of idle clusters, and of those that start. It takes some ten minutes on two
cores, and comes to the same figures on any machine.

    python -m benchmarks.workflows --seeds 1 2      # of some alone: printed, and kept nowhere
"""

from __future__ import annotations

import argparse
import json
import os
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache, partial
from multiprocessing import get_context
from typing import Any

from benchmarks.rates import Rates
from benchmarks.report import finish
from pool.config import build_rules, load_text
from pool.core.decisions import Decision
from pool.core.model import Cluster
from pool.core.settings import Prices
from pool.replay import Job, Replay, Times
from pool.replay.compare import side
from pool.replay.figures import Ledger
from pool.replay.workflows import DAY_S, Demand, generate
from pool.store.memory import MemoryStore

SEEDS = range(1, 10)
TIMES = Times(starts_s=(50.0, 52.0, 54.0), charged=False)
CORES = Prices(cpu=1.0)
SPANS = ("whole", "second half")
GOAL, FIXED_GOAL = 0.99, 0.90
"""The share of hits that policies shall have, at no more than a fixed idle time needs for the other one."""
LONGEST_H = 24
"""Longer fixed times are not tried."""

FIXED = """
max_starting: 1000
defaults: {{reclaim: {{type: fixed_ttl, ttl: {hours}h, jitter: 0}}, locality_wait: 0s, max_lifetime: 0s, max_uses: 0}}
"""

# The drawn tasks leave no data behind, for which to wait, and wear no cluster.
AHEAD = """
max_starting: 1000
defaults:
  idle_cost_per_hour: {{{unit}: 1}}
  sizing: {{type: newsvendor, {worth}}}
  look_ahead: just_in_time
  reclaim: {{type: fixed_ttl, ttl: 0s}}
  serve_larger: true
  locality_wait: 0s
  max_lifetime: 0s
  max_uses: 0
"""


def ahead(worth: str, unit: str = "cluster") -> str:
    """Return a configuration by what a start is worth, where an hour of any cluster costs 1, or of any core (`cpu`)."""
    return AHEAD.format(unit=unit, worth=worth)


# What a start is worth was chosen on seeds 1 to 3: as the least multiple of 4 h with which each of them has its 99 %.
POLICIES = {
    "by price": {"whole": ahead("break_even: 68h"), "second half": ahead("break_even: 48h")},
    "by target": dict.fromkeys(SPANS, ahead("hits: 0.9905")),
    "by target and cores": dict.fromkeys(SPANS, ahead("hits: 0.9905", "cpu")),
}
"""Configurations by name, and by what of the demand counts."""

Row = dict[str, Any]
Spans = dict[str, Row]
"""What was found, by `SPANS`."""


class Halves(Ledger):
    """A ledger of a whole replay, which has a second one of what comes after the warm-up."""

    def __init__(self, charged_s: Mapping[str, float]) -> None:
        super().__init__(charged_s)
        self.later = Ledger(charged_s)

    def leave_out(self, until_s: float, leases: Collection[str]) -> None:
        """Have the second one begin then."""
        self.later.leave_out(until_s, leases)

    def observe(self, decision: Decision) -> None:
        """Count one decision in both."""
        super().observe(decision)
        self.later.observe(decision)

    def close(self, clusters: Mapping[str, Cluster], now: float) -> None:
        """Count the clusters that are still there at the end, in both."""
        super().close(clusters, now)
        self.later.close(clusters, now)


def replayed(text: str, jobs: Sequence[Job], seed: int, warm_up_s: float) -> Spans:
    """Return what a configuration comes to."""
    rules = build_rules(load_text(text, "of the benchmark"), {})
    replay = Replay(rules, MemoryStore(keeps_books=False), TIMES, seed=seed, ledger=Halves, warm_up_s=warm_up_s)
    replay.run(jobs)
    ledger, keys = replay.ledger, {job.key.digest: job.key for job in jobs}
    if not isinstance(ledger, Halves):
        raise TypeError("a replay has the ledger that it was given")
    if replay.refused:
        raise RuntimeError(f"{replay.refused} jobs got no lease")
    found: Spans = {}
    for span, one in zip(SPANS, (ledger, ledger.later), strict=True):
        total = side(one.pools, keys, lambda key: CORES, 0.0, 0).total
        found[span] = {
            # As it is: what is 0.00001 short of a goal does not reach it.
            "hit_rate": total.hit_rate, "leases": total.leases, "idle_h": round(total.idle_s / 3600, 1),
            "core_h": round(total.cost, 1), "starts": total.starts,
        }  # fmt: skip
    return found


def shortest(tell: Callable[[int], Spans]) -> Spans:
    """Return the shortest fixed times that find enough, or the longest that is tried.

    Args:
        tell: tells what a fixed time of so many hours comes to.
    """
    found: Spans = {}
    for span in SPANS:

        def enough(hours: int, span: str = span) -> bool:
            return bool(tell(hours)[span]["hit_rate"] >= FIXED_GOAL)

        hours = 1 + bisect_left(range(1, LONGEST_H), True, key=enough)
        found[span] = {"ttl_h": hours, **tell(hours)[span]}
    return found


def fixed(wanted: Demand, seed: int) -> Spans:
    """Return the shortest fixed times of a seed that find enough."""
    jobs = generate(wanted, seed)
    tell = cache(lambda hours: replayed(FIXED.format(hours=hours), jobs, seed, half(wanted)))
    return shortest(tell)


def policy(texts: Mapping[str, str], wanted: Demand, seed: int) -> Spans:
    """Return what the configurations of a policy come to on a seed."""
    jobs = generate(wanted, seed)
    tell = cache(lambda text: replayed(text, jobs, seed, half(wanted)))
    return {span: tell(text)[span] for span, text in texts.items()}


def knows(wanted: Demand, seed: int) -> Spans:
    """Return what somebody needs who knows the rates."""
    jobs = generate(wanted, seed)
    start_s = sum(TIMES.starts_s) / len(TIMES.starts_s)
    clusters, cores = Rates(wanted, seed, lambda size: 1.0), Rates(wanted, seed, lambda size: size / 1000)
    found: Spans = {}
    for span, warm_up_s in zip(SPANS, (0.0, half(wanted)), strict=True):
        of_clusters, of_cores = (rates.needs(jobs, warm_up_s, start_s, GOAL) for rates in (clusters, cores))
        found[span] = {
            "idle_h": of_clusters.idle_h, "hit_rate": round(of_clusters.hit_rate, 5),
            "core_h": of_cores.idle_core_h, "hit_rate_by_cores": round(of_cores.hit_rate, 5),
        }  # fmt: skip
    return found


def half(wanted: Demand) -> float:
    """Return the seconds of the warm-up."""
    return wanted.days * DAY_S / 2


def parts(wanted: Demand, seed: int) -> dict[str, Callable[[], Spans]]:
    """Return what is to be found of a seed, by name; what takes longest first."""
    found: dict[str, Callable[[], Spans]] = {"fixed_ttl": partial(fixed, wanted, seed)}
    for name, texts in POLICIES.items():
        found[name] = partial(policy, texts, wanted, seed)
    return {**found, "knows": partial(knows, wanted, seed)}


def measure(wanted: Demand, seeds: Sequence[int], processes: int) -> dict[int, dict[str, Spans]]:
    """Return what was found of each seed, by name; tell of each seed that is done."""
    found: defaultdict[int, dict[str, Spans]] = defaultdict(dict)
    ready = 0
    with ProcessPoolExecutor(processes, get_context("spawn")) as executor:
        coming = {executor.submit(part): (seed, name) for seed in seeds for name, part in parts(wanted, seed).items()}
        for done in as_completed(coming):
            seed, name = coming[done]
            found[seed][name] = done.result()
            if found[seed].keys() == parts(wanted, seed).keys():
                ready += 1
                print(f"seed {seed} is done, {ready} of {len(seeds)}", flush=True)
    return {seed: {name: found[seed][name] for name in parts(wanted, seed)} for seed in seeds}


def reaches(found: Mapping[str, Spans], name: str, span: str, unit: str) -> bool:
    """Tell whether a policy has its hits at no more than the fixed time needs for fewer."""
    row = found[name][span]
    return bool(row["hit_rate"] >= GOAL and row[unit] <= found["fixed_ttl"][span][unit])


def table(found: Mapping[int, Mapping[str, Spans]], span: str, unit: str) -> list[str]:
    """Return the rows of a table as markdown: hits and hours of each policy, in bold where it reaches the goal."""
    heads = ["seed", "`fixed_ttl`", *(head for name in POLICIES for head in (name, "against fixed"))]
    lines = [[*heads, "who knows the rates"], ["---"] * (len(heads) + 1)]
    for seed, of in found.items():
        row = of["fixed_ttl"][span]
        cells = [str(seed), f"of {row['ttl_h']} h: {_said(row, unit)}"]
        for name in POLICIES:
            said = _said(of[name][span], unit)
            more = 100 * (of[name][span][unit] / row[unit] - 1)
            cells += [f"**{said}**" if reaches(of, name, span, unit) else said, f"{more:+.{int(abs(more) < 1)}f} %"]
        lines.append([*cells, f"{of['knows'][span][unit]:,.0f} h"])
    return [f"| {' | '.join(cells)} |".replace("| --- ", "|---").replace("--- |", "---|") for cells in lines]


def _said(row: Row, unit: str) -> str:
    return f"{row['hit_rate']:.1%}, {row[unit]:,.0f} h"


UNITS = {"idle_h": "idle cluster hours", "core_h": "core hours"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Replay every seed, and print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.workflows", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS), help="only these, which are kept nowhere")
    parser.add_argument("--days", type=float, default=Demand().days, help="how long each demand goes on")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes; as many as there are cores")
    said = parser.parse_args(arguments)
    seeds = list(dict.fromkeys(said.seeds))
    found = measure(Demand(days=said.days), seeds, said.jobs)
    for span in SPANS:
        for unit, name in UNITS.items():
            print(f"\n{span}, {name}:\n", *table(found, span, unit), sep="\n", flush=True)
    print()
    figures = {
        f"{name}, {span}, {unit}": sum(reaches(of, name, span, unit) for of in found.values())
        for name in POLICIES
        for span in SPANS
        for unit in UNITS
    }
    reached = {"seeds": len(found), **{f"reached {said}": number for said, number in figures.items()}}
    if seeds == list(SEEDS) and said.days == Demand().days:
        finish("workflows", "make bench-workflows", reached, {"policies": POLICIES, "seeds": found})
    else:
        print(json.dumps(reached))


if __name__ == "__main__":
    main()

"""What policies cost against the optimum on two real traces: Microsoft's Philly jobs, Alibaba's GPU pods (openb).

``auto`` is replayed through the core. What a fixed idle time and never keeping cost follows from the gaps alone (the
tests hold the replay to that), as do the optimum and the best fixed idle times in hindsight. Traces are no part of the
repository: TRACES names the directory that has ``philly_jobs.csv`` and ``openb_pods.csv``.

The parameters of ``auto`` are the same for both traces, and its defaults. They were chosen on the first 60 % of the
jobs of each; `rest` is a replay of the others alone, `whole` of the whole file, each from nothing learned.
"""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from typing import Any

from benchmarks.report import fail, finish
from policies.auto import Auto
from policies.grant_order import MostRecentlyUsed
from policies.queue_order import PriorityWithAging
from policies.sizing import FloorAndBuffer
from pool.core.gaps import Gaps, Kind
from pool.core.policy import Reclaim
from pool.core.settings import PoolSettings, Rules
from pool.replay import Job, Replay, Times, read, report
from pool.replay.hindsight import demand, optimum
from pool.store.memory import MemoryStore

FILES = {"philly": "philly_jobs.csv", "openb": "openb_pods.csv"}
BREAK_EVENS_S = (60.0, 300.0, 600.0, 1800.0, 3600.0)
CHOSEN_ON = 0.6
DECISIONS = 5_000
"""So many are timed."""


def measure(jobs: list[Job], break_even_s: float) -> dict[str, Any]:
    """Return the figures of one replay, and what a fixed idle time and never keeping would have cost."""
    began = time.perf_counter()
    replay = Replay(rules_of(Auto(break_even_s)), MemoryStore(keeps_books=False), Times())
    replay.run(jobs)
    found = report(replay.ledger, jobs, break_even_s, Times())
    seconds = time.perf_counter() - began
    seen = demand(jobs)
    best = optimum(seen, break_even_s)
    late = sum(break_even_s < gap.seconds < math.inf for gap in seen.gaps) + seen.first
    fixed = sum(min(gap.seconds, break_even_s) for gap in seen.gaps) + break_even_s * late
    return {
        "break_even_s": break_even_s,
        "ratio_to_optimum": round(found.ratio_to_optimum, 4),
        "ratio_of_hindsight": round(found.ratio_of_hindsight, 4),
        "over_hindsight": round(found.ratio_to_optimum / found.ratio_of_hindsight - 1, 4),
        "fixed_ttl": round(fixed / best, 4),
        "never_keep": round(break_even_s * len(jobs) / best, 4),
        "hit_rate": round(found.hit_rate, 4),
        "wait_p95_s": round(found.wait_p95_s, 1),
        "idle_h": round(found.idle_s / 3600, 1),
        "misses": found.misses,
        "seconds": round(seconds, 1),
    }


def rules_of(reclaim: Reclaim) -> Rules:
    """Return rules without ceilings, in which `reclaim` alone decides."""
    settings = PoolSettings(
        "trace", MostRecentlyUsed(), PriorityWithAging(), FloorAndBuffer(), reclaim, max_wait_s=1e12
    )
    return Rules(lambda key: settings, max_starting=10**9)


def decisions_us(jobs: list[Job]) -> list[float]:
    """Return the microseconds of decisions of `auto`, shortest first, as gaps of real demand are learned."""
    policy, gaps, took = Auto(600.0), Gaps(), []
    for job in jobs[: 2 * DECISIONS]:
        now = job.arrival_s
        gaps.asked(job.key.digest, now)
        release = gaps.released(job.key.digest, f"c-{job.key.digest}")
        began = time.perf_counter()
        situation = gaps.situation(job.key.digest, Kind.FRESH, None, now)
        chosen = policy.choose(situation, gaps.curves, now)
        took.append((time.perf_counter() - began) * 1e6)
        gaps.watch(release, situation, chosen, policy.half_life_s, now)
    return sorted(took[-DECISIONS:])


def main() -> None:
    """Replay both traces at every break-even time."""
    directory = Path(os.environ.get("TRACES", "traces"))
    rows: dict[str, dict[str, list[dict[str, Any]]]] = {}
    summary: dict[str, Any] = {}
    for name, file in FILES.items():
        if not (directory / file).exists():
            fail(f"{directory / file} is not there; set TRACES to the directory of the traces")
        jobs = read(directory / file, name)
        if name == "philly":
            took = decisions_us(jobs)
            summary |= {"decision_us_p50": round(took[len(took) // 2], 1), "decision_us_p99": round(took[-50], 1)}
        cut = int(CHOSEN_ON * len(jobs))
        rows[name] = {}
        for part, those in (("rest", jobs[cut:]), ("whole", jobs)):
            rows[name][part] = []
            for break_even_s in BREAK_EVENS_S:
                row = measure(those, break_even_s)
                rows[name][part].append(row)
                print(name, part, row, flush=True)
            over = [row["over_hindsight"] for row in rows[name][part]]
            summary[f"worst_over_hindsight_{name}_{part}"] = max(over)
    summary["worse_than_fixed_ttl_or_never_keep"] = sum(
        row["ratio_to_optimum"] > min(row["fixed_ttl"], row["never_keep"])
        for parts in rows.values()
        for row in parts["whole"]
    )
    finish("policies", "make bench-policies TRACES=...", summary, rows)


if __name__ == "__main__":
    main()

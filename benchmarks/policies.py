"""What policies cost against the optimum on two real traces: Microsoft's Philly jobs, Alibaba's GPU pods (openb).

``learned`` is replayed through the core. What a fixed idle time and never keeping cost follows from the gaps alone (the
tests hold the replay to that), as do the optimum and the best fixed idle times in hindsight. Traces are no part of the
repository: TRACES names the directory that has ``philly_jobs.csv`` and ``openb_pods.csv``. The options of ``learned``
are the same for both, and its defaults; they were chosen looking at both whole files.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from benchmarks.report import fail, finish
from policies.grant_order import MostRecentlyUsed
from policies.learned import Learned
from policies.queue_order import PriorityWithAging
from policies.sizing import FloorAndBuffer
from pool.core.settings import PoolSettings, Rules
from pool.replay import Job, Replay, Times, read, report
from pool.replay.hindsight import demand, optimum
from pool.store.memory import MemoryStore

FILES = {"philly": "philly_jobs.csv", "openb": "openb_pods.csv"}
BREAK_EVENS_S = (60.0, 300.0, 600.0, 1800.0, 3600.0)


def measure(jobs: list[Job], break_even_s: float) -> dict[str, Any]:
    """Return the ratios to the optimum for one break-even time."""
    began = time.perf_counter()
    settings = PoolSettings(
        "trace", MostRecentlyUsed(), PriorityWithAging(), FloorAndBuffer(), Learned(break_even_s), max_wait_s=1e12
    )
    replay = Replay(Rules(lambda key: settings, max_starting=10**9), MemoryStore(), Times())
    replay.run(jobs)
    found = report(replay.ledger, jobs, break_even_s, Times())
    seconds = time.perf_counter() - began
    seen = demand(jobs)
    best = optimum(seen, break_even_s)
    late = sum(break_even_s < gap.seconds < float("inf") for gap in seen.gaps) + seen.first
    fixed = sum(min(gap.seconds, break_even_s) for gap in seen.gaps) + break_even_s * late
    return {
        "break_even_s": break_even_s,
        "learned": round(found.ratio_to_optimum, 4),
        "hindsight": round(found.ratio_of_hindsight, 4),
        "over_hindsight": round(found.ratio_to_optimum / found.ratio_of_hindsight - 1, 4),
        "fixed_ttl": round(fixed / best, 4),
        "never_keep": round(break_even_s * len(jobs) / best, 4),
        "hit_rate": round(found.hit_rate, 4),
        "idle_h": round(found.idle_s / 3600, 1),
        "seconds": round(seconds, 1),
    }


def main() -> None:
    """Replay both traces at every break-even time."""
    directory = Path(os.environ.get("TRACES", "traces"))
    rows: dict[str, list[dict[str, Any]]] = {}
    for name, file in FILES.items():
        if not (directory / file).exists():
            fail(f"{directory / file} is not there; set TRACES to the directory of the traces")
        jobs = read(directory / file, name)
        rows[name] = []
        for break_even_s in BREAK_EVENS_S:
            row = measure(jobs, break_even_s)
            rows[name].append(row)
            print(name, row, flush=True)
    worst = max(row["over_hindsight"] for found in rows.values() for row in found)
    finish("policies", "make bench-policies TRACES=...", {"worst_over_hindsight": worst}, rows)


if __name__ == "__main__":
    main()

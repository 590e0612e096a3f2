"""What policies cost against the optimum on two real traces: Microsoft's Philly jobs, Alibaba's GPU pods (openb).

``auto`` is replayed through the core. What a fixed idle time and never keeping cost follows from the gaps alone (the
tests hold the replay to that), as do the optimum and the best fixed idle times in hindsight. Traces are no part of the
repository: TRACES names the directory that has ``philly_jobs.csv`` and ``openb_pods.csv``.

The parameters of ``auto`` are the same for both traces, and its defaults. They were chosen on the first 60 % of the
jobs of each; `rest` is a replay of the others alone, `whole` of the whole file, each from nothing learned.

`policies` compares others with it at one break-even time, on the first jobs of each trace. Look-ahead is not among
them: the traces know of no workflows.

It takes some ten minutes. A run that was ended goes on where it was, if the commit is still the same.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.report import commit, fail, finish
from policies.auto import Auto
from policies.grant_order import MostRecentlyUsed
from policies.histogram import Histogram
from policies.newsvendor import Newsvendor
from policies.next_use import NextUse
from policies.queue_order import PriorityWithAging
from policies.reactive import Reactive
from policies.reclaim import FixedTTL, NeverKeep
from policies.sizing import FloorAndBuffer
from policies.ski_rental import RandomisedSkiRental
from policies.square_root import SquareRoot
from pool.core.gaps import Gaps, Kind
from pool.core.policy import Prewarm, Reclaim, Sizing
from pool.core.settings import PoolSettings, Rules
from pool.replay import Job, Replay, Times, read, report
from pool.replay.hindsight import demand, optimum
from pool.store.memory import MemoryStore

FILES = {"philly": "philly_jobs.csv", "openb": "openb_pods.csv"}
BREAK_EVENS_S = (60.0, 300.0, 600.0, 1800.0, 3600.0)
CHOSEN_ON = 0.6
DECISIONS = 5_000
"""So many are timed."""
COMPARED_AT_S, COMPARED_JOBS = 600.0, 20_000
"""The break-even time at which all policies are compared, and on how many jobs of each trace."""
NO_SIZING = FloorAndBuffer()
PARTS = Path(__file__).parent / ".policies.json"
"""What was measured so far."""


def measure(jobs: list[Job], break_even_s: float) -> dict[str, Any]:
    """Return the figures of one replay, and what a fixed idle time and never keeping would have cost."""
    began = time.perf_counter()
    replay = Replay(rules_of(Auto(break_even_s)), MemoryStore(keeps_books=False), Times())
    replay.run(jobs)
    found = report(replay.ledger, jobs, break_even_s, Times())
    seconds = time.perf_counter() - began
    seen = demand(jobs)
    best = optimum(seen, break_even_s)
    late = sum(break_even_s < gap.seconds < math.inf for gap in seen.gaps) + len(seen.firsts)
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


def rules_of(reclaim: Reclaim, sizing: Sizing = NO_SIZING, prewarm: Prewarm | None = None) -> Rules:
    """Return rules without ceilings, in which these policies alone decide."""
    settings = PoolSettings(
        "trace", MostRecentlyUsed(), PriorityWithAging(), sizing, reclaim, max_wait_s=1e12, prewarm=prewarm
    )
    return Rules(lambda key: settings, max_starting=10**9)


def compared(break_even_s: float) -> dict[str, Rules]:
    """Return the policies that are compared, each with the break-even time where it has one."""
    auto = Auto(break_even_s)
    return {
        "auto": rules_of(auto),
        "fixed_ttl of T*": rules_of(FixedTTL(break_even_s, jitter=0.0)),
        "never_keep": rules_of(NeverKeep()),
        "randomised": rules_of(RandomisedSkiRental(break_even_s)),
        "histogram": rules_of(Histogram()),
        "auto, reactive": rules_of(auto, Reactive()),
        "auto, newsvendor": rules_of(auto, Newsvendor(break_even_s)),
        "auto, square_root": rules_of(auto, SquareRoot()),
        "auto, next_use": rules_of(auto, prewarm=NextUse(break_even_s)),
    }


def compare(jobs: list[Job], rules: Rules, break_even_s: float) -> dict[str, Any]:
    """Return the figures of one policy among others."""
    replay = Replay(rules, MemoryStore(keeps_books=False), Times())
    replay.run(jobs)
    found = report(replay.ledger, jobs, break_even_s, Times())
    return {
        "hit_rate": round(found.hit_rate, 4),
        "idle_h": round(found.idle_s / 3600, 1),
        "starts": found.starts,
        "ratio_to_optimum": round(found.ratio_to_optimum, 4),
        "ratio_of_hindsight": round(found.ratio_of_hindsight, 4),
    }


class Parts:
    """What was measured at this commit, kept until all of it was: a run may be ended, and goes on later."""

    def __init__(self) -> None:
        self._commit = commit()
        kept = json.loads(PARTS.read_text()) if PARTS.exists() else {}
        self._rows: dict[str, dict[str, Any]] = kept["rows"] if kept.get("commit") == self._commit else {}

    def row(self, name: str, measured: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return a row as it was measured before, or measure it now."""
        if name not in self._rows:
            self._rows[name] = measured()
            if not self._commit.endswith("-dirty"):
                PARTS.write_text(json.dumps({"commit": self._commit, "rows": self._rows}))
            print(name, self._rows[name], flush=True)
        return self._rows[name]


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
    """Replay both traces at every break-even time, then compare policies at one."""
    directory = Path(os.environ.get("TRACES", "traces"))
    parts = Parts()
    rows: dict[str, dict[str, Any]] = {}
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
            rows[name][part] = [
                parts.row(f"{name} {part} {at_s:g} s", partial(measure, those, at_s)) for at_s in BREAK_EVENS_S
            ]
            over = [row["over_hindsight"] for row in rows[name][part]]
            summary[f"worst_over_hindsight_{name}_{part}"] = max(over)
        first = jobs[:COMPARED_JOBS]
        rows[name]["policies"] = {
            policy: parts.row(f"{name} {policy}", partial(compare, first, rules, COMPARED_AT_S))
            for policy, rules in compared(COMPARED_AT_S).items()
        }
    summary["worse_than_fixed_ttl_or_never_keep"] = sum(
        row["ratio_to_optimum"] > min(row["fixed_ttl"], row["never_keep"])
        for found in rows.values()
        for row in found["whole"]
    )
    finish("policies", "make bench-policies TRACES=...", summary, rows)
    PARTS.unlink(missing_ok=True)


if __name__ == "__main__":
    main()

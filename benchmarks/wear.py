"""How a Ray cluster wears: many leases one after the other on one real local cluster, each with a short driver.

The curve, by how often the cluster was used before: what a lease takes, what its reset takes, how much memory Ray's own
processes on the head have, and how many files the one of them with the most has open. Other work on the machine shows
in the times: so the time of a bare interpreter's start is measured beside them, and ``slowdown`` is that of a lease
less that of the machine.

``leases``          how many there were
``slowdown``        p50 of a lease in the last tenth of the leases over that in the second, each over that of a bare
                    interpreter's start at the time
``kb_per_lease``    growth of the memory of Ray's own processes on the head, by the first and last tenths

    python -m benchmarks.wear [--leases 1000] [--bound 900]
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from typing import Any

from benchmarks.leases import Leases, Used, leases
from benchmarks.report import fail, finish

EVERY = 10
"""The machine is measured once in so many leases."""


async def bare_s() -> float:
    """Return how long a bare interpreter takes to start and end, seconds: how fast the machine is now."""
    begun = time.perf_counter()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "import json, asyncio")
    await process.wait()
    return time.perf_counter() - begun


async def curve(made: Leases, count: int, bound_s: float) -> tuple[list[Used], list[float]]:
    """Return what up to `count` leases took within `bound_s`, and the bare time that belongs to each."""
    used: list[Used] = []
    bare: list[float] = []
    end = time.perf_counter() + bound_s
    beside = 0.0
    while len(used) < count and time.perf_counter() < end:
        if len(used) % EVERY == 0:
            beside = statistics.median([await bare_s() for _ in range(3)])
            print(f"{len(used)} leases, a bare interpreter takes {beside:.3f} s", file=sys.stderr, flush=True)
        used.append(await made.one())
        bare.append(beside)
        if not used[-1].kept:
            fail(f"the cluster was given up after {len(used)} leases")
    return used, bare


def row(used: list[Used], bare: list[float], first: int, last: int) -> dict[str, Any]:
    """Return one row of the curve: leases `first` to `last` of the cluster, medians."""
    some = used[first - 1 : last]

    def middle(values: list[float]) -> float:
        return round(statistics.median(values), 3)

    return {
        "uses": f"{first}-{last}",
        "lease_s": middle([one.driver_s for one in some]),
        "first_tasks_s": middle([one.parts_s["tasks_s"] for one in some]),
        "reset_s": middle([one.reset_s for one in some]),
        "bare_s": middle(bare[first - 1 : last]),
        "head_memory_mb": round(statistics.median(one.head_memory_bytes for one in some) / 1e6, 1),
        "open_files": int(statistics.median(one.open_files for one in some)),
    }


async def main() -> None:
    """Measure, print what was found, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--leases", type=int, default=1000, help="how many at most")
    parser.add_argument("--bound", type=float, default=900.0, help="seconds after which no further lease is begun")
    given = parser.parse_args()
    async with leases() as made:
        used, bare = await curve(made, given.leases, given.bound)
    if len(used) < 30:
        fail(f"{len(used)} leases within {given.bound:.0f} s say nothing")
    tenth = len(used) // 10
    edges = [1 + tenth * n for n in range(10)]
    rows = [row(used, bare, first, first + tenth - 1) for first in edges]
    over = [one["lease_s"] / one["bare_s"] for one in rows]
    grown_mb = rows[-1]["head_memory_mb"] - rows[0]["head_memory_mb"]
    figures = {
        "leases": len(used),
        # Not the first: a cluster that was just started is busy with itself.
        "slowdown": round(over[-1] / over[1], 2),
        "kb_per_lease": round(grown_mb * 1000 / (9 * tenth), 1),
    }
    finish("wear", "make bench-wear", figures, {"rows": rows})


if __name__ == "__main__":
    asyncio.run(main())

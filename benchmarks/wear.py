"""How a Ray cluster wears: many leases one after the other on one real local cluster, each with a short driver.

The curve, by how often the cluster was used before: what a lease takes, what its reset takes, how much memory Ray's own
processes on the head have, and how many files the one of them with the most has open; medians of a hundred leases each,
of a tenth of them if there are fewer than a thousand. Other work on the machine shows in the times: so the time of a
bare interpreter's start is measured beside them, and ``slowdown`` is that of a lease less that of the machine.

``leases``          how many there were
``slowdown``        p50 of a lease in the last part of the leases over that in the second, each over that of a bare
                    interpreter's start at the time
``kb_per_lease``    growth of the memory of Ray's own processes on the head, by the first and the last part

    python -m benchmarks.wear [--leases 1000] [--bound 900]
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time

from benchmarks.leases import Leases, Used, leases
from benchmarks.parts import PART, line, middle, part, parts
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
        used.append(await made.one())
        bare.append(beside)
        if not used[-1].kept:
            fail(f"the cluster was given up after {len(used)} leases")
        if len(used) % PART == 0:
            print(line(part(used[-PART:], len(used) - PART + 1)), file=sys.stderr, flush=True)
    return used, bare


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
    size = min(PART, len(used) // 10)
    whole = len(used) - len(used) % size
    rows = parts(used[:whole], size)
    for at, row in enumerate(rows):
        row["bare_s"] = middle(bare[at * size : (at + 1) * size])
    over = [row["lease_s"] / row["bare_s"] for row in rows]
    grown_mb = rows[-1]["head_memory_mb"] - rows[0]["head_memory_mb"]
    figures = {
        "leases": len(used),
        # Not the first: a cluster that was just started is busy with itself.
        "slowdown": round(over[-1] / over[1], 2),
        "kb_per_lease": round(grown_mb * 1000 / (whole - size), 1),
    }
    finish("wear", "make bench-wear", figures, {"rows": rows})


if __name__ == "__main__":
    asyncio.run(main())

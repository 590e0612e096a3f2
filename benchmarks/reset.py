"""A reset against a fresh start, on real local clusters: what the next holder would wait if it had to.

In each round a driver leaves something of every kind (a named and an unnamed detached actor with objects and a
subprocess, a detached placement group, a process that hides, files) and the cluster is reset; then another one leaves
nothing, and it is reset again. A fresh start is timed between them.

``p50_s``           of the resets that had everything to remove
``clean_p50_s``     of those that found nothing
``fresh_start_s``   p50 of a cluster's start
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import time
from typing import Any

from benchmarks.leases import Leases, leases
from benchmarks.report import fail, finish
from pool.core.decisions import Granted
from pool.core.key import key_from
from pool.core.model import ClusterState

ROUNDS = 7
OTHER = key_from({"image": "local", "tenant": "bench/others", "shape": {"head": {"cpu": 2}}})
STARTS = 3
LITTER = """
import os, subprocess, sys
import ray

class Keeper:
    def keep(self):
        self.kept = ray.put(bytes(5_000_000))
        self.child = subprocess.Popen(["sleep", "3000"], start_new_session=True)

def hide():
    subprocess.run(["setsid", "-f", "env", "-i", "sleep", "3000"], check=True)
    open("left", "w").write("left")

ray.init(address=sys.argv[1], log_to_driver=False)
keeper = ray.remote(num_cpus=0)(Keeper)
ray.get(keeper.options(name="kept", lifetime="detached").remote().keep.remote())
ray.get(keeper.options(lifetime="detached").remote().keep.remote())
ray.get(ray.util.placement_group([{"CPU": 1}], lifetime="detached").ready())
ray.get(ray.remote(hide).remote())
"""


async def litter(made: Leases, granted: Granted) -> None:
    """Have a driver leave something of every kind."""
    cluster = granted.cluster
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    env |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": made.daemon.cluster_token(cluster.id)}
    program = [sys.executable, "-c", LITTER, cluster.address]
    with (made.state_dir / "driver.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(*program, env=env, stdout=log, stderr=log)
        if await process.wait():
            fail((made.state_dir / "driver.log").read_text(errors="replace")[-2000:])


async def reset_s(made: Leases, *, dirty: bool) -> float:
    """Return how long it took from a release until the cluster was idle, seconds."""
    granted = await made.acquire()
    if dirty:
        await litter(made, granted)
    else:
        await made.drive(granted.cluster)
    begun = time.perf_counter()
    after = await made.release(granted.lease)
    took_s = time.perf_counter() - begun
    if after is None or after.state is not ClusterState.IDLE:
        fail(f"the cluster was not proven clean: {after!r} {after.detail if after is not None else ''}")
    return took_s


async def start_s(made: Leases) -> float:
    """Return how long a cluster of another key took to start, seconds. It is stopped again."""
    granted = await made.acquire(OTHER)
    ready_at = granted.cluster.ready_at
    if ready_at is None:
        fail("a cluster was granted that was never ready")
    await made.recycle(granted.lease)
    return ready_at - granted.cluster.created_at


async def main() -> None:
    """Measure, print what was found, and write the result."""
    dirty, clean, fresh = [], [], []
    async with leases(reset_timeout_s=120.0) as made:
        # The first lease of a cluster meets a head that is busy with its own start.
        await reset_s(made, dirty=False)
        for number in range(ROUNDS):
            dirty.append(await reset_s(made, dirty=True))
            clean.append(await reset_s(made, dirty=False))
            print(json.dumps({"dirty_s": dirty[-1], "clean_s": clean[-1]}), file=sys.stderr, flush=True)
            if number < STARTS:
                fresh.append(await start_s(made))
                print(json.dumps({"fresh_start_s": fresh[-1]}), file=sys.stderr, flush=True)
    figures: dict[str, Any] = {
        "p50_s": round(statistics.median(dirty), 3),
        "clean_p50_s": round(statistics.median(clean), 3),
        "fresh_start_s": round(statistics.median(fresh), 3),
    }
    detail = {name: [round(one, 3) for one in values] for name, values in (("dirty_s", dirty), ("clean_s", clean))}
    finish("reset", "make bench-reset", figures, detail | {"fresh_start_s": [round(one, 3) for one in fresh]})


if __name__ == "__main__":
    asyncio.run(main())

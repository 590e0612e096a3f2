"""A restart with 10,000 clusters and 50,000 leases, and a daemon at rest with 1,000 clusters.

The store is filled beforehand, the clusters exist in a simulated world. `ready_s` counts from the start of the
process (interpreter and imports included) until the API says that it is ready. At rest means: 1,000 idle clusters,
reconciled every 10 s as always, nobody asks for anything.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from benchmarks.report import fail, finish
from pool.core.decisions import Change
from pool.core.key import key_from
from pool.core.model import Cluster, ClusterState, Lease, LeaseState, Mode, Outcome, Pool
from pool.core.reasons import Reason
from pool.store.sql import SqlStore

POOLS = 50
REST_S = 60.0
REPEATS = 5


def records(clusters: int, leases_each: int, now: float) -> list[Pool | Cluster | Lease]:
    """Return pools, clusters and leases as a busy daemon would have them."""
    out: list[Pool | Cluster | Lease] = []
    pools = []
    for n in range(POOLS):
        key = key_from({"image": f"registry.example/team/image:{n}", "tenant": f"project-{n % 10}/production"})
        pools.append(Pool(key.digest, key, "default", next_seq=clusters, created_at=now))
    out += pools
    for n in range(clusters):
        pool = pools[n % POOLS]
        id_ = f"c-{pool.digest}-{n}"
        ids = tuple(f"l-{n}-{i}" for i in range(leases_each))
        out.append(
            Cluster(
                id=id_, pool=pool.digest, tenant=pool.key.tenant, seq=n, footprint=pool.key.footprint,
                state=ClusterState.LEASED if ids else ClusterState.IDLE, cause=Reason.MISS, created_at=now,
                changed_at=now, epoch=leases_each, leases=ids, uses=leases_each, ready_at=now, boot_id=f"boot-{id_}-1",
                address="127.0.0.1:6379", dashboard_url="http://127.0.0.1:8265", ray_version="2.60.0",
            )
        )  # fmt: skip
        for i, lease_id in enumerate(ids):
            out.append(
                Lease(
                    id=lease_id, cluster=id_, pool=pool.digest, tenant=pool.key.tenant, caller="client",
                    request_id=f"execution-{n}/n{i}/0", holder=f"flytesnacks/development/execution-{n}/n{i}/0",
                    group=f"execution-{n}", priority=0, mode=Mode.WAIT_OR_CREATE, epoch=i + 1,
                    state=LeaseState.ACTIVE, outcome=Outcome.HIT, miss=None, asked_at=now, granted_at=now, ttl_s=600.0,
                    expires_at=now + 600.0, renewed_in=1,
                )
            )  # fmt: skip
    return out


async def fill(directory: Path, clusters: int, leases_each: int) -> None:
    """Fill the store, and list the clusters for the simulated world."""
    store = SqlStore(f"sqlite+aiosqlite:///{directory}/warmpool.sqlite")
    now = time.time()
    loaded = await store.open(now)
    rows = records(clusters, leases_each, now)
    await store.commit([Change(None, row) for row in rows])
    await store.close()
    ids = [row.id for row in rows if isinstance(row, Cluster)]
    (directory / "world.json").write_text(json.dumps({"store_id": loaded.store_id, "clusters": ids}))


@contextmanager
def serving(directory: Path) -> Iterator[tuple[psutil.Process, float]]:
    """Run a daemon on a filled store; yield its process and the seconds until it was ready."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.servers", "pool", str(directory)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        if not process.stdout.readline():
            fail("the daemon did not start")
        yield psutil.Process(process.pid), time.perf_counter() - began
    finally:
        process.stdin.close()
        process.wait(60)


def measure_restart() -> list[float]:
    """Return the seconds of several restarts."""
    with tempfile.TemporaryDirectory(prefix="warmpool-bench-") as name:
        directory = Path(name)
        asyncio.run(fill(directory, 10_000, 5))
        times = []
        for _ in range(REPEATS):
            with serving(directory) as (_, ready_s):
                times.append(round(ready_s, 3))
        return times


def at_rest(clusters: int, leases_each: int, rest_s: float) -> dict[str, float]:
    """Return processor share and memory of a daemon with so many clusters, over `rest_s` seconds."""
    with tempfile.TemporaryDirectory(prefix="warmpool-bench-") as name:
        directory = Path(name)
        asyncio.run(fill(directory, clusters, leases_each))
        with serving(directory) as (process, _):
            time.sleep(5.0)
            before, began = process.cpu_times(), time.perf_counter()
            time.sleep(rest_s)
            after, seconds = process.cpu_times(), time.perf_counter() - began
            used_s = after.user + after.system - before.user - before.system
            return {
                "idle_cpu_percent": abs(round(100 * used_s / seconds, 3)),
                "rss_mb": round(process.memory_info().rss / 1e6, 1),
            }


def main() -> None:
    """Measure both."""
    times = measure_restart()
    print(f"ready after {times} s", flush=True)
    rest = at_rest(1_000, 0, REST_S)
    print(f"at rest: {rest}", flush=True)
    finish(
        "restart",
        "make bench-restart",
        {"ready_s": sorted(times)[len(times) // 2], **rest},
        {"ready_s": times, "clusters": 10_000, "leases": 50_000, "rest_clusters": 1_000},
    )


if __name__ == "__main__":
    main()

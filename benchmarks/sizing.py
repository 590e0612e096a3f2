"""What a daemon needs: memory and processor at rest by the number of clusters, bytes in the store by what happened.

At rest means: idle clusters, reconciled every 10 s as always, nobody asks for anything. The store's bytes are those of
the SQLite file after it was closed, for ended leases and stopped clusters: what history keeps.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

from prometheus_client import generate_latest

from benchmarks.report import finish
from benchmarks.restart import at_rest, records
from benchmarks.servers import rules
from pool.core.decisions import Change
from pool.core.model import Cluster, ClusterState, Lease, LeaseState
from pool.core.reasons import Reason
from pool.core.state import State
from pool.metrics import Metrics
from pool.store.sql import SqlStore

REST_S = 30.0
SIZES = ((100, 0), (1_000, 0), (10_000, 0), (10_000, 5))
"""Clusters, and live leases on each."""

LEASES_EACH = 10
"""Of a stopped cluster, for the store."""


def scrape_ms(clusters: int, leases_each: int) -> float:
    """Return the median time in which the metrics of so many clusters are made."""
    state = State(rules(), generation=1)
    for row in records(clusters, leases_each, time.time()):
        state.apply(Change(None, row))
    metrics = Metrics(lambda: state)
    metrics.announce(["default"])
    times = []
    for _ in range(5):
        began = time.perf_counter()
        generate_latest(metrics.registry)
        times.append(time.perf_counter() - began)
    return round(1000 * sorted(times)[2], 1)


async def history(directory: Path, clusters: int) -> None:
    """Write the history of so many clusters, each with its leases."""
    store = SqlStore(f"sqlite+aiosqlite:///{directory}/warmpool.sqlite")
    now = time.time()
    await store.open(now)
    rows = records(clusters, LEASES_EACH, now)
    await store.commit([Change(None, row) for row in rows])
    ended: list[Change] = []
    for row in rows:
        if isinstance(row, Lease):
            fields = {"state": LeaseState.ENDED, "ended_at": now, "end_reason": Reason.RELEASED}
            ended.append(Change(row, row._replace(**fields, end_detail=Reason.RELEASED.sentence)))
        elif isinstance(row, Cluster):
            stopped = row._replace(
                state=ClusterState.STOPPED, leases=(), reason=Reason.IDLE_TTL, detail="idle for 613 s, over its 600 s"
            )
            ended.append(Change(row, stopped))
    await store.commit(ended)
    await store.close()


def bytes_per_lease() -> float:
    """Return what one lease of history takes, with its share of its cluster."""
    sizes = []
    for clusters in (100, 2_100):
        with tempfile.TemporaryDirectory(prefix="warmpool-bench-") as name:
            asyncio.run(history(Path(name), clusters))
            sizes.append(sum(file.stat().st_size for file in Path(name).glob("warmpool.sqlite*")))
    return (sizes[1] - sizes[0]) / (2_000 * LEASES_EACH)


def main() -> None:
    """Measure both."""
    rest = []
    for clusters, leases_each in SIZES:
        found = at_rest(clusters, leases_each, REST_S)
        size = {"clusters": clusters, "leases": clusters * leases_each}
        rest.append(size | found | {"scrape_ms": scrape_ms(clusters, leases_each)})
        print(rest[-1], flush=True)
    thousand = next(row for row in rest if row["clusters"] == 1_000)
    figures = {
        "rss_mb_1000": thousand["rss_mb"],
        "kb_per_cluster": round(1000 * (rest[2]["rss_mb"] - rest[0]["rss_mb"]) / (rest[2]["clusters"] - 100), 2),
        "kb_per_lease": round(1000 * (rest[3]["rss_mb"] - rest[2]["rss_mb"]) / rest[3]["leases"], 2),
        "store_bytes_per_lease": round(bytes_per_lease()),
    }
    detail = {"rest": rest, "leases_of_a_cluster_in_the_store": LEASES_EACH}
    finish("sizing", "make bench-sizing", figures, detail)


if __name__ == "__main__":
    main()

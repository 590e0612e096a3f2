"""Acquire and release, warm, durable, over HTTP, beside a bare endpoint that parses and answers the same JSON.

Server and clients are processes of their own. Closed loop with 1, 32 and 256 clients for the rates; then an open loop
at half of the highest rate for the latencies, each counted from when the request was due.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.http_load import Connection, Cycle, closed_loop, open_loop
from benchmarks.report import fail, finish, percentile

CLIENTS = (1, 32, 256)
CLUSTERS = 512
SECONDS = 5.0
OPEN_SECONDS = 15.0
KEY = {
    "image": "registry.example/team/train:2024-10-01",
    "tenant": "flytesnacks/development",
    "shape": {
        "head": {"cpu": "1", "memory": "4Gi"},
        "workers": [{"name": "workers", "replicas": 2, "cpu": 2, "memory": "8Gi"}],
    },
}


@contextmanager
def server(which: str, directory: Path) -> Iterator[dict[str, Any]]:
    """Run a server and yield its port and token."""
    command = [sys.executable, "-m", "benchmarks.servers", which, str(directory)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            fail(f"the server {which} did not start")
        yield json.loads(line)
    finally:
        process.stdin.close()
        process.wait(30)


def acquire_body() -> bytes:
    """Return what a client of a Flyte task sends."""
    execution = uuid.uuid4().hex[:20]
    message = {
        "request_id": f"{execution}/n0/0",
        "key": KEY,
        "holder": f"flytesnacks/development/{execution}/n0/0",
        "group": execution,
        "wait_s": 20,
    }
    return json.dumps(message).encode()


async def cycles(at: dict[str, Any], clients: int) -> tuple[list[Connection], list[Cycle]]:
    """Return connected clients."""
    connections = [await Connection.open("127.0.0.1", at["port"]) for _ in range(clients)]
    return connections, [Cycle(c, at["token"], acquire_body) for c in connections]


async def measure(at: dict[str, Any], clients: int) -> dict[str, float]:
    """Return rate and latencies of one closed loop."""
    connections, all_cycles = await cycles(at, clients)
    await closed_loop(all_cycles, 1.0)
    for cycle in all_cycles:
        cycle.acquire_s.clear()
        cycle.hits = 0
    rate = await closed_loop(all_cycles, SECONDS)
    for connection in connections:
        connection.close()
    return summary(all_cycles, rate)


async def measure_open(at: dict[str, Any], requests_per_s: float) -> dict[str, float]:
    """Return the latencies at a fixed rate."""
    connections, all_cycles = await cycles(at, 64)
    await open_loop(all_cycles, requests_per_s / 2, 2.0)
    for cycle in all_cycles:
        cycle.acquire_s.clear()
        cycle.hits = 0
    await open_loop(all_cycles, requests_per_s / 2, OPEN_SECONDS)
    for connection in connections:
        connection.close()
    return summary(all_cycles, requests_per_s)


def summary(all_cycles: list[Cycle], rate: float) -> dict[str, float]:
    """Return a run's figures; latencies in milliseconds."""
    times = [s for cycle in all_cycles for s in cycle.acquire_s]
    hits = sum(cycle.hits for cycle in all_cycles)
    return {
        "requests_per_s": round(rate),
        "p50_ms": round(percentile(times, 0.5) * 1e3, 2),
        "p99_ms": round(percentile(times, 0.99) * 1e3, 2),
        "hit_share": round(hits / len(times), 4),
        "acquires": len(times),
    }


async def prepare(at: dict[str, Any], directory: Path) -> None:
    """Warm the pool, and keep one grant for the bare endpoint to answer with."""
    connection = await Connection.open("127.0.0.1", at["port"])
    await connection.post("/v1/prewarm", at["token"], json.dumps({"key": KEY, "count": CLUSTERS}).encode())
    grant = await connection.post("/v1/leases", at["token"], acquire_body())
    (directory / "grant.json").write_text(json.dumps(grant))
    proof = json.dumps({"token": grant["token"], "epoch": grant["epoch"]}).encode()
    await connection.post(f"/v1/leases/{grant['lease_id']}/release", at["token"], proof)
    connection.close()


async def run(directory: Path) -> None:
    """Measure both servers in turn."""
    pool: dict[int, dict[str, float]] = {}
    bare: dict[int, dict[str, float]] = {}
    with server("pool", directory) as at:
        await prepare(at, directory)
        with server("bare", directory) as beside:
            for clients in CLIENTS:
                bare[clients] = await measure(beside, clients)
                pool[clients] = await measure(at, clients)
                print(f"{clients:>4} clients: pool {pool[clients]}  bare {bare[clients]}", flush=True)
        peak = max(figures["requests_per_s"] for figures in pool.values())
        half = await measure_open(at, peak / 2)
    print(f"at half of peak load: {half}", flush=True)
    if min(figures["hit_share"] for figures in (*pool.values(), half)) < 0.99:
        fail("grants were not warm")
    ratio = peak / max(figures["requests_per_s"] for figures in bare.values())
    figures = {
        "ratio_to_bare": round(ratio, 3),
        "p50_ms": half["p50_ms"],
        "p99_ms": half["p99_ms"],
        "peak_requests_per_s": peak,
    }
    finish("grant", "make bench-grant", figures, {"pool": pool, "bare": bare, "half_of_peak": half})


def main() -> None:
    """Run the benchmark in a directory of its own."""
    with tempfile.TemporaryDirectory(prefix="warmpool-bench-") as directory:
        asyncio.run(run(Path(directory)))


if __name__ == "__main__":
    main()

"""Warm grants through the daemon's Service from a tenant's pod, beside the same from inside the daemon's own pod."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from benchmarks import http_load
from tests.kube.release import DAEMON, Release

CLIENTS = (1, 32)
SECONDS = 6.0
SIMULATED = {"type": "simulated", "start": "10ms", "stop": "10ms", "reset": "1ms", "namespace": None}
LOAD = Path(http_load.__file__).read_text()
PROGRAM = """
import asyncio, itertools, json, uuid

async def main(host, port, token, clients, seconds):
    number, run = itertools.count(), uuid.uuid4().hex[:8]
    key = {"image": "local", "tenant": "tests/kube"}
    def make():
        name = f"{host}-{run}-{next(number)}"
        return json.dumps({"request_id": name, "key": key, "holder": name, "wait_s": 60}).encode()
    # More clusters than clients: one that is being reset is no reason to wait.
    connection = await Connection.open(host, port)
    await connection.post("/v1/prewarm", token, json.dumps({"key": key, "count": 3 * max(clients)}).encode())
    connection.close()
    await asyncio.sleep(2.0)
    found = {}
    for count in clients:
        cycles = [Cycle(await Connection.open(host, port), token, make) for _ in range(count)]
        await closed_loop(cycles, 2.0)
        for cycle in cycles:
            cycle.acquire_s.clear(); cycle.release_s.clear(); cycle.hits = 0
        rate = await closed_loop(cycles, seconds)
        took = sorted(one for cycle in cycles for one in cycle.acquire_s)
        at = lambda share: round(1000 * took[min(len(took) - 1, int(share * len(took)))], 2)
        hits = sum(cycle.hits for cycle in cycles) / len(took)
        found[count] = {"p50_ms": at(0.5), "p99_ms": at(0.99), "requests_per_s": round(rate), "hits": round(hits, 3)}
        for cycle in cycles:
            cycle._connection.close()
    print(json.dumps(found))

asyncio.run(main(**json.loads(GIVEN)))
"""


async def measure(release: Release) -> dict[str, Any]:
    """Install the chart with simulated clusters and load it from both places, one after the other, twice.

    Returns:
        ``service_over_loopback`` (p50 of one client), and each place's latencies.
    """
    # Kept: what a policy learns of clusters that start in 10 ms is that none need be.
    kept = {"idle_ttl": "10m"}
    await release.install(backend=SIMULATED, ceiling={"clusters": 200}, max_starting=100, defaults=kept)
    daemon = (await release.daemon())["metadata"]["name"]
    token = (await _exec(release.namespace, daemon, "cat", "/var/lib/warmpool/operator.token")).strip()
    await release.pod("load", DAEMON, ["sleep", "3600"])
    await release.until_pod(release.tenants, "load", "Running")
    places = {
        "loopback": (release.namespace, daemon, "127.0.0.1"),
        "service": (release.tenants, "load", f"pool-warmpool.{release.namespace}.svc"),
    }
    found: dict[str, dict[str, Any]] = {}
    # The first round warms both up.
    for _ in range(2):
        for place, (namespace, pod, host) in places.items():
            given = {"host": host, "port": 8787, "token": token, "clients": CLIENTS, "seconds": SECONDS}
            program = f"{LOAD}\nGIVEN = {json.dumps(json.dumps(given))}\n{PROGRAM}"
            # By its input: a token is no part of a command line.
            found[place] = json.loads(await _exec(namespace, pod, "python", "-", stdin=program))
    ratio = found["service"]["1"]["p50_ms"] / found["loopback"]["1"]["p50_ms"]
    return {
        "service_over_loopback": round(ratio, 2),
        "through_service": found["service"],
        "loopback": found["loopback"],
    }


async def _exec(namespace: str, pod: str, *command: str, stdin: str = "") -> str:
    process = await asyncio.create_subprocess_exec(
        *("kubectl", "exec", "-i", "-n", namespace, pod, "--", *command),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await process.communicate(stdin.encode())
    if process.returncode:
        raise RuntimeError(f"{command[0]} in {pod}: {error.decode()[-500:]}")
    return out.decode()

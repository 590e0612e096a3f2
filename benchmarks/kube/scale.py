"""A restart in front of 2,000 RayClusters in the API server, and what they cost a daemon at rest."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.kube.writes import kubectl
from pool.kube.api import RAY, Api
from tests.kube.kit import IMAGE
from tests.kube.release import until_it_holds
from tests.serving import Served

COUNT = int(os.environ.get("WARMPOOL_BENCH_RAYCLUSTERS", "2000"))
REST_S = 30.0
CONFIG = """
listen: 127.0.0.1:0
backend: {{type: kuberay, namespace: {namespace}, addresses: pod, kubeconfig: {file}}}
max_starting: {count}
ceiling: {{clusters: {count}}}
defaults: {{start_timeout: 24h}}
pools: [{{name: many, key: {{image: "{image}", tenant: tests/kube}}, min_idle: {count}}}]
"""


@asynccontextmanager
async def without_operator() -> AsyncIterator[None]:
    """Scale KubeRay's operator to zero, and back at the end."""
    (where,) = [
        line.split()[:2]
        for line in (await kubectl("get", "deployments", "-A", "--no-headers")).splitlines()
        if "kuberay-operator" in line
    ]
    namespace, name = where
    await kubectl("-n", namespace, "scale", f"deployment/{name}", "--replicas=0")
    await kubectl(
        "-n", namespace, "wait", "--for=delete", "pod", "-l", f"app.kubernetes.io/name={name}", "--timeout=60s"
    )
    try:
        yield
    finally:
        await kubectl("-n", namespace, "scale", f"deployment/{name}", "--replicas=1")
        await kubectl("-n", namespace, "rollout", "status", f"deployment/{name}", "--timeout=120s")


async def measure(api: Api, namespace: str, home: Path, kubeconfig: str) -> dict[str, Any]:
    """Have a daemon make the RayClusters, kill it, start it anew and let it rest.

    Returns:
        ``restart_s`` (until the daemon is ready and has seen them all), ``rss_mb``, ``idle_cpu_percent`` (of a core).
    """
    config = CONFIG.format(namespace=namespace, file=kubeconfig, count=COUNT, image=IMAGE)
    async with without_operator():
        served = await asyncio.to_thread(Served(home, config=config).__enter__)
        began = time.monotonic()

        async def made() -> bool:
            found = await api.get(f"{RAY}/namespaces/{namespace}/rayclusters", limit="1")
            return bool(1 + int(found["metadata"].get("remainingItemCount", 0)) >= COUNT)

        try:
            await until_it_holds(made, 900)
            made_s = time.monotonic() - began
        finally:
            await asyncio.to_thread(served.end, signal.SIGKILL)
        (served.state_dir / "daemon.json").unlink()
        began = time.monotonic()
        served = await asyncio.to_thread(Served(home, config=config).__enter__)
        with served:
            await asyncio.to_thread(_ready, served)
            restart_s = time.monotonic() - began
            process = psutil.Process(served.process.pid)
            await asyncio.sleep(10)
            before = process.cpu_times()
            await asyncio.sleep(REST_S)
            after = process.cpu_times()
            rss_bytes = process.memory_info().rss
    used_s = after.user + after.system - before.user - before.system
    return {
        "restart_s": round(restart_s, 2),
        "rss_mb": round(rss_bytes / 2**20, 1),
        "idle_cpu_percent": round(100 * used_s / REST_S, 2),
        "rayclusters": COUNT,
        "made_s": round(made_s, 1),
    }


def _ready(served: Served) -> None:
    """Wait until the daemon is ready and has listed every RayCluster."""
    token = (served.state_dir / "operator.token").read_text().strip()
    with httpx.Client(base_url=served.url, headers={"Authorization": f"Bearer {token}"}, trust_env=False) as http:

        def look() -> bool:
            if http.get("/readyz").status_code != 200:
                return False
            # Absent until this process has asked Kubernetes what there is, and was answered completely.
            return "\nwarmpool_last_listing_timestamp_seconds " in http.get("/metrics").text

        served.until(look, "the daemon to have seen them all")

"""Keys of clusters that are small enough for a node of two cores."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

import aiohttp

from pool.backends.kuberay.backend import KuberayBackend
from pool.core.errors import PoolError
from pool.core.events import Shrunk
from pool.core.key import ClusterKey, key_from
from pool.core.model import Cluster, ClusterState
from pool.core.reasons import Reason
from pool.kube.api import CORE, Api, ApiError

IMAGE = os.environ.get("WARMPOOL_TEST_RAY_IMAGE", "rayproject/ray:2.60.0-py311")
SMALL = {"cpu": 1, "memory": "2Gi", "pod": {"requests": {"cpu": "100m", "memory": "512Mi"}}}


def small(workers: int = 1, image: str = IMAGE, tenant: str = "tests/kube", **head: object) -> ClusterKey:
    """Return the key of a cluster that fits a node of two cores."""
    groups = [{**SMALL, "name": "w", "replicas": workers}] if workers else []
    return key_from({"image": image, "tenant": tenant, "shape": {"head": {**SMALL, **head}, "workers": groups}})


def cluster_of(key: ClusterKey, seq: int = 1, boot_id: str = "") -> Cluster:
    return Cluster(
        id=f"c-{key.digest}-{seq}",
        pool=key.digest,
        tenant=key.tenant,
        seq=seq,
        footprint=key.footprint,
        state=ClusterState.STARTING,
        cause=Reason.MISS,
        created_at=0.0,
        changed_at=0.0,
        boot_id=boot_id,
    )


async def accounted(api: Api, namespace: str) -> None:
    """Wait for the service account that Kubernetes gives a new namespace: it refuses every pod before.

    Where the API server was away before, its controllers need half a minute to come back.
    """
    async with asyncio.timeout(120):
        while True:
            try:
                await api.get(f"{CORE}/namespaces/{namespace}/serviceaccounts/default")
                return
            except ApiError as error:
                if error.status != 404:
                    raise
            await asyncio.sleep(0.2)


async def until(look: Callable[[], Any], what: str, bound_s: float = 60.0) -> Any:
    end = asyncio.get_running_loop().time() + bound_s
    while not (found := look()):
        assert asyncio.get_running_loop().time() < end, f"waited {bound_s:.0f} s for {what}"
        await asyncio.sleep(0.05)
    return found


async def shrunk(backend: KuberayBackend, cluster: Cluster, key: ClusterKey, *, empty: bool = False) -> Shrunk:
    """Let workers go, as often as the daemon would ask: the nodes' statistics come late, also of what was freed."""
    async with asyncio.timeout(90):
        while True:
            try:
                found = await backend.shrink(cluster, key)
            except PoolError as error:
                print(error.detail)
            else:
                if not (empty and found.left):
                    return found
            await asyncio.sleep(2)


async def submit(dashboard_url: str, token: str, entrypoint: str, begun: asyncio.Event | None = None) -> str:
    """Run a job to its end, and return how that was; tell when Ray knows of it."""
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(headers=headers) as http:
        async with http.post(f"{dashboard_url}/api/jobs/", json={"entrypoint": entrypoint}) as answer:
            job = (await answer.json())["submission_id"]
        if begun is not None:
            begun.set()
        while True:
            async with http.get(f"{dashboard_url}/api/jobs/{job}") as answer:
                status = (await answer.json())["status"]
            if status not in ("PENDING", "RUNNING"):
                return str(status)
            await asyncio.sleep(0.2)

"""What a reset of a RayCluster takes that a lease was given back of, with a worker and without one.

Each lease runs a driver with one task. `reset_p50_s` is the full reset of a head alone, after it.
"""

from __future__ import annotations

import statistics
import time
import uuid
from typing import Any

from pool.backends.kuberay.backend import KuberayBackend
from pool.backends.kuberay.options import KuberayOptions
from pool.kube.api import Api
from tests.kube.kit import accounted, cluster_of, small, submit

ROUNDS = 7
DRIVER = 'python -c "import ray; ray.init(); ray.get(ray.remote(lambda: 1).remote())"'


async def measure(api: Api, namespace: str) -> dict[str, Any]:
    """Reset two clusters again and again.

    Returns:
        ``reset_p50_s``, ``reset_with_worker_p50_s``, ``group_reset_p50_s``, and every reset.

    Raises:
        RuntimeError: if one was not clean.
    """
    await accounted(api, namespace)
    options = KuberayOptions(namespace=namespace, addresses="pod", image_pull_policy="IfNotPresent")
    backend = KuberayBackend(options)
    await backend.open(uuid.uuid4().hex[:16], _token, lambda lost: None)
    full: dict[int, list[float]] = {}
    group: list[float] = []
    try:
        for workers in (0, 1):
            key = small(workers=workers)
            started = await backend.start(cluster := cluster_of(key), key, lambda phase: None)
            cluster = cluster._replace(boot_id=started.boot_id)
            full[workers] = []
            for _ in range(ROUNDS):
                await submit(started.dashboard_url, _token(cluster.id), DRIVER)
                for whole, took in ((False, group), (True, full[workers])):
                    began = time.monotonic()
                    found = await backend.reset(cluster, key, full=whole)
                    took.append(round(time.monotonic() - began, 2))
                    if not found.clean:
                        raise RuntimeError(f"a reset was not clean: {found.left}")
            await backend.stop(cluster.id)
    finally:
        await backend.close()
    return {
        "reset_p50_s": statistics.median(full[0]),
        "reset_with_worker_p50_s": statistics.median(full[1]),
        "group_reset_p50_s": statistics.median(group),
        "full_s": full[0],
        "full_with_worker_s": full[1],
        "group_s": group,
    }


def _token(cluster_id: str) -> str:
    return f"token-of-{cluster_id}-{'x' * 20}"

"""What the recorded Flyte task costs through the chart's connector, on a warm RayCluster: from `CreateTask` to outputs.

A pod plays the backend. The first task of each way, which starts a cluster or an interpreter, is told in the detail
alone.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from tests.connector.requests import request1
from tests.kube.connecting import a_store, backend, in_pods, store_of, with_connector, with_store
from tests.kube.release import Release

ROUNDS = 7
BOUND_S = 240.0


async def measure(release: Release, home: Path) -> dict[str, Any]:
    """Run the tasks in the warm interpreter, and then as Ray jobs on the same cluster.

    Args:
        release: to install.
        home: an empty directory, for certificates and what the tasks read.

    Returns:
        ``p50_s`` and ``ray_job_p50_s``, until the outputs are written, and every task.
    """
    volume = store_of(release)
    address = await with_connector(release, home, template=with_store(volume))
    detail: dict[str, Any] = {}
    async with a_store(release, volume):
        for name, ray_jobs in (("warm", False), ("ray_job", True)):
            if ray_jobs:
                release.extra["connector"]["rayJobs"] = True
                await release.install(backend={"template": with_store(volume)})
            store = home / name
            requests = [in_pods(request1(store, f"{name}-{number}"), store) for number in range(ROUNDS + 1)]
            found = await backend(release, store, address, requests, volume, BOUND_S)
            if failed := [one["message"] for one in found if one["phase"] != "SUCCEEDED"]:
                raise RuntimeError(f"a task of the connector's failed: {failed[0]}")
            kept = [{key: one[key] for key in ("outputs_s", "known_s", "about")} for one in found]
            detail[name] = {"first": kept[0], "tasks": kept[1:]}
    return {
        "p50_s": statistics.median(one["outputs_s"] for one in detail["warm"]["tasks"]),
        "ray_job_p50_s": statistics.median(one["outputs_s"] for one in detail["ray_job"]["tasks"]),
        "known_p50_s": statistics.median(one["known_s"] for one in detail["warm"]["tasks"]),
        "ray_job_known_p50_s": statistics.median(one["known_s"] for one in detail["ray_job"]["tasks"]),
        **detail,
    }

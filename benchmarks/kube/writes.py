"""What the daemon writes to the Kubernetes API, as the API server counts it, and how a cold start spends its time."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.report import percentile
from pool.client import AsyncClient, LeaseRequest, Progress
from pool.kube.api import RAY, Api
from tests.kube.kit import IMAGE, SMALL
from tests.kube.release import until_it_holds
from tests.serving import Served

CONFIG = """
listen: 127.0.0.1:0
backend: {{type: kuberay, namespace: {namespace}, addresses: pod, image_pull_policy: IfNotPresent, kubeconfig: {file}}}
"""
SHAPE = {"head": SMALL, "workers": [{**SMALL, "name": "w", "replicas": 1}]}
COLD_STARTS, WARM_GRANTS = 3, 20
# Of all that is written, only this can be the daemon's: KubeRay writes the status of RayClusters, a subresource, and a
# namespace's end deletes whole collections. Kubernetes' own removal of a Secret with its RayCluster is counted too.
_COUNT = re.compile(
    r'^apiserver_request_total\{.*resource="(rayclusters|secrets)",scope="resource"'
    r'.*subresource="".*verb="(POST|PUT|PATCH|APPLY|DELETE)".*\} (\S+)$'
)
GRANTED_WITHIN_S = 120.0


@dataclass
class ColdStart:
    """One cold start.

    Attributes:
        granted_s: from the request until the lease was granted.
        provisioned_s: from the request until KubeRay said that the RayCluster is provisioned.
        phases: what the waiter was told, and when, in seconds after the request.
    """

    granted_s: float
    provisioned_s: float
    phases: list[tuple[float, str]]


async def kubectl(*arguments: str) -> str:
    """Run kubectl and return what it prints.

    Raises:
        RuntimeError: if it fails.
    """
    process = await asyncio.create_subprocess_exec(
        "kubectl", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, error = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"kubectl {' '.join(arguments)}: {error.decode()[-500:]}")
    return out.decode()


async def writes() -> int:
    """Return how many writes the API server has counted that can be the daemon's."""
    text = await kubectl("get", "--raw", "/metrics")
    return round(sum(float(found[3]) for line in text.splitlines() if (found := _COUNT.match(line))))


def request(holder: str) -> LeaseRequest:
    """Return what every task of these benchmarks asks for."""
    return LeaseRequest(image=IMAGE, tenant="tests/kube", holder=holder, shape=SHAPE)


async def measure(api: Api, namespace: str, home: Path, kubeconfig: str) -> dict[str, Any]:
    """Start, lease, release and delete clusters by a daemon of this machine.

    Returns:
        The figures, and each cold start.
    """
    config = CONFIG.format(namespace=namespace, file=kubeconfig)
    with await asyncio.to_thread(_serve, home, config) as served:
        async with AsyncClient(served.url, token_file=served.state_dir / "operator.token") as client:
            cold: list[ColdStart] = []
            cycles: list[int] = []
            warm = 0
            for number in range(COLD_STARTS):
                before = await writes()
                cold.append(await _cold(api, client, namespace))
                await _idle(served)
                if number == 0:
                    at_rest = await writes()
                    for _ in range(WARM_GRANTS):
                        async with client.lease(request("warm")) as lease:
                            assert lease.outcome in ("hit", "waited"), lease.outcome
                    await _idle(served)
                    warm = await writes() - at_rest
                    before += warm
                (cluster,) = await asyncio.to_thread(_clusters, served)
                done = await asyncio.to_thread(served.run, "drain", cluster)
                assert done.returncode == 0, done.stderr

                async def gone() -> bool:
                    return not (await api.get(f"{RAY}/namespaces/{namespace}/rayclusters"))["items"]

                await until_it_holds(gone, 60)
                cycles.append(await writes() - before)
    return {
        "writes_per_warm_grant": warm / WARM_GRANTS,
        "writes_per_cycle": max(cycles),
        "cold_start_s": round(percentile([one.granted_s for one in cold], 0.5), 2),
        "provisioned_s": round(percentile([one.provisioned_s for one in cold], 0.5), 2),
        "cold_starts": [vars(one) for one in cold],
    }


def _serve(home: Path, config: str) -> Served:
    return Served(home, config=config).__enter__()


def _clusters(served: Served) -> list[str]:
    from tests.homes import listed

    return [cluster["id"] for cluster in listed(served, "clusters")]


async def _idle(served: Served) -> None:
    from tests.homes import listed

    async def look() -> bool:
        return [one["state"] for one in await asyncio.to_thread(listed, served, "clusters")] == ["idle"]

    await until_it_holds(look, 60)


async def _cold(api: Api, client: AsyncClient, namespace: str) -> ColdStart:
    began = time.monotonic()
    phases: list[tuple[float, str]] = []

    def told(progress: Progress) -> None:
        if progress.phase and (not phases or phases[-1][1] != progress.phase):
            phases.append((round(time.monotonic() - began, 2), progress.phase))

    async def provisioned() -> float:
        while True:
            found = await api.get(f"{RAY}/namespaces/{namespace}/rayclusters")
            for item in found["items"]:
                for condition in item.get("status", {}).get("conditions", []):
                    if condition["type"] == "RayClusterProvisioned" and condition["status"] == "True":
                        return time.monotonic() - began
            await asyncio.sleep(0.05)

    watching = asyncio.create_task(provisioned())
    async with asyncio.timeout(GRANTED_WITHIN_S):
        lease = await client.acquire(request("cold"), progress=told)
        granted_s = time.monotonic() - began
        provisioned_s = await watching
    await lease.release()
    return ColdStart(round(granted_s, 2), round(provisioned_s, 2), phases)

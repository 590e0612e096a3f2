"""A daemon as it is served, over a real Kubernetes that can be taken away from it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from pool.backends.kuberay.spec import CLUSTER
from pool.client import AsyncClient, LeaseRequest, Progress
from pool.kube.api import CORE, RAY, Api
from tests.homes import listed
from tests.kube.kit import IMAGE, SMALL
from tests.kube.proxy import Proxy
from tests.serving import Served

CONFIG = """
listen: 127.0.0.1:{port}
backend:
  {{type: kuberay, namespace: "{namespace}", addresses: pod, image_pull_policy: IfNotPresent, kubeconfig: "{file}"}}
reconcile_interval: 1s
defaults: {{lease_ttl: 20s, pickup: 10s, reset_timeout: 60s}}
"""
DRIVER = "python -c 'import ray; ray.init()'"
TENANT = "tests/kube"


class Place:
    """A daemon's state directory, its way to Kubernetes, and its clusters' namespace.

    Attributes:
        named: the namespace as the daemon's configuration names it.
        more: lines for the daemon's configuration.
    """

    def __init__(self, root: Path, namespace: str, api: Api, proxy: Proxy) -> None:
        self.root, self.namespace, self.api, self.proxy = root, namespace, api, proxy
        self.named, self.more = namespace, ""
        self._file = proxy.kubeconfig(root / "kubeconfig")
        self._port = 0
        self._served: list[Served] = []

    async def serve(self) -> Served:
        """Start the daemon (again); it answers when this returns."""
        (self.root / "state" / "daemon.json").unlink(missing_ok=True)
        config = CONFIG.format(port=self._port, namespace=self.named, file=self._file) + self.more
        served = Served(self.root, config=config)
        self._served.append(served)
        await asyncio.to_thread(served.__enter__)
        self._port = int(served.url.rpartition(":")[2])
        return served

    async def close(self) -> None:
        """End every daemon, however its test ended."""
        for served in self._served:
            await asyncio.to_thread(served.__exit__)
        await self.proxy.away()

    async def clusters(self) -> list[dict[str, Any]]:
        """Return the RayClusters of the namespace."""
        items: list[dict[str, Any]] = (await self.api.get(f"{RAY}/namespaces/{self.namespace}/rayclusters"))["items"]
        return items

    async def path(self, cluster_id: str) -> str:
        """Return the API's path of a cluster's RayCluster."""
        (meta,) = (m for m in (c["metadata"] for c in await self.clusters()) if m["labels"][CLUSTER] == cluster_id)
        return f"{RAY}/namespaces/{self.namespace}/rayclusters/{meta['name']}"

    async def pods(self, kind: str = "head") -> list[str]:
        """Return the names of the heads, or workers, of the namespace."""
        selector = f"ray.io/node-type={kind}"
        found = await self.api.get(f"{CORE}/namespaces/{self.namespace}/pods", labelSelector=selector)
        return [str(pod["metadata"]["name"]) for pod in found["items"]]

    async def kill(self, kind: str = "head") -> str:
        """Delete one pod and return its name."""
        name = (await self.pods(kind))[0]
        await self.api.delete(f"{CORE}/namespaces/{self.namespace}/pods/{name}")
        return name


@pytest.fixture
async def place(tmp_path: Path, namespace: str, api: Api) -> AsyncIterator[Place]:
    proxy = Proxy(Path(os.environ["KUBECONFIG"]))
    await proxy.open()
    made = Place(tmp_path, namespace, api, proxy)
    yield made
    await made.close()


class Told:
    """What a waiter is told while it waits."""

    def __init__(self) -> None:
        self.phases: list[str] = []

    def __call__(self, progress: Progress) -> None:
        if progress.phase not in self.phases:
            self.phases.append(progress.phase)

    def that(self, *said: str) -> bool:
        """Tell whether there was a phase that begins like each of `said`, in this order."""
        left = iter(self.phases)
        return all(any(phase.startswith(one) for phase in left) for one in said)


def client_of(served: Served) -> AsyncClient:
    return AsyncClient(served.url, token_file=served.state_dir / "operator.token")


def ask(holder: str, *, workers: int = 0, **fields: Any) -> LeaseRequest:
    groups = [{**SMALL, "name": "w", "replicas": workers}] if workers else []
    shape = {"head": SMALL, "workers": groups}
    return LeaseRequest(**{"image": IMAGE, "tenant": TENANT, "holder": holder, "shape": shape, **fields})


async def states(served: Served) -> list[str]:
    """Return the states of all clusters that are not gone."""
    return [cluster["state"] for cluster in await asyncio.to_thread(listed, served, "clusters")]


async def comes(served: Served, *wanted: str, bound_s: float = 40.0) -> None:
    """Wait until the clusters are in these states."""
    end = asyncio.get_running_loop().time() + bound_s
    while sorted(clusters := await states(served)) != sorted(wanted):
        assert asyncio.get_running_loop().time() < end, f"waited {bound_s:.0f} s for {wanted}, not {clusters}"
        await asyncio.sleep(0.1)


async def idle(served: Served) -> None:
    """Wait until there is one cluster, and it is idle."""
    await comes(served, "idle")


async def explained(served: Served, what: str) -> str:
    """Return what ``warmpool explain`` says."""
    done = await asyncio.to_thread(served.run, "explain", what)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def begin(dashboard_url: str, token: str, entrypoint: str) -> None:
    """Submit a job that may take its own cluster away: no answer is waited for."""
    headers = {"Authorization": f"Bearer {token}"}
    try:
        async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=5)) as http:
            await http.post(f"{dashboard_url}/api/jobs/", json={"entrypoint": entrypoint})
    except (aiohttp.ClientError, TimeoutError):
        return

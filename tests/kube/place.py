"""A daemon as it is served, over a real Kubernetes."""

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
from tests.kube.kit import IMAGE, SMALL
from tests.serving import Served

CONFIG = """
listen: 127.0.0.1:{port}
backend:
  {{type: kuberay, namespace: "{namespace}", addresses: pod, image_pull_policy: IfNotPresent, kubeconfig: "{file}"}}
reconcile_interval: 1s
defaults: {{lease_ttl: 20s, pickup: 10s, reset_timeout: 60s, reset_wait: 60s}}
"""
DRIVER = "python -c 'import ray; ray.init()'"
TENANT = "tests/kube"


class Place:
    """A daemon's state directory and its clusters' namespaces.

    Attributes:
        api: of the running test.
        named: the namespace as the daemon's configuration names it.
        more: lines for the daemon's configuration.
        served: the daemon that was started last.
    """

    def __init__(self, root: Path, namespace: str, api: Api | None = None) -> None:
        self.root, self.namespace = root, namespace
        self.named, self.more = namespace, ""
        self.served: Served | None = None
        self._api = api
        self._port = 0
        self._all: list[Served] = []

    @property
    def api(self) -> Api:
        assert self._api is not None
        return self._api

    @api.setter
    def api(self, api: Api) -> None:
        self._api = api

    async def serve(self) -> Served:
        """Start the daemon (again); it answers when this returns."""
        return await asyncio.to_thread(self._serve)

    def _serve(self) -> Served:
        (self.root / "state" / "daemon.json").unlink(missing_ok=True)
        file = os.environ["KUBECONFIG"]
        config = CONFIG.format(port=self._port, namespace=self.named, file=file) + self.more
        self.served = Served(self.root, config=config)
        self._all.append(self.served)
        self.served.__enter__()
        self._port = int(self.served.url.rpartition(":")[2])
        return self.served

    def close(self) -> None:
        """End every daemon, however its test ended."""
        for served in self._all:
            served.__exit__()

    def namespace_of(self, tenant: str) -> str:
        """Return where a tenant's clusters are."""
        project, _, domain = tenant.partition("/")
        return self.named.format(project=project, domain=domain)

    async def clusters(self, tenant: str = TENANT) -> list[dict[str, Any]]:
        """Return the RayClusters of a tenant."""
        path = f"{RAY}/namespaces/{self.namespace_of(tenant)}/rayclusters"
        items: list[dict[str, Any]] = (await self.api.get(path))["items"]
        return items

    async def pods(self, kind: str = "head", *, tenant: str = TENANT, cluster_id: str = "") -> list[str]:
        """Return the names of a tenant's heads, or workers; of one cluster, if one is named."""
        selector = f"ray.io/node-type={kind}" + (f",{CLUSTER}={cluster_id}" if cluster_id else "")
        found = await self.api.get(f"{CORE}/namespaces/{self.namespace_of(tenant)}/pods", labelSelector=selector)
        return [str(pod["metadata"]["name"]) for pod in found["items"]]

    async def kill(self, kind: str = "head", *, tenant: str = TENANT, cluster_id: str = "") -> str:
        """Delete one pod and return its name."""
        name = (await self.pods(kind, tenant=tenant, cluster_id=cluster_id))[0]
        await self.api.delete(f"{CORE}/namespaces/{self.namespace_of(tenant)}/pods/{name}")
        return name


@pytest.fixture
async def place(tmp_path: Path, namespace: str, api: Api) -> AsyncIterator[Place]:
    made = Place(tmp_path, namespace, api)
    yield made
    await asyncio.to_thread(made.close)


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


async def clusters(served: Served) -> list[dict[str, Any]]:
    """Return all clusters that are not gone, as the daemon lists them."""
    proof = {"Authorization": f"Bearer {(served.state_dir / 'operator.token').read_text().strip()}"}
    async with aiohttp.ClientSession(headers=proof) as http, http.get(f"{served.url}/v1/clusters") as answer:
        answer.raise_for_status()
        return list((await answer.json())["items"])


async def comes(served: Served, *wanted: str, bound_s: float = 90.0) -> None:
    """Wait until the clusters are in these states."""
    end = asyncio.get_running_loop().time() + bound_s
    while sorted(found := [cluster["state"] for cluster in await clusters(served)]) != sorted(wanted):
        assert asyncio.get_running_loop().time() < end, f"waited {bound_s:.0f} s for {wanted}, not {found}"
        await asyncio.sleep(0.1)


async def becomes(served: Served, cluster_id: str, wanted: str, bound_s: float = 90.0) -> dict[str, Any]:
    """Wait until a cluster is in this state, and return it; until it is gone, if none is wanted."""
    end = asyncio.get_running_loop().time() + bound_s
    while True:
        found = next((one for one in await clusters(served) if one["id"] == cluster_id), {"state": ""})
        if found["state"] == wanted:
            return found
        assert asyncio.get_running_loop().time() < end, f"waited {bound_s:.0f} s for {wanted}, not {found}"
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

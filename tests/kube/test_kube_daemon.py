"""The daemon as it is served, over a real Kubernetes: leases, kills at every side, an API that is away."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from pool.client import AsyncClient, LeaseRequest
from pool.kube.api import Api
from tests.homes import listed
from tests.kube.kit import IMAGE, SMALL, submit
from tests.kube.proxy import Proxy
from tests.serving import Served

pytestmark = [pytest.mark.kube, pytest.mark.timeout(300), pytest.mark.xdist_group("kube")]

CONFIG = """
listen: 127.0.0.1:{port}
backend: {{type: kuberay, namespace: {namespace}, addresses: pod, image_pull_policy: IfNotPresent, kubeconfig: {file}}}
reconcile_interval: 1s
defaults: {{lease_ttl: 20s, pickup: 10s}}
"""
DRIVER = "python -c 'import ray; ray.init()'"


class Place:
    """A daemon's state directory, its way to Kubernetes, and its clusters' namespace."""

    def __init__(self, root: Path, namespace: str, api: Api, proxy: Proxy) -> None:
        self.root, self.namespace, self.api, self.proxy = root, namespace, api, proxy
        self._file = proxy.kubeconfig(root / "kubeconfig")
        self._port = 0

    async def serve(self) -> Served:
        """Start the daemon (again); it answers when this returns."""
        (self.root / "state" / "daemon.json").unlink(missing_ok=True)
        config = CONFIG.format(port=self._port, namespace=self.namespace, file=self._file)
        served = Served(self.root, config=config)
        await asyncio.to_thread(served.__enter__)
        self._port = int(served.url.rpartition(":")[2])
        return served

    async def clusters(self) -> list[dict[str, Any]]:
        found = await self.api.get(f"/apis/ray.io/v1/namespaces/{self.namespace}/rayclusters")
        items: list[dict[str, Any]] = found["items"]
        return items

    async def head(self) -> str:
        selector = "ray.io/node-type=head"
        found = await self.api.get(f"/api/v1/namespaces/{self.namespace}/pods", labelSelector=selector)
        return str(found["items"][0]["metadata"]["name"])


@pytest.fixture
async def place(tmp_path: Path, namespace: str, api: Api) -> AsyncIterator[Place]:
    proxy = Proxy(Path(os.environ["KUBECONFIG"]))
    await proxy.open()
    yield Place(tmp_path, namespace, api, proxy)
    await proxy.away()


def client_of(served: Served) -> AsyncClient:
    return AsyncClient(served.url, token_file=served.state_dir / "operator.token")


def ask(holder: str, **fields: Any) -> LeaseRequest:
    return LeaseRequest(image=IMAGE, tenant="tests/kube", holder=holder, shape={"head": SMALL}, **fields)


def states(served: Served) -> list[str]:
    return [cluster["state"] for cluster in listed(served, "clusters")]


async def idle(served: Served) -> None:
    async with asyncio.timeout(40):
        while await asyncio.to_thread(states, served) != ["idle"]:  # noqa: ASYNC110 - another process changes it
            await asyncio.sleep(0.1)


async def test_two_tasks_in_a_row_run_on_one_cluster(place: Place) -> None:
    with await place.serve() as served:
        async with client_of(served) as client:
            async with client.lease(ask("first")) as first:
                assert first.outcome == "cold"
                assert await submit(first.cluster.dashboard_url, first.cluster.token, DRIVER) == "SUCCEEDED"
            await idle(served)
            async with client.lease(ask("second")) as second:
                assert second.outcome == "hit"
                assert second.cluster.address == first.cluster.address
                assert await submit(second.cluster.dashboard_url, second.cluster.token, DRIVER) == "SUCCEEDED"


async def test_a_head_killed_under_a_lease_ends_it_and_the_next_lease_gets_a_new_cluster(place: Place) -> None:
    with await place.serve() as served:
        async with client_of(served) as client:
            lease = await client.acquire(ask("first"))
            await place.api.delete(f"/api/v1/namespaces/{place.namespace}/pods/{await place.head()}")
            # The client learns it with its next renewal, a third of the lease's time later.
            assert await lease.wait_lost(15.0)
            await lease.release()
            async with client.lease(ask("second")) as second:
                assert second.outcome == "cold"


async def test_a_daemon_killed_while_it_starts_and_while_it_leases_adopts_its_cluster(place: Place) -> None:
    served = await place.serve()
    async with client_of(served) as client:
        asking = asyncio.create_task(client.acquire(ask("first")))
        async with asyncio.timeout(30):
            while not await place.clusters():  # noqa: ASYNC110 - another process changes it
                await asyncio.sleep(0.05)
        await asyncio.to_thread(served.end, signal.SIGKILL)
        (before,) = await place.clusters()
        again = await place.serve()
        lease = await asking
        await asyncio.to_thread(again.end, signal.SIGKILL)
        with await place.serve() as served:
            assert await submit(lease.cluster.dashboard_url, lease.cluster.token, DRIVER) == "SUCCEEDED"
            assert lease.state == "active"
            await lease.release()
            await idle(served)
            (after,) = await place.clusters()
            assert after["metadata"]["uid"] == before["metadata"]["uid"]


async def test_while_the_api_is_away_leases_go_on_and_nothing_is_lost(place: Place) -> None:
    with await place.serve() as served:
        async with client_of(served) as client:
            lease = await client.acquire(ask("first"))
            await place.proxy.away()
            # Longer than a lease's time: only renewals keep it.
            await asyncio.sleep(25.0)
            assert lease.state == "active"
            assert await submit(lease.cluster.dashboard_url, lease.cluster.token, DRIVER) == "SUCCEEDED"
            await lease.release()
            await idle(served)
            second = await client.acquire(ask("second"))
            assert second.outcome == "hit"
            await place.proxy.open()
            head = await place.head()
            await place.api.delete(f"/api/v1/namespaces/{place.namespace}/pods/{head}")
            # The watch that is taken up again, within its longest pause, tells of it.
            assert await second.wait_lost(30.0)
            await second.release()

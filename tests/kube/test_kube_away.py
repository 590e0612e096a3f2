"""While parts of Kubernetes are away: what is leased and warm goes on, nothing is declared lost, and all comes back."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from pool.kube.api import CORE, Api, ApiError
from tests.homes import listed
from tests.kube.kit import SMALL, submit, until
from tests.kube.place import DRIVER, Place, Told, ask, client_of, comes, explained

pytestmark = [pytest.mark.kube, pytest.mark.alone, pytest.mark.timeout(300)]

AWAY_S = 60.0
STOP, START = "WARMPOOL_TEST_STOP_APISERVER", "WARMPOOL_TEST_START_APISERVER"
OPERATOR = "app.kubernetes.io/component=kuberay-operator"
# Of another key than the one that is leased: only a start serves it.
OTHER = {"shape": {"head": {**SMALL, "memory": "1900Mi"}}}

Switch = Callable[[bool], Awaitable[None]]


async def command(variable: str) -> None:
    done = await asyncio.to_thread(subprocess.run, os.environ[variable], shell=True, capture_output=True, text=True)
    assert done.returncode == 0, f"{variable}: {done.stderr}"


@pytest.fixture
async def operator(api: Api) -> AsyncIterator[Switch]:
    """Takes the KubeRay operator away, and brings it back."""
    found = (await api.get("/apis/apps/v1/deployments", labelSelector=OPERATOR))["items"]
    if not found:
        pytest.skip(f"needs the Deployment of the KubeRay operator, with the label {OPERATOR}")
    path = f"/apis/apps/v1/namespaces/{found[0]['metadata']['namespace']}/deployments/{found[0]['metadata']['name']}"
    replicas = found[0]["spec"]["replicas"]

    async def switch(on: bool) -> None:
        await api.patch(path, {"spec": {"replicas": replicas if on else 0}})
        async with asyncio.timeout(60):
            while (await api.get(path))["status"].get("availableReplicas", 0) != (replicas if on else 0):  # noqa: ASYNC110
                await asyncio.sleep(0.2)

    yield switch
    await switch(True)


async def test_while_kuberay_is_away_leases_go_on_and_a_start_says_so_and_recovers(
    place: Place, operator: Switch
) -> None:
    with await place.serve() as served:
        async with client_of(served) as client:
            lease = await client.acquire(ask("first"))
            loop, told = asyncio.get_running_loop(), Told()
            await operator(False)
            since = loop.time()
            cold = asyncio.create_task(client.acquire(ask("cold", **OTHER), progress=told))
            await lease.release()
            await comes(served, "idle", "starting")
            second = await client.acquire(ask("second"))
            assert second.outcome == "hit"
            assert await submit(second.cluster.dashboard_url, second.cluster.token, DRIVER) == "SUCCEEDED"
            # Nobody replaces the head; that it is gone is seen all the same.
            await place.kill("head")
            assert await second.wait_lost(15.0)
            await second.release()
            await asyncio.sleep(since + AWAY_S - loop.time())
            assert told.that("admitted: KubeRay has not made its pods yet"), told.phases
            assert await place.pods() == []
            await operator(True)
            async with asyncio.timeout(60):
                other = await cold
            assert await submit(other.cluster.dashboard_url, other.cluster.token, DRIVER) == "SUCCEEDED"
            assert [pool["last_error"] for pool in await asyncio.to_thread(listed, served, "pools")] == ["", ""]
            await other.release()


# The last of all: its controllers take half a minute to come back, for which whatever comes next would wait.
@pytest.fixture
async def api_server(api: Api) -> AsyncIterator[Switch]:
    """Stops the API server, and starts it again."""
    if not {STOP, START} <= os.environ.keys():
        pytest.skip(f"needs commands that stop and start the API server: {STOP} and {START}, as .ci/run gives them")
    stopped = False

    async def switch(on: bool) -> None:
        nonlocal stopped
        await command(START if on else STOP)
        stopped = not on

    yield switch
    if stopped:
        await switch(True)
    async with asyncio.timeout(60):
        while True:
            try:
                await api.get("/version")
                break
            except ApiError:
                await asyncio.sleep(0.2)
    # KubeRay ends itself when it cannot keep its lead, and is started again ever later: a fresh pod of it is not.
    found = (await api.get("/apis/apps/v1/deployments", labelSelector=OPERATOR))["items"]
    for where in {item["metadata"]["namespace"] for item in found}:
        for pod in (await api.get(f"{CORE}/namespaces/{where}/pods", labelSelector=OPERATOR))["items"]:
            await api.delete(f"{CORE}/namespaces/{where}/pods/{pod['metadata']['name']}")


async def test_while_the_api_server_is_away_leases_and_warm_grants_go_on_and_a_start_waits_for_it(
    place: Place, api_server: Switch
) -> None:
    served = await place.serve()
    async with client_of(served) as client:
        lease = await client.acquire(ask("first"))
        loop, told = asyncio.get_running_loop(), Told()
        await api_server(False)
        since = loop.time()
        cold = asyncio.create_task(client.acquire(ask("cold", **OTHER), progress=told))
        # Longer than a lease's time: only renewals keep it.
        await asyncio.sleep(25.0)
        assert lease.state == "active"
        assert await submit(lease.cluster.dashboard_url, lease.cluster.token, DRIVER) == "SUCCEEDED"
        await lease.release()
        await comes(served, "idle", "starting")
        second = await client.acquire(ask("second", ttl_s=60.0))
        assert (second.outcome, second.cluster.id) == ("hit", lease.cluster.id)
        assert told.that("waiting for Kubernetes"), told.phases
        await asyncio.to_thread(served.end, signal.SIGKILL)
        served = await place.serve()
        # One that is new and has seen nothing yet goes on by what its store says.
        await second.release()
        await comes(served, "idle", "starting")
        third = await client.acquire(ask("third"))
        assert (third.outcome, third.cluster.id) == ("hit", lease.cluster.id)
        await asyncio.sleep(since + AWAY_S - loop.time())
        assert not cold.done()
        await api_server(True)
        # The start goes on, and does not count as failed. (KubeRay may take a minute more to come back.)
        await until(lambda: told.that("waiting for Kubernetes", "admitted"), "the start to go on", 30.0)
        assert [pool["last_error"] for pool in await asyncio.to_thread(listed, served, "pools")] == ["", ""]
        assert len(await place.clusters()) == 2
        assert (third.state, third.hints) == ("active", ())
        # What happens from now on is seen again, within the watch's longest pause.
        await place.api.delete(await place.path(third.cluster.id))
        assert await third.wait_lost(30.0)
        assert "somebody deleted its RayCluster" in await explained(served, third.id)
        await third.release()
        cold.cancel()
        await asyncio.wait([cold])

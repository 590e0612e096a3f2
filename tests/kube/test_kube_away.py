"""While KubeRay and the API server are away: what is leased and warm goes on, nothing is lost, and all comes back."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from pool.kube.api import Api, ApiError
from tests.homes import listed
from tests.kube.kit import SMALL, submit, until
from tests.kube.place import DRIVER, Place, Told, ask, client_of, comes, explained

pytestmark = [pytest.mark.kube, pytest.mark.alone, pytest.mark.timeout(500)]

AWAY_S = 60.0
STOP, START = "WARMPOOL_TEST_STOP_APISERVER", "WARMPOOL_TEST_START_APISERVER"
OPERATOR = "app.kubernetes.io/component=kuberay-operator"
# Of other keys than the one that is leased: only a start serves them.
OTHER = {"shape": {"head": {**SMALL, "memory": "1900Mi"}}}
LATER = {"shape": {"head": {**SMALL, "memory": "1800Mi"}}}

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
    labels = ",".join(f"{name}={value}" for name, value in found[0]["spec"]["selector"]["matchLabels"].items())
    pods = path.partition("/deployments/")[0].replace("/apis/apps/v1/", "/api/v1/") + "/pods"

    async def there(on: bool) -> bool:
        if on:
            return bool((await api.get(path))["status"].get("availableReplicas", 0) == replicas)
        # One that was told to end still makes pods.
        return not (await api.get(pods, labelSelector=labels))["items"]

    async def switch(on: bool) -> None:
        await api.patch(path, {"spec": {"replicas": replicas if on else 0}})
        # After the API server was away, its controllers need half a minute to come back.
        async with asyncio.timeout(120):
            while not await there(on):  # noqa: ASYNC110
                await asyncio.sleep(0.2)

    yield switch
    await switch(True)


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


async def test_while_kuberay_and_the_api_server_are_away_leases_and_warm_grants_go_on_and_starts_say_so_and_recover(
    place: Place, operator: Switch, api_server: Switch
) -> None:
    place.more = "pools: [{name: all, start_timeout: 5m}]"
    served = await place.serve()
    loop, told, told_later = asyncio.get_running_loop(), Told(), Told()
    async with client_of(served) as client:
        lease = await client.acquire(ask("first"))

        # KubeRay away: what is there is used and granted, what is created waits for it and says so.
        await operator(False)
        kuberay_since = loop.time()
        cold = asyncio.create_task(client.acquire(ask("cold", **OTHER), progress=told))
        await lease.release()
        await comes(served, "idle", "starting")
        lease = await client.acquire(ask("second"))
        assert lease.outcome == "hit"
        assert await submit(lease.cluster.dashboard_url, lease.cluster.token, DRIVER) == "SUCCEEDED"
        await until(lambda: told.that("admitted: KubeRay has not made its pods yet"), "the start to say why", 30.0)

        # The API server too.
        await api_server(False)
        since = loop.time()
        later = asyncio.create_task(client.acquire(ask("later", **LATER), progress=told_later))
        # Longer than a lease's time: only renewals keep it.
        await asyncio.sleep(25.0)
        assert lease.state == "active"
        assert await submit(lease.cluster.dashboard_url, lease.cluster.token, DRIVER) == "SUCCEEDED"
        await lease.release()
        await comes(served, "idle", "starting", "starting")
        third = await client.acquire(ask("third", ttl_s=60.0))
        assert (third.outcome, third.cluster.id) == ("hit", lease.cluster.id)
        assert told_later.that("waiting for Kubernetes"), told_later.phases
        await asyncio.to_thread(served.end, signal.SIGKILL)
        served = await place.serve()
        # One that is new and has seen nothing yet goes on by what its store says.
        await third.release()
        await comes(served, "idle", "starting", "starting")
        fourth = await client.acquire(ask("fourth"))
        assert (fourth.outcome, fourth.cluster.id) == ("hit", lease.cluster.id)
        await asyncio.sleep(since + AWAY_S - loop.time())
        assert not cold.done()
        await api_server(True)

        # The starts go on, and do not count as failed; nothing was lost.
        await until(lambda: told_later.that("waiting for Kubernetes", "admitted"), "the start to go on", 30.0)
        assert [pool["last_error"] for pool in await asyncio.to_thread(listed, served, "pools")] == [""] * 3
        assert len(await place.clusters()) == 3
        assert (fourth.state, fourth.hints) == ("active", ())
        # What happens from now on is seen again, within the watch's longest pause. KubeRay, which is still away,
        # replaces no head: that it is gone is seen all the same.
        (head,) = await place.pods()
        await place.kill("head")
        assert await fourth.wait_lost(30.0)
        assert f"{head} " in await explained(served, fourth.id)
        await fourth.release()
        later.cancel()
        await asyncio.wait([later])

        # KubeRay comes back, after more than a minute. What is left of the head is not waited for: Kubernetes' garbage
        # collector needs a minute and more to find its way after the API server was away.
        assert not cold.done()
        assert loop.time() > kuberay_since + AWAY_S
        await operator(True)
        async with asyncio.timeout(90):
            other = await cold
        assert await submit(other.cluster.dashboard_url, other.cluster.token, DRIVER) == "SUCCEEDED"
        await other.release()

"""Real RayClusters on a real Kubernetes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from pool.backends.kuberay import spec
from pool.backends.kuberay.backend import KuberayBackend
from pool.core.errors import StartFailed
from pool.core.reasons import Reason
from pool.kube.api import Api
from tests.kube.kit import cluster_of, small, submit, until

pytestmark = [pytest.mark.kube, pytest.mark.timeout(180)]


def token_of(cluster_id: str) -> str:
    return f"token-of-{cluster_id}-{'x' * 20}"


async def test_a_cluster_is_created_used_reset_adopted_and_deleted_with_four_writes_at_most(
    backend: KuberayBackend, namespace: str, api: Api
) -> None:
    key = small(workers=1)
    cluster = cluster_of(key)
    phases: list[str] = []
    started = await backend.start(cluster, key, phases.append)
    course = ["creating", "admitted", "scheduling", "pulling image", "starting head", "workers 0 of 1", "checking"]
    assert [phase for phase in phases if phase not in course] == []
    firsts = list(dict.fromkeys(phases))
    assert sorted(firsts, key=course.index) == firsts
    assert {"creating", "pulling image", "starting head", "workers 0 of 1", "checking"} <= set(phases)
    assert (await backend.list()).seen[0].boot_id == started.boot_id
    assert (
        await submit(started.dashboard_url, token_of(cluster.id), "python -c 'import ray; ray.init()'") == "SUCCEEDED"
    )
    clean = await backend.reset(cluster._replace(boot_id=started.boot_id), key)
    assert (clean.clean, clean.left) == (True, "")
    assert await backend.start(cluster, key, phases.append) == started
    await backend.stop(cluster.id)
    assert (await backend.list()).seen == ()
    # RayCluster, Secret, deletion; and one more where KubeRay (1.5) made a Secret of its own in between.
    assert backend.writes in (3, 4)
    await until_gone(api, f"/api/v1/namespaces/{namespace}/secrets")


async def test_a_cluster_whose_daemon_died_before_it_gave_the_token_gets_it_from_the_next(
    backend: KuberayBackend, namespace: str, store_id: str, api: Api
) -> None:
    key = small(workers=0)
    cluster = cluster_of(key)
    path = f"/apis/ray.io/v1/namespaces/{namespace}/rayclusters"
    made = await api.create(path, spec.ray_cluster(store_id, cluster.id, key, backend.options))
    secrets = f"/api/v1/namespaces/{namespace}/secrets"
    if "secretName" in made["spec"].get("authOptions", {"secretName": ""}):
        await until(lambda: backend.view.pods(cluster.id), "its pods", 30.0)
        await backend.start(cluster, key, lambda phase: None)
    else:
        # KubeRay 1.5 knows no Secret but its own, with a token that nobody else knows: that one fails, and hangs not.
        async with asyncio.timeout(30):
            while not (await api.get(secrets))["items"]:  # noqa: ASYNC110 - another process changes it
                await asyncio.sleep(0.1)
        with pytest.raises(StartFailed, match="refuses its token"):
            await backend.start(cluster, key, lambda phase: None)
    await backend.stop(cluster.id)
    await until_gone(api, secrets)


async def until_gone(api: Api, path: str) -> None:
    async with asyncio.timeout(30):
        while (await api.get(path))["items"]:  # noqa: ASYNC110 - another process changes it
            await asyncio.sleep(0.2)


async def failure(backend: KuberayBackend, **shape: Any) -> StartFailed:
    key = small(**shape)
    cluster = cluster_of(key)
    with pytest.raises(StartFailed) as failed:
        await backend.start(cluster, key, lambda phase: None)
    await backend.stop(cluster.id)
    return failed.value


async def test_an_image_that_is_not_there_is_the_reason(backend: KuberayBackend) -> None:
    failed = await failure(backend, workers=0, image="warmpool.invalid/none:2.60.0")
    assert "the image warmpool.invalid/none:2.60.0 cannot be pulled" in failed.detail


async def test_a_quota_is_the_reason_and_means_no_room(backend: KuberayBackend, namespace: str, api: Api) -> None:
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    await api.create(f"/api/v1/namespaces/{namespace}/resourcequotas", quota)
    await asyncio.sleep(0.5)
    failed = await failure(backend, workers=0)
    assert failed.reason is Reason.NO_CAPACITY
    assert "exceeded quota" in failed.detail


async def test_a_spec_that_kuberay_refuses_is_told_by_its_event(backend: KuberayBackend) -> None:
    off = {"annotations": {"ray.io/ft-enabled": "false"}}
    template = {"metadata": off, "spec": {"gcsFaultToleranceOptions": {"redisAddress": "redis:6379"}}}
    backend.options = replace(backend.options, template=template)
    failed = await failure(backend, workers=0)
    assert failed.reason is Reason.START_FAILED
    assert "KubeRay refuses its spec" in failed.detail


async def test_a_cluster_that_finds_no_node_tells_why(backend: KuberayBackend) -> None:
    backend.options = replace(backend.options, node_wait_s=2.0)
    failed = await failure(backend, workers=0, pod={"spec": {"nodeSelector": {"there-is": "none"}}})
    assert failed.reason is Reason.NO_CAPACITY
    assert "finds no node" in failed.detail


async def test_a_node_that_comes_within_node_wait_is_waited_for(
    backend: KuberayBackend, namespace: str, api: Api
) -> None:
    backend.options = replace(backend.options, node_wait_s=60.0)
    (node, *_) = (await api.get("/api/v1/nodes"))["items"]
    path = f"/api/v1/nodes/{node['metadata']['name']}"
    key = small(workers=0, pod={"spec": {"nodeSelector": {namespace: "here"}}})
    cluster = cluster_of(key)
    phases: list[str] = []
    starting = asyncio.create_task(backend.start(cluster, key, phases.append))
    try:
        await until(lambda: [one for one in phases if "finds no node" in one], "the pod to find no node", 10.0)
        assert phases[-1].startswith("scheduling: ")
        assert not starting.done()
        await api.patch(path, {"metadata": {"labels": {namespace: "here"}}})
        assert (await starting).boot_id
    finally:
        starting.cancel()
        await api.patch(path, {"metadata": {"labels": {namespace: None}}})
    await backend.stop(cluster.id)


async def test_a_program_that_needs_more_memory_than_it_has_is_the_reason(backend: KuberayBackend) -> None:
    failed = await failure(backend, workers=0, memory="40Mi", pod={"requests": {"cpu": "100m", "memory": "40Mi"}})
    assert failed.reason is Reason.START_FAILED
    assert "ran out of memory" in failed.detail


async def test_a_namespace_that_is_not_there_is_the_reason(backend: KuberayBackend) -> None:
    backend.options = replace(backend.options, namespace="warmpool-test-none")
    failed = await failure(backend, workers=0)
    assert "warmpool-test-none" in failed.detail

"""Starts on a real Kubernetes that fail or wait, and why."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from pool.backends.kuberay.backend import KuberayBackend
from pool.core.errors import StartFailed
from pool.core.reasons import Reason
from pool.kube.api import Api
from tests.kube.kit import cluster_of, small, until

pytestmark = [pytest.mark.kube, pytest.mark.timeout(180)]


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

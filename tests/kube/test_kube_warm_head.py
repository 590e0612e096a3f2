"""Warm heads on a real Kubernetes: workers go while nobody uses them, and come back with the next lease."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from pool.backends.base import News
from pool.backends.kuberay import pods
from pool.backends.kuberay.backend import KuberayBackend
from pool.client import AsyncClient, LeaseRequest
from pool.core.errors import PoolError
from pool.core.events import Shrunk
from pool.kube.api import CORE, Api
from tests.homes import listed
from tests.kube.kit import IMAGE, SMALL, cluster_of, shrunk, small, submit
from tests.serving import Served

pytestmark = [pytest.mark.kube, pytest.mark.timeout(300)]

CONFIG = """
listen: 127.0.0.1:0
backend: {{type: kuberay, namespace: {namespace}, addresses: pod, image_pull_policy: IfNotPresent, kubeconfig: {file}}}
reconcile_interval: 1s
defaults: {{lease_ttl: 20s, workers_idle_ttl: 1s, group_rest: 0}}
"""
ON_A_WORKER = """python -c "
import ray
ray.init()
head = ray.get_runtime_context().get_node_id()
ran = ray.get([ray.remote(num_cpus=1)(lambda: ray.get_runtime_context().get_node_id()).options(
    scheduling_strategy='SPREAD').remote() for _ in range(8)])
assert len(ray.nodes()) and sum(node['Alive'] for node in ray.nodes()) == 2, ray.nodes()
assert len(set(ran)) == 2, ran
" """
OWNER = """python -c "
import ray
ray.init(namespace='kept')

@ray.remote(num_cpus=0)
class Owner:
    def __init__(self):
        self.kept = ray.put(bytes(5_000_000))

workers = [node['NodeID'] for node in ray.nodes() if 'node:__internal_head__' not in node['Resources']]
where = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(workers[0], soft=False)
owner = Owner.options(name='owner', lifetime='detached', scheduling_strategy=where).remote()
ray.get(owner.__ray_ready__.remote())
" """


async def heads_and_workers(api: Api, namespace: str) -> tuple[list[str], list[str]]:
    """Return the uids of the head pods and of the worker pods."""
    found = (await api.get(f"{CORE}/namespaces/{namespace}/pods"))["items"]
    by_kind: dict[bool, list[str]] = {True: [], False: []}
    for pod in found:
        by_kind[pods.is_head(pod)].append(pod["metadata"]["uid"])
    return by_kind[True], by_kind[False]


async def state(served: Served, wanted: str) -> dict[str, Any]:
    async with asyncio.timeout(90):
        while True:
            (cluster,) = await asyncio.to_thread(listed, served, "clusters")
            if cluster["state"] == wanted:
                return cluster
            await asyncio.sleep(0.2)


async def test_an_idle_cluster_keeps_its_head_alone_and_the_next_lease_has_the_worker_again(
    tmp_path: Path, namespace: str, api: Api
) -> None:
    config = CONFIG.format(namespace=namespace, file=os.environ["KUBECONFIG"])
    shape = {"head": SMALL, "workers": [{**SMALL, "name": "w", "replicas": 1}]}
    request = LeaseRequest(image=IMAGE, tenant="tests/kube", holder="test", shape=shape)
    with Served(tmp_path, config=config) as served:
        async with AsyncClient(served.url, token_file=served.state_dir / "operator.token") as client:
            async with client.lease(request) as first:
                assert first.outcome == "cold"
                heads, before = await heads_and_workers(api, namespace)
                assert (len(heads), len(before)) == (1, 1)
            cluster = await state(served, "warm_head")
            assert await heads_and_workers(api, namespace) == (heads, [])
            assert "idle for" in cluster["explanation"]
            async with client.lease(request) as second:
                assert (second.outcome, second.reason) == ("warm_head", "workers_let_go")
                assert second.cluster.address == first.cluster.address
                assert second.waited_s < first.waited_s
                again, after = await heads_and_workers(api, namespace)
                assert (again, len(after)) == (heads, 1)
                assert after != before
                assert await submit(second.cluster.dashboard_url, second.cluster.token, ON_A_WORKER) == "SUCCEEDED"
                (leased,) = await asyncio.to_thread(listed, served, "clusters")
                assert (leased["state"], leased["degraded"]) == ("leased", "")
                print(f"cold {first.waited_s:.1f} s, warm head {second.waited_s:.1f} s")


async def test_a_worker_that_holds_objects_is_not_let_go_and_a_late_decision_undoes_nothing(
    backend: KuberayBackend, namespace: str, api: Api, told: list[News]
) -> None:
    key = small(workers=1)
    cluster = cluster_of(key)
    started = await backend.start(cluster, key, lambda phase: None)
    cluster = cluster._replace(boot_id=started.boot_id, resizes=1)
    token = f"token-of-{cluster.id}-{'x' * 20}"
    assert await submit(started.dashboard_url, token, OWNER) == "SUCCEEDED"
    writes = backend.writes
    kept = await shrunk(backend, cluster, key)
    assert (kept.left, backend.writes) == ((("w", 1),), writes)
    assert " holds " in kept.detail
    clean = await backend.reset(cluster, key)
    assert clean.clean, clean
    gone = await shrunk(backend, cluster, key, empty=True)
    assert (gone, backend.writes) == (Shrunk(cluster.id), writes + 1)
    assert (await heads_and_workers(api, namespace))[1] == []
    phases: list[str] = []
    grown = await backend.grow(cluster._replace(resizes=2), key, phases.append)
    assert grown.boot_id == started.boot_id
    assert "workers 0 of 1" in phases
    with pytest.raises(PoolError, match="later decision"):
        await backend.shrink(cluster, key)
    assert [one for one in told if getattr(one, "lasting", True)] == []
    await backend.stop(cluster.id)

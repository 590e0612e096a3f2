"""RayClusters that are no longer what was leased: a worker is gone, or somebody edits them."""

from __future__ import annotations

import pytest

from pool.backends.base import News
from pool.backends.kuberay import pods
from pool.backends.kuberay.backend import KuberayBackend
from pool.core.events import Degraded
from pool.kube.api import CORE, RAY, Api
from tests.kube.kit import cluster_of, small, until

pytestmark = [pytest.mark.kube, pytest.mark.timeout(180), pytest.mark.xdist_group("kube")]


async def test_a_worker_that_is_killed_is_missed_until_kuberay_has_replaced_it(
    backend: KuberayBackend, namespace: str, api: Api, told: list[News]
) -> None:
    key = small(workers=1)
    cluster = cluster_of(key)
    started = await backend.start(cluster, key, lambda phase: None)
    assert told == []
    (worker,) = (pod for pod in backend.view.pods(cluster.id) if not pods.is_head(pod))
    await api.delete(f"{CORE}/namespaces/{namespace}/pods/{worker['metadata']['name']}")
    first = await until(lambda: told and told[0], "the loss of a worker", 10.0)
    assert isinstance(first, Degraded)
    assert f"{cluster.id}: 0 of 1 workers run: {worker['metadata']['name']} " in first.detail
    again = await until(lambda: len(told) > 1 and told[1], "another worker", 60.0)
    assert again == Degraded(cluster.id, started.boot_id, "")
    assert (await backend.reset(cluster._replace(boot_id=started.boot_id), key)).clean
    await backend.stop(cluster.id)


async def test_a_cluster_that_is_scaled_or_edited_by_hand_is_told_with_what_was_changed(
    backend: KuberayBackend, namespace: str, api: Api, told: list[News]
) -> None:
    key = small(workers=1)
    cluster = cluster_of(key)
    started = await backend.start(cluster, key, lambda phase: None)
    item = backend.view.cluster(cluster.id)
    assert item is not None
    path = f"{RAY}/namespaces/{namespace}/rayclusters/{item['metadata']['name']}"
    groups = (await api.get(path))["spec"]["workerGroupSpecs"]
    await api.patch(path, {"spec": {"workerGroupSpecs": [{**groups[0], "replicas": 0, "minReplicas": 0}]}})
    found = await until(lambda: told and told[0], "the edit", 10.0)
    said = f"{cluster.id}: somebody changed its RayCluster: spec.workerGroupSpecs[w].minReplicas is 0, not 1."
    assert found == Degraded(cluster.id, started.boot_id, said, lasting=True)
    await backend.stop(cluster.id)

"""RayClusters that are no longer what was leased: somebody scales, edits or deletes them."""

from __future__ import annotations

import pytest

from pool.backends.base import News
from pool.backends.kuberay.backend import KuberayBackend
from pool.core.events import Degraded, Lost
from pool.kube.api import RAY, Api
from tests.kube.kit import cluster_of, small, until

pytestmark = [pytest.mark.kube, pytest.mark.timeout(180)]


async def test_a_cluster_that_is_edited_and_then_deleted_by_hand_is_told_as_each(
    backend: KuberayBackend, namespace: str, api: Api, told: list[News]
) -> None:
    key = small(workers=1)
    cluster = cluster_of(key)
    started = await backend.start(cluster, key, lambda phase: None)
    assert told == []
    item = backend.view.cluster(cluster.id)
    assert item is not None
    path = f"{RAY}/namespaces/{namespace}/rayclusters/{item['metadata']['name']}"
    groups = (await api.get(path))["spec"]["workerGroupSpecs"]
    await api.patch(path, {"spec": {"workerGroupSpecs": [{**groups[0], "replicas": 0, "minReplicas": 0}]}})
    said = f"{cluster.id}: somebody changed its RayCluster: spec.workerGroupSpecs[w].minReplicas is 0, not 1."
    # That the worker is gone, which the edit takes away, may be seen before the edit is.
    edited = Degraded(cluster.id, started.boot_id, said, lasting=True)
    await until(lambda: edited in told, "the edit", 10.0)
    assert told[-1] == edited
    await api.delete(path)
    lost = await until(lambda: next((news for news in told if isinstance(news, Lost)), None), "the loss", 5.0)
    assert (lost.cluster_id, lost.boot_id) == (cluster.id, started.boot_id)
    assert "somebody deleted its RayCluster" in lost.detail
    assert not (await backend.reset(cluster._replace(boot_id=started.boot_id), key)).clean
    await backend.stop(cluster.id)
    assert (await backend.list()).seen == ()

"""Letting workers go and getting them back, against a scripted Kubernetes and a scripted head."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest

from pool.backends.kuberay import drift
from pool.backends.kuberay.options import KuberayOptions
from pool.backends.kuberay.resize import Resizing
from pool.backends.kuberay.view import View
from pool.core.errors import PoolError
from pool.core.events import Shrunk
from pool.core.key import key_from
from pool.kube.api import ApiError
from tests.kube.kit import cluster_of
from tests.kuberay.test_scale import live
from tests.kuberay.test_view import STORE, pod

KEY = key_from({"image": "i:2.60.0", "tenant": "p/d", "shape": {"workers": [{"name": "w", "replicas": 2}]}})
CLUSTER = cluster_of(KEY)._replace(id="c-1-1", boot_id="p1-x1", resizes=1)


class Head:
    """A head's HTTP API: what its nodes hold, and which of them are alive."""

    def __init__(self, held: dict[str, int]) -> None:
        self.held = held
        self.alive = {"10.0.0.1", "10.0.0.2"}

    async def get(self, path: str, params: dict[str, str] | None = None) -> Any:
        nodes = [
            {
                "nodeId": ip,
                "storeStats": {"numLocalObjects": str(count), "objectStoreBytesUsed": str(count * 9)},
            }
            for ip, count in {"10.0.0.9": 0, **self.held}.items()
        ]
        return {"data": {"summary": [{"raylet": node} for node in nodes]}}

    async def state(self, table: str, *filters: Any) -> list[dict[str, Any]]:
        if table != "nodes":
            return []
        head = {"is_head_node": True, "node_id": "10.0.0.9", "node_ip": "10.0.0.9"}
        return [head, *({"is_head_node": False, "node_id": ip, "node_ip": ip} for ip in sorted(self.alive))]


class Kubernetes:
    """One RayCluster, whose pods go as KubeRay lets them."""

    def __init__(self, head: Head) -> None:
        self.item = live()
        self.item["metadata"]["labels"] = {"warmpool/store": STORE, "warmpool/cluster": CLUSTER.id}
        self.head, self.told, self.applies = head, [], 0
        self.stale = 0
        self.view = View(None, STORE, KuberayOptions(), self.told.append)  # type: ignore[arg-type]
        for cache in self.view._caches:
            cache._listed.set()
        self.pods = {}
        for name, ip in (("w-1", "10.0.0.1"), ("w-2", "10.0.0.2")):
            made = pod(name, kind="worker", podIP=ip)
            made["metadata"]["labels"]["ray.io/group"] = "w"
            made["status"]["containerStatuses"][0]["ready"] = True
            self.pods[name] = made
        self.watched()
        self.view._on_pod(pod(), False)
        for made in self.pods.values():
            self.view._on_pod(made, False)

    def watched(self) -> None:
        kept = {"edited": drift.edited(self.item), "workers": drift.workers(self.item)}
        self.view._on_cluster({"metadata": self.item["metadata"], "status": {}, **kept}, False)

    async def get(self, path: str) -> Any:
        return copy.deepcopy(self.item)

    async def apply(self, path: str, body: dict[str, Any]) -> Any:
        self.applies += 1
        if self.stale:
            self.stale -= 1
            raise ApiError(409, "the object has been modified")
        assert body["metadata"]["uid"] == self.item["metadata"]["uid"]
        self.item["metadata"]["annotations"] |= body["metadata"]["annotations"]
        self.item["spec"] |= copy.deepcopy(body["spec"])
        asyncio.get_running_loop().call_soon(self.reconcile)
        return copy.deepcopy(self.item)

    def reconcile(self) -> None:
        (group,) = self.item["spec"]["workerGroupSpecs"]
        for name in group["scaleStrategy"]["workersToDelete"]:
            gone = self.pods.pop(name)
            self.head.alive.discard(gone["status"]["podIP"])
            self.view._on_pod(gone, True)
        self.watched()


def resizing(kube: Kubernetes, cluster: Any = CLUSTER) -> Resizing:
    return Resizing(cluster, KEY, kube, kube.view, kube.head)  # type: ignore[arg-type]


async def settled(kube: Kubernetes) -> list[Any]:
    while kube.view._waking is not None and not kube.view._waking.done():
        await kube.view._waking
        await asyncio.sleep(0)
    return kube.told


async def test_workers_go_and_are_seen_gone_and_nobody_takes_that_for_an_edit_or_a_loss() -> None:
    kube = Kubernetes(Head({"10.0.0.1": 0, "10.0.0.2": 0}))
    assert await resizing(kube).shrink() == Shrunk(CLUSTER.id)
    assert kube.pods == {}
    assert not any(one.lasting for one in await settled(kube))
    assert kube.view._wrong.get(CLUSTER.id, "") == ""


async def test_a_worker_that_holds_objects_stays() -> None:
    kube = Kubernetes(Head({"10.0.0.1": 0, "10.0.0.2": 3}))
    assert await resizing(kube).shrink() == Shrunk(CLUSTER.id, (("w", 1),), "w-2 holds 3 objects of 27 bytes")
    assert list(kube.pods) == ["w-2"]


async def test_where_all_of_them_hold_something_nothing_is_written() -> None:
    kube = Kubernetes(Head({"10.0.0.1": 1, "10.0.0.2": 3}))
    shrunk = await resizing(kube).shrink()
    assert (shrunk.left, kube.applies) == ((("w", 2),), 0)


async def test_one_that_changed_meanwhile_is_looked_at_again() -> None:
    kube = Kubernetes(Head({"10.0.0.1": 0, "10.0.0.2": 0}))
    kube.stale = 2
    assert await resizing(kube).shrink() == Shrunk(CLUSTER.id)
    assert kube.applies == 3


async def test_a_shrinking_that_was_written_before_a_crash_is_only_waited_for() -> None:
    kube = Kubernetes(Head({"10.0.0.1": 0, "10.0.0.2": 0}))
    await resizing(kube).shrink()
    assert await resizing(kube).shrink() == Shrunk(CLUSTER.id)
    assert kube.applies == 1


@pytest.mark.parametrize("what", ["resized", "uid", "boot"])
async def test_a_late_write_undoes_nothing(what: str) -> None:
    kube = Kubernetes(Head({"10.0.0.1": 0, "10.0.0.2": 0}))
    cluster = CLUSTER
    if what == "resized":
        kube.item["metadata"]["annotations"]["warmpool/resized"] = "2"
    elif what == "uid":
        kube.item["metadata"] = {**kube.item["metadata"], "uid": "u-2"}
    else:
        cluster = CLUSTER._replace(boot_id="p0-x0")
    with pytest.raises(PoolError):
        await resizing(kube, cluster).shrink()
    with pytest.raises(PoolError):
        await resizing(kube, cluster).grow()
    assert kube.applies == 0


async def test_workers_that_come_back_are_not_missed_meanwhile() -> None:
    kube = Kubernetes(Head({"10.0.0.1": 0, "10.0.0.2": 0}))
    await resizing(kube).shrink()
    told = len(await settled(kube))
    await resizing(kube, CLUSTER._replace(resizes=2)).grow()
    (group,) = kube.item["spec"]["workerGroupSpecs"]
    assert (group["replicas"], group["minReplicas"], group["scaleStrategy"]) == (2, 2, {"workersToDelete": []})
    kube.watched()
    for name in ("w-3", "w-4"):
        made = pod(name, kind="worker")
        made["status"]["containerStatuses"][0]["ready"] = True
        kube.view._on_pod(made, False)
        await settled(kube)
    assert kube.told[told:] == []

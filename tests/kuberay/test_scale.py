"""What is applied to a RayCluster to let workers go and to get them back."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from pool.backends.kuberay import drift, scale, spec
from pool.backends.kuberay.options import KuberayOptions
from pool.core.errors import PoolError
from pool.core.key import key_from

SMALL = {"cpu": 1, "memory": "2Gi"}


def live(replicas: int = 2, **shape: Any) -> dict[str, Any]:
    """Return a RayCluster as its server has it."""
    workers = [{**SMALL, "name": "w", "replicas": replicas, "max_replicas": 3}]
    asked = {"image": "rayproject/ray:2.60.0", "tenant": "p/d", "shape": {"head": SMALL, "workers": workers, **shape}}
    item = drift.remember(spec.ray_cluster("0123456789abcdef", "c-1-1", key_from(asked), KuberayOptions()))
    item["metadata"] |= {"uid": "u-1", "resourceVersion": "17"}
    # What the server, KubeRay or a webhook adds.
    item["spec"]["workerGroupSpecs"][0] |= {"numOfHosts": 1, "scaleStrategy": {}}
    return item


def pod(name: str, ip: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": {"ray.io/group": "w"}}, "status": {"podIP": ip}}


def applied(item: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Return the RayCluster as server-side apply makes it."""
    out = copy.deepcopy(item)
    out["metadata"]["annotations"] |= wanted["metadata"]["annotations"]
    out["spec"] |= wanted["spec"]
    return out


PODS = [pod("w-1", "10.0.0.1"), pod("w-2", "10.0.0.2")]


def test_workers_that_hold_nothing_go_by_name() -> None:
    plan = scale.plan(live(), PODS, {"10.0.0.9": "2 objects of 9 bytes"})
    assert plan == scale.Plan({"w": 0}, {"w": ["w-1", "w-2"]})


def test_a_worker_that_holds_objects_stays_with_the_reason() -> None:
    plan = scale.plan(live(), PODS, {"10.0.0.2": "2 objects of 9 bytes"})
    assert plan == scale.Plan({"w": 1}, {"w": ["w-1"]}, "w-2 holds 2 objects of 9 bytes")


def test_the_hosts_of_a_replica_stay_together() -> None:
    item = live()
    item["spec"]["workerGroupSpecs"][0]["numOfHosts"] = 2
    assert scale.plan(item, PODS, {"10.0.0.2": "an actor"}).go == {"w": []}
    assert scale.plan(item, PODS, {}).go == {"w": ["w-1", "w-2"]}


def test_what_is_applied_carries_uid_and_version_and_changes_nothing_but_how_many_workers_there_are() -> None:
    item = live()
    wanted = scale.sized(item, {"w": 1}, {"w": ["w-1"]}, 3)
    meta = wanted["metadata"]
    assert (meta["uid"], meta["resourceVersion"], meta["annotations"]["warmpool/resized"]) == ("u-1", "17", "3")
    assert wanted["spec"].keys() == {"workerGroupSpecs"}
    (group,), (before,) = wanted["spec"]["workerGroupSpecs"], item["spec"]["workerGroupSpecs"]
    assert group == before | {"replicas": 1, "minReplicas": 1, "scaleStrategy": {"workersToDelete": ["w-1"]}}


def test_our_own_change_is_no_edit_and_somebody_elses_is_one_still() -> None:
    item = live()
    shrunk = applied(item, scale.sized(item, {"w": 0}, {"w": ["w-1", "w-2"]}, 1))
    assert (drift.edited(shrunk), drift.workers(shrunk), scale.resized(shrunk)) == ("", 0, 1)
    grown = applied(shrunk, scale.sized(shrunk, {"w": 2}, {}, 2))
    assert (drift.edited(grown), drift.workers(grown), scale.resized(grown)) == ("", 2, 2)
    assert grown["spec"]["workerGroupSpecs"][0]["scaleStrategy"] == {"workersToDelete": []}
    shrunk["spec"]["workerGroupSpecs"][0]["replicas"] = 1
    assert drift.edited(shrunk) == "spec.workerGroupSpecs[w].replicas is 1, not 0"


def test_the_workers_of_an_autoscaled_cluster_are_never_set() -> None:
    with pytest.raises(PoolError, match="autoscaler of its own"):
        scale.sized(live(autoscaling=True), {"w": 0}, {}, 1)

"""What is applied to a RayCluster to let workers go and to get them back. Pure.

``workerGroupSpecs`` is one value to server-side apply (its list type is atomic): so all groups are applied as they are,
but for how many workers each has. What was sent (`drift`) says so too: it is no edit by somebody else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pool.backends.kuberay import drift, spec
from pool.core.errors import PoolError

RESIZED = "warmpool/resized"
"""Annotation: the latest of the daemon's shrinkings and growths (`Cluster.resizes`)."""

GROUP = "ray.io/group"


@dataclass(frozen=True, slots=True)
class Plan:
    """Which workers go.

    Attributes:
        replicas: how many are left of each group.
        go: names of the pods that go, by group.
        detail: why others stay; empty if none does.
    """

    replicas: dict[str, int]
    go: dict[str, list[str]]
    detail: str = ""


def resized(item: Mapping[str, Any]) -> int:
    """Return the number of the latest shrinking or growth that a RayCluster has seen."""
    return int(item["metadata"].get("annotations", {}).get(RESIZED, 0))


def plan(item: Mapping[str, Any], workers: Iterable[dict[str, Any]], held: Mapping[str, str]) -> Plan:
    """Return which of a RayCluster's workers can go.

    Args:
        item: the RayCluster.
        workers: its worker pods.
        held: what nodes hold, by their address.
    """
    replicas: dict[str, int] = {}
    go: dict[str, list[str]] = {}
    stay: list[str] = []
    present = list(workers)
    for group in item["spec"].get("workerGroupSpecs") or []:
        name = group["groupName"]
        mine = [pod for pod in present if pod["metadata"]["labels"].get(GROUP) == name]
        holding = [pod for pod in mine if held.get(pod["status"].get("podIP", ""))]
        if holding and int(group.get("numOfHosts") or 1) > 1:
            # The hosts of a replica come and go together.
            go[name], replicas[name] = [], int(group["replicas"])
        else:
            go[name] = [pod["metadata"]["name"] for pod in mine if pod not in holding]
            replicas[name] = len(holding)
        stay += [f"{pod['metadata']['name']} holds {held[pod['status']['podIP']]}" for pod in holding]
    return Plan(replicas, go, "; ".join(stay[:3]) + (f"; and {len(stay) - 3} more" if len(stay) > 3 else ""))


def sized(
    item: Mapping[str, Any], replicas: Mapping[str, int], go: Mapping[str, list[str]], number: int
) -> dict[str, Any]:
    """Return what is applied so that each group of a RayCluster has so many workers.

    It carries the uid, and the version that was looked at: it can neither make a RayCluster that is gone, nor undo what
    another daemon did meanwhile.

    Args:
        item: the RayCluster as it is now.
        replicas: by group.
        go: names of the pods that are deleted for it, by group.
        number: of this shrinking or growth.

    Raises:
        PoolError: if an autoscaler has the say over the number of workers.
    """
    meta, now = item["metadata"], item["spec"]
    if now.get("enableInTreeAutoscaling"):
        raise PoolError(f"RayCluster {meta['name']} has an autoscaler of its own.", remedy="Leave its workers to that.")

    def with_size(group: dict[str, Any]) -> dict[str, Any]:
        name = group["groupName"]
        if name not in replicas:
            return group
        strategy = {**group.get("scaleStrategy", {}), "workersToDelete": go.get(name, [])}
        return {**group, "replicas": replicas[name], "minReplicas": replicas[name], "scaleStrategy": strategy}

    annotations = {RESIZED: str(number)}
    if sent := meta.get("annotations", {}).get(drift.APPLIED):
        before = json.loads(sent)
        groups = [with_size(group) for group in before.get("workerGroupSpecs", [])]
        annotations |= drift.annotation({**before, "workerGroupSpecs": groups})
    return {
        "apiVersion": spec.API_VERSION,
        "kind": "RayCluster",
        "metadata": {
            **{name: meta[name] for name in ("name", "namespace", "uid", "resourceVersion")},
            "annotations": annotations,
        },
        "spec": {"workerGroupSpecs": [with_size(group) for group in now.get("workerGroupSpecs") or []]},
    }

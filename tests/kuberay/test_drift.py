"""What counts as an edit of a RayCluster by hand, and what Kubernetes and webhooks add to it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from pool.backends.kuberay import drift, spec
from pool.backends.kuberay.options import KuberayOptions
from pool.core.key import key_from

SMALL = {"cpu": 1, "memory": "2Gi"}
Edit = Callable[[dict[str, Any]], object]


def made(**shape: Any) -> dict[str, Any]:
    workers = [{**SMALL, "name": "w", "replicas": 2, "min_replicas": 1, "max_replicas": 3}]
    asked = {"image": "rayproject/ray:2.60.0", "tenant": "p/d", "shape": {"head": SMALL, "workers": workers, **shape}}
    return drift.remember(spec.ray_cluster("0123456789abcdef", "c-1-1", key_from(asked), KuberayOptions()))


def group(item: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = item["spec"]["workerGroupSpecs"][0]
    return found


def head(item: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = item["spec"]["headGroupSpec"]["template"]["spec"]
    return found


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda item: group(item).update(replicas=3), "spec.workerGroupSpecs[w].replicas is 3, not 2"),
        (lambda item: item["spec"].update(workerGroupSpecs=[]), "spec.workerGroupSpecs[w] is gone"),
        (lambda item: item["spec"].update(suspend=True), "spec.suspend is true"),
        (lambda item: item["spec"]["headGroupSpec"].pop("rayStartParams"), "spec.headGroupSpec.rayStartParams is gone"),
        (
            lambda item: item["spec"]["workerGroupSpecs"].append({"groupName": "more"}),
            "spec.workerGroupSpecs has more groups",
        ),
        (
            lambda item: head(item)["containers"][0].update(image="rayproject/ray:2.61.0"),
            "spec.headGroupSpec.template.spec.containers[ray-head].image is rayproject/ray:2.61.0, "
            "not rayproject/ray:2.60.0",
        ),
    ],
)
def test_an_edit_is_named(edit: Edit, said: str) -> None:
    item = copy.deepcopy(made())
    edit(item)
    assert drift.edited(item) == said


@pytest.mark.parametrize(
    "edit",
    [
        lambda item: None,
        lambda item: item["spec"].update(upgradeStrategy={"type": "None"}),
        lambda item: group(item).update(numOfHosts=1, scaleStrategy={}),
        lambda item: head(item)["containers"].append({"name": "sidecar", "image": "mesh"}),
        lambda item: head(item)["containers"][0]["env"].append({"name": "ADDED", "value": "1"}),
        lambda item: item["metadata"]["annotations"].pop(drift.APPLIED),
        # KubeRay 1.4 and 1.5.
        lambda item: item["spec"].pop("authOptions"),
        lambda item: item["spec"]["authOptions"].pop("secretName"),
    ],
)
def test_what_is_added_is_no_edit(edit: Edit) -> None:
    item = copy.deepcopy(made())
    edit(item)
    assert drift.edited(item) == ""


def test_what_was_never_stored_is_no_edit_but_what_was_changed_since_is() -> None:
    item = copy.deepcopy(made())
    del head(item)["containers"][0]["readinessProbe"]
    item["metadata"]["generation"] = 1
    assert drift.edited(item) == ""
    item["metadata"]["generation"] = 2
    assert drift.edited(item).endswith("containers[ray-head].readinessProbe is gone")


def test_what_the_autoscaler_writes_is_no_edit() -> None:
    item = copy.deepcopy(made(autoscaling=True))
    group(item).update(replicas=3, scaleStrategy={"workersToDelete": ["x"]})
    assert drift.edited(item) == ""
    assert drift.workers(item) == 1
    group(item).update(maxReplicas=9)
    assert drift.edited(item) == "spec.workerGroupSpecs[w].maxReplicas is 9, not 3"


def test_workers_are_counted_with_their_hosts() -> None:
    item = copy.deepcopy(made())
    assert drift.workers(item) == 2
    group(item).update(numOfHosts=4)
    assert drift.workers(item) == 8

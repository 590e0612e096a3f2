"""What can be set about clusters on Kubernetes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class KuberayOptions:
    """Settings of the kuberay backend.

    Attributes:
        namespace: of a tenant's clusters; ``{project}``, ``{domain}`` and ``{tenant}`` stand for the tenant's parts.
        template: a RayCluster that is laid under each cluster, as far as it says anything.
        ray_version: told to KubeRay where an image's tag does not say it.
        image_pull_policy: of the Ray containers; empty leaves it to Kubernetes.
        addresses: what holders are told: ``service`` (names inside the cluster) or ``pod`` (addresses of pods).
        kubeconfig: the file that says how to reach Kubernetes; empty takes the pod's own account, else the default.
        context: of the kubeconfig; empty for its current one.
        node_wait_s: for so long something may keep a pod from running that could go by itself, such as a node that is
            still to come.
        watch_s: a watch is renewed after so long; one that is silent for `silence_s` longer is given up.
        request_s: bounds one request to the Kubernetes API.
        settle_s: how long a reset waits for what goes by itself.
        prestart_workers: after a reset, idle workers wait for the next holder.
    """

    namespace: str = "default"
    template: Mapping[str, Any] = field(default_factory=dict)
    ray_version: str = "2.52.0"
    image_pull_policy: str = ""
    addresses: str = "service"
    kubeconfig: str = ""
    context: str = ""
    node_wait_s: float = 30.0
    watch_s: float = 240.0
    silence_s: float = 15.0
    request_s: float = 15.0
    settle_s: float = 12.0
    prestart_workers: bool = True

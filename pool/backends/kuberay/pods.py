"""What a pod's status says: how far it is, and why it will not get further. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pool.core.reasons import Reason

_IMAGE = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable")
_CONFIG = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
OUT_OF_MEMORY = "OOMKilled"
_MOUNTED = "PodReadyToStartContainers"
_MISSING = re.compile(r'(?i)(secret|configmap)s? ".*" not found|references non-existent (secret|config) key')
"""What a volume is made of: kubelet's words for that it is not there, or has not the key."""
_WITHOUT_TOKEN_YET = "secret"  # noqa: S105 - the word in a message, not one


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a start cannot succeed.

    Attributes:
        lasting: waiting will not help; otherwise it may (a node may come, a pull may be tried again).
    """

    reason: Reason
    detail: str
    lasting: bool = True


def is_head(pod: dict[str, Any]) -> bool:
    """Tell whether it is a cluster's head."""
    return bool(pod["metadata"]["labels"].get("ray.io/node-type") == "head")


def going(pod: dict[str, Any]) -> bool:
    """Tell whether it was deleted or has ended."""
    return bool(pod["metadata"].get("deletionTimestamp")) or pod["status"].get("phase") in ("Failed", "Succeeded")


def ray_container(pod: dict[str, Any]) -> dict[str, Any]:
    """Return the status of the Ray container, empty if there is none yet."""
    name = "ray-head" if is_head(pod) else "ray-worker"
    statuses: list[dict[str, Any]] = pod["status"].get("containerStatuses", [])
    return next((status for status in statuses if status["name"] == name), {})


def running(pod: dict[str, Any]) -> bool:
    """Tell whether its Ray container runs."""
    return not going(pod) and "running" in ray_container(pod).get("state", {})


def ready(pod: dict[str, Any]) -> bool:
    """Tell whether its Ray container answers its probe."""
    return running(pod) and bool(ray_container(pod).get("ready"))


def serves(pod: dict[str, Any]) -> bool:
    """Tell whether Kubernetes has the whole pod as ready: its probes are answered, and its node is there."""
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))


def boot_id(pod: dict[str, Any]) -> str:
    """Return what names this run of this head, and no other; empty while it does not run.

    The pod's uid alone would not do: its container may be restarted in place, as an empty cluster.
    """
    status = ray_container(pod)
    if going(pod) or "running" not in status.get("state", {}):
        return ""
    return f"{pod['metadata']['uid']}-{status.get('containerID', '').rpartition('/')[2][:12]}"


def phase(pods: list[dict[str, Any]], workers: int) -> str:
    """Return in a few words how far the pods of a cluster are.

    Args:
        pods: that are there.
        workers: how many were asked for.
    """
    head = next((pod for pod in pods if is_head(pod) and not going(pod)), None)
    if head is None:
        return "admitted"
    if not _scheduled(head):
        return "scheduling"
    if "running" not in ray_container(head).get("state", {}):
        return "pulling image"
    ready = sum(1 for pod in pods if not is_head(pod) and "running" in ray_container(pod).get("state", {}))
    return "starting head" if not workers else f"starting head, workers {ready} of {workers}"


def trouble(pods: list[dict[str, Any]]) -> Trouble | None:
    """Return the first thing that keeps a cluster's pods from running, None if nothing is wrong."""
    found = [trouble for pod in pods if (trouble := _trouble(pod)) is not None]
    return next((one for one in found if one.lasting), found[0] if found else None)


def unmounted(pod: dict[str, Any], warnings: list[str]) -> Trouble | None:
    """Return what a pod waits for to be mounted, None if nothing is known to be missing.

    Args:
        pod: any of the cluster's.
        warnings: of its volumes.
    """
    # Once its sandbox is made its volumes are mounted, and what was warned before is past.
    past = any(c["type"] == _MOUNTED and c["status"] == "True" for c in pod["status"].get("conditions", []))
    if past or going(pod) or ray_container(pod).get("state", {}).keys() - {"waiting"}:
        return None
    for said in reversed(warnings):
        if _MISSING.search(said):
            return Trouble(Reason.START_FAILED, f"{pod['metadata']['name']} cannot mount: {said.partition(': ')[2]}")
    return None


def ending(pod: dict[str, Any]) -> str:
    """Return how a pod ended, in a few words."""
    status = ray_container(pod)
    ended = status.get("state", {}).get("terminated") or status.get("lastState", {}).get("terminated")
    name = pod["metadata"]["name"]
    if ended:
        said = f": {ended['message'].strip()[-300:]}" if ended.get("message") else ""
        reason = ended.get("reason", "no reason")
        memory = " since it ran out of memory" if reason == OUT_OF_MEMORY else ""
        return f"{name} ended{memory} with code {ended.get('exitCode')} ({reason}){said}"
    if pod["status"].get("reason"):
        return f"{name} was ended: {pod['status']['reason']} {pod['status'].get('message', '')}".rstrip()
    return f"{name} was deleted"


def _scheduled(pod: dict[str, Any]) -> bool:
    return any(c["type"] == "PodScheduled" and c["status"] == "True" for c in pod["status"].get("conditions", []))


def _trouble(pod: dict[str, Any]) -> Trouble | None:
    name, status = pod["metadata"]["name"], pod["status"]
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable":
            return Trouble(Reason.NO_CAPACITY, f"{name} finds no node: {condition.get('message', '')}", lasting=False)
    for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        waiting = container.get("state", {}).get("waiting", {})
        why, said = waiting.get("reason", ""), waiting.get("message", "")
        ended = container.get("state", {}).get("terminated") or container.get("lastState", {}).get("terminated") or {}
        if why in _IMAGE:
            return Trouble(Reason.START_FAILED, f"{name}: the image {container['image']} cannot be pulled: {said}")
        if why in _CONFIG:
            return Trouble(Reason.START_FAILED, f"{name} cannot be made: {said}", _WITHOUT_TOKEN_YET not in said)
        if ended.get("reason") == OUT_OF_MEMORY:
            return Trouble(Reason.START_FAILED, f"{ending(pod)}. Give it more.")
        if why == "CrashLoopBackOff" or ended.get("exitCode"):
            return Trouble(Reason.START_FAILED, f"{ending(pod)}.")
    if status.get("phase") == "Failed":
        return Trouble(Reason.START_FAILED, f"{ending(pod)}.")
    return None

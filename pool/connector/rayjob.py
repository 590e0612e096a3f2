"""From the RayJob in a task's template to the shape of its cluster, as the task plugin makes it of a `RayJobConfig`.

So a task that comes through the connector and one with `Pooled` share a cluster key where they ask for the same.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import yaml
from flyteidl.plugins import ray_pb2
from google.protobuf import json_format

from pool.connector.errors import Refused
from pool.flyte.shape import Own, shape_of
from pool.wire.key import ShapeSpec

_FIELDS = {
    "cpu": "cpu",
    "memory": "mem",
    "nvidia.com/gpu": "gpu",
    "ephemeral-storage": "ephemeral_storage",
}
_CODES = {"CPU": "cpu", "MEMORY": "mem", "GPU": "gpu", "EPHEMERAL_STORAGE": "ephemeral_storage"}
_MAIN = {"head": "ray-head", "worker": "ray-worker"}


def ray_job(custom: Any) -> Any:
    """Return the RayJob of a template's ``custom``.

    Raises:
        Refused: if it has a field that is not known here.
    """
    try:
        return json_format.ParseDict(json_format.MessageToDict(custom), ray_pb2.RayJob())
    except json_format.ParseError as error:
        raise Refused(f"The task's RayJob is not understood: {error}.") from None


def runtime_env_of(job: Any) -> dict[str, Any]:
    """Return the runtime_env of a RayJob.

    Raises:
        Refused: if it is none, or names a working directory: flytekit sets its own, and Ray takes one only.
    """
    text = job.runtime_env_yaml
    try:
        if not text and job.runtime_env:
            text = base64.b64decode(job.runtime_env, validate=True).decode()
        found = yaml.safe_load(text) if text else {}
    except (ValueError, yaml.YAMLError) as error:
        raise Refused(f"runtime_env: cannot be read: {error}.") from None
    if not isinstance(found, dict):
        raise Refused("runtime_env: is not a mapping.")
    if "working_dir" in found:
        raise Refused("runtime_env.working_dir: a Flyte task's working directory is its own code.")
    return found


def shape_of_job(
    job: Any, image: str, own: Own, labels: Mapping[str, str], annotations: Mapping[str, str]
) -> ShapeSpec:
    """Return the shape of the cluster that a RayJob describes.

    Args:
        job: the RayJob.
        image: of the task.
        own: what the task has itself, for nodes that the RayJob leaves open.
        labels: of every pod.
        annotations: of every pod.

    Raises:
        Refused: if a container has an image of its own.
        InvalidKey: if a quantity cannot be understood, naming it.
    """
    cluster = job.ray_cluster
    config = SimpleNamespace(
        head_node_config=_node(cluster.head_group_spec, "head", image, labels, annotations),
        worker_node_config=[
            _node(
                group,
                "worker",
                image,
                labels,
                annotations,
                group_name=group.group_name,
                replicas=group.replicas,
                min_replicas=group.min_replicas,
                max_replicas=group.max_replicas,
            )
            for group in cluster.worker_group_spec
        ],
        enable_autoscaling=cluster.enable_autoscaling,
        autoscaler_options=_autoscaler(cluster.autoscaler_options) if cluster.HasField("autoscaler_options") else None,
    )
    return shape_of(config, own)


def pod_template(pod: Any) -> Any:
    """Return a pod of the protocol as the plugins' `PodTemplate`s are read."""
    return SimpleNamespace(
        pod_spec=_whole(json_format.MessageToDict(pod.pod_spec)),
        labels=dict(pod.metadata.labels),
        annotations=dict(pod.metadata.annotations),
        primary_container_name=pod.primary_container_name,
    )


def requests_and_limits(resources: Any) -> tuple[Any, Any]:
    """Return requests and limits of the protocol's resources as the plugins' `Resources` are read; None for none.

    Raises:
        Refused: if one is of a kind that is not known here.
    """
    ends = []
    for entries in (resources.requests, resources.limits):
        found = {}
        for entry in entries:
            name = resources.ResourceName.Name(entry.name)
            if name not in _CODES:
                raise Refused(f"container.resources: {name} is not known here.")
            found[_CODES[name]] = entry.value
        ends.append(SimpleNamespace(**found) if found else None)
    return ends[0], ends[1]


def _node(
    group: Any, kind: str, image: str, labels: Mapping[str, str], annotations: Mapping[str, str], **fields: Any
) -> Any:
    node = SimpleNamespace(
        ray_start_params=dict(group.ray_start_params), requests=None, limits=None, pod_template=None, **fields
    )
    if not group.HasField("k8s_pod"):
        return node
    template = pod_template(group.k8s_pod)
    template.labels |= labels
    template.annotations |= annotations
    containers = template.pod_spec.get("containers") or []
    for container in containers:
        if container.get("name") == _MAIN[kind] and container.get("image") not in (None, "", image):
            raise Refused(
                f"The {kind}'s image {container['image']} is not the task's, {image}: a leased cluster has one image."
            )
    plain = _resources_alone(template, _MAIN[kind])
    if plain is not None:
        node.requests, node.limits = plain
    else:
        node.pod_template = template
    return node


def _resources_alone(template: Any, main: str) -> tuple[Any, Any] | None:
    """Return requests and limits, if the template says nothing else: as the plugins write `requests` and `limits`."""
    containers = template.pod_spec.get("containers") or []
    if template.labels or template.annotations or set(template.pod_spec) != {"containers"} or len(containers) != 1:
        return None
    [container] = containers
    resources = container.get("resources") or {}
    ends = [resources.get("requests") or {}, resources.get("limits") or {}]
    if (
        set(container) - {"name", "resources"}
        or container.get("name") != main
        or set(resources) - {"requests", "limits"}
    ):
        return None
    if any(set(end) - set(_FIELDS) for end in ends):
        return None
    first, second = (
        SimpleNamespace(**{_FIELDS[name]: value for name, value in end.items()}) if end else None for end in ends
    )
    return first, second


def _autoscaler(options: Any) -> Any:
    mode = options.UpscalingMode.Name(options.upscaling_mode).removeprefix("UPSCALING_MODE_").capitalize()
    requests, limits = requests_and_limits(options.resources)
    return SimpleNamespace(
        upscaling_mode=None if mode == "Unspecified" else mode,
        idle_timeout_seconds=options.idle_timeout_seconds,
        env={pair.key: pair.value for pair in options.env},
        image=options.image,
        requests=requests,
        limits=limits,
        resources=None,
    )


def _whole(value: Any) -> Any:
    """Return plain data with whole numbers as such: a protobuf Struct has floats only."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {name: _whole(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_whole(part) for part in value]
    return value

"""From a `RayJobConfig` to the shape of its cluster. Serves Flyte 1 and Flyte 2, whose configs are alike.

A node's resources are read as KubeRay reads them: what ``ray start`` is told, else the container's limits, else its
requests. What fixes a node but is no resource (the rest of the pod template, requests that differ from the limits)
goes into ``pod``: two tasks with the same cpus but other rights never share a key.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pool.core.errors import InvalidKey
from pool.core.key import byte_count, milli_cpu
from pool.wire.key import NodeSpec, ShapeSpec, WorkerSpec

_GPU = "nvidia.com/gpu"
_STANDARD = {"cpu", "memory", _GPU}
_SIZES = (("cpu", "num-cpus", "cpu"), ("gpu", "num-gpus", _GPU), ("memory", "memory", "memory"))

PodDict = dict[str, Any]
"""A pod template as plain data: ``{"spec", "labels", "annotations", "primary_container_name"}``."""


@dataclass(frozen=True)
class Own:
    """What a node has of its task where the config says nothing, as with Flyte's own Ray plugin.

    Attributes:
        requests, limits: the task's `Resources`.
        pod_template: the task's pod template.
        rights: what else its processes may see: ``{"secrets": [...], "service_account": "..."}``.
    """

    requests: Any = None
    limits: Any = None
    pod_template: Any = None
    rights: Mapping[str, Any] = field(default_factory=dict)


def shape_of(config: Any, own: Own | None = None) -> ShapeSpec:
    """Return the shape of the cluster that `config` describes.

    Args:
        config: a `RayJobConfig` of either SDK.
        own: what the task has itself, for nodes that the config leaves open.

    Raises:
        InvalidKey: if a quantity cannot be understood, naming it.
    """
    own = own or Own()
    scaling = bool(config.enable_autoscaling)
    workers = []
    for worker in config.worker_node_config:
        low = worker.replicas if worker.min_replicas is None else min(worker.replicas, worker.min_replicas)
        high = worker.replicas if worker.max_replicas is None else max(worker.replicas, worker.max_replicas)
        node = _node(worker, "ray-worker", own, f"worker_node_config[{worker.group_name}]")
        bounds = {"min_replicas": low, "max_replicas": high} if scaling else {}
        workers.append(WorkerSpec(**node, name=worker.group_name, replicas=worker.replicas, **bounds))
    return ShapeSpec(
        head=NodeSpec(**_node(config.head_node_config, "ray-head", own, "head_node_config")),
        workers=workers,
        autoscaling=scaling,
        autoscaler_options=_autoscaler(config.autoscaler_options) if scaling else {},
    )


def _node(node: Any, container: str, own: Own, where: str) -> dict[str, Any]:
    """Return the fields of a `NodeSpec`."""
    given = [getattr(node, name, None) for name in ("requests", "limits", "pod_template")]
    requests, limits, template = given if any(given) else (own.requests, own.limits, own.pod_template)
    pod, asked, capped = _take_resources(_plain_template(template), container)
    asked |= quantities(requests)
    capped |= quantities(limits)
    # As Flyte does: what only one side names is meant for both.
    limit, request = {**asked, **capped}, {**capped, **asked}
    params = {
        str(name).lstrip("-"): _text(value) for name, value in (getattr(node, "ray_start_params", None) or {}).items()
    }
    fields: dict[str, Any] = {}
    for name, param, resource in (
        ("cpu", "num-cpus", "cpu"),
        ("gpu", "num-gpus", _GPU),
        ("memory", "memory", "memory"),
    ):
        value = params.pop(param, None) or limit.get(resource)
        if value is not None:
            fields[name] = value
    if "gpu" in fields:
        accelerator, fields["gpu"] = _gpus(fields["gpu"], f"{where}.gpu")
        if accelerator:
            fields["accelerator"] = accelerator
    if "object-store-memory" in params:
        fields["object_store_memory"] = params.pop("object-store-memory")
    if "resources" in params:
        fields["custom"] = _custom(params.pop("resources"), f"{where}.ray_start_params.resources")
    params.pop("block", None)  # says how `ray start` runs, not what it makes
    rest = {name: value for name, value in limit.items() if name not in _STANDARD}
    if rest:
        pod["limits"] = rest
    below = {name: value for name, value in request.items() if not _same(name, value, limit.get(name), where)}
    if below:
        pod["requests"] = below
    pod |= {name: value for name, value in own.rights.items() if value}
    return {**fields, "start_params": params, "pod": pod}


def quantities(resources: Any) -> dict[str, Any]:
    """Return a `Resources` of either SDK as ``{Kubernetes name: quantity}``."""
    if resources is None:
        return {}
    found = {
        "cpu": getattr(resources, "cpu", None),
        "memory": getattr(resources, "mem", None) or getattr(resources, "memory", None),
        _GPU: _device(getattr(resources, "gpu", None)),
        "ephemeral-storage": getattr(resources, "ephemeral_storage", None) or getattr(resources, "disk", None),
        "shm": getattr(resources, "shm", None),
    }
    return {name: value for name, value in found.items() if value is not None}


def split(resources: Any) -> tuple[Any, Any]:
    """Return (requests, limits) of a `Resources` whose fields may be pairs (request, limit)."""
    if resources is None:
        return None, None
    ends: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    for name in ("cpu", "mem", "memory", "gpu", "ephemeral_storage", "disk", "shm"):
        value = getattr(resources, name, None)
        pair = tuple(value) if isinstance(value, list | tuple) else (value, value)
        for end, part in zip(ends, pair, strict=True):
            if part is not None:
                end[name] = part
    return _Plain(ends[0]), _Plain(ends[1])


class _Plain:
    """A `Resources` of single values."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.__dict__.update(values)


def _device(value: Any) -> Any:
    """Return Flyte 2's `Device` as text: ``A100:1g.5gb:2``."""
    if not hasattr(value, "quantity"):
        return value
    return ":".join(str(part) for part in (value.device, getattr(value, "partition", None), value.quantity) if part)


def _gpus(value: Any, where: str) -> tuple[str, int]:
    """Return (accelerator type, count) for ``2``, ``"2"``, ``"A100:2"``, ``"A100:1g.5gb:2"``."""
    name, _, count = str(value).rpartition(":")
    if not count.strip().isdigit():
        raise InvalidKey(f"{where}: {value!r} is not a number of GPUs.")
    return name.strip(), int(count)


def _same(name: str, one: Any, other: Any, where: str) -> bool:
    if name == "cpu":
        return milli_cpu(one, f"{where}.requests.cpu") == milli_cpu(other, f"{where}.limits.cpu")
    if name in {"memory", "ephemeral-storage"}:
        return byte_count(one, f"{where}.requests.{name}") == byte_count(other, f"{where}.limits.{name}")
    return str(one) == str(other)


def _text(value: Any) -> str:
    return json.dumps(value) if isinstance(value, dict | list) else str(value)


def _custom(text: str, where: str) -> dict[str, float]:
    """Return custom resources of ``{"x": 1}``, also as people quote it for a shell."""
    try:
        value = json.loads(text.strip().strip("'"))
        if isinstance(value, str):
            value = json.loads(value)
        return {str(name): float(amount) for name, amount in value.items()}
    except (AttributeError, TypeError, ValueError):
        raise InvalidKey(f'{where}: {text!r} is not a JSON object of numbers such as {{"ssd": 1}}.') from None


def _plain_template(template: Any) -> PodDict:
    """Return a pod template as plain data, empty for none."""
    if template is None:
        return {}
    if isinstance(template, str):
        return {"name": template}
    plain = {
        "spec": _plain(template.pod_spec),
        "labels": _plain(template.labels),
        "annotations": _plain(template.annotations),
        "primary_container_name": template.primary_container_name,
    }
    return {name: value for name, value in plain.items() if value}


def _plain(value: Any) -> Any:
    """Return an object of the Kubernetes client as it is written in YAML, without needing that client here."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", by_alias=True, exclude_none=True)
    if hasattr(value, "attribute_map"):
        # The client before release 37.
        found = {written: getattr(value, name) for name, written in value.attribute_map.items()}
        return {written: _plain(part) for written, part in found.items() if part is not None}
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value


def _take_resources(pod: PodDict, container: str) -> tuple[PodDict, dict[str, Any], dict[str, Any]]:
    """Return the template without its main container's resources, and these as (requests, limits)."""
    containers = (pod.get("spec") or {}).get("containers") or []
    names = (container, pod.get("primary_container_name"))
    main = next((c for name in names for c in containers if c.get("name") == name), None)
    if main is None and len(containers) == 1:
        main = containers[0]
    if main is None:
        return pod, {}, {}
    resources = main.pop("resources", None) or {}
    return pod, dict(resources.get("requests") or {}), dict(resources.get("limits") or {})


def _autoscaler(options: Any) -> dict[str, Any]:
    if options is None:
        return {}
    plain = {name: getattr(options, name) for name in ("upscaling_mode", "idle_timeout_seconds", "env", "image")}
    for name in ("requests", "limits", "resources"):
        plain[name] = {key: str(value) for key, value in quantities(getattr(options, name, None)).items()}
    return {name: value for name, value in plain.items() if value}

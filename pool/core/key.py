"""The cluster key: what two leases must agree on to be served by the same cluster.

All values are normalised when they are made, so that two ways to write the same thing give the same digest:
cpu in thousandths (``milli_cpu``), memory in bytes, names stripped, mappings sorted.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from functools import cached_property
from typing import Any, NamedTuple

from pool.core.errors import InvalidKey

_SUFFIXES = {
    "": 1,
    **{unit: 1000**power for power, unit in enumerate(("k", "M", "G", "T", "P"), start=1)},
    **{unit: 1024**power for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi"), start=1)},
}
_LARGEST = 10**15
_LARGEST_TOTAL = 2**62
_QUANTITY = re.compile(r"^\s*([0-9.eE+]+)\s*([A-Za-z]*)\s*$")
_NAME = re.compile(r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$")
_IMAGE = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._/:@+-]{0,511}$")


def _number(text: str, value: object, where: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal(-1)
    if not number.is_finite() or number < 0:
        raise InvalidKey(f"{where}: {value!r} is not a quantity.")
    if number > _LARGEST:
        # Also keeps a few characters such as 1e999999999 from becoming an integer of that many digits.
        raise InvalidKey(f"{where}: {_short(value)} is too large.")
    return number


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def milli_cpu(value: float | str, where: str = "cpu") -> int:
    """Return thousandths of a cpu for ``2``, ``0.5``, ``"500m"``.

    Raises:
        InvalidKey: if it is not a non-negative quantity.
    """
    text = str(value).strip()
    if text.endswith("m"):
        return int(_number(text[:-1], value, where))
    return int(_number(text, value, where) * 1000)


def byte_count(value: float | str, where: str = "memory") -> int:
    """Return bytes for ``1024``, ``"4Gi"``, ``"500M"`` (Kubernetes quantities).

    Raises:
        InvalidKey: if it is not a non-negative quantity.
    """
    match = _QUANTITY.match(str(value))
    if match is None or match[2] not in _SUFFIXES:
        raise InvalidKey(f"{where}: {value!r} is not a size; write bytes or a suffix such as Mi, Gi.")
    return int(_number(match[1], value, where) * _SUFFIXES[match[2]])


class Footprint(NamedTuple):
    """What a cluster takes of a ceiling, all groups at their max.

    ``clusters`` is 1 for one cluster, so that sums of footprints count clusters too. Every start and stop adds a few.
    """

    clusters: int = 0
    milli_cpu: int = 0
    memory_bytes: int = 0
    gpu: int = 0

    def __add__(self, other: Footprint) -> Footprint:  # type: ignore[override]
        return Footprint(
            self.clusters + other.clusters,
            self.milli_cpu + other.milli_cpu,
            self.memory_bytes + other.memory_bytes,
            self.gpu + other.gpu,
        )

    def __sub__(self, other: Footprint) -> Footprint:
        return Footprint(
            self.clusters - other.clusters,
            self.milli_cpu - other.milli_cpu,
            self.memory_bytes - other.memory_bytes,
            self.gpu - other.gpu,
        )


NOTHING = Footprint()


@dataclass(frozen=True, slots=True)
class Node:
    """Resources and rights of one node (the head, or each worker of a group).

    Attributes:
        milli_cpu: logical CPUs in thousandths.
        memory_bytes: 0 leaves it to the backend.
        object_store_bytes: 0 leaves it to the backend.
        gpu: whole GPUs.
        accelerator: accelerator type, empty for any.
        custom: custom Ray resources, sorted by name.
        start_params: `ray start` parameters, sorted by name.
        pod: canonical JSON of the pod template and whatever else fixes what its processes may do and see.
    """

    milli_cpu: int = 1000
    memory_bytes: int = 0
    object_store_bytes: int = 0
    gpu: int = 0
    accelerator: str = ""
    custom: tuple[tuple[str, float], ...] = ()
    start_params: tuple[tuple[str, str], ...] = ()
    pod: str = ""


@dataclass(frozen=True, slots=True)
class WorkerGroup:
    """A group of equal worker nodes. Without autoscaling, min = max = replicas."""

    name: str
    node: Node
    replicas: int = 1
    min_replicas: int = 1
    max_replicas: int = 1


@dataclass(frozen=True, slots=True)
class Shape:
    """All that is fixed when a cluster is created."""

    head: Node = field(default_factory=Node)
    workers: tuple[WorkerGroup, ...] = ()
    autoscaling: bool = False
    autoscaler_options: str = ""


def footprint_of(shape: Shape, workers: Mapping[str, int] | None = None) -> Footprint:
    """Return what one cluster of a shape takes of a ceiling at most.

    Args:
        shape: of the cluster.
        workers: how many worker nodes it has of each group; every group counts at its max, if not given.
    """
    head = shape.head
    total = Footprint(1, head.milli_cpu, head.memory_bytes, head.gpu)
    for group in shape.workers:
        n, node = group.max_replicas if workers is None else workers.get(group.name, 0), group.node
        total += Footprint(0, n * node.milli_cpu, n * node.memory_bytes, n * node.gpu)
    return total


def share_of(part: Footprint, whole: Footprint) -> float:
    """Return how much of `whole` a `part` of it takes, from 0 to 1: of whatever it takes most of."""
    pairs = (
        (part.milli_cpu, whole.milli_cpu),
        (part.memory_bytes, whole.memory_bytes),
        (part.gpu, whole.gpu),
    )
    return max((have / most for have, most in pairs if most), default=1.0)


@dataclass(frozen=True)
class ClusterKey:
    """(cluster type, image, shape, isolation domain). Its digest names the pool."""

    image: str
    shape: Shape
    tenant: str
    cluster_type: str = "ray"

    @cached_property
    def digest(self) -> str:
        """12 hexadecimal digits of the SHA-256 of the canonical form."""
        return hashlib.sha256(canonical(to_json(self)).encode()).hexdigest()[:12]

    @cached_property
    def footprint(self) -> Footprint:
        """What one cluster of this key takes of a ceiling at most."""
        return footprint_of(self.shape)

    @cached_property
    def warm_head_price(self) -> float:
        """What a cluster of this key costs without its workers, as a share of the whole; 1 if it cannot let them go.

        Those of an autoscaled cluster are its autoscaler's.
        """
        if self.shape.autoscaling or not self.shape.workers:
            return 1.0
        return share_of(footprint_of(self.shape, {}), self.footprint)

    def __repr__(self) -> str:
        return f"<ClusterKey {self.digest} {self.cluster_type} {self.image} {describe(self.shape)} of {self.tenant}>"


def canonical(value: Any) -> str:
    """Return the one JSON text of a value: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _canonical_or_empty(value: object) -> str:
    return canonical(value) if value else ""


def _refuse_unknown(data: Mapping[str, Any], known: set[str], where: str) -> None:
    unknown = sorted(set(data) - known)
    if unknown:
        raise InvalidKey(f"{where}.{unknown[0]}: there is no such field; known are {', '.join(sorted(known))}.")


_NODE_FIELDS = {"cpu", "memory", "object_store_memory", "gpu", "accelerator", "custom", "start_params", "pod"}
_GROUP_FIELDS = _NODE_FIELDS | {"name", "replicas", "min_replicas", "max_replicas"}


def _node(data: Mapping[str, Any], where: str, known: set[str]) -> Node:
    _refuse_unknown(data, known, where)
    gpu = _count(data.get("gpu", 0), f"{where}.gpu")
    custom = data.get("custom") or {}
    return Node(
        milli_cpu=milli_cpu(data.get("cpu", 1), f"{where}.cpu"),
        memory_bytes=byte_count(data.get("memory", 0), f"{where}.memory"),
        object_store_bytes=byte_count(data.get("object_store_memory", 0), f"{where}.object_store_memory"),
        gpu=gpu,
        accelerator=str(data.get("accelerator", "")).strip(),
        custom=tuple(sorted((str(k), float(_number(str(v), v, f"{where}.custom.{k}"))) for k, v in custom.items())),
        start_params=tuple(sorted((str(k).lstrip("-"), str(v)) for k, v in (data.get("start_params") or {}).items())),
        pod=_canonical_or_empty(data.get("pod")),
    )


def _count(value: Any, where: str) -> int:
    number = _number(str(value), value, where)
    if number != int(number):
        raise InvalidKey(f"{where}: {value!r} is not a whole number.")
    return int(number)


def _worker_group(data: Mapping[str, Any], index: int, autoscaling: bool) -> WorkerGroup:
    where = f"shape.workers[{index}]"
    name = str(data.get("name", f"workers-{index}")).strip()
    if not _NAME.match(name):
        raise InvalidKey(f"{where}.name: {name!r} is not a name (letters, digits, '-', '_', '.', at most 63).")
    replicas = _count(data.get("replicas", 1), f"{where}.replicas")
    low = _count(data.get("min_replicas", replicas), f"{where}.min_replicas") if autoscaling else replicas
    high = _count(data.get("max_replicas", replicas), f"{where}.max_replicas") if autoscaling else replicas
    if not low <= replicas <= high:
        raise InvalidKey(f"{where}: min_replicas {low} <= replicas {replicas} <= max_replicas {high} does not hold.")
    return WorkerGroup(name, _node(data, where, _GROUP_FIELDS), replicas, low, high)


def shape_from(data: Mapping[str, Any]) -> Shape:
    """Make a normalised shape of plain data.

    Args:
        data: ``{"head": {...}, "workers": [{...}], "autoscaling": bool, "autoscaler_options": {...}}`` with
            quantities as Kubernetes writes them.

    Raises:
        InvalidKey: naming the field.
    """
    _refuse_unknown(data, {"head", "workers", "autoscaling", "autoscaler_options"}, "shape")
    autoscaling = bool(data.get("autoscaling", False))
    groups = [_worker_group(group, i, autoscaling) for i, group in enumerate(data.get("workers") or ())]
    if len({group.name for group in groups}) != len(groups):
        raise InvalidKey("shape.workers: two worker groups have the same name.")
    shape = Shape(
        head=_node(data.get("head") or {}, "shape.head", _NODE_FIELDS),
        # A group of no nodes fixes nothing; the order of groups means nothing.
        workers=tuple(sorted((g for g in groups if g.max_replicas), key=lambda g: g.name)),
        autoscaling=autoscaling,
        autoscaler_options=_canonical_or_empty(data.get("autoscaler_options")) if autoscaling else "",
    )
    total = footprint_of(shape)
    if max(total.milli_cpu, total.memory_bytes, total.gpu) > _LARGEST_TOTAL:
        raise InvalidKey("shape: all its nodes together are too large.")
    return shape


def key_from(data: Mapping[str, Any]) -> ClusterKey:
    """Make a normalised key of plain data: ``{"cluster_type", "image", "shape", "tenant"}``.

    Raises:
        InvalidKey: naming the field.
    """
    _refuse_unknown(data, {"cluster_type", "image", "shape", "tenant"}, "key")
    image = str(data.get("image", "")).strip()
    tenant = str(data.get("tenant", "")).strip()
    cluster_type = str(data.get("cluster_type", "ray")).strip().lower()
    if not _IMAGE.match(image):
        raise InvalidKey(f"key.image: {image!r} is not an image reference.")
    if not tenant or len(tenant) > 255 or any(c.isspace() or ord(c) < 32 for c in tenant):
        raise InvalidKey(f"key.tenant: {tenant!r} is not a tenant; write project/domain.")
    if not _NAME.match(cluster_type):
        raise InvalidKey(f"key.cluster_type: {cluster_type!r} is not a cluster type.")
    return ClusterKey(image, shape_from(data.get("shape") or {}), tenant, cluster_type)


def _node_json(node: Node) -> dict[str, Any]:
    out: dict[str, Any] = {"cpu": f"{node.milli_cpu}m"}
    if node.memory_bytes:
        out["memory"] = node.memory_bytes
    if node.object_store_bytes:
        out["object_store_memory"] = node.object_store_bytes
    if node.gpu:
        out["gpu"] = node.gpu
    if node.accelerator:
        out["accelerator"] = node.accelerator
    if node.custom:
        out["custom"] = dict(node.custom)
    if node.start_params:
        out["start_params"] = dict(node.start_params)
    if node.pod:
        out["pod"] = json.loads(node.pod)
    return out


def to_json(key: ClusterKey) -> dict[str, Any]:
    """Return the plain data that `key_from` turns into an equal key."""
    shape: dict[str, Any] = {"head": _node_json(key.shape.head)}
    if key.shape.workers:
        shape["workers"] = [
            {
                "name": g.name,
                "replicas": g.replicas,
                "min_replicas": g.min_replicas,
                "max_replicas": g.max_replicas,
                **_node_json(g.node),
            }
            for g in key.shape.workers
        ]
    if key.shape.autoscaling:
        shape["autoscaling"] = True
    if key.shape.autoscaler_options:
        shape["autoscaler_options"] = json.loads(key.shape.autoscaler_options)
    return {"cluster_type": key.cluster_type, "image": key.image, "tenant": key.tenant, "shape": shape}


def _node_dominates(large: Node, small: Node) -> bool:
    have = dict(large.custom)
    return (
        large.milli_cpu >= small.milli_cpu
        and large.gpu >= small.gpu
        # 0 leaves the size to the backend: only an equal wish is known to be met.
        and (large.memory_bytes >= small.memory_bytes if large.memory_bytes else not small.memory_bytes)
        and (
            large.object_store_bytes >= small.object_store_bytes
            if large.object_store_bytes
            else not small.object_store_bytes
        )
        and (not small.accelerator or large.accelerator == small.accelerator)
        and all(have.get(name, 0.0) >= amount for name, amount in small.custom)
        and large.start_params == small.start_params
        and large.pod == small.pod
    )


def dominates(large: ClusterKey, small: ClusterKey) -> bool:
    """Tell whether a cluster of `large` can serve a lease that asked for `small`.

    Same cluster type, image and tenant; head and every worker group at least as large; the same rights (start
    parameters, pod templates), since a larger cluster must not be able to see more.
    """
    if (large.cluster_type, large.image, large.tenant) != (small.cluster_type, small.image, small.tenant):
        return False
    if large.shape == small.shape:
        return True
    if large.shape.autoscaling != small.shape.autoscaling:
        return False
    if not _node_dominates(large.shape.head, small.shape.head):
        return False
    groups = {g.name: g for g in large.shape.workers}
    return all(
        (g := groups.get(wanted.name)) is not None
        and g.min_replicas >= wanted.min_replicas
        and g.max_replicas >= wanted.max_replicas
        and _node_dominates(g.node, wanted.node)
        for wanted in small.shape.workers
    )


def describe(shape: Shape) -> str:
    """Return a shape in a few words: ``1 cpu + 2x2 cpu``."""

    def node(n: Node) -> str:
        text = f"{n.milli_cpu / 1000:g} cpu"
        if n.memory_bytes:
            text += f" {n.memory_bytes / 2**30:g} GiB"
        if n.gpu:
            text += f" {n.gpu} {n.accelerator or 'gpu'}"
        return text

    def count(g: WorkerGroup) -> str:
        return f"{g.min_replicas}-{g.max_replicas}" if g.max_replicas != g.min_replicas else f"{g.replicas}"

    return " + ".join([node(shape.head), *(f"{count(g)}x({node(g.node)})" for g in shape.workers)])

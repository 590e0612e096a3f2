"""What a cluster reports of itself: its Ray, its session and its nodes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

from pool.backends.rayapi.dashboard import Dashboard, DashboardError
from pool.core.errors import StartFailed
from pool.core.key import Node, Shape, WorkerGroup
from pool.core.reasons import Reason

PROTECTED = ("/api/version", "/api/jobs/", "/api/v0/nodes")
OLDEST_RAY = (2, 52)
"""The first that knows token authentication."""

_ACCELERATOR = "accelerator_type:"
_GRAIN_BYTES = 2**26


@dataclass(frozen=True, slots=True)
class Report:
    """What it says now."""

    ray_version: str
    session: str
    shape: Shape


async def ask(dashboard: Dashboard, name: str) -> Report:
    """Return what the cluster reports, once it was seen to be usable and to refuse strangers.

    Raises:
        StartFailed: if it is not reached, refuses the token, is too old, or answers without a token.
    """
    try:
        version = await dashboard.get("/api/version")
        await dashboard.get("/api/jobs/")
        shape = await nodes_of(dashboard)
        refusals = await asyncio.gather(*(dashboard.refuses_strangers(path) for path in PROTECTED))
    except DashboardError as error:
        raise StartFailed(f"{name}: {refused(error)}", remedy="It is tried again.") from error
    ray_version, session = str(version["ray_version"]), str(version["session_name"])
    if not all(refusals):
        raise StartFailed(
            f"{name} answered GET {PROTECTED[refusals.index(False)]} without a token: anybody could use it.",
            reason=Reason.OPEN_CLUSTER,
            remedy="Have it run with RAY_AUTH_MODE=token (Ray 2.52 or newer).",
        )
    if tuple(int(part) for part in ray_version.split(".")[:2]) < OLDEST_RAY:
        raise StartFailed(
            f"{name} runs Ray {ray_version}, which knows no token authentication.",
            reason=Reason.OPEN_CLUSTER,
            remedy="Have it run Ray 2.52 or newer.",
        )
    if shape is None:
        raise StartFailed(f"{name}: its head is not among its nodes that are alive.", remedy="It is tried again.")
    return Report(ray_version, session, shape)


def refused(error: DashboardError) -> str:
    """Return what an error of the API says, with what to do about a token that is not the cluster's."""
    if error.status in (401, 403):
        return f"it refuses the token that the configuration has for it ({error.status}); correct that"
    return f"it does not answer: {error}"


async def nodes_of(dashboard: Dashboard) -> Shape | None:
    """Return the shape of the nodes that are alive, None without a head.

    Raises:
        DashboardError: if it is not told.
    """
    rows = await dashboard.state("nodes", ("state", "=", "ALIVE"))
    head = next((node for node in rows if node["is_head_node"]), None)
    return None if head is None else shape_of(head, [node for node in rows if node is not head])


def shape_of(head: dict[str, Any], others: list[dict[str, Any]]) -> Shape:
    """Return a shape of rows of Ray's table of nodes: equal workers are a group."""
    groups: dict[Node, int] = {}
    for row in others:
        node = node_of(row["resources_total"])
        groups[node] = groups.get(node, 0) + 1
    # The order of nodes in a table means nothing: the same nodes must give the same key.
    ranked = sorted(groups.items(), key=lambda item: repr(item[0]))
    workers = (WorkerGroup(f"workers-{i}", node, count, count, count) for i, (node, count) in enumerate(ranked))
    return Shape(node_of(head["resources_total"]), tuple(workers))


def node_of(resources: dict[str, float]) -> Node:
    """Return a node of Ray's resources. Memory is cut to a grain: Ray finds some bytes more or less at every start."""
    names = [name.removeprefix(_ACCELERATOR) for name in resources if name.startswith(_ACCELERATOR)]
    custom = {
        name: float(amount)
        for name, amount in resources.items()
        if name not in ("CPU", "GPU", "memory", "object_store_memory") and not name.startswith((_ACCELERATOR, "node:"))
    }
    return Node(
        milli_cpu=round(resources.get("CPU", 0.0) * 1000),
        memory_bytes=_grain(resources.get("memory", 0.0)),
        object_store_bytes=_grain(resources.get("object_store_memory", 0.0)),
        gpu=int(resources.get("GPU", 0.0)),
        accelerator=names[0] if names else "",
        custom=tuple(sorted(custom.items())),
    )


def _grain(size_bytes: float) -> int:
    return int(size_bytes) // _GRAIN_BYTES * _GRAIN_BYTES

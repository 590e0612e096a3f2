"""What would be lost with a node: the objects in its store, those its processes refer to, and its actors."""

from __future__ import annotations

import asyncio
from typing import Any

from pool.backends.rayapi.dashboard import STATE_LIMIT, Dashboard, DashboardError


async def held(dashboard: Dashboard) -> dict[str, str]:
    """Return what each node that is alive holds, as a phrase by its address; a node that holds nothing is not in it.

    The nodes' statistics lag some 15 s behind, Ray's tables do not: what either knows of counts.

    Raises:
        DashboardError: if not all of it could be looked at, also where a node has told nothing of its store yet.
    """
    summary, nodes, objects, actors = await asyncio.gather(
        dashboard.get("/nodes", {"view": "summary"}),
        dashboard.state("nodes", ("state", "=", "ALIVE")),
        dashboard.state("objects"),
        dashboard.state("actors", ("state", "!=", "DEAD")),
    )
    if len(objects) >= STATE_LIMIT or len(actors) >= STATE_LIMIT:
        raise DashboardError(f"there are {STATE_LIMIT} objects or actors, and perhaps more than were told of")
    found: dict[str, str] = {}
    hosts = {str(node["node_id"]): str(node["node_ip"]) for node in nodes}
    stats = {one["raylet"].get("nodeId"): one["raylet"].get("storeStats") for one in summary["data"]["summary"]}
    for node_id, host in hosts.items():
        if said := _stored(host, stats.get(node_id)):
            found[host] = said
    for row in objects:
        found.setdefault(str(row["ip"]), f"an object of {row['object_size']} bytes")
    for row in actors:
        if row["node_id"] in hosts:
            found.setdefault(hosts[row["node_id"]], f"actor {row['name'] or row['class_name']!r}")
    return found


def _stored(host: str, stats: dict[str, Any] | None) -> str:
    if stats is None:
        raise DashboardError(f"node {host} has told nothing of its object store yet")
    count, used = int(stats.get("numLocalObjects", 0)), int(stats.get("objectStoreBytesUsed", 0))
    return f"{count} objects of {used} bytes" if count or used else ""

"""What a holder tells of resident data as it gives its cluster back.

Neither Ray nor `pool.resident` is imported for it: who did not use them has nothing to tell.
"""

from __future__ import annotations

import logging
import sys
from typing import NamedTuple

from pool.client.disconnect import connected_to
from pool.core.model import ReadFrom
from pool.wire.leases import ClusterAccess, ResidentItem

log = logging.getLogger("warmpool.client")

BOUND_S = 2.0
"""How long the owners may take to say what they have: a release is not to wait for a cluster that hangs."""
MOST = 1000
"""How many values are told of, the most recently used first."""


class Residency(NamedTuple):
    """What is resident on a cluster, and from where this process's reads were answered."""

    values: list[ResidentItem]
    reads: dict[ReadFrom, int]


def copies_written() -> Exception | None:
    """Wait for the durable copies that this process writes behind, and return why one could not be written."""
    behind = sys.modules.get("pool.resident.behind")
    failed: Exception | None = behind.finish() if behind is not None else None
    return failed


def residency(cluster: ClusterAccess) -> Residency | None:
    """Return what is resident on `cluster`; None if this process did not use resident data, or cannot tell.

    Never raises: the lease is given up whatever Ray does.
    """
    values, ray = sys.modules.get("pool.resident.values"), sys.modules.get("ray")
    if values is None or ray is None:
        return None
    try:
        if not ray.is_initialized() or not connected_to(ray, cluster):
            return None
        entries = sorted(values.resident_now(BOUND_S), key=lambda entry: -entry.used_at)[:MOST]
        told = [
            ResidentItem(name=entry.name[:256], bytes=entry.bytes, node=entry.node, used_at=entry.used_at)
            for entry in entries
            if entry.resident
        ]
        return Residency(told, values.take_reads())
    except Exception as error:
        log.warning("what is resident on %s could not be told to the daemon: %s", cluster.id, error)
        return None

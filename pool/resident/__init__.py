"""Named values that stay on a cluster from one task to the next.

In a task's body, connected to its leased cluster::

    from pool import resident

    resident.put("features", frame, durable="s3://bucket/run-7/features.parquet")
    frame = resident.get("features")       # in a later task: read-only views of shared memory, nothing is copied

A value lives as long as its cluster works for the same group, unless room is needed. With a durable copy it can always
be had: what is in memory no more is read from there.
"""

from pool.resident.errors import DurableFailed, NotConnected, ResidentError, ResidentFull, ResidentMissing
from pool.resident.values import Entry, drop, get, list, prepare, put

__all__ = [
    "DurableFailed",
    "Entry",
    "NotConnected",
    "ResidentError",
    "ResidentFull",
    "ResidentMissing",
    "drop",
    "get",
    "list",
    "prepare",
    "put",
]

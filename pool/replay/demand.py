"""What is asked of the pool: jobs, each of which wants one cluster for some time."""

from __future__ import annotations

from typing import NamedTuple

from pool.core.key import ClusterKey


class Job(NamedTuple):
    """One lease that somebody wants.

    Attributes:
        arrival_s: when it asks, in seconds of the trace's own clock (since the epoch, where the trace says so).
        duration_s: for how long it uses the cluster.
        key: what it asks for.
        group: jobs that want to share a cluster and its data; empty for none.
    """

    arrival_s: float
    duration_s: float
    key: ClusterKey
    group: str = ""

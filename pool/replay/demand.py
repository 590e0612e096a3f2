"""What is asked of the pool: jobs, each of which wants one cluster for some time."""

from __future__ import annotations

import math
from collections.abc import Sequence
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


def counted_from(jobs: Sequence[Job], warm_up_s: float) -> float:
    """Return from when on a replay of jobs counts; minus infinity where it has no warm-up."""
    return jobs[0].arrival_s + warm_up_s if warm_up_s else -math.inf

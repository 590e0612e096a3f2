"""Flyte 2's `ReusePolicy` on a Ray environment, in the words of leases: a hold, and whom it is for.

The SDK accepts it for Ray and the open-source backend ignores it. What it means to an author is kept: ``idle_ttl`` is
how long the cluster waits for the next task, ``scope`` who may be that next one. The image and the shape make the
cluster's key, and the code does not, so an edit keeps the warm cluster.
"""

from __future__ import annotations

from dataclasses import replace

from flyte import ReusePolicy

from pool.flyte.config import Pooled


def check(task: str, policy: ReusePolicy, pooled: Pooled) -> ReusePolicy:
    """Return `policy` if a leased cluster can be reused as it says.

    Raises:
        ValueError: if it cannot, or if the hold is said twice, with what to write instead.
    """
    name = f"Task {task}: ReusePolicy"
    if policy.max_replicas != 1:
        raise ValueError(
            f"{name}.replicas: {policy.replicas} is not 1. A task leases one cluster, and tasks that run at once have"
            " one each, as many as the pool's ceiling allows; write replicas=1."
        )
    if policy.concurrency != 1:
        raise ValueError(
            f"{name}.concurrency: {policy.concurrency} is not 1. A leased cluster has one holder at a time."
        )
    if pooled.hold_s is not None:
        raise ValueError(f"{name}.idle_ttl and Pooled.hold_s both say how long the cluster is kept: leave one out.")
    return policy


def held_for(pooled: Pooled, policy: ReusePolicy | None, environment: str) -> Pooled:
    """Return `pooled` with the hold of `policy`, and with the group of `environment` where its scope is all runs."""
    if policy is None:
        return pooled
    group = pooled.group or (f"environment/{environment}" if policy.scope == "global" else "")
    return replace(pooled, hold_s=policy.idle_ttl.total_seconds(), group=group)  # type: ignore[union-attr]

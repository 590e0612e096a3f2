"""Keys of clusters that are small enough for a node of two cores."""

from __future__ import annotations

import os

from pool.core.key import ClusterKey, key_from
from pool.core.model import Cluster, ClusterState
from pool.core.reasons import Reason

IMAGE = os.environ.get("WARMPOOL_TEST_RAY_IMAGE", "rayproject/ray:2.60.0-py311")
SMALL = {"cpu": 1, "memory": "2Gi", "pod": {"requests": {"cpu": "100m", "memory": "512Mi"}}}


def small(workers: int = 1, image: str = IMAGE, **head: object) -> ClusterKey:
    """Return the key of a cluster that fits a node of two cores."""
    groups = [{**SMALL, "name": "w", "replicas": workers}] if workers else []
    return key_from({"image": image, "tenant": "tests/kube", "shape": {"head": {**SMALL, **head}, "workers": groups}})


def cluster_of(key: ClusterKey, seq: int = 1, boot_id: str = "") -> Cluster:
    return Cluster(
        id=f"c-{key.digest}-{seq}",
        pool=key.digest,
        tenant=key.tenant,
        seq=seq,
        footprint=key.footprint,
        state=ClusterState.STARTING,
        cause=Reason.MISS,
        created_at=0.0,
        changed_at=0.0,
        boot_id=boot_id,
    )

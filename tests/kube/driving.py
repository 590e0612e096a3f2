"""What a Flyte task does on a leased cluster, through Ray Client."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray

import pool
from pool.client.connect import connected
from pool.wire.leases import ClusterAccess

# The clusters' image has nothing of ours: what runs there by itself brings it along.
CODE = {"py_modules": [str(Path(pool.__file__).parent)]}


async def task(cluster: ClusterAccess, body: Callable[[], Any]) -> Any:
    """Run a task's body as its pod does: connected to the leased cluster through Ray Client."""

    def run() -> Any:
        with tempfile.TemporaryDirectory() as empty, connected(cluster, {**CODE, "working_dir": empty}, local=False):
            return body()

    return await asyncio.to_thread(run)


def on(workers: bool, call: Callable[[], Any]) -> Any:
    """Run something on the head's node or on a worker's."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    every: Any = ray.nodes
    living = [node for node in every() if node["Alive"]]
    (node,) = (n["NodeID"] for n in living if ("node:__internal_head__" not in n["Resources"]) is workers)
    there = NodeAffinitySchedulingStrategy(node, soft=False)
    return ray.get(ray.remote(num_cpus=0)(call).options(scheduling_strategy=there).remote())

"""Resident data on a real RayCluster: it goes from task to task of a group, and to nobody else."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray

import pool
from pool import resident
from pool.backends.kuberay.backend import KuberayBackend
from pool.core.events import Shrunk
from pool.flyte.connect import connected
from pool.wire.leases import ClusterAccess
from tests.kube.kit import cluster_of, shrunk, small
from tests.kube.place import Place, ask, client_of, comes

pytestmark = [
    pytest.mark.kube,
    pytest.mark.timeout(300),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

VALUE = {"weights": bytes(range(256)) * 10_000, "name": "model"}
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
    (node,) = (n["NodeID"] for n in every() if ("node:__internal_head__" not in n["Resources"]) is workers)
    there = NodeAffinitySchedulingStrategy(node, soft=False)
    return ray.get(ray.remote(num_cpus=0)(call).options(scheduling_strategy=there).remote())


async def test_data_goes_to_the_next_task_of_its_group_and_to_no_other_group_or_tenant(place: Place) -> None:
    with await place.serve() as served:
        async with client_of(served) as client:

            def put() -> None:
                assert resident.put("model", VALUE).resident

            def get() -> None:
                assert resident.get("model") == VALUE

                def there() -> bool:
                    from pool import resident

                    return bool(resident.get("model")["name"] == "model")

                # A task of Ray's has it from its node's memory.
                assert on(False, there)

            def nothing() -> None:
                assert resident.list() == []
                with pytest.raises(resident.ResidentMissing):
                    resident.get("model")

            async with client.lease(ask("one", group="run-1")) as first:
                await task(first.cluster, put)
            async with client.lease(ask("two", group="run-1")) as second:
                assert second.cluster.id == first.cluster.id
                await task(second.cluster, get)
            async with client.lease(ask("other", group="run-2")) as third:
                # Of the same tenant: after a full reset.
                assert third.cluster.id == first.cluster.id
                await task(third.cluster, nothing)
                await task(third.cluster, put)
            await comes(served, "idle", bound_s=90)
            async with client.lease(ask("stranger", group="run-2", tenant="tests/stranger")) as fourth:
                assert fourth.cluster.id != first.cluster.id
                await task(fourth.cluster, nothing)
            await comes(served, "idle", "idle", bound_s=90)


async def test_a_worker_that_has_resident_data_is_not_let_go_before_a_full_reset(backend: KuberayBackend) -> None:
    key = small(workers=1)
    cluster = cluster_of(key)
    started = await backend.start(cluster, key, lambda phase: None)
    cluster = cluster._replace(boot_id=started.boot_id, resizes=1)
    access = ClusterAccess(
        id=cluster.id,
        address=started.address,
        client_address=started.client_address,
        token=backend.token(cluster.id),
    )

    def put_on_the_worker() -> None:
        def there() -> None:
            from pool import resident

            resident.put("model", bytes(5_000_000))

        on(True, there)

    await task(access, put_on_the_worker)
    clean = await backend.reset(cluster, key, full=False)
    assert (clean.clean, clean.full) == (True, False), clean
    kept = await shrunk(backend, cluster, key)
    assert kept.left == (("w", 1),)
    assert " holds " in kept.detail

    def get() -> int:
        return len(resident.get("model"))

    assert await task(access, get) == 5_000_000
    clean = await backend.reset(cluster, key)
    assert clean.clean, clean
    assert any("resident-" in said for said in clean.removed)
    assert await shrunk(backend, cluster, key, empty=True) == Shrunk(cluster.id)
    await backend.stop(cluster.id)

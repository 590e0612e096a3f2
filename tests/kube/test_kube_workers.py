"""A cluster with a worker: what keeps the worker from being let go, and what somebody else does to its RayCluster.

The tests take over one cluster from another, as one daemon does from the next: a cold start takes most of a small node
for a quarter of a minute. Each works alone and in any order; the one that loses the cluster comes last.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from pool import resident
from pool.backends.base import News
from pool.backends.kuberay.backend import KuberayBackend
from pool.backends.kuberay.options import KuberayOptions
from pool.core.errors import PoolError
from pool.core.events import Degraded, Lost, Shrunk, Started
from pool.core.model import Cluster
from pool.kube.api import CORE, RAY, Api
from pool.wire.leases import ClusterAccess
from tests.kube.driving import on, task
from tests.kube.kit import accounted, cluster_of, shrunk, small, submit, until

pytestmark = [
    pytest.mark.kube,
    pytest.mark.timeout(300),
    pytest.mark.xdist_group("workers"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

KEY = small(workers=1)
OWNER = """python -c "
import ray
ray.init(namespace='kept')

@ray.remote(num_cpus=0)
class Owner:
    def __init__(self):
        self.kept = ray.put(bytes(5_000_000))

living = [node for node in ray.nodes() if node['Alive']]
(worker,) = (node['NodeID'] for node in living if 'node:__internal_head__' not in node['Resources'])
where = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(worker, soft=False)
owner = Owner.options(name='owner', lifetime='detached', scheduling_strategy=where).remote()
ray.get(owner.__ray_ready__.remote())
" """


class Standing:
    """What outlives a test: a namespace, and which cluster there is in it.

    Attributes:
        seq: of the cluster; another one follows one that was lost.
        resizes: decisions on its size so far.
        boot_id: of its start; empty if there is none.
    """

    def __init__(self) -> None:
        self.namespace = f"warmpool-test-{uuid.uuid4().hex[:8]}"
        self.store_id = uuid.uuid4().hex[:16]
        self.seq, self.resizes, self.boot_id = 1, 0, ""


@pytest.fixture(scope="module")
def standing() -> Iterator[Standing]:
    made = Standing()

    async def make() -> None:
        api = await Api.connect()
        await api.create(f"{CORE}/namespaces", {"metadata": {"name": made.namespace}})
        await accounted(api, made.namespace)
        await api.close()

    async def drop() -> None:
        api = await Api.connect()
        await api.delete(f"{CORE}/namespaces/{made.namespace}")
        await api.close()

    asyncio.run(make())
    yield made
    asyncio.run(drop())


@pytest.fixture
async def backend(standing: Standing, told: list[News]) -> AsyncIterator[KuberayBackend]:
    options = KuberayOptions(namespace=standing.namespace, addresses="pod", image_pull_policy="IfNotPresent")
    made = KuberayBackend(options)
    there = [(cluster_of(KEY, standing.seq, standing.boot_id), KEY)] if standing.boot_id else []
    await made.open(standing.store_id, lambda cluster_id: f"token-of-{cluster_id}-{'x' * 20}", told.append, there)
    yield made
    await made.close()


class Whole:
    """A cluster that has its worker and is clean."""

    def __init__(self, standing: Standing, backend: KuberayBackend) -> None:
        self._standing, self._backend = standing, backend
        self.started: Started

    async def begin(self) -> None:
        """Start it, or take over the one that is there and have its worker back."""
        standing = self._standing
        if standing.boot_id:
            grown = cluster_of(KEY, standing.seq, standing.boot_id)._replace(resizes=standing.resizes + 1)
            self.started = await self._backend.grow(grown, KEY, lambda phase: None)
            standing.resizes += 1
        else:
            self.started = await self._backend.start(cluster_of(KEY, standing.seq), KEY, lambda phase: None)
            standing.boot_id = self.started.boot_id

    @property
    def cluster(self) -> Cluster:
        """The cluster, as of the latest decision on its size."""
        made = cluster_of(KEY, self._standing.seq, self.started.boot_id)
        return made._replace(resizes=self._standing.resizes)

    def resized(self) -> Cluster:
        """Return the cluster as of one more decision."""
        self._standing.resizes += 1
        return self.cluster

    def lost(self) -> None:
        """The next test needs another one."""
        self._standing.seq, self._standing.resizes, self._standing.boot_id = self._standing.seq + 1, 0, ""


@pytest.fixture
async def whole(standing: Standing, backend: KuberayBackend, told: list[News]) -> Whole:
    made = Whole(standing, backend)
    await made.begin()
    told.clear()
    return made


async def heads_and_workers(api: Api, namespace: str) -> tuple[list[str], list[str]]:
    """Return the uids of the head pods and of the worker pods."""
    found = (await api.get(f"{CORE}/namespaces/{namespace}/pods"))["items"]
    by_kind: dict[str, list[str]] = {"head": [], "worker": []}
    for pod in found:
        by_kind[pod["metadata"]["labels"]["ray.io/node-type"]].append(pod["metadata"]["uid"])
    return by_kind["head"], by_kind["worker"]


async def test_a_worker_that_holds_objects_is_not_let_go_and_a_late_decision_undoes_nothing(
    whole: Whole, backend: KuberayBackend, standing: Standing, api: Api, told: list[News]
) -> None:
    cluster = whole.resized()
    token = f"token-of-{cluster.id}-{'x' * 20}"
    assert await submit(whole.started.dashboard_url, token, OWNER) == "SUCCEEDED"
    writes = backend.writes
    kept = await shrunk(backend, cluster, KEY)
    assert (kept.left, backend.writes) == ((("w", 1),), writes)
    assert " holds " in kept.detail
    clean = await backend.reset(cluster, KEY)
    assert clean.clean, clean
    gone = await shrunk(backend, cluster, KEY, empty=True)
    assert (gone, backend.writes) == (Shrunk(cluster.id), writes + 1)
    assert (await heads_and_workers(api, standing.namespace))[1] == []
    phases: list[str] = []
    grown = await backend.grow(whole.resized(), KEY, phases.append)
    assert grown.boot_id == whole.started.boot_id
    assert "workers 0 of 1" in phases
    with pytest.raises(PoolError, match="later decision"):
        await backend.shrink(cluster, KEY)
    assert [one for one in told if getattr(one, "lasting", True)] == []


async def test_a_worker_that_has_resident_data_is_not_let_go_before_a_full_reset(
    whole: Whole, backend: KuberayBackend
) -> None:
    cluster = whole.resized()
    access = ClusterAccess(
        id=cluster.id,
        address=whole.started.address,
        client_address=whole.started.client_address,
        token=backend.token(cluster.id),
    )

    def put_on_the_worker() -> None:
        def there() -> None:
            from pool import resident

            resident.put("model", bytes(5_000_000))

        on(True, there)

    await task(access, put_on_the_worker)
    clean = await backend.reset(cluster, KEY, full=False)
    assert (clean.clean, clean.full) == (True, False), clean
    kept = await shrunk(backend, cluster, KEY)
    assert kept.left == (("w", 1),)
    assert " holds " in kept.detail

    def get() -> int:
        return len(resident.get("model"))

    assert await task(access, get) == 5_000_000
    clean = await backend.reset(cluster, KEY)
    assert clean.clean, clean
    assert any("resident-" in said for said in clean.removed)
    assert await shrunk(backend, cluster, KEY, empty=True) == Shrunk(cluster.id)


async def test_a_cluster_that_is_edited_scaled_and_then_deleted_by_hand_is_told_as_each(
    whole: Whole, backend: KuberayBackend, standing: Standing, api: Api, told: list[News]
) -> None:
    cluster = whole.cluster
    assert told == []
    item = backend.view.cluster(cluster.id)
    assert item is not None
    path = f"{RAY}/namespaces/{standing.namespace}/rayclusters/{item['metadata']['name']}"

    async def edit(cpus: str) -> None:
        await api.patch(path, {"spec": {"headGroupSpec": {"rayStartParams": {"num-cpus": cpus}}}})

    await edit("2")
    said = f"{cluster.id}: somebody changed its RayCluster: spec.headGroupSpec.rayStartParams.num-cpus is 2, not 1."
    await until(lambda: Degraded(cluster.id, cluster.boot_id, said, lasting=True) in told, "the edit", 10.0)
    await edit("1")
    await until(lambda: told[-1] == Degraded(cluster.id, cluster.boot_id, ""), "its end", 10.0)

    groups = (await api.get(path))["spec"]["workerGroupSpecs"]
    await api.patch(path, {"spec": {"workerGroupSpecs": [{**groups[0], "replicas": 0, "minReplicas": 0}]}})
    said = f"{cluster.id}: somebody changed its RayCluster: spec.workerGroupSpecs[w].minReplicas is 0, not 1."
    # That the worker is gone, which the edit takes away, may be seen before the edit is.
    scaled = Degraded(cluster.id, cluster.boot_id, said, lasting=True)
    await until(lambda: scaled in told, "the scaling", 10.0)
    assert told[-1] == scaled
    await api.delete(path)
    whole.lost()
    lost = await until(lambda: next((news for news in told if isinstance(news, Lost)), None), "the loss", 5.0)
    assert (lost.cluster_id, lost.boot_id) == (cluster.id, cluster.boot_id)
    assert "somebody deleted its RayCluster" in lost.detail
    assert not (await backend.reset(cluster, KEY)).clean
    await backend.stop(cluster.id)
    assert (await backend.list()).seen == ()

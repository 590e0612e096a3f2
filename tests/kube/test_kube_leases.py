"""Leases of two tenants at one daemon as it is served, over a real Kubernetes.

The tests share the daemon and what they leave warm: a cold start takes most of a small node for a quarter of a minute.
Each works alone and in any order; those that take a cluster with them come last.
"""

from __future__ import annotations

import asyncio
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from pool import resident
from pool.backends.kuberay.spec import CLUSTER
from pool.client import AcquireRefused, AsyncClient, Lease, NotAllowed
from pool.core.reasons import Reason
from pool.flyte.handle import Resident, given, keep
from pool.kube.api import CORE, Api
from tests.kube.driving import on, task
from tests.kube.kit import SMALL, accounted, small, submit
from tests.kube.place import DRIVER, Place, Told, ask, becomes, begin, client_of, clusters, explained

pytestmark = [
    pytest.mark.kube,
    pytest.mark.timeout(300),
    pytest.mark.xdist_group("leases"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

VISION, SPEECH = "vision/dev", "speech/dev"
MORE = """
access:
  kubernetes:
    namespaces:
    - {{match: "{prefix}-{{project}}-{{domain}}"}}
pools:
- {{name: hasty, match: {{image: "*/hasty:*"}}, breaker_failures: 1, start_timeout: 6s}}
- {{name: all, breaker_failures: 1, workers_idle_ttl: 1s}}
"""
VALUE = {"weights": bytes(range(256)) * 10_000, "name": "model"}
# Shared memory counts as the container's and is no process's own: so the largest of Ray's goes, and the container ends.
# By itself, since Ray has its workers go first, and with what watches over a job the job.
TOO_MUCH = "setsid -f dd if=/dev/zero of=/dev/shm/full bs=1M"
ON_A_WORKER = """python -c "
import ray
ray.init()
head = ray.get_runtime_context().get_node_id()
ran = ray.get([ray.remote(num_cpus=1)(lambda: ray.get_runtime_context().get_node_id()).options(
    scheduling_strategy='SPREAD').remote() for _ in range(8)])
assert len(ray.nodes()) and sum(node['Alive'] for node in ray.nodes()) == 2, ray.nodes()
assert len(set(ran)) == 2, ran
" """


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A place whose daemon outlives a test, with a namespace for each tenant."""
    prefix = f"warmpool-test-{uuid.uuid4().hex[:8]}"
    made = Place(tmp_path_factory.mktemp("standing"), prefix)
    made.named = f"{prefix}-{{project}}-{{domain}}"
    made.more = MORE.format(prefix=prefix)
    names = [made.namespace_of(tenant) for tenant in (VISION, SPEECH)]

    async def make() -> None:
        api = await Api.connect()
        for name in names:
            await api.create(f"{CORE}/namespaces", {"metadata": {"name": name}})
            await accounted(api, name)
            await api.create(f"{CORE}/namespaces/{name}/serviceaccounts", {"metadata": {"name": "runner"}})
        await api.close()

    async def drop() -> None:
        api = await Api.connect()
        for name in names:
            await api.delete(f"{CORE}/namespaces/{name}")
        await api.close()

    asyncio.run(make())
    yield made
    made.close()
    asyncio.run(drop())


@pytest.fixture
async def place(standing: Place, api: Api) -> Place:
    standing.api = api
    if standing.served is None or standing.served.process.poll() is not None:
        await standing.serve()
    return standing


async def token_in(place: Place, tenant: str) -> str:
    """Return a token of a pod's account of this tenant."""
    where = f"{CORE}/namespaces/{place.namespace_of(tenant)}/serviceaccounts/runner/token"
    made = await place.api.create(where, {"spec": {"audiences": ["warmpool"], "expirationSeconds": 600}})
    return str(made["status"]["token"])


async def made(place: Place, tenant: str) -> list[str]:
    """Return the ids of the clusters that a tenant's namespace has RayClusters of."""
    return [item["metadata"]["labels"][CLUSTER] for item in await place.clusters(tenant)]


async def answer(url: str, token: str, path: str = "/api/version") -> int:
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {token}"}) as http:
        return (await http.get(url + path)).status_code


async def drive(lease: Lease, entrypoint: str = DRIVER) -> None:
    assert await submit(lease.cluster.dashboard_url, lease.cluster.token, entrypoint) == "SUCCEEDED"


async def test_two_tenants_never_share_a_cluster_nor_a_token_nor_a_namespace(place: Place) -> None:
    served = place.served
    assert served is not None
    tokens = [await token_in(place, tenant) for tenant in (VISION, SPEECH)]
    async with AsyncClient(served.url, tokens[0]) as vision, AsyncClient(served.url, tokens[1]) as speech:
        with pytest.raises(NotAllowed):
            await speech.acquire(ask("thief", tenant=VISION))
        # The first is warm, of the same image and shape: it is not for the second.
        first = await vision.acquire(ask("first", tenant=VISION))
        await first.release()
        await becomes(served, first.cluster.id, "idle")
        second = await speech.acquire(ask("second", tenant=SPEECH))
        assert second.cluster.id != first.cluster.id
        for lease, own, other in ((first, VISION, SPEECH), (second, SPEECH, VISION)):
            assert lease.cluster.id in await made(place, own)
            assert lease.cluster.id not in await made(place, other)
        assert await answer(second.cluster.dashboard_url, first.cluster.token) in (401, 403)
        assert await answer(second.cluster.dashboard_url, second.cluster.token) == 200
        assert await answer(served.url, tokens[0], f"/v1/leases/{second.id}") == 404
        async with vision.lease(ask("third", tenant=VISION)) as third:
            assert (third.outcome, third.cluster.id) == ("hit", first.cluster.id)
        await second.release()


async def test_data_goes_to_the_next_task_of_its_group_and_to_no_other_group_or_tenant(
    place: Place, tmp_path: Path
) -> None:
    assert place.served is not None
    # Both are this process's, as a task's pod reaches its bucket.
    url, literal = str(tmp_path / "copy"), "s3://bucket/literal"

    def put() -> None:
        entry = resident.put("model", VALUE, durable=url)
        assert (entry.resident, entry.durable) == (True, url)
        assert keep(Resident(VALUE), VALUE, literal) is not None

    def unread() -> Any:
        raise AssertionError("it was read from Flyte's copy")

    def get() -> None:
        assert resident.get("model") == VALUE
        handle = given(literal, unread)
        assert (handle.get(), handle.source) == (VALUE, "memory")

        def there() -> bool:
            from pool import resident

            return bool(resident.get("model")["name"] == "model")

        # A task of Ray's has it from its node's memory.
        assert on(False, there)

    def nothing() -> None:
        assert resident.list() == []
        with pytest.raises(resident.ResidentMissing):
            resident.get("model")
        # What has a durable copy is had from there, and the next one finds it in memory.
        assert resident.get("model", durable=url) == VALUE
        handle = given(literal, lambda: VALUE)
        assert (handle.get(), handle.source) == (VALUE, "durable")
        handle = given(literal, unread)
        assert (handle.get(), handle.source) == (VALUE, "memory")

    async with client_of(place.served) as client:
        async with client.lease(ask("one", group="run-1", tenant=VISION)) as first:
            await task(first.cluster, put)
        async with client.lease(ask("two", group="run-1", tenant=VISION)) as second:
            assert second.cluster.id == first.cluster.id
            await task(second.cluster, get)
        async with client.lease(ask("other", group="run-2", tenant=VISION)) as third:
            # Of the same tenant: after a full reset.
            assert third.cluster.id == first.cluster.id
            await task(third.cluster, nothing)
            await task(third.cluster, put)
        await becomes(place.served, first.cluster.id, "idle")
        async with client.lease(ask("stranger", group="run-2", tenant=SPEECH)) as fourth:
            assert fourth.cluster.id != first.cluster.id
            await task(fourth.cluster, nothing)


async def test_two_tasks_in_a_row_run_on_one_cluster_and_a_head_that_is_killed_ends_the_lease(place: Place) -> None:
    served = place.served
    assert served is not None
    async with client_of(served) as client:
        async with client.lease(ask("first", tenant=VISION)) as first:
            await drive(first)
        await becomes(served, first.cluster.id, "idle")
        async with client.lease(ask("second", tenant=VISION)) as second:
            assert second.outcome == "hit"
            assert second.cluster.address == first.cluster.address
            await drive(second)
            head = await place.kill("head", tenant=VISION, cluster_id=second.cluster.id)
            # Sooner than its next renewal may come.
            assert await second.wait_lost(5.0)
        assert f"{head} " in await explained(served, second.id)


async def test_a_holder_is_told_that_its_head_ran_out_of_memory(place: Place) -> None:
    served = place.served
    assert served is not None
    async with client_of(served) as client:
        lease = await client.acquire(ask("first", tenant=SPEECH))
        (head,) = await place.pods("head", tenant=SPEECH, cluster_id=lease.cluster.id)
        await begin(lease.cluster.dashboard_url, lease.cluster.token, TOO_MUCH)
        # A busy node takes half a minute to start the job. The client learns it with its next renewal.
        assert await lease.wait_lost(90.0)
        await lease.release()
        said = await explained(served, lease.id)
        assert "the cluster was lost." in said
        assert f"{head} ended since it ran out of memory with code " in said


async def test_a_waiter_is_told_how_far_the_start_is_and_an_idle_cluster_keeps_its_head_until_its_worker_is_back(
    place: Place,
) -> None:
    served = place.served
    assert served is not None
    told, request = Told(), ask("test", workers=1, tenant=VISION)
    async with client_of(served) as client:
        for cluster in await clusters(served):
            if cluster["tenant"] == VISION and cluster["state"] == "warm_head":  # another test left it
                await asyncio.to_thread(served.run, "drain", cluster["id"])
                await becomes(served, cluster["id"], "")
        first = await client.acquire(request, progress=told)
        assert first.outcome == "cold"
        assert told.that("pulling image", "starting head", "workers", "granted"), told.phases
        where = {"tenant": VISION, "cluster_id": first.cluster.id}
        (head,), (worker,) = await place.pods("head", **where), await place.pods("worker", **where)
        await first.release()
        cluster = await becomes(served, first.cluster.id, "warm_head")
        assert (await place.pods("head", **where), await place.pods("worker", **where)) == ([head], [])
        assert "idle for" in cluster["explanation"]
        async with client.lease(request) as second:
            assert (second.outcome, second.reason) == ("warm_head", "workers_let_go")
            assert second.cluster.address == first.cluster.address
            assert second.waited_s < first.waited_s
            (again,) = await place.pods("worker", **where)
            assert (await place.pods("head", **where), again != worker) == ([head], True)
            await drive(second, ON_A_WORKER)
            (leased,) = [one for one in await clusters(served) if one["id"] == first.cluster.id]
            assert (leased["state"], leased["degraded"]) == ("leased", "")
            print(f"cold {first.waited_s:.1f} s, warm head {second.waited_s:.1f} s")


async def test_a_worker_killed_under_a_lease_degrades_it_and_a_head_that_hangs_ends_it(place: Place) -> None:
    served = place.served
    assert served is not None
    async with client_of(served) as client:
        lease = await client.acquire(ask("first", workers=1, tenant=VISION))
        worker = await place.kill("worker", tenant=VISION, cluster_id=lease.cluster.id)
        async with asyncio.timeout(20):
            while lease.hints != ("degraded",):  # noqa: ASYNC110 - renewals bring it
                await asyncio.sleep(0.1)
        assert f"0 of 1 workers run: {worker}" in await explained(served, lease.cluster.id)
        assert lease.state == "active"
        async with asyncio.timeout(60):
            while lease.hints:  # noqa: ASYNC110 - KubeRay makes another worker
                await asyncio.sleep(0.1)
        # Nothing ends: the head's container runs on, and so does its dashboard.
        await begin(lease.cluster.dashboard_url, lease.cluster.token, "pkill -STOP gcs_server")
        assert await lease.wait_lost(75.0)
        await lease.release()
        assert "its head runs and answers neither Kubernetes' probes nor" in await explained(served, lease.id)
        said = await explained(served, lease.cluster.id)
        assert "the cluster did not answer its health probes." in said


async def test_a_failed_start_is_told_to_the_waiter_and_leaves_its_last_words_in_the_history(place: Place) -> None:
    served = place.served
    assert served is not None
    head = {**SMALL, "start_params": {"no-such-parameter": "1"}}
    cluster_id = f"c-{small(workers=0, tenant=VISION, **head).digest}-1"
    async with client_of(served) as client:
        with pytest.raises(AcquireRefused, match="No such option") as refused:
            await client.acquire(ask("first", shape={"head": head}, tenant=VISION))
    assert refused.value.reason == Reason.START_FAILED
    await becomes(served, cluster_id, "")
    assert cluster_id not in await made(place, VISION)
    await asyncio.to_thread(served.end, signal.SIGKILL)
    served = await place.serve()
    said = await explained(served, cluster_id)
    assert "ended with code 2" in said
    assert "No such option" in said


async def test_a_start_that_takes_too_long_is_told_with_how_far_it_was(place: Place) -> None:
    served = place.served
    assert served is not None
    image = "warmpool.invalid/hasty:2.60.0"
    head = {**SMALL, "pod": {**SMALL["pod"], "spec": {"nodeSelector": {"there-is": "none"}}}}
    cluster_id = f"c-{small(workers=0, tenant=VISION, image=image, **head).digest}-1"
    async with client_of(served) as client:
        with pytest.raises(AcquireRefused, match=r"Not ready after \d+ s, last phase: scheduling: .* finds no node"):
            await client.acquire(ask("first", image=image, shape={"head": head}, tenant=VISION))
    await becomes(served, cluster_id, "")
    assert cluster_id not in await made(place, VISION)
    assert "Not ready after" in await explained(served, cluster_id)

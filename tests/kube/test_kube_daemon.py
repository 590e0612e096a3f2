"""The daemon as it is served, over a real Kubernetes: leases, and kills at every side."""

from __future__ import annotations

import asyncio
import signal

import pytest

from pool.client import AcquireRefused
from tests.kube.kit import SMALL, small, submit
from tests.kube.place import DRIVER, Place, Told, ask, begin, client_of, comes, explained, idle

pytestmark = [pytest.mark.kube, pytest.mark.timeout(300)]

# Shared memory counts as the container's and is no process's own: so the largest of Ray's goes, and the container ends.
# By itself, since Ray has its workers go first, and with what watches over a job the job.
TOO_MUCH = "setsid -f dd if=/dev/zero of=/dev/shm/full bs=1M"


async def test_two_tasks_in_a_row_run_on_one_cluster_and_a_head_that_is_killed_ends_the_lease(place: Place) -> None:
    with await place.serve() as served:
        async with client_of(served) as client:
            async with client.lease(ask("first")) as first:
                assert first.outcome == "cold"
                assert await submit(first.cluster.dashboard_url, first.cluster.token, DRIVER) == "SUCCEEDED"
            await idle(served)
            async with client.lease(ask("second")) as second:
                assert second.outcome == "hit"
                assert second.cluster.address == first.cluster.address
                assert await submit(second.cluster.dashboard_url, second.cluster.token, DRIVER) == "SUCCEEDED"
                head = await place.kill("head")
                assert await second.wait_lost(20.0)
            assert f"{head} " in await explained(served, second.id)


async def test_a_waiter_is_told_how_far_the_start_is_and_a_holder_that_its_head_ran_out_of_memory(
    place: Place,
) -> None:
    with await place.serve() as served:
        async with client_of(served) as client:
            told = Told()
            lease = await client.acquire(ask("first", workers=1), progress=told)
            assert told.that("pulling image", "starting head", "workers", "granted"), told.phases
            (head,) = await place.pods("head")
            await begin(lease.cluster.dashboard_url, lease.cluster.token, TOO_MUCH)
            # A busy node takes half a minute to start the job. The client learns it with its next renewal.
            assert await lease.wait_lost(90.0)
            await lease.release()
            said = await explained(served, lease.id)
            assert "the cluster was lost." in said
            assert f"{head} ended since it ran out of memory with code " in said


async def test_a_failed_start_is_told_to_the_waiter_and_leaves_its_last_words_in_the_history(place: Place) -> None:
    place.more = "pools: [{name: all, breaker_failures: 1}]"
    head = {**SMALL, "start_params": {"no-such-parameter": "1"}}
    cluster_id = f"c-{small(workers=0, **head).digest}-1"
    with await place.serve() as served:
        async with client_of(served) as client:
            with pytest.raises(AcquireRefused, match="No such option"):
                await client.acquire(ask("first", shape={"head": head}))
        await comes(served)
        assert await place.clusters() == []
        await asyncio.to_thread(served.end, signal.SIGKILL)
    with await place.serve() as served:
        said = await explained(served, cluster_id)
        assert "ended with code 2" in said
        assert "No such option" in said


async def test_a_worker_killed_under_a_lease_degrades_it_and_a_head_that_hangs_ends_it(place: Place) -> None:
    with await place.serve() as served:
        async with client_of(served) as client:
            lease = await client.acquire(ask("first", workers=1))
            worker = await place.kill("worker")
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


async def test_a_daemon_killed_at_create_grant_release_and_delete_goes_on_where_it_was(place: Place) -> None:
    served = await place.serve()
    async with client_of(served) as client:
        # A daemon may take longer to start on a busy machine than a lease lasts here.
        asking = asyncio.create_task(client.acquire(ask("first", ttl_s=60.0)))
        async with asyncio.timeout(30):
            while not await place.clusters():  # noqa: ASYNC110 - another process changes it
                await asyncio.sleep(0.05)
        await asyncio.to_thread(served.end, signal.SIGKILL)
        served = await place.serve()
        lease = await asking
        # Adopted, also if it was killed before it had given the cluster its token.
        await comes(served, "leased")
        (before,) = await place.clusters()
        await asyncio.to_thread(served.end, signal.SIGKILL)
        served = await place.serve()
        assert await submit(lease.cluster.dashboard_url, lease.cluster.token, DRIVER) == "SUCCEEDED"
        assert lease.state == "active"
        await lease.release()
        await asyncio.to_thread(served.end, signal.SIGKILL)
        with await place.serve() as served:
            await idle(served)
            (after,) = await place.clusters()
            assert after["metadata"]["uid"] == before["metadata"]["uid"]
            async with client.lease(ask("second")) as second:
                assert second.outcome == "hit"
            await idle(served)
            assert (await asyncio.to_thread(served.run, "drain", second.cluster.id)).returncode == 0
            await asyncio.to_thread(served.end, signal.SIGKILL)
        with await place.serve() as served:
            await comes(served)
            assert await place.clusters() == []
            assert "an operator drained the cluster." in await explained(served, second.cluster.id)

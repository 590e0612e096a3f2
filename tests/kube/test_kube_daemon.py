"""The daemon killed at every side, and clusters that are there before anybody asks: over a real Kubernetes."""

from __future__ import annotations

import asyncio
import signal

import httpx
import pytest

from pool.backends.kuberay.spec import CLUSTER
from tests.kube.kit import IMAGE, SMALL, submit
from tests.kube.place import DRIVER, TENANT, Place, ask, becomes, client_of, comes, explained, idle

pytestmark = [pytest.mark.kube, pytest.mark.timeout(300)]


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


# Its window opens every minute and stays open for two: it is open whenever this runs.
SCHEDULED = f"""
pools:
- name: mornings
  key: {{image: "{IMAGE}", tenant: {TENANT}, shape: {{head: {{cpu: 1, memory: 2Gi, pod: {SMALL["pod"]!r}}}}}}}
  schedule:
  - {{from: "* * * * *", for: 2m, min_idle: 1}}
"""


async def test_clusters_started_by_schedule_and_by_prewarming_are_warm_for_who_asks_first_and_replaced_after_a_revoke(
    place: Place,
) -> None:
    place.more = SCHEDULED + "ceiling: {clusters: 2}\n"
    with await place.serve() as served:
        await comes(served, "idle")
        token = (served.state_dir / "operator.token").read_text().strip()
        key = {"image": IMAGE, "tenant": TENANT, "shape": {"head": SMALL}}
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {token}"}) as http:
            answer = await http.post(f"{served.url}/v1/prewarm", json={"key": key, "count": 2})
        assert answer.status_code == 200, answer.text
        await comes(served, "idle", "idle")
        async with client_of(served) as client:
            asked = (client.acquire(ask("first")), client.acquire(ask("second")))
            leases = await asyncio.gather(*asked)
            assert [lease.outcome for lease in leases] == ["hit", "hit"]
            stories = [await explained(served, lease.cluster.id) for lease in leases]
            for why in ("the pool keeps a least number of idle clusters", "an operator asked for it"):
                assert any(why in story for story in stories), stories
            first, second = leases
            await first.release()
            assert (await asyncio.to_thread(served.run, "revoke", second.id)).returncode == 0
            # Its holder may still have its token: no reset makes it another's.
            await becomes(served, second.cluster.id, "")
            assert second.cluster.id not in [item["metadata"]["labels"][CLUSTER] for item in await place.clusters()]
            assert "operator revoked the lease" in await explained(served, second.id)

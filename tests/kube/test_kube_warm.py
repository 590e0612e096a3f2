"""Clusters that are there before anybody asks: by schedule, and by an operator's word."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from tests.kube.kit import IMAGE, SMALL
from tests.kube.place import TENANT, Place, ask, client_of, comes, explained

pytestmark = [pytest.mark.kube, pytest.mark.timeout(180)]

# Its window opens every minute and stays open for two: it is open whenever this runs.
SCHEDULED = f"""
pools:
- name: mornings
  key: {{image: "{IMAGE}", tenant: {TENANT}, shape: {{head: {{cpu: 1, memory: 2Gi, pod: {SMALL["pod"]!r}}}}}}}
  schedule:
  - {{from: "* * * * *", for: 2m, min_idle: 1}}
"""


async def test_clusters_are_started_by_schedule_and_by_prewarming_and_the_first_who_ask_get_them_warm(
    place: Place,
) -> None:
    place.more = SCHEDULED
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
            for lease in leases:
                await lease.release()

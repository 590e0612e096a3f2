"""Waiting for news of leases, over HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pool.core.events import Degraded, Lost
from pool.core.reasons import Reason
from tests.api.conftest import Hands, Http, Json, proof, until


def known(grant: Json, *hints: str, **changes: Any) -> Json:
    return {"lease_id": grant["lease_id"], **proof(grant), "hints": list(hints), **changes}


def watch(http: Http, *leases: Json, wait_s: float = 20.0) -> asyncio.Task[Any]:
    return asyncio.create_task(http.post("/v1/watch", {"leases": list(leases), "wait_s": wait_s}))


async def waits(http: Http, hands: Hands) -> None:
    """Wait until a call waits: two observers, each cluster's own."""
    from pool.api.app import API

    api = http.server.runner.app[API]  # type: ignore[index]
    await until(lambda: api.watching._of, "a call to wait")


async def test_a_lost_cluster_is_told_to_whoever_waits(warm: Http, hands: Hands) -> None:
    grant = await warm.granted()
    waiting = watch(warm, known(grant))
    await waits(warm, hands)
    hands.tell(Lost(grant["cluster"]["id"], "boot", Reason.PROCESS_GONE, "its head is gone"))
    answer = await asyncio.wait_for(waiting, 5)
    assert (answer.status, answer.json) == (200, {"changed": [grant["lease_id"]]})


async def test_a_hint_is_told_once_and_so_is_its_end(warm: Http, hands: Hands) -> None:
    grant = await warm.granted()
    cluster = grant["cluster"]["id"]
    waiting = watch(warm, known(grant))
    await waits(warm, hands)
    hands.tell(Degraded(cluster, "boot", "a worker is gone"))
    assert (await asyncio.wait_for(waiting, 5)).json == {"changed": [grant["lease_id"]]}
    waiting = watch(warm, known(grant, "degraded"))
    await waits(warm, hands)
    assert not waiting.done()
    hands.tell(Degraded(cluster, "boot", ""))
    assert (await asyncio.wait_for(waiting, 5)).json == {"changed": [grant["lease_id"]]}


async def test_without_news_the_call_ends_with_its_time_and_a_renewal_is_none(warm: Http, hands: Hands) -> None:
    grant = await warm.granted()
    waiting = watch(warm, known(grant), wait_s=0.3)
    await waits(warm, hands)
    assert (await warm.post(f"/v1/leases/{grant['lease_id']}/renew", proof(grant))).status == 200
    assert (await asyncio.wait_for(waiting, 5)).json == {"changed": []}


@pytest.mark.parametrize("wrong", [{"lease_id": "l-none"}, {"token": "x" * 40}, {"epoch": 99}])
async def test_a_lease_that_is_not_the_askers_is_answered_at_once_for_its_renewal_to_tell_why(
    warm: Http, wrong: Json
) -> None:
    grant = await warm.granted()
    asked = known(grant, **wrong)
    assert (await asyncio.wait_for(watch(warm, asked), 5)).json == {"changed": [asked["lease_id"]]}


async def test_a_lease_that_ended_before_is_news(warm: Http, hands: Hands) -> None:
    grant = await warm.granted()
    await warm.post(f"/v1/leases/{grant['lease_id']}/release", proof(grant))
    assert (await asyncio.wait_for(watch(warm, known(grant)), 5)).json == {"changed": [grant["lease_id"]]}


async def test_whoever_waits_is_answered_when_the_api_stops(warm: Http, hands: Hands) -> None:
    grant = await warm.granted()
    waiting = watch(warm, known(grant))
    await waits(warm, hands)
    await warm.server.close()
    assert (await asyncio.wait_for(waiting, 5)).json == {"changed": []}


async def test_nothing_is_kept_of_who_went_away(warm: Http, hands: Hands) -> None:
    from pool.api.app import API

    grant = await warm.granted()
    waiting = watch(warm, known(grant))
    await waits(warm, hands)
    waiting.cancel()
    api = warm.server.runner.app[API]  # type: ignore[index]
    await until(lambda: not api.watching._of, "the call to be forgotten")
    assert repr(api.watching) == "<Watching [0 waiting]>"

from __future__ import annotations

import asyncio

import pytest

from pool.core.events import Acquire, ResetDone
from pool.core.model import ClusterState

from .conftest import Hands, Http, proof, until, wish


async def test_an_idle_cluster_is_granted_renewed_and_released(warm: Http, hands: Hands) -> None:
    grant = await warm.granted(group="run-1")
    lease_id = grant["lease_id"]
    assert grant["outcome"] == "hit"
    assert grant["reason"] is None
    assert grant["cluster"]["address"] == "127.0.0.1:6379"
    assert grant["cluster"]["token"] == hands.tokens.cluster_token(grant["cluster"]["id"])
    assert grant["token"] == hands.tokens.lease_token(lease_id, grant["epoch"])

    hands.pass_time(5)
    renewed = await warm.post(f"/v1/leases/{lease_id}/renew", proof(grant))
    assert renewed.json == {"status": "renewed", "lease_id": lease_id, "remaining_s": 30.0, "hints": []}

    ended = await warm.post(f"/v1/leases/{lease_id}/release", proof(grant))
    assert ended.json["reason"] == "released"
    assert hands.state.clusters[grant["cluster"]["id"]].state is ClusterState.RESETTING


async def test_a_release_may_be_asked_again(warm: Http) -> None:
    grant = await warm.granted()
    path = f"/v1/leases/{grant['lease_id']}/release"
    first = await warm.post(path, proof(grant))
    assert (await warm.post(path, proof(grant))).json == first.json


async def test_the_same_request_id_gets_the_same_grant(warm: Http) -> None:
    first, second = await warm.granted("r-1"), await warm.granted("r-1")
    assert first == second


async def test_a_request_id_is_scoped_to_its_caller(warm: Http, hands: Hands) -> None:
    first = await warm.granted("r-1")
    other = (await warm.acquire("r-1", as_="second")).json
    assert other["status"] == "queued"
    assert other["lease_id"] != first["lease_id"]


async def test_a_queued_answer_has_position_reason_and_expectation(http: Http, hands: Hands) -> None:
    answer = (await http.acquire()).json
    assert answer["status"] == "queued"
    assert answer["position"] == 1
    assert answer["reason"] == "starting"
    assert answer["explanation"]
    assert answer["expected_s"] is None
    assert answer["remaining_s"] == 600.0
    hands.pass_time(3)
    second = (await http.acquire("r-2")).json
    assert second["position"] == 2


async def test_a_long_poll_ends_with_the_grant(http: Http, hands: Hands) -> None:
    asking = asyncio.create_task(http.acquire(wait_s=60))
    await until(lambda: hands.state.waiters, "it is queued")
    hands.pass_time(2)
    hands.start_all()
    answer = (await asking).json
    assert answer["status"] == "granted"
    assert answer["outcome"] == "cold"
    assert answer["reason"] == "no_cluster"


async def test_a_long_poll_without_a_grant_ends_queued(http: Http) -> None:
    assert (await http.acquire(wait_s=0.05)).json["status"] == "queued"


async def test_the_asker_counts_as_listening_for_as_long_as_it_said(http: Http, hands: Hands) -> None:
    await http.acquire(wait_s=0.01, timeout_s=300)
    event = next(e for e in hands.events if isinstance(e, Acquire))
    assert event.seen_until == pytest.approx(hands.now() + 0.01 + 10)
    assert event.deadline == hands.now() + 300


async def test_long_polls_end_at_once_when_the_server_stops(http: Http, hands: Hands) -> None:
    asking = [asyncio.create_task(http.acquire(f"r-{i}", wait_s=300)) for i in range(3)]
    await until(lambda: len(hands.state.waiters) == 3, "all are queued")
    async with asyncio.timeout(20):
        await http.server.close()
        answers = await asyncio.gather(*asking)
    assert sorted(answer.json["position"] for answer in answers) == [1, 2, 3]


async def test_many_are_renewed_at_once_each_with_its_own_result(warm: Http, hands: Hands) -> None:
    grant = await warm.granted()
    items = [
        {"lease_id": grant["lease_id"], **proof(grant)},
        {"lease_id": grant["lease_id"], **proof(grant, token="wrong")},
        {"lease_id": "l-unknown", **proof(grant)},
    ]
    results = (await warm.post("/v1/renew", {"leases": items})).json["results"]
    assert [result["status"] for result in results] == ["renewed", "ended", "ended"]
    assert [result.get("reason") for result in results] == [None, "wrong_token", "unknown_lease"]
    assert results[2]["explanation"] == "There is no lease 'l-unknown'."


async def test_a_waiter_can_be_cancelled_also_twice(http: Http, hands: Hands) -> None:
    lease_id = (await http.acquire()).json["lease_id"]
    answer = await http.post(f"/v1/leases/{lease_id}/cancel")
    assert answer.json["reason"] == "cancelled"
    assert not hands.state.waiters


async def test_who_waits_is_told_that_it_was_cancelled(http: Http, hands: Hands) -> None:
    asking = asyncio.create_task(http.acquire(wait_s=60))
    await until(lambda: hands.state.waiters, "it is queued")
    (lease_id,) = hands.state.waiters
    await http.post(f"/v1/leases/{lease_id}/cancel")
    answer = await asking
    assert (answer.status, answer.json["reason"]) == (410, "cancelled")


async def test_an_unclaimed_grant_can_be_cancelled_and_one_in_use_cannot(warm: Http, hands: Hands) -> None:
    grant = await warm.granted()
    path = f"/v1/leases/{grant['lease_id']}"
    await warm.post(f"{path}/renew", proof(grant))
    refused = await warm.post(f"{path}/cancel")
    assert (refused.status, refused.json["reason"]) == (409, "conflict")
    await warm.post(f"{path}/release", proof(grant))
    hands.clean_all()

    second = await warm.granted("r-2")
    path = f"/v1/leases/{second['lease_id']}/cancel"
    assert (await warm.post(path)).json["reason"] == "cancelled"
    assert (await warm.post(path)).json["reason"] == "cancelled"


async def test_the_group_learns_that_it_is_back_on_its_cluster(warm: Http, hands: Hands) -> None:
    first = await warm.granted("r-1", group="run-1")
    assert first["group_was_here"] is False
    await warm.post(f"/v1/leases/{first['lease_id']}/release", proof(first))
    hands.clean_all()
    assert (await warm.granted("r-2", group="run-1"))["group_was_here"] is True


async def test_what_is_resident_is_told_with_the_release_and_shown_to_the_group_and_the_operator(
    warm: Http, hands: Hands
) -> None:
    grant = await warm.granted(group="g")
    value = {"name": "features", "bytes": 100, "node": "n1", "used_at": 5.0}
    body = proof(grant) | {"resident": [value], "reads": {"local": 2, "durable": 1}}
    assert (await warm.post(f"/v1/leases/{grant['lease_id']}/release", body)).json["reason"] == "released"
    cluster = hands.state.clusters[grant["cluster"]["id"]]
    hands.tell(ResetDone(cluster.id, cluster.epoch, True, full=False))
    shown = (await warm.get(f"/v1/clusters/{cluster.id}", as_="operator")).json
    assert shown["resident"] == [value]
    said = (await warm.get(f"/v1/clusters/{cluster.id}/explain", as_="operator")).json["sentences"]
    assert any("0.0 MB of resident data of group g: features" in line for line in said)
    again = await warm.granted("r-2", group="g")
    assert again["resident"] == ["features"]


async def test_two_ways_to_write_a_key_are_one_pool(warm: Http, hands: Hands) -> None:
    await warm.acquire("r-1", key={"shape": {"head": {"cpu": "2000m", "memory": "1Gi"}}})
    await warm.acquire("r-2", key={"shape": {"head": {"memory": 2**30, "cpu": 2.0}}})
    assert len({waiter.pool for waiter in hands.state.waiters.values()}) == 1


async def test_answers_with_secrets_are_not_to_be_cached(warm: Http) -> None:
    answer = await warm.post("/v1/leases", wish())
    assert answer.json["token"]
    assert answer.headers["Cache-Control"] == "no-store"

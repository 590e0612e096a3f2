"""What people and programs see: lists, single things, explanations, health, metrics."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from policies.learned import Learned
from policies.sizing import FloorAndBuffer
from pool.access import Access
from pool.api.app import NotLoopback, create_app, is_loopback, serve
from pool.api.explain import clock, span
from pool.core.errors import PoolError
from pool.core.events import Lost, Progress, Renew, ResetDone, StartFailed
from pool.core.model import ClusterState, Wear
from pool.core.reasons import Reason
from pool.core.settings import Prices, Rules

from .conftest import Hands, Http, proof, settings_for, until, wish


async def told(http: Http, lease_id: str) -> list[str]:
    answer = await http.get(f"/v1/leases/{lease_id}/explain")
    assert answer.status == 200, answer.text
    return answer.json["sentences"]  # type: ignore[no-any-return]


async def test_a_pool_is_shown_with_its_counts(warm: Http, hands: Hands) -> None:
    await warm.granted("r-1")
    await warm.acquire("r-2")
    (pool,) = (await warm.get("/v1/pools")).json["items"]
    assert pool["tenant"] == "flytesnacks/development"
    assert pool["name"] == "default"
    assert pool["clusters"]["leased"] == 1
    assert pool["clusters"]["starting"] == 1
    assert pool["waiters"] == 1
    assert pool["breaker"] == "closed"
    assert pool["key"]["image"] == "local"
    assert (await warm.get(f"/v1/pools/{pool['digest']}")).json == pool


async def test_an_open_breaker_is_shown_with_its_cause(http: Http, hands: Hands) -> None:
    await http.acquire(timeout_s=1000)
    breaker = []
    for _ in range(3):
        (cluster,) = [c for c in hands.state.clusters.values() if c.state is ClusterState.STARTING]
        hands.tell(StartFailed(cluster.id, Reason.START_FAILED, "no disk"))
        hands.clean_all()
        breaker.append((await http.get("/v1/pools")).json["items"][0]["breaker"])
        await http.acquire(timeout_s=1000)
        hands.pass_time(9)
    assert breaker == ["closed", "closed", "open"]
    assert (await http.get("/v1/pools")).json["items"][0]["last_error"] == "no disk"
    hands.pass_time(60)
    assert (await http.get("/v1/pools")).json["items"][0]["breaker"] == "half_open"


async def test_a_cluster_is_shown_living_and_stopped(warm: Http, hands: Hands) -> None:
    (cluster,) = (await warm.get("/v1/clusters?state=idle")).json["items"]
    assert cluster["cause"] == "prewarm"
    assert cluster["shape"] == "1 cpu"
    path = f"/v1/clusters/{cluster['id']}"
    assert (await warm.get(path)).json == cluster
    hands.tell(Lost(cluster["id"], "boot", Reason.PROCESS_GONE, "head process 4711 is gone"))
    lost = (await warm.get(path)).json
    assert (lost["state"], lost["reason"], lost["explanation"]) == (
        "stopping", "process_gone", "head process 4711 is gone",
    )  # fmt: skip
    hands.clean_all()
    assert cluster["id"] not in hands.state.clusters
    assert (await warm.get(path)).json["reason"] == "process_gone"
    assert (await warm.get("/v1/clusters")).json["items"] == []


async def test_a_quarantined_cluster_shows_what_was_left_and_whose_and_how_much_it_had_grown(
    warm: Http, hands: Hands
) -> None:
    grant = await warm.granted(holder="task-7")
    id_ = grant["cluster"]["id"]
    await warm.post(f"/v1/leases/{grant['lease_id']}/release", proof(grant))
    found = ("detached actor 'x' of job 05000000", "process 'sleep 9' (pid 7) on the head")
    epoch = hands.state.clusters[id_].epoch
    hands.tell(ResetDone(id_, epoch, False, "; ".join(found), wear=Wear(700_000_000, 70), evidence=found))
    cluster = (await warm.get(f"/v1/clusters/{id_}")).json
    assert cluster["evidence"] == {
        "lease": grant["lease_id"], "holder": "task-7", "found_at": hands.now(), "left": list(found),
    }  # fmt: skip
    assert cluster["explanation"] == "; ".join(found) + "; left by task-7"
    assert cluster["wear"] == {"head_memory_bytes": 700_000_000, "open_files": 70, "store_left_bytes": 0}
    said = (await warm.get(f"/v1/clusters/{id_}/explain")).json["sentences"]
    assert "At its last reset Ray's own processes on its head had 700 MB and up to 70 files." in said
    at = next(i for i, one in enumerate(said) if f"after lease {grant['lease_id']} of task-7" in one)
    assert said[at + 1 : at + 3] == [f"- {one}" for one in found]


async def test_a_held_cluster_says_for_whom_and_how_long(warm: Http, hands: Hands) -> None:
    grant = await warm.granted(group="run-1")
    await warm.post(f"/v1/leases/{grant['lease_id']}/release", proof(grant, hold_s=90))
    hands.clean_all()
    cluster = (await warm.get(f"/v1/clusters/{grant['cluster']['id']}")).json
    assert cluster["group"] == "run-1"
    assert cluster["held_until"] == hands.now() + 90
    assert "held for group run-1 for another 90 s" in cluster["explanation"]


async def test_operators_cordon_uncordon_drain_and_resize(warm: Http, hands: Hands) -> None:
    (cluster_id,) = hands.state.clusters
    (pool,) = hands.state.pools
    for path in (f"/v1/clusters/{cluster_id}", f"/v1/pools/{pool}"):
        assert (await warm.post(f"{path}/cordon", as_="operator")).json["status"] == "done"
        assert (await warm.get(path)).json["cordoned"] is True
        assert (await warm.post(f"{path}/uncordon", as_="operator")).json["text"]
        assert (await warm.get(path)).json["cordoned"] is False
    resized = await warm.post(f"/v1/pools/{pool}/resize", {"max_clusters": 7}, as_="operator")
    assert resized.status == 200
    assert (await warm.get(f"/v1/pools/{pool}")).json["max_clusters"] == 7
    drained = await warm.post(f"/v1/clusters/{cluster_id}/drain", as_="operator")
    assert drained.json["ids"] == [cluster_id]
    assert hands.state.clusters[cluster_id].reason is Reason.DRAINED
    assert (await warm.post(f"/v1/pools/{pool}/drain", as_="operator")).status == 200


async def test_leases_and_waiters_are_found_by_what_they_are(warm: Http, hands: Hands) -> None:
    grant = await warm.granted("r-1", group="run-1")
    waiter = (await warm.acquire("r-2", group="run-2", holder="demo/eval-0")).json
    found = (await warm.get("/v1/leases?group=run-1&holder=demo/train-0&state=granted&pool=default")).json["items"]
    assert [lease["id"] for lease in found] == [grant["lease_id"]]
    assert (await warm.get("/v1/leases?group=run-9")).json["items"] == []
    found = (await warm.get(f"/v1/waiters?holder=demo/eval-0&group=run-2&pool={grant['pool']}")).json["items"]
    assert [(w["id"], w["position"], w["state"]) for w in found] == [(waiter["lease_id"], 1, "queued")]
    assert (await warm.get("/v1/waiters?pool=others")).json["items"] == []
    assert (await warm.get(f"/v1/leases/{waiter['lease_id']}")).json == found[0]
    await warm.post(f"/v1/leases/{grant['lease_id']}/release", proof(grant))
    (ended,) = (await warm.get("/v1/leases?state=ended")).json["items"]
    assert (ended["id"], ended["end_reason"], ended["remaining_s"]) == (grant["lease_id"], "released", 0.0)


async def test_a_long_list_comes_in_parts_while_things_come_and_go(http: Http, hands: Hands) -> None:
    await http.post("/v1/prewarm", {"key": wish()["key"], "count": 4}, as_="operator")
    hands.start_all()
    hands.pass_time(1)
    first = (await http.get("/v1/clusters?limit=2")).json
    seen = [cluster["id"] for cluster in first["items"]]
    await http.post(f"/v1/clusters/{seen[1]}/drain", as_="operator")
    hands.clean_all()
    second = (await http.get(f"/v1/clusters?limit=2&after={first['next']}")).json
    seen += [cluster["id"] for cluster in second["items"]]
    assert second["next"] is None
    assert len(seen) == len(set(seen)) == 4


# --- explanations --------------------------------------------------------------------------------------------------


async def test_a_hit_is_explained(warm: Http, hands: Hands) -> None:
    grant = await warm.granted(group="run-1")
    cluster_id = grant["cluster"]["id"]
    hands.tell(Renew(grant["lease_id"], grant["epoch"]))
    hands.pass_time(10)
    assert await told(warm, grant["lease_id"]) == [
        "demo/train-0 of tenant flytesnacks/development asked at 2023-11-14 22:13:20 UTC for group run-1 for a cluster"
        f" of pool {grant['pool']} (1 cpu, image local), with the token client.",
        f"It was a hit: {cluster_id} was idle and was granted at once.",
        f"{cluster_id} was started at 2023-11-14 22:13:20 UTC. Why: an operator asked for it. This is its 1st lease.",
        "It is in use since 10 s and expires in 20 s unless renewed.",
    ]


async def test_a_cold_start_is_explained_to_the_end(http: Http, hands: Hands) -> None:
    asking = asyncio.create_task(http.acquire(wait_s=60, priority=5))
    await until(lambda: hands.state.waiters, "it is queued")
    (lease_id,) = hands.state.waiters
    waiting = await told(http, lease_id)
    assert "It was not answered at once: the pool has no cluster yet." in waiting
    assert "with priority 5" in waiting[0]
    assert any("next to be served" in sentence for sentence in waiting)
    assert any("2023-11-14 22:23:20 UTC" in sentence for sentence in waiting)
    hands.pass_time(12)
    hands.start_all()
    grant = (await asking).json
    cluster_id = grant["cluster"]["id"]
    await http.post(f"/v1/leases/{lease_id}/renew", proof(grant))
    hands.pass_time(31)
    story = await told(http, lease_id)
    assert "It was a miss: the pool has no cluster yet." in story
    assert f"It waited 12 s for the start of {cluster_id}, whose start took 12 s." in story
    assert "It ended at 2023-11-14 22:14:03 UTC, after 31 s. Why: the holder stopped renewing." in story
    hands.clean_all()
    hands.gone_leases[lease_id] = hands.state.ended.pop(lease_id)
    assert "It served this lease alone." in " ".join(await told(http, lease_id))
    hands.gone_clusters.clear()
    assert f"Nothing is kept any more about {cluster_id}." in await told(http, lease_id)


async def story_of(http: Http, cluster_id: str) -> list[str]:
    answer = await http.get(f"/v1/clusters/{cluster_id}/explain")
    assert answer.status == 200, answer.text
    assert answer.json["cluster_id"] == answer.json["cluster"]["id"] == cluster_id
    return list(answer.json["sentences"])


async def test_a_cluster_is_explained_from_its_start_to_its_end(warm: Http, hands: Hands) -> None:
    grant = await warm.granted()
    cluster_id = grant["cluster"]["id"]
    hands.tell(Renew(grant["lease_id"], grant["epoch"]))
    hands.pass_time(10)
    begun = [
        f"{cluster_id} of tenant flytesnacks/development was started at 2023-11-14 22:13:20 UTC for pool"
        f" {grant['pool']} (1 cpu, image local). Why: an operator asked for it.",
        "It was ready after less than a millisecond.",
        "It has served 1 lease.",
    ]
    assert await story_of(warm, cluster_id) == [
        *begun,
        "It has been leased for 10 s.",
        f"demo/train-0 has had it for 10 s, by lease {grant['lease_id']}.",
    ]
    await warm.post(f"/v1/clusters/{cluster_id}/drain", as_="operator")
    assert (await story_of(warm, cluster_id))[-1] == (
        "It will be stopped when its lease ends: an operator drained the cluster."
    )
    await warm.post(f"/v1/leases/{grant['lease_id']}/release", proof(grant))
    hands.pass_time(5)
    assert (await story_of(warm, cluster_id))[3:] == [
        "It has been stopping for 5.0 s.",
        "Why: an operator drained the cluster.",
    ]
    hands.clean_all()
    assert cluster_id not in hands.state.clusters
    assert "It was gone at 2023-11-14 22:13:35 UTC." in await story_of(warm, cluster_id)


async def test_an_idle_cluster_says_until_when_it_is_kept_and_why_in_numbers(warm: Http, hands: Hands) -> None:
    prices = Prices(cpu=2.0, waiting=58.0)
    learns = Learned(300.0)
    hands.state.set_rules(Rules(lambda key: replace(settings_for(key), prices=prices, reclaim=learns)))
    for n in range(8):
        grant = await warm.granted(f"r-{n}")
        hands.pass_time(5)
        await warm.post(f"/v1/leases/{grant['lease_id']}/release", proof(grant))
        hands.clean_all()
        hands.pass_time(20)
    cluster_id = grant["cluster"]["id"]
    # The median, with one that took no time.
    hands.state.index[grant["pool"]].start_s.add(30.0)
    told = await story_of(warm, cluster_id)
    assert told[4].startswith("Unless somebody asks for it, it is stopped in ")
    assert told[5].startswith("Of idle times like this one (")
    assert "% end within " in told[5]
    costs = (
        "n hour of it idle costs 2.00, and a start of 15 s, with who waits for it, 0.25: as much as 450 s of idle time"
    )
    assert told[6] == f"A{costs}."
    # Kept with the reason for which it was stopped, so that it can be asked after it is gone.
    hands.pass_time(600)
    hands.clean_all()
    assert f"; a{costs}." in (await story_of(warm, cluster_id))[-1]


async def test_an_idle_cluster_that_the_pool_wants_is_not_said_to_be_stopped_soon(warm: Http, hands: Hands) -> None:
    grant = await warm.granted("r-1")
    await warm.post(f"/v1/leases/{grant['lease_id']}/release", proof(grant))
    hands.clean_all()
    cluster_id = grant["cluster"]["id"]
    assert "Unless somebody asks for it, it is stopped in 9 min 32 s." in await story_of(warm, cluster_id)
    hands.state.set_rules(Rules(lambda key: replace(settings_for(key), sizing=FloorAndBuffer(min_idle=1))))
    assert "The pool wants so many idle clusters, and keeps it; else it would be stopped in 9 min 32 s." in (
        await story_of(warm, cluster_id)
    )
    hands.pass_time(700)
    assert hands.state.clusters[cluster_id].state is ClusterState.IDLE
    kept_on = "It is over its idle time, and kept as long as the pool wants so many idle clusters."
    assert kept_on in await story_of(warm, cluster_id)


async def test_a_start_that_failed_is_explained_by_what_the_backend_said(http: Http, hands: Hands) -> None:
    lease_id = (await http.acquire()).json["lease_id"]
    (cluster_id,) = hands.state.clusters
    hands.tell(Progress(cluster_id, "pulling image"))
    assert "Its start has come to: pulling image." in await story_of(http, cluster_id)
    hands.tell(StartFailed(cluster_id, Reason.START_FAILED, "the image cannot be pulled"))
    story = await story_of(http, cluster_id)
    assert story[1] == "It was never ready."
    assert story[-2:] == ["Why: the cluster could not be started.", "The image cannot be pulled."]
    (pool,) = (await http.get("/v1/pools")).json["items"]
    assert (pool["failures"], pool["last_error"]) == (1, "the image cannot be pulled")
    assert 1.0 <= pool["next_start_s"] <= 2.0
    assert (await http.get(f"/v1/leases/{lease_id}")).json["state"] == "queued"


async def test_a_wait_for_a_release_is_explained(warm: Http, hands: Hands) -> None:
    grant = await warm.granted("r-1")
    lease_id = (await warm.acquire("r-2", mode="wait")).json["lease_id"]
    assert "It asked to wait for a release and to have no cluster started." in await told(warm, lease_id)
    hands.pass_time(2)
    await warm.post(f"/v1/leases/{grant['lease_id']}/release", proof(grant))
    hands.clean_all()
    story = " ".join(await told(warm, lease_id))
    assert f"It waited 2.0 s until {grant['cluster']['id']} came free" in story
    assert "This is its 2nd lease." in story
    assert "Its holder has not shown itself yet" in story


def test_times_are_told_as_people_say_them() -> None:
    told = [span(s) for s in (-1, 0.0001, 0.04, 0.44, 9.94, 9.96, 59.6, 65, 7800, 90_000)]
    assert told == [
        "less than a millisecond", "less than a millisecond", "40 ms", "0.4 s", "9.9 s", "10 s", "1 min", "1 min 5 s",
        "2 h 10 min", "1 d 1 h",
    ]  # fmt: skip
    assert clock(1e300) == clock(float("inf")) == "no set time"


# --- service -------------------------------------------------------------------------------------------------------


async def test_health_is_told(http: Http) -> None:
    for path in ("/healthz", "/readyz"):
        answer = await http.get(path, as_="")
        assert (answer.status, answer.json["status"]) == (200, "ok")
        assert answer.json["version"]


async def test_metrics_are_for_prometheus(http: Http) -> None:
    answer = await http.get("/metrics", as_="metrics")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert families["grants"].samples[0].value == 1
    openmetrics = await http.get("/metrics", as_="operator", headers={"Accept": "application/openmetrics-text"})
    assert openmetrics.headers["Content-Type"].startswith("application/openmetrics-text")


async def test_without_metrics_there_is_no_such_path(hands: Hands, access: Access) -> None:
    import aiohttp

    server = await serve(create_app(hands, access))
    token = access.path.with_name("metrics.token").read_text().strip()
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:
        assert (await session.get(f"{server.url}/metrics")).status == 404
    await server.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
async def test_other_machines_must_be_allowed_explicitly(hands: Hands, access: Access, host: str) -> None:
    with pytest.raises(NotLoopback, match="explicitly"):
        await serve(create_app(hands, access), host)


async def test_an_explicitly_allowed_address_is_listened_on(hands: Hands, access: Access) -> None:
    server = await serve(create_app(hands, access), "0.0.0.0", allow_remote=True)
    assert server.port
    await server.close()


async def test_a_port_that_is_taken_is_told_in_a_sentence(http: Http, hands: Hands, access: Access) -> None:
    with pytest.raises(PoolError, match=f"cannot listen on 127.0.0.1, port {http.server.port}"):
        await serve(create_app(hands, access), port=http.server.port)


def test_loopback_is_known_in_all_its_names() -> None:
    assert all(map(is_loopback, ("localhost", "127.0.0.1", "127.9.9.9", "::1")))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "10.0.0.1", "localhost.example.org")))

"""Every documented error, its status, its reason, and what it says."""

from __future__ import annotations

import ast
import asyncio
import inspect
import socket
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

import pool.core
from pool.api.openapi import reasons_of
from pool.api.problems import _REMEDIES, PROBLEMS, status_of
from pool.api.routes import ROUTES
from pool.core.errors import Refused, StoreFailed
from pool.core.events import Cordon, Reconfigure, Resize, Shutdown, StartFailed
from pool.core.key import key_from
from pool.core.model import ClusterState
from pool.core.reasons import Reason
from pool.core.settings import Ceiling, Rules

from .conftest import Hands, Http, Reading, proof, settings_for, until, wish

KEY = key_from(wish()["key"])


def refused(answer: Reading, reason: Reason, says: str = "") -> Any:
    problem = answer.json
    assert problem["reason"] == reason, answer.text
    assert problem["status"] == answer.status == PROBLEMS[reason][0]
    assert problem["title"] == PROBLEMS[reason][1]
    assert problem["type"] == f"urn:warmpool:reason:{reason}"
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert says in problem["detail"], problem["detail"]
    assert problem["remedy"]
    return problem


# --- the request ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[]", "the body"),
        (b'"\xff"', "not JSON"),
        ({}, "request_id: field required"),
        (wish(wait_s=-1), "wait_s: input should be greater than or equal to 0"),
        (wish(wait_s=301), "wait_s: input should be less than or equal to 300"),
        (wish(surprise=1), "surprise: extra inputs are not permitted"),
        (wish(mode="maybe"), "mode: input should be"),
        (wish(key={"shape": {"head": {"gpu": -1}}}), "key.shape.head.gpu: "),
        (wish(key={"shape": {"workers": [{"replicas": "x"}]}}), "key.shape.workers[0].replicas: "),
        (wish(key={"shape": {"head": {"cpu": []}}}), "key.shape.head.cpu: "),
        (wish("white space"), "request_id: "),
    ],
)
async def test_a_request_that_is_not_valid_names_the_field(http: Http, body: Any, says: str) -> None:
    problem = refused(await http.post("/v1/leases", body), Reason.INVALID_REQUEST, says)
    assert problem["detail"].endswith(".")
    assert "\n" not in problem["detail"]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("limit=0", "limit: "),
        ("limit=many", "limit: "),
        ("state=sleeping", "state: "),
        ("colour=red", "colour: "),
        ("limit=1&limit=2", "limit: it is given more than once"),
        ("after=nonsense", "after: "),
        ("after=WyJ4Il0", "after: "),
    ],
)
async def test_a_query_that_is_not_valid_names_the_parameter(warm: Http, query: str, says: str) -> None:
    refused(await warm.get(f"/v1/clusters?{query}"), Reason.INVALID_REQUEST, says)


@pytest.mark.parametrize(
    ("key", "says"),
    [
        ({"image": "no image"}, "key.image: "),
        ({"tenant": " "}, "key.tenant: "),
        ({"cluster_type": "?"}, "key.cluster_type: "),
        ({"shape": {"head": {"cpu": "lots"}}}, "key.shape.head.cpu: 'lots' is not a quantity"),
        ({"shape": {"head": {"cpu": "1e999999999"}}}, "key.shape.head.cpu: "),
        ({"shape": {"workers": [{"memory": "4Gx"}]}}, "key.shape.workers[0].memory: "),
        ({"shape": {"workers": [{"name": "a"}, {"name": "a"}]}}, "key.shape.workers: "),
    ],
)
async def test_a_key_that_is_not_valid_names_its_field(http: Http, key: dict[str, Any], says: str) -> None:
    refused(await http.acquire(key=key), Reason.INVALID_KEY, says)
    refused(await http.post("/v1/prewarm", {"key": wish(key=key)["key"]}, as_="operator"), Reason.INVALID_KEY, says)


async def test_a_shape_that_can_never_fit_is_refused_with_the_arithmetic(http: Http) -> None:
    answer = await http.acquire(key={"shape": {"head": {"cpu": 65}}})
    refused(answer, Reason.SHAPE_TOO_LARGE, "65 cpus; this machine has 64")


async def test_an_unknown_path_is_a_problem_too(http: Http) -> None:
    for path in ("/", "/v2/leases", "/v1/leases/", "/v1/leases/l-1/steal", "/v1/leases/%2F/renew/"):
        refused(await http.get(path), Reason.UNKNOWN_PATH)


async def test_a_method_that_a_path_does_not_know_is_told_those_it_knows(http: Http) -> None:
    for method, path, allow in (
        ("DELETE", "/v1/leases", "GET, POST"),
        ("PUT", "/v1/leases/l-1/renew", "POST"),
        ("POST", "/healthz", "GET"),
        ("POST", "/openapi.json", "GET"),
    ):
        answer = await http.ask(method, path)
        refused(answer, Reason.METHOD_NOT_ALLOWED, method)
        assert answer.headers["Allow"] == allow


async def test_a_body_that_is_too_large_is_refused(http: Http) -> None:
    refused(await http.post("/v1/leases", b" " * (1024 * 1024 + 1)), Reason.BODY_TOO_LARGE)


# --- acquires ------------------------------------------------------------------------------------------------------


async def test_a_warm_only_acquire_fails_without_an_idle_cluster(http: Http, hands: Hands) -> None:
    refused(await http.acquire(mode="warm_only"), Reason.WARM_ONLY_MISS)
    assert not hands.state.waiters


async def test_an_acquire_is_given_up_after_its_time(http: Http, hands: Hands) -> None:
    asking = asyncio.create_task(http.acquire(wait_s=60, timeout_s=30))
    await until(lambda: hands.state.waiters, "it is queued")
    hands.pass_time(31)
    refused(await asking, Reason.WAIT_TIMEOUT)


async def test_a_waiter_that_stops_asking_is_dropped(http: Http, hands: Hands) -> None:
    asking = asyncio.create_task(http.acquire(wait_s=5))
    await until(lambda: hands.state.waiters, "it is queued")
    hands.pass_time(16)
    refused(await asking, Reason.WAITER_GONE)


async def test_a_full_queue_refuses_and_says_when_to_come_back(http: Http) -> None:
    for number in range(3):
        assert (await http.acquire(f"r-{number}")).status == 200
    answer = await http.acquire("r-3")
    refused(answer, Reason.QUEUE_FULL)
    assert int(answer.headers["Retry-After"]) > 0


async def test_a_request_id_never_grants_again(warm: Http) -> None:
    grant = await warm.granted()
    await warm.post(f"/v1/leases/{grant['lease_id']}/release", proof(grant))
    refused(await warm.acquire(), Reason.REQUEST_ENDED)


async def test_a_request_id_is_good_for_one_holder(warm: Http) -> None:
    await warm.granted()
    refused(await warm.acquire(holder="demo/train-1"), Reason.REQUEST_MISMATCH)


async def test_a_cordoned_pool_grants_nothing(warm: Http, hands: Hands) -> None:
    hands.tell(Cordon(KEY.digest))
    refused(await warm.acquire(), Reason.POOL_CORDONED)


async def test_starts_that_fail_are_told_to_who_waits_and_to_who_comes(http: Http, hands: Hands) -> None:
    asking = asyncio.create_task(http.acquire(wait_s=200))
    await until(lambda: hands.state.waiters, "it is queued")
    while hands.state.waiters:
        for cluster in list(hands.state.clusters.values()):
            if cluster.state is ClusterState.STARTING:
                hands.tell(StartFailed(cluster.id, Reason.START_FAILED, "head died: no space left on device"))
        hands.clean_all()
        hands.pass_time(10)
    refused(await asking, Reason.START_FAILED, "no space left on device")
    answer = await http.acquire("r-2")
    refused(answer, Reason.BREAKER_OPEN)
    assert "Retry-After" in answer.headers


async def test_waiters_of_a_daemon_that_stops_its_clusters_are_told(http: Http, hands: Hands) -> None:
    asking = asyncio.create_task(http.acquire(wait_s=60))
    await until(lambda: hands.state.waiters, "it is queued")
    hands.tell(Shutdown())
    refused(await asking, Reason.SHUTDOWN)


@pytest.mark.parametrize("reason", [Reason.NESTED_DEADLOCK, Reason.CANCELLED, Reason.CONFLICT])
async def test_any_refusal_of_the_daemon_is_told_as_it_is(http: Http, hands: Hands, reason: Reason) -> None:
    hands.error = Refused("The daemon says no to c-1.", reason=reason, remedy="Do the other thing.")
    problem = refused(await http.acquire(), reason, "The daemon says no to c-1.")
    assert problem["remedy"] == "Do the other thing."


async def test_a_prewarm_at_a_ceiling_is_refused(http: Http, hands: Hands) -> None:
    await http.post("/v1/prewarm", {"key": wish()["key"]}, as_="operator")
    hands.tell(Resize(KEY.digest, max_clusters=1))
    hands.start_all()
    answer = await http.post("/v1/prewarm", {"key": wish()["key"], "count": 2}, as_="operator")
    refused(answer, Reason.POOL_CEILING)


@pytest.mark.parametrize(
    ("rules", "reason", "says"),
    [
        ({"tenant_ceiling": lambda _tenant: Ceiling(clusters=1)}, Reason.TENANT_CEILING, "1 clusters and 1 more, of 1"),
        ({"daemon": Ceiling(clusters=1)}, Reason.DAEMON_CEILING, "1 clusters and 1 more, of 1"),
        ({"max_starting": 1}, Reason.MAX_STARTING, "1 clusters are starting, of 1"),
    ],
)
async def test_a_prewarm_over_a_bound_of_many_pools_is_refused_with_the_arithmetic(
    http: Http, hands: Hands, rules: dict[str, Any], reason: Reason, says: str
) -> None:
    hands.tell(Reconfigure(Rules(settings_for, **rules)))
    other = wish(key={"image": "registry.example/other:1", "tenant": KEY.tenant})["key"]
    assert (await http.post("/v1/prewarm", {"key": other}, as_="operator")).status == 200
    refused(await http.post("/v1/prewarm", {"key": wish()["key"]}, as_="operator"), reason, says)


async def test_a_prewarm_between_two_tries_of_a_start_is_told_when_to_come_back(http: Http, hands: Hands) -> None:
    prewarm = {"key": wish()["key"]}
    await http.post("/v1/prewarm", prewarm, as_="operator")
    (cluster,) = hands.state.clusters.values()
    hands.tell(StartFailed(cluster.id, Reason.START_FAILED, "no space left on device"))
    answer = await http.post("/v1/prewarm", prewarm, as_="operator")
    refused(answer, Reason.START_BACKOFF, "no space left on device")


# --- leases --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["renew", "release"])
async def test_only_the_holder_can_act_on_a_lease(warm: Http, hands: Hands, verb: str) -> None:
    grant = await warm.granted()
    path = f"/v1/leases/{grant['lease_id']}/{verb}"
    refused(await warm.post(path, proof(grant, token="x" * 43)), Reason.WRONG_TOKEN)
    refused(await warm.post(path, proof(grant, epoch=grant["epoch"] + 1)), Reason.STALE_EPOCH)
    old = hands.tokens.lease_token(grant["lease_id"], 0)
    refused(await warm.post(path, {"token": old, "epoch": 0}), Reason.STALE_EPOCH)
    refused(await warm.post(f"/v1/leases/l-0/{verb}", proof(grant)), Reason.UNKNOWN_LEASE)


@pytest.mark.parametrize("forgotten", [False, True])
@pytest.mark.parametrize("verb", ["renew", "release"])
async def test_a_lease_that_ended_says_why(warm: Http, hands: Hands, verb: str, forgotten: bool) -> None:
    grant = await warm.granted()
    lease_id = grant["lease_id"]
    await warm.post(f"/v1/leases/{lease_id}/renew", proof(grant))
    hands.pass_time(31)
    if forgotten:  # by the daemon's memory, not by its store
        hands.gone_leases[lease_id] = hands.state.ended.pop(lease_id)
    problem = refused(await warm.post(f"/v1/leases/{lease_id}/{verb}", proof(grant)), Reason.LEASE_ENDED)
    assert problem["end_reason"] == "expired"
    refused(await warm.post(f"/v1/leases/{lease_id}/{verb}", proof(grant, token="x")), Reason.WRONG_TOKEN)


async def test_a_lease_that_ends_between_check_and_decision_says_why_too(warm: Http, hands: Hands) -> None:
    grant = await warm.granted()
    hands.hold_submits = asyncio.Event()
    asking = asyncio.create_task(warm.post(f"/v1/leases/{grant['lease_id']}/renew", proof(grant)))
    await until(lambda: hands.held, "it is asked")
    hands.pass_time(31)
    hands.hold_submits.set()
    assert refused(await asking, Reason.LEASE_ENDED)["end_reason"] == "unclaimed"


async def test_what_is_not_there_is_not_found(http: Http) -> None:
    for path, reason in (
        ("/v1/leases/l-0", Reason.UNKNOWN_LEASE),
        ("/v1/leases/l-0/explain", Reason.UNKNOWN_LEASE),
        ("/v1/clusters/c-0", Reason.UNKNOWN_CLUSTER),
        ("/v1/pools/p-0", Reason.UNKNOWN_POOL),
    ):
        refused(await http.get(path), reason)
    for path, reason in (
        ("/v1/leases/l-0/cancel", Reason.UNKNOWN_LEASE),
        ("/v1/leases/l-0/revoke", Reason.UNKNOWN_LEASE),
        ("/v1/clusters/c-0/drain", Reason.UNKNOWN_CLUSTER),
        ("/v1/pools/p-0/resize", Reason.UNKNOWN_POOL),
    ):
        body = {} if path.endswith("resize") else None
        refused(await http.post(path, body, as_="operator"), reason)


# --- the daemon ----------------------------------------------------------------------------------------------------


async def test_a_daemon_that_is_not_ready_asks_to_come_back(http: Http, hands: Hands) -> None:
    hands.ready = False
    for path in ("/v1/pools", "/readyz"):
        answer = await http.get(path)
        refused(answer, Reason.NOT_READY, "starting")
        assert answer.headers["Retry-After"] == "1"
    assert (await http.get("/healthz")).json["status"] == "starting"


async def test_a_daemon_that_failed_says_why(http: Http, hands: Hands) -> None:
    hands.failed = "disk full"
    for path in ("/v1/pools", "/readyz", "/healthz"):
        refused(await http.get(path), Reason.STORE_FAILED, "disk full")


async def test_a_store_that_cannot_commit_is_told(http: Http, hands: Hands) -> None:
    hands.error = StoreFailed("database or disk is full")
    answer = await http.acquire()
    refused(answer, Reason.STORE_FAILED, "disk is full")
    assert "Retry-After" in answer.headers


async def test_an_unexpected_error_is_told_without_its_trace(http: Http, hands: Hands) -> None:
    hands.error = ZeroDivisionError("a secret inside")
    with capture_logs() as logs:
        answer = await http.acquire()
    problem = refused(answer, Reason.INTERNAL)
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    (line,) = [line for line in logs if "number" in line]
    assert line["number"] == problem["remedy"].split()[2]
    assert line["exc_info"] is hands.error


async def test_garbage_instead_of_http_is_refused(http: Http) -> None:
    with socket.create_connection(("127.0.0.1", http.server.port)) as raw:
        raw.setblocking(False)
        await asyncio.get_running_loop().sock_sendall(raw, b"GARBAGE\r\n\r\n")
        assert b" 400 " in await asyncio.get_running_loop().sock_recv(raw, 1000)


# --- the table -----------------------------------------------------------------------------------------------------


def test_every_refusal_of_the_core_has_its_row_in_the_table() -> None:
    said = set()
    for file in Path(inspect.getfile(pool.core)).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
                name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
                if name in ("Rejected", "refuse_waiter"):
                    said |= {
                        Reason[part.attr]
                        for argument in node.args
                        for part in [argument]
                        if isinstance(part, ast.Attribute) and part.attr in Reason.__members__
                    }
    assert len(said) > 10
    assert said <= set(PROBLEMS)


def test_every_documented_reason_has_its_row_and_every_row_is_documented() -> None:
    documented = {reason for route in ROUTES for reason in reasons_of(route)}
    documented |= {Reason.METHOD_NOT_ALLOWED, Reason.UNKNOWN_PATH}
    assert documented == set(PROBLEMS)


def test_titles_and_statuses_are_those_of_errors() -> None:
    for reason, (status, title) in PROBLEMS.items():
        assert 400 <= status < 600, reason
        assert title
        assert not title.endswith(".")
    assert set(_REMEDIES) <= set(PROBLEMS)


def test_a_reason_without_a_row_is_a_conflict() -> None:
    assert status_of(Reason.EVICTED) == (409, "The room was needed for a waiter of another key")

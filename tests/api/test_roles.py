"""Who may do and see what: tokens, roles, tenants."""

from __future__ import annotations

import pytest

from pool.access import Role
from pool.api.routes import ROUTES

from .conftest import TENANT, Hands, Http, proof, wish

GUARDED = [route for route in ROUTES if route.role is not None]


@pytest.mark.parametrize("route", GUARDED, ids=lambda route: route.name)
async def test_a_guarded_route_wants_a_token(http: Http, route: object) -> None:
    path = route.path.replace("{id}", "x-1")  # type: ignore[attr-defined]
    method = route.method  # type: ignore[attr-defined]
    for as_ in ("", "nobody", "nobody-of-sixteen-or-more"):
        answer = await http.ask(method, path, as_=as_)
        assert (answer.status, answer.json["reason"]) == (401, "unauthenticated")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
    basic = await http.ask(method, path, as_="", headers={"Authorization": "Basic YTpi"})
    assert basic.status == 401


@pytest.mark.parametrize("route", GUARDED, ids=lambda route: route.name)
async def test_a_route_is_for_its_role_and_for_operators(http: Http, route: object) -> None:
    path = route.path.replace("{id}", "x-1")  # type: ignore[attr-defined]
    for role in Role:
        answer = await http.ask(route.method, path, as_=role.value)  # type: ignore[attr-defined]
        refused = answer.status == 403 and answer.json["reason"] == "not_allowed"
        assert refused is (role not in (Role.OPERATOR, route.role)), (role, answer.text)  # type: ignore[attr-defined]


async def test_open_routes_want_no_token(http: Http) -> None:
    for path in ("/healthz", "/readyz", "/openapi.json", "/docs"):
        assert (await http.get(path, as_="")).status == 200, path


async def test_a_token_in_the_url_is_not_taken(http: Http) -> None:
    answer = await http.get(f"/v1/pools?access_token={http.tokens['operator']}", as_="")
    assert answer.status == 401
    assert http.tokens["operator"] not in answer.text


async def test_a_tenant_of_others_cannot_be_asked_for(http: Http, hands: Hands) -> None:
    answer = await http.acquire(as_="other")
    assert (answer.status, answer.json["reason"]) == (403, "not_allowed")
    assert "key.tenant" in answer.json["detail"]
    assert not hands.state.pools
    answer = await http.post("/v1/prewarm", {"key": wish()["key"]}, as_="narrow-operator")
    assert answer.status == 403
    assert (await http.acquire(as_="other", tenant="other/prod")).status == 200


async def test_what_belongs_to_another_tenant_is_not_there(warm: Http) -> None:
    grant = await warm.granted()
    queued = (await warm.acquire("r-2")).json
    assert queued["status"] == "queued"
    for path in (
        f"/v1/leases/{grant['lease_id']}",
        f"/v1/leases/{grant['lease_id']}/explain",
        f"/v1/leases/{queued['lease_id']}",
        f"/v1/leases/{queued['lease_id']}/explain",
        f"/v1/clusters/{grant['cluster']['id']}",
        f"/v1/clusters/{grant['cluster']['id']}/explain",
        f"/v1/pools/{grant['pool']}",
    ):
        assert (await warm.get(path)).status == 200
        theirs = await warm.get(path, as_="other")
        nobodys = await warm.get(path.replace("-", "-0").replace(grant["pool"], "0" * 12), as_="other")
        assert theirs.status == nobodys.status == 404
        assert theirs.json["reason"] == nobodys.json["reason"]
    for path in ("leases", "clusters", "pools", "waiters"):
        assert (await warm.get(f"/v1/{path}")).json["items"]
        assert (await warm.get(f"/v1/{path}", as_="other")).json == {"items": [], "next": None}
        assert (await warm.get(f"/v1/{path}?tenant={TENANT}", as_="other")).json["items"] == []


async def test_what_belongs_to_another_tenant_cannot_be_touched(warm: Http, hands: Hands) -> None:
    grant = await warm.granted()
    queued = (await warm.acquire("r-2")).json
    asked = len(hands.events)
    lease, cluster, pool = f"/v1/leases/{grant['lease_id']}", f"/v1/clusters/{grant['cluster']['id']}", grant["pool"]
    for path, body, as_ in (
        (f"{lease}/renew", proof(grant), "other"),
        (f"{lease}/release", proof(grant), "other"),
        (f"{lease}/cancel", None, "other"),
        (f"/v1/leases/{queued['lease_id']}/cancel", None, "other"),
        (f"{lease}/revoke", None, "narrow-operator"),
        (f"{cluster}/drain", None, "narrow-operator"),
        (f"/v1/pools/{pool}/cordon", None, "narrow-operator"),
        (f"/v1/pools/{pool}/resize", {"min_idle": 1}, "narrow-operator"),
    ):
        answer = await warm.post(path, body, as_=as_)
        assert answer.status == 404, answer.text
    many = await warm.post("/v1/renew", {"leases": [{"lease_id": grant["lease_id"], **proof(grant)}]}, as_="other")
    assert many.json["results"][0]["reason"] == "unknown_lease"
    assert len(hands.events) == asked


async def test_only_who_asked_or_an_operator_cancels(http: Http) -> None:
    first, second = (await http.acquire("r-1")).json, (await http.acquire("r-2")).json
    refused = await http.post(f"/v1/leases/{first['lease_id']}/cancel", as_="second")
    assert (refused.status, refused.json["reason"]) == (403, "not_allowed")
    assert (await http.post(f"/v1/leases/{first['lease_id']}/cancel", as_="operator")).status == 200
    assert (await http.post(f"/v1/leases/{second['lease_id']}/cancel", as_="client")).status == 200


async def test_secrets_are_in_grants_alone(warm: Http, hands: Hands) -> None:
    grant = await warm.granted()
    cluster_id = grant["cluster"]["id"]
    secrets = [grant["token"], grant["cluster"]["token"], *warm.tokens.values()]
    for path in (
        f"/v1/leases/{grant['lease_id']}",
        f"/v1/leases/{grant['lease_id']}/explain",
        f"/v1/clusters/{cluster_id}",
        f"/v1/clusters/{cluster_id}/explain",
        "/v1/leases",
        "/v1/clusters",
        "/v1/pools",
        "/v1/waiters",
        "/metrics",
        "/openapi.json",
        "/docs",
    ):
        answer = await warm.get(path, as_="operator")
        assert answer.status == 200
        assert not [secret for secret in secrets if secret in answer.text], path
    refused = await warm.post(f"/v1/leases/{grant['lease_id']}/renew", proof(grant, token="not-the-token-of-it"))
    assert "not-the-token-of-it" not in refused.text
    wrong = await warm.get("/v1/pools", as_="a-wrong-token-of-sixteen")
    assert "a-wrong-token-of-sixteen" not in wrong.text

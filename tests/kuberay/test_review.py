"""Reviews against a scripted Kubernetes: what counts, for how long, and what happens while it is away."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest

from pool.access import Role
from pool.kube.api import ApiError
from pool.kube.review import CannotReview, NoTenant, Reviewer
from pool.kube.tenancy import NamespaceRule, ReviewRules, TrustedRule

RULES = ReviewRules(
    namespaces=(NamespaceRule("shared", "flyte/shared"), NamespaceRule("{project}-{domain}", "{project}/{domain}")),
    trusted=(TrustedRule("shared", "connector", ("ml-*",)),),
    operator_groups=frozenset({"admins"}),
    fresh_s=60,
    kept_s=600,
)


def token(account: str = "vision-development:default", ends: float = 10_000.0, n: int = 0) -> str:
    """Return what looks like a signed token; the scripted Kubernetes believes what it says."""

    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'RS256'})}.{part({'sub': account, 'exp': ends, 'n': n})}.{'s' * 40}"


class Kubernetes:
    """Answers reviews; `away` raises instead."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.away = False
        self.audiences = ["warmpool"]
        self.groups: list[str] = []
        self.allowed: set[str] = set()
        self.authenticated = True
        self.hold = asyncio.Event()
        self.hold.set()
        self.reached = asyncio.Event()

    async def create(self, path: str, body: Mapping[str, Any]) -> Any:
        self.asked.append(path.rpartition("/")[2])
        self.reached.set()
        await self.hold.wait()
        if self.away:
            raise ApiError(0, "no answer")
        spec = body["spec"]
        if body["kind"] == "SubjectAccessReview":
            wanted = spec.get("resourceAttributes", {}).get("resource") or spec["nonResourceAttributes"]["path"]
            return {"status": {"allowed": wanted in self.allowed}}
        text = spec["token"].split(".")[1]
        account = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))["sub"]
        user = {"username": f"system:serviceaccount:{account}", "groups": self.groups}
        return {"status": {"authenticated": self.authenticated, "user": user, "audiences": self.audiences}}

    async def close(self) -> None:
        pass


class Place:
    def __init__(self) -> None:
        self.now = 1000.0
        self.kubernetes = Kubernetes()
        self.reviewer = Reviewer(self._connect, now=lambda: self.now, wall=lambda: self.now)
        self.reviewer.follow(RULES)

    async def _connect(self) -> Kubernetes:
        return self.kubernetes


@pytest.fixture
def place() -> Place:
    return Place()


async def test_the_tenant_follows_from_the_namespace(place):
    caller = await place.reviewer.caller_for(token())
    assert (caller.name, caller.role) == ("serviceaccount/vision-development/default", Role.CLIENT)
    assert caller.sees("vision/development")
    assert not caller.sees("vision/production")


async def test_a_project_with_dashes_keeps_them(place):
    caller = await place.reviewer.caller_for(token("big-vision-team-staging:default"))
    assert caller.tenants == ("big-vision-team/staging",)


async def test_a_namespace_that_projects_share_is_one_tenant_but_for_its_trusted_account(place):
    pod = await place.reviewer.caller_for(token("shared:default"))
    connector = await place.reviewer.caller_for(token("shared:connector"))
    assert pod.tenants == ("flyte/shared",)
    assert connector.sees("ml-a/production")
    assert not connector.sees("web/production")


async def test_a_namespace_without_a_rule_gets_nothing_and_is_told_so(place):
    with pytest.raises(NoTenant, match="serviceaccount/default/x has no tenant"):
        await place.reviewer.caller_for(token("default:x"))


async def test_an_operator_is_known_by_group_or_by_right(place):
    place.kubernetes.groups = ["admins"]
    assert (await place.reviewer.caller_for(token(n=1))).role is Role.OPERATOR
    place.kubernetes.groups = []
    place.kubernetes.allowed = {"pools"}
    assert (await place.reviewer.caller_for(token(n=2))).role is Role.OPERATOR


async def test_who_may_get_metrics_may_scrape_and_nothing_else(place):
    place.kubernetes.allowed = {"/metrics"}
    caller = await place.reviewer.caller_for(token("monitoring:prometheus"))
    assert (caller.role, caller.tenants) == (Role.METRICS, ())


async def test_a_token_for_another_audience_is_nobodys(place):
    place.kubernetes.audiences = ["https://kubernetes.default.svc"]
    assert await place.reviewer.caller_for(token()) is None


async def test_what_kubernetes_does_not_know_is_nobodys_and_asked_again_after_a_while(place):
    place.kubernetes.authenticated = False
    assert await place.reviewer.caller_for(token()) is None
    assert await place.reviewer.caller_for(token()) is None
    assert place.kubernetes.asked == ["tokenreviews"]
    place.kubernetes.authenticated = True
    place.now += 6
    assert await place.reviewer.caller_for(token()) is not None


async def test_what_is_no_signed_token_never_leaves_the_daemon(place):
    assert await place.reviewer.caller_for("a-static-token-of-somebody") is None
    assert place.kubernetes.asked == []


async def test_an_answer_is_remembered_and_asked_again_once_it_is_old(place):
    for _ in range(3):
        await place.reviewer.caller_for(token())
    assert place.kubernetes.asked.count("tokenreviews") == 1
    place.now += 61
    await place.reviewer.caller_for(token())
    assert place.kubernetes.asked.count("tokenreviews") == 2


async def test_while_kubernetes_is_away_known_callers_go_on_for_a_bounded_time(place):
    await place.reviewer.caller_for(token())
    place.kubernetes.away = True
    place.now += 500
    assert await place.reviewer.caller_for(token()) is not None
    with pytest.raises(CannotReview, match="no answer"):
        await place.reviewer.caller_for(token(n=1))
    place.now += 101
    with pytest.raises(CannotReview):
        await place.reviewer.caller_for(token())


async def test_an_answer_never_outlives_the_token(place):
    short = token(ends=place.now + 100)
    await place.reviewer.caller_for(short)
    place.kubernetes.away = True
    place.now += 99
    assert await place.reviewer.caller_for(short) is not None
    place.now += 2
    with pytest.raises(CannotReview):
        await place.reviewer.caller_for(short)


async def test_a_kubernetes_that_is_away_is_not_asked_by_every_request(place):
    place.kubernetes.away = True
    for n in range(5):
        with pytest.raises(CannotReview):
            await place.reviewer.caller_for(token(n=n))
    assert len(place.kubernetes.asked) == 1


async def test_requests_with_one_token_share_a_review_that_survives_the_first_ones_end(place):
    place.kubernetes.hold.clear()
    first, second = (asyncio.ensure_future(place.reviewer.caller_for(token())) for _ in range(2))
    await place.kubernetes.reached.wait()
    first.cancel()
    place.kubernetes.hold.set()
    assert await second is not None
    assert place.kubernetes.asked.count("tokenreviews") == 1


async def test_new_rules_count_at_once(place):
    await place.reviewer.caller_for(token())
    place.reviewer.follow(ReviewRules())
    with pytest.raises(NoTenant):
        await place.reviewer.caller_for(token())


async def test_its_repr_shows_no_token(place):
    await place.reviewer.caller_for(token())
    assert repr(place.reviewer) == "<Reviewer that remembers 1 tokens>"

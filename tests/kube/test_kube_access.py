"""Who may ask, proven with service accounts' tokens that a real Kubernetes made.

The tests share a daemon, and each has tenants of its own.
"""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

import pool.client.endpoint
from pool.client import AsyncClient, ClientError, LeaseRequest, NotAllowed
from pool.kube.api import Api
from tests.kube.callers import CONFIG, Callers, status
from tests.kube.proxy import Proxy
from tests.serving import Served

pytestmark = [pytest.mark.kube, pytest.mark.timeout(120), pytest.mark.xdist_group("access")]


@pytest.fixture(scope="module")
def prefix() -> str:
    return f"warmpool-test-{uuid.uuid4().hex[:6]}"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, prefix: str) -> Iterator[Served]:
    with Served(tmp_path_factory.mktemp("daemon"), config=CONFIG.format(prefix=prefix)) as made:
        yield made


@pytest.fixture
async def callers(api: Api, prefix: str) -> AsyncIterator[Callers]:
    made = Callers(api, prefix)
    yield made
    await made.clear()


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    made = Proxy(Path(os.environ["KUBECONFIG"]))
    await made.open()
    yield made
    await made.away()


@pytest.fixture
def served_behind(tmp_path: Path, prefix: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A daemon that Kubernetes can be taken away from."""
    monkeypatch.setenv("KUBECONFIG", str(proxy.kubeconfig(tmp_path / "kubeconfig")))
    with Served(tmp_path / "daemon", config=CONFIG.format(prefix=prefix)) as made:
        yield made


def wanted(tenant: str) -> LeaseRequest:
    return LeaseRequest(image="i", tenant=tenant, holder="h", timeout_s=20)


async def test_a_pod_leases_for_its_own_tenant_and_sees_no_other(served, callers):
    vision = await callers.token(callers.vision, "default-runner")
    speech = await callers.token(callers.speech, "default-runner")
    async with AsyncClient(served.url, vision) as client, client.lease(wanted(callers.vision)) as lease:
        code, listed = await status(served, "/v1/clusters", vision)
        assert (code, [item["id"] for item in listed["items"]]) == (200, [lease.cluster.id])
        for path in ("/v1/clusters", "/v1/leases", "/v1/pools", "/v1/waiters"):
            assert (await status(served, path, speech))[1]["items"] == []
        assert (await status(served, f"/v1/leases/{lease.id}", speech))[0] == 404
        with pytest.raises(NotAllowed):
            async with client.lease(wanted(callers.speech)):
                pass


async def test_a_trusted_account_speaks_for_several_tenants_and_its_neighbours_for_one(served, callers):
    connector = await callers.token("shared", "connector")
    pod = await callers.token("shared", "pod")
    async with AsyncClient(served.url, connector) as client:
        production = callers.speech.replace("development", "production")
        async with client.lease(wanted(callers.vision)), client.lease(wanted(production)):
            pass
        with pytest.raises(NotAllowed):
            async with client.lease(wanted("web/production")):
                pass
    async with AsyncClient(served.url, pod) as client:
        async with client.lease(wanted("flyte/shared")):
            pass
        with pytest.raises(NotAllowed):
            async with client.lease(wanted(callers.vision)):
                pass


async def test_tokens_that_are_wrong_foreign_or_of_a_deleted_account_are_refused(served, callers):
    foreign = await callers.token(callers.vision, "foreign", audience="https://somebody.else")
    good = await callers.token(callers.vision, "leaver")
    head, body, signature = good.split(".")
    wrong = ".".join((head, body, signature[:-8] + "AAAAAAAA"))
    codes = [(await status(served, "/v1/leases", token))[0] for token in (good, foreign, wrong)]
    assert codes == [200, 401, 401]
    await callers.leaves(callers.vision, "leaver")
    end = asyncio.get_running_loop().time() + 30
    while (await status(served, "/v1/leases", good))[0] != 401:
        assert asyncio.get_running_loop().time() < end, "a deleted account was let in for 30 s"
        await asyncio.sleep(0.2)


async def test_a_namespace_without_a_rule_is_told_so(served, callers):
    code, problem = await status(served, "/v1/leases", await callers.token("other", "pod"))
    assert (code, problem["reason"]) == (403, "not_allowed")
    assert "has no tenant" in problem["detail"]


async def test_an_operator_is_known_by_group_or_by_right_and_a_scraper_by_the_right_to_metrics(served, callers):
    by_group = await callers.token("ops", "anybody")
    by_right = await callers.token("tools", "admin")
    await callers.allow("tools", "admin", {"apiGroups": ["warmpool.io"], "resources": ["pools"], "verbs": ["update"]})
    scraper = await callers.token("tools", "prometheus")
    await callers.allow("tools", "prometheus", {"nonResourceURLs": ["/metrics"], "verbs": ["get"]})
    pod = await callers.token(callers.vision, "pod")
    cordon = "/v1/pools/none/cordon"
    codes = [(await status(served, cordon, token, {}))[0] for token in (by_group, by_right, pod, scraper)]
    assert codes == [404, 404, 403, 403]
    codes = [(await status(served, "/metrics", token))[0] for token in (scraper, by_group, pod)]
    assert codes == [200, 200, 403]


async def test_while_kubernetes_is_away_known_pods_go_on_and_unknown_ones_are_told_to_wait(
    served_behind, callers, proxy
):
    served = served_behind
    known = await callers.token(callers.vision, "known")
    unknown = await callers.token(callers.vision, "unknown")
    assert (await status(served, "/v1/leases", known))[0] == 200
    await proxy.away()
    await asyncio.sleep(1.1)  # the answer is to be older than `fresh`
    assert (await status(served, "/v1/leases", known))[0] == 200
    code, problem = await status(served, "/v1/leases", unknown)
    assert (code, problem["reason"]) == (503, "not_ready")


async def test_a_client_in_a_pod_finds_its_token_by_itself_and_takes_up_a_rotated_one(
    served, callers, tmp_path, monkeypatch
):
    file = tmp_path / "token"
    file.write_text(await callers.token(callers.vision, "pod"))
    monkeypatch.setattr(pool.client.endpoint, "POD_TOKEN_FILE", file)
    monkeypatch.setattr(pool.client.endpoint, "POD_URL", served.url)
    for name in ("WARMPOOL_URL", "WARMPOOL_TOKEN", "WARMPOOL_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    async with AsyncClient.from_environment() as client:
        async with client.lease(wanted(callers.vision)):
            pass
        await callers.leaves(callers.vision, "pod")
        await asyncio.sleep(1.1)  # the old token's review is to be older than `fresh`
        file.write_text(await callers.token(callers.vision, "pod2"))
        async with client.lease(wanted(callers.vision)):
            pass
        with pytest.raises(ClientError):
            async with client.lease(wanted(callers.speech)):
                pass

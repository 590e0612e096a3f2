"""Two tenants of one daemon, each with clusters in its own namespace, known by their pods' own tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from pool.backends.kuberay.spec import CLUSTER
from pool.client import AsyncClient, NotAllowed
from pool.kube.api import CORE, RAY
from tests.kube.place import Place, ask, comes

pytestmark = [pytest.mark.kube, pytest.mark.timeout(180)]

ACCESS = """
access:
  kubernetes:
    namespaces:
    - {{match: "{prefix}-{{project}}-{{domain}}"}}
"""


@pytest.fixture
async def two(place: Place) -> AsyncIterator[dict[str, str]]:
    """Make a namespace for each tenant; gives a token of a pod's account of each."""
    place.named = f"{place.namespace}-{{project}}-{{domain}}"
    place.more = ACCESS.format(prefix=place.namespace)
    tokens = {}
    for name in ("vision-dev", "speech-dev"):
        namespace = f"{place.namespace}-{name}"
        await place.api.create(f"{CORE}/namespaces", {"metadata": {"name": namespace}})
        where = f"{CORE}/namespaces/{namespace}/serviceaccounts"
        await place.api.create(where, {"metadata": {"name": "runner"}})
        spec = {"audiences": ["warmpool"], "expirationSeconds": 600}
        made = await place.api.create(f"{where}/runner/token", {"spec": spec})
        tokens[name] = made["status"]["token"]
    yield tokens
    for name in tokens:
        await place.api.delete(f"{CORE}/namespaces/{place.namespace}-{name}")


async def test_two_tenants_never_share_a_cluster_nor_a_token_nor_a_namespace(place: Place, two: dict[str, str]) -> None:
    with await place.serve() as served:
        vision, speech = (AsyncClient(served.url, token) for token in two.values())
        async with vision, speech:
            with pytest.raises(NotAllowed):
                await speech.acquire(ask("thief", tenant="vision/dev"))
            first = await vision.acquire(ask("first", tenant="vision/dev"))
            await first.release()
            await comes(served, "idle")
            # The same image and shape, and a warm one is there: it is not for them.
            second = await speech.acquire(ask("second", tenant="speech/dev"))
            assert second.outcome == "cold"
            assert second.cluster.id != first.cluster.id
            for lease, name in ((first, "vision-dev"), (second, "speech-dev")):
                path = f"{RAY}/namespaces/{place.namespace}-{name}/rayclusters"
                (item,) = (await place.api.get(path))["items"]
                assert item["metadata"]["labels"][CLUSTER] == lease.cluster.id
            assert await answer(second.cluster.dashboard_url, first.cluster.token) in (401, 403)
            assert await answer(second.cluster.dashboard_url, second.cluster.token) == 200
            assert await answer(served.url, two["vision-dev"], f"/v1/leases/{second.id}") == 404
            async with vision.lease(ask("third", tenant="vision/dev")) as third:
                assert (third.outcome, third.cluster.id) == ("hit", first.cluster.id)
            await second.release()


async def answer(url: str, token: str, path: str = "/api/version") -> int:
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {token}"}) as http:
        return (await http.get(url + path)).status_code

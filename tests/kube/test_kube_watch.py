"""The watch of a real API server: a connection that falls silent, and a version that it has forgotten."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from pool.backends.base import News
from pool.backends.kuberay import spec
from pool.backends.kuberay.backend import KuberayBackend
from pool.backends.kuberay.cache import Cache
from pool.core.errors import StartFailed
from pool.core.events import Lost
from pool.kube.api import CORE, RAY, Api
from tests.kube.kit import cluster_of, small, until
from tests.kube.proxy import Proxy

pytestmark = [pytest.mark.kube, pytest.mark.timeout(180)]


async def until_gone(api: Api, path: str) -> None:
    async with asyncio.timeout(30):
        while (await api.get(path))["items"]:  # noqa: ASYNC110 - another process changes it
            await asyncio.sleep(0.2)


async def test_a_cluster_that_was_given_no_token_gets_it_from_the_next_daemon_whose_silent_watch_is_given_up(
    backend: KuberayBackend, namespace: str, store_id: str, api: Api, tmp_path: Path
) -> None:
    proxy, told = Proxy(Path(os.environ["KUBECONFIG"])), list[News]()
    await proxy.open()
    kubeconfig = str(proxy.kubeconfig(tmp_path / "kubeconfig"))
    behind = KuberayBackend(replace(backend.options, kubeconfig=kubeconfig, watch_s=5.0, silence_s=3.0))
    await behind.open(store_id, lambda cluster_id: f"token-of-{cluster_id}-{'x' * 20}", told.append)
    secrets = f"{CORE}/namespaces/{namespace}/secrets"
    try:
        key = small(workers=0)
        cluster = cluster_of(key)
        path = f"{RAY}/namespaces/{namespace}/rayclusters"
        # As a daemon leaves it that dies before it gives the token.
        made = await api.create(path, spec.ray_cluster(store_id, cluster.id, key, backend.options))
        if "secretName" not in made["spec"].get("authOptions", {"secretName": ""}):
            # KubeRay 1.5 knows no Secret but its own, with a token that nobody else knows: it fails, and hangs not.
            async with asyncio.timeout(30):
                while not (await api.get(secrets))["items"]:  # noqa: ASYNC110 - another process changes it
                    await asyncio.sleep(0.1)
            with pytest.raises(StartFailed, match="refuses its token"):
                await backend.start(cluster, key, lambda phase: None)
            await backend.stop(cluster.id)
            await until_gone(api, secrets)
        else:
            await until(lambda: backend.view.pods(cluster.id), "its pods", 30.0)
        started = await behind.start(cluster, key, lambda phase: None)
        # With KubeRay 1.5 it saw the head go that had no token we know.
        told.clear()

        proxy.fall_silent()
        head = behind.view.head(cluster.id)
        assert head is not None
        await api.delete(f"{CORE}/namespaces/{namespace}/pods/{head['metadata']['name']}")
        # Meanwhile the other backend, whose watch speaks, has seen it.
        await until(lambda: backend.view.head(cluster.id) is not head, "the loss", 5.0)
        await until(lambda: told, "the loss over the silent watch", 20.0)
        assert isinstance(told[0], Lost)
        assert (told[0].cluster_id, told[0].boot_id) == (cluster.id, started.boot_id)
        await behind.stop(cluster.id)
        await until_gone(api, secrets)
    finally:
        await behind.close()
        await proxy.away()


POD = {"spec": {"containers": [{"name": "r", "image": "x"}]}}
LATER = {
    "apiVersion": "ray.io/v1",
    "kind": "RayCluster",
    "metadata": {"name": "later"},
    "spec": {"headGroupSpec": {"rayStartParams": {}, "template": POD}, "suspend": True},
}


class Forgetful(Api):
    """Asks once for what came after a version that no API server remembers."""

    asked: str = ""

    async def watch(self, path: str, silence_s: float, **query: Any) -> aiohttp.ClientResponse:
        if not self.asked:
            self.asked = query["resourceVersion"]
            query["resourceVersion"] = "1"
        return await super().watch(path, silence_s, **query)


async def test_a_version_that_the_api_server_has_forgotten_is_listed_anew(api: Api, namespace: str) -> None:
    forgetful = await Forgetful.connect()
    assert isinstance(forgetful, Forgetful)
    # Of a kind that came after the API server's first start: what was before it, no server remembers.
    path = f"{RAY}/namespaces/{namespace}/rayclusters"
    failures: list[str] = []
    cache = Cache(forgetful, path, lambda item: item, lambda *_: None, watch_s=60.0, silence_s=5.0)
    lists = 0
    get = forgetful.get

    async def counted(path: str, **query: Any) -> Any:
        nonlocal lists
        lists += 1
        failures.append(cache.failed)
        return await get(path, **query)

    forgetful.get = counted  # type: ignore[method-assign]
    cache.start()
    try:
        await until(lambda: lists == 2 and cache.fresh, "another list", 10.0)
        assert "too old resource version" in failures[1]
        await api.create(path, LATER)
        names = lambda: [item["metadata"]["name"] for item in cache.items.values()]  # noqa: E731
        await until(lambda: "later" in names(), "what came later", 5.0)
        assert lists == 2
    finally:
        await cache.close()
        await forgetful.close()

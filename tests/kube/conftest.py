"""A namespace of its own on a real Kubernetes with KubeRay, for each test."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from pool.backends.base import News
from pool.backends.kuberay.backend import KuberayBackend
from pool.backends.kuberay.options import KuberayOptions
from pool.kube.api import CORE, Api, ApiError
from tests.kube.place import place as place
from tests.kube.release import Release

WITHOUT = "needs a Kubernetes with KubeRay: make test-kube KUBECONFIG=~/.kube/config"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("kube") and not os.environ.get("KUBECONFIG"):
            item.add_marker(pytest.mark.skip(reason=WITHOUT))


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    made = await Api.connect()
    yield made
    await made.close()


async def accounted(api: Api, namespace: str) -> None:
    """Wait for the service account that Kubernetes gives a new namespace: it refuses every pod before.

    Where the API server was away before, its controllers need half a minute to come back.
    """
    async with asyncio.timeout(120):
        while True:
            try:
                await api.get(f"{CORE}/namespaces/{namespace}/serviceaccounts/default")
                return
            except ApiError as error:
                if error.status != 404:
                    raise
            await asyncio.sleep(0.2)


@pytest.fixture
async def namespace(api: Api) -> AsyncIterator[str]:
    name = f"warmpool-test-{uuid.uuid4().hex[:8]}"
    await api.create(f"{CORE}/namespaces", {"metadata": {"name": name}})
    await accounted(api, name)
    yield name
    await api.delete(f"{CORE}/namespaces/{name}")


@pytest.fixture
def store_id() -> str:
    return uuid.uuid4().hex[:16]


@pytest.fixture
def told() -> list[News]:
    return []


@pytest.fixture
def lost(told: list[News]) -> list[News]:
    """What was told, by tests that only lose clusters."""
    return told


@pytest.fixture
async def backend(namespace: str, store_id: str, told: list[News]) -> AsyncIterator[KuberayBackend]:
    options = KuberayOptions(namespace=namespace, addresses="pod", image_pull_policy="IfNotPresent")
    made = KuberayBackend(options)
    await made.open(store_id, lambda cluster_id: f"token-of-{cluster_id}-{'x' * 20}", told.append)
    yield made
    await made.close()


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> set[tuple[str, str]]:
    """What is asked of Kubernetes from now on: resources and verbs, as rights name them."""
    found: set[tuple[str, str]] = set()
    send = Api._send

    async def recorded(self: Api, method: str, path: str, query: dict[str, Any], *rest: Any, **more: Any) -> Any:
        parts = path.split("/")
        at = parts.index("namespaces") if "namespaces" in parts else 1
        resource, named = parts[at + 2], len(parts) > at + 3
        reading = "watch" if query.get("watch") else "get" if named else "list"
        verb = {"GET": reading, "POST": "create", "PATCH": "patch", "DELETE": "delete"}[method]
        found.add((resource, verb))
        return await send(self, method, path, query, *rest, **more)

    monkeypatch.setattr(Api, "_send", recorded)
    return found


@pytest.fixture
async def release(api: Api, tmp_path: Path) -> AsyncIterator[Release]:
    made = Release(api, tmp_path, f"warmpool-test-{uuid.uuid4().hex[:6]}")
    await made.prepare()
    yield made
    await made.clear()

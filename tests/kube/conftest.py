"""A namespace of its own on a real Kubernetes with KubeRay, for each test."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from pool.backends.base import News
from pool.backends.kuberay.backend import KuberayBackend
from pool.backends.kuberay.options import KuberayOptions
from pool.kube.api import CORE, Api
from tests.kube.callers import Callers
from tests.kube.kit import accounted
from tests.kube.place import place as place
from tests.kube.release import Release

WITHOUT = "needs a Kubernetes with KubeRay: make test-kube KUBECONFIG=~/.kube/config"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("kube") and not os.environ.get("KUBECONFIG"):
            item.add_marker(pytest.mark.skip(reason=WITHOUT))
    # What may take long begins first: otherwise one process waits at the end for the other.
    items.sort(key=may_take_s, reverse=True)


def may_take_s(item: pytest.Item) -> float:
    """Return how long a test of Kubernetes may take; 0 for others, which keep their order, and less for the last."""
    if item.get_closest_marker("last"):
        return -1.0
    mark = item.get_closest_marker("timeout")
    return float(mark.args[0]) if mark is not None and item.get_closest_marker("kube") else 0.0


@pytest.fixture(scope="session", autouse=True)
def early(request: pytest.FixtureRequest) -> Iterator[tuple[Callers, str] | None]:
    """A token of the account ``early`` that is made as the tests begin, if one of them is to see it expire."""
    if not os.environ.get("KUBECONFIG") or not any(item.get_closest_marker("last") for item in request.session.items):
        yield None
        return

    async def made() -> tuple[Callers, str]:
        callers = Callers(await Api.connect(), f"warmpool-test-{uuid.uuid4().hex[:6]}")
        token = await callers.token(callers.vision, "early")
        await callers.api.close()
        return callers, token

    async def clear(callers: Callers) -> None:
        callers.api = await Api.connect()
        await callers.clear()
        await callers.api.close()

    callers, token = asyncio.run(made())
    yield callers, token
    asyncio.run(clear(callers))


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    made = await Api.connect()
    yield made
    await made.close()


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


@asynccontextmanager
async def released(api: Api, root: Path, *, lasting: bool) -> AsyncIterator[Release]:
    made = Release(api, root, f"warmpool-test-{uuid.uuid4().hex[:6]}", lasting=lasting)
    await made.prepare()
    yield made
    await made.clear()


@pytest.fixture
async def release(api: Api, tmp_path: Path) -> AsyncIterator[Release]:
    """A place for a release of the chart, whose state goes with its pod."""
    async with released(api, tmp_path, lasting=False) as made:
        yield made


@pytest.fixture
async def lasting_release(api: Api, tmp_path: Path) -> AsyncIterator[Release]:
    """A place for a release of the chart, whose state outlives it."""
    async with released(api, tmp_path, lasting=True) as made:
        yield made

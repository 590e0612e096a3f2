"""The label by which the Service finds the writer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pool.core.errors import PoolError
from pool.kube import role
from pool.kube.api import ApiError
from pool.kube.role import LABEL, Pod, RoleLabel

POD = Pod("ns", "pod-1", "uid-1")


class Kubernetes:
    """Takes labels, once it is there."""

    def __init__(self, away: int = 0) -> None:
        self.away = away
        self.labels: list[str] = []
        self.slow: asyncio.Event | None = None

    async def connect(self) -> Any:
        return self

    async def patch(self, path: str, body: dict[str, Any]) -> None:
        if self.away:
            self.away -= 1
            raise ApiError(0, "away")
        if self.slow is not None:
            await self.slow.wait()
        assert path == "/api/v1/namespaces/ns/pods/pod-1"
        assert body["metadata"]["uid"] == "uid-1"
        self.labels.append(body["metadata"]["labels"][LABEL])

    async def close(self) -> None:
        pass


async def test_a_standby_is_told_once_its_pod_says_so_however_long_kubernetes_is_away(monkeypatch) -> None:
    monkeypatch.setattr(role, "AGAIN_S", 0.01)
    kubernetes = Kubernetes(away=3)
    label, done = RoleLabel(POD, kubernetes.connect), asyncio.Event()
    label.standby(done.set)
    await asyncio.wait_for(done.wait(), 10)
    assert kubernetes.labels == ["standby"]
    await label.close()


async def test_the_role_that_counts_is_the_last_one_and_an_earlier_one_is_not_told_any_more() -> None:
    kubernetes = Kubernetes()
    kubernetes.slow = asyncio.Event()
    label = RoleLabel(POD, kubernetes.connect)
    label.standby(lambda: pytest.fail("it is the writer by now"))
    await asyncio.sleep(0)
    label.writer()
    kubernetes.slow.set()
    async with asyncio.timeout(10):
        while kubernetes.labels != ["standby", "writer"]:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    await label.close()


def test_the_pod_is_the_one_of_the_environment() -> None:
    environ = {"WARMPOOL_POD_NAMESPACE": "ns", "WARMPOOL_POD_NAME": "pod-1", "WARMPOOL_POD_UID": "uid-1"}
    assert Pod.mine(environ) == POD
    del environ["WARMPOOL_POD_NAME"]
    with pytest.raises(PoolError, match="WARMPOOL_POD_NAME is not set"):
        Pod.mine(environ)

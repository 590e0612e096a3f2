"""Lets the workers of a RayCluster go, and gets them back. The head, and what it knows, stay."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from pool.backends.kuberay import drift, pods, scale
from pool.backends.kuberay.view import View
from pool.backends.rayapi.dashboard import Dashboard, DashboardError
from pool.backends.rayapi.holdings import held
from pool.core.errors import PoolError
from pool.core.events import Shrunk
from pool.core.key import ClusterKey
from pool.core.model import Cluster
from pool.kube.api import RAY, Api, ApiError

TRIES = 5
GONE_S = 60.0
LOOK_S = 0.25

Item = dict[str, Any]


class Resizing:
    """One shrinking or growth of one cluster.

    Args:
        cluster: as the daemon decided it; its `resizes` numbers the write.
        key: of its pool.
        api: of Kubernetes.
        view: of the clusters.
        dashboard: of its head.
    """

    def __init__(self, cluster: Cluster, key: ClusterKey, api: Api, view: View, dashboard: Dashboard) -> None:
        self._cluster, self._key, self._api, self._view, self._dashboard = cluster, key, api, view, dashboard

    async def shrink(self) -> Shrunk:
        """Let all workers go that hold nothing, and return once they are seen gone by Kubernetes and by Ray.

        Raises:
            PoolError: if that could not be done or seen.
        """
        detail = ""
        try:
            for _ in range(TRIES):
                item = await self._live()
                if scale.resized(item) == self._cluster.resizes:
                    break
                plan = scale.plan(item, self._workers(), await held(self._dashboard))
                detail = plan.detail
                if not any(plan.go.values()) and plan.replicas == self._whole():
                    return self._shrunk(plan.replicas, detail)
                applied = await self._apply(item, plan.replicas, plan.go)
                if applied is not None:
                    item = applied
                    break
            else:
                raise PoolError(f"{self._cluster.id} changed {TRIES} times while its workers were to go.")
            replicas = {group["groupName"]: int(group["replicas"]) for group in item["spec"]["workerGroupSpecs"]}
            await self._gone(drift.workers(item))
        except (ApiError, DashboardError) as error:
            raise PoolError(
                f"{self._cluster.id}: its workers could not be let go: {error}.", remedy="It is tried again."
            ) from error
        except TimeoutError:
            raise PoolError(
                f"{self._cluster.id}: its workers were not gone {GONE_S:.0f} s after they were let go.",
                remedy="Look at their nodes; it goes on.",
            ) from None
        return self._shrunk(replicas, detail or "they hold objects")

    async def grow(self) -> None:
        """Ask for all workers again.

        Raises:
            PoolError, ApiError: if that is not possible.
        """
        self._view.grows(self._cluster.id, sum(self._whole().values()))
        for _ in range(TRIES):
            item = await self._live()
            if scale.resized(item) == self._cluster.resizes or await self._apply(item, self._whole(), {}) is not None:
                return
        raise PoolError(f"{self._cluster.id} changed {TRIES} times while its workers were to come back.")

    def _whole(self) -> dict[str, int]:
        return {group.name: group.replicas for group in self._key.shape.workers}

    def _shrunk(self, replicas: Mapping[str, int], detail: str) -> Shrunk:
        left = tuple((group, count) for group, count in replicas.items() if count)
        return Shrunk(self._cluster.id, left, detail if left else "")

    def _workers(self) -> list[Item]:
        return [pod for pod in self._view.pods(self._cluster.id) if not pods.is_head(pod)]

    async def _live(self) -> Item:
        """Return the RayCluster as it is now: the one of this cluster, and not resized by a later decision.

        Raises:
            PoolError: if there is none such.
        """
        known, head = self._view.cluster(self._cluster.id), self._view.head(self._cluster.id)
        if known is None or head is None or pods.boot_id(head) != self._cluster.boot_id:
            raise PoolError(f"{self._cluster.id} does not run as it did, as far as Kubernetes tells.")
        item: Item = await self._api.get(self._path(known))
        if item["metadata"]["uid"] != known["metadata"]["uid"]:
            raise PoolError(f"{self._cluster.id}: another RayCluster has its name.")
        if scale.resized(item) > self._cluster.resizes:
            raise PoolError(f"{self._cluster.id} was resized by a later decision, of another daemon.")
        return item

    async def _apply(self, item: Item, replicas: Mapping[str, int], go: Mapping[str, list[str]]) -> Item | None:
        """Return the RayCluster with so many workers, None if it has changed since it was looked at."""
        wanted = scale.sized(item, replicas, go, self._cluster.resizes)
        try:
            applied: Item = await self._api.apply(self._path(item), wanted)
        except ApiError as error:
            if error.status == 409:
                return None
            raise
        return applied

    def _path(self, item: Item) -> str:
        meta = item["metadata"]
        return f"{RAY}/namespaces/{meta['namespace']}/rayclusters/{meta['name']}"

    async def _gone(self, left: int) -> None:
        """Wait until the workers that go are gone: for Kubernetes, for Ray, and in the view."""
        async with asyncio.timeout(GONE_S):
            while len(self._workers()) > left or not self._seen(left):
                await self._view.changed(1.0)
            while True:
                nodes = await self._dashboard.state("nodes", ("state", "=", "ALIVE"))
                if sum(1 for node in nodes if not node["is_head_node"]) <= left:
                    return
                await self._view.changed(LOOK_S)

    def _seen(self, left: int) -> bool:
        known = self._view.cluster(self._cluster.id)
        return self._view.fresh and known is not None and known["workers"] <= left

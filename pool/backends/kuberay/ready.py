"""From created to ready: wake when Kubernetes or the head has something new, and say how far it has come."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import aiohttp

from pool.backends.base import Report
from pool.backends.kuberay import pods
from pool.backends.kuberay.spec import OLDEST_RAY
from pool.backends.kuberay.view import View
from pool.backends.rayapi.dashboard import Dashboard, DashboardError
from pool.core.errors import StartFailed
from pool.core.key import ClusterKey
from pool.core.reasons import Reason
from pool.kube.api import ApiError

LOOK_S = 0.25
UNCHANGED_S = 60.0
"""A start that nothing is told of is looked at so often, besides when its own time has come."""
PAST_S = 0.05
UNTAKEN_S = 5.0
"""KubeRay makes pods within a second: without any for so long, it is away."""
PROTECTED = ("/api/version", "/api/jobs/", "/api/v0/nodes")
_INVALID = ("InvalidRayCluster",)
_REFUSED = ("FailedToCreate",)


@dataclass(frozen=True, slots=True)
class Ready:
    """What a start found."""

    boot_id: str
    host: str
    ray_version: str


class Starting:
    """One cluster on its way to ready, from nothing or from a warm head.

    Args:
        cluster_id: of the cluster.
        key: of its pool.
        view: what Kubernetes has.
        http: for its head.
        token: of the cluster.
        report: told each phase.
        patience_s: for so long something may be in the way that could go by itself.
        past: what was warned of it before this began.
    """

    def __init__(
        self,
        cluster_id: str,
        key: ClusterKey,
        view: View,
        http: aiohttp.ClientSession,
        token: str,
        report: Report,
        patience_s: float,
        past: Collection[str] = (),
    ) -> None:
        self._cluster_id, self._view, self._http = cluster_id, view, http
        self._token, self._report = token, report
        self._workers = sum(group.replicas for group in key.shape.workers)
        self._phase = ""
        self._hint = ""
        self._seen_at = 0.0
        self._patience_s = patience_s
        self._troubled_since = 0.0
        # When time alone changes what there is to say.
        self._due_at = math.inf
        self._past = frozenset(past)

    async def wait(self) -> Ready:
        """Return once a job can be submitted, a driver can connect and all nodes are alive.

        Raises:
            StartFailed: with the reason that pods, events or the head give.
        """
        while True:
            self._look()
            head = self._view.head(self._cluster_id)
            boot_id = pods.boot_id(head) if head is not None else ""
            if head is None or not boot_id or not head["status"].get("podIP"):
                due_s = max(self._due_at - asyncio.get_running_loop().time(), 0.0) + PAST_S
                await self._view.changed(min(due_s, UNCHANGED_S), self._cluster_id)
                continue
            host = str(head["status"]["podIP"])
            version = await self._answers(Dashboard(self._http, f"http://{host}:8265", self._token, 5.0))
            if version is not None:
                head = self._view.head(self._cluster_id)
                if head is not None and pods.boot_id(head) == boot_id:
                    return Ready(boot_id, host, version)
            await asyncio.sleep(LOOK_S)

    def _say(self, phase: str) -> None:
        if self._hint:
            phase = f"{phase}: {self._hint}"
        if phase != self._phase:
            self._phase = phase
            self._report(phase)

    def _look(self) -> None:
        """Say how far the pods are; raise if there is nothing to wait for any more."""
        item, found = self._view.cluster(self._cluster_id), self._view.pods(self._cluster_id)
        if item is None:
            if self._seen_at:
                raise StartFailed(f"{self._cluster_id}: its RayCluster was deleted while it started.")
            return
        now = asyncio.get_running_loop().time()
        self._seen_at = self._seen_at or now
        if item["metadata"].get("deletionTimestamp"):
            raise StartFailed(f"{self._cluster_id}: its RayCluster was deleted while it started.")
        self._warned()
        self._due_at = math.inf
        self._hint = self._blocked(pods.trouble(found) or self._unmounted(found) or self._refused(found), now)
        if not found and now > self._seen_at + UNTAKEN_S:
            self._hint = "KubeRay has not made its pods yet"
        elif not found:
            self._due_at = min(self._due_at, self._seen_at + UNTAKEN_S)
        head = self._view.head(self._cluster_id)
        if head is None or not pods.boot_id(head):
            self._say(pods.phase(found, self._workers))

    def _warned(self) -> None:
        for said in self._warnings():
            reason, _, message = said.partition(": ")
            if reason.startswith(_INVALID):
                raise StartFailed(f"{self._cluster_id}: KubeRay refuses its spec: {message}.")

    def _warnings(self) -> list[str]:
        return [said for said in self._view.warnings(self._cluster_id) if said not in self._past]

    def _refused(self, found: list[dict[str, Any]]) -> pods.Trouble | None:
        """Return why pods are missing, if they were refused: a quota may have had room for some of them."""
        if len(found) > self._workers:
            return None
        for said in reversed(self._warnings()):
            reason, _, message = said.partition(": ")
            if reason.startswith(_REFUSED):
                why = Reason.NO_CAPACITY if "exceeded quota" in message else Reason.START_FAILED
                return pods.Trouble(why, f"its pods were refused: {message}.", lasting=not found)
        return None

    def _unmounted(self, found: list[dict[str, Any]]) -> pods.Trouble | None:
        """Return what a pod cannot mount since it is not there."""
        troubles = (pods.unmounted(pod, self._view.warnings_of(pod)) for pod in found)
        return next((trouble for trouble in troubles if trouble is not None), None)

    def _blocked(self, trouble: pods.Trouble | None, now: float) -> str:
        """Return what is in the way and may go by itself; raise if it does not."""
        if trouble is None:
            self._troubled_since = 0.0
            return ""
        self._troubled_since = self._troubled_since or now
        self._due_at = self._troubled_since + self._patience_s
        if trouble.lasting or now > self._due_at:
            raise StartFailed(f"{self._cluster_id}: {trouble.detail}", reason=trouble.reason)
        return trouble.detail.rstrip(".")

    async def _answers(self, dashboard: Dashboard) -> str | None:
        """Return the Ray version once the cluster is usable, None before."""
        try:
            version = await dashboard.get("/api/version")
            await dashboard.get("/api/jobs/")
            nodes = await dashboard.state("nodes", ("state", "=", "ALIVE"))
        except DashboardError as error:
            if error.status in (401, 403):
                raise StartFailed(f"{self._cluster_id} refuses its token: it was started with another.") from error
            self._say("starting head")
            return None
        workers = sum(1 for node in nodes if not node["is_head_node"])
        if workers < self._workers or len(nodes) == workers:
            self._say(f"workers {workers} of {self._workers}")
            return None
        self._say("checking")
        found = str(version["ray_version"])
        if tuple(int(part) for part in found.split(".")[:2]) < OLDEST_RAY:
            raise StartFailed(
                f"{self._cluster_id} runs Ray {found}, which knows no token authentication.",
                reason=Reason.OPEN_CLUSTER,
                remedy="Use an image with Ray 2.52 or newer.",
            )
        try:
            refusals = await asyncio.gather(*(dashboard.refuses_strangers(path) for path in PROTECTED))
        except DashboardError:
            return None
        if not all(refusals):
            raise StartFailed(
                f"{self._cluster_id} answered GET {PROTECTED[refusals.index(False)]} without its token.",
                reason=Reason.OPEN_CLUSTER,
                remedy="Let the clusters run a Ray with token authentication (2.52 or newer).",
            )
        return found


def refused(cluster_id: str, error: ApiError) -> StartFailed:
    """Return why a create was refused, as far as the answer tells."""
    said = str(error)
    if "exceeded quota" in said:
        return StartFailed(f"{cluster_id}: the namespace's quota is used up: {said}.", reason=Reason.NO_CAPACITY)
    if "admission webhook" in said or "ValidatingAdmissionPolicy" in said:
        return StartFailed(f"{cluster_id}: an admission rule of the cluster refused it: {said}.")
    if error.status == 403:
        return StartFailed(f"{cluster_id}: the daemon's account may not create it: {said}.")
    if error.status in (400, 422):
        return StartFailed(f"{cluster_id}: Kubernetes refuses its spec: {said}.")
    if error.status == 404:
        return StartFailed(f"{cluster_id}: its namespace or KubeRay itself is missing: {said}.")
    return StartFailed(f"{cluster_id}: Kubernetes could not be asked to create it: {said}.")

"""The clusters of this store as Kubernetes has them: RayClusters, their pods, and what is warned of them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from pool.backends.base import News
from pool.backends.kuberay import drift, pods, spec
from pool.backends.kuberay.cache import Cache
from pool.backends.kuberay.options import KuberayOptions
from pool.core.events import Degraded, Lost
from pool.core.reasons import Reason
from pool.kube.api import CORE, RAY, Api

OPEN_S = 15.0
WARNINGS = 8


class Doubt(NamedTuple):
    """A head that runs, and that Kubernetes says does not answer.

    Attributes:
        boot_id: of this run of it.
        host: its address.
    """

    cluster_id: str
    boot_id: str
    host: str


class View:
    """Follows the clusters of one store, and tells when a ready one is lost, edited, or misses workers.

    Attributes:
        namespace: that is watched; empty for all of them.
        foreign: how many RayClusters there are that are not of this store.
    """

    def __init__(self, api: Api, store_id: str, options: KuberayOptions, tell: Callable[[News], None]) -> None:
        self.namespace = "" if "{" in options.namespace else options.namespace
        self._store_id, self._tell = store_id, tell
        self._followed: dict[str, str] = {}
        self._wrong: dict[str, str] = {}
        # Started or grown by this process, and its workers not yet seen to run: how many will be.
        self._joining: dict[str, int] = {}
        self._starting: set[str] = set()
        self._unready: set[str] = set()
        self._unlooked: dict[str, dict[str, Any] | None] = {}
        self._told: dict[str, deque[str]] = {}
        self._clusters: dict[str, dict[str, Any]] = {}
        self._pods: dict[str, dict[str, dict[str, Any]]] = {}
        self._changed = asyncio.Condition()
        # Who waits for one cluster alone: thousands of starts must not wake each other.
        self._awaited: dict[str, set[asyncio.Future[None]]] = {}
        self._named: dict[str, str] = {}
        self._waking: asyncio.Task[None] | None = None
        where = f"/namespaces/{self.namespace}" if self.namespace else ""
        bounds: Any = {"watch_s": options.watch_s, "silence_s": options.silence_s}
        ours = {"labelSelector": f"{spec.STORE}={store_id}"}
        self._ray = Cache(api, f"{RAY}{where}/rayclusters", _cluster, self._on_cluster, **bounds)
        self._pod = Cache(api, f"{CORE}{where}/pods", _pod, self._on_pod, query=ours, **bounds)
        warnings = {"fieldSelector": "type=Warning,involvedObject.kind=RayCluster"}
        # No bookmarks come for events: a watch of them is ended by the server before its silence means anything.
        bounds["watch_s"] = min(options.watch_s, 60.0)
        self._event = Cache(api, f"{CORE}{where}/events", _event, self._on_event, query=warnings, **bounds)
        # All else that is wrong with a pod stands in its status; of other reasons there is no end.
        mounts = {"fieldSelector": "type=Warning,involvedObject.kind=Pod,reason=FailedMount"}
        self._mount = Cache(api, f"{CORE}{where}/events", _event, self._on_event, query=mounts, **bounds)
        self._caches = (self._ray, self._pod, self._event, self._mount)

    async def open(self) -> None:
        """Begin to watch, and wait a bounded time for the first answer."""
        for cache in self._caches:
            cache.start()
        await asyncio.gather(*(cache.listed(OPEN_S) for cache in self._caches))

    async def close(self) -> None:
        """Stop watching."""
        for cache in self._caches:
            await cache.close()
        if self._waking is not None:
            await self._waking

    @property
    def fresh(self) -> bool:
        """Tell whether absence means anything: both watches stand."""
        return self._ray.fresh and self._pod.fresh

    @property
    def foreign(self) -> int:
        """How many RayClusters are there that are not of this store."""
        return len(self._ray.items) - len(self._clusters)

    def cluster_ids(self) -> set[str]:
        """Return the ids of all clusters of which anything is there."""
        return self._clusters.keys() | {cluster_id for cluster_id, found in self._pods.items() if found}

    def cluster(self, cluster_id: str) -> dict[str, Any] | None:
        """Return the RayCluster."""
        return self._clusters.get(cluster_id)

    def pods(self, cluster_id: str) -> list[dict[str, Any]]:
        """Return the cluster's pods."""
        return list(self._pods.get(cluster_id, {}).values())

    def head(self, cluster_id: str) -> dict[str, Any] | None:
        """Return the cluster's head pod, the living one if there are two."""
        heads = [pod for pod in self.pods(cluster_id) if pods.is_head(pod)]
        return min(heads, key=pods.going, default=None)

    def warnings(self, cluster_id: str) -> list[str]:
        """Return what was warned of the cluster, as ``Reason: message``, the latest last."""
        item = self._clusters.get(cluster_id)
        return list(self._told.get(item["metadata"]["uid"], ())) if item is not None else []

    def warnings_of(self, pod: dict[str, Any]) -> list[str]:
        """Return what was warned of the volumes of a pod, as ``Reason: message``, the latest last."""
        return list(self._told.get(pod["metadata"]["uid"], ()))

    def expect(self, cluster_id: str) -> None:
        """Miss none of its workers before they were seen to run: the head may know them before their pods say so."""
        self._joining[cluster_id] = 0
        self._starting.add(cluster_id)

    def grows(self, cluster_id: str, workers: int) -> None:
        """Miss none of the workers that a cluster is to have again before so many were seen to run."""
        self._joining[cluster_id] = workers

    def follow(self, cluster_id: str, boot_id: str) -> None:
        """Tell from now on when this run of the cluster's head is over."""
        self._followed[cluster_id] = boot_id
        self._starting.discard(cluster_id)
        self._look(cluster_id)
        self._unlooked.setdefault(cluster_id)
        self._wake()

    def goes_on(self, cluster_id: str, boot_id: str) -> bool:
        """Tell whether nothing was seen that ends this run of the cluster's head."""
        gone = self.fresh and cluster_id not in self._clusters
        return not gone and not self._is_going(cluster_id) and self._followed.get(cluster_id) == boot_id

    def unfollow(self, cluster_id: str) -> None:
        """Do not tell any more."""
        self._followed.pop(cluster_id, None)
        self._wrong.pop(cluster_id, None)
        self._joining.pop(cluster_id, None)
        self._starting.discard(cluster_id)

    def doubts(self) -> list[Doubt]:
        """Return the followed heads that run and are not ready, as far as the watch stands; none that only starts."""
        if not self.fresh:
            return []
        heads = [(one, self.head(one)) for one in self._unready - self._starting if one in self._followed]
        found = [Doubt(one, pods.boot_id(pod), pod["status"].get("podIP", "")) for one, pod in heads if pod is not None]
        return [doubt for doubt in found if doubt.host and doubt.boot_id == self._followed[doubt.cluster_id]]

    def hangs(self, doubt: Doubt, why: str) -> None:
        """Tell that a head in doubt is lost, unless it was found to be over or well meanwhile."""
        if doubt in self.doubts():
            self.unfollow(doubt.cluster_id)
            self._tell(Lost(doubt.cluster_id, doubt.boot_id, Reason.UNHEALTHY, f"{doubt.cluster_id}: {why}."))

    async def changed(self, timeout_s: float, cluster_id: str = "") -> None:
        """Wait until anything changes, of one cluster if it is named, at most for `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s):
                if cluster_id:
                    await self._changed_of(cluster_id)
                else:
                    async with self._changed:
                        await self._changed.wait()
        except TimeoutError:
            return

    async def _changed_of(self, cluster_id: str) -> None:
        waiting = asyncio.get_running_loop().create_future()
        self._awaited.setdefault(cluster_id, set()).add(waiting)
        try:
            await waiting
        finally:
            left = self._awaited.get(cluster_id, set())
            left.discard(waiting)
            if not left:
                self._awaited.pop(cluster_id, None)

    async def gone(self, cluster_id: str) -> None:
        """Wait until nothing of the cluster is there any more, as far as a standing watch tells."""
        while not self.fresh or cluster_id in self.cluster_ids():
            await self.changed(1.0)

    def _on_cluster(self, item: dict[str, Any], deleted: bool) -> None:
        cluster_id = item["metadata"]["labels"].get(spec.CLUSTER)
        if item["metadata"]["labels"].get(spec.STORE) != self._store_id or not cluster_id:
            return
        if not deleted:
            self._clusters[cluster_id] = item
            self._named[item["metadata"]["uid"]] = cluster_id
        else:
            self._named.pop(item["metadata"]["uid"], None)
            if self._clusters.get(cluster_id, item)["metadata"]["uid"] == item["metadata"]["uid"]:
                self._clusters.pop(cluster_id, None)
                self._told.pop(item["metadata"]["uid"], None)
        if _ending(item, deleted):
            self._look(cluster_id, "somebody deleted its RayCluster")
        self._unlooked.setdefault(cluster_id)
        self._wake(cluster_id)

    def _on_pod(self, item: dict[str, Any], deleted: bool) -> None:
        cluster_id = item["metadata"]["labels"].get(spec.CLUSTER, "")
        found = self._pods.setdefault(cluster_id, {})
        if not deleted:
            found[item["metadata"]["uid"]] = item
            self._named[item["metadata"]["uid"]] = cluster_id
        else:
            found.pop(item["metadata"]["uid"], None)
            self._named.pop(item["metadata"]["uid"], None)
            self._told.pop(item["metadata"]["uid"], None)
            if not found:
                del self._pods[cluster_id]
        if pods.is_head(item):
            # Also what no start of this process saw: a restarted daemon's clusters, whenever Kubernetes answers.
            if (boot_id := pods.boot_id(item)) and not deleted and not self._is_going(cluster_id):
                self._followed.setdefault(cluster_id, boot_id)
            self._look(cluster_id, pods.ending(item) if deleted or pods.going(item) else "")
            head = self.head(cluster_id)
            doubtful = head is not None and pods.boot_id(head) != "" and not pods.serves(head)
            (self._unready.add if doubtful else self._unready.discard)(cluster_id)
        if (deleted or pods.going(item)) and self._unlooked.get(cluster_id) is None:
            self._unlooked[cluster_id] = item
        self._unlooked.setdefault(cluster_id)
        self._wake(cluster_id)

    def _on_event(self, item: dict[str, Any], deleted: bool) -> None:
        if deleted:
            # Kubernetes forgets events after an hour.
            self._told.pop(item["about"], None)
            return
        told = self._told.setdefault(item["about"], deque(maxlen=WARNINGS))
        if item["said"] not in told:
            told.append(item["said"])
        self._wake(self._named.get(item["about"], ""))

    def _is_going(self, cluster_id: str) -> bool:
        item = self._clusters.get(cluster_id)
        return item is not None and bool(item["metadata"].get("deletionTimestamp"))

    def _look(self, cluster_id: str, why: str = "") -> None:
        """Tell if the run of the head that is followed is over; `why` says what was seen to end.

        That something is not there yet proves nothing: one watch may be behind the other.
        """
        boot_id = self._followed.get(cluster_id)
        if boot_id is None:
            return
        head = self.head(cluster_id)
        now = pods.boot_id(head) if head is not None else ""
        if not why and (head is None or now == boot_id):
            return
        self.unfollow(cluster_id)
        reason = Reason.HEAD_REPLACED if now not in ("", boot_id) else Reason.PROCESS_GONE
        if not why:
            why = pods.ending(head) if head is not None and not now else reason.sentence.rstrip(".").lower()
        self._tell(Lost(cluster_id, boot_id, reason, f"{cluster_id}: {why}."))

    def _look_whole(self, cluster_id: str, ended: dict[str, Any] | None = None) -> None:
        """Tell if a followed cluster was edited, or misses workers, or has them again; `ended` is a pod that just did.

        It misses workers when fewer run than it is to have, and is whole once as many are ready: between the two, a
        new one joins.
        """
        boot_id, item = self._followed.get(cluster_id), self._clusters.get(cluster_id)
        if boot_id is None or item is None:
            return
        before = self._wrong.get(cluster_id, "")
        if edited := item["edited"]:
            now = f"{cluster_id}: somebody changed its RayCluster: {edited}."
        else:
            workers = [pod for pod in self.pods(cluster_id) if not pods.is_head(pod)]
            running, ready = sum(map(pods.running, workers)), sum(map(pods.ready, workers))
            if running >= max(item["workers"], self._joining.get(cluster_id, 0)) or ended is not None:
                self._joining.pop(cluster_id, None)
            if ready >= item["workers"] or cluster_id in self._joining:
                now = ""
            elif running < item["workers"]:
                why = f": {pods.ending(ended)}" if ended is not None and not pods.is_head(ended) else ""
                now = f"{cluster_id}: {running} of {item['workers']} workers run{why}."
                # The first that is said of it tells why.
                now = before if before.startswith(now.partition(" workers")[0]) else now
            else:
                now = before
        if now != before:
            self._wrong[cluster_id] = now
            self._tell(Degraded(cluster_id, boot_id, now, lasting=bool(edited)))

    def _wake(self, cluster_id: str = "") -> None:
        for waiting in self._awaited.get(cluster_id, ()):
            if not waiting.done():
                waiting.set_result(None)
        if self._waking is None or self._waking.done():
            self._waking = asyncio.get_running_loop().create_task(self._notify())
            self._waking.add_done_callback(self._wake_again)

    def _wake_again(self, done: asyncio.Task[None]) -> None:
        if self._unlooked and self.fresh and not done.cancelled():
            self._wake()

    async def _notify(self) -> None:
        # A list is told object by object: what is said of a cluster waits for the last of them, and for both watches.
        while self._unlooked and self.fresh:
            self._look_whole(*self._unlooked.popitem())
        async with self._changed:
            self._changed.notify_all()


def _ending(item: dict[str, Any], deleted: bool) -> bool:
    return deleted or bool(item["metadata"].get("deletionTimestamp"))


_META = ("name", "namespace", "uid", "deletionTimestamp")


def _meta(item: dict[str, Any]) -> dict[str, Any]:
    meta = item["metadata"]
    return {**{name: meta[name] for name in _META if name in meta}, "labels": meta.get("labels", {})}


def _cluster(item: dict[str, Any]) -> dict[str, Any]:
    status = item.get("status", {})
    kept = {"conditions": status.get("conditions", []), "reason": status.get("reason", "")}
    # The spec itself would be most of the memory that a cluster takes here.
    return {"metadata": _meta(item), "status": kept, "edited": drift.edited(item), "workers": drift.workers(item)}


def _pod(item: dict[str, Any]) -> dict[str, Any]:
    return {"metadata": _meta(item), "status": item.get("status", {})}


def _event(item: dict[str, Any]) -> dict[str, Any]:
    about = item.get("involvedObject", {}).get("uid", "")
    said = f"{item.get('reason', '')}: {item.get('message', '')}"
    return {"metadata": {"uid": item["metadata"]["uid"]}, "about": about, "said": said}

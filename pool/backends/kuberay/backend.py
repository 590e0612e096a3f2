"""`KuberayBackend`: Ray clusters that the KubeRay operator of a Kubernetes runs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from typing import Any

import aiohttp
import structlog
import tenacity

from pool.backends.base import Clean, News, Report
from pool.backends.kuberay import drift, pods, spec
from pool.backends.kuberay.health import Health
from pool.backends.kuberay.options import KuberayOptions
from pool.backends.kuberay.ready import Starting, refused
from pool.backends.kuberay.resize import Resizing
from pool.backends.kuberay.view import View
from pool.backends.rayapi.dashboard import Dashboard
from pool.backends.rayapi.inside import Swept
from pool.backends.rayapi.reset import Reset, listed
from pool.backends.rayapi.sweepers import Sweepers
from pool.core.decisions import Span
from pool.core.errors import InvalidKey, PoolError, StartFailed
from pool.core.events import Listing, Seen, Shrunk, Started
from pool.core.key import ClusterKey
from pool.core.model import Cluster
from pool.core.reasons import Reason
from pool.kube.api import CORE, RAY, Api, ApiError

log = structlog.get_logger(__name__)

CLUSTERS = "rayclusters"
GONE_S = 60.0
AWAY_PAUSE_S = 5.0
Objects = list[dict[str, Any]]


class KuberayBackend:
    """Runs clusters as RayClusters. See `pool.backends.base.Backend` for the verbs."""

    cluster_type = "ray"

    def __init__(self, options: KuberayOptions | None = None) -> None:
        self.options = options or KuberayOptions()
        self._sweepers = Sweepers()

    async def open(
        self,
        store_id: str,
        token_for: Callable[[str], str],
        tell: Callable[[News], None],
        known: Sequence[tuple[Cluster, ClusterKey]] = (),
    ) -> None:
        """Begin to watch; the clusters of the store are known when this returns, if Kubernetes answers.

        Raises:
            PoolError: if there is nothing that says how to reach Kubernetes.
        """
        self._store_id, self._token_for = store_id, token_for
        try:
            self._api = await Api.connect(self.options.kubeconfig, self.options.context, self.options.request_s)
        except ApiError as error:
            raise PoolError(
                f"{error}.",
                reason=Reason.INVALID_REQUEST,
                remedy="Give `backend.kubeconfig`, set KUBECONFIG, or run the daemon in a pod.",
            ) from error
        self._http = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        self.view = View(self._api, store_id, self.options, tell)
        self._health = Health(
            self.view,
            lambda doubt, bound_s: Dashboard(
                self._http, f"http://{doubt.host}:8265", token_for(doubt.cluster_id), bound_s
            ),
        )
        self._health.start()
        await self.view.open()

    def token(self, cluster_id: str) -> str:
        """Return the token that the cluster was started with."""
        return self._token_for(cluster_id)

    async def close(self) -> None:
        """Stop watching. Clusters go on."""
        if hasattr(self, "view"):
            await self._health.close()
            await self.view.close()
            await self._http.close()
            await self._api.close()

    @property
    def writes(self) -> int:
        """How many writes were sent to the Kubernetes API."""
        return self._api.writes

    def check(self, key: ClusterKey) -> None:
        """Raise `InvalidKey` if a cluster of `key` can never be made here."""
        if key.cluster_type != self.cluster_type:
            raise InvalidKey(f"key.cluster_type: {key.cluster_type!r} cannot run here; known is {self.cluster_type}.")
        spec.check(key, self.options)

    async def start(self, cluster: Cluster, key: ClusterKey, report: Report, resident_share: float = 0.5) -> Started:
        """Create `cluster`, or adopt it if it is there already, and return when it is ready.

        Raises:
            pool.core.errors.StartFailed: with the reason that Kubernetes or KubeRay gives.
        """
        report("creating")
        self.view.expect(cluster.id)
        token = self._token_for(cluster.id)
        try:
            made = await self._created(cluster.id, key, token, report, resident_share)
        except ApiError as error:
            raise refused(cluster.id, error) from error
        return await self._ready(cluster.id, key, made, report)

    async def shrink(self, cluster: Cluster, key: ClusterKey) -> Shrunk:
        """Let the workers of a cluster go, by name, but for those that hold objects.

        Raises:
            PoolError: if Kubernetes or the head cannot be asked, or the pods are not gone in time.
        """
        return await self._resizing(cluster, key).shrink()

    async def grow(self, cluster: Cluster, key: ClusterKey, report: Report) -> Started:
        """Ask for the workers of a cluster again, and return when it is ready with all of them.

        Raises:
            pool.core.errors.StartFailed: with the reason that Kubernetes or KubeRay gives.
        """
        report("asking for workers")
        past = self.view.warnings(cluster.id)
        retrying = self._patient(report)
        try:
            await retrying(self._resizing(cluster, key).grow)
        except ApiError as error:
            raise refused(cluster.id, error) from error
        except PoolError as error:
            raise StartFailed(error.detail) from error
        item = self.view.cluster(cluster.id)
        if item is None:
            raise StartFailed(f"{cluster.id}: its RayCluster was deleted while it grew.")
        return await self._ready(cluster.id, key, item, report, past)

    def _resizing(self, cluster: Cluster, key: ClusterKey) -> Resizing:
        head = self.view.head(cluster.id)
        host = head["status"].get("podIP", "") if head is not None else ""
        dashboard = Dashboard(self._http, f"http://{host}:8265", self._token_for(cluster.id))
        return Resizing(cluster, key, self._api, self.view, dashboard)

    async def _ready(
        self, cluster_id: str, key: ClusterKey, made: dict[str, Any], report: Report, past: Collection[str] = ()
    ) -> Started:
        """Wait until a cluster is usable with all its nodes, and say how it is reached."""
        name, namespace = made["metadata"]["name"], made["metadata"]["namespace"]
        token, patience_s = self._token_for(cluster_id), self.options.node_wait_s
        ready = await Starting(cluster_id, key, self.view, self._http, token, report, patience_s, past).wait()
        self.view.follow(cluster_id, ready.boot_id)
        host = ready.host if self.options.addresses == "pod" else f"{name}-head-svc.{namespace}.svc"
        return Started(
            cluster_id=cluster_id,
            boot_id=ready.boot_id,
            address=f"{host}:6379",
            client_address=f"ray://{host}:10001",
            dashboard_url=f"http://{host}:8265",
            ray_version=ready.ray_version,
        )

    async def stop(self, cluster_id: str) -> None:
        """Delete the RayCluster and return once its pods are seen gone.

        Raises:
            PoolError: if Kubernetes cannot be asked, or does not end the pods in time.
        """
        self.view.unfollow(cluster_id)
        self._sweepers.forget(cluster_id)
        try:
            found = await self._ours(cluster_id)
            for item in found:
                meta = item["metadata"]
                await self._api.delete(_path(RAY, meta["namespace"], CLUSTERS, meta["name"]), meta["uid"])
        except ApiError as error:
            raise PoolError(f"{cluster_id} could not be deleted: {error}.", remedy="It is tried again.") from error
        try:
            async with asyncio.timeout(GONE_S):
                await self.view.gone(cluster_id)
        except TimeoutError:
            raise PoolError(
                f"{cluster_id}: its pods were not gone {GONE_S:.0f} s after it was deleted.",
                remedy="Look at its node; the deletion goes on.",
            ) from None

    async def reset(self, cluster: Cluster, key: ClusterKey, *, full: bool = True, span: Span | None = None) -> Clean:
        """Stop what a holder left and prove the cluster free of it; processes and resident data, only in `full`."""
        if not self._runs(cluster):
            return Clean(False, "the cluster that was leased does not run any more")
        head = self.view.head(cluster.id)
        url = f"http://{head['status']['podIP']}:8265" if head is not None else cluster.dashboard_url
        token = self._token_for(cluster.id)
        dashboard = Dashboard(self._http, url, token)

        async def sweep(spare_resident: bool) -> Swept:
            # Only from inside can the processes in its pods be seen.
            prestart = self.options.prestart_workers
            return await self._sweepers.swept(
                dashboard, cluster.id, token, prestart=prestart, spare_resident=spare_resident
            )

        found = await Reset(dashboard, "", self.options.settle_s, sweep, full=full).run()
        if found.clean and not self._runs(cluster):
            return Clean(False, "the head was lost during the reset")
        if found.removed:
            log.info("a reset removed what a holder left", cluster=cluster.id, removed=listed(found.removed))
        return found

    def _runs(self, cluster: Cluster) -> bool:
        """Tell whether the head that was leased runs, as far as is known.

        A daemon that was restarted while Kubernetes is away knows of none: then it goes by what its store says. Should
        the head have been replaced by an empty one meanwhile, the first listing tells.
        """
        head = self.view.head(cluster.id)
        if head is None:
            return not self.view.fresh and bool(cluster.dashboard_url)
        # The pods of a RayCluster that was deleted answer for another while.
        return pods.boot_id(head) == cluster.boot_id and self.view.goes_on(cluster.id, cluster.boot_id)

    async def list(self) -> Listing:
        """Return every cluster of this store. Complete only while the watch stands."""
        seen = []
        for cluster_id in self.view.cluster_ids():
            head = self.view.head(cluster_id)
            seen.append(Seen(cluster_id, pods.boot_id(head) if head is not None else ""))
        return Listing(0.0, self.view.fresh, tuple(seen), foreign=self.view.foreign)

    async def _created(
        self, cluster_id: str, key: ClusterKey, token: str, report: Report, resident_share: float
    ) -> dict[str, Any]:
        """Create the cluster; while Kubernetes is away, wait for it: that says nothing against the pool's starts."""
        known = self.view.cluster(cluster_id)
        retrying = self._patient(report)
        return await retrying(self._create, cluster_id, key, token, resident_share, known)

    def _patient(self, report: Report) -> tenacity.AsyncRetrying:
        return tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(lambda error: isinstance(error, ApiError) and error.passing),
            wait=tenacity.wait_random_exponential(multiplier=0.2, max=AWAY_PAUSE_S),
            before_sleep=lambda call: report(f"waiting for Kubernetes: {call.outcome and call.outcome.exception()}"),
        )

    async def _create(
        self, cluster_id: str, key: ClusterKey, token: str, resident_share: float, known: dict[str, Any] | None
    ) -> dict[str, Any]:
        """Create the RayCluster and the Secret that goes with it, as far as they are not there."""
        wanted = spec.ray_cluster(self._store_id, cluster_id, key, self.options, resident_share)
        manifest = drift.remember(wanted)
        namespace, name = manifest["metadata"]["namespace"], manifest["metadata"]["name"]
        path = _path(RAY, namespace, CLUSTERS)
        try:
            made: dict[str, Any] = known or await self._api.create(path, manifest)
        except ApiError as error:
            if error.status != 409:
                raise
            made = await self._api.get(f"{path}/{name}")
        meta = made["metadata"]
        if meta["labels"].get(spec.STORE) != self._store_id:
            raise StartFailed(f"{cluster_id}: {namespace} has a RayCluster {name} that is not this daemon's.")
        if meta.get("deletionTimestamp"):
            raise StartFailed(f"{cluster_id} was being deleted when it was to be started.")
        head = self.view.head(cluster_id)
        if known is None or head is None or not pods.boot_id(head):
            # A head that runs has its token.
            await self._give_token(spec.secret(self._store_id, cluster_id, key, token, made), new=known is None)
        return made

    async def _give_token(self, secret: dict[str, Any], *, new: bool) -> None:
        """Create the Secret of a RayCluster; its pods wait for it.

        KubeRay 1.5 makes one with a token of its own where it finds none: in that of a new RayCluster ours is put at
        once, before its pods are there to read it.
        """
        namespace, name = secret["metadata"]["namespace"], secret["metadata"]["name"]
        try:
            await self._api.create(_path(CORE, namespace, "secrets"), secret)
        except ApiError as error:
            if error.status != 409:
                raise
            if new:
                await self._api.patch(_path(CORE, namespace, "secrets", name), {"data": secret["data"]})

    async def _ours(self, cluster_id: str) -> Objects:
        """Return the cluster's RayClusters as the API has them now: the cache may not know of a create yet."""
        selector = f"{spec.STORE}={self._store_id},{spec.CLUSTER}={cluster_id}"
        found = await self._api.get(_path(RAY, self.view.namespace, CLUSTERS), labelSelector=selector)
        items: Objects = found["items"]
        return items


def _path(api: str, namespace: str, plural: str, name: str = "") -> str:
    where = f"/namespaces/{namespace}" if namespace else ""
    return f"{api}{where}/{plural}" + (f"/{name}" if name else "")

"""`LocalBackend`: real Ray clusters on this machine, each independent of the others and of the daemon's life."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import structlog

from pool.backends.base import Clean, KeepsWorkers, News, Report
from pool.backends.local import census, commands
from pool.backends.local.calls import Calls
from pool.backends.local.launch import Home
from pool.backends.local.machine import Machine
from pool.backends.local.options import LocalOptions
from pool.backends.local.processes import Process
from pool.backends.local.ready import PortTaken, Starting
from pool.backends.local.trail import Ready, Running, Trail
from pool.backends.local.watch import Watch, Watched
from pool.backends.rayapi.dashboard import Dashboard
from pool.backends.rayapi.reset import Reset, listed
from pool.core.decisions import Span
from pool.core.errors import InvalidKey, StartFailed
from pool.core.events import Listing, Started
from pool.core.key import ClusterKey
from pool.core.model import Cluster
from pool.inside.files import sweep_files

log = structlog.get_logger(__name__)

PORT_TRIES = 4
T = TypeVar("T")


class LocalBackend(KeepsWorkers):
    """Runs clusters as processes of this machine. See `pool.backends.base.Backend` for the verbs.

    Local clusters run in the Python environment of `LocalOptions.python` whatever image their key names, and with the
    rights of the daemon's user whatever its pod templates say.

    Args:
        state_dir: where the clusters' directories are kept; `open` makes it.
        options: settings.
    """

    cluster_type = "ray"

    def __init__(self, state_dir: Path, *, options: LocalOptions | None = None) -> None:
        self.options = options or LocalOptions()
        self.machine = Machine.found(self.options)
        self._state_dir = state_dir
        self._locks: dict[str, asyncio.Lock] = {}
        self._tending: asyncio.Task[None] | None = None
        self._prestarts: set[asyncio.Task[None]] = set()

    async def open(
        self,
        store_id: str,
        token_for: Callable[[str], str],
        tell: Callable[[News], None],
        known: Sequence[tuple[Cluster, ClusterKey]] = (),
    ) -> None:
        """Claim the store's clusters and watch those that are ready."""
        self._token_for = token_for
        self._home = Home(self._state_dir, store_id, self.options)
        await asyncio.to_thread(self._home.open)
        self._http = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        self._watch = Watch(self.options, tell)
        for cluster_id in await asyncio.to_thread(self._home.ids):
            self._begin_watch(cluster_id)
        self._tending = asyncio.create_task(self._tend(), name="local clusters")

    def token(self, cluster_id: str) -> str:
        """Return the token that the cluster was started with."""
        return self._token_for(cluster_id)

    async def close(self) -> None:
        """Stop watching and claiming. Clusters go on until their unclaimed time is over."""
        if self._tending is None:
            return
        for task in (self._tending, *self._prestarts):
            task.cancel()
        await asyncio.gather(self._tending, *self._prestarts, return_exceptions=True)
        self._tending = None
        self._watch.close()
        await self._http.close()

    def check(self, key: ClusterKey) -> None:
        """Raise `ShapeTooLarge` or `InvalidKey` if a cluster of `key` can never be made on this machine."""
        if key.cluster_type != self.cluster_type:
            raise InvalidKey(f"key.cluster_type: {key.cluster_type!r} cannot run here; known is {self.cluster_type}.")
        commands.check_params(key.shape)
        self.machine.check(key.shape, self.options)

    async def start(self, cluster: Cluster, key: ClusterKey, report: Report, resident_share: float = 0.5) -> Started:
        """Start `cluster`, or adopt it if it runs already, and return when it is ready.

        Raises:
            pool.core.errors.StartFailed: with the cause that the log gives.
        """
        for attempt in range(PORT_TRIES):
            supervisor = await self._begin(cluster.id, key, resident_share, again=attempt > 0)
            files = self._home.files(cluster.id)
            trail = files.trail()
            if trail is None:
                raise _stopped(cluster.id)
            calls = Calls(files, trail, self.options)
            starting = Starting(files, trail, supervisor, self._http, self._token_for(cluster.id), calls, report)
            try:
                ready = await starting.wait()
            except PortTaken as taken:
                log.info("a port was taken meanwhile, choosing others", cluster=cluster.id, cause=str(taken))
                continue
            await self._locked(cluster.id, asyncio.to_thread(self._write_ready, cluster.id, ready))
            self._begin_watch(cluster.id)
            return Started(
                cluster_id=cluster.id,
                boot_id=ready.boot_id,
                address=ready.address,
                client_address=ready.client_address,
                dashboard_url=trail.dashboard_url,
                ray_version=ready.ray_version,
            )
        raise StartFailed(f"{cluster.id}: its ports were taken by others {PORT_TRIES} times.")

    async def stop(self, cluster_id: str) -> None:
        """Stop the cluster and everything of it; return once it is seen gone.

        Raises:
            pool.core.errors.PoolError: if processes of it could not be ended.
        """
        self._watch.forget(cluster_id)
        await self._locked(cluster_id, asyncio.to_thread(self._home.end, cluster_id))
        self._locks.pop(cluster_id, None)

    async def reset(self, cluster: Cluster, key: ClusterKey, *, full: bool = True, span: Span | None = None) -> Clean:
        """Stop what a holder left and prove the cluster free of it.

        Here all of it takes no longer; only resident data stays unless `full`.
        """
        files = self._home.files(cluster.id)
        trail, ready = files.trail(), files.ready()
        if trail is None or ready is None or ready.boot_id != cluster.boot_id:
            return Clean(False, "the cluster that was leased does not run any more")
        dashboard = Dashboard(
            self._http, trail.dashboard_url, self._token_for(cluster.id), self.options.probe_timeout_s
        )
        take = partial(census.take, self._home.store_id, cluster.id, files)
        # Processes and Ray's services are within reach from here: all of it is done without a job in the cluster.
        calls = Calls(files, trail, self.options)
        clean = await Reset(dashboard, ready.session_name, self.options.settle_s, calls.sweep, take, full=full).run()
        if clean.clean:
            clean = await asyncio.to_thread(_without_code, clean, take, full=full)
        if clean.clean:
            # Nobody is there any more who could write.
            clean = await asyncio.to_thread(_without_files, clean, files.work, Path(trail.temp_dir, ready.session_name))
        if clean.removed:
            log.info("a reset removed what a holder left", cluster=cluster.id, removed=listed(clean.removed))
        if clean.clean and self.options.prestart_workers:
            task = asyncio.create_task(self._prestart(take, calls))
            self._prestarts.add(task)
            task.add_done_callback(self._prestarts.discard)
        return clean

    async def _prestart(self, take: Callable[[], census.Census], calls: Calls) -> None:
        """Give the next holder workers that wait for it: Ray ends those of a driver with it, and starts none itself."""
        try:
            idle = (await asyncio.to_thread(take)).idle
            if not await calls.prestart_workers(idle):
                log.debug("workers could not be started ahead of their use")
        except OSError as error:
            # The cluster is being stopped, or the machine is full: the next holder's Ray starts its workers itself.
            log.debug("workers could not be started ahead of their use", cause=str(error))

    async def list(self) -> Listing:
        """Return every cluster of this store, also half-started and half-stopped ones."""
        return await asyncio.to_thread(self._home.listing)

    async def _begin(self, cluster_id: str, key: ClusterKey, resident_share: float, *, again: bool) -> Process:
        def begin() -> Process:
            if again:
                if self._home.files(cluster_id).trail() is None:
                    raise _stopped(cluster_id)
                self._home.end(cluster_id)
            elif (supervisor := self._home.adopt(cluster_id, key.digest)) is not None:
                return supervisor
            return self._home.launch(cluster_id, key, self._token_for(cluster_id), resident_share)

        try:
            return await self._locked(cluster_id, asyncio.to_thread(begin))
        except OSError as error:
            raise StartFailed(f"{cluster_id} could not be started on this machine: {error}.") from error

    def _write_ready(self, cluster_id: str, ready: Ready) -> None:
        files = self._home.files(cluster_id)
        if files.trail() is None:
            raise _stopped(cluster_id)
        files.write_ready(ready)

    async def _locked(self, cluster_id: str, work: Coroutine[Any, Any, T]) -> T:
        """Do one piece of work on a cluster at a time. A thread cannot be cancelled: the lock is kept to its end."""
        lock = self._locks.setdefault(cluster_id, asyncio.Lock())
        try:
            await lock.acquire()
        except asyncio.CancelledError:
            work.close()
            raise
        task = asyncio.ensure_future(work)
        task.add_done_callback(lambda done: lock.release())
        return await asyncio.shield(task)

    def _begin_watch(self, cluster_id: str) -> None:
        files = self._home.files(cluster_id)
        trail, ready = files.trail(), files.ready()
        if trail is not None and ready is not None:
            self._watch.add(Watched(trail, files, ready, files.running(), self._dashboard(trail)))

    def _dashboard(self, trail: Trail) -> Dashboard:
        return Dashboard(
            self._http, trail.dashboard_url, self._token_for(trail.cluster_id), self.options.probe_timeout_s
        )

    async def _tend(self) -> None:
        """Claim the clusters, look at them, and give those without a supervisor a new one."""
        loop = asyncio.get_running_loop()
        claim_at = loop.time()
        while True:
            try:
                if loop.time() >= claim_at:
                    claim_at = loop.time() + self.options.claim_s
                    await asyncio.to_thread(self._home.touch)
                self._watch.look()
                for watched in self._watch.unsupervised():
                    await self._supervise(watched)
            except OSError as error:
                log.warning("could not look after the local clusters", cause=str(error))
            await asyncio.sleep(self.options.watch_s)

    async def _supervise(self, watched: Watched) -> None:
        cluster_id = watched.trail.cluster_id
        log.warning("the supervisor of a cluster is gone, starting another", cluster=cluster_id)

        def supervise() -> Running:
            running = watched.files.running()
            if watched.files.trail() is None:
                return running
            return replace(running, supervisor=self._home.supervise(watched.files, watched.trail))

        watched.running = await self._locked(cluster_id, asyncio.to_thread(supervise))


def _stopped(cluster_id: str) -> StartFailed:
    return StartFailed(f"{cluster_id} was stopped while it started.")


def _without_code(clean: Clean, take: Callable[[], census.Census], *, full: bool) -> Clean:
    """End what waits for the group's code, or tell that it is there."""
    found = take()
    if full:
        found.end_idle_for_code()
    return clean if full or not found.for_code else replace(clean, full=False)


def _without_files(clean: Clean, work: Path, session: Path) -> Clean:
    """Remove what holders wrote where their tasks ran; unclean if something would not go. Blocks."""
    for place in (work, session / "artifacts"):
        removed, left = sweep_files(str(place), 0.0)
        clean = replace(clean, removed=(*clean.removed, *removed))
        if left:
            clean = replace(clean, clean=False, left=listed(left), evidence=tuple(left))
    return clean

"""Notices within seconds that a ready cluster broke: its processes ended, its head was replaced, or it hangs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from pool.backends.local import cause
from pool.backends.local.options import LocalOptions
from pool.backends.local.processes import Process
from pool.backends.local.trail import Files, Ready, Running, Trail
from pool.backends.rayapi.dashboard import Dashboard, DashboardError
from pool.core.events import Lost
from pool.core.reasons import Reason

_NOBODY = Process(pid=0, start=0)


@dataclass(slots=True)
class Watched:
    """A ready cluster."""

    trail: Trail
    files: Files
    ready: Ready
    running: Running
    dashboard: Dashboard
    probe_at: float = 0.0
    misses: int = 0
    missing_since: float = 0.0
    last_miss: str = ""
    probe: asyncio.Task[None] | None = field(default=None, repr=False)


class Watch:
    """Looks at the processes of all ready clusters often, and asks each for its health now and then."""

    def __init__(self, options: LocalOptions, on_lost: Callable[[Lost], None]) -> None:
        self._options = options
        self._on_lost = on_lost
        self._watched: dict[str, Watched] = {}

    def add(self, watched: Watched) -> None:
        """Begin to watch a cluster (again)."""
        self.forget(watched.trail.cluster_id)
        watched.probe_at = time.monotonic() + self._options.probe_s
        self._watched[watched.trail.cluster_id] = watched

    def forget(self, cluster_id: str) -> None:
        """Stop watching a cluster, if it was watched."""
        watched = self._watched.pop(cluster_id, None)
        if watched is not None and watched.probe is not None:
            watched.probe.cancel()

    def close(self) -> None:
        """Stop watching."""
        for cluster_id in list(self._watched):
            self.forget(cluster_id)

    def unsupervised(self) -> list[Watched]:
        """Return the clusters whose supervisor is gone."""
        return [
            one
            for one in self._watched.values()
            if one.running.supervisor is None or not one.running.supervisor.alive()
        ]

    def look(self) -> None:
        """Look once at every cluster's processes, and begin the probes that are due."""
        now = time.monotonic()
        for watched in list(self._watched.values()):
            ended = next((name for name, process in watched.running.nodes.items() if not process.alive()), None)
            if ended is not None:
                self._lost(watched, Reason.PROCESS_GONE, _how(watched, ended))
            elif now >= watched.probe_at and (watched.probe is None or watched.probe.done()):
                watched.probe_at = now + self._options.probe_s
                watched.probe = asyncio.create_task(self._probe(watched))

    async def _probe(self, watched: Watched) -> None:
        try:
            version = await watched.dashboard.get("/api/version")
            if not await watched.dashboard.healthy():
                raise DashboardError("the GCS does not answer the dashboard")
        except DashboardError as error:
            self._missed(watched, str(error))
            return
        watched.misses = 0
        if version["session_name"] != watched.ready.session_name:
            self._lost(
                watched,
                Reason.HEAD_REPLACED,
                f"{watched.trail.cluster_id} now runs {version['session_name']}, not {watched.ready.session_name}.",
            )

    def _missed(self, watched: Watched, detail: str) -> None:
        # A machine with more work than cpus answers late: only a long silence counts.
        now = time.monotonic()
        if watched.misses == 0:
            watched.missing_since = now
        watched.misses += 1
        silent_s = now - watched.missing_since
        if watched.misses >= self._options.probe_misses and silent_s >= self._options.probe_window_s:
            times = f"{watched.misses} health probes in {silent_s:.0f} s"
            self._lost(watched, Reason.UNHEALTHY, f"{watched.trail.cluster_id} did not answer {times}: {detail}.")

    def _lost(self, watched: Watched, reason: Reason, detail: str) -> None:
        cluster_id = watched.trail.cluster_id
        # Its own probe may be what found it: that one ends by itself.
        if self._watched.pop(cluster_id, None) is not None:
            self._on_lost(Lost(cluster_id, watched.ready.boot_id, reason, detail))


def _how(watched: Watched, node: str) -> str:
    how = watched.files.running().ended.get(node, "is gone")
    why = cause.of(watched.files, watched.trail, node, was_ready=True)
    shape = "" if node == "head" else " The cluster no longer has the shape it was asked for."
    return f"{watched.trail.cluster_id}: {node} {how}: {why}{shape}"

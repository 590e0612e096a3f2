"""Asks each cluster every few seconds how it is, and tells what changed."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence

import aiohttp
import structlog

from pool.backends.base import News
from pool.backends.existing import report as reports
from pool.backends.existing.bound import Bound, boot_id
from pool.backends.existing.options import Entry, ExistingOptions
from pool.backends.rayapi.dashboard import Dashboard, DashboardError
from pool.core.errors import StartFailed
from pool.core.events import Degraded, Lost
from pool.core.key import describe
from pool.core.larger import covers
from pool.core.reasons import Reason

log = structlog.get_logger(__name__)

Learn = Callable[[Entry, reports.Report], None]


class Probes:
    """One round of questions after the other, each cluster once a round.

    Args:
        http: for all requests.
        options: how often, and for how long one may be silent.
        bound: the clusters that are attached or being attached; read anew every round.
        tell: told of losses.
        learn: told what a cluster reports whose key is not known yet.
    """

    def __init__(
        self,
        http: aiohttp.ClientSession,
        options: ExistingOptions,
        bound: Mapping[str, Bound],
        tell: Callable[[News], None],
        learn: Learn,
    ) -> None:
        self._http, self._options, self._bound = http, options, bound
        self._tell, self._learn = tell, learn
        self._said: dict[str, str] = {}
        self._now = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def begin(self, unknown: Callable[[], Sequence[Entry]]) -> None:
        """Begin to ask; `unknown` returns the entries whose keys are not known."""
        self._task = asyncio.create_task(self._run(unknown), name="probes of existing clusters")

    async def close(self) -> None:
        """Stop asking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def look_now(self) -> None:
        """Do not wait for the next round."""
        self._now.set()

    async def _run(self, unknown: Callable[[], Sequence[Entry]]) -> None:
        while True:
            self._now.clear()
            attached = [bound for bound in self._bound.values() if bound.boot_id]
            asked = [*map(self._look, attached), *map(self._meet, unknown())]
            for failed in await asyncio.gather(*asked, return_exceptions=True):
                if isinstance(failed, BaseException):
                    log.error("a probe failed in an unforeseen way", error=f"{type(failed).__name__}: {failed}")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._options.probe_s):
                    await self._now.wait()

    async def _meet(self, entry: Entry) -> None:
        """Ask a cluster for its key."""
        dashboard = Dashboard(self._http, entry.dashboard, entry.token, self._options.request_s)
        try:
            found = await reports.ask(dashboard, entry.name)
        except StartFailed as error:
            if self._said.get(entry.name) != error.detail:
                self._said[entry.name] = error.detail
                log.warning(str(error), reason=error.reason.value)
            return
        self._said.pop(entry.name, None)
        self._learn(entry, found)

    async def _look(self, bound: Bound) -> None:
        """See whether an attached cluster answers, is the one that it was, and has its nodes."""
        if bound.removed:
            name = bound.boot_id.partition("@")[0]
            said = f"The configuration no longer names {name}, or says another cluster of it."
            self._tell(Degraded(bound.cluster_id, bound.boot_id, said, lasting=True, reason=Reason.REMOVED))
        dashboard = bound.dashboard(self._http, self._options)
        if dashboard is None or bound.entry is None:
            return
        try:
            version = await dashboard.get("/api/version")
            nodes = await reports.nodes_of(dashboard)
        except DashboardError as error:
            self._silent(bound, error)
            return
        bound.silent_since = None
        bound.seen_boot = boot_id(bound.entry, str(version["session_name"]))
        if bound.seen_boot != bound.boot_id:
            said = f"{bound.entry.name}: {Reason.HEAD_REPLACED.sentence}"
            self._tell(Lost(bound.cluster_id, bound.boot_id, Reason.HEAD_REPLACED, said))
        elif bound.shape is not None:
            whole = nodes is not None and covers(nodes, bound.shape)
            missing = "" if whole else f"It has {describe(nodes) if nodes else 'no head'} of {describe(bound.shape)}."
            if missing or missing != bound.missing:
                self._tell(Degraded(bound.cluster_id, bound.boot_id, missing))
            bound.missing = missing

    def _silent(self, bound: Bound, error: DashboardError) -> None:
        now = asyncio.get_running_loop().time()
        if bound.silent_since is None:
            bound.silent_since = now
        silent_s = now - bound.silent_since
        if silent_s >= self._options.lost_after_s and bound.entry is not None:
            said = f"{bound.entry.name}: {reports.refused(error)}, for {silent_s:.0f} s"
            self._tell(Lost(bound.cluster_id, bound.boot_id, Reason.UNHEALTHY, said))

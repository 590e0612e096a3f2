"""`ExistingBackend`: Ray clusters that somebody else runs, named in the configuration with an address and a token.

To start one is to attach it: to see that it is usable, refuses strangers, and is what its key says. To stop one is to
let it go. It goes on either way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import aiohttp
import structlog

from pool.backends.base import Clean, KeepsWorkers, News, Report
from pool.backends.existing import report as reports
from pool.backends.existing.bound import Bound, boot_id, named
from pool.backends.existing.options import Entry, ExistingOptions
from pool.backends.existing.probes import Probes
from pool.backends.existing.roster import Roster, key_of
from pool.backends.rayapi.dashboard import Dashboard, DashboardError
from pool.backends.rayapi.inside import Swept, swept
from pool.backends.rayapi.reset import Reset, listed
from pool.backends.rayapi.scope import Began
from pool.core.decisions import Span
from pool.core.errors import InvalidKey, StartFailed
from pool.core.events import Listing, Lost, Readmit, Seen, Started
from pool.core.key import ClusterKey, describe
from pool.core.larger import covers
from pool.core.model import Cluster
from pool.core.reasons import Reason

log = structlog.get_logger(__name__)


class ExistingBackend(KeepsWorkers):
    """Leases clusters of others. See `pool.backends.base.Backend` for the verbs.

    Attributes:
        roster: the clusters that there are, and their keys.
        changed: called when a cluster's key came to be known: the rules follow from the roster.
    """

    cluster_type = "ray"

    def __init__(self, options: ExistingOptions | None = None) -> None:
        self.options = options or ExistingOptions()
        self.roster = Roster(self.options.entries)
        self.changed: Callable[[], None] = lambda: None
        self._bound: dict[str, Bound] = {}
        self._last_failed: dict[str, float] = {}
        self._probes: Probes | None = None

    async def open(
        self,
        store_id: str,
        token_for: Callable[[str], str],
        tell: Callable[[News], None],
        known: Sequence[tuple[Cluster, ClusterKey]] = (),
    ) -> None:
        """Find the entries of the store's clusters again, and begin to probe."""
        self._tell = tell
        for cluster, key in known:
            if cluster.boot_id:
                self._bound[cluster.id] = self._found_again(cluster, key)
        self._http = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        self._probes = Probes(self._http, self.options, self._bound, tell, self._learn)
        self._probes.begin(self._unknown)

    def _found_again(self, cluster: Cluster, key: ClusterKey) -> Bound:
        """Return what a cluster of the store stands for, if the configuration still says the same of it."""
        bound = Bound(cluster.id, None, cluster.boot_id, cluster.boot_id, key.shape, removed=True)
        entry = self.roster.entries.get(named(cluster.boot_id)[0])
        if entry is None or (entry.dashboard, entry.address, entry.tenant) != (
            cluster.dashboard_url,
            cluster.address,
            cluster.tenant,
        ):
            return bound
        if entry.name not in self.roster.keys and entry.image in ("", key.image):
            # What it reported then: as long as it is attached, it has that key.
            self.roster.keys[entry.name] = key
        if self.roster.keys.get(entry.name) == key:
            bound.entry, bound.removed = entry, False
        return bound

    async def close(self) -> None:
        """Stop probing. Clusters go on."""
        if self._probes is not None:
            await self._probes.close()
            self._probes = None
            await self._http.close()

    def take(self, roster: Roster) -> None:
        """Take another roster from now on; `announce` tells what that means for clusters that are attached."""
        self.roster = roster
        for bound in self._bound.values():
            entry = self.roster.entries.get(bound.entry.name) if bound.entry is not None else None
            bound.removed = entry is None or bound.entry is None or not entry.same_cluster(bound.entry)

    def announce(self) -> None:
        """Carry out what `take` changed: what is not named any more is let go, new tokens are taken."""
        for bound in self._bound.values():
            entry = self.roster.entries.get(bound.entry.name) if bound.entry is not None else None
            if bound.removed or entry is None or bound.entry is None:
                continue
            token_changed = entry.token != bound.entry.token
            bound.entry = entry
            if token_changed:
                log.info(f"{entry.name} has a new token", cluster=bound.cluster_id)
                self._tell(Readmit(bound.cluster_id))
        if self._probes is not None:
            self._probes.look_now()

    def token(self, cluster_id: str) -> str:
        """Return the token that the configuration has for the cluster."""
        bound = self._bound.get(cluster_id)
        return bound.entry.token if bound is not None and bound.entry is not None else ""

    def check(self, key: ClusterKey) -> None:
        """Raise `InvalidKey` if no cluster that is named can serve `key`."""
        if key.cluster_type != self.cluster_type:
            raise InvalidKey(f"key.cluster_type: {key.cluster_type!r} is not here; known is {self.cluster_type}.")
        self.roster.check(key)

    async def start(self, cluster: Cluster, key: ClusterKey, report: Report, resident_share: float = 0.5) -> Started:
        """Attach a cluster of this key that is not attached yet.

        Raises:
            pool.core.errors.StartFailed: if none is, or it is not usable.
        """
        report("attaching")
        bound = self._bound.get(cluster.id) or self._bind(cluster.id, key)
        entry, dashboard = bound.entry, bound.dashboard(self._http, self.options)
        if entry is None or dashboard is None:
            raise StartFailed(f"{cluster.id} stands for nothing that the configuration names.")
        try:
            found = await reports.ask(dashboard, entry.name)
        except StartFailed:
            self._failed(entry)
            raise
        if self.roster.entries.get(entry.name) != entry:
            raise StartFailed(f"{entry.name} was changed in the configuration meanwhile.", remedy="It is tried again.")
        if key_of(entry, found) != key:
            del self._bound[cluster.id]
            self._learn(entry, found)
            raise StartFailed(
                f"{entry.name} reports other nodes or another Ray now: {found.ray_version}, {describe(found.shape)}.",
                remedy="It is attached under that key.",
            )
        if not covers(found.shape, key.shape):
            self._failed(entry)
            raise StartFailed(
                f"{entry.name} has {describe(found.shape)}, and the configuration says {describe(key.shape)}.",
                remedy="Correct its `shape`, or leave it out; it is tried again.",
            )
        bound.boot_id = bound.seen_boot = boot_id(entry, found.session)
        bound.shape, bound.silent_since = key.shape, None
        self._last_failed.pop(entry.name, None)
        return Started(
            cluster_id=cluster.id,
            boot_id=bound.boot_id,
            address=entry.address,
            client_address=entry.client_address,
            dashboard_url=entry.dashboard,
            ray_version=found.ray_version,
        )

    async def stop(self, cluster_id: str) -> None:
        """Let the cluster go: it goes on, and may be attached again if the configuration names it still."""
        self._bound.pop(cluster_id, None)

    async def reset(self, cluster: Cluster, key: ClusterKey, *, full: bool = True, span: Span | None = None) -> Clean:
        """End what began in the time of the lease, of an exclusive cluster all there is; prove that it is gone."""
        bound = self._bound.get(cluster.id)
        dashboard = bound.dashboard(self._http, self.options) if bound is not None else None
        if bound is None or bound.entry is None or dashboard is None:
            return Clean(False, "the configuration names it no longer: it cannot be asked")
        try:
            session = str((await dashboard.get("/api/version"))["session_name"])
        except DashboardError as error:
            return Clean(False, reports.refused(error))
        if boot_id(bound.entry, session) != cluster.boot_id:
            self._tell(Lost(cluster.id, cluster.boot_id, Reason.HEAD_REPLACED, Reason.HEAD_REPLACED.sentence))
            return Clean(False, Reason.HEAD_REPLACED.sentence)
        if bound.entry.exclusive:
            scope = None
        elif span is None:
            return Clean(False, "its last lease is too long ago for what began in it to be told from what did not")
        else:
            scope = Began(*bound.clock.window_ms(span.since, span.until))
        found = await self._reset(dashboard, session, scope)
        if found.removed:
            log.info("a reset removed what a holder left", cluster=cluster.id, removed=listed(found.removed))
        return found

    async def _reset(self, dashboard: Dashboard, session: str, scope: Began | None) -> Clean:
        async def sweep(spare_resident: bool) -> Swept:
            began = scope.given() if scope is not None else None
            return await swept(dashboard, processes=False, prestart=False, spare_resident=spare_resident, began=began)

        return await Reset(dashboard, session, self.options.settle_s, sweep, scope=scope).run()

    async def list(self) -> Listing:
        """Return every cluster that is attached: what does not answer is told as lost by the probes, not here."""
        return Listing(0.0, True, tuple(Seen(b.cluster_id, b.seen_boot) for b in self._bound.values() if b.boot_id))

    def _bind(self, cluster_id: str, key: ClusterKey) -> Bound:
        taken = {bound.entry.name for bound in self._bound.values() if bound.entry is not None and not bound.removed}
        free = [name for name, have in self.roster.keys.items() if have.digest == key.digest and name not in taken]
        if not free:
            raise StartFailed("Every cluster of this key that the configuration names is attached already.")
        # One that does not answer must not keep another from its turn.
        name = min(free, key=lambda name: (self._last_failed.get(name, 0.0), name))
        bound = self._bound[cluster_id] = Bound(cluster_id, self.roster.entries[name], shape=key.shape)
        return bound

    def _failed(self, entry: Entry) -> None:
        self._last_failed[entry.name] = asyncio.get_running_loop().time()

    def _learn(self, entry: Entry, found: reports.Report) -> None:
        if self.roster.entries.get(entry.name) == entry and self.roster.learn(entry, found):
            log.info(f"{entry.name} reports Ray {found.ray_version} and {describe(found.shape)}")
            self.changed()

    def _unknown(self) -> Sequence[Entry]:
        """Return the entries whose key only they themselves can tell."""
        return [entry for name, entry in self.roster.entries.items() if name not in self.roster.keys]

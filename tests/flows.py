"""Workflows that run through the core as they would live: starts take their time, and what is due is done."""

from __future__ import annotations

from policies.look_ahead import JustInTime
from policies.reclaim import FixedTTL
from pool.core import snapshot
from pool.core.decide import due_events
from pool.core.events import Started, Stopped
from pool.core.key import ClusterKey
from pool.core.model import Cluster, ClusterState, Lease
from pool.core.recover import restore
from tests.kit import Core, make_key

FIRST, SECOND, THIRD = make_key(1), make_key(2), make_key(4)
STEPS = ((FIRST,), (SECOND, SECOND), (THIRD,))
START_S = 50.0
AHEAD = JustInTime(break_even_s=7_200.0)


class Live(Core):
    """A core whose clusters start, are reset and stop by themselves, each start in `START_S`."""

    def go(self, seconds: float) -> None:
        """Let time pass, and what starts be ready in it."""
        until = self.now + seconds
        while True:
            ready = [(c.created_at + START_S, c.id) for c in self.clusters(ClusterState.STARTING)]
            at = min([self.state.timers.next_due(), *(max(self.now, when) for when, _ in ready)])
            if at > until:
                break
            self.now = max(self.now, at)
            for when, id_ in ready:
                if when <= self.now:
                    self.tell(Started(id_, f"boot-{id_}", f"{id_}:6379"))
            for due in due_events(self.state, self.now):
                self.effects += self.watched(due).effects
            for cluster in self.clusters(ClusterState.STOPPING):
                self.tell(Stopped(cluster.id))
        self.now = until

    def have(self, key: ClusterKey, group: str) -> Lease:
        """Have a lease for a group, waiting as long as it takes."""
        ask = self.ask(key, group=group, wait_s=1e6)
        self.tell(ask)
        while ask.lease_id not in self.state.leases:
            self.go(1.0)
        return self.state.leases[ask.lease_id]

    def execute(self, group: str, *, takes_s: float = 200.0) -> list[Lease]:
        """Have a workflow run; return its leases as they were granted."""
        out: list[Lease] = []
        for step in STEPS:
            asks = [self.ask(key, group=group, wait_s=1e6) for key in step]
            for ask in asks:
                self.tell(ask)
            while not all(ask.lease_id in self.state.leases for ask in asks):
                self.go(1.0)
            leases = [self.state.leases[ask.lease_id] for ask in asks]
            self.go(takes_s)
            for lease in leases:
                self.release(lease)
            out += leases
            self.go(2.0)
        return out


def live(**fields: object) -> Live:
    kept = {"look_ahead": AHEAD, "reclaim": FixedTTL(0.0, 0.0), "group_rest_s": 0.0, "locality_wait_s": 0.0}
    core = Live(**{**kept, "start_timeout_s": 1e6, "lease_ttl_s": 1e7, "pickup_s": 1e7, **fields})  # type: ignore[arg-type]
    return core


def seen(core: Live, times: int = 3) -> Live:
    """Have a workflow run so often."""
    for n in range(times):
        core.execute(f"seen-{n}")
        core.go(5_000.0)
    return core


def of(core: Core, key: ClusterKey, *states: ClusterState) -> list[Cluster]:
    return [cluster for cluster in core.clusters(*states) if cluster.pool == key.digest]


def restarted(core: Live, rows: dict[str, str], ended: list[Lease]) -> None:
    state = core.state
    core.state = restore(
        state.rules, core.now, generation=2, pools=state.pools.values(), clusters=state.clusters.values(),
        leases=state.leases.values(), waiters=state.waiters.values(), ended=ended, learned=rows,
        starts=[(digest, START_S) for digest in state.pools],
    )  # fmt: skip


def rows_of(core: Live) -> dict[str, str]:
    return {name: row for name, row in snapshot.changed(core.state, core.now, 10_000).items() if row is not None}

"""One decision in the making: changes are applied to the state as they are made, and all can be taken back."""

from __future__ import annotations

import zlib
from typing import Any

from pool.core import learning
from pool.core.decisions import Change, Decision, Effect, Grow, Reset, Shrink, Span, Start, Stop
from pool.core.events import Event
from pool.core.key import ClusterKey
from pool.core.lifecycle import ClusterMove, LeaseMove, cluster_after, lease_after
from pool.core.model import IDLE, PLACES, QUARANTINED, STARTING, STOPPED, WARM_HEAD, Cluster, Lease, Pool, R, Record
from pool.core.reasons import Reason
from pool.core.state import COMING_UP, UNUSED, State
from pool.core.timers import Kind

_new = tuple.__new__
"""Makes a named tuple of its values, in a third of the time: every decision makes a dozen."""


def jitter(text: str) -> float:
    """Return a number in [0, 1) that is fixed for `text` and spread evenly: jitter without randomness."""
    return zlib.crc32(text.encode()) / 2**32


class Turn:
    """The state, the event's time, and the decision that grows.

    Attributes:
        settings: of a pool, by its digest.
        touched: digests of pools whose queue or idle clusters changed: they are served at the end.
        freed: room under a ceiling or a slot for a start came free: pools that were blocked by it are
            looked at again.
        idled: ids of clusters that came idle: one that nobody took may be evicted for a blocked pool.
    """

    __slots__ = ("decision", "freed", "idled", "now", "settings", "state", "touched")

    def __init__(self, state: State, event: Event, now: float) -> None:
        self.state = state
        self.settings = state.settings
        self.now = now
        # All its fields, since what is left out is looked up first.
        self.decision = Decision(event, now, None, [], [], {})
        self.touched: dict[str, None] = {}
        self.freed = False
        self.idled: list[str] = []

    # --- primitives ------------------------------------------------------------------------------------------------

    def change(self, old: Record | None, new: Record | None, *, durable: bool = True) -> None:
        """Apply and note one change."""
        self.state.replace[type(old if new is None else new)](old, new)
        self.decision.changes.append(_new(Change, (old, new, durable)))

    def update(self, old: R, *, durable: bool = True, **fields: Any) -> R:
        """Replace fields of a record and return the new one."""
        return self._with(old, fields, durable=durable)

    def _with(self, old: R, fields: dict[str, Any], *, durable: bool) -> R:
        # As `_replace` does, in half the time: every decision alters a few records of dozens of fields.
        places, values = PLACES[type(old)], list(old)
        for name, value in fields.items():
            values[places[name]] = value
        new = _new(type(old), values)
        self.state.replace[type(new)](old, new)
        self.decision.changes.append(_new(Change, (old, new, durable)))
        return new

    def effect(self, effect: Effect) -> None:
        """Note something to be done after the commit."""
        self.decision.effects.append(effect)

    def touch(self, digest: str) -> None:
        """Serve this pool's queue before the decision ends."""
        self.touched[digest] = None

    # --- pools -----------------------------------------------------------------------------------------------------

    def pool(self, key: ClusterKey) -> Pool:
        """Return the pool of a key, made now if it is new."""
        found = self.state.pools.get(key.digest)
        if found is not None:
            return found
        name = self.state.rules.settings_for(key).name
        new = Pool(digest=key.digest, key=key, name=name, created_at=self.now)
        self.change(None, new)
        return new

    # --- clusters --------------------------------------------------------------------------------------------------

    def start_cluster(self, pool: Pool, cause: Reason) -> Cluster:
        """Begin to start one more cluster of the pool. The caller has checked the ceilings."""
        settings = self.settings(pool.digest)
        seq = pool.next_seq
        id_ = f"c-{pool.digest}-{seq}"
        lifetime_s = settings.max_lifetime_s
        if lifetime_s:
            lifetime_s *= 1 - settings.lifetime_jitter * jitter(id_)
        cluster = Cluster(
            id=id_,
            pool=pool.digest,
            tenant=pool.key.tenant,
            seq=seq,
            footprint=pool.key.footprint,
            state=STARTING,
            cause=cause,
            created_at=self.now,
            changed_at=self.now,
            retires_at=self.now + lifetime_s if lifetime_s else 0.0,
            phase="starting",
        )
        self.update(pool, next_seq=seq + 1)
        self.change(None, cluster)
        self.begin_start(cluster)
        return cluster

    def begin_start(self, cluster: Cluster) -> None:
        """Have the backend start (or go on starting) a cluster, and watch how long it takes."""
        settings = self.settings(cluster.pool)
        timeout_s = settings.start_timeout_s
        self.effect(Start(cluster, self.state.key_of(cluster), timeout_s, settings.resident_share))
        self.state.timers.arm(Kind.START, cluster.id, cluster.changed_at + timeout_s)

    def shrink_cluster(self, cluster: Cluster, reason: Reason, detail: str) -> Cluster:
        """Let the workers of a cluster go that nobody uses."""
        resizes = cluster.resizes + 1
        new = self.move(cluster, ClusterMove.SHRINK, resizes=resizes, reason=reason, detail=detail, phase="")
        self.begin_shrink(new)
        return new

    def begin_shrink(self, cluster: Cluster) -> None:
        """Have the backend let a cluster's workers go (or go on with it), and watch how long it takes."""
        self.effect(Shrink(cluster, self.state.key_of(cluster)))
        timeout_s = self.settings(cluster.pool).start_timeout_s
        self.state.timers.arm(Kind.SHRINK, cluster.id, cluster.changed_at + timeout_s)

    def grow_cluster(self, cluster: Cluster) -> Cluster:
        """Begin to give a warm head its workers back. The caller has checked the ceilings."""
        footprint, resizes = self.state.key_of(cluster).footprint, cluster.resizes + 1
        new = self.move(
            cluster, ClusterMove.GROW, footprint=footprint, resizes=resizes, reason=None, detail="", phase="growing"
        )
        self.begin_grow(new)
        return new

    def begin_grow(self, cluster: Cluster) -> None:
        """Have the backend give a cluster its workers back (or go on with it), and watch how long it takes."""
        self.effect(Grow(cluster, self.state.key_of(cluster)))
        timeout_s = self.settings(cluster.pool).start_timeout_s
        self.state.timers.arm(Kind.START, cluster.id, cluster.changed_at + timeout_s)

    def begin_reset(self, cluster: Cluster, *, full: bool = True) -> None:
        """Have the backend reset a cluster, and watch how long it takes."""
        settings = self.settings(cluster.pool)
        timeout_s = settings.reset_timeout_s
        key, span = self.state.key_of(cluster), self._last_span(cluster)
        self.effect(Reset(cluster, key, cluster.epoch, timeout_s, full, span))
        # The shell gives up first; this is for the case that the shell forgot.
        self.state.timers.arm(Kind.RESET, cluster.id, self.now + timeout_s + 10.0)
        self.state.timers.arm(Kind.SLOW, cluster.id, self.now + settings.reset_wait_s)

    def _last_span(self, cluster: Cluster) -> Span | None:
        """Return the time of the cluster's last lease, where a reset must tell what began in it."""
        if self.settings(cluster.pool).standing is None:
            return None
        last = self.last_lease(cluster)
        return None if last is None or last.ended_at is None else Span(last.granted_at, last.ended_at)

    def last_lease(self, cluster: Cluster) -> Lease | None:
        """Return the cluster's lease that ended last, None if it was so long ago that only the store knows."""
        # Leases end one after the other: the last of this cluster is near the end, unless it was long ago.
        ended = (lease for lease in reversed(self.state.ended.values()) if lease.cluster == cluster.id)
        return next(ended, None)

    def reset_again(self, cluster: Cluster) -> None:
        """Reset in full a cluster that rests, clean for its group alone."""
        # Not worth a commit: the store has it as one that resets.
        self.begin_reset(self.move(cluster, ClusterMove.RESET_AGAIN, durable=False))

    def begin_stop(self, cluster: Cluster) -> None:
        """Have the backend stop a cluster."""
        reason = cluster.reason or Reason.SHUTDOWN
        self.effect(Stop(cluster.id, self.state.key_of(cluster), reason, cluster.detail))

    def move(self, cluster: Cluster, move: ClusterMove, *, durable: bool = True, **fields: Any) -> Cluster:
        """Take a cluster through its table, and note that its pool is to be served."""
        state = cluster_after(cluster, move)
        if state is not cluster.state:
            fields["changed_at"] = self.now
            if cluster.slow:
                fields["slow"] = False
            if state is IDLE and move is not ClusterMove.KEPT:
                fields["idle_since"] = self.now
        fields["state"] = state
        new = self._with(cluster, fields, durable=durable)
        self.touched[cluster.pool] = None
        if cluster.state in COMING_UP or state in (STOPPED, WARM_HEAD, QUARANTINED):
            self.freed = True
        if state in UNUSED:
            self.idled.append(new.id)
            self.watch_unused(new)
        return new

    def watch_unused(self, cluster: Cluster) -> None:
        """See to it that somebody looks when something is due of a cluster that nobody uses."""
        pool = self.state.pools[cluster.pool]
        settings = self.settings(cluster.pool)
        timers = self.state.timers
        timers.arm(Kind.KEEP, cluster.id, learning.keep_until(self.state, cluster, self.now))
        price = pool.key.warm_head_price
        if price < 1 and cluster.state is IDLE:
            timers.arm(Kind.WORKERS, cluster.id, settings.reclaim.workers_until(cluster, pool, price, self.now))
        if cluster.hold_until:
            timers.arm(Kind.HOLD, cluster.id, cluster.hold_until)
        if cluster.group_only:
            timers.arm(Kind.REST, cluster.id, self.now + settings.group_rest_s)
        if cluster.retires_at:
            timers.arm(Kind.RETIRE, cluster.id, cluster.retires_at)

    def stop_cluster(self, cluster: Cluster, reason: Reason, detail: str, **fields: Any) -> Cluster:
        """Stop a cluster whose leases have ended (`fields` are what `end_lease` returned)."""
        new = self.move(cluster, ClusterMove.STOP, reason=reason, detail=detail, hold_until=0.0, phase="", **fields)
        self.begin_stop(new)
        return new

    # --- leases ----------------------------------------------------------------------------------------------------

    def end_lease(self, lease: Lease, reason: Reason, detail: str = "") -> dict[str, Any]:
        """End a lease and return the fields of its cluster that change with it (the epoch rises).

        What becomes of the cluster is the caller's to say, who passes these fields on to `move`.
        """
        state = lease_after(lease, LeaseMove.END)
        self.update(lease, state=state, ended_at=self.now, end_reason=reason, end_detail=detail or reason.sentence)
        if reason is Reason.RELEASED:
            self.state.index[lease.pool].lease_s.add(self.now - lease.granted_at)
        learning.ended(self.state, lease.pool, lease.id, lease.group, self.now)
        cluster = self.state.clusters[lease.cluster]
        left = tuple(id_ for id_ in cluster.leases if id_ != lease.id)
        if not left:
            learning.released(self.state, cluster.pool, cluster.id, self.now)
        return {"epoch": cluster.epoch + 1, "leases": left}

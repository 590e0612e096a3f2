"""Derives the metrics from decisions: what changed from what to what, and what the asker was told."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from pool import __version__
from pool.core.decisions import Answer, Decision, Ended, Rejected
from pool.core.events import Acquire, Release
from pool.core.key import footprint_of
from pool.core.model import Cluster, ClusterState, Lease, LeaseState, Outcome, ReadFrom, Waiter
from pool.core.reasons import START_FAILURES, Reason
from pool.core.reconcile import DRIFTS
from pool.core.state import State
from pool.metrics.gauges import StateCollector, TimeInStates
from pool.metrics.series import Series
from pool.pulse import Pulse

ANNOUNCED = {
    "start_failures": START_FAILURES,
    "grow_failures": START_FAILURES,
    "rejections": (Reason.WAIT_TIMEOUT, Reason.QUEUE_FULL, Reason.START_FAILED, Reason.BREAKER_OPEN),
    "leases_ended": (Reason.RELEASED, Reason.EXPIRED, Reason.CLUSTER_LOST),
}
"""What alerts watch the increase of: to Prometheus a series that is born at 1 has not increased."""

CALLED_OFF = (Reason.DRAINED, Reason.SHUTDOWN)
"""Why a start ends that somebody took back: nothing failed."""

SHRINKS = ("let_go", "some_left", "kept", "failed")
"""How an attempt to let workers go can end."""

STARTING, IDLE, RESETTING = ClusterState.STARTING, ClusterState.IDLE, ClusterState.RESETTING
SHRINKING, GROWING = ClusterState.SHRINKING, ClusterState.GROWING


class Metrics:
    """What a daemon tells Prometheus.

    Attributes:
        registry: for the endpoint (``prometheus_client.generate_latest(metrics.registry)``).
        series: the counters and histograms.
    """

    def __init__(
        self,
        state: Callable[[], State],
        *,
        clock_now: Callable[[], float] = time.time,
        ready: Callable[[], bool] = lambda: True,
        pulse: Callable[[], Pulse] = Pulse,
        standing_by: Callable[[], bool] = lambda: False,
    ) -> None:
        self.series = Series(__version__, clock_now())
        self.registry = self.series.registry
        self._spent = TimeInStates(since=clock_now())
        self.registry.register(StateCollector(state, clock_now, ready, self._spent, pulse, standing_by))
        self._state = state
        # `labels()` costs more than the counting itself: each child is looked up once.
        self._children: dict[tuple[Any, ...], Any] = {}
        for kind in DRIFTS:
            self._child(self.series.drift, kind)
        for result in ("ok", "refused"):
            self._child(self.series.reloads, result)

    def begin(self, now: float) -> None:
        """Count from `now` on: before it another daemon counted, for which this one stood by."""
        self._spent.since = now

    def announce(self, pools: Iterable[str]) -> None:
        """Show the series of these configured pools at 0, so that the first event is an increase and not a birth."""
        for name in pools:
            for outcome in Outcome:
                self._child(self.series.wait, name, outcome.value)
            self._child(self.series.grants, name, Outcome.HIT.value, "none")
            for one in (self.series.lease, self.series.start, self.series.grow, self.series.grows, self.series.reset):
                self._child(one, name)
            for result in SHRINKS:
                self._child(self.series.shrinks, name, result)
            for result in ("clean", "failed"):
                self._child(self.series.resets, name, result)
            for data in ("here", "elsewhere"):
                self._child(self.series.locality, name, data)
            for source in ReadFrom:
                self._child(self.series.resident_reads, name, source.value)
            for metric, reasons in ANNOUNCED.items():
                for reason in reasons:
                    self._child(getattr(self.series, metric), name, reason.value)

    def observe(self, decision: Decision) -> None:
        """Count what a committed decision did."""
        for change in decision.changes:
            record = change.new if change.new is not None else change.old
            if isinstance(record, Cluster):
                self._cluster(change.old, change.new, decision.now)  # type: ignore[arg-type]
            elif isinstance(record, Lease):
                self._lease(change.old, change.new)  # type: ignore[arg-type]
        if decision.drift:
            for kind, count in decision.drift.items():
                self._child(self.series.drift, kind).inc(count)
        self._answers(decision)
        event = decision.event
        if isinstance(event, Release) and event.reads and isinstance(decision.reply, Ended):
            ended = self._state().ended.get(event.lease_id)
            name = self._name(ended.pool) if ended is not None else "gone"
            for source, count in event.reads:
                self._child(self.series.resident_reads, name, source.value).inc(count)

    def observe_commit(self, events: int, seconds: float) -> None:
        """Count one commit of so many events."""
        self.series.commit_batch.observe(events)
        self.series.commit.observe(seconds)

    def observe_refusal(self, reason: Reason) -> None:
        """Count one request that the API refused, other than an acquire that a decision rejected."""
        self._child(self.series.refusals, reason.value).inc()

    def observe_shadow(self, pool: str, live: bool, shadow: bool) -> None:
        """Count one lease of a configured pool: whether it was a hit, and whether it would have been in the shadow."""
        self._child(self.series.shadow, pool, "hit" if live else "miss", "hit" if shadow else "miss").inc()

    def observe_reload(self, *, ok: bool) -> None:
        """Count one reload of the configuration: taken, or refused as a whole."""
        self._child(self.series.reloads, "ok" if ok else "refused").inc()
        self.series.reload_ok.set(ok)

    def _child(self, metric: Any, *labels: str) -> Any:
        key = (metric, *labels)
        found = self._children.get(key)
        if found is None:
            found = self._children[key] = metric.labels(*labels)
        return found

    def _name(self, digest: str) -> str:
        pool = self._state().pools.get(digest)
        return pool.name if pool is not None else "gone"

    def _lease(self, old: Lease | None, new: Lease | None) -> None:
        if new is None:
            return
        if old is None:
            name, outcome = self._name(new.pool), new.outcome.value
            reason = new.miss.value if new.miss is not None else "none"
            self._child(self.series.grants, name, outcome, reason).inc()
            self._child(self.series.wait, name, outcome).observe(max(0.0, new.granted_at - new.asked_at))
            data = _locality(self._state(), new)
            if data:
                self._child(self.series.locality, name, data).inc()
        elif new.state is LeaseState.ENDED and old.state is not LeaseState.ENDED:
            name = self._name(new.pool)
            reason = new.end_reason.value if new.end_reason is not None else "none"
            self._child(self.series.leases_ended, name, reason).inc()
            self._child(self.series.lease, name).observe(max(0.0, (new.ended_at or 0.0) - new.granted_at))

    def _cluster(self, old: Cluster | None, new: Cluster | None, now: float) -> None:
        if new is None:
            return
        if old is None:
            self._child(self.series.starts, self._name(new.pool), new.cause.value).inc()
            return
        was, is_ = old.state, new.state
        if was is is_:
            return
        name = self._name(new.pool)
        self._spent.left(name, old, now)
        if was is STARTING and is_ is IDLE:
            self._child(self.series.start, name).observe(max(0.0, now - new.created_at))
        elif was is GROWING and is_ is IDLE:
            self._child(self.series.grow, name).observe(max(0.0, now - old.changed_at))
        elif was is SHRINKING:
            self._shrunk(name, new)
        elif was is RESETTING:
            self._child(self.series.resets, name, "clean" if is_ is IDLE else "failed").inc()
            self._child(self.series.reset, name).observe(max(0.0, now - old.changed_at))
        reason = new.reason.value if new.reason is not None else "none"
        if is_ is GROWING:
            self._child(self.series.grows, name).inc()
        elif was is GROWING and is_ is not IDLE and new.reason not in CALLED_OFF:
            self._child(self.series.grow_failures, name, reason).inc()
        if is_ is ClusterState.STOPPING:
            self._child(self.series.stops, name, reason).inc()
            if was is STARTING and new.reason not in CALLED_OFF:
                self._child(self.series.start_failures, name, reason).inc()

    def _shrunk(self, name: str, new: Cluster) -> None:
        if new.state is ClusterState.WARM_HEAD:
            key = self._state().pools[new.pool].key
            result = "let_go" if new.footprint == footprint_of(key.shape, {}) else "some_left"
        elif new.state is IDLE:
            result = "kept"
        elif new.reason is Reason.SHRINK_FAILED:
            result = "failed"
        else:
            return
        self._child(self.series.shrinks, name, result).inc()

    def _answers(self, decision: Decision) -> None:
        counted = False
        for effect in decision.effects:
            if isinstance(effect, Answer) and isinstance(effect.reply, Rejected):
                counted = True
                digest = next(
                    (c.old.pool for c in decision.changes if isinstance(c.old, Waiter) and c.old.id == effect.lease_id),
                    "",
                )
                self._child(self.series.rejections, self._name(digest), effect.reply.reason.value).inc()
        reply, event = decision.reply, decision.event
        if not isinstance(reply, Rejected):
            return
        if isinstance(event, Acquire) and not counted:
            name = self._state().rules.settings_for(event.key).name
            self._child(self.series.rejections, name, reply.reason.value).inc()


def _locality(state: State, lease: Lease) -> str:
    """Return where the data of a new lease's group is: ``here``, ``elsewhere``, empty if it has none."""
    if not lease.group:
        return ""
    granted = state.clusters.get(lease.cluster)
    if granted is not None and granted.resident:
        return "here"
    index = state.index[lease.pool]
    others = (*index.by_group.get(lease.group, ()), *index.busy_by_group.get(lease.group, ()))
    return "elsewhere" if any(state.clusters[id_].resident for id_ in others) else ""

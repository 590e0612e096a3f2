"""What is read from the pool's state when Prometheus asks."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from pool.core.model import Cluster, ClusterState
from pool.core.state import State
from pool.metrics.series import Row

READY = Row("warmpool_ready", "gauge", (), "1 once clusters were adopted and the daemon serves, else 0.")
CLUSTERS = Row("warmpool_clusters", "gauge", ("pool", "state"), "Clusters by state.")
LEASES = Row("warmpool_leases", "gauge", (), "Live leases.")
QUEUE = Row("warmpool_queue_length", "gauge", ("pool",), "Waiting acquires.")
BREAKERS = Row(
    "warmpool_breakers_open", "gauge", ("pool",), "Pools (one per key) whose starts are paused after failures."
)
SPENT = Row(
    "warmpool_cluster_state_seconds_total",
    "counter",
    ("pool", "state"),
    "Time that clusters spent in each state while this daemon ran; state idle is what warmth costs.",
)
ROWS = (READY, CLUSTERS, LEASES, QUEUE, BREAKERS, SPENT)

SHOWN = tuple(state for state in ClusterState if state is not ClusterState.STOPPED)


class TimeInStates:
    """Seconds that clusters spent in each state, up to the very moment it is asked."""

    def __init__(self, since: float) -> None:
        self._since = since
        self._spent_s: defaultdict[tuple[str, ClusterState], float] = defaultdict(float)

    def left(self, name: str, old: Cluster, now: float) -> None:
        """Count the time of a cluster that leaves its state. What was before this daemon is not counted."""
        self._spent_s[name, old.state] += max(0.0, now - max(old.changed_at, self._since))

    def totals(self, state: State, now: float) -> dict[tuple[str, ClusterState], float]:
        """Return the seconds by configured pool name and state."""
        totals = self._spent_s.copy()
        names = {digest: pool.name for digest, pool in state.pools.items()}
        for cluster in state.clusters.values():
            totals[names[cluster.pool], cluster.state] += max(0.0, now - max(cluster.changed_at, self._since))
        return totals


class StateCollector(Collector):
    """Shows the state as it is now."""

    def __init__(
        self,
        state: Callable[[], State],
        clock_now: Callable[[], float],
        ready: Callable[[], bool],
        spent: TimeInStates,
    ) -> None:
        self._state = state
        self._now = clock_now
        self._ready = ready
        self._spent = spent

    def describe(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """Yield the families without samples, so that registering them looks at nothing."""
        for row in ROWS:
            yield _counter(row) if row.type == "counter" else _gauge(row)

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """Yield the families as of now."""
        state, now = self._state(), self._now()
        names = sorted({pool.name for pool in state.pools.values()})
        yield _gauge(READY, {(): float(self._ready())})
        counts = state.counts()
        yield _gauge(CLUSTERS, {(name, one.value): counts.get((name, one), 0) for name in names for one in SHOWN})
        yield _gauge(LEASES, {(): len(state.leases)})
        yield _gauge(QUEUE, {(name,): length for name, length in state.queue_lengths().items()})
        broken = Counter(pool.name for pool in state.pools.values() if pool.breaker_until > now)
        yield _gauge(BREAKERS, {(name,): broken[name] for name in names})
        totals = _counter(SPENT)
        for (name, one), spent_s in sorted(self._spent.totals(state, now).items()):
            if one is not ClusterState.STOPPED:
                totals.add_metric((name, one.value), spent_s)
        yield totals


def _gauge(row: Row, values: dict[tuple[str, ...], float] | None = None) -> GaugeMetricFamily:
    family = GaugeMetricFamily(row.name, row.text, labels=row.labels)
    for labels, value in (values or {}).items():
        family.add_metric(labels, value)
    return family


def _counter(row: Row) -> CounterMetricFamily:
    return CounterMetricFamily(row.name.removesuffix("_total"), row.text, labels=row.labels)

"""What is read from the pool's state when Prometheus asks."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterator
from typing import TypeVar

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from pool.core.model import Cluster, ClusterState
from pool.core.state import State
from pool.metrics.series import Row
from pool.pulse import Pulse

K = TypeVar("K", bound=Hashable)

READY = Row("warmpool_ready", "gauge", (), "1 once clusters were adopted and the daemon serves, else 0.")
STANDING_BY = Row(
    "warmpool_standing_by", "gauge", (), "1 while the daemon stands by for the writer of its store, else 0."
)
CLUSTERS = Row("warmpool_clusters", "gauge", ("pool", "state"), "Clusters by state.")
LEASES = Row("warmpool_leases", "gauge", (), "Live leases.")
QUEUE = Row("warmpool_queue_length", "gauge", ("pool",), "Waiting acquires.")
RESIDENT = Row(
    "warmpool_resident_bytes", "gauge", ("pool",), "Resident data in the clusters' memory, as their holders told."
)
BREAKERS = Row(
    "warmpool_breakers_open", "gauge", ("pool",), "Pools (one per key) whose starts are paused after failures."
)
SPENT = Row(
    "warmpool_cluster_state_seconds_total",
    "counter",
    ("pool", "state"),
    "Time that clusters spent in each state while this daemon ran; state idle is what warmth costs.",
)
OLDEST = Row("warmpool_oldest_cluster_seconds", "gauge", ("pool",), "Age of the oldest cluster; 0 without one.")
OVERDUE = Row(
    "warmpool_cluster_overdue_seconds",
    "gauge",
    ("pool",),
    "How long ago a cluster that still serves reached its max_lifetime: the longest of them; 0 if none did.",
)
HEAD_MEMORY = Row(
    "warmpool_head_memory_bytes",
    "gauge",
    ("pool",),
    "Memory of Ray's own processes on a head, as its last reset found it: that of the cluster with the most.",
)
OPEN_FILES = Row(
    "warmpool_head_open_files",
    "gauge",
    ("pool",),
    "Files open in one of Ray's own processes on a head, as its last reset found it: the most of all clusters.",
)
LONGEST = Row(
    "warmpool_longest_in_state_seconds",
    "gauge",
    ("pool", "state"),
    "For how long the cluster that is longest in a state has been in it; 0 if none is.",
)
QUEUE_WAIT = Row(
    "warmpool_longest_wait_seconds", "gauge", ("pool",), "For how long the waiter that waits longest has waited."
)
QUEUE_TARGET = Row("warmpool_queue_target", "gauge", ("pool",), "The setting queue_target; absent where it is 0.")
WAIT_TARGET = Row("warmpool_wait_target_seconds", "gauge", ("pool",), "The setting wait_target; absent where it is 0.")
EVENTS = Row("warmpool_events_waiting", "gauge", (), "Events that wait to be decided.")
COMMITTING = Row(
    "warmpool_commit_running_seconds", "gauge", (), "For how long the commit now under way has run; 0 if none is."
)
COMMITTED = Row(
    "warmpool_last_commit_timestamp_seconds", "gauge", (), "When the last commit ended; absent before the first."
)
LISTED = Row(
    "warmpool_last_listing_timestamp_seconds",
    "gauge",
    (),
    "When the backend was last asked what it has and answered completely; absent before that.",
)
FOREIGN = Row(
    "warmpool_foreign_clusters",
    "gauge",
    (),
    "Clusters of somebody else beside this daemon's, as far as the backend shows them: they are never touched.",
)
ROWS = (
    READY, STANDING_BY, CLUSTERS, LEASES, QUEUE, RESIDENT, BREAKERS, SPENT, OLDEST, OVERDUE, HEAD_MEMORY,
    OPEN_FILES, LONGEST, QUEUE_WAIT, QUEUE_TARGET,
    WAIT_TARGET, EVENTS, COMMITTING, COMMITTED, LISTED, FOREIGN,
)  # fmt: skip

SHOWN = tuple(state for state in ClusterState if state is not ClusterState.STOPPED)


class TimeInStates:
    """Seconds that clusters spent in each state, up to the very moment it is asked."""

    def __init__(self, since: float) -> None:
        self.since = since
        self._spent_s: defaultdict[tuple[str, ClusterState], float] = defaultdict(float)

    def left(self, name: str, old: Cluster, now: float) -> None:
        """Count the time of a cluster that leaves its state. What was before this daemon is not counted."""
        self._spent_s[name, old.state] += max(0.0, now - max(old.changed_at, self.since))

    def totals(self, state: State, now: float) -> dict[tuple[str, ClusterState], float]:
        """Return the seconds by configured pool name and state."""
        totals = self._spent_s.copy()
        names = {digest: pool.name for digest, pool in state.pools.items()}
        for cluster in state.clusters.values():
            totals[names[cluster.pool], cluster.state] += max(0.0, now - max(cluster.changed_at, self.since))
        return totals


class Extremes:
    """The oldest, the longest and the most grown of a state's clusters and waiters, by configured pool name."""

    def __init__(self, state: State, now: float) -> None:
        self.names = names = {digest: pool.name for digest, pool in state.pools.items()}
        self.oldest_s: defaultdict[str, float] = defaultdict(float)
        self.overdue_s: defaultdict[str, float] = defaultdict(float)
        self.longest_s: defaultdict[tuple[str, ClusterState], float] = defaultdict(float)
        self.wait_s: defaultdict[str, float] = defaultdict(float)
        self.head_memory_bytes: defaultdict[str, float] = defaultdict(float)
        self.open_files: defaultdict[str, float] = defaultdict(float)
        for cluster in state.clusters.values():
            name = names[cluster.pool]
            _raise(self.oldest_s, name, now - cluster.created_at)
            _raise(self.longest_s, (name, cluster.state), now - cluster.changed_at)
            if cluster.retires_at and cluster.state is not ClusterState.STOPPING:
                _raise(self.overdue_s, name, now - cluster.retires_at)
            if cluster.wear is not None:
                _raise(self.head_memory_bytes, name, cluster.wear.head_memory_bytes)
                _raise(self.open_files, name, cluster.wear.open_files)
        for waiter in state.waiters.values():
            _raise(self.wait_s, names[waiter.pool], now - waiter.asked_at)


def _raise(most: defaultdict[K, float], key: K, value: float) -> None:
    if value > most[key]:
        most[key] = value


class StateCollector(Collector):
    """Shows the state as it is now."""

    def __init__(
        self,
        state: Callable[[], State],
        clock_now: Callable[[], float],
        ready: Callable[[], bool],
        spent: TimeInStates,
        pulse: Callable[[], Pulse],
        standing_by: Callable[[], bool],
    ) -> None:
        self._state = state
        self._now = clock_now
        self._ready = ready
        self._spent = spent
        self._pulse = pulse
        self._standing_by = standing_by

    def describe(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """Yield the families without samples, so that registering them looks at nothing."""
        for row in ROWS:
            yield _counter(row) if row.type == "counter" else _gauge(row)

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """Yield the families as of now."""
        state, now = self._state(), self._now()
        names = sorted({pool.name for pool in state.pools.values()})
        yield _gauge(READY, {(): float(self._ready())})
        yield _gauge(STANDING_BY, {(): float(self._standing_by())})
        counts = state.counts()
        yield _gauge(CLUSTERS, {(name, one.value): counts.get((name, one), 0) for name in names for one in SHOWN})
        yield _gauge(LEASES, {(): len(state.leases)})
        yield _gauge(QUEUE, {(name,): length for name, length in state.queue_lengths().items()})
        resident: Counter[str] = Counter()
        for cluster in state.clusters.values():
            if cluster.resident:
                resident[state.pools[cluster.pool].name] += cluster.resident_bytes
        yield _gauge(RESIDENT, {(name,): resident[name] for name in names})
        broken = Counter(pool.name for pool in state.pools.values() if pool.breaker_until > now)
        yield _gauge(BREAKERS, {(name,): broken[name] for name in names})
        yield from self._extremes(state, now, names)
        yield from self._signs_of_life(now)
        totals = _counter(SPENT)
        for (name, one), spent_s in sorted(self._spent.totals(state, now).items()):
            if one is not ClusterState.STOPPED:
                totals.add_metric((name, one.value), spent_s)
        yield totals

    def _extremes(self, state: State, now: float, names: list[str]) -> Iterator[GaugeMetricFamily]:
        most = Extremes(state, now)
        yield _gauge(OLDEST, {(name,): most.oldest_s[name] for name in names})
        yield _gauge(OVERDUE, {(name,): most.overdue_s[name] for name in names})
        yield _gauge(HEAD_MEMORY, {(name,): most.head_memory_bytes[name] for name in names})
        yield _gauge(OPEN_FILES, {(name,): most.open_files[name] for name in names})
        yield _gauge(LONGEST, {(name, one.value): most.longest_s[name, one] for name in names for one in SHOWN})
        yield _gauge(QUEUE_WAIT, {(name,): most.wait_s[name] for name in names})
        settings = {name: state.settings(digest) for digest, name in most.names.items()}
        yield _gauge(QUEUE_TARGET, {(name,): s.queue_target for name, s in sorted(settings.items()) if s.queue_target})
        yield _gauge(WAIT_TARGET, {(name,): s.wait_target_s for name, s in sorted(settings.items()) if s.wait_target_s})

    def _signs_of_life(self, now: float) -> Iterator[GaugeMetricFamily]:
        pulse = self._pulse()
        yield _gauge(EVENTS, {(): pulse.waiting})
        yield _gauge(COMMITTING, {(): pulse.committing_s(now)})
        yield _gauge(COMMITTED, {(): pulse.committed_at} if pulse.committed_at else {})
        yield _gauge(LISTED, {(): pulse.listed_at} if pulse.listed_at else {})
        yield _gauge(FOREIGN, {(): pulse.foreign})


def _gauge(row: Row, values: dict[tuple[str, ...], float] | None = None) -> GaugeMetricFamily:
    family = GaugeMetricFamily(row.name, row.text, labels=row.labels)
    for labels, value in (values or {}).items():
        family.add_metric(labels, value)
    return family


def _counter(row: Row) -> CounterMetricFamily:
    return CounterMetricFamily(row.name.removesuffix("_total"), row.text, labels=row.labels)

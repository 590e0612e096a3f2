"""The metrics: their names, labels and help. The manner is psycopg_pool's statistics, the names Prometheus'.

Labels are bounded: `pool` is the name of a configured pool, never a digest; reasons are codes of `pool.core.reasons`.
Counters and histograms begin at 0 when the daemon starts, as Prometheus expects; gauges are read from the pool's
state at the scrape, so they are right from the first scrape after a restart.
"""

from __future__ import annotations

from typing import NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)

WAIT_BUCKETS_S = (0.001, 0.005, 0.02, 0.1, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 3600)
START_BUCKETS_S = (0.1, 0.5, 1, 2.5, 5, 10, 15, 20, 30, 45, 60, 90, 120, 300, 600, 1200)
LEASE_BUCKETS_S = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600, 4 * 3600, 24 * 3600)
RESET_BUCKETS_S = (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 60)
COMMIT_BUCKETS_S = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1, 5)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Row(NamedTuple):
    """One line of the page about the metrics."""

    name: str
    type: str
    labels: tuple[str, ...]
    text: str


class Series:
    """Every counter and histogram of a daemon, in a registry of its own.

    Attributes:
        registry: what `/metrics` shows.
        rows: what the page about the metrics says of them.
    """

    def __init__(self, version: str, started_at: float) -> None:
        self.rows: list[Row] = []
        # Their times would double the number of series, and a restart is seen in `warmpool_start_time_seconds`.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = r = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            self.rows.append(Row(f"warmpool_{name}_total", "counter", labels, text))
            return Counter(f"warmpool_{name}", text, labels, registry=r)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            self.rows.append(Row(f"warmpool_{name}", "histogram", labels, text))
            return Histogram(f"warmpool_{name}", text, labels, registry=r, buckets=buckets)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            self.rows.append(Row(f"warmpool_{name}", "gauge", labels, text))
            return Gauge(f"warmpool_{name}", text, labels, registry=r)

        self.grants = counter(
            "grants",
            "Leases granted, by outcome (hit, waited, warm_head, cold) and by why it was a miss (none for a hit).",
            "pool",
            "outcome",
            "reason",
        )
        self.wait = histogram(
            "wait_seconds", "Time from acquire to grant, by outcome.", WAIT_BUCKETS_S, "pool", "outcome"
        )
        self.rejections = counter("rejections", "Acquires that ended without a grant, by reason.", "pool", "reason")
        self.refusals = counter(
            "refusals",
            "Other requests refused, by reason: stale_epoch counts refused epochs, unauthenticated unknown tokens.",
            "reason",
        )
        self.leases_ended = counter(
            "leases_ended", "Leases ended, by reason: expired counts expiries.", "pool", "reason"
        )
        self.lease = histogram("lease_seconds", "Time from grant to the lease's end.", LEASE_BUCKETS_S, "pool")
        self.starts = counter("cluster_starts", "Clusters whose start was begun, by cause.", "pool", "cause")
        self.start = histogram("cluster_start_seconds", "Time from a start's begin to ready.", START_BUCKETS_S, "pool")
        self.start_failures = counter("cluster_start_failures", "Starts that failed, by reason.", "pool", "reason")
        self.grows = counter("cluster_grows", "Warm heads that began to get their workers back.", "pool")
        self.grow = histogram(
            "cluster_grow_seconds", "Time until a warm head had its workers back.", START_BUCKETS_S, "pool"
        )
        self.grow_failures = counter(
            "cluster_grow_failures", "Warm heads that did not get their workers back, by reason.", "pool", "reason"
        )
        self.shrinks = counter(
            "cluster_shrinks",
            "Idle clusters that were to let their workers go, by result: let_go, some_left (others hold objects), kept "
            "(all of them do), failed.",
            "pool",
            "result",
        )
        self.stops = counter("cluster_stops", "Clusters whose stop was begun, by reason.", "pool", "reason")
        self.resets = counter("resets", "Resets between leases, by result (clean, failed).", "pool", "result")
        self.reset = histogram("reset_seconds", "Time of a reset.", RESET_BUCKETS_S, "pool")
        self.locality = counter(
            "locality",
            "Grants to a group that has resident data, by where it is: here (on the granted cluster) or elsewhere.",
            "pool",
            "data",
        )
        self.resident_reads = counter(
            "resident_reads",
            "Reads of resident data, as holders told: from the node's own memory (local), another node's (remote), "
            "the durable copy, or from nowhere (missing).",
            "pool",
            "source",
        )
        self.shadow = counter(
            "shadow_grants",
            "Leases by what they were (hit, miss), and what they would have been with the policy in the shadow.",
            "pool",
            "live",
            "shadow",
        )
        self.drift = counter(
            "drift", "Differences that reconcile found between the backend and the pool, by kind.", "kind"
        )
        self.commit_batch = histogram("commit_batch_events", "Events committed at once.", BATCH_BUCKETS)
        self.commit = histogram("commit_seconds", "Time of a commit to the store.", COMMIT_BUCKETS_S)
        self.reloads = counter("config_reloads", "Reloads of the configuration, by result (ok, refused).", "result")
        self.reload_ok = gauge(
            "config_last_reload_ok", "1 if the last reload of the configuration was taken (or none was tried), else 0."
        )
        self.reload_ok.set(1)
        gauge("build_info", "Always 1; the version is its label.", "version").labels(version).set(1)
        gauge("start_time_seconds", "When the daemon started, in seconds since the epoch.").set(started_at)
        ProcessCollector(registry=r)

"""What the dashboard shows: its rows, panels and queries."""

from __future__ import annotations

from typing import Any, NamedTuple

POOL = 'job=~"$job", pool=~"$pool"'
DAEMON = 'job=~"$job"'


class Query(NamedTuple):
    """One query of a panel and the name of its series."""

    expr: str
    legend: str


class Panel(NamedTuple):
    """What differs from panel to panel.

    Attributes:
        says: what the panel shows and what to look for.
        unit: in Grafana's words.
        kind: of panel.
        stack: the series add up to something.
        bad_from: values from which it is shown in red.
        good_from: values from which it is shown in green, and below in red.
    """

    title: str
    says: str
    unit: str
    queries: list[Query]
    kind: str = "timeseries"
    width: int = 8
    height: int = 8
    stack: bool = False
    bad_from: float | None = None
    good_from: float | None = None


def per_minute(metric: str, by: str, labels: str = POOL) -> str:
    """Return the rate of a counter per minute: most of what is counted here happens less than once a second."""
    return f"60 * {rate(metric, by, labels)}"


def rate(metric: str, by: str, labels: str = POOL) -> str:
    """Return the rate of a counter per second."""
    return f"sum by ({by}) (rate({metric}{{{labels}}}[$__rate_interval]))"


def most(metric: str, by: str, labels: str = POOL) -> str:
    """Return a gauge; a daemon that stands by shows less than the one that serves."""
    return f"max by ({by}) ({metric}{{{labels}}})"


def quantile(q: float, histogram: str, by: str = "le", labels: str = POOL, window: str = "$__rate_interval") -> str:
    """Return a quantile of a histogram."""
    return f"histogram_quantile({q}, sum by ({by}) (rate({histogram}_bucket{{{labels}}}[{window}])))"


def quantiles(histogram: str, labels: str = POOL) -> list[Query]:
    """Return the three quantiles that matter."""
    return [Query(quantile(q, histogram, labels=labels), f"p{round(q * 100)}") for q in (0.5, 0.95, 0.99)]


def stat(title: str, says: str, unit: str, expr: str, **how: Any) -> Panel:
    """Return a panel with one number."""
    return Panel(title, says, unit, [Query(expr, title)], kind="stat", width=3, height=4, **how)


IDLE_S = f'warmpool_cluster_state_seconds_total{{{POOL}, state="idle"}}'
HIT = f'warmpool_grants_total{{{POOL}, outcome="hit"}}'

ROWS: dict[str, list[Panel]] = {
    "At a glance": [
        stat(
            "Ready", "1 while a daemon serves. 0: nothing is granted; leased clusters go on.", "none",
            f"max(warmpool_ready{{{DAEMON}}})", good_from=1,
        ),
        stat(
            "Alerts", "Warmpool's alerts that fire now. docs/operating.md has a section for each.", "none",
            'count(ALERTS{alertname=~"Warmpool.*", alertstate="firing"}) or vector(0)', bad_from=1,
        ),
        stat(
            "Hits", "Share of the grants in the time shown that found an idle cluster.", "percentunit",
            f"sum(increase({HIT}[$__range])) / sum(increase(warmpool_grants_total{{{POOL}}}[$__range]))",
        ),
        stat(
            "Wait, p95", "95 of 100 grants in the time shown came within this.", "s",
            quantile(0.95, "warmpool_wait_seconds", window="$__range"),
        ),
        stat("Live leases", "Leases of all pools now.", "none", f"max(warmpool_leases{{{DAEMON}}})"),
        stat(
            "Waiters", "Acquires that wait now.", "none", f"sum({most('warmpool_queue_length', 'pool')})",
        ),
        stat(
            "Idle clusters", "Clusters that are warm and unleased now.", "none",
            "sum(" + most("warmpool_clusters", "pool", POOL + ', state="idle"') + ")",
        ),
        stat(
            "Idle cluster-seconds", "What warmth cost in the time shown: the time clusters stood idle.", "s",
            f"sum(increase({IDLE_S}[$__range]))",
        ),
    ],
    "Leases": [
        Panel(
            "Hits and misses", "By outcome: hit (idle), waited (for a release), warm_head (for workers), cold (start).",
            "cpm", [Query(per_minute("warmpool_grants_total", "outcome"), "{{outcome}}")], stack=True,
        ),
        Panel(
            "Why it was a miss", "Grants that found no idle cluster, by reason. Many no_cluster: consider min_idle or "
            "a schedule. Many all_leased: consider a buffer. Many *_ceiling: the ceiling is too low.", "cpm",
            [Query(per_minute("warmpool_grants_total", "reason", POOL + ', reason!="none"'), "{{reason}}")], stack=True,
        ),
        Panel(
            "Ended without a cluster", "Acquires refused or given up, by reason.", "cpm",
            [Query(per_minute("warmpool_rejections_total", "reason"), "{{reason}}")], stack=True,
        ),
        Panel("Wait", "Time from acquire to grant, hits included.", "s", quantiles("warmpool_wait_seconds")),
        Panel(
            "Wait by outcome, p95", "A slow hit is the daemon's matter (see commits), a slow cold one the backend's.",
            "s", [Query(quantile(0.95, "warmpool_wait_seconds", "le, outcome"), "{{outcome}}")],
        ),
        Panel(
            "Longest wait and target", "How long the one waits who waits longest now, and the pool's wait_target.", "s",
            [
                Query(most("warmpool_longest_wait_seconds", "pool"), "{{pool}}"),
                Query(most("warmpool_wait_target_seconds", "pool"), "target of {{pool}}"),
            ],
        ),
        Panel(
            "Queue", "Waiting acquires by pool, and the pool's queue_target.", "short",
            [
                Query(most("warmpool_queue_length", "pool"), "{{pool}}"),
                Query(most("warmpool_queue_target", "pool"), "target of {{pool}}"),
            ],
        ),
        Panel("Live leases", "Of all pools.", "short", [Query(most("warmpool_leases", "job", DAEMON), "leases")]),
        Panel(
            "How leases end", "By reason. expired: the holder vanished; cluster_lost: the cluster died under it.",
            "cpm", [Query(per_minute("warmpool_leases_ended_total", "reason"), "{{reason}}")], stack=True,
        ),
        Panel("Length of leases", "Time from grant to the lease's end.", "s", quantiles("warmpool_lease_seconds")),
        Panel(
            "Leases by pool", "Grants per second, by pool.", "ops",
            [Query(rate("warmpool_grants_total", "pool"), "{{pool}}")],
        ),
        Panel(
            "Refused requests", "Requests other than acquires that were refused, by reason. stale_epoch: a holder "
            "whose lease had ended tried to go on.", "cpm",
            [Query(per_minute("warmpool_refusals_total", "reason", DAEMON), "{{reason}}")], stack=True,
        ),
    ],
    "Clusters": [
        Panel(
            "Clusters by state", "All clusters, until they are seen gone.", "short",
            [Query(f"sum by (state) ({most('warmpool_clusters', 'pool, state')})", "{{state}}")], stack=True,
        ),
        Panel(
            "Clusters by pool", "All clusters, until they are seen gone.", "short",
            [Query(f"sum by (pool) ({most('warmpool_clusters', 'pool, state')})", "{{pool}}")], stack=True,
        ),
        Panel(
            "Starts by cause", "miss: a waiter needed it; all others: before demand.", "cpm",
            [Query(per_minute("warmpool_cluster_starts_total", "cause"), "{{cause}}")], stack=True,
        ),
        Panel("Time of a start", "From the decision to ready.", "s", quantiles("warmpool_cluster_start_seconds")),
        Panel(
            "Failed starts", "By reason. `warmpool pools` shows the last error of each pool.", "cpm",
            [Query(per_minute("warmpool_cluster_start_failures_total", "reason"), "{{reason}}")], stack=True,
        ),
        Panel(
            "Open breakers", "Keys whose starts are paused after failures, by pool.", "short",
            [Query(most("warmpool_breakers_open", "pool"), "{{pool}}")], bad_from=1,
        ),
        Panel(
            "Stops by reason", "idle_ttl, surplus: reclaimed; evicted: room for another key; holder_not_gone, "
            "reset_failed: replaced since it was not proven clean.", "cpm",
            [Query(per_minute("warmpool_cluster_stops_total", "reason"), "{{reason}}")], stack=True,
        ),
        Panel(
            "Longest in a state", "A cluster that is long in starting, resetting or stopping is stuck.", "s",
            [
                Query(
                    most("warmpool_longest_in_state_seconds", "state", POOL + ', state=~"starting|resetting|stopping"'),
                    "{{state}}",
                )
            ],
        ),
        Panel(
            "Oldest cluster", "Age of the oldest cluster by pool, and how far one that serves is past its "
            "max_lifetime.", "s",
            [
                Query(most("warmpool_oldest_cluster_seconds", "pool"), "{{pool}}"),
                Query(most("warmpool_cluster_overdue_seconds", "pool"), "{{pool}}, overdue"),
            ],
        ),
        Panel(
            "Resets", "Between two leases: clean, or failed and replaced.", "cpm",
            [Query(per_minute("warmpool_resets_total", "result"), "{{result}}")], stack=True,
        ),
        Panel("Time of a reset", "Nobody has the cluster for so long.", "s", quantiles("warmpool_reset_seconds")),
        Panel(
            "Quarantined", "Clusters that could not be proven clean and are kept for a look.", "short",
            [Query(most("warmpool_clusters", "pool", POOL + ', state="quarantined"'), "{{pool}}")], bad_from=1,
        ),
    ],
    "Cost": [
        Panel(
            "Idle clusters, average", "Cluster-seconds spent idle per second: what warmth costs, by pool.", "short",
            [Query(rate("warmpool_cluster_state_seconds_total", "pool", POOL + ', state="idle"'), "{{pool}}")],
            stack=True,
        ),
        Panel(
            "Where the clusters' time goes", "Cluster-seconds per second by state.", "short",
            [Query(rate("warmpool_cluster_state_seconds_total", "state"), "{{state}}")], stack=True,
        ),
        Panel(
            "Share of the time leased", "Leased cluster-seconds of all. Low: idle_ttl, min_idle or buffer are too "
            "generous.", "percentunit",
            [
                Query(
                    rate("warmpool_cluster_state_seconds_total", "pool", POOL + ', state="leased"')
                    + " / " + rate("warmpool_cluster_state_seconds_total", "pool"), "{{pool}}",
                )
            ],
        ),
        Panel(
            "Idle seconds per lease", "What one grant costs in warmth. Compare with the time of a start.", "s",
            [
                Query(
                    rate("warmpool_cluster_state_seconds_total", "pool", POOL + ', state="idle"')
                    + " / " + rate("warmpool_lease_seconds_count", "pool"), "{{pool}}",
                )
            ],
        ),
    ],
    "Daemon": [
        Panel(
            "Writer and standbys", "1 writer at any time; with replicas on PostgreSQL the others stand by. No writer: "
            "nothing is granted. A standby less than you run: nobody takes over.", "short",
            [
                Query(f"sum(warmpool_ready{{{DAEMON}}})", "writer"),
                Query(f"sum(warmpool_standing_by{{{DAEMON}}})", "standing by"),
            ],
        ),
        Panel("Commits", "Commits to the store per second.", "ops", [
            Query(rate("warmpool_commit_seconds_count", "job", DAEMON), "commits"),
            Query(rate("warmpool_commit_batch_events_sum", "job", DAEMON), "events"),
        ]),
        Panel(
            "Time of a commit", "Every grant waits for one.", "s", quantiles("warmpool_commit_seconds", DAEMON)
        ),
        Panel(
            "Commit under way, events waiting", "Both are near 0 while the store keeps up.", "short",
            [
                Query(most("warmpool_commit_running_seconds", "job", DAEMON), "seconds of the commit"),
                Query(most("warmpool_events_waiting", "job", DAEMON), "events waiting"),
            ],
        ),
        Panel(
            "Since", "Time since the last commit and since the backend told completely what it has. The latter is "
            "below reconcile_interval while all is well.", "s",
            [
                Query(f"time() - {most('warmpool_last_commit_timestamp_seconds', 'job', DAEMON)}", "last commit"),
                Query(f"time() - {most('warmpool_last_listing_timestamp_seconds', 'job', DAEMON)}", "last listing"),
            ],
        ),
        Panel(
            "Drift", "Differences that reconcile found. orphan, gone, replaced: somebody else's doing.", "cpm",
            [Query(per_minute("warmpool_drift_total", "kind", DAEMON), "{{kind}}")], stack=True,
        ),
        Panel(
            "Reloads", "Reloads of the configuration. refused: the old one stays in force.", "cpm",
            [Query(per_minute("warmpool_config_reloads_total", "result", DAEMON), "{{result}}")],
        ),
        Panel("Processor", "Cores that the daemon uses; it is one thread and the store's.", "short", [
            Query(rate("process_cpu_seconds_total", "instance", DAEMON), "{{instance}}"),
        ]),
        Panel("Memory", "Resident memory of the daemon.", "bytes", [
            Query(most("process_resident_memory_bytes", "instance", DAEMON), "{{instance}}"),
        ]),
        Panel("Uptime", "Time since each daemon started; a saw means restarts.", "s", [
            Query(f"time() - {most('warmpool_start_time_seconds', 'instance', DAEMON)}", "{{instance}}"),
        ]),
    ],
}  # fmt: skip

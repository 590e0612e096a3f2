"""For each alert a history in which it fires, with what it then says, and one near to it in which it does not.

Histories are promtool's: one value every 30 s, `1+2x5` for 1, 3, 5, ..., `_` for a scrape that failed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

POOL = 'job="warmpool", namespace="ml", instance="pod-1", pool="small"'
DAEMON = 'job="warmpool", namespace="ml", instance="pod-1"'
OTHER = 'job="warmpool", namespace="ml", instance="pod-2"'


@dataclass(frozen=True, slots=True)
class Case:
    """One alert.

    Attributes:
        fires: series in which it fires at the minute `at`.
        quiet: series in which it does not, at the same minute; each on its own.
        says: its description then.
        labels: that it has then, beside severity, namespace and job.
    """

    alert: str
    at: str
    fires: dict[str, str]
    quiet: tuple[dict[str, str], ...]
    says: str
    labels: dict[str, str] = field(default_factory=lambda: {"pool": "small"})
    job: bool = True


def _of(name: str, labels: str = POOL, more: str = "") -> str:
    return f"{name}{{{labels}{', ' + more if more else ''}}}"


READY, STARTED = _of("warmpool_ready", DAEMON), _of("warmpool_start_time_seconds", DAEMON)
FAILED = _of("warmpool_cluster_start_failures_total", more='reason="no_capacity"')
STARTS = _of("warmpool_cluster_starts_total", more='cause="miss"')
OPEN = _of("warmpool_cluster_start_failures_total", more='reason="open_cluster"')
QUEUE, QUEUE_TARGET = _of("warmpool_queue_length"), _of("warmpool_queue_target")
LONGEST, WAIT_TARGET = _of("warmpool_longest_wait_seconds"), _of("warmpool_wait_target_seconds")
DIRTY, CLEAN = (_of("warmpool_resets_total", more=f'result="{result}"') for result in ("failed", "clean"))


def _waits(seconds: str, most: str) -> dict[str, str]:
    """Return the histogram of waits of which `most` a scrape take at most `seconds`, and none longer."""
    buckets = {"60": "0x60", seconds: f"0+{most}x60", "+Inf": f"0+{most}x60"}
    return {_of("warmpool_wait_seconds_bucket", more=f'outcome="cold", le="{le}"'): v for le, v in buckets.items()}


STANDS_BY, OTHER_STANDS_BY = (_of("warmpool_standing_by", labels) for labels in (DAEMON, OTHER))

CASES = [
    Case(
        "WarmpoolDown", "20m", {READY: "1x20 stale _x40"},
        ({READY: "1x60"}, {READY: "1x36 0 0 1x20"}, {READY: "1x35 stale _x40"},
         {READY: "1x20 stale _x40", _of("warmpool_ready", OTHER): "_x20 1x40"}),
        "No daemon of warmpool has been ready for 10m 0s. Leased clusters go on; nothing is granted or stopped.",
        {},
    ),
    Case(
        "WarmpoolDown", "20m", {READY: "0x60", STARTED: "60x60"}, ({READY: "0x10 1x50", STARTED: "60x60"},),
        "No daemon of warmpool has been ready for 19m 0s. Leased clusters go on; nothing is granted or stopped.",
        {},
    ),
    Case(
        "WarmpoolDown", "20m", {"up": "1x60"}, ({READY: "1x60"},),
        "No daemon has been ready for 6h 0m 0s. Leased clusters go on; nothing is granted or stopped.",
        {}, job=False,
    ),
    Case(
        "WarmpoolRestarts", "29m", {STARTED: "0x10 300x10 600x10 900x60"}, ({STARTED: "0x10 300x80"},
        {STARTED: "0x90", _of("warmpool_start_time_seconds", OTHER): "0x90"},
        # Two replicas, each replaced once.
        {STARTED: "0x20 stale", _of("warmpool_start_time_seconds", OTHER): "0x22 stale",
         _of("warmpool_start_time_seconds", DAEMON.replace("pod-1", "pod-3")): "_x18 540x80",
         _of("warmpool_start_time_seconds", DAEMON.replace("pod-1", "pod-4")): "_x20 600x80"}),
        "The daemon of warmpool was started 3 more times in 30 minutes.", {},
    ),
    Case(
        "WarmpoolNoStandby", "20m", {READY: "1x60", OTHER_STANDS_BY: "1x10 stale _x40"},
        ({READY: "1x60", STANDS_BY: "0x60"}, {READY: "1x60", OTHER_STANDS_BY: "1x60"},
         {READY: "1x60", OTHER_STANDS_BY: "1x22 stale _x40"},
         {READY: "1x20 stale _x40", OTHER_STANDS_BY: "1x10 0x50"}),
        "The last standby of warmpool was seen 15m 0s ago. If the writer ends now, nothing is granted until another "
        "one has started.", {},
    ),
    Case(
        "WarmpoolNoCommits", "10m", {_of("warmpool_commit_running_seconds", DAEMON): "0x10 0+30x20"},
        ({_of("warmpool_commit_running_seconds", DAEMON): "0x15 40 0 0.5x10"},
         {_of("warmpool_commit_running_seconds", DAEMON): "0x19 40 0x10"}),
        "warmpool has work and has committed nothing for 4m 30s. Every acquire and release waits for the store.", {},
    ),
    Case(
        "WarmpoolNoCommits", "10m", {
            _of("warmpool_last_commit_timestamp_seconds", DAEMON): "30x40",
            _of("warmpool_events_waiting", DAEMON): "0x10 7x30",
        },
        ({
            _of("warmpool_last_commit_timestamp_seconds", DAEMON): "30x40",
            _of("warmpool_events_waiting", DAEMON): "0x40",
        }, {
            _of("warmpool_last_commit_timestamp_seconds", DAEMON): "0+30x16 480x40",
            _of("warmpool_events_waiting", DAEMON): "9x40",
        }),
        "warmpool has work and has committed nothing for 9m 30s. Every acquire and release waits for the store.", {},
    ),
    Case(
        "WarmpoolBackendUnseen", "10m", {_of("warmpool_last_listing_timestamp_seconds", DAEMON): "0+30x4 120x40"},
        ({_of("warmpool_last_listing_timestamp_seconds", DAEMON): "0+30x4 360x40"},),
        "The backend of warmpool has not told completely what it has for 8m 0s. Warm grants go on; lost clusters are "
        "not noticed, and starts and stops may fail.", {},
    ),
    Case(
        "WarmpoolConfigRefused", "5m", {
            _of("warmpool_config_last_reload_ok", DAEMON): "1 1 0x20",
            _of("warmpool_config_reloads_total", DAEMON, 'result="refused"'): "0 0 2x20",
            _of("warmpool_config_reloads_total", DAEMON, 'result="ok"'): "9x22",
        },
        ({
            _of("warmpool_config_last_reload_ok", DAEMON): "1 0 1x20",
            _of("warmpool_config_reloads_total", DAEMON, 'result="refused"'): "0 1x20",
        },),
        "warmpool refused its last reload (refused so far: 2); the configuration before it stays in force.", {},
    ),
    Case(
        "WarmpoolDrift", "15m", {_of("warmpool_drift_total", DAEMON, 'kind="orphan"'): "0x10 2x40"},
        ({_of("warmpool_drift_total", DAEMON, 'kind="stop_again"'): "0x10 50x40"},
         {_of("warmpool_drift_total", DAEMON, 'kind="gone"'): "3x60"}),
        "warmpool found 2 clusters to differ from what it believed in 15 minutes, as orphan.", {"kind": "orphan"},
    ),
    Case(
        "WarmpoolStartFailures", "15m", {FAILED: "0x10 4x40", STARTS: "0x10 10x40"},
        ({FAILED: "0x10 4x40", STARTS: "0x10 100x40"}, {FAILED: "0x10 2x40", STARTS: "0x10 2x40"}),
        "4 starts of pool small failed in 15 minutes with no_capacity, and of all its starts more than one in ten.",
        {"pool": "small", "reason": "no_capacity"},
    ),
    Case(
        "WarmpoolBreakerOpen", "10m", {_of("warmpool_breakers_open"): "0x15 1 1 0x20"},
        ({_of("warmpool_breakers_open"): "0x3 1 0x40"},),
        "Starts failed so often in a row that they are paused for 1 keys of pool small. Acquires that need a new "
        "cluster are refused.",
    ),
    Case(
        "WarmpoolOpenCluster", "30m", {OPEN: "0x10 1x60"}, ({OPEN: "0x80", FAILED: "0x10 9x60"},),
        "1 new clusters of pool small answered a call without their token in the last hour. They were never leased "
        "and are stopped.",
    ),
    Case(
        "WarmpoolWaiters", "10m", {QUEUE: "30x40", QUEUE_TARGET: "20x40"},
        ({QUEUE: "20x40", QUEUE_TARGET: "20x40"}, {QUEUE: "0x15 30x40", QUEUE_TARGET: "20x40"}, {QUEUE: "900x40"}),
        "30 acquires wait for a cluster of pool small, more than its queue_target.",
    ),
    Case(
        "WarmpoolWaitOverTarget", "10m", {LONGEST: "0+30x40", WAIT_TARGET: "300x40"},
        ({LONGEST: "0+30x9 0+30x9 0+30x9", WAIT_TARGET: "300x40"}, {LONGEST: "0+30x40"},
         {LONGEST: "0x18 400x20", WAIT_TARGET: "300x40"}),
        "Waits for a cluster of pool small reach 10m 0s, longer than its wait_target.",
    ),
    Case(
        "WarmpoolWaitOverTarget", "20m", {**_waits("600", "1"), WAIT_TARGET: "300x60"},
        ({**_waits("120", "1"), WAIT_TARGET: "300x60"}, {**_waits("600", "0"), WAIT_TARGET: "300x60"}),
        "Waits for a cluster of pool small reach 9m 32s, longer than its wait_target.",
    ),
    Case(
        "WarmpoolAcquiresRefused", "15m", {_of("warmpool_rejections_total", more='reason="queue_full"'): "0x10 8x40"},
        ({_of("warmpool_rejections_total", more='reason="warm_only_miss"'): "0x10 8x40"},
         {_of("warmpool_rejections_total", more='reason="queue_full"'): "8x50"}),
        "8 acquires of pool small ended without a cluster in 15 minutes, with queue_full.",
        {"pool": "small", "reason": "queue_full"},
    ),
    Case(
        "WarmpoolQuarantine", "5m", {_of("warmpool_clusters", more='state="quarantined"'): "0 2x20"},
        ({_of("warmpool_clusters", more='state="idle"'): "9x20"},
         {_of("warmpool_clusters", more='state="quarantined"'): "0 2 2 0x20"},
         {_of("warmpool_clusters", more='state="quarantined"'): "0x9 2x20"}),
        "2 clusters of pool small could not be proven clean and are kept for a look.",
    ),
    Case(
        "WarmpoolResetsFail", "30m", {DIRTY: "0x10 5x60", CLEAN: "0x10 10x60"},
        ({DIRTY: "0x10 5x60", CLEAN: "0x10 100x60"}, {DIRTY: "0x10 2x60", CLEAN: "0x70"}),
        "5 resets of pool small failed in 30 minutes, more than one in ten. Each costs a cluster, and the next task "
        "a cold start.",
    ),
    Case(
        "WarmpoolClustersTooOld", "5m", {_of("warmpool_cluster_overdue_seconds"): "7200x20"},
        ({_of("warmpool_cluster_overdue_seconds"): "600x20"},),
        "A cluster of pool small passed its max_lifetime 2h 0m 0s ago and is still leased.",
    ),
    Case(
        "WarmpoolStopsHang", "5m", {_of("warmpool_longest_in_state_seconds", more='state="stopping"'): "1800x20"},
        ({_of("warmpool_longest_in_state_seconds", more='state="stopping"'): "60x20",
          _of("warmpool_longest_in_state_seconds", more='state="idle"'): "9000x20"},),
        "A cluster of pool small has been stopping for 30m 0s. It still costs, and counts under every ceiling.",
    ),
    Case(
        "WarmpoolClustersLost", "15m", {_of("warmpool_leases_ended_total", more='reason="cluster_lost"'): "0x10 1x40"},
        ({_of("warmpool_leases_ended_total", more='reason="cluster_lost"'): "4x60",
          _of("warmpool_leases_ended_total", more='reason="released"'): "0+5x60"},),
        "1 leases of pool small ended in 15 minutes because their cluster was lost.",
    ),
    Case(
        "WarmpoolHoldersVanish", "30m", {_of("warmpool_leases_ended_total", more='reason="expired"'): "0x10 6x60"},
        ({_of("warmpool_leases_ended_total", more='reason="expired"'): "0x10 3x60"},
         {_of("warmpool_leases_ended_total", more='reason="released"'): "0x10 50x60"}),
        "6 leases of pool small expired in 30 minutes: their holders stopped renewing. Each costs a cluster.",
    ),
]  # fmt: skip

"""What Prometheus is told is what happened."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pool.core.events import Cordon, Listing, Release, Renew, ResetDone, Revoke, Seen, StartFailed, Stopped
from pool.core.key import key_from
from pool.core.model import Mode, ReadFrom, ResidentValue, Wear
from pool.core.reasons import START_FAILURES, Reason
from pool.core.reconcile import DRIFTS
from pool.metrics import Metrics
from pool.metrics.document import page
from pool.metrics.gauges import ROWS
from pool.pulse import Pulse
from tests.by_hand import KEY, Core

C1 = f"c-{KEY.digest}-1"


class Watched(Core):
    def __init__(self, *config: str) -> None:
        super().__init__(*config)
        self.metrics = Metrics(lambda: self.state, clock_now=lambda: self.now)
        self.observers.append(self.metrics.observe)

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"warmpool_{name}", labels)


@pytest.fixture
def core() -> Watched:
    return Watched()


def leased(core: Watched) -> None:
    core.acquire("l-1")
    core.after(8)
    core.started()


def test_a_cold_grant_counts_its_wait_its_start_and_its_reason(core: Watched) -> None:
    leased(core)
    assert core.value("grants_total", pool="small", outcome="cold", reason="no_cluster") == 1
    assert core.value("wait_seconds_sum", pool="small", outcome="cold") == 8
    assert core.value("cluster_start_seconds_sum", pool="small") == 8
    assert core.value("cluster_starts_total", pool="small", cause="miss") == 1


def test_a_hit_has_no_reason_and_ends_the_idle_time(core: Watched) -> None:
    leased(core)
    core(Release("l-1", 1))
    core.after(2)
    core.reset()
    core.after(30)
    core.acquire("l-2")
    assert core.value("grants_total", pool="small", outcome="hit", reason="none") == 1
    assert core.value("wait_seconds_count", pool="small", outcome="hit") == 1
    assert core.value("cluster_state_seconds_total", pool="small", state="idle") == 30
    assert core.value("resets_total", pool="small", result="clean") == 1
    assert core.value("reset_seconds_sum", pool="small") == 2


def test_time_in_a_state_counts_while_it_lasts(core: Watched) -> None:
    leased(core)
    core(Renew("l-1", 1))
    core.after(20)
    assert core.value("cluster_state_seconds_total", pool="small", state="leased") == 20
    core.now += 5
    assert core.value("cluster_state_seconds_total", pool="small", state="leased") == 25
    assert core.value("cluster_state_seconds_total", pool="small", state="starting") == 8


def test_a_restarted_daemon_does_not_count_what_the_one_before_has_counted(core: Watched) -> None:
    leased(core)
    core.now += 100
    again = Metrics(lambda: core.state, clock_now=lambda: core.now)
    core.observers[:] = [again.observe]
    core.now += 7
    core(Release("l-1", 1))
    labels = {"pool": "small", "state": "leased"}
    assert again.registry.get_sample_value("warmpool_cluster_state_seconds_total", labels) == 7


def test_gauges_are_right_from_the_first_scrape_after_a_restart(core: Watched) -> None:
    leased(core)
    core.acquire("l-2", mode=Mode.WAIT)
    again = Metrics(lambda: core.state, clock_now=lambda: core.now, ready=lambda: False)
    read = again.registry.get_sample_value
    assert read("warmpool_clusters", {"pool": "small", "state": "leased"}) == 1
    assert read("warmpool_clusters", {"pool": "small", "state": "idle"}) == 0
    assert read("warmpool_queue_length", {"pool": "small"}) == 1
    assert read("warmpool_leases") == 1
    assert read("warmpool_ready") == 0
    assert read("warmpool_start_time_seconds") == core.now


def test_every_end_of_a_lease_is_counted_with_its_reason(core: Watched) -> None:
    leased(core)
    core(Renew("l-1", 1))
    core.after(31)
    assert core.value("leases_ended_total", pool="small", reason="expired") == 1
    assert core.value("lease_seconds_sum", pool="small") == 31
    assert core.value("cluster_stops_total", pool="small", reason="holder_not_gone") == 1
    core(Stopped(C1))
    core.acquire("l-2")
    core.started(2)
    core(Revoke("l-2"))
    assert core.value("leases_ended_total", pool="small", reason="revoked") == 1


def test_a_failed_reset_is_counted(core: Watched) -> None:
    leased(core)
    core(Release("l-1", 1))
    core.reset(clean=False)
    assert core.value("resets_total", pool="small", result="failed") == 1
    assert core.value("cluster_stops_total", pool="small", reason="reset_failed") == 1


def test_how_much_heads_have_grown_is_shown_by_the_one_that_has_most(core: Watched) -> None:
    leased(core)
    core(Release("l-1", 1))
    core(ResetDone(C1, core.state.clusters[C1].epoch, True, wear=Wear(700, 70)))
    assert core.value("head_memory_bytes", pool="small") == 700
    assert core.value("head_open_files", pool="small") == 70


def test_resident_data_reads_of_it_and_grants_that_follow_it_are_counted(core: Watched) -> None:
    leased(core)
    told = (ResidentValue("features", 10, "node", 0.0),)
    core(Release("l-1", 1, resident=told, reads=((ReadFrom.LOCAL, 2), (ReadFrom.DURABLE, 1))))
    cluster = core.state.clusters[C1]
    core(ResetDone(C1, cluster.epoch, True, full=False))
    assert core.value("resident_bytes", pool="small") == 10
    assert core.value("resident_reads_total", pool="small", source="local") == 2
    assert core.value("resident_reads_total", pool="small", source="durable") == 1
    core.acquire("l-2")
    core.acquire("l-3")
    core.after(8)
    core.started(2)
    assert core.value("locality_total", pool="small", data="here") == 1
    assert core.value("locality_total", pool="small", data="elsewhere") == 1


def test_failed_starts_and_the_breaker_are_shown(core: Watched) -> None:
    core.acquire("l-1", wait_s=600)
    core(StartFailed(C1, Reason.START_FAILED, "no such image"))
    assert core.value("cluster_start_failures_total", pool="small", reason="start_failed") == 1
    assert core.value("breakers_open", pool="small") == 0
    core(Stopped(C1))
    core.after(2)
    core(StartFailed(f"c-{KEY.digest}-2", Reason.START_TIMEOUT, ""))
    assert core.value("cluster_start_failures_total", pool="small", reason="start_timeout") == 1
    assert core.value("breakers_open", pool="small") == 1


def test_rejections_are_counted_once_whenever_they_come(core: Watched) -> None:
    core.acquire("l-1", mode=Mode.WARM_ONLY)
    assert core.value("rejections_total", pool="small", reason="warm_only_miss") == 1
    core.acquire("l-2", wait_s=5)
    core.after(5)
    assert core.value("rejections_total", pool="small", reason="wait_timeout") == 1


def test_a_refused_request_is_counted_where_it_is_refused(core: Watched) -> None:
    leased(core)
    core(Renew("l-1", 7))
    assert core.value("refusals_total", reason="stale_epoch") is None, "the API counts it, which refuses most itself"
    core.metrics.observe_refusal(Reason.STALE_EPOCH)
    assert core.value("refusals_total", reason="stale_epoch") == 1


def test_drift_is_counted_by_kind(core: Watched) -> None:
    core.acquire("l-1")
    core.now += 1
    core(Listing(core.now, True, (Seen("c-stranger-1"), Seen("c-stranger-2"))))
    assert core.value("drift_total", kind="orphan") == 2


def test_a_start_that_an_operator_took_back_is_no_failure(core: Watched) -> None:
    core.metrics.announce(["small"])
    core.acquire("l-1")
    core(Cordon(C1, on=True, drain=True))
    assert core.value("cluster_stops_total", pool="small", reason="drained") == 1
    assert core.value("cluster_start_failures_total", pool="small", reason="drained") is None


def test_what_alerts_watch_is_at_0_before_it_happens(core: Watched) -> None:
    core.metrics.announce(["small"])
    for reason in START_FAILURES:
        assert core.value("cluster_start_failures_total", pool="small", reason=reason) == 0
    for reason in ("wait_timeout", "queue_full", "start_failed", "breaker_open"):
        assert core.value("rejections_total", pool="small", reason=reason) == 0
    for reason in ("expired", "cluster_lost"):
        assert core.value("leases_ended_total", pool="small", reason=reason) == 0
    assert [core.value("drift_total", kind=kind) for kind in DRIFTS] == [0] * len(DRIFTS)
    assert core.value("config_reloads_total", result="refused") == 0


def test_every_reason_that_a_backend_gives_for_a_failed_start_is_announced() -> None:
    given: set[Reason] = set()
    for file in (Path(__file__).parents[2] / "pool" / "backends").rglob("*.py"):
        for call in ast.walk(ast.parse(file.read_text())):
            if isinstance(call, ast.Call) and ast.unparse(call.func).split(".")[-1] in ("StartFailed", "Trouble"):
                given |= {Reason[name] for name in re.findall(r"\bReason\.([A-Z_]+)", ast.unparse(call))}
    assert given
    assert given <= set(START_FAILURES), "to Prometheus a series that is born at 1 has not increased"


def test_the_oldest_cluster_and_the_longest_in_each_state_are_shown(core: Watched) -> None:
    core.acquire("l-1")
    core.after(8)
    core.acquire("l-2")
    core.after(2)
    assert core.value("longest_in_state_seconds", pool="small", state="starting") == 10
    core.started()
    core.after(3)
    assert core.value("oldest_cluster_seconds", pool="small") == 13
    assert core.value("longest_in_state_seconds", pool="small", state="leased") == 3
    assert core.value("longest_in_state_seconds", pool="small", state="starting") == 5
    assert core.value("longest_in_state_seconds", pool="small", state="stopping") == 0


def test_a_leased_cluster_past_its_lifetime_is_overdue_until_it_stops() -> None:
    core = Watched("pools: [{name: small, max_lifetime: 100, lifetime_jitter: 0, lease_ttl: 1h}]")
    leased(core)
    core(Renew("l-1", 1))
    core.after(92)
    assert core.value("cluster_overdue_seconds", pool="small") == 0
    core.after(30)
    assert core.value("cluster_overdue_seconds", pool="small") == 30
    core(Release("l-1", 1))
    assert core.value("cluster_stops_total", pool="small", reason="max_lifetime") == 1
    assert core.value("cluster_overdue_seconds", pool="small") == 0


def test_the_longest_wait_is_shown_while_it_lasts_beside_its_target() -> None:
    core = Watched("pools: [{name: small, wait_target: 90, queue_target: 7}]")
    core.acquire("l-1", mode=Mode.WAIT)
    core.after(12)
    core.acquire("l-2", mode=Mode.WAIT)
    core.after(5)
    assert core.value("longest_wait_seconds", pool="small") == 17
    assert core.value("wait_target_seconds", pool="small") == 90
    assert core.value("queue_target", pool="small") == 7


def test_a_target_of_0_is_no_target() -> None:
    core = Watched("pools: [{name: small, wait_target: 0, queue_target: 0}]")
    core.acquire("l-1", mode=Mode.WAIT)
    assert core.value("queue_length", pool="small") == 1
    assert core.value("wait_target_seconds", pool="small") is None
    assert core.value("queue_target", pool="small") is None


def test_signs_of_life_are_shown(core: Watched) -> None:
    pulse = Pulse()
    metrics = Metrics(lambda: core.state, clock_now=lambda: core.now, pulse=lambda: pulse)
    read = metrics.registry.get_sample_value
    assert read("warmpool_last_commit_timestamp_seconds") is None
    assert read("warmpool_last_listing_timestamp_seconds") is None
    assert read("warmpool_commit_running_seconds") == 0
    pulse.committing_since, pulse.committed_at, pulse.listed_at, pulse.waiting = core.now - 40, 900.0, 950.0, 3
    assert read("warmpool_commit_running_seconds") == 40
    assert read("warmpool_last_commit_timestamp_seconds") == 900
    assert read("warmpool_last_listing_timestamp_seconds") == 950
    assert read("warmpool_events_waiting") == 3


def test_a_refused_reload_shows_until_one_is_taken(core: Watched) -> None:
    assert core.value("config_last_reload_ok") == 1
    core.metrics.observe_reload(ok=False)
    assert core.value("config_last_reload_ok") == 0
    core.metrics.observe_reload(ok=True)
    assert core.value("config_last_reload_ok") == 1
    assert core.value("config_reloads_total", result="refused") == 1


def test_commits_are_counted_by_size_and_time(core: Watched) -> None:
    core.metrics.observe_commit(3, 0.004)
    assert core.value("commit_batch_events_sum") == 3
    assert core.value("commit_seconds_bucket", le="0.005") == 1
    assert core.value("commit_seconds_bucket", le="0.0025") == 0


def test_announced_pools_show_their_series_before_anything_happened(core: Watched) -> None:
    core.metrics.announce(["small", "never-used"])
    assert core.value("grants_total", pool="never-used", outcome="hit", reason="none") == 0
    assert core.value("wait_seconds_count", pool="never-used", outcome="cold") == 0


def test_no_label_ever_holds_a_digest_a_tenant_or_an_id(core: Watched) -> None:
    known = {"small", *(r.value for r in Reason), "none", "hit", "waited", "cold", "clean", "failed", *DRIFTS}
    known |= {"ok", "refused"}
    for n in range(30):
        key = key_from({"image": f"image-{n}", "tenant": f"tenant-{n}/d"})
        core.acquire(f"l-{n}", key=key)
        core.after(1)
        core.started(key=key)
        core.acquire(f"m-{n}", key=key, wait_s=1)
    core.after(900)
    core(Listing(core.now, True, (Seen("c-stranger-1"),)))
    seen = {
        value
        for family in core.metrics.registry.collect()
        if family.name.startswith("warmpool_")
        for sample in family.samples
        for name, value in sample.labels.items()
        if name not in ("le", "version", "state")
    }
    assert seen <= known, seen - known


def test_the_page_about_the_metrics_is_up_to_date(core: Watched) -> None:
    written = Path(__file__).parents[2] / "docs" / "metrics.md"
    made = page([*core.metrics.series.rows, *ROWS])
    assert written.read_text() == made, "run python -m pool.metrics > docs/metrics.md"


def test_every_metric_shown_is_on_the_page_and_every_one_on_the_page_is_shown(core: Watched) -> None:
    leased(core)
    shown = {
        (f"{family.name}_total" if family.type == "counter" else family.name, family.type)
        for family in core.metrics.registry.collect()
        if family.name.startswith("warmpool_")
    }
    assert shown == {(row.name, row.type) for row in [*core.metrics.series.rows, *ROWS]}


def test_the_page_can_be_printed() -> None:
    command = [sys.executable, "-m", "pool.metrics"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert re.search(r"^\| `warmpool_grants_total` \| counter \| `pool`, `outcome`, `reason` \|", done.stdout, re.M)

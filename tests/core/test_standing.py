"""Clusters that somebody else runs, as the core decides on them."""

from __future__ import annotations

from typing import Any

import pytest

from pool.core.decisions import Granted, Reset, Start, Stop
from pool.core.events import Degraded, Lost, Readmit, Reconfigure, Release, Renew, ResetDone, Started, Stopped
from pool.core.key import shape_from
from pool.core.larger import covers
from pool.core.model import Cluster, ClusterState, Lease
from pool.core.reasons import Reason
from pool.core.settings import Standing
from tests.kit import KEY, Core


def attached(**standing: Any) -> tuple[Core, Cluster]:
    core = Core(standing=Standing(clusters=1, any_image=True, **standing), serve_larger=True, pinned=(KEY,))
    core.tell(Reconfigure(core.state.rules))
    (start,) = [effect for effect in core.effects if isinstance(effect, Start)]
    core.tell(Started(start.cluster.id, "boot", "address"))
    return core, core.state.clusters[start.cluster.id]


def hold(core: Core) -> Lease:
    """Have the cluster leased."""
    granted = core.acquire()
    assert isinstance(granted, Granted)
    core.tell(Renew(granted.lease.id, granted.lease.epoch))
    return granted.lease


def release(core: Core, lease: Lease) -> None:
    """Have it released, and its reset under way."""
    core.tell(Release(lease.id, lease.epoch))


def now(core: Core, cluster: Cluster) -> Cluster:
    return core.state.clusters[cluster.id]


def test_it_is_attached_once_and_kept_however_long_it_idles() -> None:
    core, cluster = attached()
    core.go(100_000)
    assert [one.id for one in core.state.clusters.values()] == [cluster.id]
    assert not [effect for effect in core.effects if isinstance(effect, Stop)]


def test_a_reset_knows_the_time_of_the_lease() -> None:
    core, _ = attached()
    lease = hold(core)
    began = core.now
    core.go(1)
    release(core, lease)
    (reset,) = [effect for effect in core.effects if isinstance(effect, Reset)]
    assert reset.span is not None
    assert (reset.span.since, reset.span.until) == (began, core.now)
    assert reset.full


def test_what_is_not_clean_is_tried_again_until_it_is() -> None:
    core, cluster = attached()
    release(core, hold(core))
    core.tell(ResetDone(cluster.id, now(core, cluster).epoch, clean=False, left="a driver"))
    assert now(core, cluster).state is ClusterState.QUARANTINED
    core.go(61)
    assert now(core, cluster).state is ClusterState.RESETTING
    core.tell(ResetDone(cluster.id, now(core, cluster).epoch, clean=True))
    assert now(core, cluster).state is ClusterState.IDLE


def test_after_an_expiry_it_is_cleaned_and_kept_out_for_good() -> None:
    core, cluster = attached()
    hold(core)
    core.go(31)
    assert now(core, cluster).state is ClusterState.RESETTING
    core.tell(ResetDone(cluster.id, now(core, cluster).epoch, clean=True))
    core.go(100_000)
    assert now(core, cluster).state is ClusterState.QUARANTINED
    assert now(core, cluster).reason is Reason.HOLDER_NOT_GONE
    core.tell(Lost(cluster.id, "boot", Reason.UNHEALTHY, "silent"))
    assert now(core, cluster).state is ClusterState.QUARANTINED
    core.tell(Readmit(cluster.id))
    core.tell(ResetDone(cluster.id, now(core, cluster).epoch, clean=True))
    assert now(core, cluster).state is ClusterState.IDLE
    assert now(core, cluster).doom is None


def test_where_proven_clean_is_enough_it_serves_after_an_expiry() -> None:
    core, cluster = attached(readmit=True)
    hold(core)
    core.go(31)
    core.tell(ResetDone(cluster.id, now(core, cluster).epoch, clean=True))
    assert now(core, cluster).state is ClusterState.IDLE


def test_one_that_is_given_up_for_another_cause_while_its_lease_expires_is_no_fresh_one() -> None:
    core, cluster = attached()
    hold(core)
    core.tell(Degraded(cluster.id, "boot", "edited", lasting=True))
    core.go(31)
    core.tell(ResetDone(cluster.id, now(core, cluster).epoch, clean=True))
    assert now(core, cluster).state is ClusterState.QUARANTINED


@pytest.mark.parametrize("clean", [True, False])
def test_one_that_the_configuration_no_longer_names_is_let_go_after_its_lease(clean: bool) -> None:
    core, cluster = attached()
    lease = hold(core)
    core.tell(Degraded(cluster.id, "boot", "gone from the file", lasting=True, reason=Reason.REMOVED))
    assert now(core, cluster).state is ClusterState.LEASED
    release(core, lease)
    core.tell(ResetDone(cluster.id, now(core, cluster).epoch, clean=clean, left="" if clean else "an actor"))
    assert now(core, cluster).state is ClusterState.STOPPING
    core.tell(Stopped(cluster.id))
    assert cluster.id not in core.state.clusters


def test_a_new_head_is_a_new_cluster_also_out_of_quarantine() -> None:
    core, cluster = attached()
    hold(core)
    core.go(31)
    core.tell(ResetDone(cluster.id, now(core, cluster).epoch, clean=True))
    core.tell(Lost(cluster.id, "boot", Reason.HEAD_REPLACED, "new"))
    assert now(core, cluster).state is ClusterState.STOPPING
    core.tell(Stopped(cluster.id))
    assert [one.state for one in core.state.clusters.values()] == [ClusterState.STARTING]


@pytest.mark.parametrize(
    ("small", "fits"),
    [
        ({"head": {"cpu": 2}}, True),
        ({"head": {"cpu": 3}}, False),
        ({"head": {"cpu": 0}, "workers": [{"cpu": 2, "replicas": 5}]}, True),
        ({"head": {"cpu": 1}, "workers": [{"cpu": 2, "replicas": 5}]}, False),
        ({"head": {}, "workers": [{"cpu": 4, "memory": "2Gi"}]}, True),
        ({"head": {}, "workers": [{"cpu": 1, "gpu": 1}]}, False),
        ({"head": {"cpu": 1, "start_params": {"log-color": "true"}}}, True),
        ({"head": {"cpu": 1, "pod": {"service_account": "a"}}}, False),
        (
            {
                "head": {},
                "workers": [{"replicas": 9, "min_replicas": 1, "max_replicas": 9}],
                "autoscaling": True,
            },
            True,
        ),
    ],
)
def test_nodes_asked_for_must_find_room_beside_one_another(small: dict[str, Any], fits: bool) -> None:
    large = shape_from({"head": {"cpu": 2, "memory": "4Gi"}, "workers": [{"cpu": 4, "memory": "4Gi", "replicas": 2}]})
    assert covers(large, shape_from(small)) is fits

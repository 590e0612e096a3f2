"""What cannot be proven clean is kept with the evidence for a while, unless its room is needed, and replaced."""

from __future__ import annotations

import pytest

from pool.api.explain import explain_cluster
from pool.core.decisions import Granted, Stop
from pool.core.events import Release, ResetDone
from pool.core.model import Cluster, ClusterState, Evidence, Lease
from pool.core.reasons import Reason
from pool.core.settings import Ceiling, Standing
from tests.kit import Core, make_key

OTHER = make_key(2)
FOUND = ("detached actor 'x' of job 05000000", "process 'sleep 9' (pid 7) on the head")


def dirty(core: Core, **fields: str) -> tuple[Lease, Cluster]:
    """Have a lease end whose cluster is not proven clean."""
    lease = core.lease(**fields)
    core.tell(Release(lease.id, lease.epoch))
    core.tell(ResetDone(lease.cluster, lease.epoch + 1, False, "; ".join(FOUND), evidence=FOUND))
    return lease, core.state.clusters[lease.cluster]


@pytest.mark.parametrize(("quarantine_s", "state"), [(60, ClusterState.QUARANTINED), (0, ClusterState.STOPPING)])
def test_what_was_left_and_whose_is_kept_with_the_cluster(quarantine_s: float, state: ClusterState) -> None:
    core = Core(quarantine_s=quarantine_s)
    lease, cluster = dirty(core, holder="task-7")
    assert (cluster.state, cluster.reason) == (state, Reason.RESET_FAILED)
    assert cluster.evidence == Evidence(lease.id, "task-7", core.now, FOUND)


def test_it_is_replaced_when_its_time_is_over_and_tells_still_why() -> None:
    core = Core(quarantine_s=60)
    _, before = dirty(core)
    core.go(59)
    assert not core.all(Stop)
    core.go(1)
    assert [stop.reason for stop in core.all(Stop)] == [Reason.QUARANTINE_OVER]
    assert core.clusters()[0].evidence == before.evidence


def test_how_long_it_is_kept_is_told_as_long_as_it_is() -> None:
    core = Core(quarantine_s=300)
    _, cluster = dirty(core)
    core.go(60)
    said = "It is kept for a look, and replaced in 4 min, or when somebody waits for its room."
    assert said in explain_cluster(core.state, cluster, core.now)
    core.go(240)
    assert said not in explain_cluster(core.state, core.clusters()[0], core.now)


def test_a_reset_that_hangs_is_evidence_too() -> None:
    core = Core(quarantine_s=60, reset_timeout_s=5)
    lease = core.lease()
    core.tell(Release(lease.id, lease.epoch))
    core.go(16)
    (cluster,) = core.clusters(ClusterState.QUARANTINED)
    assert cluster.evidence is not None
    assert cluster.evidence.left == ("the reset did not end in 15 s",)


def test_nobody_waits_for_one_that_is_kept_for_a_look_alone() -> None:
    core = Core(quarantine_s=60)
    dirty(core)
    core.acquire()
    assert len(core.clusters(ClusterState.STARTING)) == 1


def test_one_kept_for_a_look_gives_its_room_to_who_waits() -> None:
    core = Core(quarantine_s=600, daemon=Ceiling(clusters=1))
    _, kept = dirty(core)
    waiter = core.acquire(OTHER)
    (stop,) = core.all(Stop)
    assert (stop.cluster_id, stop.reason) == (kept.id, Reason.EVICTED)
    assert stop.detail.startswith(FOUND[0])
    assert core.clusters()[0].evidence == kept.evidence
    core.go(0)
    assert core.answer(waiter.waiter.id) is None


def test_who_waits_already_has_its_room_at_once() -> None:
    core = Core(quarantine_s=600, daemon=Ceiling(clusters=1))
    lease = core.lease()
    core.acquire(OTHER)
    core.tell(Release(lease.id, lease.epoch))
    core.tell(ResetDone(lease.cluster, lease.epoch + 1, False, "an actor"))
    assert [stop.reason for stop in core.all(Stop)] == [Reason.EVICTED]


def test_it_goes_before_an_idle_cluster_does() -> None:
    core = Core(quarantine_s=600, daemon=Ceiling(clusters=2))
    idle = core.idle()
    core.lease(OTHER)
    taken = core.lease()
    assert taken.cluster == idle.id
    core.tell(Release(taken.id, taken.epoch))
    core.tell(ResetDone(taken.cluster, taken.epoch + 1, False, "an actor"))
    core.acquire(make_key(3))
    assert [stop.cluster_id for stop in core.all(Stop)] == [taken.cluster]


def test_one_that_is_clean_after_all_has_no_evidence_any_more() -> None:
    core = Core(quarantine_s=60, standing=Standing(clusters=1))
    _, kept = dirty(core)
    core.go(60)
    core.tell(ResetDone(kept.id, kept.epoch, True))
    assert core.clusters()[0].evidence is None
    assert isinstance(core.acquire(), Granted)

"""A cluster that has grown beyond its pool's limits retires after a lease, and never under one."""

from __future__ import annotations

from typing import Any

import pytest

from pool.core.decisions import Granted, Stop
from pool.core.events import Release, ResetDone
from pool.core.model import ClusterState, Wear
from pool.core.reasons import Reason
from pool.core.settings import Standing
from tests.kit import Core

LIMITS = {"max_head_memory_bytes": 2_000, "max_open_files": 200, "max_store_left_bytes": 20}


@pytest.mark.parametrize(
    ("wear", "reason", "said"),
    [
        (Wear(2_001, 1, 0), Reason.HEAD_MEMORY, "it has 2,001 bytes of memory on its head, of 2,000 at most"),
        (Wear(1, 201, 0), Reason.OPEN_FILES, "it has 201 open files in one process of its head, of 200 at most"),
        (Wear(1, 1, 21), Reason.STORE_LEFT, "it has 21 bytes left in its object stores, of 20 at most"),
    ],
)
@pytest.mark.parametrize("full", [True, False])
def test_a_cluster_grown_beyond_a_limit_retires_after_its_reset(
    wear: Wear, reason: Reason, said: str, full: bool
) -> None:
    core = Core(**LIMITS)
    core.release(core.lease(group="run"), full=full, wear=wear)
    (stop,) = core.all(Stop)
    assert (stop.reason, stop.detail) == (reason, said)
    assert core.clusters()[0].wear == wear


@pytest.mark.parametrize("wear", [Wear(2_000, 200, 20), Wear(), None])
def test_a_cluster_within_its_limits_serves_again_and_is_known_to_have_grown(wear: Wear | None) -> None:
    core = Core(**LIMITS)
    core.release(core.lease(), wear=wear)
    (cluster,) = core.clusters()
    assert (cluster.state, cluster.wear) == (ClusterState.IDLE, wear)


def test_without_limits_it_may_grow() -> None:
    core = Core()
    core.release(core.lease(), wear=Wear(10**12, 10**6, 10**12))
    assert core.clusters()[0].state is ClusterState.IDLE


def test_what_was_measured_stays_until_the_next_reset_and_nobody_is_disturbed_by_it() -> None:
    core = Core(**LIMITS)
    core.release(core.lease(), wear=Wear(100, 10, 0))
    lease = core.lease()
    assert core.clusters()[0].wear == Wear(100, 10, 0)
    # A look that comes late, of an earlier epoch, ends no lease.
    core.tell(ResetDone(lease.cluster, lease.epoch - 1, True, wear=Wear(10**9, 0, 0)))
    assert core.clusters()[0].state is ClusterState.LEASED
    core.release(lease)
    assert core.clusters()[0].wear == Wear(100, 10, 0)


def test_who_waits_has_another_one_started_when_it_retires() -> None:
    core = Core(**LIMITS)
    lease = core.lease()
    core.tell(Release(lease.id, lease.epoch))
    waiter = core.acquire()
    core.tell(ResetDone(lease.cluster, core.state.clusters[lease.cluster].epoch, True, wear=Wear(10**9, 0, 0)))
    (started,) = core.clusters(ClusterState.STARTING)
    core.start(started)
    assert isinstance(core.answer(waiter.waiter.id), Granted)


STANDING: dict[str, Any] = {"standing": Standing(clusters=1), **LIMITS}


def test_what_somebody_else_runs_is_not_replaced_however_much_it_has_grown() -> None:
    core = Core(**STANDING)
    lease = core.lease()
    core.release(lease, wear=Wear(10**9, 10**9, 0))
    assert core.clusters()[0].state is ClusterState.IDLE


def test_what_somebody_else_runs_serves_again_once_its_stores_are_empty() -> None:
    core = Core(**STANDING)
    lease = core.lease()
    core.release(lease, wear=Wear(1, 1, 21))
    (cluster,) = core.clusters(ClusterState.QUARANTINED)
    core.go(61)
    core.tell(ResetDone(cluster.id, cluster.epoch, True, wear=Wear(1, 1, 0)))
    assert core.clusters()[0].state is ClusterState.IDLE

"""The transition tables, the reasons, and how records show themselves."""

from __future__ import annotations

import itertools
import re

import pytest

from pool.core.errors import TransitionError
from pool.core.events import Cordon
from pool.core.lifecycle import CLUSTER_TABLE, LEASE_TABLE, ClusterMove, LeaseMove, cluster_after, diagram, lease_after
from pool.core.model import ClusterState, LeaseState
from pool.core.reasons import Reason
from tests.kit import KEY, Core

ABSENT_MOVES = [pair for pair in itertools.product(ClusterState, ClusterMove) if pair not in CLUSTER_TABLE]
ABSENT_ENDS = [pair for pair in itertools.product(LeaseState, LeaseMove) if pair not in LEASE_TABLE]


@pytest.mark.parametrize(("state", "move"), ABSENT_MOVES)
def test_a_move_that_the_table_does_not_have_raises(state: ClusterState, move: ClusterMove) -> None:
    core = Core()
    cluster = core.idle()._replace(state=state)
    before = dict(core.state.clusters)
    with pytest.raises(TransitionError, match=f"is {state}"):
        cluster_after(cluster, move)
    assert core.state.clusters == before


@pytest.mark.parametrize(("state", "move"), ABSENT_ENDS)
def test_an_ended_lease_does_nothing_more(state: LeaseState, move: LeaseMove) -> None:
    lease = Core().lease()._replace(state=state)
    with pytest.raises(TransitionError, match=f"is {state}"):
        lease_after(lease, move)


def test_every_state_can_be_reached_and_left() -> None:
    assert set(CLUSTER_TABLE.values()) | {ClusterState.STARTING} == set(ClusterState)
    assert {old for old, _ in CLUSTER_TABLE} | {ClusterState.STOPPED} == set(ClusterState)


def test_only_an_idle_cluster_or_a_shared_one_is_granted_and_only_a_released_one_is_reset() -> None:
    assert {old for old, move in CLUSTER_TABLE if move is ClusterMove.GRANT} == {ClusterState.IDLE, ClusterState.LEASED}
    resets = {old for (old, _), new in CLUSTER_TABLE.items() if new is ClusterState.RESETTING}
    # An idle one only for what it was spared before (see `Cluster.group_only`), a quarantined one to serve again.
    assert resets == {ClusterState.LEASED, ClusterState.IDLE, ClusterState.QUARANTINED}


def test_the_diagram_shows_every_transition() -> None:
    lines = diagram().splitlines()
    assert lines[0] == "stateDiagram-v2"
    assert sum("-->" in line for line in lines) == len(CLUSTER_TABLE) + 2


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_sentence(reason: Reason) -> None:
    assert re.fullmatch(r"[A-Z].*\.", reason.sentence)


def test_no_two_reasons_say_the_same() -> None:
    assert len({reason.sentence for reason in Reason}) == len(Reason)


def test_records_show_their_state() -> None:
    core = Core(hold_s=60)
    lease = core.lease(group="run")
    cluster = core.clusters()[0]
    assert repr(cluster) == f"<Cluster c-{KEY.digest}-1 leased epoch 1 for {lease.id}>"
    assert repr(lease) == f"<Lease {lease.id} active cold on {cluster.id} epoch 1 by {lease.holder}>"
    waiter = core.acquire(priority=2)
    assert repr(waiter.waiter) == (
        f"<Waiter {waiter.waiter.id} of pool {KEY.digest} wait_or_create priority 2 (all_leased) "
        f"by {waiter.waiter.holder}>"
    )
    assert repr(core.state) == "<State 1 pools [1 starting, 1 leased | 1 waiting]>"
    core.tell(Cordon(cluster.id, drain=True))
    assert repr(core.clusters()[0]).endswith("cordoned doomed: drained>")
    assert repr(core.pool()) == f"<Pool {KEY.digest} default image:1>"

"""What the board makes of what the daemon and the task log say."""

from __future__ import annotations

import pytest

from pool.core.model import ClusterState, LeaseState, Mode, Outcome
from pool.core.reasons import Reason
from pool.demo.board import Act, Board, Stage
from pool.flyte.record import TaskRecord
from pool.wire.views import ClusterView, LeaseView, WaiterView


def waiter(task: str, phase: str = "queued", reason: Reason = Reason.NO_CLUSTER) -> WaiterView:
    return WaiterView(
        id="l-1",
        pool="d",
        pool_name="default",
        tenant="local/development",
        caller="client",
        request_id="r",
        holder=f"ada/4711/workflow.{task}",
        group="cold",
        priority=0,
        mode=Mode.WAIT_OR_CREATE,
        position=1,
        reason=reason,
        explanation="",
        phase=phase,
        asked_at=0.0,
        waited_s=2.0,
        deadline=600.0,
        expected_s=None,
    )


def lease(task: str) -> LeaseView:
    return LeaseView(
        id="l-1",
        cluster="c-1",
        pool="d",
        pool_name="default",
        tenant="local/development",
        caller="client",
        request_id="r",
        holder=f"ada/4711/workflow.{task}",
        group="cold",
        priority=0,
        mode=Mode.WAIT_OR_CREATE,
        state=LeaseState.ACTIVE,
        outcome=Outcome.COLD,
        reason=Reason.NO_CLUSTER,
        explanation="",
        epoch=1,
        asked_at=0.0,
        granted_at=0.0,
        waited_s=9.0,
        expires_at=30.0,
        remaining_s=30.0,
        ended_at=None,
        end_reason=None,
    )


def cluster(state: ClusterState, phase: str = "") -> ClusterView:
    return ClusterView(
        id="c-1",
        pool="d",
        pool_name="default",
        tenant="local/development",
        image="local",
        shape="2 cpu",
        state=state,
        state_for_s=0.0,
        age_s=0.0,
        start_s=None,
        phase=phase,
        epoch=0,
        uses=0,
        leases=[],
        group="",
        held_until=None,
        cordoned=False,
        cause=Reason.MISS,
        reason=None,
        explanation="",
        dashboard_url="",
        ray_version="",
    )


@pytest.fixture
def board() -> Board:
    board = Board([Act("cold", "an empty pool"), Act("warm", "again")], ["load", "train"], now=0.0)
    board.begin(board.acts[0], now=0.0)
    return board


def test_a_task_goes_from_waiting_over_running_to_done(board: Board) -> None:
    row = board.acts[0].rows["load"]
    stages = [row.stage]
    board.seen([waiter("load")], [], [], now=3.0)
    stages.append(row.stage)
    assert row.since == 1.0, "it has waited since before it was seen"
    board.seen([], [lease("load")], [cluster(ClusterState.LEASED)], now=9.0)
    stages.append(row.stage)
    board.recorded([TaskRecord("workflow.load", 0.0, outcome="cold", reason="no_cluster")], now=12.0)
    stages.append(row.stage)
    assert stages == [Stage.LATER, Stage.WAITING, Stage.RUNNING, Stage.DONE]
    assert board.acts[0].done == 1


def test_a_change_is_told_once(board: Board) -> None:
    assert board.seen([waiter("load")], [], [], now=1.0) == ["cold: load waits, queued: no_cluster"]
    assert board.seen([waiter("load")], [], [], now=2.0) == []
    assert board.seen([waiter("load", "starting head", Reason.STARTING)], [], [], now=3.0) == [
        "cold: load waits, starting head: starting"
    ]
    granted = board.seen([], [lease("load")], [], now=4.0)
    assert granted == ["cold: load granted c-1 (cold: no_cluster)"]
    assert board.seen([], [lease("load")], [], now=5.0) == []


def test_what_the_daemon_says_late_does_not_undo_an_end(board: Board) -> None:
    board.recorded([TaskRecord("workflow.load", 0.0, outcome="hit")], now=1.0)
    assert board.seen([waiter("load")], [lease("load")], [], now=2.0) == []
    assert board.acts[0].rows["load"].stage is Stage.DONE


def test_a_task_that_raised_failed(board: Board) -> None:
    news = board.recorded([TaskRecord("workflow.load", 0.0, outcome="hit", error="ValueError")], now=1.0)
    assert board.acts[0].rows["load"].stage is Stage.FAILED
    assert "failed" in news[0]


def test_the_phases_of_a_start_follow_each_other(board: Board) -> None:
    phases = []
    for waiters, leases, clusters in (
        ([waiter("load")], [], []),
        ([waiter("load")], [], [cluster(ClusterState.STARTING, "starting head")]),
        ([], [], [cluster(ClusterState.IDLE)]),
        ([], [lease("load")], [cluster(ClusterState.LEASED)]),
    ):
        board.seen(waiters, leases, clusters, now=1.0)
        phases.append(board.start_phase)
    assert phases == ["queued", "starting", "ready", "granted"]


def test_the_next_act_begins_anew(board: Board) -> None:
    board.seen([], [lease("load")], [], now=1.0)
    board.end(now=5.0, ok=True)
    assert board.acts[0].elapsed_s(now=99.0) == 5.0
    board.begin(board.acts[1], now=6.0)
    assert board.start_phase == ""
    assert board.acts[1].rows["load"].stage is Stage.LATER
    assert board.acts[0].rows["load"].stage is Stage.RUNNING, "an act keeps its rows"

"""What comes again and again is ready just in time."""

from __future__ import annotations

from policies.next_use import NextUse
from pool.core.model import ClusterState
from pool.core.reasons import Reason
from tests.flows import FIRST, Live, live, of, restarted, rows_of


def hourly(core: Live, times: int) -> None:
    for _ in range(times):
        begins = core.now
        lease = core.have(FIRST, "")
        core.go(100.0)
        core.release(lease)
        core.go(begins + 3_600.0 - core.now)


def test_what_comes_every_hour_finds_a_cluster_that_was_made_ready_for_it() -> None:
    core = live(look_ahead=None, prewarm=NextUse(break_even_s=3_000.0))
    hourly(core, 6)
    assert [cluster.cause for cluster in of(core, FIRST, ClusterState.IDLE)] == [Reason.FORECAST]
    lease = core.have(FIRST, "")
    assert lease.miss is None
    (cluster,) = of(core, FIRST)
    assert 0.0 < core.now - (cluster.ready_at or 0.0) < 200.0


def test_what_no_longer_comes_is_let_go_and_expected_no_more() -> None:
    core = live(look_ahead=None, prewarm=NextUse(break_even_s=3_000.0))
    hourly(core, 6)
    core.go(1_800.0)
    assert of(core, FIRST) == []
    core.go(100_000.0)
    assert of(core, FIRST) == []


def test_a_restart_knows_when_a_pool_is_used_next() -> None:
    core = live(look_ahead=None, prewarm=NextUse(break_even_s=3_000.0))
    hourly(core, 6)
    lease = core.have(FIRST, "")
    core.go(100.0)
    core.release(lease)
    core.go(100.0)
    uses = list(core.state.index[FIRST.digest].uses.seen)
    restarted(core, rows_of(core), list(core.state.ended.values()))
    assert list(core.state.index[FIRST.digest].uses.seen) == uses
    core.go(3_395.0)
    assert [cluster.cause for cluster in of(core, FIRST, ClusterState.IDLE)] == [Reason.FORECAST]

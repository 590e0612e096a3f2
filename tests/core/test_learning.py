"""The core tells a policy that learns what happens, and asks it anew when the situation of a cluster changes."""

from __future__ import annotations

from policies.learned import Learned
from policies.reclaim import FixedTTL
from pool.core.events import ResetDone
from pool.core.gaps import Curve, Kind
from pool.core.model import ClusterState, LeaseState
from pool.core.reasons import Reason
from pool.core.recover import restore
from tests.kit import KEY, Core


def burst(core: Core, times: int, gap_s: float) -> None:
    """Lease again and again, with the same gap between."""
    for _ in range(times):
        lease = core.lease()
        core.go(5.0)
        core.release(lease)
        core.go(gap_s)


def test_what_is_asked_for_every_minute_is_kept_for_a_minute_and_not_for_longer_than_a_start_is_worth() -> None:
    core = Core(reclaim=Learned(300.0))
    burst(core, 60, 60.0)
    lease = core.lease()
    assert lease.miss is None
    core.release(lease)
    (cluster,) = core.clusters(ClusterState.IDLE)
    kept_s = core.state.gaps.of(cluster.id).until - core.now  # type: ignore[union-attr]
    assert 60.0 <= kept_s <= 300.0
    core.go(kept_s + 1.0)
    stopping = core.state.clusters[cluster.id]
    assert stopping.state is ClusterState.STOPPING
    assert stopping.detail.startswith("idle for ")
    assert "with a start worth 300 s of idle time" in stopping.detail


def test_what_nobody_comes_back_for_in_time_is_soon_not_kept_at_all() -> None:
    core = Core(reclaim=Learned(60.0))
    burst(core, 60, 3_000.0)
    core.release(core.lease())
    core.go(0.0)
    assert [cluster.state for cluster in core.clusters() if cluster.state is not ClusterState.STOPPING] == []


def test_a_release_that_is_buried_and_uncovered_is_looked_at_each_time() -> None:
    core = Core(reclaim=Learned(300.0))
    one, two = core.lease(), core.lease()
    core.release(one)
    core.go(1.0)
    core.release(two)
    core.go(1.0)
    kinds = {class_[0] for class_ in core.state.gaps.curves}  # type: ignore[index]
    assert kinds == {Kind.FRESH}
    core.lease()
    release = core.state.gaps.of(one.cluster)
    assert release is not None
    assert release.situation is not None
    assert release.situation.kind is Kind.UNCOVERED
    kinds = {class_[0] for class_ in core.state.gaps.curves}  # type: ignore[index]
    assert kinds == {Kind.FRESH, Kind.BURIED}, "each is learned as the next one follows"


def test_a_policy_that_does_not_learn_costs_nothing_to_remember() -> None:
    core = Core(reclaim=FixedTTL(600.0))
    burst(core, 3, 10.0)
    assert not core.state.gaps.curves
    assert core.state.gaps.top(KEY.digest) is None


def test_a_restart_begins_with_what_the_leases_that_ended_teach() -> None:
    core = Core(reclaim=Learned(300.0))
    burst(core, 20, 45.0)
    state = core.state
    again = restore(
        state.rules,
        core.now,
        generation=2,
        pools=state.pools.values(),
        clusters=state.clusters.values(),
        leases=[lease for lease in state.leases.values() if lease.state is not LeaseState.ENDED],
        ended=list(state.ended.values()),
    )
    assert {class_: told(curve) for class_, curve in again.gaps.curves.items()} == {
        class_: told(curve) for class_, curve in state.gaps.curves.items()
    }
    top = again.gaps.top(KEY.digest)
    assert top is not None
    assert top.until == state.gaps.top(KEY.digest).until  # type: ignore[union-attr]


def test_a_cluster_that_a_restart_resets_once_more_is_not_said_to_be_stopped_after_no_time() -> None:
    core = Core(reclaim=Learned(300.0))
    burst(core, 20, 45.0)
    core.release(core.lease())
    (idle,) = core.clusters(ClusterState.IDLE)
    until = core.state.gaps.of(idle.id).until  # type: ignore[union-attr]
    assert until > core.now, "it is worth keeping"
    after = Core(core.state.rules)
    after.now = core.now + 1_000.0
    after.state = restore(
        core.state.rules, after.now, generation=2, pools=core.state.pools.values(), leases=(),
        clusters=[idle._replace(state=ClusterState.RESETTING, changed_at=core.now)],
        ended=list(core.state.ended.values()),
    )  # fmt: skip
    for records in (after.state.pools, after.state.clusters):
        after.watch.load(records.values())
    after.tell(ResetDone(idle.id, idle.epoch, True))
    after.go(0.0)
    (stopping,) = after.clusters(ClusterState.STOPPING)
    assert stopping.reason is Reason.IDLE_TTL
    assert stopping.detail.startswith(
        f"its idle time was over {after.now - until:.0f} s ago, before it was reset: of id"
    )


def told(curve: Curve) -> tuple[float, ...]:
    return (round(curve.weight, 6), *(round(value, 6) for value in curve.sums))

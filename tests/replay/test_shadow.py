"""A policy in the shadow sees live demand, and what it says is what a replay of that demand says."""

from __future__ import annotations

import pytest

from policies.auto import Auto
from policies.learned import Learned
from policies.reclaim import FixedTTL, NeverKeep
from policies.ski_rental import BreakEven
from pool.core.key import ClusterKey, Node, Shape
from pool.core.model import LeaseState
from pool.core.policy import Reclaim
from pool.core.settings import Ceiling
from pool.replay import Job, Replay, Times
from pool.replay.run import WEEK_S
from pool.replay.shadow import REMEMBERED, Shadow
from pool.replay.workflows import Demand, generate
from pool.store.memory import MemoryStore
from pool.wire.records import ShadowAnswer
from tests.invariants import check
from tests.kit import make_rules

KEY = ClusterKey("a", Shape(head=Node(milli_cpu=1000)), "t")
JOBS = [job._replace(group="", arrival_s=job.arrival_s + WEEK_S) for job in generate(
    Demand(workflows=4, days=1.0, executions_per_day=60.0), 3
)]  # fmt: skip
EASY = {"max_starting": 10**9, "max_wait_s": 1e9}


class Followed:
    """A replay under one policy, which stands for the daemon, with another one in its shadow."""

    def __init__(self, live: Reclaim, shadow: Reclaim, jobs: list[Job] = JOBS, **live_rules: object) -> None:
        self.grants: list[tuple[str, bool, bool]] = []
        self.replay = Replay(
            make_rules(reclaim=live, **{**EASY, **live_rules}), MemoryStore(keeps_books=False), Times(starts_s=(5.0,))
        )
        told = lambda pool, was, would: self.grants.append((pool, was, would))  # noqa: E731
        rules = make_rules(reclaim=shadow, daemon=Ceiling(clusters=1))
        self.shadow: Shadow | None = None
        observe = self.replay.ledger.observe

        def both(decision: object) -> None:
            observe(decision)  # type: ignore[arg-type]
            self.now = decision.now  # type: ignore[attr-defined]
            if self.shadow is None:
                self.shadow = Shadow("it", rules, lambda: self.replay.state, self.now, told)
            self.shadow.observe(decision)  # type: ignore[arg-type]
            check(self.shadow._state, self.now)

        self.replay.ledger.observe = both  # type: ignore[method-assign]
        self.replay.run(jobs)

    @property
    def answer(self) -> ShadowAnswer:
        assert self.shadow is not None
        return self.shadow.told(self.now)


def replayed(reclaim: Reclaim) -> Replay:
    replay = Replay(make_rules(reclaim=reclaim, **EASY), MemoryStore(keeps_books=False), Times(starts_s=(5.0,)))
    replay.run(JOBS)
    return replay


@pytest.mark.parametrize("shadow", [BreakEven(300.0), NeverKeep(), FixedTTL(900.0, 0.0), Learned(300.0)])
def test_it_comes_to_what_a_replay_of_the_same_demand_comes_to(shadow: Reclaim) -> None:
    found = Followed(NeverKeep(), shadow)
    assert found.shadow is not None
    total, mine = found.shadow.told(found.now + 86_400.0).total, replayed(shadow).ledger.total()
    assert total.leases == mine.leases == len(JOBS)
    assert (total.both + total.shadow_only, total.both + total.live_only) == (mine.leases - mine.misses, 0)
    assert total.shadow_idle_s == pytest.approx(mine.idle_s)
    assert total.shadow_starts == mine.started


def test_beside_itself_a_policy_changes_nothing() -> None:
    answer = Followed(BreakEven(300.0), BreakEven(300.0)).answer
    assert (answer.total.live_only, answer.total.shadow_only, answer.differences) == (0, 0, [])
    assert answer.total.shadow_idle_s == pytest.approx(answer.total.live_idle_s)
    assert answer.total.both > 0


def test_where_both_differ_is_remembered_and_told_as_it_happens() -> None:
    found = Followed(NeverKeep(), BreakEven(3600.0))
    answer = found.answer
    assert len(answer.differences) == min(REMEMBERED, answer.total.shadow_only)
    assert answer.differences[0].at >= answer.differences[-1].at
    assert {(one.live, one.shadow) for one in answer.differences} == {("cold", "hit")}
    assert sum(would and not was for _, was, would in found.grants) == answer.total.shadow_only
    assert len(found.grants) == answer.total.leases


def test_live_ceilings_and_starts_that_take_time_do_not_bind_it() -> None:
    live = Followed(BreakEven(300.0), BreakEven(300.0), daemon=Ceiling(clusters=2), max_starting=1)
    assert live.answer.total.leases == len(JOBS)
    assert all(lease.state is LeaseState.ENDED for lease in live.replay.state.ended.values())
    assert live.shadow is not None
    assert not live.shadow._state.leases
    assert not live.shadow._epochs


def test_it_begins_with_what_is_known_of_the_recent_past_and_counts_from_then_on() -> None:
    replay = replayed(BreakEven(1e6))
    state = replay.state
    ends = max(lease.ended_at or 0.0 for lease in state.ended.values())
    shadow = Shadow("it", make_rules(reclaim=Learned(300.0)), lambda: state, ends + 10.0)
    assert shadow._state.gaps.curves
    answer = shadow.told(ends + 40.0)
    assert answer.total.leases == 0
    idle = sum(cluster.state.value == "idle" for cluster in state.clusters.values())
    assert answer.total.live_idle_s == pytest.approx(30.0 * idle)


def test_a_candidate_knows_from_the_live_side_what_a_start_takes() -> None:
    jobs = [Job(WEEK_S + n * 120.0, 10.0, KEY) for n in range(20)]
    followed = Followed(NeverKeep(), Auto(), jobs)
    # With starts of 5 s, 150 s of idle time are worth one.
    assert followed.answer.total.shadow_only == 19
    assert followed.shadow is not None
    assert {index.weighed_s for index in followed.shadow._state.index.values()} == {5.0}

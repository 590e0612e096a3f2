"""The first policies, each as the sentence its docstring promises."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import registry
from policies.grant_order import LeastRecentlyUsed, MostRecentlyUsed
from policies.queue_order import PriorityWithAging
from policies.reclaim import FixedTTL, NeverKeep, spread
from policies.sizing import FloorAndBuffer
from pool.core.key import ClusterKey, Footprint, Shape
from pool.core.model import Cluster, ClusterState, Pool
from pool.core.policy import Demand, Wish
from pool.core.reasons import Reason

KEY = ClusterKey("local", Shape(), "p/d")
POOL = Pool(KEY.digest, KEY, "default")


def idle(name: str, since: float = 0.0, group: str = "") -> Cluster:
    return Cluster(
        name, KEY.digest, "p/d", 1, Footprint(1), ClusterState.IDLE, Reason.MISS, created_at=0.0, changed_at=since,
        idle_since=since, group=group,
    )  # fmt: skip


@dataclass
class View:
    """Idle clusters, the longest idle first."""

    clusters: list[Cluster]
    group: str = ""

    def __len__(self) -> int:
        return len(self.clusters)

    def oldest(self) -> Iterator[Cluster]:
        return iter(self.clusters)

    def newest(self) -> Iterator[Cluster]:
        return reversed(self.clusters)

    soonest, latest = oldest, newest

    def elsewhere(self) -> Iterator[Cluster]:
        return iter(())

    def of_group(self) -> Iterator[Cluster]:
        return (c for c in self.newest() if self.group and c.group == self.group)


# --- reclaim


def test_a_cluster_is_kept_for_its_ttl_and_the_clock_starts_when_it_became_idle() -> None:
    assert FixedTTL(600, jitter=0).keep_until(idle("c-1", since=100.0), POOL, now=400.0) == 700.0


@given(st.text(max_size=40), st.floats(0, 1), st.floats(0, 1e6))
def test_jitter_only_shortens_and_never_by_more_than_its_share(name: str, jitter: float, ttl_s: float) -> None:
    until = FixedTTL(ttl_s, jitter).keep_until(idle(name, since=0.0), POOL, now=0.0)
    assert ttl_s * (1 - jitter) <= until <= ttl_s


def test_clusters_that_became_idle_together_do_not_stop_together() -> None:
    policy = FixedTTL(600, jitter=0.1)
    ends = {policy.keep_until(idle(f"c-{KEY.digest}-{n}"), POOL, 0.0) for n in range(200)}
    assert len(ends) == 200
    assert max(ends) - min(ends) > 50, "they should use most of the 60 s"


def test_the_answer_does_not_depend_on_when_it_is_asked() -> None:
    policy, cluster = FixedTTL(600), idle("c-1")
    assert policy.keep_until(cluster, POOL, 0.0) == policy.keep_until(cluster, POOL, 599.0)


def test_the_spread_is_the_same_in_every_process() -> None:
    assert spread("123456789") == 0xCBF43926 / 2**32, "the published check value of CRC-32"


@pytest.mark.parametrize(("ttl_s", "jitter"), [(-1, 0), (float("inf"), 0), (float("nan"), 0), (1, -0.1), (1, 1.1)])
def test_a_ttl_out_of_range_is_refused(ttl_s: float, jitter: float) -> None:
    with pytest.raises(ValueError, match="must be"):
        FixedTTL(ttl_s, jitter)


def test_the_cold_baseline_keeps_nothing() -> None:
    assert NeverKeep().keep_until(idle("c-1", since=5.0), POOL, now=5.0) == 5.0
    assert not NeverKeep().keeps()
    assert FixedTTL().keeps()


# --- grant order


@pytest.mark.parametrize("order", [MostRecentlyUsed(), LeastRecentlyUsed()])
def test_a_group_gets_its_own_cluster_wherever_it_stands_in_the_order(order: MostRecentlyUsed) -> None:
    clusters = [idle("c-1"), idle("c-2", group="g"), idle("c-3")]
    assert order.pick(View(clusters, "g"), 0.0) is clusters[1]


@pytest.mark.parametrize("order", [MostRecentlyUsed(), LeastRecentlyUsed()])
def test_nothing_idle_is_no_cluster(order: MostRecentlyUsed) -> None:
    assert order.pick(View([], "g"), 0.0) is None


def test_without_a_cluster_of_the_group_the_orders_differ() -> None:
    clusters = [idle("c-1"), idle("c-2"), idle("c-3")]
    assert MostRecentlyUsed().pick(View(clusters, "g"), 0.0) is clusters[2]
    assert LeastRecentlyUsed().pick(View(clusters, "g"), 0.0) is clusters[0]


# --- queue order


def rank(priority: int, asked_at: float, aging_s: float) -> float:
    return PriorityWithAging().rank(Wish(priority, asked_at, asked_at + 1000.0, aging_s))


def test_equals_are_served_first_come_first_served() -> None:
    assert rank(0, 10.0, 60.0) < rank(0, 11.0, 60.0)


def test_a_higher_priority_passes_until_the_other_has_waited_long_enough() -> None:
    assert rank(1, 59.0, 60.0) < rank(0, 0.0, 60.0)
    assert rank(1, 61.0, 60.0) > rank(0, 0.0, 60.0)


@given(
    st.integers(-1000, 1000), st.integers(-1000, 1000), st.floats(0, 1e6), st.floats(0, 1e6), st.floats(1, 1e4),
    st.floats(0, 1e5),
)  # fmt: skip
def test_rank_orders_as_the_effective_priority_does_at_any_time(
    p: int, q: int, asked_p: float, asked_q: float, aging_s: float, later_s: float
) -> None:
    now = max(asked_p, asked_q) + later_s
    effective_p = p + (now - asked_p) / aging_s
    effective_q = q + (now - asked_q) / aging_s
    if abs(effective_p - effective_q) > 1e-6 * max(1.0, abs(effective_p), abs(effective_q)):
        assert (effective_p > effective_q) == (rank(p, asked_p, aging_s) < rank(q, asked_q, aging_s))


# --- sizing

QUIET = Demand(leased=0, idle=0, starting=0, floor=0, last_asked_at=0.0)


@pytest.mark.parametrize(
    ("demand", "target"),
    [
        (QUIET, 1),
        (QUIET._replace(leased=1), 3),
        (QUIET._replace(floor=5), 5),
        (QUIET._replace(leased=1, floor=2), 3),
        (QUIET._replace(min_idle=0), 0),
        (QUIET._replace(min_idle=4), 4),
    ],
)
def test_the_largest_of_floor_min_idle_and_buffer_counts(demand: Demand, target: int) -> None:
    assert FloorAndBuffer(min_idle=1, buffer=3).idle_target(demand, 0.0) == target


@pytest.mark.parametrize("options", [{"min_idle": -1}, {"buffer": -1}])
def test_a_negative_size_is_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be 0 or more"):
        FloorAndBuffer(**options)


# --- registry


@pytest.mark.parametrize(
    "policies", [registry.GRANT_ORDERS, registry.QUEUE_ORDERS, registry.SIZINGS, registry.RECLAIMS, registry.EVICTIONS]
)
def test_every_policy_is_a_dataclass_that_needs_no_options(policies: dict[str, type]) -> None:
    for name, policy in policies.items():
        assert is_dataclass(policy), name
        policy()
        assert all(field.type in ("float", "int", "bool", "str") for field in fields(policy)), name

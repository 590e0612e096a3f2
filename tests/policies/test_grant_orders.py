"""Which idle cluster a waiter gets by remaining life and by locality, through the core."""

from __future__ import annotations

from typing import Any

import pytest

from policies.grant_order import LatestToRetire, Locality, MostRecentlyUsed, SoonestToRetire
from pool.core.decisions import Granted
from pool.core.model import ResidentValue
from tests.kit import KEY, Core, make_key

GB = 1_000_000_000
LARGE = make_key(cpu=4)


def worn(core: Core, *uses: int) -> list[str]:
    """Have idle clusters that were used so often; return their ids."""
    leases = [core.lease(group=f"g{n}") for n in range(len(uses))]
    for lease in leases:
        core.go(10)
        core.release(lease)
    for n, times in enumerate(uses):
        for _ in range(times - 1):
            lease = core.lease(group=f"g{n}")
            core.go(10)
            core.release(lease)
    return [lease.cluster for lease in leases]


@pytest.mark.parametrize(("order", "expected"), [(SoonestToRetire(), 1), (LatestToRetire(), 2)])
def test_uses_that_are_left_decide_where_they_are_used_up_before_the_age(order: Any, expected: int) -> None:
    core = Core(grant_order=order, max_uses=10, max_lifetime_s=1e6, lease_ttl_s=1e6)
    ids = worn(core, 3, 6, 2)
    assert core.acquire().cluster.id == ids[expected]


@pytest.mark.parametrize(("order", "expected"), [(SoonestToRetire(), 0), (LatestToRetire(), 1)])
def test_age_decides_where_it_comes_before_the_uses_that_are_left(order: Any, expected: int) -> None:
    core = Core(grant_order=order, max_uses=1000, max_lifetime_s=400, lease_ttl_s=1e6)
    first = core.lease(group="a")
    core.go(100)
    second = core.lease(group="b")
    core.go(20)
    core.release(second)
    core.release(first)
    assert core.acquire(group="new").cluster.id == (first.cluster, second.cluster)[expected]


@pytest.mark.parametrize("order", [SoonestToRetire(), LatestToRetire(), Locality()])
def test_a_group_gets_its_own_cluster_before_any_order(order: Any) -> None:
    core = Core(grant_order=order, max_uses=10, lease_ttl_s=1e6)
    ids = worn(core, 4, 1, 3)
    for n, id_ in enumerate(ids):
        assert core.acquire(group=f"g{n}").cluster.id == id_


def test_what_comes_free_later_is_in_the_order_too() -> None:
    core = Core(grant_order=SoonestToRetire(), max_uses=10, lease_ttl_s=1e6)
    worn(core, 1, 2)
    busy = core.lease(group="x")
    (oldest,) = [c for c in core.clusters() if c.id == busy.cluster]
    core.release(busy)
    assert oldest.uses == 3
    assert core.acquire(group="y").cluster.id == oldest.id


def left_there(core: Core, key: Any, size_bytes: int) -> str:
    """Have the group leave so much data on a cluster of a key; return the cluster's id."""
    lease = core.lease(key, group="run")
    core.release(lease, full=False, resident=(ResidentValue("model", size_bytes, "node", core.now),))
    return lease.cluster


def two(core: Core, large_bytes: int, small_bytes: int) -> tuple[str, str]:
    here = left_there(core, KEY, small_bytes)
    return left_there(core, LARGE, large_bytes), here


def test_by_locality_a_task_goes_to_the_larger_cluster_that_has_its_groups_data() -> None:
    core = Core(grant_order=Locality(), serve_larger=True)
    there, _ = two(core, GB, GB // 100)
    granted = core.acquire(KEY, group="run")
    assert isinstance(granted, Granted)
    assert granted.cluster.id == there
    assert granted.cluster.resident_bytes == GB, "and finds it"


@pytest.mark.parametrize(
    ("fields", "sizes"),
    [
        ({"grant_order": MostRecentlyUsed(), "serve_larger": True}, (GB, 1)),
        ({"grant_order": Locality(), "serve_larger": False}, (GB, 1)),
        ({"grant_order": Locality(least_mb=50), "serve_larger": True}, (GB, GB - 40_000_000)),
    ],
)
def test_else_it_stays_on_a_cluster_of_its_own_key(fields: dict[str, Any], sizes: tuple[int, int]) -> None:
    core = Core(**fields)
    _, here = two(core, *sizes)
    assert core.acquire(KEY, group="run").cluster.id == here


def test_by_locality_the_data_of_others_is_nothing_to_a_task() -> None:
    core = Core(grant_order=Locality(), serve_larger=True)
    there, here = two(core, GB, GB)
    granted = core.acquire(KEY, group="other")
    assert not isinstance(granted, Granted), f"{there} and {here} are clean for their group alone"


def test_for_strangers_the_clusters_with_least_data_are_reset() -> None:
    core = Core()
    leases = [core.lease(group=f"g{n}") for n in range(3)]
    for lease, size in zip(leases, (3 * GB, GB, 2 * GB), strict=True):
        core.release(lease, full=False, resident=(ResidentValue("x", size, "node", core.now),))
    core.acquire(group="stranger")
    core.reset_in_full(leases[1].cluster)
    kept = [core.state.clusters[lease.cluster].resident_bytes for lease in leases]
    assert kept == [3 * GB, 0, 2 * GB]


@pytest.mark.parametrize("least_mb", [-1.0, float("inf"), float("nan")])
def test_a_bound_out_of_range_is_refused(least_mb: float) -> None:
    with pytest.raises(ValueError, match=r"least_mb is .* must be 0 or more"):
        Locality(least_mb)

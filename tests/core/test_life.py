"""Which free clusters retire first and last, and what is by how much data, held to a plain sort."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from pool.core.by_bytes import ByBytes, pop, put
from pool.core.key import Footprint
from pool.core.life import ByLife, Limits
from pool.core.model import Cluster, ClusterState, ResidentValue
from pool.core.reasons import Reason

A_LIFE = st.tuples(st.one_of(st.just(0.0), st.floats(1.0, 1e4)), st.integers(0, 12))
LIMITS = st.builds(Limits, st.integers(0, 12), st.floats(0.0, 1e3), st.floats(0.0, 1e4))


def idle(n: int, retires_at: float = 0.0, uses: int = 0, data_bytes: int = 0) -> Cluster:
    resident = (ResidentValue("x", data_bytes, "node", 0.0),) if data_bytes else ()
    return Cluster(
        f"c-{n}", "p", "a/b", n, Footprint(1), ClusterState.IDLE, Reason.MISS, created_at=0.0, changed_at=0.0,
        retires_at=retires_at, uses=uses, resident=resident, group="g",
    )  # fmt: skip


@given(st.lists(A_LIFE, max_size=20), st.data(), LIMITS)
def test_both_orders_are_those_of_a_plain_sort_by_when_a_cluster_retires(
    lives: list[tuple[float, int]], data: st.DataObject, limits: Limits
) -> None:
    clusters = [idle(n, *life) for n, life in enumerate(lives)]
    first = data.draw(st.integers(0, len(clusters)))
    kept = ByLife(clusters[:first])
    for cluster in clusters[first:]:
        kept.take(cluster)
    for cluster in clusters[: len(clusters) // 3]:
        kept.drop(cluster)
    left = clusters[len(clusters) // 3 :]
    ends = sorted(limits.retires_at(cluster) for cluster in left)
    for found, expected in ((kept.soonest(limits), ends), (kept.latest(limits), ends[::-1])):
        yielded = list(found)
        assert [limits.retires_at(cluster) for cluster in yielded] == expected
        assert len({cluster.id for cluster in yielded}) == len(left)


def test_the_first_is_found_without_a_look_at_all_of_them() -> None:
    # Age and use go together, as they do of clusters that are used.
    kept = ByLife(idle(n, retires_at=1e5 - n, uses=n) for n in range(10_000))
    seen: list[int] = []

    class Counted(Limits):
        def used_up_at(self, uses: int) -> float:
            seen.append(uses)
            return super().used_up_at(uses)

    limits = Counted(20_000, 5.0, 0.0)
    assert next(kept.soonest(limits)).id == "c-9999"
    assert next(kept.latest(limits)).id == "c-0"
    assert len(seen) < 10


@given(st.lists(st.integers(0, 3), max_size=12), st.sets(st.integers(0, 11)))
def test_a_groups_clusters_are_by_their_data_and_the_latest_first_among_equals(
    sizes: list[int], gone: set[int]
) -> None:
    groups: dict[str, ByBytes] = {}
    clusters = [idle(n, data_bytes=size) for n, size in enumerate(sizes)]
    for cluster in clusters:
        put(groups, "g", cluster)
    for n in gone:
        pop(groups, "g", f"c-{n}")
    left = [cluster for n, cluster in enumerate(clusters) if n not in gone]
    expected = sorted(left, key=lambda cluster: (-cluster.resident_bytes, -cluster.seq))
    assert list(groups.get("g", ())) == [cluster.id for cluster in expected]
    assert ("g" in groups) == bool(left)
    if left:
        assert groups["g"].most_bytes == expected[0].resident_bytes
        assert all((cluster.id in groups["g"]) == (cluster in left) for cluster in clusters)


def test_a_cluster_without_limits_never_retires() -> None:
    limits = Limits(0, 60.0, 100.0)
    assert limits.retires_at(idle(1, uses=10**6)) == float("inf")
    assert [Limits(3, 60.0, 100.0).retires_at(idle(1, uses=n)) for n in (0, 2, 3, 4)] == [280.0, 160.0, 100.0, 100.0]
    assert list(itertools.islice(ByLife([]).soonest(limits), 1)) == []

"""Cluster keys: two ways to write the same thing are one key, and a larger one serves a smaller."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool.core.errors import InvalidKey
from pool.core.key import byte_count, dominates, key_from, milli_cpu, to_json

BASE: dict[str, Any] = {"image": "registry/team/image:1", "tenant": "project/domain"}


def key(**shape: Any) -> Any:
    return key_from({**BASE, "shape": shape})


@pytest.mark.parametrize(("text", "value"), [("2", 2000), (0.5, 500), ("500m", 500), (" 1.5 ", 1500), (0, 0)])
def test_cpus_are_thousandths(text: Any, value: int) -> None:
    assert milli_cpu(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [("1Ki", 1024), ("1k", 1000), ("4Gi", 4 * 2**30), (1024, 1024), ("1.5Mi", 1572864)],
)
def test_sizes_are_bytes(text: Any, value: int) -> None:
    assert byte_count(text) == value


@pytest.mark.parametrize("text", ["-1", "abc", "nan", "inf", "", "1 GB", "1mb", "--"])
def test_what_is_not_a_quantity_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(InvalidKey, match=r"shape\.head\.memory"):
        key(head={"memory": text})
    with pytest.raises(InvalidKey, match=r"shape\.head\.cpu"):
        key(head={"cpu": text})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"head": {"cpu": "1000m"}}, {"head": {"cpu": 1}}),
        ({"head": {"memory": "1Gi"}}, {"head": {"memory": 2**30}}),
        ({"head": {"custom": {"a": 1, "b": 2}}}, {"head": {"custom": {"b": 2.0, "a": "1"}}}),
        ({"head": {"start_params": {"--block": "true"}}}, {"head": {"start_params": {"block": "true"}}}),
        ({"head": {}}, {}),
        (
            {"workers": [{"name": "a", "cpu": 1}, {"name": "b", "cpu": 2}]},
            {"workers": [{"name": "b", "cpu": 2}, {"name": "a", "cpu": "1"}]},
        ),
        ({"workers": [{"name": "none", "replicas": 0}]}, {}),
        ({"workers": [{"name": "w", "replicas": 2}]}, {"workers": [{"name": "w", "replicas": 2, "max_replicas": 9}]}),
        ({"head": {"pod": {"a": 1, "b": 2}}}, {"head": {"pod": {"b": 2, "a": 1}}}),
    ],
)
def test_two_ways_to_write_the_same_shape_are_one_key(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert key(**one).digest == key(**other).digest


@pytest.mark.parametrize(
    "other",
    [
        {"head": {"cpu": 2}},
        {"head": {"pod": {"serviceAccountName": "root"}}},
        {"head": {"start_params": {"num-cpus": "4"}}},
        {"workers": [{"name": "w"}]},
        {"autoscaling": True},
    ],
)
def test_another_shape_is_another_key(other: dict[str, Any]) -> None:
    assert key(**other).digest != key().digest


def test_another_tenant_image_or_type_is_another_key() -> None:
    keys = [key_from(BASE | change) for change in ({}, {"tenant": "x"}, {"image": "x"}, {"cluster_type": "dask"})]
    assert len({k.digest for k in keys}) == 4


def test_digests_are_stable() -> None:
    """A digest names clusters that live longer than the daemon: it must not change with a new version."""
    assert key().digest == "eb804591fdef"
    shape = {
        "head": {"cpu": 2, "memory": "4Gi", "custom": {"tag": 1}},
        "workers": [{"name": "w", "cpu": "500m", "gpu": 1, "replicas": 1, "min_replicas": 0, "max_replicas": 3}],
        "autoscaling": True,
    }
    assert key(**shape).digest == "5174edfddde4"


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (BASE | {"image": ""}, r"key\.image"),
        (BASE | {"image": "two words"}, r"key\.image"),
        (BASE | {"tenant": ""}, r"key\.tenant"),
        (BASE | {"tenant": "a b"}, r"key\.tenant"),
        (BASE | {"colour": "red"}, r"key\.colour"),
        (BASE | {"shape": {"heads": {}}}, r"shape\.heads"),
        (BASE | {"shape": {"head": {"cpus": 1}}}, r"shape\.head\.cpus"),
        (BASE | {"shape": {"head": {"gpu": 0.5}}}, r"shape\.head\.gpu"),
        (BASE | {"shape": {"workers": [{"name": "w"}, {"name": "w"}]}}, r"shape\.workers"),
        (
            BASE | {"shape": {"autoscaling": True, "workers": [{"name": "w", "replicas": 5, "max_replicas": 2}]}},
            r"shape\.workers\[0\]",
        ),
    ],
)
def test_a_bad_key_is_refused_by_the_name_of_its_field(data: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidKey, match=field):
        key_from(data)


nodes = st.fixed_dictionaries(
    {"cpu": st.integers(1, 3), "gpu": st.integers(0, 1), "memory": st.sampled_from([0, 2**30, 2**31])},
    optional={
        "custom": st.dictionaries(st.sampled_from("ab"), st.integers(1, 2), max_size=2),
        "accelerator": st.sampled_from(["", "A100"]),
        "start_params": st.sampled_from([{}, {"block": "true"}]),
    },
)
workers = st.builds(
    lambda name, node, counts: {
        "name": name, "min_replicas": counts[0], "replicas": counts[1], "max_replicas": counts[2], **node,
    },
    st.sampled_from(["v", "w"]), nodes, st.lists(st.integers(0, 3), min_size=3, max_size=3).map(sorted),
)  # fmt: skip
shapes = st.fixed_dictionaries(
    {
        "head": nodes,
        "workers": st.lists(workers, max_size=2, unique_by=lambda w: w["name"]),
        "autoscaling": st.booleans(),
    }
)


@given(shapes)
def test_a_key_survives_the_way_through_json(shape: dict[str, Any]) -> None:
    one = key(**shape)
    assert key_from(to_json(one)) == one
    assert key_from(to_json(one)).digest == one.digest


@given(shapes)
def test_a_key_dominates_itself(shape: dict[str, Any]) -> None:
    assert dominates(key(**shape), key(**shape))


@given(shapes, shapes, shapes)
def test_to_dominate_is_transitive(one: dict[str, Any], two: dict[str, Any], three: dict[str, Any]) -> None:
    a, b, c = (key(**shape) for shape in (one, two, three))
    if dominates(a, b) and dominates(b, c):
        assert dominates(a, c)


@given(shapes, st.integers(1, 3))
def test_more_cpus_dominate_fewer_and_never_the_other_way(shape: dict[str, Any], more: int) -> None:
    larger = {**shape, "head": {**shape["head"], "cpu": shape["head"]["cpu"] + more}}
    assert dominates(key(**larger), key(**shape))
    assert not dominates(key(**shape), key(**larger))


def test_a_larger_cluster_that_may_see_more_does_not_serve() -> None:
    small, large = key(head={"cpu": 1}), key(head={"cpu": 4, "pod": {"serviceAccountName": "admin"}})
    assert not dominates(large, small)


def test_a_key_shows_what_it_is() -> None:
    text = repr(key(head={"cpu": 1}, workers=[{"name": "w", "cpu": 2, "replicas": 2}]))
    assert text.endswith("ray registry/team/image:1 1 cpu + 2x(2 cpu) of project/domain>")

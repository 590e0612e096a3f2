"""A shape that cannot fit is refused at once, with the sum."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pool.backends.local.backend import LocalBackend
from pool.backends.local.machine import Machine
from pool.backends.local.options import LocalOptions
from pool.core.errors import InvalidKey, ShapeTooLarge
from pool.core.key import key_from

from .conftest import make_key


def backend(tmp_path: Path, **options: Any) -> LocalBackend:
    limits = {"milli_cpu": 4000, "memory_bytes": 8 * 2**30, "gpu": 1} | options
    return LocalBackend(tmp_path, options=LocalOptions(**limits))


def test_a_shape_that_fits_is_accepted(tmp_path: Path) -> None:
    backend(tmp_path).check(make_key(2, workers=[{"cpu": 1, "replicas": 2}]))


def test_too_many_cpus_are_refused_with_the_sum_over_all_nodes(tmp_path: Path) -> None:
    with pytest.raises(ShapeTooLarge, match=r"2 \(head\) \+ 2 x 1\.5 \(w\) = 5 cpus, but this machine has 4"):
        backend(tmp_path).check(make_key(2, workers=[{"name": "w", "cpu": 1.5, "replicas": 2}]))


def test_overcommitted_cpus_are_accepted_up_to_the_factor(tmp_path: Path) -> None:
    generous = backend(tmp_path, cpu_overcommit=2.0)
    generous.check(make_key(8))
    with pytest.raises(ShapeTooLarge, match=r"4 x 2 \(cpu_overcommit\)"):
        generous.check(make_key(9))


def test_an_autoscaled_group_counts_with_what_is_started_here(tmp_path: Path) -> None:
    group = {"cpu": 1, "replicas": 1, "min_replicas": 0, "max_replicas": 100}
    backend(tmp_path).check(make_key(1, workers=[group], autoscaling=True))


def test_too_much_memory_is_refused_with_the_sum(tmp_path: Path) -> None:
    with pytest.raises(ShapeTooLarge, match=r"6 \(head\) \+ 3 \(w\) = 9 GiB of memory, but this machine has 8 GiB"):
        backend(tmp_path).check(make_key(head={"memory": "6Gi"}, workers=[{"name": "w", "memory": "3Gi"}]))


def test_gpus_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ShapeTooLarge, match=r"2 GPUs, but this machine has 1"):
        backend(tmp_path).check(make_key(head={"gpu": 2}))


@pytest.mark.parametrize(
    "name", ["port", "address", "temp-dir", "head", "dashboard-port", "node-ip-address", "nonsense"]
)
def test_a_start_parameter_that_collides_with_ours_is_refused_by_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidKey, match=f"shape.head.start_params: '{name}' cannot be set"):
        backend(tmp_path).check(make_key(head={"start_params": {name: "1"}}))


def test_start_parameters_that_people_write_for_kubernetes_are_accepted(tmp_path: Path) -> None:
    params = {"dashboard-host": "0.0.0.0", "block": "true", "log-color": "True", "num-cpus": "0"}
    backend(tmp_path).check(make_key(head={"start_params": params}))


def test_another_cluster_type_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidKey, match="cluster_type: 'dask' cannot run here"):
        backend(tmp_path).check(key_from({"image": "i", "tenant": "p/d", "cluster_type": "dask"}))


def test_this_machine_is_found_to_have_something() -> None:
    found = Machine.found(LocalOptions())
    assert found.milli_cpu >= 100
    assert found.memory_bytes > 2**28
    assert found.gpu >= 0

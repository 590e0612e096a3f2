"""Resident data as a task in a pod of its own has it: connected by Ray Client, without memory that it shares."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
import ray

from pool import resident
from pool.client.connect import connected
from pool.core.model import ReadFrom
from pool.resident.values import take_reads
from pool.wire.leases import ClusterAccess
from tests.heads import head

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(180),
    pytest.mark.filterwarnings("ignore:Tip. In future versions of Ray:FutureWarning"),
]

Task = Callable[[], Any]


@pytest.fixture(scope="module")
def task() -> Iterator[Task]:
    """What connects this process to a cluster as a task's pod is connected."""
    with head("afar") as ready, tempfile.TemporaryDirectory() as empty:
        # Nothing answers at this address: only Ray Client reaches the cluster.
        access = ClusterAccess.model_validate({**ready(), "address": "192.0.2.1:6379"})
        yield lambda: connected(access, {"working_dir": empty}, local=False)


def test_a_task_gets_by_ray_client_what_another_one_put(task: Task) -> None:
    frame = pd.DataFrame({"x": np.arange(200_000), "word": ["a", "b"] * 100_000})
    values = {"frame": frame, "array": np.arange(300_000), "model": {"weights": bytes(3_000_000)}, "small": 7}
    with task():
        for name, value in values.items():
            assert resident.put(name, value).resident
    take_reads()
    with task():
        pd.testing.assert_frame_equal(resident.get("frame"), frame)
        assert (resident.get("array") == values["array"]).all()
        assert resident.get("model") == values["model"]
        assert resident.get("small") == 7
        assert take_reads() == {ReadFrom.REMOTE: 4}
        assert {entry.name for entry in resident.list()} == set(values)
        assert resident.drop() == sorted(values)


def test_what_a_value_refers_to_stays_on_the_cluster_and_is_there_for_the_next_task(task: Task) -> None:
    with task():
        large = ray.remote(lambda: np.ones(500_000)).remote()
        assert resident.put("parts", {"large": large, "small": ray.put(1)}).bytes > 4_000_000
    with task():
        parts = resident.get("parts")
        assert ray.get(ray.remote(lambda one: float(one.sum())).remote(parts["large"])) == 500_000
        assert ray.get(parts["small"]) == 1
        resident.drop()

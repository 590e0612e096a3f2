"""Values whose parts lie on several nodes, on one real cluster of two."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import ray

from pool import resident
from pool.client.connect import connected
from pool.wire.leases import ClusterAccess
from tests.serving import environment

from .conftest import owners, ray_data, real_ray, until

pytestmark = real_ray

TWO_NODES = """
import sys
from ray.cluster_utils import Cluster
both = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 100_000_000,
                                                     "include_dashboard": False, "temp_dir": sys.argv[1]})
other = both.add_node(num_cpus=1, object_store_memory=100_000_000, resources={"there": 1})
print(both.address, flush=True)
if sys.stdin.readline().strip() == "lose":
    both.remove_node(other, allow_graceful=False)
    print("lost", flush=True)
    sys.stdin.read()
both.shutdown()
"""


class Two:
    """The cluster."""

    def __init__(self, process: subprocess.Popen[str], address: str) -> None:
        self._process = process
        self._access = ClusterAccess(id="c-1", address=address, token="secret")

    def job(self) -> Any:
        return connected(self._access, None, local=True)

    def lose_the_other_node(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print("lose", file=self._process.stdin, flush=True)
        assert self._process.stdout.readline() == "lost\n"


@contextmanager
def two_nodes(home: Path) -> Iterator[Two]:
    with (home / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", TWO_NODES, str(home)],
            # Ray gives a raylet 30 s to start, which is little on a busy machine.
            env=environment() | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "secret", "RAY_TMPDIR": str(home),
                                 "RAY_raylet_start_wait_time_s": "120"},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
        )  # fmt: skip
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address, (home / "log").read_text()[-2000:]
        yield Two(process, address)
    finally:
        process.communicate()


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> Iterator[Two]:
    monkeypatch.setenv("RAY_DATA_USAGE_DISABLED", "1")
    home = Path(tempfile.mkdtemp(prefix="wpn-", dir="/tmp"))
    (home / "ray").mkdir()
    with two_nodes(home) as made:
        yield made
    shutil.rmtree(home, ignore_errors=True)


def there(make: Callable[[], Any]) -> Any:
    """Have something made on the other node, where it stays."""
    ref = ray.remote(resources={"there": 0.1}, num_cpus=0)(make).remote()
    ray.wait([ref], fetch_local=False)
    return ref


def nodes_of(refs: list[Any]) -> list[list[str]]:
    # Who only refers to an object learns where it is, unless it is here.
    ray.wait(refs, num_returns=len(refs), fetch_local=False)
    known = ray.experimental.get_object_locations(refs)
    return [known[ref]["node_ids"] or [ray.get_runtime_context().get_node_id()] for ref in refs]


@ray_data
def test_the_parts_of_a_value_stay_where_they_lie_and_with_a_lost_node_it_is_had_from_its_copy(
    two: Two, tmp_path: Path
) -> None:
    frames = [pd.DataFrame({"a": np.arange(n, n + 200_000)}) for n in (0, 200_000)]
    url = str(tmp_path / "copy")
    with two.job():
        import ray.data

        here = ray.get_runtime_context().get_node_id()
        [other] = [node["NodeID"] for node in ray.nodes() if node["NodeID"] != here]
        frame = frames[1]
        refs = [ray.put(frames[0]), there(lambda: frame)]
        data = ray.data.from_pandas_refs(refs)
        entry = resident.put("data", data, durable=url)
        assert (entry.kind, entry.node, entry.bytes > 3_200_000) == ("dataset", here, True)
        resident.put("tree", {"large": there(lambda: np.ones(300_000)), "own": 1})
        assert len(owners()) == 2
        assert [entry.name for entry in resident.list()] == ["data", "tree"]
        del refs, data
    with two.job():
        data = resident.get("data")
        assert sorted(nodes_of(data.to_pandas_refs())) == sorted([[here], [other]])
        assert data.sum("a") == sum(range(400_000))
        tree = resident.get("tree")
        assert nodes_of([tree["large"]]) == [[other]]
        assert float(ray.get(tree["large"]).sum()) == 300_000
        del data, tree
    two.lose_the_other_node()
    with two.job():
        until(lambda: len(owners()) == 1)
        assert resident.get("data").sum("a") == sum(range(400_000))
        with pytest.raises(resident.ResidentMissing, match="'tree' is not on this cluster"):
            resident.get("tree")

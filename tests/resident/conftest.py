"""One real cluster for all tests of a file, to which each job connects anew, and what its owners are asked."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import ray

from pool import resident
from pool.client.connect import connected
from pool.inside.owner import NAMESPACE
from pool.wire.leases import ClusterAccess
from tests.heads import by_init

real_ray = [
    pytest.mark.ray,
    pytest.mark.timeout(240),
    # Older Rays tell on every ray.init what a later one will do.
    pytest.mark.filterwarnings("ignore:Tip. In future versions of Ray:FutureWarning"),
    # Ray Data warns of its own defaults.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

# Ray Data 2.52 looks for a warning that pandas 3 has not.
ray_data = pytest.mark.skipif(
    int(pd.__version__.partition(".")[0]) >= 3 and tuple(map(int, ray.__version__.split(".")[:2])) < (2, 60),
    reason="this Ray's Data knows no pandas 3: pip install 'pandas<3'",
)

STORE_BYTES = 200_000_000
MB = 1_000_000

Job = Callable[[], Any]


@pytest.fixture(scope="module")
def access() -> Iterator[ClusterAccess]:
    """A cluster."""
    with ExitStack() as stack:
        home = Path(tempfile.mkdtemp(prefix="wpr-", dir="/tmp"))
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        yield stack.enter_context(by_init(home, cpus=1, store_bytes=STORE_BYTES))


@pytest.fixture(scope="module")
def job(access: ClusterAccess) -> Iterator[Job]:
    """What connects this process to it as one job."""
    with pytest.MonkeyPatch.context() as patched:
        # A thread of Ray Data's would ask a Prometheus that is not there, even after the cluster is gone.
        patched.setenv("RAY_DATA_USAGE_DISABLED", "1")
        yield lambda: connected(access, None, local=True)


@pytest.fixture
def nothing_left(job: Job) -> Iterator[None]:
    """Have what a test put dropped after it."""
    yield
    with job():
        resident.drop()


def until(true: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def owners() -> list[Any]:
    """Return the actors that own the resident data."""
    every = ray.util.list_named_actors(all_namespaces=True)
    return [ray.get_actor(actor["name"], NAMESPACE) for actor in every if actor["namespace"] == NAMESPACE]


def kill(owner: Any) -> None:
    """End an owner, and see that it answers nobody any more: Ray only passes on that it shall."""
    ray.kill(owner)

    def gone() -> bool:
        try:
            ray.get(owner.all.remote())
        except ray.exceptions.RayActorError:
            return True
        return False

    until(gone)

"""Both plugins on two real Ray clusters, which have different tokens."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray

from pool.client.connect import connected
from pool.wire.leases import ClusterAccess
from tests.kube.registered import container

pytestmark = [
    pytest.mark.ray,
    pytest.mark.flyte,
    # Older Rays tell on every ray.init what a later one will do.
    pytest.mark.filterwarnings("ignore:Tip. In future versions of Ray:FutureWarning"),
]

FLYTE1 = """
import os
import ray
from flytekit import current_context, map_task, task, workflow
from flytekitplugins.ray import RayJobConfig, WorkerNodeConfig
from pool.flyte import Pooled
import beside_it

warm = Pooled(RayJobConfig(worker_node_config=[WorkerNodeConfig("w", 1)], runtime_env={"env_vars": {"TIMES": "10"}}))

@ray.remote
def times(x: int) -> int:
    return beside_it.product(x, int(os.environ["TIMES"]))

@task(task_config=warm)
def on_ray(x: int) -> int:
    current_context().ray_lease.check()
    assert os.environ["RAY_ADDRESS"] == current_context().ray_lease.cluster.address
    return ray.get(times.remote(x))

@task(task_config=warm)
def broken(x: int) -> int:
    ray.get(times.remote(x))
    if x:
        raise KeyError("the body is broken")
    return x

@task
def twice(x: int) -> list[int]:
    return [x, x]

@workflow
def chain(x: int) -> list[int]:
    return map_task(on_ray)(x=twice(x=on_ray(x=x)))
"""

IN_A_CONTAINER = """
import ray
from flytekit import task
from flytekitplugins.ray import RayJobConfig, WorkerNodeConfig
from pool.flyte import Pooled

@ray.remote
def product(x: int, y: int) -> int:
    return x * y

@task(task_config=Pooled(RayJobConfig(worker_node_config=[WorkerNodeConfig("w", 1)])))
def on_ray() -> int:
    return ray.get(product.remote(6, 7))
"""

FLYTE2 = """
import asyncio
import flyte
import ray
from flyteplugins.ray import RayJobConfig, WorkerNodeConfig
from pool.flyte import Pooled, current_lease
import beside_it

env = flyte.TaskEnvironment("warm", plugin_config=Pooled(RayJobConfig(worker_node_config=[WorkerNodeConfig("w", 1)])))
plain = flyte.TaskEnvironment("plain", depends_on=[env])

@ray.remote
def times(x: int) -> int:
    return beside_it.product(x, 10)

@env.task
async def on_ray(x: int) -> int:
    assert current_lease() is flyte.ctx()["ray_lease"]
    return await times.remote(x)

@env.task
def in_a_thread(x: int) -> int:
    return ray.get(times.remote(x))

@env.task
async def nested(x: int) -> int:
    return sum(await asyncio.gather(on_ray(x), in_a_thread.aio(x)))

@plain.task
async def chain(x: int) -> int:
    return await in_a_thread.aio(await nested(x))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A user's files, in a directory that the clusters know nothing of."""
    (tmp_path / "beside_it.py").write_text("def product(x, y):\n    return x * y\n")
    (tmp_path / "one.py").write_text(FLYTE1)
    (tmp_path / "two.py").write_text(FLYTE2)
    (tmp_path / "elsewhere").mkdir()
    return tmp_path


def flyte(cwd: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run one of Flyte's own commands."""
    program = Path(sys.executable).parent / command[0]
    return subprocess.run(
        [program, *command[1:]],
        cwd=cwd, env=os.environ | {"PYTHONPATH": str(Path.cwd())}, text=True, capture_output=True,
        timeout=120,
    )  # fmt: skip


def access(cluster: dict[str, Any]) -> ClusterAccess:
    return ClusterAccess(**cluster)


@ray.remote
def where_am_i() -> str:
    return ray.get_runtime_context().gcs_address


def test_one_process_uses_clusters_with_different_tokens_in_turn(
    real_clusters: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "the user's own")
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    ports = []
    for cluster in [*real_clusters, real_clusters[0]]:
        with connected(access(cluster), None, local=True):
            ports.append(ray.get(where_am_i.remote(), timeout=60).rpartition(":")[2])
    assert ports == [cluster["address"].rpartition(":")[2] for cluster in [*real_clusters, real_clusters[0]]]
    assert not ray.is_initialized()
    assert os.environ["RAY_AUTH_TOKEN"] == "the user's own"
    assert "RAY_AUTH_MODE" not in os.environ


def test_remotely_the_working_directory_is_uploaded(
    real_clusters: list[dict[str, Any]], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)

    @ray.remote
    def uses_it() -> int:
        return __import__("beside_it").product(6, 7)

    with connected(access(real_clusters[0]), None, local=False):
        assert ray.get(uses_it.remote(), timeout=60) == 42


def test_a_connection_whose_server_process_ends_before_it_answers_is_made_again(
    real_clusters: list[dict[str, Any]],
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # How long Ray's head waits before it gives a broken connection up.
    monkeypatch.setenv("RAY_CLIENT_RECONNECT_GRACE_PERIOD", "1")
    monkeypatch.chdir(project)
    port = real_clusters[0]["address"].rpartition(":")[2]
    raylet = next(one for one in processes(f"--gcs-address=\\S+:{port}") if one.name() == "raylet")
    elsewhere = access({**real_clusters[0], "address": "192.0.2.1:6379"})
    # What serves a connection has answered once its node knows it: not while that is stopped.
    raylet.suspend()
    try:
        killer = threading.Thread(target=kill_once_asked, args=(port, raylet), daemon=True)
        killer.start()
        with connected(elsewhere, None, local=False):
            assert ray.get(where_am_i.remote(), timeout=60).endswith(f":{port}")
    finally:
        raylet.resume()
    assert "its head did not serve the connection" in caplog.text


def kill_once_asked(head_port: str, raylet: psutil.Process) -> None:
    """Kill the process that serves the next connection to a head when it tries to answer, and let its node go on."""
    while True:
        for process in processes(f"--address=\\S+:{head_port}"):
            with suppress(psutil.Error):
                open_ = [c for c in process.net_connections() if c.status == psutil.CONN_ESTABLISHED]
                listens = {c.laddr.port for c in process.net_connections() if c.status == psutil.CONN_LISTEN}
                reached = any(c.laddr.port in listens for c in open_)
                # It connects to the cluster as it is asked to.
                if reached and any(c.raddr.port == int(head_port) for c in open_):
                    process.kill()
                    raylet.resume()
                    return
        time.sleep(0.01)


def processes(argument: str) -> Iterator[psutil.Process]:
    """Return the processes that have an argument, given as a pattern, and are not a head's own Ray Client."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            command = process.cmdline()
            if any(re.fullmatch(argument, part) for part in command) and "--mode=proxy" not in command:
                yield process


def test_pyflyte_run_chains_and_maps_tasks_over_leases(
    real_daemon: Any, project: Path, task_log: Callable[[], list[Any]]
) -> None:
    done = flyte(project / "elsewhere", "pyflyte", "run", str(project / "one.py"), "chain", "--x", "3")
    assert "[300, 300]" in done.stdout, done.stdout + done.stderr
    assert [kind for kind, _ in real_daemon.events] == ["grant", "release"] * 2
    assert [line["outcome"] for line in task_log()] == ["hit", "hit"]


def test_pyflyte_run_gives_the_lease_of_a_raising_body_back(real_daemon: Any, project: Path) -> None:
    done = flyte(project / "elsewhere", "pyflyte", "run", str(project / "one.py"), "broken", "--x", "3")
    assert done.returncode != 0
    assert "the body is broken" in done.stdout + done.stderr
    assert [kind for kind, _ in real_daemon.events] == ["grant", "release"]


def test_a_containers_command_is_connected_by_ray_client_before_its_task_is_there(
    real_daemon: Any, tmp_path: Path, task_log: Callable[[], list[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Clusters that are elsewhere: only Ray Client reaches them.
    real_daemon.clusters = [{**cluster, "address": "192.0.2.1:6379"} for cluster in real_daemon.clusters]
    made = container("an/image:1", "in_a_container", IN_A_CONTAINER, "on_ray")
    (tmp_path / "in_a_container.py").write_text(IN_A_CONTAINER)
    (tmp_path / "inputs.pb").touch()
    (tmp_path / "out").mkdir()
    ids = {"PROJECT": "p", "DOMAIN": "d", "ID": "execution-1"}
    for name, value in {**made, **{f"FLYTE_INTERNAL_EXECUTION_{name}": value for name, value in ids.items()}}.items():
        monkeypatch.setenv(name, value)
    command = shlex.split(made["COMMAND"].replace("/tmp/run", str(tmp_path)))
    done = flyte(tmp_path, *command)
    assert (tmp_path / "out" / "outputs.pb").exists(), done.stdout + done.stderr
    assert [kind for kind, _ in real_daemon.events] == ["grant", "release"]
    (line,) = task_log()
    assert (line["error"], line["connect_s"]) == ("", 0.0)


def test_flyte_2s_local_run_shares_the_lease_of_nested_tasks(
    real_daemon: Any, project: Path, task_log: Callable[[], list[Any]]
) -> None:
    done = flyte(project, "flyte", "run", "--local", "two.py", "chain", "--x", "2")
    assert "400" in done.stdout, done.stdout + done.stderr
    assert [kind for kind, _ in real_daemon.events] == ["grant", "release"] * 2
    assert [line["how"] for line in task_log()].count("shared") == 2

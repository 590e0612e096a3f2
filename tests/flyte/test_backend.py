"""Unchanged Ray tasks on a real Flyte backend that routes task type `ray` to the connector: ``make test-flyte``.

Given by environment variables: `FLYTECTL_CONFIG` (the client's configuration of a Flyte 1), `FLYTE2_CONFIG` (of a
Flyte 2), `WARMPOOL_TEST_TASK_IMAGE` (what tasks run in: Ray, flytekit and its Ray plugin, or Flyte 2's), and, if it is
another than flytesnacks and development, `FLYTE_TEST_PROJECT` and `FLYTE_TEST_DOMAIN`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

FLYTE1, FLYTE2 = os.environ.get("FLYTECTL_CONFIG", ""), os.environ.get("FLYTE2_CONFIG", "")
IMAGE = os.environ.get("WARMPOOL_TEST_TASK_IMAGE", "")
WHERE = os.environ.get("FLYTE_TEST_PROJECT", "flytesnacks"), os.environ.get("FLYTE_TEST_DOMAIN", "development")
BOUND_S = 900

pytestmark = [pytest.mark.backend, pytest.mark.timeout(BOUND_S + 60)]

AUTHORS1 = """
import ray
from flytekit import Resources, task, workflow
from flytekitplugins.ray import HeadNodeConfig, RayJobConfig, WorkerNodeConfig

small = Resources(cpu="1", mem="2Gi")
config = RayJobConfig(
    head_node_config=HeadNodeConfig(requests=small, limits=small),
    worker_node_config=[WorkerNodeConfig("w", 1, requests=small, limits=small)],
)

@ray.remote
def plus(x: int) -> int:
    return x + 1

@task(task_config=config)
def step(x: int) -> int:
    return ray.get(plus.remote(x))

@workflow
def chain(x: int) -> int:
    return step(x=step(x=step(x=x)))
"""
AUTHORS2 = """
import json, os, pathlib, sys
import flyte
import ray
from flyteplugins.ray import HeadNodeConfig, RayJobConfig, WorkerNodeConfig

small = flyte.Resources(cpu=1, memory="2Gi")
config = RayJobConfig(
    head_node_config=HeadNodeConfig(requests=small, limits=small),
    worker_node_config=[WorkerNodeConfig("w", 1, requests=small, limits=small)],
)
image = flyte.Image.from_base(os.environ["IMAGE"]) if "IMAGE" in os.environ else "auto"
rays = flyte.TaskEnvironment("rays", plugin_config=config, image=image)
plain = flyte.TaskEnvironment("plain", image=image, depends_on=[rays])

@ray.remote
def plus(x: int) -> int:
    return x + 1

@rays.task
def step(x: int) -> int:
    return ray.get(plus.remote(x))

@plain.task
def chain(x: int) -> int:
    for _ in range(3):
        x = step(x)
    return x

if __name__ == "__main__":
    client, project, domain = sys.argv[1:]
    flyte.init_from_config(client, root_dir=pathlib.Path(__file__).parent, project=project, domain=domain)
    run = flyte.run(chain, x=1)
    run.wait(quiet=True)
    print(json.dumps({"phase": str(run.phase), "outputs": list(run.outputs())}))
"""


def author(directory: Path, text: str, *command: str) -> str:
    """Run what an author runs, in a process of its own; return what it printed."""
    (directory / "authors_own.py").write_text(text)
    environment = os.environ | {"IMAGE": IMAGE}
    done = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=BOUND_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(not FLYTE1 or not IMAGE, reason="needs a Flyte 1: FLYTECTL_CONFIG, and WARMPOOL_TEST_TASK_IMAGE")
def test_a_chain_of_unchanged_tasks_runs_on_leased_clusters_of_a_flyte_1(tmp_path: Path) -> None:
    from flytekit.configuration import Config
    from flytekit.remote import FlyteRemote

    project, domain = WHERE
    name = f"warmpool-{uuid.uuid4().hex[:8]}"
    author(
        tmp_path, AUTHORS1, str(Path(sys.executable).with_name("pyflyte")), "--config", FLYTE1, "run", "--remote",
        "--project", project, "--domain", domain, "--image", IMAGE, "--name", name, "--wait",
        "authors_own.py", "chain", "--x", "1",
    )  # fmt: skip
    remote = FlyteRemote(Config.auto(FLYTE1), default_project=project, default_domain=domain)
    execution = remote.sync_execution(remote.fetch_execution(name=name), sync_nodes=True)
    assert execution.outputs["o0"] == 4
    tasks = [node.task_executions[-1].closure for node in execution.node_executions.values() if node.task_executions]
    assert len(tasks) == 3
    for closure in tasks:
        # Flyte's own plugin has no such link.
        assert "Log of the task" in [log.name for log in closure.logs]
    print("seconds a task:", [closure.duration.total_seconds() for closure in tasks])


@pytest.mark.skipif(not FLYTE2 or not IMAGE, reason="needs a Flyte 2: FLYTE2_CONFIG, and WARMPOOL_TEST_TASK_IMAGE")
def test_a_chain_of_unchanged_tasks_runs_on_leased_clusters_of_a_flyte_2(tmp_path: Path) -> None:
    said = author(tmp_path, AUTHORS2, sys.executable, "authors_own.py", FLYTE2, *WHERE)
    found = json.loads(said.strip().splitlines()[-1])
    assert "succeeded" in found["phase"].lower()
    assert found["outputs"] == [4]

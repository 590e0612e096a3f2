"""Flyte's own commands against a daemon as it is served, on real Ray. All tests share one daemon and its cluster."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pool.demo.programs import TASKS
from tests.homes import Home, a_home, listed, until
from tests.serving import Served, environment

pytestmark = [pytest.mark.ray, pytest.mark.flyte, pytest.mark.xdist_group("flyte on a served daemon")]

ROOT = Path(__file__).parents[2]

FLYTE1 = """
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import ray
from flytekit import current_context, map_task, task, workflow
from flytekitplugins.ray import HeadNodeConfig, RayJobConfig, WorkerNodeConfig
from pool.flyte import Pooled

def warm(cpus):
    head = HeadNodeConfig(ray_start_params={"num-cpus": cpus})
    return Pooled(RayJobConfig(head_node_config=head, worker_node_config=[WorkerNodeConfig("w", 0)]))

@ray.remote
def times(x: int) -> int:
    return x * 10

@task(task_config=warm("2"))
def on_ray(x: int) -> int:
    current_context().ray_lease.check()
    return ray.get(times.remote(x))

@task(task_config=warm("1"))
def on_a_smaller_one(x: int) -> int:
    return ray.get(times.remote(x)) + int(ray.cluster_resources()["CPU"])

@task(task_config=warm("2"))
def broken(x: int) -> int:
    if ray.get(times.remote(x)):
        raise KeyError("the body is broken")
    return x

@task(task_config=warm("2"), retries=1)
def at_the_second_attempt(x: int) -> int:
    first = Path(os.environ["MARK"])
    if not first.exists():
        first.touch()
        raise RuntimeError("not yet")
    return ray.get(times.remote(x))

@task
def twice(x: int) -> list[int]:
    return [x, x + 1]

@workflow
def mapped(x: int) -> list[int]:
    return map_task(on_ray)(x=twice(x=x))

if __name__ == "__main__":
    # Two threads of one process: Ray connects it to one cluster at a time.
    with ThreadPoolExecutor(2) as threads:
        both = threads.submit(on_ray, x=4), threads.submit(on_a_smaller_one, x=5)
        print("both", [one.result() for one in both])
"""

FLYTE2 = """
import asyncio
import os
from pathlib import Path
import flyte
import ray
from flyteplugins.ray import HeadNodeConfig, RayJobConfig, WorkerNodeConfig
from pool.flyte import Pooled, current_lease

def warm(cpus):
    head = HeadNodeConfig(ray_start_params={"num-cpus": cpus})
    return Pooled(RayJobConfig(head_node_config=head, worker_node_config=[WorkerNodeConfig("w", 0)]))

on = flyte.TaskEnvironment("on", plugin_config=warm("2"))
smaller = flyte.TaskEnvironment("smaller", plugin_config=warm("1"))
plain = flyte.TaskEnvironment("plain", depends_on=[on, smaller])

@ray.remote
def times(x: int) -> int:
    return x * 10

@on.task
def on_ray(x: int) -> int:
    current_lease().check()
    return ray.get(times.remote(x))

@smaller.task
async def on_a_smaller_one(x: int) -> int:
    return await times.remote(x) + int(ray.cluster_resources()["CPU"])

@on.task
def broken(x: int) -> int:
    if ray.get(times.remote(x)):
        raise KeyError("the body is broken")
    return x

@on.task(retries=1)
def at_the_second_attempt(x: int) -> int:
    first = Path(os.environ["MARK"])
    if not first.exists():
        first.touch()
        raise RuntimeError("not yet")
    return ray.get(times.remote(x))

@plain.task
async def mapped(x: int) -> list[int]:
    return [one async for one in flyte.map.aio(on_ray, [x, x + 1])]

@plain.task
async def both(x: int) -> list[int]:
    return list(await asyncio.gather(on_ray.aio(x), on_a_smaller_one(x + 1)))
"""


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with a_home() as home:
        yield from _serving(home)


def _serving(home: Home) -> Iterator[Served]:
    with home.serve() as served:
        yield served


class Author:
    """Somebody who runs Flyte's commands in a directory of their own.

    Attributes:
        home: that directory.
    """

    def __init__(self, home: Path, served: Served) -> None:
        self.home = home
        self._log = home / "tasks.jsonl"
        self._env = environment() | {
            "WARMPOOL_URL": served.url,
            "WARMPOOL_TOKEN_FILE": str(served.state_dir / "client.token"),
            "WARMPOOL_TASK_LOG": str(self._log),
            "MARK": str(home / "tried"),
            "PYTHONPATH": str(ROOT),
        }
        (home / "one.py").write_text(FLYTE1)
        (home / "two.py").write_text(FLYTE2)

    def run(self, program: str, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a program of this Python's environment."""
        return subprocess.run(
            [Path(sys.executable).parent / program, *arguments],
            cwd=cwd or self.home, env=self._env, text=True, capture_output=True, timeout=240, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def flyte1(self, name: str, x: int, file: str = "one.py") -> subprocess.CompletedProcess[str]:
        return self.run("pyflyte", "run", file, name, "--x", str(x))

    def flyte2(self, name: str, x: int) -> subprocess.CompletedProcess[str]:
        return self.run("flyte", "run", "--local", "two.py", name, "--x", str(x))

    def tasks(self) -> list[dict[str, Any]]:
        """Return what the tasks so far noted of themselves, in their order."""
        return [json.loads(line) for line in self._log.read_text().splitlines()]


@pytest.fixture
def author(tmp_path: Path, served: Served) -> Author:
    return Author(tmp_path, served)


def succeeds(done: subprocess.CompletedProcess[str], with_: str) -> None:
    assert done.returncode == 0, done.stdout + done.stderr
    assert with_ in done.stdout, done.stdout + done.stderr


def nothing_is_held(served: Served) -> bool:
    return until(lambda: {c["state"] for c in listed(served, "clusters")} <= {"idle"} and not listed(served, "queue"))


def one_cluster(tasks: list[dict[str, Any]]) -> bool:
    return len({task["cluster"] for task in tasks}) == 1


@pytest.mark.parametrize(
    "command",
    [
        ("pyflyte", "run", "pool/demo/workflow.py", "pipeline", "--folds", "2"),
        ("flyte", "run", "--local", "pool/demo/workflow2.py", "pipeline", "--folds", "2"),
    ],
    ids=["Flyte 1", "Flyte 2"],
)
def test_the_example_runs_on_one_leased_cluster(author: Author, served: Served, command: tuple[str, ...]) -> None:
    succeeds(author.run(*command, cwd=ROOT), "")
    tasks = author.tasks()
    assert [task["task"].rpartition(".")[2] for task in tasks] == list(TASKS)
    assert one_cluster(tasks)
    assert {(task["how"], task["error"]) for task in tasks} == {("leased", "")}
    assert {task["outcome"] for task in tasks[1:]} <= {"hit", "waited"}
    # The last one's tables are its inputs alone: they came from memory, and no copy of Flyte's was read.
    assert all(task["handover_s"] > 0 for task in tasks)
    assert [task["durable_s"] > 0 for task in tasks] == [True, True, True, True, False]
    assert nothing_is_held(served)


@pytest.mark.parametrize("sdk", [Author.flyte1, Author.flyte2])
def test_a_body_that_raises_gives_its_cluster_to_the_next_task(
    author: Author, served: Served, sdk: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    failed = sdk(author, "broken", 3)
    assert failed.returncode != 0
    assert "the body is broken" in failed.stdout + failed.stderr
    assert nothing_is_held(served)
    succeeds(sdk(author, "on_ray", 3), "30")
    tasks = author.tasks()
    assert [task["error"] for task in tasks] == ["KeyError", ""]
    assert one_cluster(tasks)
    assert tasks[1]["outcome"] == "hit"


def test_a_retry_of_flyte_1_is_a_lease_of_its_own_on_the_same_cluster(author: Author, served: Served) -> None:
    # Flyte 1 does not retry locally: its backend runs the command again, in another container.
    assert author.flyte1("at_the_second_attempt", 3).returncode != 0
    succeeds(author.flyte1("at_the_second_attempt", 3), "30")
    tasks = author.tasks()
    assert [task["error"] for task in tasks] == ["RuntimeError", ""]
    assert one_cluster(tasks)
    assert len({task["lease"] for task in tasks}) == 2
    assert nothing_is_held(served)


def test_a_retry_of_flyte_2_is_a_lease_of_its_own_on_the_same_cluster(author: Author, served: Served) -> None:
    succeeds(author.flyte2("at_the_second_attempt", 3), "30")
    tasks = author.tasks()
    assert [task["error"] for task in tasks] == ["RuntimeError", ""]
    assert one_cluster(tasks)
    assert len({task["lease"] for task in tasks}) == 2
    assert nothing_is_held(served)


@pytest.mark.parametrize("sdk", [Author.flyte1, Author.flyte2])
def test_a_map_task_runs_on_one_leased_cluster(
    author: Author, served: Served, sdk: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = sdk(author, "mapped", 3)
    succeeds(done, "30")
    assert "40" in done.stdout
    assert one_cluster(author.tasks())
    assert nothing_is_held(served)


@pytest.mark.parametrize("sdk", ["Flyte 1", "Flyte 2"])
def test_tasks_of_one_process_on_two_clusters_take_turns(author: Author, served: Served, sdk: str) -> None:
    done = author.run("python", "one.py") if sdk == "Flyte 1" else author.flyte2("both", 4)
    succeeds(done, "40")
    assert "51" in done.stdout, done.stdout + done.stderr
    tasks = author.tasks()
    assert len(tasks) == 2
    assert not one_cluster(tasks)
    assert {task["error"] for task in tasks} == {""}
    assert nothing_is_held(served)

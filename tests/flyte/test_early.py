"""A pooled task's container takes the lease while flytekit is still imported; the task finds it, or takes its own."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from flytekit import Resources, task
from flytekit.configuration import FastSerializationSettings
from flytekit.core.resources import ResourceSpec
from flytekit.tools.translator import get_serializable
from flytekitplugins.ray import HeadNodeConfig, RayJobConfig, WorkerNodeConfig

from pool.flyte import Pooled, current_lease, early, holding
from tests.flyte.test_flyte1 import run_as_on_a_backend, settings

PREFIX = "s3://bucket/exec-1-n0-0"


def config(**fields: Any) -> RayJobConfig:
    head = HeadNodeConfig(requests=Resources(cpu="1"))
    return RayJobConfig(
        worker_node_config=[WorkerNodeConfig(group_name="w", replicas=1)], head_node_config=head, **fields
    )


@task(task_config=Pooled(config(), priority=3, group="g"), requests=Resources(mem="1Gi"))
def pooled(x: int) -> int:
    lease = current_lease()
    assert lease is not None
    lease.check()
    return 2 * x


@task(task_config=Pooled(RayJobConfig(worker_node_config=[])))
def plain(x: int) -> int:
    return x


@task(task_config=Pooled(config(runtime_env={"pip": ["x"]})))
def with_an_env(x: int) -> int:
    return x


@pytest.fixture
def container(daemon: Any, connections: list[str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """This process as the container of `pooled`; gives the arguments of its command."""
    made = pooled.get_container(settings())
    execution = {"PROJECT": "p", "DOMAIN": "d", "ID": "exec-1"}
    env = {**made.env, **{f"FLYTE_INTERNAL_EXECUTION_{name}": value for name, value in execution.items()}}
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(holding, "turns", holding.Turns())
    monkeypatch.setattr(early, "turns", holding.turns)
    monkeypatch.setattr("pool.flyte.acquire._nth", iter(range(1, 9)))
    monkeypatch.setattr(early, "_BEFORE", ())
    return [PREFIX if word == "{{.rawOutputDataPrefix}}" else word for word in made.args]


def run(command: list[str], monkeypatch: pytest.MonkeyPatch, body: Any) -> None:
    monkeypatch.setattr(sys, "argv", command)
    monkeypatch.setattr("flytekit.bin.entrypoint.execute_task_cmd", body)
    early.main()


def test_the_container_starts_flytekits_command_with_what_is_known_of_the_task() -> None:
    made = pooled.get_container(settings())
    assert made.args[:2] == ["warmpool-task", "pyflyte-execute"]
    assert json.loads(made.env["WARMPOOL_TASK"])["asked"]["priority"] == 3
    fast = settings().new_builder()
    fast.fast_serialization_settings = FastSerializationSettings(enabled=True, destination_dir="/x")
    args = get_serializable({}, fast.build(), pooled).template.container.args
    assert args[args.index("--") :][:3] == ["--", "warmpool-task", "pyflyte-execute"]
    # What only the task's module can make is not there yet.
    assert with_an_env.get_container(settings()).args[0] == "pyflyte-execute"


def test_the_task_adopts_the_lease_that_its_container_took(
    container: list[str], daemon: Any, connections: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def body() -> None:
        result = run_as_on_a_backend(pooled)
        assert result.literals["o0"].scalar.primitive.integer == 6
        assert not daemon.held

    run(container, monkeypatch, body)
    (asked,) = daemon.asked
    assert (asked["group"], asked["priority"], asked["key"]["tenant"]) == ("g", 3, "p/d")
    assert connections == ["+c-1", "-c-1"]


def test_what_registration_adds_by_default_makes_no_other_lease() -> None:
    told = plain.get_container(settings()).env["WARMPOOL_TASK"]
    with_defaults = settings().new_builder()
    built = with_defaults.build()
    built.default_resources = ResourceSpec(requests=Resources(cpu="7"), limits=Resources(cpu="7"))
    container = plain.get_container(built)
    assert str(container.resources.requests).count("7")
    assert container.env["WARMPOOL_TASK"] == told


def test_a_lease_that_the_task_does_not_ask_for_is_given_back_before_it_asks(
    container: list[str], daemon: Any, connections: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    container[container.index(PREFIX)] = "s3://bucket/of-another-attempt"
    run(container, monkeypatch, lambda: run_as_on_a_backend(pooled))
    assert daemon.events == [("grant", "l-1"), ("release", "l-1"), ("grant", "l-2"), ("release", "l-2")]
    assert connections == ["+c-1", "-c-1", "+c-2", "-c-2"]


def test_a_lease_that_no_task_comes_for_is_given_back(
    container: list[str], daemon: Any, connections: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def body() -> None:
        while not connections:
            daemon.gave_back.acquire(timeout=0.01)
        raise ImportError("the task's module is broken")

    with pytest.raises(ImportError):
        run(container, monkeypatch, body)
    assert daemon.events == [("grant", "l-1"), ("release", "l-1")]
    assert connections == ["+c-1", "-c-1"]


def test_where_taking_it_early_fails_the_task_is_told_what_is_wrong(
    container: list[str], daemon: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon.refusal = "queue_full"

    def body() -> None:
        with pytest.raises(Exception, match="queue"):
            run_as_on_a_backend(pooled)

    run(container, monkeypatch, body)
    assert not daemon.held


@pytest.mark.parametrize("missing", ["FLYTE_INTERNAL_EXECUTION_ID", "WARMPOOL_TASK", "WARMPOOL_URL", "WARMPOOL_IMAGE"])
def test_where_too_little_is_known_the_task_takes_its_lease_itself(
    container: list[str], daemon: Any, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.delenv(missing)
    ran: list[str] = []
    run(container, monkeypatch, lambda: ran.append("body"))
    assert ran == ["body"]
    assert daemon.asked == []


def test_another_command_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["warmpool-task", "rm"])
    with pytest.raises(SystemExit, match="runs one of: pyflyte-execute"):
        early.main()

"""flytekit's local execution on a daemon whose clusters do not exist."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, ClassVar

import flytekit
import pandas as pd
import pytest
from flytekit import Resources, current_context, dynamic, map_task, task, workflow
from flytekit.configuration import ImageConfig, SerializationSettings
from flytekit.core.context_manager import ExecutionState, FlyteContextManager
from flytekit.core.type_engine import TypeEngine, TypeTransformerFailedError
from flytekit.models.core.identifier import WorkflowExecutionIdentifier
from flytekitplugins.ray import HeadNodeConfig, RayJobConfig, WorkerNodeConfig

from pool.client import LeaseLost
from pool.core.reasons import Reason
from pool.flyte import NestedDeadlock, NoDaemon, Pooled, Resident, current_lease, holding
from pool.flyte import flyte1 as plugin
from pool.resident import behind


def config(cpus: int = 1, **fields: Any) -> Pooled:
    return Pooled(
        RayJobConfig(
            worker_node_config=[WorkerNodeConfig(group_name="w", replicas=1)],
            head_node_config=HeadNodeConfig(requests=Resources(cpu=str(cpus))),
        ),
        **fields,
    )


@task(task_config=config())
def double(x: int) -> int:
    lease = current_context().ray_lease
    assert lease is current_lease()
    lease.check()
    return 2 * x


writing: list[threading.Event] = []


@task(task_config=config())
def written_behind(x: int) -> int:
    go = threading.Event()
    writing.append(go)
    behind.begin("somewhere", lambda: go.wait(20) and None)
    return x


@task(task_config=config(), cache=True, cache_version="1")
def cached_behind(x: int) -> Resident[pd.DataFrame]:
    return Resident(pd.DataFrame({"a": [x]}), write_behind=True)


@task(task_config=config(cpus=2))
def double_elsewhere(x: int) -> int:
    return 2 * x


@task(task_config=config())
def broken(x: int) -> int:
    if x:
        raise KeyError("the body is broken")
    return x


@task(task_config=config(), enable_deck=True)
def with_a_deck(x: int) -> int:
    current_context().ray_lease.check()
    return x


@workflow
def chain(x: int) -> int:
    return double(x=double(x=x))


@dynamic
def fan_out(n: int) -> list[int]:
    return [double(x=i) for i in range(n)]


@dynamic(task_config=config())
def pooled_fan_out(n: int) -> list[int]:
    return [double(x=i) for i in range(n)]


@workflow
def mapped(xs: list[int]) -> list[int]:
    return map_task(double)(x=xs)


@task(task_config=config())
def calls_its_like(x: int) -> int:
    double(x=x)
    return 2 * x


@task(task_config=config())
def calls_another(x: int) -> int:
    double_elsewhere(x=x)
    return x


class Picky:
    """A value whose conversions look at what is connected, and may fail."""

    seen: ClassVar[list[str]] = []
    connections: ClassVar[list[str]] = []
    fail: ClassVar[str] = ""

    @classmethod
    def look(cls, where: str) -> None:
        connected = bool(cls.connections) and cls.connections[-1].startswith("+")
        cls.seen.append(f"{where} {'connected' if connected else 'alone'}")
        if cls.fail == where:
            raise ValueError(f"{where} cannot be converted")


class PickyTransformer(flytekit.extend.TypeTransformer[Picky]):
    def __init__(self) -> None:
        super().__init__("picky", Picky)

    def get_literal_type(self, t: type[Picky]) -> Any:
        return TypeEngine.to_literal_type(int)

    def to_literal(self, ctx: Any, value: Picky, python_type: type[Picky], expected: Any) -> Any:
        Picky.look("output")
        return TypeEngine.to_literal(ctx, 1, int, expected)

    def to_python_value(self, ctx: Any, literal: Any, expected: type[Picky]) -> Picky:
        Picky.look("input")
        return Picky()


TypeEngine.register(PickyTransformer())


@task(task_config=config())
def picky(value: Picky) -> Picky:
    Picky.look("body")
    return value


@task
def make_picky() -> Picky:
    return Picky()


@workflow
def picky_chain() -> Picky:
    return picky(value=make_picky())


@pytest.fixture(autouse=True)
def _picky(connections: list[str]) -> None:
    Picky.seen, Picky.connections, Picky.fail = [], connections, ""


def test_each_task_of_a_chain_has_a_lease_and_gives_it_back(daemon: Any, connections: list[str]) -> None:
    assert chain(x=3) == 12
    assert connections == ["+c-1", "-c-1", "+c-2", "-c-2"]
    assert daemon.events == [("grant", "l-1"), ("release", "l-1"), ("grant", "l-2"), ("release", "l-2")]


def test_the_tasks_of_one_local_run_are_one_group_and_ask_with_fresh_ids(daemon: Any) -> None:
    chain(x=1)
    first, second = daemon.asked
    assert first["group"] == second["group"] != ""
    assert first["request_id"] != second["request_id"]
    assert first["key"] == second["key"]
    assert (first["key"]["image"], first["key"]["tenant"]) == ("local", "local/development")


def test_what_pooled_says_is_asked_for(daemon: Any) -> None:
    @task(task_config=config(group="g", hold_s=9, priority=5, mode="wait", timeout_s=7, ttl_s=11))
    def test_task(x: int) -> int:
        return x

    assert test_task(x=1) == 1
    asked = daemon.asked[0]
    got = {name: asked[name] for name in ("group", "hold_s", "priority", "mode", "timeout_s", "ttl_s")}
    assert got == {"group": "g", "hold_s": 9, "priority": 5, "mode": "wait", "timeout_s": 7, "ttl_s": 11}


def test_a_body_that_raises_gives_its_lease_back(daemon: Any, connections: list[str]) -> None:
    with pytest.raises(KeyError, match="the body is broken"):
        broken(x=1)
    assert connections == ["+c-1", "-c-1"]
    assert not daemon.held


def test_the_pool_has_its_cluster_back_before_ray_has_ended_its_threads(
    daemon: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[str] = []

    @contextmanager
    def connected(access: Any, runtime_env: Any, *, local: bool) -> Iterator[None]:
        yield
        # As ray.shutdown() does: it takes its time, and is waited for.
        assert daemon.gave_back.acquire(timeout=10)
        ends.append(access.id)

    monkeypatch.setattr(holding, "connected", connected)
    assert chain(x=3) == 12
    assert ends == ["c-1", "c-2"]


def test_conversions_of_inputs_and_outputs_run_connected(daemon: Any) -> None:
    picky_chain()
    # The first is of the task before it.
    assert Picky.seen[:4] == ["output alone", "input connected", "body connected", "output connected"]
    assert not daemon.held


@pytest.mark.parametrize("where", ["input", "output"])
def test_a_failing_conversion_gives_the_lease_back(daemon: Any, connections: list[str], where: str) -> None:
    # Not in a workflow, where the task before it would fail at the same conversion.
    Picky.fail = where
    with pytest.raises((ValueError, TypeTransformerFailedError), match=f"{where} cannot be converted"):
        dispatch_picky()
    assert not daemon.held
    assert [line[0] for line in connections] == ["+", "-"]


def dispatch_picky() -> None:
    ctx = FlyteContextManager.current_context()
    literal = TypeEngine.to_literal(ctx, 1, int, TypeEngine.to_literal_type(int))
    state = ctx.execution_state.with_params(mode=ExecutionState.Mode.LOCAL_TASK_EXECUTION)
    with FlyteContextManager.with_context(ctx.with_execution_state(state)) as local:
        picky.dispatch_execute(local, flytekit.models.literals.LiteralMap({"value": literal}))


def test_a_task_with_a_deck_reaches_its_lease_too(daemon: Any) -> None:
    assert with_a_deck(x=4) == 4


def test_a_map_task_runs_on_one_lease(daemon: Any, connections: list[str]) -> None:
    assert mapped(xs=[1, 2, 3]) == [2, 4, 6]
    assert connections == ["+c-1", "-c-1"]
    assert not daemon.held


def test_a_dynamic_workflow_leases_for_each_task(daemon: Any, connections: list[str]) -> None:
    assert fan_out(n=2) == [0, 2]
    assert connections == ["+c-1", "-c-1", "+c-2", "-c-2"]


def test_a_pooled_dynamic_workflow_shares_its_lease_with_its_tasks(daemon: Any, connections: list[str]) -> None:
    assert pooled_fan_out(n=2) == [0, 2]
    assert connections == ["+c-1", "-c-1"]


def test_a_task_called_by_its_like_shares_the_lease(daemon: Any, task_log: Callable[[], list[Any]]) -> None:
    assert calls_its_like(x=2) == 4
    assert len(daemon.asked) == 1
    assert [line["how"] for line in task_log()] == ["shared", "leased"]


def test_a_task_that_calls_one_on_another_cluster_fails_at_once(daemon: Any) -> None:
    with pytest.raises(NestedDeadlock, match="needs another cluster") as error:
        calls_another(x=2)
    assert error.value.reason is Reason.NESTED_DEADLOCK
    assert len(daemon.asked) == 1
    assert not daemon.held


def test_a_lease_lasts_until_the_copies_behind_it_are_written_and_the_next_task_shares_it(
    daemon: Any, connections: list[str]
) -> None:
    assert written_behind(x=1) == 1
    [go] = writing
    # Given back it would be reset, with the value in its memory.
    assert len(daemon.held) == 1
    assert double(x=1) == 2
    assert connections == ["+c-1"]
    go.set()
    deadline = time.monotonic() + 10
    while daemon.held:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    writing.clear()
    assert connections == ["+c-1", "-c-1"]


def test_a_cached_task_cannot_write_behind(daemon: Any) -> None:
    with pytest.raises(Exception, match=r"cached_behind is cached, .* take write_behind=True or the cache away"):
        cached_behind(x=1)
    assert daemon.held == []


def test_tasks_of_two_threads_that_want_other_clusters_take_turns(daemon: Any, connections: list[str]) -> None:
    with ThreadPoolExecutor(4) as threads:
        tasks = [double, double_elsewhere] * 4
        assert list(threads.map(lambda pair: pair[1](x=pair[0]), enumerate(tasks))) == [2 * x for x in range(8)]
    assert not daemon.held
    assert connections
    assert len(connections) % 2 == 0


def test_tasks_of_two_threads_that_want_the_same_cluster_share_it(daemon: Any, connections: list[str]) -> None:
    both = threading.Barrier(2, timeout=20)

    @task(task_config=config())
    def test_together(x: int) -> int:
        both.wait()
        return x

    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(lambda x: test_together(x=x), [1, 2])) == [1, 2]
    assert connections == ["+c-1", "-c-1"]
    assert len(daemon.asked) == 1


@pytest.mark.parametrize("error", [ConnectionError("Ray says something else"), SystemExit(0)], ids=["error", "exit"])
def test_an_error_under_a_lost_lease_says_that_it_was_lost(daemon: Any, error: BaseException) -> None:
    @task(task_config=config())
    def test_losing(x: int) -> int:
        lease = current_context().ray_lease
        daemon.lost[lease.id] = "cluster_lost"
        assert lease.wait_lost(20)
        if x:
            raise error
        return x

    daemon.ttl_s = 1.0
    with pytest.raises(LeaseLost) as told:
        test_losing(x=1)
    assert told.value.reason is Reason.CLUSTER_LOST


def test_a_refused_acquire_is_the_tasks_error_and_the_next_one_may_run(daemon: Any) -> None:
    daemon.refusal = "queue_full"
    with pytest.raises(Exception, match="queue_full"):
        double(x=1)
    daemon.refusal = ""
    assert double(x=1) == 2


def test_a_line_per_task_tells_where_its_time_went(daemon: Any, task_log: Callable[[], list[Any]]) -> None:
    double(x=1)
    with pytest.raises(KeyError):
        broken(x=1)
    good, bad = task_log()
    assert good["task"].endswith("double")
    assert (good["how"], good["outcome"], good["cluster"], good["error"]) == ("leased", "hit", "c-1", "")
    assert bad["error"] == "KeyError"
    assert all(good[name] >= 0 for name in ("acquire_s", "connect_s", "body_s", "release_s"))


def test_without_a_daemon_it_does_what_the_plain_plugin_does(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []
    ray = __import__("ray")
    monkeypatch.delenv("WARMPOOL_URL", raising=False)
    monkeypatch.setattr(ray, "init", lambda **arguments: calls.append(arguments))
    monkeypatch.setattr(ray, "shutdown", lambda: calls.append({"shutdown": True}))

    @task(task_config=config())
    def test_plain(x: int) -> int:
        assert current_context().ray_lease is None
        assert current_lease() is None
        return x

    @task(task_config=config().config)
    def test_plugins_own(x: int) -> int:
        return x

    assert test_plain(x=1) == test_plugins_own(x=1) == 1
    assert calls == [{"address": None, "ignore_reinit_error": True}] * 2


# --- as on a backend -------------------------------------------------------------------------------------------------


def settings() -> SerializationSettings:
    return SerializationSettings(project="p", domain="d", version="v", image_config=ImageConfig.auto(img_name="a/b:c"))


def run_as_on_a_backend(entity: Any, literal: int = 3) -> Any:
    ctx = FlyteContextManager.current_context()
    builder = ctx.user_space_params.builder()
    builder.execution_id = WorkflowExecutionIdentifier("p", "d", "exec-1")
    builder.raw_output_prefix = "s3://bucket/exec-1-n0-0"
    mode = ExecutionState.Mode.TASK_EXECUTION
    state = ctx.execution_state.with_params(mode=mode, user_space_params=builder.build())
    value = TypeEngine.to_literal(ctx, literal, int, TypeEngine.to_literal_type(int))
    with FlyteContextManager.with_context(ctx.with_execution_state(state)) as remote:
        return entity.dispatch_execute(remote, flytekit.models.literals.LiteralMap({"x": value}))


def test_to_the_backend_it_is_a_plain_task_that_knows_its_image() -> None:
    assert double.task_type == "python-task"
    assert double.get_custom(settings()) is None
    container = double.get_container(settings())
    assert container.env["WARMPOOL_IMAGE"] == container.image == "a/b:c"


def test_on_a_backend_tenant_group_holder_and_request_are_the_attempts(
    daemon: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WARMPOOL_IMAGE", "a/b:c")
    monkeypatch.setenv("FLYTE_ATTEMPT_NUMBER", "2")
    result = run_as_on_a_backend(double)
    assert result.literals["o0"].scalar.primitive.integer == 6
    asked = daemon.asked[0]
    assert (asked["key"]["tenant"], asked["key"]["image"], asked["group"]) == ("p/d", "a/b:c", "p/d/exec-1")
    assert asked["holder"].startswith("p/d/exec-1/")
    assert asked["holder"].endswith("double/2")


def test_on_a_backend_a_request_id_whose_lease_has_ended_is_replaced(
    daemon: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WARMPOOL_IMAGE", "a/b:c")
    monkeypatch.setattr("pool.flyte.acquire._nth", iter([1, 1]))
    run_as_on_a_backend(double)
    run_as_on_a_backend(double)
    ids = [asked["request_id"] for asked in daemon.asked]
    assert ids[0] == ids[1] != ids[2]
    assert not daemon.held


def test_on_a_backend_no_daemon_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WARMPOOL_URL", raising=False)
    with pytest.raises(NoDaemon, match=r"registered as Pooled.*Set WARMPOOL_URL"):
        run_as_on_a_backend(double)


def test_pooled_refuses_what_is_no_ray_config() -> None:
    with pytest.raises(TypeError, match="takes a RayJobConfig"):
        Pooled({"worker_node_config": []})
    with pytest.raises(ValueError, match=r"Pooled\.mode: 'hot'"):
        config(mode="hot")
    with pytest.raises(ValueError, match=r"Pooled\.priority: 9999"):
        config(priority=9999)


def test_the_plugin_is_registered_for_pooled() -> None:
    assert isinstance(double, plugin.PooledTask)

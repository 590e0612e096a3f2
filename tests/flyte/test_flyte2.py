"""Flyte 2's local runs on a daemon whose clusters do not exist."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import flyte
import flyte.errors
import pytest
from flyte._internal.runtime.task_serde import translate_task_to_wire
from flyte.extend import TaskPluginRegistry
from flyte.models import ActionID, CodeBundle, RawDataPath, SerializationContext, TaskContext
from flyte.report import Report
from flyte.types import TypeEngine, TypeTransformer
from flyteplugins.ray import HeadNodeConfig, RayJobConfig, WorkerNodeConfig

from pool.flyte import NestedDeadlock, NoDaemon, Pooled, current_lease
from pool.flyte.flyte2 import PooledTask


def config(cpus: int = 1, **fields: Any) -> Pooled:
    return Pooled(
        RayJobConfig(
            worker_node_config=[WorkerNodeConfig(group_name="w", replicas=1)],
            head_node_config=HeadNodeConfig(requests=flyte.Resources(cpu=str(cpus))),
        ),
        **fields,
    )


env = flyte.TaskEnvironment(name="warm", plugin_config=config())
lasting_env = flyte.TaskEnvironment(
    name="lasting", plugin_config=config(), reusable=flyte.ReusePolicy(replicas=1, idle_ttl=300)
)
run_env = flyte.TaskEnvironment(
    name="in-a-run", plugin_config=config(), reusable=flyte.ReusePolicy(replicas=1, idle_ttl=120, scope="run")
)
other_env = flyte.TaskEnvironment(name="other", plugin_config=config(cpus=2))
plain_env = flyte.TaskEnvironment(name="plain", depends_on=[env, other_env])


class Picky:
    seen: ClassVar[list[str]] = []
    connections: ClassVar[list[str]] = []
    fail: ClassVar[bool] = False


class PickyTransformer(TypeTransformer[Picky]):
    def __init__(self) -> None:
        super().__init__("picky", Picky)

    def get_literal_type(self, t: type[Picky]) -> Any:
        return TypeEngine.to_literal_type(int)

    async def to_literal(self, value: Picky, python_type: type[Picky], expected: Any) -> Any:
        Picky.seen.append(Picky.connections[-1])
        if Picky.fail:
            raise ValueError("cannot be converted")
        return await TypeEngine.to_literal(1, int, expected)

    async def to_python_value(self, literal: Any, expected: type[Picky]) -> Picky:
        return Picky()


TypeEngine.register(PickyTransformer())


@env.task
async def double(x: int) -> int:
    lease = flyte.ctx()["ray_lease"]
    assert lease is current_lease()
    lease.check()
    return 2 * x


@env.task
def double_in_a_thread(x: int) -> int:
    flyte.ctx()["ray_lease"].check()
    return 2 * x


@other_env.task
async def double_elsewhere(x: int) -> int:
    return 2 * x


@lasting_env.task
async def double_lasting(x: int) -> int:
    return 2 * x


@run_env.task
async def double_in_a_run(x: int) -> int:
    return 2 * x


@env.task
async def broken(x: int) -> int:
    raise KeyError("the body is broken")


attempts: list[str] = []


@env.task(retries=2)
async def broken_once(x: int) -> int:
    attempts.append(flyte.ctx()["ray_lease"].id)
    if len(attempts) == 1:
        raise KeyError("the first time")
    return x


@env.task
async def picky(x: int) -> Picky:
    return Picky()


@env.task
async def calls_its_likes(x: int) -> int:
    both = await asyncio.gather(double(x), double_in_a_thread.aio(x))
    return sum(both)


@env.task
def calls_its_like_from_a_thread(x: int) -> int:
    return double_in_a_thread(x)


@env.task
async def calls_another(x: int) -> int:
    return await double_elsewhere(x)


@plain_env.task
async def many(n: int) -> int:
    return sum(await asyncio.gather(*(double(i) if i % 2 else double_elsewhere(i) for i in range(n))))


@plain_env.task
async def with_a_group(x: int) -> int:
    with flyte.custom_context(lease_group="my-group"):
        return await double(x)


@plain_env.task
async def chain(x: int) -> int:
    return await double(await double(x))


@pytest.fixture(autouse=True)
async def _flyte(connections: list[str]) -> None:
    await flyte.init.aio()
    Picky.seen, Picky.connections, Picky.fail = [], connections, False
    attempts.clear()


async def run(task: Any, *args: Any) -> Any:
    done = await flyte.with_runcontext(mode="local").run.aio(task, *args)
    return (await done.outputs.aio() if hasattr(done.outputs, "aio") else done.outputs())[0]


async def test_each_task_of_a_chain_has_a_lease_and_gives_it_back(daemon: Any, connections: list[str]) -> None:
    assert await run(chain, 3) == 12
    assert connections == ["+c-1", "-c-1", "+c-2", "-c-2"]
    assert daemon.events == [("grant", "l-1"), ("release", "l-1"), ("grant", "l-2"), ("release", "l-2")]


async def test_the_run_is_the_group_and_custom_context_overrides_it(daemon: Any) -> None:
    await run(chain, 1)
    await run(chain, 1)
    await run(with_a_group, 1)
    groups = [asked["group"] for asked in daemon.asked]
    assert groups[0] == groups[1] != groups[2] == groups[3]
    assert groups[4] == "my-group"


async def test_a_synchronous_body_reaches_its_lease(daemon: Any) -> None:
    assert await run(double_in_a_thread, 2) == 4
    assert not daemon.held


async def test_a_body_that_raises_gives_its_lease_back(daemon: Any, connections: list[str]) -> None:
    with pytest.raises(flyte.errors.RuntimeUserError, match="the body is broken"):
        await run(broken, 1)
    assert connections == ["+c-1", "-c-1"]
    assert not daemon.held


async def test_a_retry_has_a_lease_of_its_own(daemon: Any) -> None:
    assert await run(broken_once, 5) == 5
    assert attempts == ["l-1", "l-2"]
    assert daemon.released == attempts


async def test_outputs_are_converted_connected(daemon: Any, connections: list[str]) -> None:
    await run(picky, 1)
    assert Picky.seen[0] == "+c-1"
    assert connections == ["+c-1", "-c-1"]


async def test_a_failing_conversion_of_outputs_gives_the_lease_back(daemon: Any, connections: list[str]) -> None:
    Picky.fail = True
    with pytest.raises(Exception, match="cannot be converted"):
        await run(picky, 1)
    assert connections == ["+c-1", "-c-1"]
    assert not daemon.held


@pytest.mark.parametrize("task", [calls_its_likes, calls_its_like_from_a_thread])
async def test_a_task_that_calls_its_like_shares_its_lease(
    daemon: Any, connections: list[str], task: Any, task_log: Callable[[], list[Any]]
) -> None:
    await run(task, 2)
    assert len(daemon.asked) == 1
    assert connections == ["+c-1", "-c-1"]
    assert {line["how"] for line in task_log()} == {"leased", "shared"}


async def test_a_task_that_calls_one_on_another_cluster_fails_at_once(daemon: Any) -> None:
    with pytest.raises(flyte.errors.RuntimeUserError, match="needs another cluster"):
        await run(calls_another, 2)
    assert len(daemon.asked) == 1
    assert not daemon.held


async def test_many_tasks_at_once_take_turns(daemon: Any, connections: list[str]) -> None:
    assert await run(many, 40) == 2 * sum(range(40))
    assert not daemon.held
    assert len(connections) % 2 == 0


async def test_a_refused_acquire_is_the_tasks_error(daemon: Any) -> None:
    daemon.refusal = "queue_full"
    with pytest.raises(flyte.errors.RuntimeUserError, match="queue_full"):
        await run(double, 1)
    daemon.refusal = ""
    assert await run(double, 1) == 2


async def test_without_a_daemon_it_does_what_the_plain_plugin_does(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    ray = __import__("ray")
    monkeypatch.delenv("WARMPOOL_URL", raising=False)
    monkeypatch.setattr(ray, "init", lambda **arguments: calls.append(arguments))

    @env.task
    async def alone(x: int) -> int:
        assert flyte.ctx()["ray_lease"] is None
        return x

    @flyte.TaskEnvironment(name="theirs", plugin_config=config().config).task
    async def plugins_own(x: int) -> int:
        return x

    assert await run(alone, 1) == await run(plugins_own, 1) == 1
    assert calls == [{"address": None}] * 2


# --- as on a backend -------------------------------------------------------------------------------------------------


@asynccontextmanager
async def on_a_backend(custom_context: dict[str, str] | None = None) -> AsyncIterator[None]:
    from flyte._context import internal_ctx

    context = TaskContext(
        action=ActionID(name="a1", run_name="run-1", project="p", domain="d", org="o"), version="v",
        raw_data_path=RawDataPath(path="/tmp"), output_path="/tmp", run_base_dir="/tmp", report=Report(name="r"),
        mode="remote", custom_context=custom_context or {},
    )  # fmt: skip
    with internal_ctx().replace_task_context(context):
        yield


def test_to_the_backend_it_is_a_plain_python_task() -> None:
    assert isinstance(double, PooledTask)
    assert TaskPluginRegistry.find(Pooled) is PooledTask
    assert double.task_type == "python"


async def test_on_a_backend_tenant_group_holder_and_image_are_the_actions(
    daemon: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WARMPOOL_IMAGE", "a/b:c")
    async with on_a_backend():
        assert await double.execute(x=2) == 4
    asked = daemon.asked[0]
    assert (asked["key"]["tenant"], asked["key"]["image"], asked["group"]) == ("p/d", "a/b:c", "p/d/run-1")
    assert asked["holder"] == "p/d/run-1/warm.double/0"
    assert not daemon.held


@pytest.mark.parametrize(
    ("task", "group", "hold_s"),
    [
        (double_lasting, "environment/lasting", 300.0),
        (double_in_a_run, "p/d/run-1", 120.0),
        (double, "p/d/run-1", None),
    ],
)
async def test_a_reuse_policy_says_for_whom_and_how_long_the_cluster_is_kept(
    task: PooledTask, group: str, hold_s: float | None, daemon: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WARMPOOL_IMAGE", "a/b:c")
    async with on_a_backend():
        assert await task.execute(x=2) == 4
    asked = daemon.asked[0]
    assert (asked["group"], asked.get("hold_s")) == (group, hold_s)


async def test_a_reuse_policy_is_overridden_and_switched_off(daemon: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARMPOOL_IMAGE", "a/b:c")
    longer = double_lasting.override(reusable=flyte.ReusePolicy(replicas=1, idle_ttl=400, scope="run"))
    off = double_lasting.override(reusable="off")
    async with on_a_backend():
        assert [await task.execute(x=2) for task in (longer, off, double_lasting)] == [4, 4, 4]
    kept = [(asked["group"], asked.get("hold_s")) for asked in daemon.asked]
    assert kept == [("p/d/run-1", 400.0), ("p/d/run-1", None), ("environment/lasting", 300.0)]


def test_with_a_reuse_policy_it_is_a_plain_python_task_to_the_backend() -> None:
    bundle = CodeBundle(computed_version="v", tgz="t")
    context = SerializationContext(
        version="v", project="p", domain="d", org="o", code_bundle=bundle, root_dir=Path.cwd()
    )
    template = translate_task_to_wire(double_lasting, context).task_template
    assert template.type == "python"
    assert not template.HasField("custom")
    assert not template.HasField("reuse_policy")


@pytest.mark.parametrize(
    ("policy", "pooled", "said"),
    [
        (flyte.ReusePolicy(replicas=2), config(), r"replicas: \(2, 2\) is not 1.*write replicas=1"),
        (flyte.ReusePolicy(replicas=1, concurrency=2), config(), "concurrency: 2 is not 1"),
        (flyte.ReusePolicy(replicas=1), config(hold_s=5.0), "idle_ttl and Pooled.hold_s both say"),
    ],
)
def test_a_reuse_policy_that_a_lease_cannot_follow_is_refused(
    policy: flyte.ReusePolicy, pooled: Pooled, said: str
) -> None:
    wrong = flyte.TaskEnvironment(name="wrong", plugin_config=pooled, reusable=policy)
    with pytest.raises(ValueError, match=said):

        @wrong.task
        async def never(x: int) -> int:
            return x


async def test_on_a_backend_no_daemon_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WARMPOOL_URL", raising=False)
    async with on_a_backend():
        with pytest.raises(NoDaemon, match=r"registered as Pooled.*Set WARMPOOL_URL"):
            await double.execute(x=2)


@pytest.fixture
async def above(daemon: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The custom context that a task under lease l-1, in another container, passes to those it calls."""
    monkeypatch.setenv("WARMPOOL_IMAGE", "a/b:c")
    seen: dict[str, str] = {}

    @env.task
    async def above_it(x: int) -> int:
        seen.update(flyte.ctx().custom_context)
        return x

    async with on_a_backend():
        await above_it.execute(x=1)
    daemon.released.clear()
    daemon.events.clear()
    return seen


async def test_a_task_in_another_container_shares_the_lease_of_its_caller(daemon: Any, above: dict[str, str]) -> None:
    async with on_a_backend(above):
        await double.execute(x=2)
    assert daemon.asked[1]["request_id"] == daemon.asked[0]["request_id"]
    # It is the caller's to release.
    assert daemon.released == []


async def test_what_tells_of_a_lease_holds_no_secret(daemon: Any, above: dict[str, str]) -> None:
    assert set(json.loads(above["lease_held"])) == {"lease", "key", "holder", "request_id"}
    assert "secret" not in above["lease_held"]


async def test_a_task_in_another_container_on_another_cluster_fails_at_once(daemon: Any, above: dict[str, str]) -> None:
    async with on_a_backend(above):
        with pytest.raises(NestedDeadlock):
            await double_elsewhere.execute(x=2)
    assert len(daemon.asked) == 1


async def test_a_task_never_waits_for_a_lease_of_its_caller_that_it_cannot_share(
    daemon: Any, above: dict[str, str]
) -> None:
    daemon.refusal = "warm_only_miss"
    async with on_a_backend(above):
        with pytest.raises(NestedDeadlock, match="cannot be shared"):
            await double.execute(x=2)
    assert daemon.asked[1]["mode"] == "warm_only"


async def test_a_task_that_outlives_its_callers_lease_gets_its_own(daemon: Any, above: dict[str, str]) -> None:
    daemon.released.append("l-1")
    async with on_a_backend(above):
        await double.execute(x=2)
    assert daemon.released == ["l-1", "l-2"]

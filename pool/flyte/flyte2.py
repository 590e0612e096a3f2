"""The task plugin of Flyte 2's SDK: ``flyte.TaskEnvironment(plugin_config=Pooled(RayJobConfig(...)))``.

A pooled task is a plain Python task to the backend: its pod runs the body and connects to a leased cluster, and no
RayJob is made. The SDK's own hooks do not do: `post` is skipped when the body raises, and outputs are converted
after it. So the lease ends with `convert_and_run`, the SDK's function around inputs, body and outputs.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, ClassVar

import flyte
import flyte.report
from flyte._internal.runtime import entrypoints, taskrunner
from flyte.extend import AsyncFunctionTaskTemplate, TaskPluginRegistry
from flyteplugins.ray.task import RayFunctionTask

import pool.flyte.handle2  # noqa: F401 - it registers Resident[T]
from pool.client.terminate import exit_on_sigterm
from pool.flyte import deck
from pool.flyte.acquire import Above, has_daemon, wish_of
from pool.flyte.config import Pooled
from pool.flyte.handle import expect
from pool.flyte.holding import aheld, current_lease, explained, raise_unwritten
from pool.flyte.identity import Identity, local_identity, remote_identity
from pool.flyte.record import TaskRecord, current
from pool.flyte.reuse import check, held_for
from pool.flyte.shape import Own, split

GROUP_KEY = "lease_group"
"""The key of Flyte 2's custom context that overrides the group: ``flyte.custom_context(lease_group="...")``."""

_ABOVE_KEY = "lease_held"


@dataclass(kw_only=True)
class PooledTask(AsyncFunctionTaskTemplate):  # type: ignore[type-arg]
    """A task whose body runs connected to a leased Ray cluster.

    Attributes:
        reuse: its `ReusePolicy`, which the lease follows.
    """

    plugin_config: Pooled
    reuse: flyte.ReusePolicy | None = None
    supports_reuse_policy: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()  # type: ignore[no-untyped-call]  # flyte has no types here
        if self.reusable is not None:
            self.reuse = check(self.name, self.reusable, self.plugin_config)
            # The SDK would make an "actor" of a plain task that has one, which the open-source backend does not run.
            self.reusable = None
        self.report = self.report or self.plugin_config.deck

    def override(self, **fields: Any) -> Any:
        """Return the task with other settings, as the SDK does; ``reusable="off"`` ends the reuse."""
        task = super().override(**fields)
        if fields.get("reusable") == "off" and isinstance(task, PooledTask):
            task.reuse = None
        return task

    async def pre(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the lease, as ``flyte.ctx()["ray_lease"]`` (None without a daemon)."""
        return {"ray_lease": current_lease()}

    async def execute(self, *args: Any, **kwargs: Any) -> Any:
        """Run the body on a lease, which outlives it until its outputs are converted.

        Raises:
            NestedDeadlock: if a task that calls this one holds another lease.
            NoDaemon: if no daemon is configured, on a Flyte backend.
            LeaseLost: if the body failed, and the lease was lost.
        """
        record = TaskRecord(self.name, time.time(), cached=_is_cached(self.cache))
        # To the end of the attempt: its outputs are converted after this.
        current.set(record)
        scope = _scope.get()
        async with AsyncExitStack() as own:
            stack = scope.stack if scope is not None and scope.task is self else own
            stack.callback(record.write)
            # The lease is taken on another thread, where the client cannot see to this.
            stack.enter_context(exit_on_sigterm())
            try:
                return await self._run(stack, record, args, kwargs)
            except BaseException as error:
                record.error = type(error).__name__
                await self._report(error, record)
                raise

    async def _report(self, error: BaseException, record: TaskRecord) -> None:
        """Upload the report of a task that failed: the SDK does it only after a success."""
        if not self.plugin_config.deck or not isinstance(error, Exception):
            return
        if not record.lease and record.how != "fresh":
            flyte.report.get_tab(deck.TAB).replace(deck.refused(error))
        with suppress(Exception):
            # The body's error is the one to tell.
            await flyte.report.flush.aio()

    async def _run(self, stack: AsyncExitStack, record: TaskRecord, args: Any, kwargs: Any) -> Any:
        context = flyte.ctx()
        local = context.mode != "remote"
        if not has_daemon(self.name, local=local):
            record.how = "fresh"
            with record.timed("connect_s"):
                # Flyte's own code, so that it behaves exactly as the plain plugin.
                await RayFunctionTask.pre(SimpleNamespace(plugin_config=self.plugin_config.config))
            stack.enter_context(record.timed("body_s"))
            return await super().execute(*args, **kwargs)
        pooled = held_for(self.plugin_config, self.reuse, self.parent_env_name or "")
        identity = self._identity(context, local, pooled.group)
        above = None if local else Above.from_text(context.custom_context.get(_ABOVE_KEY, ""))
        wish = wish_of(self.name, pooled, identity, self._own(), above)
        lease = await stack.enter_async_context(aheld(wish, record))
        if not local:
            # Flyte takes the end of the pod for a success: before the lease is given back.
            stack.push_async_exit(_raise_unwritten)
        if self.plugin_config.deck:
            flyte.report.get_tab(deck.TAB).replace(deck.granted(lease, shared=record.how == "shared"))
        expect(self.native_interface.outputs.values())
        stack.enter_context(record.timed("body_s"))
        with (
            explained(lease),
            flyte.custom_context(**{_ABOVE_KEY: Above(lease.id, wish.key, wish.holder, wish.request_id).to_text()}),
        ):
            returned = await super().execute(*args, **kwargs)
        if self.plugin_config.deck and record.handover_s:
            # Of its inputs: the SDK uploads the report before it converts the outputs.
            flyte.report.get_tab(deck.TAB).log(deck.handed(record))
        return returned

    def _identity(self, context: Any, local: bool, group: str) -> Identity:
        action = context.action
        group = context.custom_context.get(GROUP_KEY) or group
        if local:
            return local_identity(self.name, action.run_name or "").with_group(group)
        return remote_identity(
            project=action.project or "",
            domain=action.domain or "",
            execution=action.run_name or action.name,
            task=self.name,
            attempt=str(context.attempt_number),
            place=action.name,
            image=self._image(context),
        ).with_group(group)

    def _image(self, context: Any) -> str:
        """Return the task's image as its deployment resolved it, empty if that cannot be told here."""
        cache = context.compiled_image_cache
        if cache is not None and self.parent_env_name in cache.image_lookup:
            return str(cache.image_lookup[self.parent_env_name])
        with suppress(Exception):
            return str(self.image.uri)  # type: ignore[union-attr]
        return ""

    def _own(self) -> Own:
        requests, limits = split(self.resources)
        rights = {"secrets": _secrets(self.secrets), "service_account": self.service_account or ""}
        return Own(requests, limits, self.pod_template, rights)


async def _raise_unwritten(kind: type[BaseException] | None, error: Any, trace: Any) -> None:
    if kind is None:
        await asyncio.to_thread(raise_unwritten)


def _is_cached(cache: Any) -> bool:
    behavior = cache if isinstance(cache, str) else getattr(cache, "behavior", "")
    return behavior in ("auto", "override")


def _secrets(secrets: Any) -> list[str]:
    listed = secrets if isinstance(secrets, list | tuple) else [secrets] if secrets else []
    return sorted(s if isinstance(s, str) else f"{s.group or ''}/{s.key}" for s in listed)


@dataclass
class _Scope:
    """What the SDK does for one attempt of a task; `stack` is closed when all of it is done."""

    task: PooledTask
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)


_scope: ContextVar[_Scope | None] = ContextVar("warmpool_scope", default=None)
_Runner = Callable[..., Awaitable[Any]]


def _scoped(run: _Runner) -> _Runner:
    """Return the SDK's `convert_and_run` with a scope around each run of a pooled task."""

    @functools.wraps(run)
    async def convert_and_run(**kwargs: Any) -> Any:
        task = kwargs.get("task")
        if not isinstance(task, PooledTask):
            return await run(**kwargs)
        scope = _Scope(task)
        token = _scope.set(scope)
        try:
            async with scope.stack:
                return await run(**kwargs)
        finally:
            _scope.reset(token)

    return convert_and_run


def _put_scopes_around_runs() -> None:
    """Wrap the function where the SDK looks it up.

    If an SDK has it no more, a lease ends right after the body: all works but outputs that need a live Ray.
    """
    run = getattr(taskrunner, "convert_and_run", None)
    if run is None:
        return
    wrapped = _scoped(run)
    for module in (taskrunner, entrypoints):
        if getattr(module, "convert_and_run", None) is run:
            setattr(module, "convert_and_run", wrapped)  # noqa: B010 - a module has no such attribute to mypy


_put_scopes_around_runs()
TaskPluginRegistry.register(config_type=Pooled, plugin=PooledTask)

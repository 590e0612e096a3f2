"""The task plugin of flytekit (Flyte 1): ``@task(task_config=Pooled(RayJobConfig(...)))``.

A pooled task is a plain Python task to the backend: its pod runs the body and connects to a leased cluster, and no
RayJob is made. flytekit's own hooks do not do: `post_execute` is skipped when the body raises, and outputs are
converted after it. So the lease is put around `dispatch_execute`, which does all three.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from flytekit.configuration import SerializationSettings
from flytekit.core.array_node_map_task import ArrayNodeMapTask
from flytekit.core.context_manager import FlyteContext, FlyteContextManager
from flytekit.core.python_function_task import PythonFunctionTask
from flytekit.deck import Deck
from flytekit.extend import TaskPlugins
from flytekitplugins.ray.task import RayFunctionTask

import pool.flyte.handle1  # noqa: F401 - it registers Resident[T]
from pool.flyte import deck, early
from pool.flyte.acquire import Asked, has_daemon, wish_of
from pool.flyte.config import Pooled
from pool.flyte.handle import expect
from pool.flyte.holding import held, raise_unwritten
from pool.flyte.identity import Identity, local_identity, remote_identity
from pool.flyte.record import TaskRecord, current
from pool.flyte.shape import Own

if TYPE_CHECKING:
    from pool.client import Lease

_ATTRIBUTE = "RAY_LEASE"


class PooledTask(PythonFunctionTask[Pooled]):  # type: ignore[misc]  # flytekit has no types
    """A Python task whose body runs connected to a leased Ray cluster."""

    def __init__(self, task_config: Pooled, task_function: Callable[..., Any], **kwargs: Any) -> None:
        if task_config.deck and kwargs.get("enable_deck") is None and kwargs.get("disable_deck") is None:
            # flytekit's own tabs stay off, as they are when nothing is said: some of them take seconds.
            kwargs |= {"enable_deck": True, "deck_fields": ()}
        super().__init__(task_config=task_config, task_function=task_function, task_type="python-task", **kwargs)
        self._pooled = task_config
        # Registration puts defaults in, which a container does not know.
        self._declared = self._own()

    def _get_container(self, settings: SerializationSettings) -> Any:
        """Return the container that is registered, which is told the image it was registered with."""
        container = super()._get_container(settings)
        container.env.setdefault("WARMPOOL_IMAGE", container.image)
        if self._is_early:
            told = early.registered(self.name, Asked.of(self._pooled, self._declared), self._pooled.group)
            container.env.setdefault(early.VARIABLE, told)
        return container

    def get_default_command(self, settings: SerializationSettings) -> list[str]:
        """Return what the container runs: flytekit's command, which finds its lease taken once it has imported all."""
        command: list[str] = super().get_default_command(settings)
        return [early.COMMAND, *command] if self._is_early else command

    @property
    def _is_early(self) -> bool:
        # A runtime_env may be what only the task's module can make.
        return not self._pooled.config.runtime_env

    def dispatch_execute(self, ctx: FlyteContext, input_literal_map: Any) -> Any:
        """Convert the inputs, run the body and convert the outputs, on a lease that is released whatever happens."""
        with self.on_a_cluster(ctx) as connected_ctx:
            return super().dispatch_execute(connected_ctx, input_literal_map)

    def execute(self, **kwargs: Any) -> Any:
        """Run the body; on a lease of its own if something else than `dispatch_execute` calls it."""
        if _running.get() is self:
            return super().execute(**kwargs)
        ctx = FlyteContextManager.current_context()
        with self.on_a_cluster(ctx) as connected_ctx, FlyteContextManager.with_context(connected_ctx.new_builder()):
            return super().execute(**kwargs)

    @contextmanager
    def on_a_cluster(self, ctx: FlyteContext) -> Iterator[FlyteContext]:
        """Hold a connection to a leased cluster, or to what Flyte's own plugin gives if no daemon is configured.

        Yields:
            `ctx` with the lease, as ``current_context().ray_lease`` (None without a daemon).

        Raises:
            NoDaemon: if there is none, on a Flyte backend.
            LeaseLost: if what ran in it failed, and the lease was lost.
        """
        local = ctx.execution_state is None or ctx.execution_state.is_local_execution()
        record = TaskRecord(self.name, time.time(), cached=bool(self.metadata.cache))
        running, recording, showing = _running.set(self), current.set(record), _shown.set(None)
        try:
            if has_daemon(self.name, local=local):
                wish = wish_of(self.name, self._pooled, self._identity(ctx, local), self._own())
                with self._shown_if_refused(ctx, record), held(wish, record) as lease, record.timed("body_s"):
                    self._show(ctx, deck.granted(lease, shared=record.how == "shared"))
                    expect(self.python_interface.outputs.values())
                    yield _with_lease(ctx, lease)
                    if not local:
                        # Flyte takes the end of the pod for a success.
                        raise_unwritten()
            else:
                record.how = "fresh"
                with record.timed("connect_s"):
                    # Flyte's own code, so that it behaves exactly as the plain plugin.
                    RayFunctionTask.pre_execute(
                        SimpleNamespace(_task_config=self._pooled.config), ctx.user_space_params
                    )
                with record.timed("body_s"):
                    yield _with_lease(ctx, None)
        except BaseException as error:
            record.error = type(error).__name__
            raise
        finally:
            _running.reset(running)
            current.reset(recording)
            _shown.reset(showing)
            record.write()

    def _write_decks(self, *given: Any, **named: Any) -> None:
        """Add what the hand-over took, which is known once the outputs are converted, then write the decks."""
        record, shown = current.get(), _shown.get()
        if record is not None and shown is not None:
            shown.append(deck.handed(record))
        super()._write_decks(*given, **named)

    @contextmanager
    def _shown_if_refused(self, ctx: FlyteContext, record: TaskRecord) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if not record.lease:
                self._show(ctx, deck.refused(error))
            raise

    def _show(self, ctx: FlyteContext, html: str) -> None:
        """Put it into the task's deck. flytekit uploads it when the task is over, also after an error."""
        if self._pooled.deck and self.enable_deck and ctx.user_space_params is not None:
            shown = Deck(deck.TAB, html, auto_add_to_deck=False)
            ctx.user_space_params.decks.append(shown)
            _shown.set(shown)

    def _identity(self, ctx: FlyteContext, local: bool) -> Identity:
        if local:
            return local_identity(self.name).with_group(self._pooled.group)
        params = ctx.user_space_params
        execution = params.execution_id
        return remote_identity(
            project=execution.project,
            domain=execution.domain,
            execution=execution.name,
            task=self.name,
            attempt=os.environ.get("FLYTE_ATTEMPT_NUMBER", "0"),
            # The backend gives each attempt of each node a prefix of its own.
            place=params.raw_output_prefix or "",
        ).with_group(self._pooled.group)

    def _own(self) -> Own:
        secrets = self.security_context.secrets if self.security_context else None
        resources = self.resources
        return Own(
            requests=resources.requests if resources else None,
            limits=resources.limits if resources else None,
            pod_template=self.pod_template or getattr(self, "pod_template_name", None),
            rights={"secrets": sorted(f"{s.group}/{s.key}/{s.group_version or ''}" for s in secrets or ())},
        )


_running: ContextVar[PooledTask | None] = ContextVar("warmpool_running", default=None)


_shown: ContextVar[Deck | None] = ContextVar("warmpool_shown", default=None)
"""The tab of the lease in the deck of the task that runs."""


def _with_lease(ctx: FlyteContext, lease: Lease | None) -> FlyteContext:
    params = ctx.user_space_params
    state = ctx.execution_state
    if params is None or state is None:
        return ctx
    builder = params.builder()
    # The builder shares the attributes of what it is made of.
    builder.attrs = {**(builder.attrs or {}), _ATTRIBUTE: lease}
    return ctx.with_execution_state(state.with_params(user_space_params=builder.build())).build()


_dispatch_of_a_map = ArrayNodeMapTask.dispatch_execute


def _dispatch_execute(self: ArrayNodeMapTask, ctx: FlyteContext, input_literal_map: Any) -> Any:
    # flytekit calls the body of a mapped task without its `dispatch_execute`, and converts the outputs itself.
    mapped = self.python_function_task
    if not isinstance(mapped, PooledTask):
        return _dispatch_of_a_map(self, ctx, input_literal_map)
    with mapped.on_a_cluster(ctx) as connected_ctx:
        return _dispatch_of_a_map(self, connected_ctx, input_literal_map)


ArrayNodeMapTask.dispatch_execute = _dispatch_execute
TaskPlugins.register_pythontask_plugin(Pooled, PooledTask)

"""The one line that an author changes: `Pooled(RayJobConfig(...))`."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from pool.core.model import Mode

_INTEGRATIONS = {"flytekitplugins.ray": "pool.flyte.flyte1", "flyteplugins.ray": "pool.flyte.flyte2"}


@dataclass
class Pooled:
    """Runs a Ray task on a leased warm cluster instead of one of its own.

    Takes the `RayJobConfig` of Flyte 1's or Flyte 2's Ray plugin unchanged, as ``task_config`` of ``@task`` or as
    ``plugin_config`` of ``flyte.TaskEnvironment``. Making one registers the task plugin that understands it.

    Attributes:
        config: the `RayJobConfig`. Its head, workers and autoscaling are the shape of the cluster; its
            ``runtime_env`` goes to ``ray.init``. ``address``, ``shutdown_after_job_finishes`` and
            ``ttl_seconds_after_finished`` mean nothing on a leased cluster.
        group: leases of one group like to share a cluster and its data; the workflow execution or run if empty.
        hold_s: keep the cluster for the group so many seconds after the task; the pool's setting if None.
        priority: from -1000 to 1000; higher is served sooner.
        mode: what to do when no cluster is idle: ``wait_or_create``, ``wait`` or ``warm_only``.
        timeout_s: seconds to wait for a cluster before the task fails.
        ttl_s: the lease expires if it is not renewed for so many seconds; the pool's setting if None.
        deck: show the lease in the task's deck (Flyte 1) or report (Flyte 2), turning that on unless the task says
            ``enable_deck=False``.

    Raises:
        TypeError: if `config` is not a `RayJobConfig` of Flyte's Ray plugin.
        ValueError: if another field is out of range, naming it.
    """

    config: Any
    group: str = ""
    hold_s: float | None = None
    priority: int = 0
    mode: Mode | str = Mode.WAIT_OR_CREATE
    timeout_s: float = 600.0
    ttl_s: float | None = None
    deck: bool = True

    def __post_init__(self) -> None:
        try:
            self.mode = Mode(self.mode)
        except ValueError:
            raise ValueError(f"Pooled.mode: {self.mode!r} is none of {', '.join(Mode)}.") from None
        if not -1000 <= self.priority <= 1000:
            raise ValueError(f"Pooled.priority: {self.priority!r} is not between -1000 and 1000.")
        if not 0 <= self.timeout_s <= 604_800:
            raise ValueError(f"Pooled.timeout_s: {self.timeout_s!r} is not between 0 and 604800 seconds.")
        if self.hold_s is not None and not 0 <= self.hold_s <= 604_800:
            raise ValueError(f"Pooled.hold_s: {self.hold_s!r} is not between 0 and 604800 seconds.")
        if self.ttl_s is not None and not 1 <= self.ttl_s <= 3600:
            raise ValueError(f"Pooled.ttl_s: {self.ttl_s!r} is not between 1 and 3600 seconds.")
        importlib.import_module(_integration_of(self.config))


def _integration_of(config: object) -> str:
    """Return the module that understands `config`: which of the two SDKs it belongs to shows in where it is from."""
    for cls in type(config).__mro__:
        for package, integration in _INTEGRATIONS.items():
            if cls.__name__ == "RayJobConfig" and cls.__module__.startswith(package):
                return integration
    raise TypeError(
        f"Pooled takes a RayJobConfig of flytekitplugins.ray (Flyte 1) or flyteplugins.ray (Flyte 2), "
        f"not a {type(config).__name__}."
    )

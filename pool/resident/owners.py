"""The owners of resident data, as a driver or a task of a cluster sees them: one actor per node, made when needed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

from pool.client.greeting import greeted
from pool.inside import owner, version
from pool.inside.place import RESIDENCY
from pool.resident.errors import NotConnected
from pool.resident.remembered import remembered

BOUND_S = 120.0
"""How long an owner may take: a store that is full of spilled objects is slow."""
CALLS_AT_ONCE = 8
_sending = Lock()


@contextmanager
def sent_by_value(cloudpickle: Any) -> Iterator[None]:
    """Have an owner sent with all that it is made of: the cluster's image need not have anything of ours."""
    modules = owner, version
    # What is registered is of the process: another thread's end of this is not to come in between.
    with _sending:
        for module in modules:
            cloudpickle.register_pickle_by_value(module)
        try:
            yield
        finally:
            for module in modules:
                cloudpickle.unregister_pickle_by_value(module)


class Owners:
    """The owners of the cluster that this process is connected to.

    Attributes:
        here: the node of this process, or of the one that speaks for it.
        afar: it is connected by Ray Client, and shares no memory with any node.

    Raises:
        NotConnected: if it is connected to none.
    """

    def __init__(self) -> None:
        import ray

        if not ray.is_initialized():
            raise NotConnected(
                "This process is connected to no Ray cluster. Use resident data in the body of a pooled task, or "
                "call ray.init(address=...) before."
            )
        self._ray = ray
        context = ray.get_runtime_context()
        self.here: str = context.get_node_id()
        through: Any = ray.util.client.ray
        self.afar: bool = through.is_connected()
        # Handles and references are of one connection: another job has others, also one of another cluster with its id.
        job = (context.get_job_id(), self.here)
        if _known.get("job") != job:
            remembered.forget()
            _known.clear()
            _known["job"] = job
            if RESIDENCY in os.environ:
                from pool.client.residency import leave_at_exit

                leave_at_exit()

    def of(self, node: str) -> Any:
        """Return the owner of a node, made if there is none."""
        name = owner.PREFIX + node
        # To look is a message; to make is to send the class along, also where there is one.
        if self.existing(node) is None:
            from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

            with sent_by_value(self._ray.cloudpickle):
                made = self._ray.remote(owner.ResidentOwner).options(
                    name=name,
                    namespace=owner.NAMESPACE,
                    lifetime="detached",
                    get_if_exists=True,
                    num_cpus=0,
                    max_concurrency=CALLS_AT_ONCE,
                    scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
                )
                _known[name] = made.remote(float(os.environ.get(owner.SHARE_VARIABLE) or owner.SHARE))
        return _known[name]

    def existing(self, node: str) -> Any | None:
        """Return the owner of a node, None if there is none."""
        name = owner.PREFIX + node
        if name not in _known:
            greeted()
            try:
                _known[name] = self._ray.get_actor(name, owner.NAMESPACE)
            except ValueError:
                return None
        return _known[name]

    def others(self, node: str) -> list[Any]:
        """Return the owners that there are of the nodes except one."""
        every = self._ray.util.list_named_actors(all_namespaces=True)
        names = [actor["name"] for actor in every if actor["namespace"] == owner.NAMESPACE]
        nodes = [name.removeprefix(owner.PREFIX) for name in names]
        found = [self.existing(other) for other in nodes if other != node]
        return [handle for handle in found if handle is not None]

    def ask(self, handle: Any, method: str, *arguments: Any) -> Any:
        """Return what an owner answers; one that died is forgotten, so that the next call makes another.

        Raises:
            ray.exceptions.RayError: if it died, or does not answer.
        """
        return self.result(getattr(handle, method).remote(*arguments))

    def result(self, asked: Any, bound_s: float = BOUND_S) -> Any:
        """Return what an owner, or each of several, answered.

        Raises:
            ray.exceptions.RayError: if one died, or does not answer.
        """
        try:
            return self._ray.get(asked, timeout=bound_s)
        except self._ray.exceptions.RayActorError:
            remembered.forget()
            _known.clear()
            raise


_known: dict[str, Any] = {}
"""The handles of this process's connection, by name, and under ``job`` which connection that is."""

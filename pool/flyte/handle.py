"""`Resident[T]`: what a task hands to the next one through the cluster's memory, beside Flyte's own copy of it.

To Flyte it is a ``T``: the same literal type, the same literal, written by Flyte's own transformer of ``T`` before the
task succeeds. So a task that asks for a plain ``T`` takes it too, the console shows what it is, and a cached result is
whole. The value is also put on the cluster, under a name made of where its copy lies.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar, get_args

T = TypeVar("T")

log = logging.getLogger("warmpool.flyte")


class Resident(Generic[T]):
    """A value that a task returns, or was given.

    Attributes:
        keep_for_s: it is dropped from memory when it was not used for so many seconds; None for no such end.
        pinned: it is not dropped from memory to make room for others.
        source: from where `get` had it: ``memory`` or ``durable``; empty before, and for the task that made it.
        durable_s, memory_s: how long Flyte's copy and the one in memory took, as they were written or read.
    """

    def __init__(self, value: T, *, keep_for_s: float | None = None, pinned: bool = False) -> None:
        self.keep_for_s = keep_for_s
        self.pinned = pinned
        self.source = ""
        self.durable_s = self.memory_s = 0.0
        self._get: Callable[[], T] = lambda: value

    def get(self) -> T:
        """Return the value, from memory on the cluster where it is, elsewhere from Flyte's copy: read-only arrays."""
        value = self._get()
        # Once is enough: a view of shared memory costs nothing to keep.
        self._get = lambda: value
        return value

    def __repr__(self) -> str:
        said = f" from {self.source}" if self.source else ""
        return f"<Resident{said}, durable {self.durable_s:.3f} s, memory {self.memory_s:.3f} s>"


def given(uri: str, read: Callable[[], T]) -> Resident[T]:
    """Return the handle of a value that another task made.

    Args:
        uri: of Flyte's copy.
        read: reads that copy.
    """

    def get() -> T:
        from pool import resident

        began = time.perf_counter()
        if uri:
            with suppress(resident.ResidentError):
                value: T = resident.get(name_of(uri))
                handle.source, handle.memory_s = "memory", time.perf_counter() - began
                log.info("a %s came from memory in %.3f s", type(value).__name__, handle.memory_s)
                return value
            began = time.perf_counter()
        value = read()
        handle.source, handle.durable_s = "durable", time.perf_counter() - began
        log.info("a %s came from %s in %.3f s", type(value).__name__, uri or "its literal", handle.durable_s)
        if uri:
            # For the next task that asks.
            keep(handle, value, uri)
        return value

    handle: Resident[T] = Resident(None)  # type: ignore[arg-type]  # it is read when it is asked for
    handle._get = get
    return handle


def keep(handle: Resident[Any], value: Any, uri: str) -> None:
    """Put a value on the cluster, if there is one and it fits: Flyte's copy is there whatever comes of it."""
    import ray

    from pool import resident

    began = time.perf_counter()
    try:
        resident.put(name_of(uri), value, keep_for=handle.keep_for_s, pinned=handle.pinned)
    except resident.NotConnected:
        return
    except (resident.ResidentError, ray.exceptions.RayError) as error:
        log.warning("a %s is not resident, the next task reads %s: %s", type(value).__name__, uri, error)
        return
    handle.memory_s = time.perf_counter() - began


def inner(t: Any) -> Any:
    """Return ``T`` of ``Resident[T]``.

    Raises:
        TypeError: for a bare `Resident`.
    """
    arguments = get_args(t)
    if not arguments:
        raise TypeError("Say what is resident: Resident[pd.DataFrame], not Resident.")
    return arguments[0]


def name_of(uri: str) -> str:
    """Return the name under which the value of a copy is resident: short, and without what a URI may tell."""
    return f"flyte/{hashlib.sha256(uri.encode()).hexdigest()[:32]}"

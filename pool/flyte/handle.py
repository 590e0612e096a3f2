"""`Resident[T]`: what a task hands to the next one through the cluster's memory, beside Flyte's own copy of it.

To Flyte it is a ``T``: the same literal type, the same literal, written by Flyte's own transformer of ``T`` before the
task succeeds. So a task that asks for a plain ``T`` takes it too, the console shows what it is, and a cached result is
whole. The value is also put on the cluster, under a name made of where its copy lies.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar, get_args, get_origin
from weakref import WeakValueDictionary

from pool.flyte.record import TaskRecord, current

if TYPE_CHECKING:
    from pool import resident

T = TypeVar("T")

log = logging.getLogger("warmpool.flyte")


_numbers = itertools.count()
_handles: WeakValueDictionary[int, Resident[Any]] = WeakValueDictionary()
"""The handles of this process that were pickled."""


def _of_this_process(pid: int, number: int) -> Resident[Any]:
    """Return a handle that was pickled.

    Raises:
        TypeError: in another process, or if it is gone.
    """
    handle = _handles.get(number) if pid == os.getpid() else None
    if handle is None:
        raise TypeError("A Resident cannot be sent to another process: send what its get() returns.")
    return handle


class Resident(Generic[T]):
    """A value that a task returns, or was given.

    Attributes:
        keep_for_s: it is dropped from memory when it was not used for so many seconds; None for no such end.
        pinned: it is not dropped from memory to make room for others.
        write_behind: Flyte's copy is written while the next task runs already.
        source: from where `get` had it: ``memory`` or ``durable``; empty before, and for the task that made it.
        durable_s, memory_s: how long Flyte's copy and the one in memory took, as they were written or read.
    """

    def __init__(
        self, value: T, *, keep_for_s: float | None = None, pinned: bool = False, write_behind: bool = False
    ) -> None:
        """Make the output of a task.

        Raises:
            ValueError: for `write_behind` in a task whose outputs Flyte caches, and for a `keep_for_s` that is no time.
        """
        if keep_for_s is not None:
            from pool.resident.values import check_time

            check_time("keep_for_s", keep_for_s)
        record = current.get()
        if write_behind and record is not None and record.cached:
            raise ValueError(
                f"Task {record.task} is cached, so its outputs must be complete when it ends: take write_behind=True "
                "or the cache away."
            )
        self.keep_for_s = keep_for_s
        self.pinned = pinned
        self.write_behind = write_behind
        self.source = ""
        self.durable_s = self.memory_s = 0.0
        self._came_as: tuple[Any, Any] | None = None
        self._get: Callable[[], T] = lambda: value
        # flytekit converts outputs on threads that know of no task.
        self._record = record
        self._number = next(_numbers)

    def get(self) -> T:
        """Return the value, from memory on the cluster where it is, elsewhere from Flyte's copy: read-only arrays."""
        value = self._get()
        # Once is enough: a view of shared memory costs nothing to keep.
        self._get = lambda: value
        return value

    def came_as(self, literal: Any, kind: Any) -> None:
        """Note the literal that another task made of it, and the ``T`` as which this one was given it."""
        self._came_as = literal, kind

    def literal_as(self, kind: Any) -> Any | None:
        """Return the literal that it came as, None if it did not, or not as this ``T``.

        Who gives a handle on (in Flyte 2, whoever calls both tasks) has nothing to read and to write again.
        """
        return self._came_as[0] if self._came_as is not None and self._came_as[1] == kind else None

    @property
    def record(self) -> TaskRecord | None:
        """The record of the task that has it; None outside of pooled tasks."""
        return self._record or current.get()

    @property
    def kept(self) -> bool:
        """Whether it is kept in memory: a cluster of the task's own takes that along when it ends."""
        return self.record is None or self.record.how != "fresh"

    def note(self, memory_s: float = 0.0, durable_s: float = 0.0) -> None:
        """Add to its task's record what it took to hand it over, seconds."""
        if self.record is not None:
            self.record.handed(memory_s, durable_s)

    def __reduce__(self) -> tuple[Any, ...]:
        # flytekit pickles all that a task returns, to see whether it wrote the same before. That is not worth a copy of
        # the value: the handle is known by a number, and each is another one.
        _handles[self._number] = self
        return _of_this_process, (os.getpid(), self._number)

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
        from pool.resident import behind

        began = time.perf_counter()
        if uri and handle.kept:
            with suppress(resident.ResidentError):
                value: T = resident.get(name_of(uri))
                handle.source, handle.memory_s = "memory", time.perf_counter() - began
                handle.note(memory_s=handle.memory_s)
                log.info("a %s came from memory in %.3f s", type(value).__name__, handle.memory_s)
                return value
            began = time.perf_counter()
            # If this process still writes it.
            behind.wait_for(uri)
        value = read()
        handle.source, handle.durable_s = "durable", time.perf_counter() - began
        handle.note(durable_s=handle.durable_s)
        log.info("a %s came from %s in %.3f s", type(value).__name__, uri or "its literal", handle.durable_s)
        if uri:
            # For the next task that asks.
            keep(handle, value, uri)
        return value

    handle: Resident[T] = Resident(None)  # type: ignore[arg-type]  # it is read when it is asked for
    handle._get = get
    return handle


def keep(handle: Resident[Any], value: Any, uri: str, *, alone: bool = False) -> resident.Entry | None:
    """Put a value on the leased cluster, if it fits: Flyte's copy is there whatever comes of it.

    Args:
        handle: of the value.
        value: what is put.
        uri: of Flyte's copy.
        alone: that copy is not there yet, so the value stays until it is.

    Returns:
        What there is of it; None if it is not in memory.
    """
    if not handle.kept:
        return None
    import ray

    from pool import resident

    began = time.perf_counter()
    keep_for_s, pinned = (None, True) if alone else (handle.keep_for_s, handle.pinned)
    try:
        entry = resident.put(name_of(uri), value, keep_for=keep_for_s, pinned=pinned)
    except resident.NotConnected:
        return None
    except (resident.ResidentError, ray.exceptions.RayError) as error:
        log.warning("a %s is not resident, the next task reads %s: %s", type(value).__name__, uri, error)
        return None
    handle.memory_s = time.perf_counter() - began
    handle.note(memory_s=handle.memory_s)
    return entry


def keep_and_write_behind(handle: Resident[Any], value: Any, uri: str, write: Callable[[], None]) -> bool:
    """Put a value on the leased cluster, and begin to write Flyte's copy of it.

    Args:
        handle: of the value.
        value: what is put.
        uri: of Flyte's copy.
        write: writes it, on any thread.

    Returns:
        Whether it is in memory; else nothing was begun.
    """
    from pool.resident import behind, values

    entry = keep(handle, value, uri, alone=True)
    if entry is None:
        return False

    def written(durable_s: float) -> None:
        handle.durable_s = durable_s
        if handle.record is not None:
            handle.record.written_behind(durable_s)
        values.note_written(entry, durable_s, keep_for_s=handle.keep_for_s, pinned=handle.pinned)

    behind.begin(uri, write, written)
    if handle.record is not None:
        handle.record.behind += 1
    return True


def empty(frame: Any) -> Any:
    """Return a frame of the same columns without rows."""
    return frame.iloc[:0] if hasattr(frame, "iloc") else frame[:0]


def expect(types: Iterable[Any]) -> None:
    """Have what keeps values in memory started beside the body, if one of a task's outputs is a `Resident`.

    It is a process of its own, which takes a second or two to start: the first of a cluster would be waited for.
    """
    if any(get_origin(t) is Resident for t in types):
        from pool import resident

        # What goes wrong is told where a value is put.
        with suppress(Exception):
            resident.prepare()


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

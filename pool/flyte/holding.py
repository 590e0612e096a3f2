"""The one lease that this process holds at a time, since Ray connects a process to one cluster at a time.

Tasks of one process that want the same cluster share the lease; others wait for their turn. A turn is waited for
*before* a lease is asked for, so nobody holds a lease while waiting. A task that runs inside another one's body
shares its lease or fails at once: it never waits for what the outer one holds.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from pool.client.connect import connected
from pool.client.residency import copies_written
from pool.flyte.errors import NestedDeadlock, ProcessBusy
from pool.flyte.record import TaskRecord

if TYPE_CHECKING:
    from pool.client import Lease

log = logging.getLogger("warmpool.flyte")

T = TypeVar("T")


@dataclass(frozen=True)
class Wish:
    """What a task needs before its body can run.

    Attributes:
        task: its name.
        key: digest of the cluster key.
        request_id: with which the lease is asked for.
        holder: for whom.
        group: whose data it would like to find.
        runtime_env: for ``ray.init``.
        local: the process shares a file system with the cluster.
        timeout_s: how long it may wait for its turn.
        acquire: asks for the lease; releases it when left.
    """

    task: str
    key: str
    request_id: str
    holder: str
    group: str
    runtime_env: Mapping[str, Any] | None
    local: bool
    timeout_s: float
    acquire: Callable[[], AbstractContextManager[Lease]] = field(compare=False)

    def fits(self, other: Wish) -> bool:
        """Tell whether one connection serves both."""
        return self.key == other.key and (self.runtime_env or {}) == (other.runtime_env or {})

    def akin(self, other: Wish) -> bool:
        """Tell whether two tasks that run beside each other would like to share: they want the same data too."""
        return self.fits(other) and self.group == other.group


class Holding:
    """A lease that this process holds, connected to its cluster.

    Attributes:
        wish: of the task that took it.
        lease: valid while `users` is not 0.
        users: tasks that use it.
        opened: it is leased and connected.
    """

    def __init__(self, wish: Wish) -> None:
        self.wish = wish
        self.users = 0
        self.opened = False
        self._leased, self._connection = ExitStack(), ExitStack()
        self._lease: Lease | None = None

    @property
    def lease(self) -> Lease:
        """The lease, once `open` has returned."""
        if self._lease is None:
            raise RuntimeError("The holding is not open.")
        return self._lease

    def open(self, record: TaskRecord) -> None:
        """Take the lease, then connect; on any error neither is left behind."""
        with ExitStack() as stack:
            with record.timed("acquire_s"):
                lease = self._lease = stack.enter_context(self.wish.acquire())
            with record.timed("connect_s"):
                self._connection.enter_context(connected(lease.cluster, self.wish.runtime_env, local=self.wish.local))
            self._leased = stack.pop_all()
        self.opened = True

    def close(self) -> None:
        """Disconnect and release, the one beside the other.

        Ray says goodbye to the cluster first, and then waits a quarter of a second for threads of its own. The pool
        resets the cluster meanwhile: it looks for itself that the driver is gone.
        """
        self.lease.note_residency()
        disconnecting = _start(self._connection.close)
        try:
            # In this thread, which took the lease: signals are handled as before once it is given back.
            self._leased.close()
        finally:
            disconnecting.result()


class Turns:
    """Gives this process's tasks their turns. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held: Holding | None = None
        self._begun: Holding | None = None
        self._waiting: list[Wish] = []

    def begin(self, wish: Wish) -> None:
        """Begin to take the lease of a task that is still to come, on a thread of its own.

        Should that fail, the task takes its lease itself, and is told what is wrong.
        """
        with self._changed:
            if self._held is not None:
                return
            begun = self._held = self._begun = Holding(wish)
        _start(lambda: self._open_begun(begun))

    def drop(self) -> None:
        """Give back what was begun and no task came for; one that still waits for its grant is not picked up."""
        with self._changed:
            begun, self._begun = self._begun, None
            if begun is not None and begun.opened:
                begun.close()
                self._clear()

    def _open_begun(self, begun: Holding) -> None:
        try:
            begun.open(TaskRecord(begun.wish.task, time.time()))
        except BaseException as error:
            log.info("the lease of %s could not be taken early: %s", begun.wish.task, error)
            self._clear()
        with self._changed:
            self._changed.notify_all()

    def _adopt(self, wish: Wish, given_up: threading.Event) -> Holding | None:
        """Return what was begun for this very task, once it is open; what was begun for another is given back."""
        begun = self._begun
        while begun is not None and begun is self._begun and begun is self._held and not begun.opened:
            if given_up.is_set():
                return None
            self._changed.wait(1.0)
        if begun is None or begun is not self._begun:
            return None
        self._begun = None
        if begun is not self._held:
            return None
        if begun.wish.request_id == wish.request_id and begun.wish.fits(wish):
            begun.users = 1
            self._changed.notify_all()
            return begun
        try:
            begun.close()
        finally:
            self._clear()
        return None

    def take(self, wish: Wish, outer: Holding | None, record: TaskRecord, given_up: threading.Event) -> Holding:
        """Return a holding that serves `wish`, when it is its turn.

        Args:
            wish: what is needed.
            outer: what the task around this one holds, if there is one.
            record: is told how it went.
            given_up: set when nobody wants it any more.

        Raises:
            NestedDeadlock: if the outer task's holding cannot serve it.
            ProcessBusy: if its turn did not come within the wish's `timeout_s`.
        """
        with self._changed:
            if outer is not None and outer.users:
                if not outer.wish.fits(wish):
                    raise NestedDeadlock(
                        f"Task {wish.task} needs another cluster than task {outer.wish.task}, "
                        f"which calls it and holds lease {outer.lease.id}."
                    )
                return self._join(outer, record)
            with record.timed("acquire_s"):
                adopted = self._adopt(wish, given_up)
            if adopted is not None:
                return adopted
            joined = self._wait_for_turn(wish, given_up)
            if joined is not None:
                return self._join(joined, record)
            mine = self._held = Holding(wish)
        try:
            mine.open(record)
        except BaseException:
            self._clear()
            raise
        with self._changed:
            mine.users = 1
            self._changed.notify_all()
        return mine

    def give(self, holding: Holding) -> None:
        """Give `holding` back; the last one to do so disconnects and releases.

        While durable copies are written behind, that is a thread that waits for them: the lease lasts until then, and
        the next task may share it.
        """
        if _behind() is not None and _behind().pending():
            # No daemon: the process does not end before it has given the lease back.
            threading.Thread(target=self._give_once_written, args=(holding,), name="warmpool-give").start()
            return
        with self._changed:
            holding.users -= 1
            if holding.users:
                return
        try:
            holding.close()
        finally:
            self._clear()

    def _give_once_written(self, holding: Holding) -> None:
        try:
            while _behind().pending():
                # What failed was logged, and is told to whoever reads it.
                _behind().settle()
            self.give(holding)
        except Exception:
            log.exception("lease %s could not be given back", holding.lease.id)

    def _clear(self) -> None:
        with self._changed:
            self._held = None
            self._changed.notify_all()

    def _join(self, holding: Holding, record: TaskRecord) -> Holding:
        holding.users += 1
        record.how = "shared"
        return holding

    def _wait_for_turn(self, wish: Wish, given_up: threading.Event) -> Holding | None:
        """Return a holding to share, or None once the process holds nothing."""
        deadline = time.monotonic() + wish.timeout_s
        self._waiting.append(wish)
        try:
            while (held := self._held) is not None:
                # Not when somebody waits who cannot share: a stream of joiners would keep him waiting for ever.
                if held.users and held.wish.akin(wish) and all(w.akin(wish) for w in self._waiting):
                    return held
                if given_up.is_set():
                    raise ProcessBusy(f"Task {wish.task} was cancelled while it waited for its turn.")
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    raise ProcessBusy(
                        f"Task {wish.task} waited {wish.timeout_s:.0f} s for task {held.wish.task} of the same process."
                    )
                self._changed.wait(min(left_s, 1.0))
            return None
        finally:
            self._waiting.remove(wish)
            self._changed.notify_all()


def _behind() -> Any:
    """Return what writes durable copies behind; None where nobody asked for it."""
    return sys.modules.get("pool.resident.behind")


def raise_unwritten() -> None:
    """Wait for the durable copies that are written behind.

    Raises:
        pool.resident.DurableFailed: if one could not be written.
    """
    failed = copies_written()
    if failed is not None:
        raise failed


turns = Turns()
_inside: ContextVar[Holding | None] = ContextVar("warmpool_holding", default=None)


def outer_holding() -> Holding | None:
    """Return what the task around this code holds, None outside of pooled tasks."""
    holding = _inside.get()
    return holding if holding is not None and holding.users else None


def current_lease() -> Lease | None:
    """Return the lease of the pooled task that this code runs in.

    None outside of a pooled task, and where a task got a Ray of its own because no daemon is configured.
    """
    holding = outer_holding()
    return holding.lease if holding else None


@contextmanager
def inside(holding: Holding) -> Iterator[None]:
    """Mark the code that runs in it as a body that holds `holding`."""
    token = _inside.set(holding)
    try:
        yield
    finally:
        _inside.reset(token)


@contextmanager
def explained(lease: Lease) -> Iterator[None]:
    """Have an error of a body whose lease was lost say so: Ray's own words about a lost connection mislead.

    When another thread disconnects Ray, a body that waits in `ray.get` ends with ``SystemExit(0)``: unexplained, a lost
    task would pass for a success.
    """
    try:
        yield
    except (Exception, SystemExit):
        lease.check()
        raise


@contextmanager
def held(wish: Wish, record: TaskRecord) -> Iterator[Lease]:
    """Hold a lease, connected to its cluster, for a body that runs in this thread."""
    holding = turns.take(wish, outer_holding(), record, threading.Event())
    try:
        record.granted(holding.lease)
        with inside(holding), explained(holding.lease):
            yield holding.lease
    finally:
        with record.timed("release_s"):
            turns.give(holding)


@asynccontextmanager
async def aheld(wish: Wish, record: TaskRecord) -> AsyncIterator[Lease]:
    """Hold a lease, connected to its cluster, for a body that runs on this event loop."""
    given_up = threading.Event()
    outer = outer_holding()
    taking = _start(lambda: turns.take(wish, outer, record, given_up))
    try:
        holding = await asyncio.wrap_future(taking)
    except asyncio.CancelledError:
        given_up.set()
        taking.add_done_callback(_give_back)
        raise
    try:
        record.granted(holding.lease)
        with inside(holding):
            yield holding.lease
    finally:
        with record.timed("release_s"):
            await asyncio.wrap_future(_start(lambda: turns.give(holding)))


def _give_back(taken: Future[Holding]) -> None:
    if taken.exception() is None:
        turns.give(taken.result())


def _start(call: Callable[[], T]) -> Future[T]:
    """Start `call` on a thread of its own.

    Not on the loop's executor: its few threads could all be waiting for a turn, with none left to give one back.
    """
    future: Future[T] = Future()
    # It cannot be cancelled any more: what it takes would be lost.
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, name="warmpool-turn", daemon=True).start()
    return future

"""Durable copies that are written behind: the value is in memory already, and whoever holds the lease keeps it.

The copy is written by a thread of the process that has the value. The process does not end before it is written, and
the lease is not given back.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable

from pool.resident.errors import DurableFailed

log = logging.getLogger("warmpool.resident")


class Writing:
    """A copy that is being written, or was.

    Attributes:
        url: where to.
        durable_s: how long it took; 0 until it is written.
        error: why it could not be written; None if it was, or may still be.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.durable_s = 0.0
        self.error: Exception | None = None
        self._done = threading.Event()

    @property
    def done(self) -> bool:
        """Whether it is over, well or not."""
        return self._done.is_set()

    def wait(self) -> None:
        """Return once the copy is complete.

        Raises:
            DurableFailed: if it could not be written.
        """
        self._done.wait()
        if self.error is not None:
            raise DurableFailed(f"The durable copy {self.url} could not be written: {self.error}") from self.error


def begin(url: str, write: Callable[[], None], written: Callable[[float], None] | None = None) -> Writing:
    """Begin to write a copy on a thread.

    Args:
        url: where to: it can be waited for by that.
        write: writes it, and returns once it is complete.
        written: called with how long it took, seconds, if it could be written.
    """
    writing = Writing(url)

    def run() -> None:
        began = time.perf_counter()
        try:
            write()
            writing.durable_s = time.perf_counter() - began
            log.info("the durable copy %s was written behind in %.3f s", url, writing.durable_s)
            if written is not None:
                written(writing.durable_s)
        except Exception as error:
            if not writing.durable_s:
                writing.error = error
                log.error("the durable copy %s could not be written: %s", url, error)
            else:
                log.warning("that %s was written could not be noted: %s", url, error)
        finally:
            writing._done.set()

    with _lock:
        _known[url] = writing
    # No daemon: the interpreter waits for it.
    threading.Thread(target=run, name="write-behind").start()
    return writing


def pending() -> bool:
    """Tell whether copies are being written."""
    with _lock:
        return any(not writing.done for writing in _known.values())


def wait_for(url: str) -> None:
    """Return once the copy at `url` is complete, if this process writes it.

    Raises:
        DurableFailed: if it could not be written.
    """
    with _lock:
        writing = _known.get(url)
    if writing is not None:
        writing.wait()


def settle() -> None:
    """Return once all copies that are being written now are over; failures stay to be told."""
    with _lock:
        writing = list(_known.values())
    for one in writing:
        one._done.wait()


def finish() -> DurableFailed | None:
    """Wait for all copies, and return what one that failed says; each failure is told once."""
    failed = None
    while True:
        with _lock:
            writing = next(iter(_known.values()), None)
        if writing is None:
            return failed
        try:
            writing.wait()
        except DurableFailed as error:
            failed = failed or error
        with _lock:
            if _known.get(writing.url) is writing:
                del _known[writing.url]


def _forget() -> None:
    """A forked child writes nothing: its parent's threads are not in it."""
    global _lock
    _lock = threading.Lock()
    _known.clear()


os.register_at_fork(after_in_child=_forget)

_lock = threading.Lock()
_known: dict[str, Writing] = {}
"""The copies of this process by URL, until somebody has waited for all of them."""

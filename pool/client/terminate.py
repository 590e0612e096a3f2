"""Turning SIGTERM into an exception while a lease is held, so that `finally` blocks run and the lease is released."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import cast


class _Handler:
    def __init__(self) -> None:
        self.pid = os.getpid()
        self.holders = 1

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self.pid:
            # A forked child inherits the handler, but holds no lease: it ends as it would have without us.
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGTERM)
            return
        raise SystemExit(128 + signal.SIGTERM)


@contextlib.contextmanager
def exit_on_sigterm() -> Iterator[None]:
    """While this is open, SIGTERM raises ``SystemExit(143)`` in the main thread.

    It does nothing on another thread, or where the program has a handler of its own: that one knows better.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    current = cast(object, signal.getsignal(signal.SIGTERM))
    if isinstance(current, _Handler) and current.pid == os.getpid():
        handler = current
        handler.holders += 1
    elif current is signal.SIG_DFL:
        handler = _Handler()
        signal.signal(signal.SIGTERM, handler)
    else:
        yield
        return
    try:
        yield
    finally:
        handler.holders -= 1
        # A lease that was given back by another thread leaves it for the next one: only this one may change it.
        mine = threading.current_thread() is threading.main_thread()
        unused = mine and not handler.holders and os.getpid() == handler.pid
        if unused and signal.getsignal(signal.SIGTERM) is handler:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

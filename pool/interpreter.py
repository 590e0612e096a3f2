"""How the daemon's interpreter is set up: for many records that stay, and for a store that works in a thread."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

SWITCH_S = 0.00005
"""A thread that wants to run waits at most so long for the one that runs.

Every commit crosses to the store's thread and back. With Python's default of 5 ms, each crossing would wait that long
whenever the event loop is busy: ten times what a commit takes. There are a dozen to a commit, and not more of them if
they take less long.
"""


def answer_promptly() -> None:
    """Let the store's thread and the event loop take turns quickly."""
    sys.setswitchinterval(SWITCH_S)


YOUNG_OBJECTS = 50_000
"""So many more objects than at the last collection set off the next one.

What a request makes is gone with its last reference, and hardly anything of it is a cycle. Python's default of 700 is
reached by some ten requests in flight: a tenth of the processor time then goes into looking at what is in use, and a
collection of the older ones makes everybody wait for tens of milliseconds.
"""


@contextmanager
def no_collection() -> Iterator[None]:
    """Make many objects that stay, or none of which is part of a cycle: collections would only look at all of them."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def long_lived_objects() -> Iterator[None]:
    """Make objects that live as long as the process.

    While they are made, collections would find nothing and look at everything; afterwards they need not look at them
    again, and only seldom at others. For a process that serves, not for a library: what is alive at the end is never
    collected.
    """
    gc.disable()
    try:
        yield
        # Without a collection first: it would look at everything for a quarter of a restart's time, and find little.
        gc.freeze()
        gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])
    finally:
        gc.enable()

"""Garbage collection around a start: tens of thousands of records are made at once, and stay."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def long_lived_objects() -> Iterator[None]:
    """Make objects that live as long as the process.

    While they are made, collections would find nothing and look at everything; afterwards they need not look at them
    again. For a process that serves, not for a library: what is alive at the end is never collected.
    """
    gc.disable()
    try:
        yield
        gc.collect()
        gc.freeze()
    finally:
        gc.enable()

"""Opening the way to the owner of this node's resident data, beside what a task does first.

To find an actor and to reach it takes a new connection to Ray 10 ms, as long as a copy of 100 MB. Neither Ray nor
`pool.resident` is imported for it.
"""

from __future__ import annotations

import sys
import threading
from contextlib import suppress

from pool.inside import owner

BOUND_S = 5.0
"""So long it is waited for: a head that hangs is not to hold up who comes after."""

_begun: list[threading.Thread] = []


def greet() -> None:
    """Begin to look for the owner of the node that Ray is connected to, and to reach it, if there is one."""
    thread = threading.Thread(target=_look, name="warmpool-greet", daemon=True)
    _begun[:] = [thread]
    thread.start()


def greeted() -> None:
    """Wait until what was begun is over: to look beside it takes longer, and to leave Ray meanwhile is not safe."""
    for thread in [*_begun]:
        thread.join(BOUND_S)


def _look() -> None:
    ray = sys.modules["ray"]
    # Whoever needs it looks again, and is told what is wrong. Asked while it is not connected, Ray would connect.
    with suppress(Exception):
        if ray.is_initialized():
            name = owner.PREFIX + ray.get_runtime_context().get_node_id()
            ray.get_actor(name, owner.NAMESPACE).used.remote([])

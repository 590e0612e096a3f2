"""What is due, and when."""

from __future__ import annotations

import math

from pool.core.timers import Kind, Timers


def test_what_is_due_never_takes_no_place() -> None:
    timers = Timers()
    timers.arm(Kind.KEEP, "c-1", math.inf)
    assert len(timers) == 0
    assert timers.next_due() == math.inf
    assert timers.pop(1e18) is None


def test_an_earlier_promise_stands_whatever_is_promised_later() -> None:
    timers = Timers()
    for due in (20.0, 10.0, 15.0, math.inf):
        timers.arm(Kind.KEEP, "c-1", due)
    timers.arm(Kind.LEASE, "c-1", 12.0)
    assert timers.next_due() == 10.0
    assert [timers.pop(30.0) for _ in range(3)] == [(Kind.KEEP, "c-1"), (Kind.LEASE, "c-1"), None]

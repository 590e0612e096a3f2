"""What is due, and when."""

from __future__ import annotations

import math
import random

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


def test_what_is_due_comes_in_the_order_in_which_it_is_due_whenever_it_was_promised() -> None:
    rng, timers, now = random.Random(7), Timers(), 0.0
    promised: dict[tuple[Kind, str], float] = {}
    kinds = list(Kind)
    for _ in range(3_000):
        for _ in range(rng.randrange(4)):
            kind, id_ = rng.choice(kinds), f"c-{rng.randrange(40)}"
            due = now + rng.choice((0.0, rng.random(), 10.0 * rng.random(), 1e9))
            timers.arm(kind, id_, due)
            promised[kind, id_] = min(due, promised.get((kind, id_), math.inf))
        assert timers.next_due() == min(promised.values(), default=math.inf)
        assert len(timers) == len(promised)
        now += rng.random()
        while (what := timers.pop(now)) is not None:
            assert (promised[what], *what) == min((due, *other) for other, due in promised.items())
            assert promised.pop(what) <= now
        assert all(due > now for due in promised.values())

"""A core that is driven by hand, with observers: what metrics and journal are fed with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pool.config import build_rules, load_text
from pool.core.decide import decide, due_events
from pool.core.decisions import Decision, Reply
from pool.core.events import Acquire, Event, ResetDone, Started
from pool.core.key import ClusterKey, key_from
from pool.core.model import Mode
from pool.core.state import State

KEY = key_from({"image": "local", "tenant": "p/d"})
CONFIG = "pools: [{name: small, idle_ttl: 600, idle_jitter: 0, quarantine: 0, breaker_failures: 2}]"


class Core:
    """Decides events and shows every decision to the observers, as the daemon does after a commit."""

    def __init__(self, config: str = CONFIG, now: float = 1000.0) -> None:
        self.state = State(build_rules(load_text(config, "test"), {}))
        self.now = now
        self.observers: list[Callable[[Decision], None]] = []

    def __call__(self, event: Event | Any) -> Reply:
        decision = decide(self.state, event, self.now)
        for observer in self.observers:
            observer(decision)
        return decision.reply

    def after(self, seconds: float) -> None:
        """Let time pass, and what is due happen."""
        self.now += seconds
        for due in due_events(self.state, self.now):
            self(due)

    def acquire(
        self, lease: str, *, mode: Mode = Mode.WAIT_OR_CREATE, wait_s: float = 60, key: ClusterKey = KEY
    ) -> Reply:
        return self(
            Acquire(
                lease, "test", f"r-{lease}", key, holder=f"holder of {lease}", group="g", mode=mode,
                deadline=self.now + wait_s, seen_until=self.now + 600,
            )
        )  # fmt: skip

    def started(self, seq: int = 1, key: ClusterKey = KEY) -> None:
        self(Started(f"c-{key.digest}-{seq}", "boot", "127.0.0.1:1"))

    def reset(self, *, clean: bool = True, seq: int = 1) -> None:
        id_ = f"c-{KEY.digest}-{seq}"
        self(ResetDone(id_, self.state.clusters[id_].epoch, clean, "" if clean else "an actor is left"))

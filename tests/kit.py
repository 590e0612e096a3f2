"""A core to play with: a state, a time, and short words for what can happen. Every decision is checked."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, TypeVar

from policies.grant_order import MostRecentlyUsed
from policies.queue_order import PriorityWithAging
from policies.reclaim import FixedTTL
from policies.sizing import FloorAndBuffer
from pool.core.decide import Due, decide, due_events
from pool.core.decisions import Answer, Decision, Effect, Granted, Queued, Rejected, Reset
from pool.core.events import Acquire, Event, Release, Renew, ResetDone, Started, StartFailed, Stopped
from pool.core.key import ClusterKey, key_from
from pool.core.model import Cluster, ClusterState, Lease, Mode, Pool, Wear
from pool.core.reasons import Reason
from pool.core.settings import PoolSettings, Rules
from pool.core.state import State
from tests.invariants import Watch, check
from tests.simulation.loop import SimLoop

E = TypeVar("E", bound=Effect)

T0 = 1_000_000.0
"""When it begins."""


def make_key(cpu: float = 1, image: str = "image:1", tenant: str = "project/domain", **shape: Any) -> ClusterKey:
    """Return a key whose head has so many cpus."""
    return key_from({"image": image, "tenant": tenant, "shape": {"head": {"cpu": cpu}, **shape}})


KEY = make_key()


def make_settings(name: str = "default", **fields: Any) -> PoolSettings:
    """Return settings without jitter and without anything that the fields do not ask for."""
    policies: dict[str, Any] = {
        "grant_order": MostRecentlyUsed(),
        "queue_order": PriorityWithAging(),
        "sizing": FloorAndBuffer(),
        "reclaim": FixedTTL(ttl_s=600.0, jitter=0.0),
        "lifetime_jitter": 0.0,
    }
    return PoolSettings(name, **(policies | fields))


def make_rules(settings: dict[str, PoolSettings] | None = None, **fields: Any) -> Rules:
    """Return rules in which every key has the same settings (`fields` of `PoolSettings`), or one by its image.

    Fields of `Rules` (`daemon`, `tenant_ceiling`, `max_starting`, `floors`, `pinned`) are told apart by name.
    """
    own = {name: fields.pop(name) for name in list(fields) if name in Rules.__dataclass_fields__}
    default = make_settings(**fields)
    by_image = settings or {}
    return Rules(settings_for=lambda key: by_image.get(key.image, default), **({"max_starting": 10} | own))


class Core:
    """A state and a time.

    Attributes:
        effects: what was to be done, since the beginning.
    """

    def __init__(self, rules: Rules | None = None, **fields: Any) -> None:
        self.state = State(rules if rules is not None else make_rules(**fields), generation=1)
        self.now = T0
        self.effects: list[Effect] = []
        self.watch = Watch()
        self._ids = itertools.count(1)

    def decide(self, event: Event | Due) -> Decision:
        """Decide, and see that every invariant holds after it."""
        decision = decide(self.state, event, self.now)
        self.watch.decision(decision, self.state.rules)
        check(self.state, self.now)
        self.effects += decision.effects
        return decision

    def tell(self, event: Event | Due) -> Any:
        """Decide, and return the reply."""
        return self.decide(event).reply

    def go(self, seconds: float) -> None:
        """Let time pass; whatever becomes due happens at its time."""
        until = self.now + seconds
        while (due_at := self.state.timers.next_due()) <= until:
            self.now = max(self.now, due_at)
            for due in due_events(self.state, self.now):
                self.effects += self.watched(due).effects
            check(self.state, self.now)
        self.now = until

    def watched(self, event: Event | Due) -> Decision:
        """Decide in the middle of several that are due at once."""
        decision = decide(self.state, event, self.now)
        self.watch.decision(decision, self.state.rules)
        return decision

    # --- holders ---------------------------------------------------------------------------------------------------

    def ask(self, key: ClusterKey = KEY, *, wait_s: float = 1000.0, **fields: Any) -> Acquire:
        """Return an acquire with fresh ids."""
        n = next(self._ids)
        values: dict[str, Any] = {
            "lease_id": f"l-{n}",
            "caller": "test",
            "request_id": f"r-{n}",
            "holder": f"holder-{n}",
            "group": "",
            "mode": Mode.WAIT_OR_CREATE,
            "deadline": self.now + wait_s,
            "seen_until": self.now + wait_s,
        }
        return Acquire(key=key, **(values | fields))

    def acquire(self, key: ClusterKey = KEY, **fields: Any) -> Granted | Queued | Rejected:
        """Ask for a lease."""
        return self.tell(self.ask(key, **fields))

    def lease(self, key: ClusterKey = KEY, *, start_s: float = 0.0, **fields: Any) -> Lease:
        """Have a lease, active, on a cluster that is started if there is none."""
        reply = self.acquire(key, **fields)
        if isinstance(reply, Queued):
            waiter_id = reply.waiter.id
            self.go(start_s)
            for cluster in self.clusters(ClusterState.STARTING):
                self.start(cluster)
            answers = {e.lease_id: e.reply for e in self.all(Answer)}
            reply = answers[waiter_id]
        assert isinstance(reply, Granted), reply
        self.tell(Renew(reply.lease.id, reply.lease.epoch))
        return self.state.leases[reply.lease.id]

    def release(
        self, lease: Lease, *, clean: bool = True, full: bool = True, wear: Wear | None = None, **fields: Any
    ) -> Any:
        """Release a lease; its cluster is found clean. Not `full`: as far as the reset was asked to go."""
        reply = self.tell(Release(lease.id, lease.epoch, **fields))
        cluster = self.state.clusters[lease.cluster]
        if cluster.state is ClusterState.RESETTING:
            full = full or self.all(Reset)[-1].full
            self.tell(ResetDone(cluster.id, cluster.epoch, clean, "" if clean else "an actor is left", full, wear))
        return reply

    def reset_in_full(self, cluster_id: str) -> None:
        """The full reset of a cluster that was clean for its group alone ends well."""
        reset = self.all(Reset)[-1]
        assert (reset.cluster.id, reset.full) == (cluster_id, True)
        self.tell(ResetDone(cluster_id, reset.epoch, True))

    # --- the backend -----------------------------------------------------------------------------------------------

    def start(self, cluster: Cluster) -> None:
        """A cluster is ready."""
        self.tell(Started(cluster.id, f"boot-{cluster.id}", f"{cluster.id}:6379"))

    def start_fails(self, cluster: Cluster, detail: str = "no such image") -> None:
        """A start comes to nothing, and what was begun is removed."""
        self.tell(StartFailed(cluster.id, Reason.START_FAILED, detail))
        self.tell(Stopped(cluster.id))

    def idle(self, key: ClusterKey = KEY, **fields: Any) -> Cluster:
        """Have an idle cluster that was used once."""
        lease = self.lease(key, **fields)
        self.release(lease)
        return self.state.clusters[lease.cluster]

    # --- looking ---------------------------------------------------------------------------------------------------

    def clusters(self, *states: ClusterState) -> list[Cluster]:
        """Return the clusters in one of the states (all, if none is given)."""
        return [c for c in self.state.clusters.values() if not states or c.state in states]

    def pool(self, key: ClusterKey = KEY) -> Pool:
        """Return a key's pool."""
        return self.state.pools[key.digest]

    def all(self, kind: type[E]) -> list[E]:
        """Return the effects of a kind, since the beginning."""
        return [effect for effect in self.effects if isinstance(effect, kind)]

    def answer(self, waiter_id: str) -> Granted | Rejected | None:
        """Return what a waiter was told in the end."""
        return next((a.reply for a in self.all(Answer) if a.lease_id == waiter_id), None)


def in_virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an asynchronous test on a loop whose time is virtual: it waits for nothing."""

    @wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        loop = SimLoop()
        try:
            loop.run_until_complete(test(*args, **kwargs))
            left = asyncio.all_tasks(loop)
            assert not left, f"{left} still run"
        finally:
            loop.close()

    return run

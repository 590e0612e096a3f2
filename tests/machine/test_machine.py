"""A hypothesis state machine over the core: whatever happens, in whatever order, the invariants hold."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from policies.eviction import GreedyDual
from policies.grant_order import LatestToRetire, LeastRecentlyUsed, Locality, MostRecentlyUsed, SoonestToRetire
from policies.look_ahead import JustInTime
from policies.newsvendor import Newsvendor
from policies.next_use import NextUse
from policies.queue_order import EarliestDeadline, FairShare, PriorityWithAging
from policies.reclaim import FixedTTL, NeverKeep
from policies.sizing import FloorAndBuffer
from pool.core.decide import Due, decide, due_events
from pool.core.decisions import Decision, Effect, Grow, Reset, Shrink, Start, Stop
from pool.core.events import (
    Acquire,
    Cancel,
    Cordon,
    Degraded,
    Detached,
    Event,
    Listing,
    Lost,
    Paused,
    Prewarm,
    Progress,
    Reconfigure,
    Release,
    Renew,
    ResetDone,
    Resize,
    Revoke,
    Seen,
    ShrinkFailed,
    Shrunk,
    Shutdown,
    Started,
    StartFailed,
    StopFailed,
    Stopped,
    Undelivered,
)
from pool.core.key import Footprint
from pool.core.model import ClusterState, LeaseState, Mode
from pool.core.reasons import Reason
from pool.core.settings import Ceiling, Rules
from pool.core.state import State
from pool.store.base import Loaded
from pool.store.memory import MemoryState, MemoryStore
from tests.invariants import BY_RELEASE, Watch, check, same, view
from tests.kit import T0, make_key, make_rules, make_settings

SMALL, LARGE = make_key(1), make_key(3)
OTHER = make_key(1, image="other:1")
SHARED = make_key(1, image="shared:1")
FOREIGN = make_key(1, tenant="foreign/domain")
WORKERS = make_key(1, image="workers:1", workers=[{"name": "w", "cpu": 1, "replicas": 2}])
KEYS = [SMALL, LARGE, OTHER, SHARED, FOREIGN, WORKERS]
GROUPS = ["", "", "g1", "g2"]


def rules_of(number: int) -> Rules:
    """Return one of a few sets of rules: roomy, tight, and cold."""
    queue_order = (PriorityWithAging(), FairShare(), EarliestDeadline())[number]
    by_image = {
        "image:1": make_settings(
            "image", serve_larger=True, hold_s=20, locality_wait_s=3, reclaim=FixedTTL(60, 0), quarantine_s=30 * number,
            sizing=Newsvendor(break_even_s=3_600.0, half_life_s=300.0), look_ahead=JustInTime(break_even_s=3_600.0),
            grant_order=Locality() if number else MostRecentlyUsed(), queue_order=queue_order,
        ),
        "other:1": make_settings(
            "other", sizing=FloorAndBuffer(buffer=1), max_uses=2, max_lifetime_s=200, ceiling=Ceiling(clusters=2),
            grant_order=SoonestToRetire() if number else LatestToRetire(), queue_order=queue_order,
        ),
        "shared:1": make_settings(
            "shared", max_leases_per_cluster=3 - number, max_lease_s=100, grant_order=LeastRecentlyUsed(),
            reclaim=NeverKeep() if number == 2 else FixedTTL(30, 0), locality_wait_s=2, queue_order=queue_order,
            prewarm=NextUse(break_even_s=3_600.0), look_ahead=JustInTime(break_even_s=3_600.0),
        ),
        "workers:1": make_settings(
            "workers", reclaim=FixedTTL(120, 0, 15), sizing=FloorAndBuffer(buffer=number % 2), max_lifetime_s=150,
            ceiling=Ceiling(milli_cpu=5000), queue_order=queue_order,
        ),
    }  # fmt: skip
    return make_rules(
        by_image,
        daemon=Ceiling(clusters=6 - 2 * number, milli_cpu=10_000),
        tenant_ceiling=lambda tenant: Ceiling(clusters=5 - number, milli_cpu=7_000),
        max_starting=3 - number,
        eviction=GreedyDual() if number == 1 else None,
    )


class PoolMachine(RuleBasedStateMachine):
    """The core, a disk that keeps what is durable, and effects that wait for somebody to carry them out."""

    @initialize(number=st.integers(0, 2))
    def begin(self, number: int) -> None:
        self.now = T0
        self.rules = rules_of(number)
        self.state = State(self.rules, generation=1)
        self.disk = MemoryState(generation=1)
        self.opened_at = T0
        self.watch = Watch()
        self.pending: list[Effect] = []
        self.asked = 0
        self.asks: list[Acquire] = []

    # --- machinery -------------------------------------------------------------------------------------------------

    def tell(self, event: Event | Due) -> Decision:
        """Decide, undo, and decide again: an undo leaves no trace."""
        before = view_of(self.state)
        decision = decide(self.state, event, self.now)
        if not isinstance(event, Reconfigure | Shutdown):
            self.state.revert(decision.changes)
            same(before, view_of(self.state), f"undoing {event!r} left a trace")
            decision = decide(self.state, event, self.now)
        self.watch.decision(decision, self.state.rules)
        store = MemoryStore(self.disk)
        store._generation = self.disk.generation
        run_now(store.commit(decision.changes))
        self.pending += [e for e in decision.effects if isinstance(e, Start | Stop | Reset | Shrink | Grow)]
        return decision

    @invariant()
    def everything_holds(self) -> None:
        if hasattr(self, "state"):
            check(self.state, self.now)

    # --- holders ---------------------------------------------------------------------------------------------------

    @rule(
        key=st.sampled_from(KEYS), group=st.sampled_from(GROUPS), mode=st.sampled_from(Mode),
        priority=st.integers(0, 2), wait_s=st.sampled_from([1.0, 30.0, 500.0]),
        hold_s=st.sampled_from([None, 0.0, 40.0]),
    )  # fmt: skip
    def acquire(self, key, group, mode, priority, wait_s, hold_s) -> None:
        self.asked += 1
        n = self.asked
        until = self.now + wait_s
        ask = Acquire(f"l-{n}", "test", f"r-{n}", key, f"h-{n}", group, mode, until, until, priority, None, hold_s)
        self.asks.append(ask)
        self.tell(ask)

    @precondition(lambda self: self.asks)
    @rule(data=st.data())
    def ask_again(self, data) -> None:
        self.asked += 1
        ask = data.draw(st.sampled_from(self.asks[-8:]))
        self.tell(ask._replace(lease_id=f"l-{self.asked}"))

    @precondition(lambda self: self.state.leases)
    @rule(data=st.data(), off=st.sampled_from([0, 0, 0, -1, 1]))
    def renew(self, data, off) -> None:
        lease = self.state.leases[data.draw(st.sampled_from(list(self.state.leases)))]
        reply = self.tell(Renew(lease.id, lease.epoch + off)).reply
        if off:
            assert reply.reason is Reason.STALE_EPOCH
            assert self.state.leases[lease.id] == lease

    @precondition(lambda self: self.state.leases)
    @rule(data=st.data(), off=st.sampled_from([0, 0, 0, 1]), hold_s=st.sampled_from([None, 30.0]))
    def release(self, data, off, hold_s) -> None:
        lease = self.state.leases[data.draw(st.sampled_from(list(self.state.leases)))]
        reply = self.tell(Release(lease.id, lease.epoch + off, hold_s)).reply
        assert (lease.id in self.state.leases) == bool(off), reply

    @precondition(lambda self: self.state.waiters or self.state.leases)
    @rule(data=st.data(), kind=st.sampled_from(["cancel", "detached", "undelivered", "revoke"]))
    def leave(self, data, kind) -> None:
        id_ = data.draw(st.sampled_from([*self.state.waiters, *self.state.leases]))
        lease = self.state.leases.get(id_)
        if kind == "cancel":
            self.tell(Cancel(id_))
        elif kind == "detached":
            self.tell(Detached(id_, self.now + 2))
        elif kind == "revoke":
            self.tell(Revoke(id_))
        elif lease is not None:
            self.tell(Undelivered(id_, lease.epoch))

    # --- operators -------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.state.pools)
    @rule(data=st.data(), on=st.booleans(), drain=st.sampled_from([False, False, True]))
    def cordon(self, data, on, drain) -> None:
        target = data.draw(st.sampled_from([*self.state.pools, *self.state.clusters]))
        self.tell(Cordon(target, on or drain, drain))

    @rule(key=st.sampled_from(KEYS), count=st.integers(0, 3))
    def prewarm(self, key, count) -> None:
        self.tell(Prewarm(key, count))

    @precondition(lambda self: self.state.pools)
    @rule(data=st.data(), least=st.sampled_from([None, 0, 1]), most=st.sampled_from([None, 1, 3]))
    def resize(self, data, least, most) -> None:
        self.tell(Resize(data.draw(st.sampled_from(list(self.state.pools))), least, most))

    @rule(number=st.integers(0, 2))
    def reconfigure(self, number) -> None:
        self.rules = rules_of(number)
        self.tell(Reconfigure(self.rules))

    # --- the backend -----------------------------------------------------------------------------------------------

    @precondition(lambda self: self.pending)
    @rule(data=st.data(), well=st.sampled_from([True, True, True, False]), left=st.integers(0, 2))
    def carry_out(self, data, well, left) -> None:
        effect = self.pending.pop(data.draw(st.integers(0, len(self.pending) - 1)))
        if isinstance(effect, Start):
            id_ = effect.cluster.id
            self.tell(Progress(id_, "starting head"))
            self.tell(Started(id_, f"boot-{id_}", "x:1") if well else StartFailed(id_, Reason.START_FAILED, "no image"))
        elif isinstance(effect, Grow):
            id_ = effect.cluster.id
            reason = [Reason.START_FAILED, Reason.NO_CAPACITY, Reason.START_FAILED][left]
            self.tell(Progress(id_, "workers 0 of 2"))
            self.tell(Started(id_, f"boot-{id_}", "x:1") if well else StartFailed(id_, reason, "no node"))
        elif isinstance(effect, Shrink):
            id_ = effect.cluster.id
            self.tell(Shrunk(id_, (("w", left),), "they hold objects") if well else ShrinkFailed(id_, "no answer"))
        elif isinstance(effect, Reset):
            self.tell(ResetDone(effect.cluster.id, effect.epoch, well, "" if well else "an actor", effect.full))
        else:
            self.tell(Stopped(effect.cluster_id) if well else StopFailed(effect.cluster_id, "busy"))

    @precondition(lambda self: self.state.clusters)
    @rule(data=st.data(), boot=st.sampled_from(["", "same", "older"]))
    def lose(self, data, boot) -> None:
        cluster = self.state.clusters[data.draw(st.sampled_from(list(self.state.clusters)))]
        boot_id = {"": "", "same": cluster.boot_id, "older": "boot-older"}[boot]
        self.tell(Lost(cluster.id, boot_id, Reason.PROCESS_GONE, "the head died"))

    @precondition(lambda self: self.state.clusters)
    @rule(
        data=st.data(),
        detail=st.sampled_from(["0 of 1 workers run", ""]),
        lasting=st.sampled_from([False] * 5 + [True]),
    )
    def degrade(self, data, detail, lasting) -> None:
        cluster = self.state.clusters[data.draw(st.sampled_from(list(self.state.clusters)))]
        self.tell(Degraded(cluster.id, cluster.boot_id, detail, lasting))

    @rule(data=st.data(), complete=st.booleans(), orphan=st.booleans(), age=st.sampled_from([0.0, 5.0]))
    def list_the_backend(self, data, complete, orphan, age) -> None:
        ids = list(self.state.clusters)
        seen = [] if not ids else data.draw(st.lists(st.sampled_from(ids), unique=True))
        busy = [] if not ids else data.draw(st.lists(st.sampled_from(ids), unique=True, max_size=2))
        boots = {id_: self.state.clusters[id_].boot_id for id_ in seen}
        if seen and data.draw(st.sampled_from([False, False, True])):
            boots[seen[0]] = "boot-other"
        ours = [Seen(id_, boot) for id_, boot in boots.items()]
        extra = [Seen("c-unknown-1", "boot-x")] if orphan else []
        self.tell(Listing(self.now - age, complete, (*ours, *extra), frozenset(busy)))

    # --- time ------------------------------------------------------------------------------------------------------

    @rule(seconds=st.sampled_from([0.1, 1.0, 5.0, 20.0, 70.0, 400.0]))
    def time_passes(self, seconds) -> None:
        until = self.now + seconds
        for _ in range(10_000):
            due_at = self.state.timers.next_due()
            if due_at > until:
                break
            self.now = max(self.now, due_at)
            for due in due_events(self.state, self.now):
                self.tell(due)
        else:
            raise AssertionError("the timers do not come to rest")
        self.now = until

    @rule(gap_s=st.sampled_from([6.0, 100.0]))
    def the_machine_sleeps(self, gap_s) -> None:
        self.now += gap_s
        self.tell(Paused(gap_s))

    @rule()
    def everything_is_shut_down(self) -> None:
        if self.asked % 7 == 6:  # rarely, or nothing else would be seen
            self.tell(Shutdown())
            assert not self.state.leases
            assert not self.state.waiters
            self.restart()

    @rule()
    def restart(self) -> None:
        """Lose the memory: only what is durable is left, and every effect under way is lost."""
        before = self.state
        loaded: Loaded = run_now(MemoryStore(self.disk).open(self.now))
        self.state = loaded.state(self.rules, self.now)
        self.pending.clear()
        same_but_for_memory(before, self.state)
        self.watch = Watch(answered=self.watch.answered, tainted=self.watch.tainted)
        for records in (loaded.pools, loaded.clusters, loaded.leases, loaded.waiters, loaded.ended):
            self.watch.load(records)
        present = [Seen(c.id, c.boot_id) for c in self.state.clusters.values()]
        self.tell(Listing(self.now, True, tuple(present)))
        self.tell(Reconfigure(self.rules))

    def teardown(self) -> None:
        """Whatever happened: healthy again, everything comes to rest."""
        if not hasattr(self, "state"):
            return
        for pool in list(self.state.pools):
            self.tell(Cordon(pool, on=False))
            self.tell(Resize(pool, min_idle=0))
        for _ in range(200):
            while self.pending:
                self.carry_out_well()
            if not (self.state.clusters or self.state.waiters or self.state.leases):
                break
            self.time_passes(61.0)
            self.tell(Listing(self.now, True, tuple(Seen(c.id, c.boot_id) for c in self.state.clusters.values())))
        check(self.state, self.now)
        assert not self.state.leases
        assert not self.state.waiters
        assert self.state.usage == Footprint(), self.state
        ended = [lease for lease in self.disk.leases.values() if lease.state is LeaseState.ENDED]
        assert len(ended) == len(self.disk.leases)
        assert {lease.cluster for lease in ended if lease.end_reason not in BY_RELEASE} <= self.watch.tainted

    def carry_out_well(self) -> None:
        """Carry out the oldest effect, without a fault."""
        effect = self.pending.pop(0)
        if isinstance(effect, Start | Grow):
            self.tell(Started(effect.cluster.id, f"boot-{effect.cluster.id}", "x:1"))
        elif isinstance(effect, Shrink):
            self.tell(Shrunk(effect.cluster.id))
        elif isinstance(effect, Reset):
            self.tell(ResetDone(effect.cluster.id, effect.epoch, True, full=effect.full))
        else:
            self.tell(Stopped(effect.cluster_id))


def view_of(state: State) -> dict[str, object]:
    """Return a view that later changes do not alter."""
    return {name: dict(value) if isinstance(value, dict) else value for name, value in view(state).items()}


def run_now(coroutine):
    """Run a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits")


def same_but_for_memory(before: State, after: State) -> None:
    """Assert that a restart forgets only what lives in memory: renewals, phases, times of asking."""
    assert before.pools == after.pools
    assert set(before.clusters) == set(after.clusters)
    assert set(before.leases) == set(after.leases)
    assert set(before.waiters) == set(after.waiters)
    for id_, cluster in before.clusters.items():
        known = after.clusters[id_]
        if (cluster.state, known.state) == (ClusterState.IDLE, ClusterState.RESETTING):
            # A clean reset is not committed by itself: after a restart it is done once more.
            cluster = cluster._replace(state=known.state)
        assert (cluster.state, cluster.epoch, cluster.leases, cluster.doom) == (
            known.state, known.epoch, known.leases, known.doom,
        )  # fmt: skip


PoolMachine.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestTheCoreKeepsItsInvariants = PoolMachine.TestCase

"""What a workflow will ask for, and what comes again and again, is ready just in time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from policies.look_ahead import JustInTime
from policies.newsvendor import Newsvendor
from policies.next_use import NextUse
from policies.reclaim import FixedTTL
from policies.sizing import FloorAndBuffer
from pool.core import idling, snapshot
from pool.core.decide import due_events
from pool.core.events import GroupEnded, Prewarm, Reconfigure, Started, Stopped
from pool.core.key import ClusterKey
from pool.core.model import Cluster, ClusterState, Lease
from pool.core.reasons import Reason
from pool.core.recover import restore
from pool.core.settings import Ceiling
from tests.kit import Core, make_key

FIRST, SECOND, THIRD = make_key(1), make_key(2), make_key(4)
STEPS = ((FIRST,), (SECOND, SECOND), (THIRD,))
START_S = 50.0
AHEAD = JustInTime(break_even_s=7_200.0)


class Live(Core):
    """A core whose clusters start, are reset and stop by themselves, each start in `START_S`."""

    def go(self, seconds: float) -> None:
        """Let time pass, and what starts be ready in it."""
        until = self.now + seconds
        while True:
            ready = [(c.created_at + START_S, c.id) for c in self.clusters(ClusterState.STARTING)]
            at = min([self.state.timers.next_due(), *(max(self.now, when) for when, _ in ready)])
            if at > until:
                break
            self.now = max(self.now, at)
            for when, id_ in ready:
                if when <= self.now:
                    self.tell(Started(id_, f"boot-{id_}", f"{id_}:6379"))
            for due in due_events(self.state, self.now):
                self.effects += self.watched(due).effects
            for cluster in self.clusters(ClusterState.STOPPING):
                self.tell(Stopped(cluster.id))
        self.now = until

    def have(self, key: ClusterKey, group: str) -> Lease:
        """Have a lease for a group, waiting as long as it takes."""
        ask = self.ask(key, group=group, wait_s=1e6)
        self.tell(ask)
        while ask.lease_id not in self.state.leases:
            self.go(1.0)
        return self.state.leases[ask.lease_id]

    def execute(self, group: str, *, takes_s: float = 200.0) -> list[Lease]:
        """Have a workflow run; return its leases as they were granted."""
        out: list[Lease] = []
        for step in STEPS:
            asks = [self.ask(key, group=group, wait_s=1e6) for key in step]
            for ask in asks:
                self.tell(ask)
            while not all(ask.lease_id in self.state.leases for ask in asks):
                self.go(1.0)
            leases = [self.state.leases[ask.lease_id] for ask in asks]
            self.go(takes_s)
            for lease in leases:
                self.release(lease)
            out += leases
            self.go(2.0)
        return out


def live(**fields: object) -> Live:
    kept = {"look_ahead": AHEAD, "reclaim": FixedTTL(0.0, 0.0), "group_rest_s": 0.0, "locality_wait_s": 0.0}
    core = Live(**{**kept, "start_timeout_s": 1e6, "lease_ttl_s": 1e7, "pickup_s": 1e7, **fields})  # type: ignore[arg-type]
    return core


def seen(core: Live, times: int = 3) -> Live:
    """Have a workflow run so often."""
    for n in range(times):
        core.execute(f"seen-{n}")
        core.go(5_000.0)
    return core


def of(core: Core, key: ClusterKey, *states: ClusterState) -> list[Cluster]:
    return [cluster for cluster in core.clusters(*states) if cluster.pool == key.digest]


def test_a_workflow_that_was_seen_waits_for_its_first_cluster_alone() -> None:
    core = live()
    assert [lease.miss is None for lease in core.execute("x-1")] == [False, False, False, False]
    core.go(5_000.0)
    assert not core.clusters(), "nothing is kept, and nothing expected"
    leases = core.execute("x-2")
    assert [lease.miss is None for lease in leases] == [False, True, True, True]
    causes = [str(core.state.clusters[lease.cluster].cause) for lease in leases if lease.cluster in core.state.clusters]
    assert set(causes) <= {"look_ahead"}


def test_a_cluster_is_ready_just_before_it_is_asked_for() -> None:
    core = seen(live(), 10)
    begins = core.now
    lease = core.have(FIRST, "now")
    granted = core.now
    core.go(50.0)
    assert not of(core, SECOND), "not yet"
    core.go(145.0)
    ready = of(core, SECOND, ClusterState.IDLE)
    assert [cluster.cause for cluster in ready] == [Reason.LOOK_AHEAD] * 2
    assert all(granted + 100.0 < (cluster.ready_at or 0.0) < granted + 202.0 for cluster in ready)
    assert lease.asked_at == begins


def test_what_is_expected_is_not_reclaimed_and_then_it_is_an_ordinary_idle_cluster() -> None:
    core = seen(live())
    core.have(FIRST, "now")
    core.go(200.0)
    assert len(of(core, SECOND, ClusterState.IDLE)) == 2
    core.go(3_600.0)
    assert of(core, SECOND) == [], "nobody came"


def test_steps_shorter_than_a_start_are_looked_beyond() -> None:
    core = live()
    for n in range(3):
        core.execute(f"seen-{n}", takes_s=20.0)
        core.go(5_000.0)
    leases = core.execute("now", takes_s=20.0)
    assert leases[-1].miss is None, "it was begun two steps before"


def test_two_workflows_get_two_sets_of_clusters() -> None:
    core = seen(live())
    one, two = core.have(FIRST, "one"), core.have(FIRST, "two")
    core.go(200.0)
    assert len(of(core, SECOND, ClusterState.IDLE)) == 4
    core.release(one)
    core.release(two)
    core.go(2.0)
    leases = [core.have(SECOND, group) for group in ("one", "one", "two", "two")]
    assert [lease.miss for lease in leases] == [None] * 4


def test_a_cluster_that_somebody_else_takes_is_replaced() -> None:
    core = seen(live())
    core.have(FIRST, "now")
    core.go(200.0)
    taken = core.have(SECOND, "")
    assert taken.miss is None
    assert len(of(core, SECOND, ClusterState.STARTING)) == 1
    assert of(core, SECOND, ClusterState.STARTING)[0].cause is Reason.LOOK_AHEAD


def test_what_the_group_has_itself_comes_back_to_it_and_is_kept_until_then() -> None:
    steps = ((FIRST,), (FIRST,), (FIRST,))
    core = live()
    for n in range(3):
        started = core.pool(FIRST).next_seq if n else 1
        for _ in steps:
            lease = core.have(FIRST, f"x-{n}")
            core.go(200.0)
            core.release(lease)
            core.go(2.0)
        core.go(5_000.0)
    assert core.pool(FIRST).next_seq - started == 1, "one start for all three steps"


def test_a_held_cluster_counts_for_its_group() -> None:
    core = live()
    for n in range(3):
        for key in (FIRST, FIRST):
            lease = core.have(key, f"x-{n}")
            core.go(200.0)
            core.release(lease, hold_s=60.0)
            core.go(2.0)
        core.go(5_000.0)
    core.release(core.have(FIRST, "now"), hold_s=60.0)
    core.go(1.0)
    assert len(of(core, FIRST)) == 1


def test_a_group_that_has_ended_is_waited_for_no_more() -> None:
    core = seen(live())
    core.have(FIRST, "now")
    core.go(200.0)
    assert len(of(core, SECOND, ClusterState.IDLE)) == 2
    core.tell(GroupEnded(FIRST.tenant, "now"))
    core.go(61.0)
    assert of(core, SECOND) == []


def test_what_is_ready_for_a_workflow_takes_nothing_of_what_stands_for_others() -> None:
    core = seen(live(sizing=Newsvendor(break_even_s=1e9)), 5)
    loads = {key.digest: core.state.index[key.digest].load for key in (FIRST, SECOND)}
    first, second = loads[FIRST.digest], loads[SECOND.digest]
    assert first is not None
    assert second is not None
    assert first.exceeds(core.now, START_S)[0] > second.exceeds(core.now, START_S)[0]
    assert second.in_use(core.now) > first.in_use(core.now)


def bursts(core: Live, key: ClusterKey) -> float:
    """Return how often somebody asked for a pool, or several did at once, whom nobody had foreseen."""
    load = core.state.index[key.digest].load
    assert load is not None
    return load.bursts(core.now)


def overlapping(core: Live, group: str) -> list[Lease]:
    """Have two tasks follow one that still runs; return their leases."""
    lease = core.have(FIRST, group)
    core.go(2_000.0)
    follow = [core.have(SECOND, group) for _ in range(2)]
    core.go(100.0)
    for one in (lease, *follow):
        core.release(one)
    core.go(5_000.0)
    return follow


def reserved() -> Live:
    """Return a core that knows such workflows, and has three idle clusters for strangers who come three at once."""
    core = live(sizing=Newsvendor(break_even_s=4e3), look_ahead=JustInTime())
    for n in range(24):
        asks = [core.ask(SECOND, group=f"stranger-{n}-{k}", wait_s=1e6) for k in range(3)]
        for ask in asks:
            core.tell(ask)
        core.go(100.0)
        for ask in asks:
            core.release(core.state.leases[ask.lease_id])
        core.go(900.0)
        if n > 20:
            overlapping(core, f"seen-{n}")
    assert len(of(core, SECOND, ClusterState.IDLE)) == 3
    return core


def test_what_the_reserve_will_answer_is_not_made_ready() -> None:
    core = reserved()
    core.have(FIRST, "now")
    core.go(2_000.0)
    assert len(of(core, SECOND)) == 3
    assert [core.have(SECOND, "now").miss for _ in range(2)] == [None, None]


def test_what_a_step_asks_for_beyond_the_reserve_is_made_ready() -> None:
    core = live(sizing=Newsvendor(break_even_s=1e4), look_ahead=JustInTime(break_even_s=1e5))
    for n in range(5):
        core.execute(f"seen-{n}")
        core.go(5_000.0)
    core.go(30_000.0)
    standing = len(of(core, SECOND, ClusterState.IDLE))
    assert standing < len(STEPS[1])
    core.have(FIRST, "now")
    core.go(200.0)
    assert len(of(core, SECOND, ClusterState.IDLE)) == len(STEPS[1])


def test_what_is_left_to_the_reserve_is_no_reason_for_a_larger_one() -> None:
    core = reserved()
    before = {key: bursts(core, key) for key in (FIRST, SECOND)}
    assert [lease.miss for lease in overlapping(core, "now")] == [None, None]
    assert bursts(core, SECOND) < before[SECOND], "none was added, and old ones count less"
    assert bursts(core, FIRST) > before[FIRST]


def test_what_comes_sooner_than_a_start_is_for_the_reserve_to_have() -> None:
    core = live(sizing=Newsvendor(break_even_s=1e6), look_ahead=JustInTime())
    for n in range(5):
        core.execute(f"seen-{n}", takes_s=START_S / 4)
        core.go(5_000.0)
    before = bursts(core, SECOND)
    core.execute("now", takes_s=START_S / 4)
    assert bursts(core, SECOND) > before


def test_what_comes_back_sooner_than_a_start_takes_is_not_one_more_than_the_reserve() -> None:
    """Who takes one and soon after three has had one of the reserve back, and no replacement of it yet."""
    core = live(sizing=Newsvendor(break_even_s=2e4), look_ahead=JustInTime())

    def widening(group: str) -> list[Lease]:
        core.release(core.have(FIRST, group))
        core.go(START_S / 4)
        asks = [core.ask(FIRST, group=group, wait_s=1e6) for _ in range(3)]
        for ask in asks:
            core.tell(ask)
        core.go(200.0)
        leases = [core.state.leases[ask.lease_id] for ask in asks]
        for lease in leases:
            core.release(lease)
        core.go(5_000.0)
        return leases

    for n in range(6):
        widening(f"seen-{n}")
    assert [lease.miss for lease in widening("now")] == [None, None, None]


def test_the_reserve_that_a_step_finds_is_that_of_larger_pools_too() -> None:
    core = live(sizing=Newsvendor(break_even_s=1e6), serve_larger=True)
    for n in range(4):
        core.have(THIRD, f"x-{n}")
        core.have(FIRST, f"y-{n}")
        core.go(5_000.0)
    small, large = (idling.reserve_of(core.state, key.digest, core.now) for key in (FIRST, THIRD))
    assert small is not None
    assert large is not None
    assert small.clusters >= large.clusters > 0
    assert small.price_s == 1e6
    chances = [small.finds(nth, begun=False).lacks for nth in range(1, small.clusters + 2)]
    assert chances == sorted(chances)
    assert chances[-1] == 1.0 > chances[-2]


def test_with_other_settings_a_step_finds_another_reserve_at_once() -> None:
    core = reserved()
    before = idling.reserve_of(core.state, SECOND.digest, core.now)
    rules, dear = core.state.rules, Newsvendor(break_even_s=1e6)
    core.tell(Reconfigure(replace(rules, settings_for=lambda key: replace(rules.settings_for(key), sizing=dear))))
    after = idling.reserve_of(core.state, SECOND.digest, core.now)
    assert before is not None
    assert after is not None
    assert (before.price_s, after.price_s) == (4e3, 1e6)


@pytest.mark.parametrize("ceiling", ["pool", "daemon"])
def test_a_ceiling_holds_for_what_is_expected(ceiling: str) -> None:
    core = seen(live())
    rules = core.state.rules
    was = rules.settings_for
    if ceiling == "pool":
        core.state.set_rules(replace(rules, settings_for=lambda key: replace(was(key), ceiling=Ceiling(clusters=1))))
    else:
        core.state.set_rules(replace(rules, daemon=Ceiling(clusters=2)))
    core.have(FIRST, "now")
    core.go(200.0)
    assert len(of(core, SECOND)) == 1


def test_a_breaker_holds_for_what_is_expected() -> None:
    core = seen(live(breaker_failures=1, breaker_open_s=10_000.0))
    core.tell(Prewarm(SECOND, 1))
    core.start_fails(of(core, SECOND, ClusterState.STARTING)[0])
    core.have(FIRST, "now")
    core.go(200.0)
    assert of(core, SECOND) == []


def test_a_start_says_whether_an_operator_or_demand_wanted_it() -> None:
    core = live(sizing=Newsvendor(break_even_s=1e6), look_ahead=None)
    core.tell(Prewarm(SECOND, 1))
    for n in range(3):
        core.execute(f"x-{n}")
        core.go(2_000.0)
    causes = {str(cluster.cause) for cluster in of(core, SECOND)}
    assert causes == {"demand"}
    core = live(sizing=FloorAndBuffer(min_idle=1))
    core.release(core.have(FIRST, "x"))
    core.go(100.0)
    assert [cluster.cause for cluster in of(core, FIRST)] == [Reason.FLOOR]


def test_a_floor_stands_beside_what_is_expected() -> None:
    core = seen(live(sizing=FloorAndBuffer(min_idle=1)))
    core.have(FIRST, "now")
    core.go(200.0)
    assert len(of(core, SECOND, ClusterState.IDLE)) == 3


# --- a restart


def restarted(core: Live, rows: dict[str, str], ended: list[Lease]) -> None:
    state = core.state
    core.state = restore(
        state.rules, core.now, generation=2, pools=state.pools.values(), clusters=state.clusters.values(),
        leases=state.leases.values(), waiters=state.waiters.values(), ended=ended, learned=rows,
        starts=[(digest, START_S) for digest in state.pools],
    )  # fmt: skip


def rows_of(core: Live) -> dict[str, str]:
    return {name: row for name, row in snapshot.changed(core.state, core.now, 10_000).items() if row is not None}


@pytest.mark.parametrize("told_by", ["snapshot", "history", "both"])
def test_what_was_learned_survives_a_restart_in_the_middle_of_a_workflow(told_by: str) -> None:
    core = seen(live())
    core.have(FIRST, "before")
    rows = rows_of(core) if told_by != "history" else {}
    core.have(FIRST, "now")
    core.go(100.0)
    ended = list(core.state.ended.values()) if told_by != "snapshot" else []
    places = {name: place.steps for known in core.state.workflows.places.values() for name, place in known.items()}
    restarted(core, rows, ended)
    again = {name: place.steps for known in core.state.workflows.places.values() for name, place in known.items()}
    assert again == {
        name: {step: pytest.approx(weight, rel=1e-5) for step, weight in steps.items()}
        for name, steps in places.items()
    }, "each is learned once"
    core.go(100.0)
    assert len(of(core, SECOND, ClusterState.IDLE)) == 4, "two for each of the two that are under way"


def test_a_restart_knows_the_demand_that_history_tells() -> None:
    core = seen(live(look_ahead=None, sizing=Newsvendor(break_even_s=1e6)), 3)
    before = core.state.index[SECOND.digest].load
    restarted(core, {}, list(core.state.ended.values()))
    after = core.state.index[SECOND.digest].load
    assert before is not None
    assert after is not None
    # How busy times usually are was known at other moments.
    assert list(after.exceeds(core.now, START_S)) == pytest.approx(list(before.exceeds(core.now, START_S)), rel=0.25)


# --- the rhythm of a pool


def hourly(core: Live, times: int) -> None:
    for _ in range(times):
        begins = core.now
        lease = core.have(FIRST, "")
        core.go(100.0)
        core.release(lease)
        core.go(begins + 3_600.0 - core.now)


def test_what_comes_every_hour_finds_a_cluster_that_was_made_ready_for_it() -> None:
    core = live(look_ahead=None, prewarm=NextUse(break_even_s=3_000.0))
    hourly(core, 6)
    assert [cluster.cause for cluster in of(core, FIRST, ClusterState.IDLE)] == [Reason.FORECAST]
    lease = core.have(FIRST, "")
    assert lease.miss is None
    (cluster,) = of(core, FIRST)
    assert 0.0 < core.now - (cluster.ready_at or 0.0) < 200.0


def test_what_no_longer_comes_is_let_go_and_expected_no_more() -> None:
    core = live(look_ahead=None, prewarm=NextUse(break_even_s=3_000.0))
    hourly(core, 6)
    core.go(1_800.0)
    assert of(core, FIRST) == []
    core.go(100_000.0)
    assert of(core, FIRST) == []


def test_a_restart_knows_when_a_pool_is_used_next() -> None:
    core = live(look_ahead=None, prewarm=NextUse(break_even_s=3_000.0))
    hourly(core, 6)
    lease = core.have(FIRST, "")
    core.go(100.0)
    core.release(lease)
    core.go(100.0)
    uses = list(core.state.index[FIRST.digest].uses.seen)
    restarted(core, rows_of(core), list(core.state.ended.values()))
    assert list(core.state.index[FIRST.digest].uses.seen) == uses
    core.go(3_395.0)
    assert [cluster.cause for cluster in of(core, FIRST, ClusterState.IDLE)] == [Reason.FORECAST]


def test_what_was_expected_is_expected_no_more_where_other_settings_do_not_look_ahead() -> None:
    core = seen(live(), 10)
    core.release(core.have(FIRST, "now"))
    assert core.state.index[SECOND.digest].expected.wishes
    rules = core.state.rules
    core.tell(Reconfigure(replace(rules, settings_for=lambda key: replace(rules.settings_for(key), look_ahead=None))))
    assert not any(index.expected.wishes for index in core.state.index.values())
    core.go(5_000.0)
    assert not of(core, SECOND)

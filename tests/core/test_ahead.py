"""What a workflow will ask for is ready just in time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from policies.newsvendor import Newsvendor
from policies.sizing import FloorAndBuffer
from pool.core.events import GroupEnded, Prewarm, Reconfigure
from pool.core.model import ClusterState
from pool.core.reasons import Reason
from pool.core.settings import Ceiling
from tests.flows import FIRST, SECOND, START_S, live, of, restarted, rows_of, seen


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


def test_a_floor_stands_beside_what_is_expected() -> None:
    core = seen(live(sizing=FloorAndBuffer(min_idle=1)))
    core.have(FIRST, "now")
    core.go(200.0)
    assert len(of(core, SECOND, ClusterState.IDLE)) == 3


# --- a restart


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


def test_what_was_expected_is_expected_no_more_where_other_settings_do_not_look_ahead() -> None:
    core = seen(live(), 10)
    core.release(core.have(FIRST, "now"))
    assert core.state.index[SECOND.digest].expected.wishes
    rules = core.state.rules
    core.tell(Reconfigure(replace(rules, settings_for=lambda key: replace(rules.settings_for(key), look_ahead=None))))
    assert not any(index.expected.wishes for index in core.state.index.values())
    core.go(5_000.0)
    assert not of(core, SECOND)

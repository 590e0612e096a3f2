"""A workflow's next step finds what stands ready for anybody, and only what that may lack is made ready for it."""

from __future__ import annotations

from dataclasses import replace

from policies.look_ahead import JustInTime
from policies.newsvendor import Newsvendor
from policies.sizing import FloorAndBuffer
from pool.core import idling
from pool.core.events import Prewarm, Reconfigure
from pool.core.model import ClusterState, Lease
from pool.core.reasons import Reason
from tests.flows import FIRST, SECOND, START_S, STEPS, THIRD, Live, live, of


def overlapping(core: Live, group: str) -> None:
    """Have two tasks follow one that still runs."""
    lease = core.have(FIRST, group)
    core.go(2_000.0)
    follow = [core.have(SECOND, group) for _ in range(2)]
    core.go(100.0)
    for one in (lease, *follow):
        core.release(one)
    core.go(5_000.0)


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


def test_what_is_left_to_the_reserve_is_no_surprise_for_which_to_have_a_larger_one() -> None:
    core = reserved()
    first = core.have(FIRST, "now")
    core.go(2_000.0)
    follow = [core.have(SECOND, "now") for _ in range(2)]
    stranger = core.have(SECOND, "other")
    assert {lease.id for lease in (first, *follow, stranger)} & core.state.foreseen == {lease.id for lease in follow}


def test_what_comes_sooner_than_a_start_is_for_the_reserve_to_have() -> None:
    core = live(sizing=Newsvendor(break_even_s=1e6), look_ahead=JustInTime())
    for n in range(5):
        core.execute(f"seen-{n}", takes_s=START_S / 4)
        core.go(5_000.0)
    first = core.have(FIRST, "now")
    core.go(START_S / 4)
    core.release(first)
    core.go(2.0)
    assert core.have(SECOND, "now").id not in core.state.foreseen


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

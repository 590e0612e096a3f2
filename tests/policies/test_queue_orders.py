"""Earliest deadline first and weighted fair shares: the rules alone, and under a ceiling through the core."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.queue_order import EarliestDeadline, FairShare, PriorityWithAging
from policies.reclaim import FixedTTL
from pool.core.decisions import Decision, Granted, Queued, Rejected
from pool.core.fairness import size
from pool.core.key import ClusterKey, Footprint
from pool.core.model import Lease
from pool.core.policy import QueueOrder, Share, Wish
from pool.core.reasons import Reason
from pool.core.settings import Ceiling
from pool.core.shares import Shares
from pool.core.state import State
from pool.replay import Job, Replay, Times
from pool.replay.figures import Ledger
from pool.store.memory import MemoryStore
from tests.kit import KEY, Core, make_key, make_rules

ONE = Ceiling(clusters=1)


# --- earliest deadline


def test_the_earliest_deadline_is_served_first_whoever_came_first() -> None:
    core = Core(ceiling=ONE, queue_order=EarliestDeadline())
    busy = core.lease()
    for wait_s in (500, 100, 300):
        core.acquire(holder=f"within {wait_s}", wait_s=wait_s)
        core.go(1)
    order = []
    for _ in range(3):
        core.release(busy)
        (busy,) = core.state.leases.values()
        order.append(busy.holder)
    assert order == ["within 100", "within 300", "within 500"]


def test_who_is_late_is_refused_and_takes_nothing_from_who_is_not() -> None:
    core = Core(ceiling=ONE, queue_order=EarliestDeadline(), lease_ttl_s=1e6)
    busy = core.lease()
    late, in_time = core.acquire(wait_s=50), core.acquire(wait_s=80)
    core.go(60)
    refused = core.answer(late.waiter.id)
    assert isinstance(refused, Rejected)
    assert refused.reason is Reason.WAIT_TIMEOUT
    core.release(busy)
    assert isinstance(core.answer(in_time.waiter.id), Granted)


JOBS = st.lists(st.tuples(st.floats(0.0, 40.0), st.floats(0.0, 100.0)), min_size=2, max_size=7)


@given(JOBS, st.floats(1.0, 20.0))
def test_if_any_order_serves_all_in_time_this_one_does(jobs: list[tuple[float, float]], lease_s: float) -> None:
    # All wait already, for one cluster and leases of one length: in deadline order is in time if first come is.
    def all_in_time(by: QueueOrder) -> bool:
        wishes = sorted((Wish(0, asked, deadline, 60.0) for asked, deadline in jobs), key=by.rank)
        return all(n * lease_s <= wish.deadline for n, wish in enumerate(wishes))

    assert all_in_time(EarliestDeadline()) or not all_in_time(PriorityWithAging())


def test_a_step_of_priority_is_a_deadline_that_is_so_much_earlier() -> None:
    rank = EarliestDeadline().rank
    assert rank(Wish(1, 0.0, 160.0, 60.0)) == rank(Wish(0, 0.0, 100.0, 60.0))


def test_positions_told_are_those_of_the_order() -> None:
    core = Core(ceiling=ONE, queue_order=EarliestDeadline())
    core.lease()
    assert [core.acquire(wait_s=wait_s).position for wait_s in (500, 100, 300)] == [1, 1, 2]


# --- fair share: virtual time


@given(
    st.dictionaries(st.sampled_from("abcd"), st.floats(0.1, 10.0), min_size=2),
    st.lists(st.floats(1.0, 100.0), min_size=50, max_size=200),
)
def test_who_always_waits_is_given_its_weight_to_within_a_lease_of_each(
    weights: Mapping[str, float], lengths: list[float]
) -> None:
    shares, given_s = Shares(), Counter[str]()
    order = FairShare()
    for length in lengths:
        tenants = sorted(weights, key=lambda tenant: (order.precedence(0.0, Share(shares.begun(tenant), 1.0)), tenant))
        first = tenants[0]
        shares.charge(first, length / weights[first], min(shares.begun(tenant) for tenant in tenants[1:]))
        given_s[first] += length  # type: ignore[assignment]
    normalised = {tenant: given_s[tenant] / weight for tenant, weight in weights.items()}
    longest = max(lengths)
    for one in weights:
        for other in weights:
            # The bound of the paper, theorem 1: l_max_f / r_f + l_max_m / r_m.
            bound = longest / weights[one] + longest / weights[other]
            assert abs(normalised[one] - normalised[other]) <= bound * (1 + 1e-9)


def test_what_was_given_while_nobody_waited_is_not_held_against_a_tenant() -> None:
    shares = Shares()
    for _ in range(10):
        shares.charge("a", 5.0, 0.0)
    assert shares.begun("a") == 50.0
    assert shares.begun("b") == 0.0
    shares.rest()
    assert shares.begun("a") == shares.begun("b") == 50.0


def test_who_comes_later_begins_where_the_others_are_and_has_no_credit() -> None:
    shares = Shares()
    for _ in range(10):
        shares.charge("a", 5.0, shares.begun("b"))
        shares.charge("b", 5.0, shares.begun("a"))
    assert shares.begun("new") == shares.clock == 45.0


def test_a_cluster_counts_by_the_largest_part_that_it_takes_of_the_ceiling() -> None:
    ceiling = Ceiling(clusters=10, milli_cpu=100_000, gpu=4)
    assert size(ceiling, Footprint(1, 30_000, 0, 1)) == 0.3
    assert size(ceiling, Footprint(1, 0, 0, 2)) == 0.5
    assert size(Ceiling(), Footprint(1, 30_000, 0, 1)) == 1.0


# --- fair share: through the core


class Grants(Ledger):
    """Notes who was granted what when."""

    def __init__(self, charged_s: Mapping[str, float]) -> None:
        super().__init__(charged_s)
        self.seen: list[tuple[float, str]] = []

    def observe(self, decision: Decision) -> None:
        super().observe(decision)
        for old, new, _ in decision.changes:
            if type(new) is Lease and old is None:
                self.seen.append((decision.now, new.tenant))


def key_of(tenant: str, cpu: float = 1) -> ClusterKey:
    return make_key(cpu=cpu, tenant=f"{tenant}/d")


def granted(order: QueueOrder, weights: Mapping[str, float], head_start_s: float = 0.0, **fields: object) -> Grants:
    """Replay tenants that all want far more than there is; the first begins earlier."""
    rules = make_rules(
        queue_order=order, daemon=Ceiling(clusters=4), tenant_weight=lambda tenant: weights[tenant.split("/")[0]],
        reclaim=FixedTTL(600.0, 0.0), max_wait_s=1e9, **fields,
    )  # fmt: skip
    replay = Replay(rules, MemoryStore(keeps_books=False), Times(starts_s=(5.0,), charged=False), ledger=Grants)
    jobs = [
        Job((0.0 if n == 0 else head_start_s) + 0.01 * i, 60.0, key_of(tenant))
        for n, tenant in enumerate(weights)
        for i in range(300)
    ]
    replay.run(sorted(jobs, key=lambda job: job.arrival_s))
    assert isinstance(replay.ledger, Grants)
    return replay.ledger


def shares_of(grants: Grants, within: tuple[float, float]) -> Counter[str]:
    began = grants.seen[0][0]
    return Counter(tenant.split("/")[0] for at, tenant in grants.seen if within[0] <= at - began < within[1])


@pytest.mark.parametrize(("weights", "share"), [({"a": 1.0, "b": 1.0}, 0.5), ({"a": 1.0, "b": 3.0}, 0.75)])
def test_tenants_that_want_one_room_get_it_by_their_weights(weights: Mapping[str, float], share: float) -> None:
    grants = granted(FairShare(), weights, head_start_s=600.0)
    found = shares_of(grants, (900.0, 4_500.0))
    assert found["b"] / found.total() == pytest.approx(share, abs=0.05), found


def test_three_tenants_share_alike_and_each_is_served_in_the_end() -> None:
    grants = granted(FairShare(), {"a": 1.0, "b": 1.0, "c": 1.0}, head_start_s=300.0)
    found = shares_of(grants, (600.0, 6_000.0))
    assert min(found.values()) / max(found.values()) > 0.85, found
    assert Counter(tenant for _, tenant in grants.seen) == {"a/d": 300, "b/d": 300, "c/d": 300}


def test_without_shares_who_has_the_clusters_keeps_them_while_it_has_waiters() -> None:
    grants = granted(PriorityWithAging(), {"a": 1.0, "b": 1.0}, head_start_s=600.0)
    assert shares_of(grants, (900.0, 4_000.0))["b"] == 0, (
        "or fair shares change nothing, and the tests above say nothing"
    )


def test_a_cluster_changes_hands_only_once_another_tenant_is_a_whole_lease_behind() -> None:
    own = Share(begun=100.0, takes=10.0)
    assert FairShare().gives_way(own, Share(90.0, 10.0))
    assert not FairShare().gives_way(own, Share(91.0, 10.0))
    assert not PriorityWithAging().gives_way(own, Share(0.0, 0.0))


def two_tenants() -> tuple[Core, Lease]:
    """Have a tenant with the only room, and another one that waits for it."""
    core = Core(queue_order=FairShare(), daemon=ONE, lease_ttl_s=1e6)
    busy = core.lease(key_of("a"))
    core.go(20)
    return core, busy


def test_priority_with_aging_orders_within_a_tenant() -> None:
    core, busy = two_tenants()
    core.acquire(key_of("a"), holder="patient")
    core.acquire(key_of("a"), holder="urgent", priority=5)
    core.release(busy)
    (lease,) = core.state.leases.values()
    assert lease.holder == "urgent"


def test_what_a_waiter_is_told_to_expect_counts_those_of_other_tenants_that_come_first() -> None:
    core, busy = two_tenants()
    core.release(busy)
    busy = core.lease(key_of("a"))
    mine = [core.acquire(key_of("a")) for _ in range(3)]
    alone = [reply.expected_at for reply in mine]
    theirs = core.acquire(key_of("b"))
    assert isinstance(theirs, Queued)
    again = [
        core.tell(core.ask(key_of("a"), request_id=reply.waiter.request_id, holder=reply.waiter.holder))
        for reply in mine
    ]
    assert [reply.position for reply in again] == [1, 2, 3]
    assert alone[0] is not None
    assert again[0].expected_at == alone[0], "they stand alike: no tenant is a lease behind"
    assert again[1].expected_at is None, "the release after the next one is the other tenant's"


def test_shares_survive_a_restart() -> None:
    shares = Shares()
    shares.charge("a", 5.0, 0.0)
    shares.charge("a", 5.0, 1.0)
    again = Shares()
    again.recall("", shares.told(""), 0.0)
    assert (again.clock, again.paid) == (shares.clock, shares.paid) == (1.0, {"a": 10.0})


def test_where_nobody_waits_for_room_nothing_is_reckoned() -> None:
    core = Core(queue_order=FairShare())
    for _ in range(3):
        core.release(core.lease(key_of("a")))
        core.lease(KEY)
    assert core.state.shares.paid == {}
    assert isinstance(core.state, State)

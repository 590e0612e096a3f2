"""The ledger: cluster seconds add up to lives, over days and restarts, and what is written is entered once."""

from __future__ import annotations

import math
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool.core.decisions import Change
from pool.core.errors import StoreConflict
from pool.core.lifecycle import CLUSTER_TABLE
from pool.core.model import Cluster, ClusterState, Outcome
from pool.core.reasons import Reason
from pool.store.base import Store
from pool.store.books import DAY_S, Account, Books, Entries, Kind, added, booked, entries

from .conftest import KEY, Make

STARTING, IDLE, LEASED, RESETTING = (
    ClusterState.STARTING, ClusterState.IDLE, ClusterState.LEASED, ClusterState.RESETTING,
)  # fmt: skip
DAY = 20_000
T0 = DAY * DAY_S


def moved(old: Cluster, state: ClusterState, at: float, *, durable: bool = True) -> Change:
    return Change(old, old._replace(state=state, changed_at=at), durable)


def spent(found: Entries) -> dict[str, float]:
    out: defaultdict[str, float] = defaultdict(float)
    for account, entered in found.items():
        if account.kind == Kind.TIME:
            out[account.what] += entered.seconds
    return dict(out)


async def spent_of(store: Store, now: float) -> dict[str, float]:
    return spent(await store.ledger(0, 10**6, now, by_day=False))


def walk(moves: list[float], choices: list[int]) -> list[Change]:
    """Return a life of a cluster: steps of the table, so many seconds apart."""
    cluster = Make().cluster(state=STARTING, created_at=T0, changed_at=T0)
    changes, at = [Change(None, cluster)], T0
    for after_s, choice in zip(moves, choices, strict=False):
        ways = [new for (old, _), new in CLUSTER_TABLE.items() if old is cluster.state]
        if not ways:
            break
        at += after_s
        change = moved(cluster, ways[choice % len(ways)], at, durable=choice % 3 > 0)
        changes.append(change)
        assert isinstance(change.new, Cluster)
        cluster = change.new
    return changes


steps = st.lists(st.floats(0, 3 * DAY_S), min_size=1, max_size=30)


@given(steps, st.lists(st.integers(0, 20), min_size=30, max_size=30), st.lists(st.booleans(), min_size=31, max_size=31))
def test_of_a_cluster_the_seconds_add_up_to_its_life_however_they_are_committed(
    moves: list[float], choices: list[int], together: list[bool]
) -> None:
    books, ledger = Books(), entries()
    waiting: list[Change] = []
    changes = walk(moves, choices)
    for change, wait in zip(changes, together, strict=False):
        waiting.append(change)
        if not wait:
            draft = books.draft(waiting)
            added(ledger, draft.entries)
            books.take(draft)
            waiting = []
    draft = books.draft(waiting)
    added(ledger, draft.entries)
    books.take(draft)
    last = changes[-1].new
    assert isinstance(last, Cluster)
    now = last.changed_at + (0.0 if last.state is ClusterState.STOPPED else 1000.0)
    added(ledger, books.unbooked(now))
    assert math.isclose(sum(spent(ledger).values()), now - T0, abs_tol=1e-3)
    for account, entered in ledger.items():
        assert 0 <= entered.seconds <= DAY_S + 1e-3, f"{account} has more than its day"


def test_a_draft_that_was_not_written_enters_nothing(make: Make) -> None:
    books = Books()
    cluster = make.cluster(state=IDLE, created_at=T0, changed_at=T0)
    books.take(books.draft([Change(None, cluster)]))
    change = moved(cluster, LEASED, T0 + 60)
    assert spent(books.draft([change]).entries) == spent(books.draft([change]).entries) == {"idle": 60.0}
    assert spent(books.unbooked(T0 + 60)) == {"idle": 60.0}


async def test_seconds_are_entered_on_the_days_in_which_they_were(handle, make) -> None:
    store = handle()
    await store.open(T0)
    cluster = make.cluster(state=STARTING, created_at=T0 - 10, changed_at=T0 - 10)
    idle = moved(cluster, IDLE, T0 - 5)
    await store.commit([Change(None, cluster), idle, moved(idle.new, LEASED, T0 + DAY_S + 7)])
    found = await store.ledger(0, 10**6, T0 + DAY_S + 10)
    seconds = {(account.day - DAY, account.what): entered.seconds for account, entered in found.items()}
    assert seconds == {
        (-1, "starting"): 5.0, (-1, "idle"): 5.0, (0, "idle"): DAY_S, (1, "idle"): 7.0, (1, "busy"): 3.0
    }  # fmt: skip
    assert spent(await store.ledger(DAY, DAY + 1, T0 + DAY_S + 10)) == {"idle": DAY_S}


async def test_grants_are_entered_by_outcome_and_reason(handle, make, new) -> None:
    store = handle()
    await store.open(T0)
    hits = [make.lease(asked_at=T0, granted_at=T0) for _ in range(2)]
    cold = make.lease(outcome=Outcome.COLD, miss=Reason.ALL_LEASED, asked_at=T0, granted_at=T0 + 9)
    await store.commit(new(*hits, cold))
    await store.commit([Change(cold, cold._replace(holder="the same lease"))])
    found = await store.ledger(DAY, DAY + 1, T0)
    who = DAY, KEY.digest, KEY.tenant
    assert dict(found) == {
        Account(*who, "grant", "hit"): (2, 0.0), Account(*who, "grant", "cold", "all_leased"): (1, 9.0)
    }  # fmt: skip


async def test_a_restart_goes_on_where_the_books_ended(handle, make) -> None:
    store = handle()
    await store.open(T0)
    cluster = make.cluster(state=LEASED, created_at=T0, changed_at=T0)
    resetting = moved(cluster, RESETTING, T0 + 100)
    await store.commit([Change(None, cluster), resetting])
    # Not worth a commit of its own: the store has the cluster as resetting, and the ledger knows better.
    await store.commit([moved(resetting.new, IDLE, T0 + 103, durable=False)])
    await store.close()

    store = handle()
    loaded = await store.open(T0 + 1000)
    assert loaded.clusters[0].state is RESETTING
    assert await spent_of(store, T0 + 1000) == {"busy": 100.0, "resetting": 3.0, "idle": 897.0}
    # The daemon resets it once more, and lets the time of what is under way begin anew.
    again = loaded.clusters[0]._replace(changed_at=T0 + 1000)
    await store.commit([moved(again, IDLE, T0 + 1002)])
    assert await spent_of(store, T0 + 1002) == {"busy": 100.0, "resetting": 5.0, "idle": 897.0}


async def test_what_is_refused_is_not_entered(handle, make, new) -> None:
    store = handle()
    await store.open(T0)
    lease = make.lease(asked_at=T0, granted_at=T0)
    cluster = make.cluster(state=IDLE, created_at=T0, changed_at=T0)
    await store.commit(new(lease, cluster))
    twice = make.lease(request_id=lease.request_id, asked_at=T0, granted_at=T0)
    with pytest.raises(StoreConflict):
        await store.commit([Change(None, twice), moved(cluster, LEASED, T0 + 50)])
    found = await store.ledger(DAY, DAY + 1, T0 + 60)
    assert {account.what: entered.times for account, entered in found.items()} == {"hit": 1, "idle": 0}
    assert spent(found) == {"idle": 60.0}


async def test_old_days_are_deleted_with_the_history(handle, make, new) -> None:
    store = handle()
    await store.open(T0)
    await store.commit(new(*(make.lease(asked_at=T0 + n * DAY_S, granted_at=T0 + n * DAY_S) for n in range(3))))
    await store.prune(T0 + 1.5 * DAY_S)
    assert {account.day - DAY for account in await store.ledger(0, 10**6, T0)} == {1, 2}


def test_where_older_code_went_on_without_books_they_begin_anew() -> None:
    assert booked("p", "t", "leased", 50.0, "idle", 20.0).state is LEASED
    assert booked("p", "t", "leased", 50.0, "", 0.0).since == 50.0
    assert booked("p", "t", "resetting", 50.0, "idle", 60.0)[2:] == (IDLE, 60.0)


@pytest.mark.parametrize("since", [0.0, 1e15])
def test_a_clock_that_was_set_by_ages_costs_a_bounded_number_of_entries(since: float) -> None:
    until = since + 1e12
    cluster = Make().cluster(state=IDLE, created_at=since, changed_at=since)
    books = Books()
    books.take(books.draft([Change(None, cluster)]))
    found = books.draft([moved(cluster, LEASED, until)]).entries
    assert len(found) < 500
    assert spent(found)["idle"] == pytest.approx(until - since)

"""What every store promises, asked of each kind."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pool.core.decisions import Change
from pool.core.errors import NotTheWriter, StoreConflict, StoreFailed
from pool.core.model import Cluster, ClusterState, Lease, LeaseState
from pool.core.reasons import Reason
from pool.store.base import ENDED_LOADED, RESTORE_STEP, STARTS_LOADED


async def test_an_empty_store_has_an_id_and_nothing_else(handle) -> None:
    loaded = await handle().open(10.0)
    assert len(loaded.store_id) == 16
    assert (loaded.generation, loaded.previous_opened_at) == (1, 0.0)
    assert not any((loaded.pools, loaded.clusters, loaded.leases, loaded.waiters, loaded.ended, loaded.starts))


async def test_what_was_committed_is_there_after_a_restart(handle, make, new) -> None:
    pool, cluster, lease, waiter = make.pool(), make.cluster(leases=("l-1",)), make.lease(), make.waiter()
    store = handle()
    first = await store.open(10.0)
    await store.commit(new(pool, cluster, lease, waiter))
    await store.close()

    loaded = await handle().open(20.0)
    assert (loaded.store_id, loaded.generation, loaded.previous_opened_at) == (first.store_id, 2, 10.0)
    assert (loaded.pools, loaded.clusters, loaded.leases, loaded.waiters) == ([pool], [cluster], [lease], [waiter])


async def test_a_change_replaces_the_record_and_the_last_one_of_a_batch_counts(handle, make, new) -> None:
    cluster, lease = make.cluster(), make.lease(state=LeaseState.GRANTED)
    store = handle()
    await store.open(0.0)
    await store.commit(new(cluster, lease))
    leased = cluster._replace(state=ClusterState.LEASED, epoch=1, leases=(lease.id,), changed_at=7.0)
    doomed = leased._replace(doom=Reason.DRAINED, cordoned=True)
    active = lease._replace(state=LeaseState.ACTIVE, expires_at=99.0, renewed_in=1)
    await store.commit([Change(cluster, leased), Change(leased, doomed), Change(lease, active)])
    await store.close()

    loaded = await handle().open(0.0)
    assert (loaded.clusters, loaded.leases) == ([doomed], [active])


async def test_what_lives_in_memory_only_is_not_written(handle, make, new) -> None:
    lease, cluster = make.lease(), make.cluster(state=ClusterState.STARTING, phase="starting head")
    renewed = lease._replace(expires_at=1000.0)
    store = handle()
    await store.open(0.0)
    await store.commit(new(lease, cluster))
    await store.commit([Change(lease, renewed, durable=False)])
    await store.close()

    loaded = await handle().open(0.0)
    assert loaded.leases == [lease]
    assert loaded.clusters == [cluster._replace(phase="")]


async def test_a_waiter_or_pool_that_is_gone_is_deleted(handle, make, new) -> None:
    pool, waiter, kept, passing = make.pool(), make.waiter(), make.waiter(), make.waiter()
    store = handle()
    await store.open(0.0)
    await store.commit(new(pool, waiter, kept))
    await store.commit([*new(passing), Change(waiter, None), Change(pool, None), Change(passing, None)])
    await store.close()

    loaded = await handle().open(0.0)
    assert (loaded.pools, loaded.waiters) == ([], [kept])


@pytest.mark.parametrize("count", [1, 2, 3, 31, 64, 127, 200])
async def test_a_batch_of_any_size_is_written_whole(handle, make, new, count: int) -> None:
    leases, waiters = [make.lease() for _ in range(count)], [make.waiter() for _ in range(count)]
    store = handle()
    await store.open(0.0)
    await store.commit(new(*leases, *waiters))
    renewed = [lease._replace(expires_at=1000.0 + n) for n, lease in enumerate(leases)]
    changes = [Change(old, lease) for old, lease in zip(leases, renewed, strict=True)]
    await store.commit([*changes, *(Change(waiter, None) for waiter in waiters[1:])])
    await store.close()

    loaded = await handle().open(0.0)
    assert sorted(loaded.leases) == sorted(renewed)
    assert loaded.waiters == waiters[:1]


async def test_a_waiter_becomes_the_lease_of_its_id(handle, make, new) -> None:
    waiter = make.waiter()
    lease = make.lease(id=waiter.id, request_id=waiter.request_id)
    store = handle()
    await store.open(0.0)
    await store.commit(new(waiter))
    await store.commit([Change(waiter, None), Change(None, lease)])
    await store.close()

    loaded = await handle().open(0.0)
    assert (loaded.waiters, loaded.leases) == ([], [lease])


async def test_deleting_what_history_keeps_is_refused_before_anything_is_written(handle, make, new) -> None:
    lease, other = make.lease(), make.lease()
    store = handle()
    await store.open(0.0)
    await store.commit(new(lease))
    with pytest.raises(ValueError, match="history keeps it"):
        await store.commit([*new(other), Change(lease, None)])
    assert await store.find_lease(lease.id) == lease
    assert await store.find_lease(other.id) is None


async def test_what_ended_leaves_the_live_and_stays_as_history(handle, make, new) -> None:
    cluster, lease = make.cluster(), make.lease()
    store = handle()
    await store.open(0.0)
    await store.commit(new(cluster, lease))
    stopped = cluster._replace(state=ClusterState.STOPPED, reason=Reason.IDLE_TTL, detail="idle for 613 s")
    ended = lease._replace(state=LeaseState.ENDED, ended_at=50.0, end_reason=Reason.RELEASED)
    await store.commit([Change(cluster, stopped), Change(lease, ended)])
    await store.close()

    store = handle()
    loaded = await store.open(0.0)
    assert (loaded.clusters, loaded.leases, loaded.ended) == ([], [], [ended])
    assert await store.find_cluster(cluster.id) == stopped
    assert await store.find_lease(lease.id) == ended
    assert await store.find_request(lease.caller, lease.request_id) == ended


async def test_what_was_never_there_is_not_found(handle, make, new) -> None:
    store = handle()
    await store.open(0.0)
    await store.commit(new(make.lease(caller="cli", request_id="r")))
    assert await store.find_lease("l-none") is None
    assert await store.find_cluster("c-none") is None
    assert await store.find_request("cli", "other") is None
    assert await store.find_request("other", "r") is None


@pytest.mark.parametrize("ended", [False, True])
async def test_a_request_id_never_grants_again_and_nothing_of_its_batch_is_written(handle, make, new, ended) -> None:
    lease = make.lease(request_id="once")
    store = handle()
    await store.open(0.0)
    await store.commit(new(make.ended(5.0, request_id="once") if ended else lease))
    innocent, cluster, again = make.lease(), make.cluster(), make.lease(request_id="once")
    with pytest.raises(StoreConflict, match="request id") as caught:
        await store.commit(new(innocent, cluster, again))
    assert "new request id" in caught.value.remedy
    assert await store.find_lease(innocent.id) is None
    assert await store.find_cluster(cluster.id) is None

    await store.commit(new(innocent, cluster, make.lease(request_id="once", caller="another")))
    assert await store.find_lease(innocent.id) == innocent


async def test_a_request_id_that_a_lease_used_up_cannot_wait_again(handle, make, new) -> None:
    store = handle()
    await store.open(0.0)
    await store.commit(new(make.ended(5.0, request_id="once")))
    innocent = make.waiter()
    with pytest.raises(StoreConflict, match="request id"):
        await store.commit(new(innocent, make.waiter(request_id="once")))
    await store.commit(new(innocent, make.waiter(request_id="once", caller="another")))
    await store.close()
    assert len((await handle().open(0.0)).waiters) == 2


async def test_two_leases_of_one_request_in_one_batch_conflict(handle, make, new) -> None:
    store = handle()
    await store.open(0.0)
    one, two = make.lease(request_id="same"), make.lease(request_id="same")
    with pytest.raises(StoreConflict):
        await store.commit(new(one, two))
    assert await store.find_lease(one.id) is None


async def test_a_daemon_whose_store_was_opened_by_another_writes_nothing(handle, make, new, file: Path) -> None:
    paused = handle()
    await paused.open(0.0)
    kept, lost = make.lease(), make.lease()
    await paused.commit(new(kept))
    # The lock beside a SQLite file would refuse the second one; somebody removed it.
    file.with_name(file.name + ".lock").unlink(missing_ok=True)
    other = handle()
    assert (await other.open(1.0)).leases == [kept]

    with pytest.raises(NotTheWriter) as caught:
        await paused.commit(new(lost))
    assert "Stop this daemon" in str(caught.value)
    with pytest.raises(NotTheWriter):
        await paused.commit([])
    with pytest.raises(NotTheWriter):
        await paused.keep_learned({"a": "1"})
    with pytest.raises(NotTheWriter):
        await paused.prune(1e12)
    assert await other.find_lease(lost.id) is None
    await other.commit(new(lost))
    assert await other.find_lease(lost.id) == lost


async def test_each_restart_is_a_new_generation(handle) -> None:
    for expected in (1, 2, 3):
        store = handle()
        assert (await store.open(0.0)).generation == expected
        await store.close()


async def test_a_closed_store_says_so(handle, make, new) -> None:
    store = handle()
    await store.open(0.0)
    await store.close()
    await store.close()
    with pytest.raises(StoreFailed, match="not open"):
        await store.commit(new(make.lease()))


async def test_nothing_durable_is_nothing_to_do(handle, make) -> None:
    store = handle()
    await store.open(0.0)
    await store.commit([])
    lease = make.lease()
    await store.commit([Change(None, lease, durable=False)])
    assert await store.find_lease(lease.id) is None


async def test_the_recent_past_is_loaded_oldest_first_and_bounded(handle, make, new) -> None:
    store = handle()
    await store.open(0.0)
    ended = [make.ended(float(n)) for n in range(ENDED_LOADED + 10)]
    started = [make.cluster(ready_at=None) for _ in range(3)]
    for n in range(STARTS_LOADED + 10):
        cluster = make.cluster(state=ClusterState.STOPPED if n % 2 else ClusterState.IDLE)
        started.append(cluster._replace(ready_at=cluster.created_at + n))
    await store.commit(new(*reversed(ended), *started))
    await store.close()

    loaded = await handle().open(0.0)
    assert loaded.ended == ended[-ENDED_LOADED:]
    pool = started[0].pool
    assert loaded.starts == [(pool, float(n)) for n in range(10, STARTS_LOADED + 10)]


async def test_clusters_and_waiters_are_loaded_in_order(handle, make, new) -> None:
    store = handle()
    await store.open(0.0)
    clusters = [make.cluster(changed_at=t) for t in (3.0, 1.0, 2.0)]
    waiters = [make.waiter(rank=r, asked_at=t) for r, t in ((2.0, 1.0), (1.0, 9.0), (1.0, 8.0))]
    await store.commit(new(*clusters, *waiters))
    await store.close()
    loaded = await handle().open(0.0)
    assert [c.changed_at for c in loaded.clusters] == [1.0, 2.0, 3.0]
    assert [(w.rank, w.asked_at) for w in loaded.waiters] == [(1.0, 8.0), (1.0, 9.0), (2.0, 1.0)]


async def test_pruning_takes_old_history_and_nothing_that_lives(handle, make, new) -> None:
    store = handle()
    await store.open(0.0)
    old = [make.ended(float(n % 100)) for n in range(1200)]
    stopped = [make.cluster(state=ClusterState.STOPPED, changed_at=50.0) for _ in range(3)]
    kept = [make.ended(100.0), make.cluster(state=ClusterState.STOPPED, changed_at=100.0)]
    living = [make.lease(granted_at=1.0), make.cluster(changed_at=1.0), make.waiter(), make.pool()]
    await store.commit(new(*old, *stopped, *kept, *living))

    assert await store.prune(100.0) == 1203
    assert await store.prune(100.0) == 0
    assert await store.find_lease(old[0].id) is None
    assert await store.find_lease(kept[0].id) == kept[0]
    assert await store.find_cluster(kept[1].id) == kept[1]
    # What is forgotten may be asked again.
    await store.commit(new(make.lease(request_id=old[0].request_id)))
    await store.close()
    loaded = await handle().open(0.0)
    assert living[0] in loaded.leases
    assert (loaded.clusters, loaded.waiters, loaded.pools) == ([living[1]], [living[2]], [living[3]])


async def test_commits_go_on_while_history_is_pruned(handle, make, new) -> None:
    store = handle()
    await store.open(0.0)
    await store.commit(new(*(make.ended(1.0) for _ in range(2100))))
    leases = [make.lease() for _ in range(20)]

    async def commit_all() -> None:
        for lease in leases:
            await store.commit(new(lease))

    pruned, _ = await asyncio.gather(store.prune(2.0), commit_all())
    assert pruned == 2100
    await store.close()
    assert (await handle().open(0.0)).leases == leases


async def _all(store, kind: type[Lease] | type[Cluster], **span: object) -> list[str]:
    return [record.id async for record in store.history(kind, **span)]


async def test_history_yields_a_span_of_time_from_either_end(handle, make, new) -> None:
    store = handle()
    await store.open(0.0)
    leases = [
        make.lease(asked_at=float(n // 2)) if n % 3 else make.ended(1e6, asked_at=float(n // 2)) for n in range(2300)
    ]
    clusters = [make.cluster(created_at=float(n)) for n in range(5)]
    await store.commit(new(*reversed(leases), *clusters))
    ids = [lease.id for lease in leases]

    assert await _all(store, Lease) == ids
    assert await _all(store, Lease, newest_first=True) == ids[::-1]
    assert await _all(store, Lease, since=10.0, until=1100.0) == ids[20:2200]
    assert await _all(store, Lease, since=10.0, until=1100.0, newest_first=True, limit=1500) == ids[2199:699:-1]
    assert await _all(store, Lease, limit=0) == []
    assert await _all(store, Cluster, since=1.0, limit=2) == [clusters[1].id, clusters[2].id]
    assert await _all(store, Cluster, since=7.0) == []


async def test_a_restored_backup_hands_out_nothing_a_second_time(handle, make, new) -> None:
    cluster, pool, lease = make.cluster(epoch=7), make.pool(next_seq=3), make.lease(renewed_in=1)
    store = handle()
    await store.open(0.0)
    await store.commit(new(cluster, pool, lease))
    await store.close()

    restored = handle(restored=True)
    loaded = await restored.open(0.0)
    assert loaded.generation == RESTORE_STEP + 2
    assert loaded.clusters == [cluster._replace(epoch=7 + RESTORE_STEP)]
    assert loaded.pools == [pool._replace(next_seq=3 + RESTORE_STEP)]
    # As after any restart: the generation just before this one renewed it.
    assert loaded.leases == [lease._replace(renewed_in=loaded.generation - 1)]
    assert restored.__repr__().endswith(f"[generation {loaded.generation}]>")


async def test_a_cancelled_commit_leaves_the_store_whole(handle, make, new) -> None:
    store = handle()
    await store.open(0.0)
    leases = [make.lease() for _ in range(40)]
    for n, lease in enumerate(leases):
        task = asyncio.ensure_future(store.commit(new(lease)))
        for _ in range(n % 8):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        cluster = make.cluster()
        await store.commit(new(cluster))
        assert await store.find_cluster(cluster.id) == cluster


async def test_a_store_cannot_be_opened_twice_by_accident(file: Path) -> None:
    from pool.store.sql import SqlStore

    store = SqlStore(f"sqlite:///{file}")
    try:
        await store.open(0.0)
        with pytest.raises(RuntimeError, match="open already"):
            await store.open(0.0)
        # And the first opening still works.
        await store.prune(0.0)
    finally:
        await store.close()


@pytest.mark.parametrize("newest_first", [False, True])
async def test_history_goes_on_after_the_one_that_was_seen_last(handle, make, new, newest_first: bool) -> None:
    store = handle()
    await store.open(0.0)
    leases = [make.lease(asked_at=float(n // 3)) for n in range(9)]
    await store.commit(new(*leases))
    seen, after = [], None
    while found := [x async for x in store.history(Lease, after=after, limit=2, newest_first=newest_first)]:
        seen += found
        after = found[-1].asked_at, found[-1].id
    assert seen == sorted(leases, key=lambda x: (x.asked_at, x.id), reverse=newest_first)


async def test_what_was_learned_is_kept_by_name_until_it_is_deleted(handle) -> None:
    store = handle()
    assert (await store.open(0.0)).learned == {}
    await store.keep_learned({"a": "1", "b": "2"})
    await store.keep_learned({"b": "3", "a": None, "never": None})
    await store.close()
    assert (await handle().open(1.0)).learned == {"b": "3"}

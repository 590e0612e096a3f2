"""Clusters that somebody else runs: attached, leased, reset and let go, beside what others do there."""

from __future__ import annotations

import asyncio
import time

import pytest

from pool.core.decisions import Queued
from pool.core.errors import InvalidKey
from pool.core.events import Cordon, Lost, Revoke
from pool.core.model import Outcome
from pool.core.reasons import Reason

from .conftest import Here, a_key, entry
from .fake import FakeCluster, node


async def test_one_is_idle_without_anybody_asking_and_serves_whoever_fits(here: Here, theirs: FakeCluster) -> None:
    here.write(entry(theirs))
    await here.start()
    await here.until_states("idle")
    (cluster,) = here.clusters()
    assert here.daemon.state.key_of(cluster).image == "ray:2.60.0"
    first = await here.lease(a_key(2, workers=[{"cpu": 4}]))
    assert first.cluster.id == cluster.id
    assert first.lease.outcome is Outcome.HIT
    assert (first.cluster.address, first.cluster.dashboard_url) == ("10.0.0.1:6379", theirs.url)
    assert here.daemon.cluster_token(cluster.id) == theirs.token
    await here.release(first)
    # Another shape, and the very key: the same cluster, reset in between.
    await here.release(await here.lease(a_key(1, "other/image:2")))
    await here.lease(here.daemon.state.key_of(cluster))
    assert here.clusters()[0].uses == 3
    assert not theirs.swept


async def test_when_all_are_leased_one_waits_and_nothing_is_said_to_start(here: Here, theirs: FakeCluster) -> None:
    here.write(entry(theirs))
    await here.start()
    first = await here.lease(a_key(1))
    told = await here.ask(a_key(2))
    assert isinstance(told, Queued)
    assert told.reason is Reason.ALL_LEASED
    assert told.phase == "queued"
    assert here.states() == ["leased"]
    await here.release(first)
    await here.until(lambda: here.clusters()[0].uses == 2)
    assert here.daemon.state.leases[told.waiter.id].outcome is Outcome.WAITED


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (a_key(3), "no cluster that the configuration names for p/d serves this"),
        (a_key(1, tenant="x/y"), "the configuration names no cluster for x/y"),
        (a_key(1, workers=[{"pod": {"service_account": "s"}}]), "service accounts have no meaning there"),
        (a_key(1, workers=[{"cpu": 1, "gpu": 1}]), "theirs: ray:2.60.0, 2 cpu 4 GiB"),
    ],
)
async def test_what_none_can_serve_is_refused_and_what_there_is_is_named(
    here: Here, theirs: FakeCluster, key: object, said: str
) -> None:
    here.write(entry(theirs))
    await here.start()
    await here.until_states("idle")
    with pytest.raises(InvalidKey, match=said):
        here.daemon.check(key)


async def test_an_image_that_is_named_is_the_only_one_it_serves(here: Here, theirs: FakeCluster) -> None:
    here.write(entry(theirs, image="team/train:1", shape="{head: {cpu: 1}}"))
    await here.start()
    await here.until_states("idle")
    with pytest.raises(InvalidKey, match="team/train:1"):
        here.daemon.check(a_key(1, "other:1"))
    assert (await here.lease(a_key(1, "team/train:1"))).lease.outcome is Outcome.HIT


async def test_one_that_answers_without_a_token_is_never_leased(here: Here, theirs: FakeCluster) -> None:
    theirs.open = True
    here.write(entry(theirs, image="i:1", shape="{head: {cpu: 1}}"))
    await here.start()
    await here.until(lambda: any(pool.failures for pool in here.daemon.state.pools.values()))
    told = await here.ask(a_key(1, "i:1"))
    assert not here.states() or here.states() in (["starting"], ["stopping"])
    assert "anybody could use it" in str(told)
    # Mended, it comes by itself.
    theirs.open = False
    await here.until(lambda: any(cluster.uses for cluster in here.clusters()))


async def test_a_wrong_token_is_told_and_the_right_one_taken_at_a_reload(here: Here, theirs: FakeCluster) -> None:
    here.write(entry(theirs, token="another", image="i:1", shape="{head: {cpu: 1}}"))
    await here.start()
    await here.until(lambda: any("refuses the token" in p.last_error for p in here.daemon.state.pools.values()))
    assert "another" not in str(list(here.daemon.state.pools.values()))
    here.write(entry(theirs, image="i:1", shape="{head: {cpu: 1}}"))
    await here.reload()
    await here.until_states("idle")


async def test_only_what_began_under_the_lease_is_ended(here: Here, theirs: FakeCluster) -> None:
    here.write(entry(theirs))
    theirs.begin_job("foreign", began=time.time() - 60)
    theirs.begin_driver("01000000", began=time.time() - 60)
    theirs.make_actor("foreign", "01000000")
    await here.start()
    await here.until_states("idle")
    await asyncio.sleep(1.5)
    granted = await here.lease(a_key(1))
    await asyncio.sleep(1.1)
    theirs.begin_job("ours")
    theirs.begin_driver("02000000")
    theirs.make_actor("ours", "02000000")
    # The driver of before makes something too.
    theirs.make_actor("also foreign", "01000000")
    theirs.end_driver("02000000")
    await here.release(granted)
    await here.until_states("idle")
    assert theirs.stopped == ["ours"]
    assert [actor["name"] for actor in theirs.actors] == ["foreign", "also foreign"]
    assert theirs.swept == 1
    assert here.clusters()[0].id == granted.cluster.id


async def test_of_an_exclusive_one_everything_is_removed(here: Here, theirs: FakeCluster) -> None:
    here.write(entry(theirs, exclusive=True))
    theirs.begin_driver("01000000", began=time.time() - 60)
    theirs.end_driver("01000000")
    theirs.make_actor("from before", "01000000")
    await here.start()
    await here.release(await here.lease(a_key(1)))
    await here.until_states("idle")
    assert not theirs.actors


async def test_after_a_revoke_it_is_cleaned_and_kept_out_until_an_operator_uncordons_it(
    here: Here, theirs: FakeCluster
) -> None:
    here.write(entry(theirs))
    await here.start()
    granted = await here.lease(a_key(1))
    theirs.begin_job("ours")
    await here.daemon.submit(Revoke(granted.lease.id))
    await here.until_states("quarantined")
    (cluster,) = here.clusters()
    assert cluster.reason is Reason.HOLDER_NOT_GONE
    assert theirs.stopped == ["ours"]
    told = await here.ask(a_key(1))
    assert isinstance(told, Queued)
    assert told.reason is Reason.ALL_QUARANTINED
    await here.restart()
    assert here.states() == ["quarantined"]
    await here.daemon.submit(Cordon(cluster.id, on=False))
    await here.until(lambda: here.clusters()[0].uses == 2)


async def test_a_new_token_or_a_new_head_ends_the_quarantine(here: Here, theirs: FakeCluster) -> None:
    here.write(entry(theirs))
    await here.start()
    granted = await here.lease(a_key(1))
    await here.daemon.submit(Revoke(granted.lease.id))
    await here.until_states("quarantined")
    theirs.token = "a-new-one"
    here.write(entry(theirs))
    await here.reload()
    await here.until_states("idle")
    assert here.clusters()[0].id == granted.cluster.id
    granted = await here.lease(a_key(1))
    assert here.daemon.cluster_token(granted.cluster.id) == "a-new-one"
    await here.daemon.submit(Revoke(granted.lease.id))
    await here.until_states("quarantined")
    theirs.session = "session_2"
    await here.until_states("idle")
    assert here.clusters()[0].id != granted.cluster.id


async def test_an_entry_may_say_that_proven_clean_is_enough(here: Here, theirs: FakeCluster) -> None:
    here.write(entry(theirs, readmit=True))
    await here.start()
    granted = await here.lease(a_key(1))
    await here.daemon.submit(Revoke(granted.lease.id))
    await here.until_states("idle")
    assert (await here.lease(a_key(1))).cluster.id == granted.cluster.id


async def test_a_replaced_head_is_lost_and_attached_anew(here: Here, theirs: FakeCluster) -> None:
    here.write(entry(theirs))
    await here.start()
    granted = await here.lease(a_key(1))
    theirs.session = "session_2"
    await here.until(lambda: granted.lease.id in here.daemon.state.ended)
    assert here.daemon.state.ended[granted.lease.id].end_reason is Reason.CLUSTER_LOST
    await here.until_states("idle")
    assert here.clusters()[0].boot_id == "theirs@session_2"


async def test_one_that_falls_silent_is_lost_and_comes_back_by_itself(here: Here, theirs: FakeCluster) -> None:
    here.write(entry(theirs), more="probe_interval: 500ms, lost_after: 1s")
    await here.start()
    await here.until_states("idle")
    assert here.service is not None
    theirs.silent = True
    await here.until(lambda: not here.states() or here.states() != ["idle"], 20)
    theirs.silent = False
    await here.until_states("idle")


async def test_one_that_comes_back_with_its_lease_still_on_it_is_not_taken_for_a_fresh_one(
    here: Here, theirs: FakeCluster
) -> None:
    here.write(entry(theirs))
    await here.start()
    granted = await here.lease(a_key(1))
    theirs.begin_job("ours")
    here.daemon.tell(Lost(granted.cluster.id, granted.cluster.boot_id, Reason.UNHEALTHY, "It does not answer."))
    await here.until_states("quarantined")
    assert here.daemon.state.ended[granted.lease.id].end_reason is Reason.CLUSTER_LOST
    assert theirs.stopped == ["ours"]


async def test_missing_nodes_are_told_and_nobody_new_gets_it_meanwhile(here: Here, theirs: FakeCluster) -> None:
    here.write(entry(theirs))
    await here.start()
    await here.until_states("idle")
    worker = theirs.nodes.pop()
    await here.until(lambda: bool(here.clusters()[0].degraded))
    assert isinstance(await here.ask(a_key(1)), Queued)
    theirs.nodes.append(worker)
    await here.until(lambda: here.clusters()[0].uses == 1)


async def test_an_entry_that_goes_away_is_let_go_when_its_lease_ends_and_a_new_one_appears(
    here: Here, theirs: FakeCluster
) -> None:
    async with FakeCluster(token="of-the-other", nodes=[node(8, head=True)]) as other:
        here.write(entry(theirs))
        await here.start()
        granted = await here.lease(a_key(1))
        theirs.begin_job("ours")
        here.write(entry(other, "other"))
        await here.reload()
        await here.until_states("idle", "leased")
        assert here.daemon.cluster_token(granted.cluster.id) == theirs.token
        await here.until(lambda: here.daemon.state.clusters[granted.cluster.id].doom is Reason.REMOVED)
        await here.release(granted)
        await here.until_states("idle")
        assert here.clusters()[0].dashboard_url == other.url
        assert theirs.stopped == ["ours"]
        here.write()
        await here.reload()
        await here.until_states()


async def test_a_reload_that_is_refused_changes_nothing(here: Here, theirs: FakeCluster) -> None:
    here.write(entry(theirs))
    await here.start()
    await here.until_states("idle")
    for bad in (
        entry(theirs, "a").replace("token: secret-of-theirs", f"token_file: {here.home / 'none'}"),
        entry(theirs, "a", colour="red"),
    ):
        here.write(bad)
        await here.reload()
        await asyncio.sleep(0.1)
        assert here.states() == ["idle"]
    assert (await here.lease(a_key(1))).cluster.dashboard_url == theirs.url


async def test_leases_and_clusters_outlive_the_daemon(here: Here, theirs: FakeCluster) -> None:
    here.write(entry(theirs))
    await here.start()
    granted = await here.lease(a_key(1))
    theirs.begin_job("ours")
    await here.restart()
    assert here.states() == ["leased"]
    assert here.daemon.cluster_token(granted.cluster.id) == theirs.token
    await here.release(granted)
    await here.until_states("idle")
    assert here.clusters()[0].id == granted.cluster.id
    assert theirs.stopped == ["ours"]


async def test_an_entry_that_went_while_no_daemon_ran_keeps_its_lease(here: Here, theirs: FakeCluster) -> None:
    here.write(entry(theirs))
    await here.start()
    granted = await here.lease(a_key(1))
    await here.close()
    here.write()
    await here.start()
    assert here.states() == ["leased"]
    await here.release(granted)
    await here.until_states()


async def test_a_group_finds_its_cluster_again_while_it_is_held(here: Here, theirs: FakeCluster) -> None:
    here.write(entry(theirs))
    await here.start()
    await here.release(await here.lease(a_key(1), group="g", hold_s=60.0))
    await here.until_states("idle")
    told = await here.ask(a_key(1), group="other")
    assert isinstance(told, Queued)
    assert told.reason is Reason.ALL_HELD
    # Who waits for anything does not keep the group from what is held for it.
    assert (await here.lease(a_key(1), group="g")).cluster.uses == 2


async def test_a_drained_one_is_cordoned_and_goes_on(here: Here, theirs: FakeCluster) -> None:
    here.write(entry(theirs))
    await here.start()
    await here.until_states("idle")
    (cluster,) = here.clusters()
    await here.daemon.submit(Cordon(cluster.id, drain=True))
    assert isinstance(await here.ask(a_key(1)), Queued)
    assert here.states() == ["idle"]
    await here.daemon.submit(Cordon(cluster.id, on=False))
    await here.until(lambda: here.clusters()[0].uses == 1)


async def test_never_more_are_attached_than_there_are(here: Here, theirs: FakeCluster) -> None:
    async with FakeCluster() as other:
        same = {"image": "i:1", "shape": "{head: {cpu: 1}}"}
        here.write(entry(theirs, "a", **same), entry(other, "b", **same))
        await here.start()
        await here.until_states("idle", "idle")
        for _ in range(2):
            await here.lease(a_key(1, "i:1"))
        assert isinstance(await here.ask(a_key(1, "i:1")), Queued)
        assert {cluster.dashboard_url for cluster in here.clusters()} == {theirs.url, other.url}
        assert here.states() == ["leased", "leased"]

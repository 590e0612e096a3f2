"""What the view concludes from what Kubernetes tells, in whatever order it comes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from pool.backends.kuberay import pods
from pool.backends.kuberay.options import KuberayOptions
from pool.backends.kuberay.view import View
from pool.core.events import Degraded, Lost
from pool.core.reasons import Reason

STORE, ID = "0123456789abcdef", "c-1-1"
RUNNING: dict[str, Any] = {"running": {}}


def cluster(store: str = STORE, **meta: Any) -> dict[str, Any]:
    labels = {"warmpool/store": store, "warmpool/cluster": ID}
    return {
        "metadata": {"uid": "rc", "name": "rc", "namespace": "n", "labels": labels, **meta},
        "status": {},
        "edited": "",
        "workers": 0,
    }


def pod(
    uid: str = "p1", container: str = "x1", state: dict[str, Any] | None = None, kind: str = "head", **status: Any
) -> dict[str, Any]:
    labels = {"warmpool/store": STORE, "warmpool/cluster": ID, "ray.io/node-type": kind}
    said = {"name": f"ray-{kind}", "image": "i", "state": state or RUNNING, "containerID": f"containerd://{container}"}
    found = {"phase": "Running", "podIP": "10.0.0.1", "containerStatuses": [said], **status}
    return {"metadata": {"uid": uid, "name": uid, "namespace": "n", "labels": labels}, "status": found}


class Seen:
    """A view that is told by hand."""

    def __init__(self) -> None:
        self.told: list[Lost | Degraded] = []
        # Nothing is asked before it is opened.
        self.view = View(None, STORE, KuberayOptions(), self.told.append)  # type: ignore[arg-type]
        for cache in self.view._caches:
            cache._listed.set()

    @property
    def lost(self) -> list[Lost]:
        return [one for one in self.told if isinstance(one, Lost)]

    async def degraded(self) -> list[tuple[str, bool]]:
        """Return what was told of clusters that are not lost, once all is looked at."""
        while self.view._waking is not None and not self.view._waking.done():
            await self.view._waking
            await asyncio.sleep(0)
        return [(one.detail, one.lasting) for one in self.told if isinstance(one, Degraded)]

    def cluster(self, item: dict[str, Any], deleted: bool = False) -> None:
        self.view._on_cluster(item, deleted)

    def pod(self, item: dict[str, Any], deleted: bool = False) -> None:
        self.view._on_pod(item, deleted)


@pytest.fixture
async def seen() -> Seen:
    made = Seen()
    made.cluster(cluster())
    made.pod(pod())
    return made


async def test_a_head_that_was_replaced_is_lost(seen: Seen) -> None:
    seen.pod(pod(), deleted=True)
    seen.pod(pod("p2", "x2"))
    (lost,) = seen.lost
    assert (lost.cluster_id, lost.boot_id) == (ID, "p1-x1")


async def test_a_container_that_restarted_in_place_is_another_head(seen: Seen) -> None:
    seen.pod(pod(container="x2"))
    assert [(lost.boot_id, lost.reason) for lost in seen.lost] == [("p1-x1", Reason.HEAD_REPLACED)]


async def test_a_head_that_ended_tells_how(seen: Seen) -> None:
    seen.pod(pod(state={"terminated": {"exitCode": 137, "reason": "OOMKilled"}}, phase="Failed"))
    (lost,) = seen.lost
    assert lost.reason is Reason.PROCESS_GONE
    assert lost.detail == f"{ID}: p1 ended since it ran out of memory with code 137 (OOMKilled)."


async def test_a_cluster_that_somebody_deletes_is_lost_once(seen: Seen) -> None:
    seen.cluster(cluster(deletionTimestamp="now"))
    seen.pod(pod())
    seen.cluster(cluster(), deleted=True)
    assert [lost.detail for lost in seen.lost] == [f"{ID}: somebody deleted its RayCluster."]


async def test_a_cluster_whose_head_outlives_its_raycluster_does_not_go_on(seen: Seen) -> None:
    assert seen.view.goes_on(ID, "p1-x1")
    assert not seen.view.goes_on(ID, "p1-x2")
    seen.cluster(cluster(), deleted=True)
    seen.pod(pod())
    assert not seen.view.goes_on(ID, "p1-x1")


async def test_pods_that_are_known_before_their_cluster_prove_no_loss() -> None:
    seen = Seen()
    seen.pod(pod())
    seen.cluster(cluster())
    seen.pod(pod())
    assert seen.lost == []
    assert seen.view.cluster_ids() == {ID}


async def test_a_lost_worker_is_not_a_lost_cluster(seen: Seen) -> None:
    seen.pod(pod("w1", kind="worker"))
    seen.pod(pod("w1", kind="worker"), deleted=True)
    assert seen.lost == []


async def test_what_is_not_of_this_store_is_only_counted(seen: Seen) -> None:
    other = cluster(store="f" * 16)
    other["metadata"]["uid"] = "other"
    seen.view._ray.items = {"rc": cluster(), "other": other}
    seen.cluster(other)
    assert (seen.view.foreign, seen.view.cluster_ids()) == (1, {ID})


@pytest.mark.parametrize(
    ("given", "reason", "lasting", "said"),
    [
        (pod(state={"waiting": {"reason": "ImagePullBackOff"}}), Reason.START_FAILED, True, "cannot be pulled"),
        (pod(state={"terminated": {"reason": "OOMKilled", "exitCode": 137}}), Reason.START_FAILED, True, "of memory"),
        (pod(state={"terminated": {"reason": "Error", "exitCode": 1}}), Reason.START_FAILED, True, "code 1"),
        (
            pod(conditions=[{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]),
            Reason.NO_CAPACITY,
            False,
            "finds no node",
        ),
    ],
)
def test_a_pod_in_trouble_says_why(given: dict[str, Any], reason: Reason, lasting: bool, said: str) -> None:
    trouble = pods.trouble([pod(), given])
    assert trouble is not None
    assert (trouble.reason, trouble.lasting) == (reason, lasting)
    assert said in trouble.detail


def test_the_phase_of_a_start_is_told_by_its_pods() -> None:
    scheduled = [{"type": "PodScheduled", "status": "True"}]
    assert pods.phase([], 1) == "admitted"
    assert pods.phase([pod(state={"waiting": {}})], 1) == "scheduling"
    assert pods.phase([pod(state={"waiting": {}}, conditions=scheduled)], 1) == "pulling image"
    assert pods.phase([pod(conditions=scheduled)], 0) == "starting head"


def worker(uid: str = "w1", *, ready: bool = True, **fields: Any) -> dict[str, Any]:
    item = pod(uid, container=f"x-{uid}", kind="worker", **fields)
    item["status"]["containerStatuses"][0]["ready"] = ready
    return item


async def test_a_cluster_that_misses_a_worker_is_told_once_with_the_cause_and_whole_when_the_new_one_is_ready(
    seen: Seen,
) -> None:
    seen.cluster({**cluster(), "workers": 2})
    seen.pod(worker("w1"))
    seen.pod(worker("w2"))
    assert await seen.degraded() == []
    seen.pod(worker("w1", state={"terminated": {"exitCode": 137, "reason": "OOMKilled"}}, phase="Failed"))
    seen.pod(worker("w1"), deleted=True)
    one = (f"{ID}: 1 of 2 workers run: w1 ended since it ran out of memory with code 137 (OOMKilled).", False)
    assert await seen.degraded() == [one]
    seen.pod(worker("w3", ready=False))
    assert await seen.degraded() == [one]
    seen.pod(worker("w3"))
    assert await seen.degraded() == [one, ("", False)]


async def test_a_list_is_looked_at_as_a_whole_and_only_while_the_watches_stand() -> None:
    seen = Seen()
    seen.view._pod.failed = "away"
    seen.cluster({**cluster(), "workers": 1})
    seen.pod(pod())
    assert await seen.degraded() == []
    seen.view._pod.failed = ""
    seen.pod(worker())
    assert await seen.degraded() == []


async def test_a_cluster_that_somebody_edited_does_not_become_whole(seen: Seen) -> None:
    seen.cluster({**cluster(), "edited": "spec.suspend is true"})
    assert await seen.degraded() == [(f"{ID}: somebody changed its RayCluster: spec.suspend is true.", True)]


async def test_who_waits_for_one_cluster_is_woken_by_it_alone() -> None:
    seen = Seen()
    seen.cluster(cluster())
    waiting = asyncio.create_task(seen.view.changed(60.0, ID))
    await asyncio.sleep(0)
    other = cluster(uid="other", labels={"warmpool/store": STORE, "warmpool/cluster": "c-1-2"})
    seen.cluster(other)
    seen.view._on_event({"metadata": {"uid": "e1"}, "about": "other", "said": "Said: of the other"}, False)
    await seen.degraded()
    assert not waiting.done()
    seen.view._on_event({"metadata": {"uid": "e2"}, "about": "rc", "said": "Said: of this one"}, False)
    await waiting
    assert seen.view._awaited == {}

"""What a waiter is told of a start that does not get on, and when it is given up."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import aiohttp
import pytest

from pool.backends.kuberay import ready
from pool.backends.kuberay.backend import KuberayBackend
from pool.backends.kuberay.ready import Starting
from pool.core.errors import StartFailed
from pool.core.key import key_from
from pool.core.reasons import Reason
from pool.kube.api import ApiError
from tests.kube.kit import cluster_of, small, until
from tests.kuberay.test_view import ID, STORE, Seen, cluster, pod

KEY = key_from({"image": "ray:2.60.0", "tenant": "p/d", "shape": {"workers": [{"cpu": 1, "replicas": 1}]}})
WAITING: dict[str, Any] = {"waiting": {"reason": "ContainerCreating"}}


def starting(seen: Seen, phases: list[str], patience_s: float = 0.0) -> Starting:
    # No head of these runs: nothing is asked over HTTP.
    http: aiohttp.ClientSession = None  # type: ignore[assignment]
    return Starting(ID, KEY, seen.view, http, "token", phases.append, patience_s)


def warned(seen: Seen, said: str, about: str = "rc") -> None:
    seen.view._on_event({"metadata": {"uid": said}, "about": about, "said": said}, False)


async def test_a_quota_with_room_for_the_head_alone_is_no_room_and_told_meanwhile() -> None:
    seen, phases = Seen(), list[str]()
    seen.cluster(cluster())
    seen.pod(pod(state=WAITING))
    warned(seen, "FailedToCreateWorkerPod: pods w is forbidden: exceeded quota: small")
    with pytest.raises(StartFailed, match="exceeded quota: small") as failed:
        await starting(seen, phases, patience_s=0.5).wait()
    assert failed.value.reason is Reason.NO_CAPACITY
    assert phases == ["scheduling: its pods were refused: pods w is forbidden: exceeded quota: small"]


async def test_pods_that_find_no_node_are_told_with_the_phase() -> None:
    seen, phases = Seen(), list[str]()
    seen.cluster(cluster())
    full = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}
    seen.pod(pod(state=WAITING, conditions=[full]))
    with pytest.raises(StartFailed, match="finds no node"):
        await starting(seen, phases, patience_s=0.5).wait()
    assert phases == ["scheduling: p1 finds no node: 0/1 nodes"]


MOUNT = 'FailedMount: MountVolume.SetUp failed for volume "info"'


@pytest.mark.parametrize("said", [
    f'{MOUNT} : secret "info" not found', f"{MOUNT} : references non-existent secret key: password",
    f'{MOUNT} : configmap "info" not found',
])  # fmt: skip
@pytest.mark.parametrize("pod_first", [True, False])
async def test_a_volume_of_what_is_not_there_ends_a_start_at_once(said: str, pod_first: bool) -> None:
    seen = Seen()
    seen.cluster(cluster())
    waiting = asyncio.create_task(starting(seen, []).wait())
    await asyncio.sleep(0)
    tells = [lambda: seen.pod(pod(state=WAITING)), lambda: warned(seen, said, "p1")]
    for tell in tells if pod_first else reversed(tells):
        tell()
    with pytest.raises(StartFailed, match="p1 cannot mount: MountVolume") as failed:
        await asyncio.wait_for(waiting, 5)
    assert failed.value.reason is Reason.START_FAILED
    assert said.partition(": ")[2] in str(failed.value)


async def test_a_volume_that_may_still_be_mounted_or_is_by_now_ends_no_start() -> None:
    seen, phases = Seen(), list[str]()
    seen.cluster(cluster())
    seen.pod(pod(state=WAITING))
    waiting = asyncio.create_task(starting(seen, phases).wait())
    warned(seen, f"{MOUNT} : timed out waiting for the condition", "p1")
    await until(lambda: bool(phases), "the phase", 5.0)
    # Its Secret came later; this was warned before.
    mounted = {"type": "PodReadyToStartContainers", "status": "True"}
    seen.pod(pod(state=WAITING, conditions=[mounted, {"type": "PodScheduled", "status": "True"}]))
    warned(seen, f'{MOUNT} : secret "info" not found', "p1")
    await until(lambda: phases[-1] == "pulling image", "the next phase", 5.0)
    assert not waiting.done()
    waiting.cancel()
    # With the pod goes what is known of it.
    seen.pod(pod(), deleted=True)
    assert "p1" not in seen.view._told
    assert "p1" not in seen.view._named


async def test_a_cluster_that_kuberay_does_not_take_up_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ready, "UNTAKEN_S", 0.0)
    seen, phases = Seen(), list[str]()
    seen.cluster(cluster())
    waiting = asyncio.create_task(starting(seen, phases).wait())
    await until(lambda: phases[-1:] == ["admitted: KubeRay has not made its pods yet"], "the phase", 5.0)
    waiting.cancel()


class Away:
    """A Kubernetes API that is not there at first, and then refuses."""

    def __init__(self) -> None:
        self.asked = 0

    async def create(self, path: str, body: object) -> None:
        self.asked += 1
        raise ApiError(0, "connection refused") if self.asked < 3 else ApiError(403, "it may not")


async def test_a_start_waits_for_a_kubernetes_that_is_away_and_fails_only_by_its_word() -> None:
    api, phases = Away(), list[str]()
    backend = KuberayBackend()
    backend._api, backend.view = api, Seen().view  # type: ignore[assignment]
    backend._store_id, backend._token_for = STORE, lambda cluster_id: "token"
    key = small()
    with pytest.raises(StartFailed, match="may not create it"):
        await backend.start(cluster_of(key), key, phases.append)
    assert api.asked == 3
    assert phases == [
        "creating",
        "waiting for Kubernetes: connection refused",
        "waiting for Kubernetes: connection refused",
    ]


async def test_a_start_is_looked_at_when_it_changes_or_its_own_time_has_come(monkeypatch: pytest.MonkeyPatch) -> None:
    seen, phases, waits = Seen(), list[str](), list[tuple[float, str]]()

    async def changed(timeout_s: float, cluster_id: str = "") -> None:
        waits.append((timeout_s, cluster_id))
        raise asyncio.CancelledError

    monkeypatch.setattr(seen.view, "changed", changed)
    full = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}
    for pods, due_s in (
        ([], ready.UNTAKEN_S),
        ([pod(state=WAITING, conditions=[full])], 30.0),
        ([pod(state=WAITING)], 60.0),
    ):
        seen.cluster(cluster())
        for one in pods:
            seen.pod(one)
        with pytest.raises(asyncio.CancelledError):
            await starting(seen, phases, patience_s=30.0).wait()
        waited_s, cluster_id = waits.pop()
        assert (round(waited_s), cluster_id) == (round(due_s), ID)


class Head:
    """A head's HTTP API, with its token and without.

    Attributes:
        version: of its Ray.
        opened: the path that it answers to strangers.
    """

    def __init__(self, version: str = "2.60.0", opened: str = "") -> None:
        self.version, self.opened = version, opened

    async def get(self, path: str) -> Any:
        return {"ray_version": self.version}

    async def state(self, table: str, *filters: Any) -> list[dict[str, Any]]:
        return [{"is_head_node": True}, {"is_head_node": False}]

    async def refuses_strangers(self, path: str) -> bool:
        return path != self.opened


async def answered(head: Head, phases: list[str]) -> str | None:
    return await starting(Seen(), phases)._answers(head)  # type: ignore[arg-type]


async def test_a_cluster_that_refuses_strangers_everywhere_is_ready() -> None:
    phases: list[str] = []
    assert await answered(Head(), phases) == "2.60.0"
    assert phases == ["checking"]


@pytest.mark.parametrize("path", ready.PROTECTED)
async def test_a_cluster_that_answers_a_stranger_anywhere_is_an_open_one_and_never_ready(path: str) -> None:
    with pytest.raises(StartFailed, match=f"answered GET {path} without its token") as failed:
        await answered(Head(opened=path), [])
    assert failed.value.reason is Reason.OPEN_CLUSTER


async def test_a_ray_that_is_found_to_be_too_old_for_tokens_is_refused_with_a_sentence() -> None:
    with pytest.raises(StartFailed, match=r"runs Ray 2\.51\.1, which knows no token authentication") as failed:
        await answered(Head("2.51.1"), [])
    assert failed.value.reason is Reason.OPEN_CLUSTER


@pytest.mark.parametrize(
    ("status", "said", "reason", "told"),
    [
        (403, "forbidden: exceeded quota: rays, requested: pods=1", Reason.NO_CAPACITY, "quota is used up"),
        (
            400,
            'admission webhook "policy.example.com" denied the request: no team label',
            Reason.START_FAILED,
            "an admission rule of the cluster refused it: .*no team label",
        ),
        (403, "user cannot create resource rayclusters", Reason.START_FAILED, "account may not create it"),
        (422, "spec.headGroupSpec: Required value", Reason.START_FAILED, "refuses its spec: .*Required value"),
        (404, 'namespaces "none" not found', Reason.START_FAILED, 'namespace or KubeRay itself is missing: .*"none"'),
        (500, "etcd is full", Reason.START_FAILED, "could not be asked to create it: etcd is full"),
    ],
)
def test_what_refuses_a_raycluster_is_told_in_a_sentence(status: int, said: str, reason: Reason, told: str) -> None:
    failed = ready.refused(ID, ApiError(status, said))
    assert failed.reason is reason
    assert re.search(told, failed.detail), failed.detail
    assert failed.detail.startswith(f"{ID}: ")
    assert failed.detail.endswith(".")

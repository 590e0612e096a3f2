"""A head that runs and answers nobody is lost; one that answers the daemon is not, whatever Kubernetes says."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from pool.backends.kuberay import health
from pool.backends.kuberay.health import Health
from pool.backends.kuberay.view import Doubt
from pool.backends.rayapi.dashboard import DashboardError
from pool.core.events import Lost
from pool.core.reasons import Reason
from tests.kube.kit import until
from tests.kuberay.test_view import ID, Seen, cluster, pod

READY = [{"type": "Ready", "status": "True"}]


@dataclass
class Heads:
    """Answers for every head, and counts how often one is asked."""

    well: bool = False
    asked: list[str] = field(default_factory=list)

    def at(self, doubt: Doubt, bound_s: float) -> Heads:
        assert bound_s > 0
        self.asked.append(doubt.host)
        return self

    async def get(self, path: str) -> list[str]:
        if not self.well:
            raise DashboardError(f"GET {path}: no answer in time")
        return []


@pytest.fixture
async def heads(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Heads]:
    monkeypatch.setattr(health, "PAUSE_S", 0.01)
    monkeypatch.setattr(health, "SILENT_S", 0.05)
    made = Heads()
    watching = Health(seen.view, made.at)
    watching.start()
    yield made
    await watching.close()


@pytest.fixture
async def seen() -> Seen:
    made = Seen()
    made.cluster(cluster())
    made.pod(pod(conditions=READY))
    return made


async def test_a_ready_head_is_never_asked_and_one_that_hangs_is_lost_with_the_reason(seen: Seen, heads: Heads) -> None:
    seen.pod(pod(conditions=READY))
    await seen.degraded()
    assert heads.asked == []
    seen.pod(pod(conditions=[{"type": "Ready", "status": "False"}]))
    await until(lambda: seen.lost, "the loss")
    (lost,) = seen.lost
    assert isinstance(lost, Lost)
    assert (lost.boot_id, lost.reason) == ("p1-x1", Reason.UNHEALTHY)
    assert lost.detail.startswith(
        f"{ID}: its head runs and answers neither Kubernetes' probes nor, for 0 s, the daemon: "
    )
    assert lost.detail.endswith("GET /api/jobs/: no answer in time.")


async def test_a_head_that_answers_the_daemon_is_not_lost_while_its_kubelet_is_away(seen: Seen, heads: Heads) -> None:
    heads.well = True
    seen.pod(pod(conditions=[]))
    await until(lambda: len(heads.asked) > 20, "probes")
    assert seen.lost == []


async def test_nothing_hangs_while_it_starts_or_while_kubernetes_is_away(seen: Seen, heads: Heads) -> None:
    seen.view.expect(ID)
    seen.pod(pod(conditions=[]))
    assert seen.view.doubts() == []
    seen.view.follow(ID, "p1-x1")
    assert [doubt.cluster_id for doubt in seen.view.doubts()] == [ID]
    seen.view._pod.failed = "away"
    assert seen.view.doubts() == []

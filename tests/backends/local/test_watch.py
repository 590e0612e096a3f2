"""A ready cluster that broke is told, once, with what happened."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from pool.backends.local.options import LocalOptions
from pool.backends.local.processes import Process, read
from pool.backends.local.trail import Files, Ports, Ready, Running, Trail
from pool.backends.local.watch import Watch, Watched
from pool.backends.rayapi.dashboard import DashboardError
from pool.core.events import Lost
from pool.core.reasons import Reason

TRAIL = Trail("s1", "c1", "d", "/nowhere", Ports(1, 2, 3, 4), (), "claim", 1.0, 1.0)
READY = Ready("boot", "session_1", "a:1", "", "2.60")


class FakeDashboard:
    session: str = "session_1"
    fails: bool = False
    hangs: bool = False
    asked = 0

    async def get(self, path: str) -> dict[str, str]:
        self.asked += 1
        if self.fails:
            raise DashboardError("no answer in time")
        return {"session_name": self.session}

    async def healthy(self) -> bool:
        return not self.hangs


def this_process() -> Process:
    entry = read(os.getpid())
    assert entry is not None
    return entry.process


@pytest.fixture
def dashboard() -> FakeDashboard:
    return FakeDashboard()


@pytest.fixture
def lost() -> list[Lost]:
    return []


@pytest.fixture
def watch(tmp_path: Path, dashboard: FakeDashboard, lost: list[Lost]) -> Watch:
    options = LocalOptions(probe_s=0.0, probe_misses=3, probe_window_s=0.05)
    made = Watch(options, lost.append)
    made.add(watched(tmp_path, dashboard, this_process()))
    return made


def watched(tmp_path: Path, dashboard: Any, head: Process) -> Watched:
    return Watched(TRAIL, Files(tmp_path), READY, Running(nodes={"head": head}), dashboard)


async def looked(watch: Watch, times: int) -> None:
    for _ in range(times):
        watch.look()
        await asyncio.sleep(0.01)


async def test_a_healthy_cluster_is_asked_and_left_alone(
    watch: Watch, dashboard: FakeDashboard, lost: list[Lost]
) -> None:
    async with asyncio.timeout(30):
        while dashboard.asked < 3:
            await looked(watch, 1)
    assert lost == []


async def test_an_ended_head_is_told_once(tmp_path: Path, watch: Watch, lost: list[Lost]) -> None:
    head = Process(os.getpid(), this_process().start + 1)
    watch.add(watched(tmp_path, FakeDashboard(), head))
    await looked(watch, 3)
    assert [(one.cluster_id, one.boot_id, one.reason) for one in lost] == [("c1", "boot", Reason.PROCESS_GONE)]


async def test_a_replaced_head_is_told_at_once(watch: Watch, dashboard: FakeDashboard, lost: list[Lost]) -> None:
    dashboard.session = "session_2"
    await looked(watch, 3)
    assert [one.reason for one in lost] == [Reason.HEAD_REPLACED]
    assert "session_2, not session_1" in lost[0].detail


@pytest.mark.parametrize("how", ["fails", "hangs"])
async def test_only_a_long_silence_is_unhealthy(
    watch: Watch, dashboard: FakeDashboard, lost: list[Lost], how: str
) -> None:
    setattr(dashboard, how, True)
    await looked(watch, 2)
    setattr(dashboard, how, False)  # one answer makes good for all misses before it
    await looked(watch, 3)
    setattr(dashboard, how, True)
    await looked(watch, 2)
    assert lost == []
    async with asyncio.timeout(30):
        while not lost:
            await looked(watch, 1)
    assert [one.reason for one in lost] == [Reason.UNHEALTHY]


async def test_a_forgotten_cluster_is_not_told(watch: Watch, dashboard: FakeDashboard, lost: list[Lost]) -> None:
    dashboard.session = "session_2"
    watch.look()
    watch.forget("c1")
    await looked(watch, 3)
    assert lost == []

"""The decisions of a reset, against a dashboard that answers as Ray's does."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from pool.backends.base import Clean
from pool.backends.local.census import Census
from pool.backends.local.processes import Process, read
from pool.backends.rayapi.dashboard import Dashboard, DashboardError
from pool.backends.rayapi.inside import Swept, entrypoint
from pool.backends.rayapi.reset import Reset
from pool.inside import runner, sweeper
from pool.inside.owner import NAMESPACE
from pool.inside.programs import runner_command
from pool.inside.tables import SUPERVISOR

EMPTY = Census(frozenset(), (), ())


@dataclass
class FakeRay:
    """What a cluster's HTTP API tells, and what it was asked."""

    session: str = "session_1"
    jobs: list[dict[str, Any]] = field(default_factory=list)
    active: str = "INACTIVE"
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    partial: str = ""
    stopped: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != "Bearer secret":
            return web.Response(status=401)
        self.asked.append(request.path)
        path = request.path
        if path == "/api/version":
            return web.json_response({"session_name": self.session})
        if path == "/api/component_activities":
            return web.json_response({"driver": {"is_active": self.active, "reason": "why"}})
        if path == "/api/jobs/":
            return web.json_response(self.jobs)
        if path.endswith("/stop"):
            self.stopped.append(path.split("/")[3])
            for job in self.jobs:
                job["status"] = "STOPPED"
            return web.json_response({"stopped": True})
        rows = {"result": self.tables.get(path.rpartition("/")[2], []), "partial_failure_warning": self.partial}
        return web.json_response({"result": True, "data": {"result": rows}})


@pytest.fixture
async def ray() -> AsyncIterator[tuple[FakeRay, Dashboard]]:
    fake = FakeRay()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", fake.answer)
    async with TestServer(app) as server, aiohttp.ClientSession() as http:
        yield fake, Dashboard(http, str(server.make_url("")).rstrip("/"), "secret")


async def no_sweep(spare_resident: bool) -> Swept:
    raise DashboardError("the sweep inside the cluster failed: why")


async def reset(dashboard: Dashboard, census: Census | None = EMPTY, settle_s: float = 0.2) -> Clean:
    return await Reset(dashboard, "session_1", settle_s, no_sweep, (lambda: census) if census else None).run()


async def test_an_empty_cluster_is_clean_after_one_look(ray: tuple[FakeRay, Dashboard]) -> None:
    fake, dashboard = ray
    assert await reset(dashboard) == Clean(True)
    assert len(fake.asked) == 6
    # Who could still make something is asked before what was made.
    assert {*fake.asked[4:]} == {"/api/v0/actors", "/api/v0/placement_groups"}


async def test_a_replaced_head_is_not_clean(ray: tuple[FakeRay, Dashboard]) -> None:
    fake, dashboard = ray
    fake.session = "session_2"
    assert "session_2, not session_1" in (await reset(dashboard)).left


async def test_running_jobs_are_stopped_and_then_it_is_clean(ray: tuple[FakeRay, Dashboard]) -> None:
    fake, dashboard = ray
    fake.jobs = [
        {"type": "SUBMISSION", "submission_id": "a", "job_id": None, "status": "RUNNING"},
        {"type": "SUBMISSION", "submission_id": "b", "job_id": None, "status": "PENDING"},
        {"type": "SUBMISSION", "submission_id": "c", "job_id": None, "status": "SUCCEEDED"},
    ]
    assert await reset(dashboard, settle_s=10) == Clean(True)
    assert sorted(fake.stopped) == ["a", "b"]


@pytest.mark.parametrize(
    ("change", "left"),
    [
        ({"active": "ERROR"}, "drivers are ERROR: why"),
        ({"jobs": [{"type": "DRIVER", "job_id": "02000000", "status": "RUNNING"}]}, "driver of job 02000000"),
        ({"tables": {"workers": [{"worker_id": "0300000000ff", "pid": 7}]}}, "driver 03000000 (pid 7)"),
        ({"partial": "one node did not answer"}, "one node did not answer"),
        (
            {"tables": {"actors": [{"name": "", "class_name": "A", "is_detached": False, "job_id": "01"}]}},
            "actor 'A' of job 01",
        ),
        (
            {"tables": {"placement_groups": [{"name": "g", "placement_group_id": "1", "creator_job_id": "01"}]}},
            "placement group 'g' of job 01",
        ),
    ],
)
async def test_what_remains_is_named(ray: tuple[FakeRay, Dashboard], change: dict[str, Any], left: str) -> None:
    fake, dashboard = ray
    for name, value in change.items():
        setattr(fake, name, value)
    found = await reset(dashboard)
    assert not found.clean
    assert left in found.left


async def test_rays_own_agent_is_no_stranger(ray: tuple[FakeRay, Dashboard]) -> None:
    fake, dashboard = ray
    fake.tables["workers"] = [{"worker_id": "0300000000ff", "pid": 7}]
    assert await reset(dashboard, Census(frozenset({7}), (), ())) == Clean(True)


async def test_a_cluster_that_does_not_answer_is_not_clean(ray: tuple[FakeRay, Dashboard]) -> None:
    _, dashboard = ray
    dashboard._headers = {}
    found = await reset(dashboard)
    assert not found.clean
    assert "401" in found.left


async def test_a_left_process_is_ended_only_when_no_job_runs_any_more(ray: tuple[FakeRay, Dashboard]) -> None:
    fake, dashboard = ray
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=subprocess.PIPE)
    entry = read(child.pid)
    assert entry is not None

    def census() -> Census:
        left = ((entry.process, "input"),) if entry.process.alive() else ()
        return Census(frozenset(), (), left)

    fake.jobs = [{"type": "SUBMISSION", "submission_id": "a", "job_id": None, "status": "RUNNING"}]
    assert await Reset(dashboard, "session_1", 10, no_sweep, census).run() == Clean(True)
    assert fake.stopped == ["a"]
    assert await child.wait() == -9


async def test_what_outlives_its_driver_is_swept_once_and_the_tables_are_looked_at_again(
    ray: tuple[FakeRay, Dashboard],
) -> None:
    fake, dashboard = ray
    fake.tables["actors"] = [{"name": "x", "class_name": "A", "is_detached": True, "job_id": "01"}]

    async def sweep(spare_resident: bool) -> Swept:
        looked.append(len(fake.asked))
        fake.tables.clear()
        return Swept(("detached actor 'x' of job 01",), ())

    looked: list[int] = []
    found = await Reset(dashboard, "session_1", 10, sweep, lambda: EMPTY).run()
    assert found == Clean(True, removed=("detached actor 'x' of job 01",))
    assert len(fake.asked) == looked[0] + 6


async def test_what_the_sweep_could_not_remove_is_not_clean(ray: tuple[FakeRay, Dashboard]) -> None:
    _, dashboard = ray

    async def sweep(spare_resident: bool) -> Swept:
        return Swept((), ("process 'sleep 9' (pid 7) on the head",))

    found = await Reset(dashboard, "session_1", 10, sweep).run()
    assert found == Clean(False, "process 'sleep 9' (pid 7) on the head")


async def test_where_processes_are_not_seen_an_empty_table_is_no_proof(ray: tuple[FakeRay, Dashboard]) -> None:
    _, dashboard = ray
    found = await reset(dashboard, None)
    assert found == Clean(False, "the sweep inside the cluster failed: why")


async def test_an_actor_that_comes_back_after_the_sweep_is_not_clean(ray: tuple[FakeRay, Dashboard]) -> None:
    fake, dashboard = ray
    fake.tables["actors"] = [{"name": "x", "class_name": "A", "is_detached": True, "job_id": "01"}]

    async def sweep(spare_resident: bool) -> Swept:
        return Swept(("detached actor 'x' of job 01",), ())

    found = await Reset(dashboard, "session_1", 0.2, sweep).run()
    assert (found.clean, found.left) == (False, "detached actor 'x' of job 01")


async def test_for_the_same_group_empty_tables_are_enough_and_it_says_that_it_was_not_all(
    ray: tuple[FakeRay, Dashboard],
) -> None:
    fake, dashboard = ray
    assert await Reset(dashboard, "session_1", 10, no_sweep, full=False).run() == Clean(True, full=False)
    fake.tables["actors"] = [{"name": "x", "class_name": "A", "is_detached": True, "job_id": "01"}]

    async def sweep(spare_resident: bool) -> Swept:
        fake.tables.clear()
        return Swept(("detached actor 'x' of job 01",), ())

    # What had to be swept was swept whole.
    found = await Reset(dashboard, "session_1", 10, sweep, full=False).run()
    assert (found.clean, found.full) == (True, True)


@pytest.mark.parametrize(("detached", "at_once"), [(True, True), (False, False)])
async def test_what_goes_with_no_driver_is_swept_at_once_and_the_rest_has_time_to_go_by_itself(
    ray: tuple[FakeRay, Dashboard], detached: bool, at_once: bool
) -> None:
    fake, dashboard = ray
    fake.tables["actors"] = [{"name": "x", "class_name": "A", "is_detached": detached, "job_id": "01"}]
    looks = 0

    async def sweep(spare_resident: bool) -> Swept:
        fake.tables.clear()
        return Swept(("x",), ())

    def census() -> Census:
        nonlocal looks
        looks += 1
        return EMPTY

    assert (await Reset(dashboard, "session_1", 10, sweep, census).run()).removed == ("x",)
    # Each look takes the census twice.
    assert (looks == 4) == at_once


OWNER = {"name": "resident-n1", "class_name": "ResidentOwner", "ray_namespace": NAMESPACE, "job_id": "01", "pid": 7}


async def test_resident_data_stays_for_the_same_group_and_its_owner_is_no_leftover(
    ray: tuple[FakeRay, Dashboard],
) -> None:
    fake, dashboard = ray
    fake.tables = {"actors": [OWNER]}
    census = Census(frozenset(), ((Process(7, 1), "ray::ResidentOwner"),), ())
    found = await Reset(dashboard, "session_1", 10, no_sweep, lambda: census, full=False).run()
    # Clean, but not for everybody: its data is still there.
    assert found == Clean(True, full=False)


async def test_a_full_reset_removes_resident_data_and_a_reset_for_the_group_spares_it(
    ray: tuple[FakeRay, Dashboard],
) -> None:
    fake, dashboard = ray
    spared: list[bool] = []

    async def sweep(spare_resident: bool) -> Swept:
        spared.append(spare_resident)
        fake.tables = {"actors": [OWNER]} if spare_resident else {}
        return Swept(("detached actor 'x' of job 01",), ())

    other = {"name": "x", "class_name": "A", "is_detached": True, "ray_namespace": "mine", "job_id": "01"}
    for full in (False, True):
        fake.tables = {"actors": [OWNER, other]}
        found = await Reset(dashboard, "session_1", 10, sweep, lambda: EMPTY, full=full).run()
        assert (found.clean, found.full) == (True, full)
    assert spared == [True, False]


async def test_an_actor_in_another_namespace_is_no_owner(ray: tuple[FakeRay, Dashboard]) -> None:
    fake, dashboard = ray
    fake.tables = {"actors": [OWNER | {"ray_namespace": "mine"}]}
    assert not (await Reset(dashboard, "session_1", 0.1, no_sweep, lambda: EMPTY, full=False).run()).clean


def staying(prefix: str, entrypoint: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the job and the supervisor of a program of ours that stays, or of what calls itself so."""
    id_ = f"{prefix}x"
    job = {"type": "SUBMISSION", "submission_id": id_, "job_id": None, "status": "RUNNING", "entrypoint": entrypoint}
    actor = {"name": SUPERVISOR + id_, "class_name": "JobSupervisor", "pid": 70, "job_id": "01", "ray_namespace": "S"}
    return job, actor


def forked(*pids_and_parents: tuple[int, int, str]) -> Census:
    """Return a census with a supervisor's worker, and processes that a holder could have started."""
    left = tuple((Process(pid, 1), title) for pid, _, title in pids_and_parents)
    parents = {pid: parent for pid, parent, _ in pids_and_parents}
    return Census(frozenset(), ((Process(70, 1), "ray::JobSupervisor"),), left, parents=parents)


async def test_a_warm_interpreter_is_the_clusters_and_what_it_forked_is_the_holders(
    ray: tuple[FakeRay, Dashboard],
) -> None:
    fake, dashboard = ray
    job, actor = staying(runner.PREFIX, runner_command())
    fake.jobs, fake.tables = [job], {"actors": [actor]}
    alone = ((71, 70, "python"), (72, 70, "/bin/sh -c while kill -s 0 70; do sleep 1; done"), (73, 72, "sleep 1"))
    assert await reset(dashboard, forked(*alone)) == Clean(True)
    assert fake.stopped == []
    assert (await reset(dashboard, forked(*alone, (74, 71, "a task")))).left == "process 74: a task"


async def test_what_sweeps_the_cluster_is_the_clusters(ray: tuple[FakeRay, Dashboard]) -> None:
    fake, dashboard = ray
    job, actor = staying(sweeper.STAYS, entrypoint({}, stays=True))
    fake.jobs, fake.tables = [job], {"actors": [actor]}
    assert await reset(dashboard) == Clean(True)
    assert fake.stopped == []


@pytest.mark.parametrize("prefix", [runner.PREFIX, sweeper.STAYS])
async def test_what_only_calls_itself_a_program_of_ours_is_stopped(prefix: str, ray: tuple[FakeRay, Dashboard]) -> None:
    fake, dashboard = ray
    job, _ = staying(prefix, "python mine.py")
    fake.jobs = [job]
    assert await reset(dashboard) == Clean(True)
    assert fake.stopped == [job["submission_id"]]

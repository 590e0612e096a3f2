"""Which sweeps are jobs and which are asked of one that stayed, against a cluster that answers as Ray's does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from pool.backends.rayapi.dashboard import Dashboard, DashboardError
from pool.backends.rayapi.inside import PREFIX, Swept, entrypoint, sweep_of
from pool.backends.rayapi.sweepers import Sweepers
from pool.inside import sweeper

TOLD = {"removed": [], "left": [], "wear": {}}


@dataclass
class Cluster:
    """One cluster. A sweeper that was submitted listens, and says so in its log, unless it is `silent` or `deaf`.

    Attributes:
        answers: what a sweeper that stays answers, one after the other; None closes the connection instead.
        asked: what it was asked.
        fails: what every job says before it fails; empty for none.
        deaf: nobody listens where the sweeper says.
    """

    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    logs: dict[str, str] = field(default_factory=dict)
    submitted: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    answers: list[dict[str, Any] | None] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    fails: str = ""
    deaf: bool = False
    port: int = 0
    dashboard: Dashboard | None = None

    async def answer(self, request: web.Request) -> web.Response:
        job = request.path.removeprefix("/api/jobs/").partition("/")[0]
        if request.path == "/api/jobs/" and request.method == "POST":
            said = await request.json()
            self.add(said["submission_id"], said["entrypoint"])
            self.submitted.append(said["submission_id"])
        elif request.path == "/api/jobs/":
            return web.json_response(list(self.jobs.values()))
        elif request.method == "DELETE":
            self.deleted.append(job)
            del self.jobs[job], self.logs[job]
        elif request.path.endswith("/stop"):
            self.stopped.append(job)
            self.jobs[job]["status"] = "STOPPED"
        elif request.path.endswith("/logs"):
            return web.json_response({"logs": self.logs[job]})
        else:
            return web.json_response(self.jobs[job])
        return web.json_response({})

    def add(self, job: str, command: str) -> None:
        stays = job.startswith(sweeper.STAYS)
        status = "FAILED" if self.fails else "RUNNING" if stays else "SUCCEEDED"
        self.jobs[job] = {"submission_id": job, "entrypoint": command, "status": status, "type": "SUBMISSION"}
        listens = {"host": "127.0.0.1", "port": self.port} if stays else {}
        self.logs[job] = self.fails or f"Ray says something.\n{sweeper.MARK}{json.dumps(TOLD | listens)}\n"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked.append(json.loads(await reader.readline()))
        answer = self.answers.pop(0)
        if answer is not None:
            writer.write(json.dumps(answer).encode() + b"\n")
        writer.close()


@asynccontextmanager
async def sweeping(cluster: Cluster) -> AsyncIterator[None]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", cluster.answer)
    listening = await asyncio.start_server(cluster.serve, "127.0.0.1", 0)
    cluster.port = listening.sockets[0].getsockname()[1]
    if cluster.deaf:
        listening.close()
    async with TestServer(app) as server, aiohttp.ClientSession() as http:
        cluster.dashboard = Dashboard(http, str(server.make_url("")).rstrip("/"), "secret")
        yield
    listening.close()


async def swept(sweepers: Sweepers, cluster: Cluster, cluster_id: str = "c-1") -> Swept:
    assert cluster.dashboard is not None
    return await sweepers.swept(cluster.dashboard, cluster_id, "secret", prestart=True, spare_resident=False)


def told(removed: str) -> dict[str, Any]:
    return TOLD | {"removed": [removed], "wear": {"open_files": 7}}


async def test_the_job_of_the_first_sweep_stays_and_does_the_later_ones() -> None:
    cluster, sweepers = Cluster(answers=[told("one"), told("two")]), Sweepers()
    async with sweeping(cluster):
        assert await swept(sweepers, cluster) == Swept((), ())
        assert (await swept(sweepers, cluster)).removed == ("one",)
        # So it does for a daemon that was started anew.
        assert (await swept(Sweepers(), cluster)).removed == ("two",)
    assert [job.startswith(sweeper.STAYS) for job in cluster.submitted] == [True]
    assert cluster.stopped == []
    assert [asked["token"] for asked in cluster.asked] == ["secret", "secret"]
    assert all((asked["processes"], asked["prestart"], asked["spare"]) == (True, True, None) for asked in cluster.asked)


async def test_where_a_sweeper_is_not_reached_each_sweep_is_a_job_that_ends() -> None:
    cluster, sweepers = Cluster(deaf=True), Sweepers()
    async with sweeping(cluster):
        for _ in range(4):
            assert await swept(sweepers, cluster) == Swept((), ())
        kinds = [job.startswith(PREFIX) for job in cluster.submitted]
        assert kinds == [False, True, True, True]
        assert cluster.stopped == cluster.submitted[:1]
        # Another cluster may be reached; so may this one's successor.
        sweepers.forget("c-1")
        await swept(sweepers, cluster)
        assert cluster.submitted[-1].startswith(sweeper.STAYS)


async def test_a_sweeper_that_gives_no_answer_is_ended_before_a_job_sweeps_in_its_place() -> None:
    cluster, sweepers = Cluster(answers=[None, told("by the next")]), Sweepers()
    async with sweeping(cluster):
        for _ in range(2):
            await swept(sweepers, cluster)
        first, by_job = cluster.submitted
        assert (cluster.stopped, by_job.startswith(PREFIX)) == ([first], True)
        # The next reset starts another one.
        await swept(sweepers, cluster)
        assert cluster.submitted[2].startswith(sweeper.STAYS)
        assert set(cluster.deleted) == {first, by_job}
        assert (await swept(sweepers, cluster)).removed == ("by the next",)


async def test_of_two_sweepers_one_is_ended() -> None:
    cluster = Cluster(answers=[told("one")])
    async with sweeping(cluster):
        for name in "ab":
            cluster.add(f"{sweeper.STAYS}{name}", entrypoint({}, stays=True))
        assert (await swept(Sweepers(), cluster)).removed == ("one",)
    assert cluster.stopped == [f"{sweeper.STAYS}b"]


async def test_what_only_calls_itself_a_sweeper_is_asked_nothing() -> None:
    cluster = Cluster()
    async with sweeping(cluster):
        cluster.add(f"{sweeper.STAYS}a", "python mine.py")
        await swept(Sweepers(), cluster)
    assert len(cluster.submitted) == 1
    assert cluster.asked == []


async def test_a_first_sweep_that_fails_says_what_its_job_said() -> None:
    cluster = Cluster(fails="ModuleNotFoundError: No module named 'ray'")
    async with sweeping(cluster):
        with pytest.raises(DashboardError, match="the sweep inside the cluster failed: ModuleNotFoundError"):
            await swept(Sweepers(), cluster)


def test_a_sweep_is_told_when_the_first_job_began_that_is_no_sweep() -> None:
    def first_ms(*jobs: tuple[str | None, int | None]) -> int | None:
        rows = [{"submission_id": id_, "start_time": at, "status": "SUCCEEDED", "type": "DRIVER"} for id_, at in jobs]
        given = sweep_of(rows, processes=True, prestart=False, spare_resident=False)
        found: int | None = given["first_ms"]
        return found

    ours = (f"{PREFIX}1", 10), (f"{sweeper.STAYS}2", 11)
    assert first_ms(*ours) is None
    assert first_ms((None, 30), *ours, ("a-holders", 20), ("without", None)) == 20

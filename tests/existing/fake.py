"""Clusters of somebody else's that are not there: their dashboards answer as Ray's does."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from pool.backends.rayapi.inside import PREFIX
from pool.inside import sweeper

SWEPT = {
    "removed": ["what was left"],
    "left": [],
    "wear": {"head_memory_bytes": 700_000_000, "open_files": 70, "store_left_bytes": 0},
}


def node(cpu: float = 2, *, head: bool = False, memory_gib: float = 4, **custom: float) -> dict[str, Any]:
    total = {"CPU": cpu, "memory": memory_gib * 2**30, "object_store_memory": 2**30, "node:10.0.0.1": 1.0, **custom}
    return {"is_head_node": head, "resources_total": total}


@dataclass
class FakeCluster:
    """One cluster. Jobs, actors and placement groups are rows as Ray's tables have them.

    Attributes:
        open: it answers anybody.
        silent: it does not answer.
        swept: how often a sweep was sent.
        stopped: submitted jobs that were stopped.
    """

    token: str = "secret-of-theirs"
    session: str = "session_1"
    version: str = "2.60.0"
    open: bool = False
    silent: bool = False
    nodes: list[dict[str, Any]] = field(default_factory=lambda: [node(head=True), node(4)])
    jobs: list[dict[str, Any]] = field(default_factory=list)
    actors: list[dict[str, Any]] = field(default_factory=list)
    groups: list[dict[str, Any]] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    swept: int = 0
    sweeps: set[str] = field(default_factory=set)
    url: str = ""
    server: TestServer | None = None

    async def __aenter__(self) -> FakeCluster:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.answer)
        self.server = TestServer(app)
        await self.server.start_server()
        self.url = str(self.server.make_url("")).rstrip("/")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.server is not None:
            await self.server.close()

    def begin_driver(self, job_id: str, *, began: float | None = None) -> None:
        """Have somebody's driver connect, now or at another time."""
        at = int((time.time() if began is None else began) * 1000)
        self.jobs.append(
            {"type": "DRIVER", "submission_id": None, "job_id": job_id, "status": "RUNNING", "start_time": at}
        )

    def end_driver(self, job_id: str) -> None:
        for job in self.jobs:
            if job["job_id"] == job_id:
                job["status"] = "SUCCEEDED"

    def begin_job(self, submission_id: str, *, began: float | None = None) -> None:
        """Have somebody submit a job."""
        at = int((time.time() if began is None else began) * 1000)
        row = {"type": "SUBMISSION", "submission_id": submission_id, "job_id": None, "status": "RUNNING"}
        self.jobs.append({**row, "start_time": at})

    def make_actor(self, name: str, job_id: str) -> None:
        """Have a driver make a detached actor."""
        self.actors.append({"name": name, "class_name": "A", "is_detached": True, "job_id": job_id})

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if self.silent and request.transport is not None:
            request.transport.abort()
        if not self.open and request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.Response(status=401 if "Authorization" not in request.headers else 403)
        path = request.path
        if path == "/api/version":
            return web.json_response({"session_name": self.session, "ray_version": self.version})
        if path == "/api/component_activities":
            return web.json_response({"driver": {"is_active": "INACTIVE"}})
        if path == "/api/jobs/" and request.method == "POST":
            return self._sweep(await request.json())
        if path == "/api/jobs/":
            return web.json_response(self.jobs)
        if path.endswith("/stop"):
            self.stopped.append(path.split("/")[3])
            for job in self.jobs:
                if job["submission_id"] == self.stopped[-1]:
                    job["status"] = "STOPPED"
            return web.json_response({"stopped": True})
        if path.startswith(f"/api/jobs/{PREFIX}"):
            ended = {"status": "SUCCEEDED", "logs": sweeper.MARK + json.dumps(SWEPT)}
            return web.json_response(ended)
        tables = {"nodes": self.nodes, "actors": self.actors, "placement_groups": self.groups, "workers": []}
        rows = {"result": tables[path.rpartition("/")[2]], "partial_failure_warning": ""}
        return web.json_response({"result": True, "data": {"result": rows}})

    def _sweep(self, job: dict[str, Any]) -> web.Response:
        """Remove what a real sweep would: here the actors of drivers that began in the time it is given."""
        self.swept += 1
        given = job["entrypoint"]
        began = {row["job_id"]: row["start_time"] for row in self.jobs if row["job_id"]}
        mark = '"since_ms": '
        if mark in given:
            since = int(given.partition(mark)[2].partition(",")[0])
            until = int(given.partition('"until_ms": ')[2].partition(",")[0])
            gone = {job_id for job_id, at in began.items() if since <= at <= until}
            self.actors = [actor for actor in self.actors if actor["job_id"] not in gone]
        else:
            self.actors, self.groups = [], []
        return web.json_response({"submission_id": job["submission_id"]})

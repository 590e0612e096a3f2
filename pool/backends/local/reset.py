"""Between two holders: stop what can be stopped from outside, and prove that nothing is left.

What cannot be stopped from outside (a detached actor, a placement group, a driver that goes on) is only told: the
cluster is then replaced. When in doubt, it is not clean.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pool.backends.base import Clean
from pool.backends.local.census import Census
from pool.backends.rayapi.dashboard import Dashboard, DashboardError

GRACE_S = 1.0
"""For so long things may be on their way out before they are taken for left behind."""

_ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
_JOB_SUPERVISOR = "_ray_internal_job_actor_"


@dataclass(slots=True)
class Found:
    """What one look found. `drivers` and `jobs` may still change everything; the rest is what they leave."""

    jobs: list[str] = field(default_factory=list)
    drivers: list[str] = field(default_factory=list)
    supervisors: list[str] = field(default_factory=list)
    actors: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    census: Census | None = None

    @property
    def lasting(self) -> list[str]:
        """What stays until somebody removes it inside the cluster."""
        return self.actors + self.groups

    def __str__(self) -> str:
        busy = [f"worker {title} (pid {process.pid})" for process, title in self.census.busy] if self.census else []
        left = [f"process {process.pid}: {title}" for process, title in self.census.left] if self.census else []
        jobs = [f"job {job}" for job in self.jobs]
        said = jobs + self.drivers + self.supervisors + self.lasting + busy + left
        more = f"; and {len(said) - 5} more" if len(said) > 5 else ""
        return "; ".join(said[:5]) + more


class Reset:
    """One reset of one cluster.

    Args:
        dashboard: of the cluster.
        session_name: of the head that was leased.
        census: sorts the cluster's processes; blocking.
        settle_s: bound for what goes by itself.
    """

    def __init__(self, dashboard: Dashboard, session_name: str, census: Callable[[], Census], settle_s: float) -> None:
        self._dashboard = dashboard
        self._session_name = session_name
        self._census = census
        self._settle_s = settle_s
        self._asked: set[str] = set()

    async def run(self) -> Clean:
        """Return whether the cluster is proven free of its last holder."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        pause_s = 0.03
        while True:
            try:
                found = await self._look()
                left = str(found)
            except DashboardError as error:
                found, left = None, f"could not be looked at: {error}"
            except _Replaced as replaced:
                return Clean(False, str(replaced))
            waited_s = loop.time() - began
            if found is not None:
                if not left:
                    return Clean(True)
                if found.lasting and not found.jobs and waited_s > GRACE_S:
                    return Clean(False, left)
                await self._act(found, patient=waited_s <= GRACE_S)
            if waited_s > self._settle_s:
                return Clean(False, left)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 0.25)

    async def _look(self) -> Found:
        """Look first at who could still do something, and only then at what is there.

        The other way round a driver could make an actor once the actors were looked at, and end before the drivers are.
        """
        ask = self._dashboard.get
        version, jobs, activities, drivers, census = await asyncio.gather(
            ask("/api/version"),
            ask("/api/jobs/"),
            ask("/api/component_activities"),
            self._dashboard.state("workers", ("worker_type", "=", "DRIVER"), ("is_alive", "=", "True")),
            asyncio.to_thread(self._census),
        )
        if version["session_name"] != self._session_name:
            raise _Replaced(f"the head was replaced: it is {version['session_name']}, not {self._session_name}")
        found = Found()
        for job in jobs:
            if job["status"] not in _ENDED:
                if job["type"] == "SUBMISSION":
                    found.jobs.append(str(job["submission_id"]))
                else:
                    found.drivers.append(f"driver of job {job['job_id']}")
        # Ray's own agent becomes a driver once a job was submitted.
        strangers = [row for row in drivers if int(row["pid"]) not in census.own]
        found.drivers += [f"driver {row['worker_id'][:8]} (pid {row['pid']})" for row in strangers]
        active = activities["driver"]["is_active"]
        if active != "INACTIVE" and not found.drivers and not found.jobs:
            found.drivers.append(f"drivers are {active}: {activities['driver'].get('reason')}")
        actors, groups, found.census = await asyncio.gather(
            self._dashboard.state("actors", ("state", "!=", "DEAD")),
            self._dashboard.state("placement_groups", ("state", "!=", "REMOVED")),
            asyncio.to_thread(self._census),
        )
        for actor in actors:
            if str(actor["name"]).startswith(_JOB_SUPERVISOR):
                found.supervisors.append(f"supervisor of job {actor['name'].removeprefix(_JOB_SUPERVISOR)}")
            else:
                found.actors.append(_actor(actor))
        found.groups += [_group(group) for group in groups]
        return found

    async def _act(self, found: Found, *, patient: bool) -> None:
        new = [job for job in found.jobs if job not in self._asked]
        self._asked.update(new)
        answers = await asyncio.gather(*(self._dashboard.stop_job(job) for job in new), return_exceptions=True)
        # A stop that was not accepted is asked again.
        self._asked -= {job for job, answer in zip(new, answers, strict=True) if isinstance(answer, BaseException)}
        if found.jobs or found.census is None:
            return
        # Nobody is there any more whom they could work for. Killed workers are given up by Ray itself; those of an
        # actor or of a driver that goes on are left to the decision above.
        doomed = [process for process, _ in found.census.left]
        if not patient and not found.lasting and not found.drivers:
            doomed += [process for process, _ in found.census.busy]
        for process in doomed:
            process.send(signal.SIGKILL)


class _Replaced(Exception):
    """The cluster is another one."""


def _actor(actor: dict[str, Any]) -> str:
    kind = "detached actor" if actor.get("is_detached") else "actor"
    name = actor["name"] or actor["class_name"]
    return f"{kind} {name!r} of job {actor['job_id']}"


def _group(group: dict[str, Any]) -> str:
    return f"placement group {group['name'] or group['placement_group_id'][:12]!r} of job {group['creator_job_id']}"

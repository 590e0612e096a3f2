"""Between two holders: stop submitted jobs, and prove by Ray's own tables that nothing else of a holder is left.

The daemon cannot see into the pods: what only a process listing could show is not proven, so a driver that nobody
accounts for makes the cluster unclean.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from pool.backends.base import Clean
from pool.backends.rayapi.dashboard import Dashboard, DashboardError

GRACE_S = 1.0
"""For so long things may be on their way out before they are taken for left behind."""

_ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
_JOB_SUPERVISOR = "_ray_internal_job_actor_"


@dataclass(slots=True)
class Found:
    """What one look found: `jobs` and `drivers` may end, `lasting` stays until somebody removes it."""

    jobs: list[str] = field(default_factory=list)
    drivers: list[str] = field(default_factory=list)
    lasting: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        said = [*(f"job {job}" for job in self.jobs), *self.drivers, *self.lasting]
        return "; ".join(said[:5]) + (f"; and {len(said) - 5} more" if len(said) > 5 else "")


class Reset:
    """One reset of one cluster.

    Args:
        dashboard: of the cluster.
        settle_s: bound for what goes by itself.
    """

    def __init__(self, dashboard: Dashboard, settle_s: float) -> None:
        self._dashboard = dashboard
        self._settle_s = settle_s
        self._asked: set[str] = set()

    async def run(self) -> Clean:
        """Return whether the cluster is proven free of its last holder."""
        loop = asyncio.get_running_loop()
        began, pause_s = loop.time(), 0.05
        while True:
            try:
                found = await self._look()
                left = str(found)
            except DashboardError as error:
                found, left = None, f"could not be looked at: {error}"
            waited_s = loop.time() - began
            if found is not None:
                if not left:
                    return Clean(True)
                if found.lasting and not found.jobs and waited_s > GRACE_S:
                    return Clean(False, left)
                await self._stop(found.jobs)
            if waited_s > self._settle_s:
                return Clean(False, left)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 0.5)

    async def _look(self) -> Found:
        """Look first at who could still do something, and only then at what is there."""
        ask = self._dashboard.get
        jobs, activities, drivers = await asyncio.gather(
            ask("/api/jobs/"),
            ask("/api/component_activities"),
            self._dashboard.state("workers", ("worker_type", "=", "DRIVER"), ("is_alive", "=", "True")),
        )
        found = Found()
        for job in jobs:
            if job["status"] not in _ENDED:
                if job["type"] == "SUBMISSION":
                    found.jobs.append(str(job["submission_id"]))
                else:
                    found.drivers.append(f"driver of job {job['job_id']}")
        if len(drivers) > 1:
            # The head's own agent becomes a driver once a job was submitted; a second one is a holder's.
            found.drivers.append(f"{len(drivers)} drivers")
        active = activities["driver"]["is_active"]
        if active != "INACTIVE" and not found.drivers and not found.jobs:
            found.drivers.append(f"drivers are {active}: {activities['driver'].get('reason')}")
        actors, groups = await asyncio.gather(
            self._dashboard.state("actors", ("state", "!=", "DEAD")),
            self._dashboard.state("placement_groups", ("state", "!=", "REMOVED")),
        )
        for actor in actors:
            if str(actor["name"]).startswith(_JOB_SUPERVISOR):
                found.drivers.append(f"supervisor of job {actor['name'].removeprefix(_JOB_SUPERVISOR)}")
            else:
                found.lasting.append(f"actor {actor['name'] or actor['class_name']!r} of job {actor['job_id']}")
        found.lasting += [f"placement group {group['placement_group_id'][:12]}" for group in groups]
        return found

    async def _stop(self, jobs: list[str]) -> None:
        new = [job for job in jobs if job not in self._asked]
        answers = await asyncio.gather(*(self._dashboard.stop_job(job) for job in new), return_exceptions=True)
        # A stop that was not accepted is asked again.
        self._asked.update(
            job for job, answer in zip(new, answers, strict=True) if not isinstance(answer, BaseException)
        )

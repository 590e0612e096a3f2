"""Between two holders: stop what the last one left, and prove that nothing of it is there.

First from outside, by Ray's HTTP API: submitted jobs are stopped, drivers are waited for. What outlives them (actors,
placement groups, in pods also processes) is removed from inside, by a job of ours (`pool.inside.sweeper`). Then the
tables are looked at once more. When in doubt, the cluster is not clean.

Owners of resident data stay for the next holder of the group, and go like everything else for anybody else.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from pool.backends.base import Clean
from pool.backends.rayapi.dashboard import Dashboard, DashboardError
from pool.backends.rayapi.inside import ENDED, Swept, is_runner, is_sweeper
from pool.backends.rayapi.scope import Began
from pool.core.model import Wear
from pool.inside.owner import NAMESPACE, PREFIX
from pool.inside.tables import SUPERVISOR

GRACE_S = 1.0
"""For so long things may be on their way out before they are taken for left behind."""
MOST_EVIDENCE = 100
"""So many phrases are kept of what was left."""


class Processes(Protocol):
    """The processes of a cluster, where the daemon can see them."""

    @property
    def own(self) -> frozenset[int]:
        """Return the process ids of Ray itself."""

    def said(self) -> list[str]:
        """Return a phrase for each process that is not Ray's own."""

    def end(self, *, workers: bool) -> None:
        """End what holders started themselves; with `workers` also the workers that still run something."""

    def wear(self) -> Wear:
        """Return how much Ray's own have grown."""

    def without(self, pids: Collection[int], watched: Collection[int] = ()) -> Self:
        """Return the same processes without some workers; also without what those of `watched` started themselves."""


@dataclass(slots=True)
class Found:
    """What one look found. `drivers` and `jobs` may still change everything; the rest is what they leave.

    `owners` are those of resident data that may stay, by their process ids. `detached` tells that something is among
    `lasting` that goes with no driver.
    """

    jobs: list[str] = field(default_factory=list)
    drivers: list[str] = field(default_factory=list)
    supervisors: list[str] = field(default_factory=list)
    lasting: list[str] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)
    detached: bool = False
    processes: Processes | None = None

    def said(self) -> list[str]:
        """Return a phrase for each thing."""
        said = [f"job {job}" for job in self.jobs] + self.drivers + self.supervisors + self.lasting
        return said + (self.processes.said() if self.processes is not None else [])

    def __str__(self) -> str:
        return listed(self.said())


class Reset:
    """One reset of one cluster.

    Args:
        dashboard: of the cluster.
        session_name: of the head that was leased; empty if something else tells whether it was replaced.
        settle_s: bound for what goes by itself.
        sweep: removes what it can from inside the cluster; told whether resident data stays.
        census: sorts the cluster's processes, blocking; None where only the sweep can see them: it is then part of the
            proof.
        full: whether the cluster is to be anybody's. Else, for the next holder of the same group, what the tables show
            is enough, and resident data stays.
        scope: what alone is touched and looked at; None for everything.
    """

    def __init__(
        self,
        dashboard: Dashboard,
        session_name: str,
        settle_s: float,
        sweep: Callable[[bool], Awaitable[Swept]],
        census: Callable[[], Processes] | None = None,
        *,
        full: bool = True,
        scope: Began | None = None,
    ) -> None:
        self._dashboard = dashboard
        self._session_name = session_name
        self._settle_s = settle_s
        self._sweep = sweep
        self._census = census
        self._full = full
        self._scope = scope
        self._asked: set[str] = set()
        self._swept: Swept | None = None

    async def run(self) -> Clean:
        """Return whether the cluster is proven free of its last holder."""
        try:
            return await self._run()
        except _Replaced as replaced:
            return Clean(False, str(replaced))

    async def _run(self) -> Clean:
        loop = asyncio.get_running_loop()
        began, pause_s = loop.time(), 0.03
        while True:
            try:
                found = await self._look()
                left = str(found)
            except DashboardError as error:
                found, left = None, f"could not be looked at: {error}"
            waited_s = loop.time() - began
            removed = self._swept.removed if self._swept is not None else ()
            if found is not None:
                if not left and self._proven(full=self._full):
                    full = self._proven(full=True) and not found.owners
                    return Clean(True, removed=removed, full=full, wear=await self._wear(found))
                if self._sweep_now(found, waited_s):
                    try:
                        self._swept = await self._sweep(not self._full)
                    except DashboardError as error:
                        return _dirty([str(error), *found.said()])
                    if self._swept.left:
                        return _dirty(self._swept.left, self._swept.removed)
                    continue
                await self._act(found, patient=waited_s <= GRACE_S)
            if waited_s > self._settle_s:
                return _dirty(found.said() if found is not None else [left], removed)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 0.25)

    def _proven(self, *, full: bool) -> bool:
        """Tell whether empty tables are proof enough."""
        return not full or self._swept is not None or self._census is not None or self._scope is not None

    def _sweep_now(self, found: Found, waited_s: float) -> bool:
        """Sweep once, when nobody is left who could make something new, or will not go by himself."""
        if self._swept is not None or found.jobs or found.supervisors:
            return False
        if self._census is None and self._full and self._scope is None:
            # The sweep ends drivers too: there it is the only one who can.
            return waited_s > GRACE_S or not found.drivers
        if found.detached and not found.drivers:
            return True
        blind = self._census is None and self._scope is None
        return bool(found.lasting) and waited_s > GRACE_S and (not found.drivers or blind)

    async def _look_within(self, scope: Began) -> Found:
        """Look at what began as `scope` says. Of the rest it can be said whose it is by their drivers alone."""
        version, jobs = await asyncio.gather(self._dashboard.get("/api/version"), self._dashboard.get("/api/jobs/"))
        self._check_session(version)
        found = Found()
        for job in scope.jobs(jobs):
            if job["status"] not in ENDED:
                if job["type"] == "SUBMISSION":
                    found.jobs.append(str(job["submission_id"]))
                else:
                    found.drivers.append(f"driver of job {job['job_id']}")
        actors, groups = await asyncio.gather(
            self._dashboard.state("actors", ("state", "!=", "DEAD")),
            self._dashboard.state("placement_groups", ("state", "!=", "REMOVED")),
        )
        # Whose the uncertain ones are the sweep knows: what it let stand is another's.
        for actor in filter(scope.actor, actors):
            if str(actor["name"]).startswith(SUPERVISOR):
                found.supervisors.append(f"supervisor of job {actor['name'].removeprefix(SUPERVISOR)}")
            elif self._swept is None or scope.certain(actor["job_id"]):
                found.lasting.append(_actor(actor))
        for group in filter(scope.group, groups):
            if self._swept is None or scope.certain(group["creator_job_id"]):
                found.lasting.append(_group(group))
        return found

    def _check_session(self, version: dict[str, Any]) -> None:
        if self._session_name not in ("", version["session_name"]):
            raise _Replaced(f"the head was replaced: it is {version['session_name']}, not {self._session_name}")

    async def _look(self) -> Found:
        """Look first at who could still do something, and only then at what is there.

        The other way round a driver could make an actor once the actors were looked at, and end before the drivers are.
        """
        if self._scope is not None:
            return await self._look_within(self._scope)
        ask = self._dashboard.get
        version, jobs, activities, drivers, processes = await asyncio.gather(
            ask("/api/version"),
            ask("/api/jobs/"),
            ask("/api/component_activities"),
            self._dashboard.state("workers", ("worker_type", "=", "DRIVER"), ("is_alive", "=", "True")),
            self._processes(),
        )
        self._check_session(version)
        found = Found()
        # A warm interpreter is the cluster's, as Ray is: what it forked for a holder is told by processes and drivers.
        # So is what sweeps the cluster.
        kept = [str(job["submission_id"]) for job in jobs if is_runner(job) or is_sweeper(job)]
        runners = [SUPERVISOR + job for job in kept]
        for job in jobs:
            if job["status"] not in ENDED and job.get("submission_id") not in kept:
                if job["type"] == "SUBMISSION":
                    found.jobs.append(str(job["submission_id"]))
                else:
                    found.drivers.append(f"driver of job {job['job_id']}")
        # Ray's own agent becomes a driver once a job was submitted.
        if processes is not None:
            drivers = [row for row in drivers if int(row["pid"]) not in processes.own]
        elif len(drivers) == 1:
            drivers = []
        found.drivers += [f"driver {row['worker_id'][:8]} (pid {row['pid']})" for row in drivers]
        active = activities["driver"]["is_active"]
        if active != "INACTIVE" and not found.drivers and not found.jobs:
            found.drivers.append(f"drivers are {active}: {activities['driver'].get('reason')}")
        actors, groups, found.processes = await asyncio.gather(
            self._dashboard.state("actors", ("state", "!=", "DEAD")),
            self._dashboard.state("placement_groups", ("state", "!=", "REMOVED")),
            self._processes(),
        )
        supervisors: list[int] = []
        for actor in actors:
            name = str(actor["name"])
            if name in runners:
                supervisors.append(int(actor.get("pid") or 0))
            elif not self._full and actor.get("ray_namespace") == NAMESPACE and name.startswith(PREFIX):
                found.owners.append(int(actor.get("pid") or 0))
            elif name.startswith(SUPERVISOR):
                found.supervisors.append(f"supervisor of job {name.removeprefix(SUPERVISOR)}")
            else:
                found.lasting.append(_actor(actor))
                found.detached |= bool(actor.get("is_detached"))
        if found.processes is not None:
            found.processes = found.processes.without([*found.owners, *supervisors], supervisors)
        found.lasting += [_group(group) for group in groups]
        found.detached |= any(group.get("is_detached") for group in groups)
        return found

    async def _wear(self, found: Found) -> Wear | None:
        swept = self._swept.wear if self._swept is not None else None
        if found.processes is None:
            return swept
        seen = await asyncio.to_thread(found.processes.wear)
        return seen._replace(store_left_bytes=swept.store_left_bytes) if swept is not None else seen

    async def _processes(self) -> Processes | None:
        return await asyncio.to_thread(self._census) if self._census is not None else None

    async def _act(self, found: Found, *, patient: bool) -> None:
        new = [job for job in found.jobs if job not in self._asked]
        self._asked.update(new)
        answers = await asyncio.gather(*(self._dashboard.stop_job(job) for job in new), return_exceptions=True)
        # A stop that was not accepted is asked again.
        self._asked -= {job for job, answer in zip(new, answers, strict=True) if isinstance(answer, BaseException)}
        if found.jobs or found.processes is None:
            return
        # Nobody is there any more whom they could work for. Killed workers are given up by Ray itself; those of an
        # actor or of a driver that goes on are left to the sweep.
        found.processes.end(workers=not patient and not found.lasting and not found.drivers)


class _Replaced(Exception):
    """The cluster is another one."""


def _dirty(said: Sequence[str], removed: tuple[str, ...] = ()) -> Clean:
    return Clean(False, listed(said), removed=removed, evidence=tuple(said[:MOST_EVIDENCE]))


def listed(said: Sequence[str]) -> str:
    """Return up to five of the phrases, and how many more there are."""
    return "; ".join(said[:5]) + (f"; and {len(said) - 5} more" if len(said) > 5 else "")


def _actor(actor: dict[str, Any]) -> str:
    kind = "detached actor" if actor.get("is_detached") else "actor"
    name = actor["name"] or actor["class_name"]
    return f"{kind} {name!r} of job {actor['job_id']}"


def _group(group: dict[str, Any]) -> str:
    return f"placement group {group['name'] or group['placement_group_id'][:12]!r} of job {group['creator_job_id']}"

"""Has `pool.inside.sweeper` sweep a cluster: as one submitted job, which stays for later sweeps where it is told to."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pool.backends.rayapi.dashboard import Dashboard, DashboardError
from pool.core.model import Wear
from pool.inside import owner, runner, sweeper
from pool.inside.programs import runner_command, sweeper_command

BOUND_S = 5.0
"""How long the sweep waits for what goes by itself."""
JOB_BOUND_S = 30.0
PREFIX = "warmpool-reset-"
UNKNOWN = Wear()
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")


@dataclass(frozen=True, slots=True)
class Swept:
    """What was removed inside the cluster, what would not go, a sentence each, and how much the cluster has grown."""

    removed: tuple[str, ...]
    left: tuple[str, ...]
    wear: Wear = UNKNOWN

    @classmethod
    def told(cls, found: dict[str, Any]) -> Swept:
        """Return what a program of `pool.inside` told."""
        return cls(tuple(found["removed"]), tuple(found["left"]), Wear(**found["wear"]))


async def swept(
    dashboard: Dashboard,
    *,
    processes: bool,
    prestart: bool,
    spare_resident: bool,
    began: dict[str, Any] | None = None,
) -> Swept:
    """Have the cluster swept from inside, and return once the job has ended.

    Args:
        dashboard: of the cluster.
        processes: whether every process in the nodes' pid namespaces belongs to the cluster.
        prestart: whether the nodes shall start idle workers afterwards.
        spare_resident: whether resident data stays, with its owners.
        began: what alone is to be removed; see `pool.backends.rayapi.scope`.

    Raises:
        DashboardError: if it could not be run, or did not end well.
    """
    jobs = await jobs_after_earlier(dashboard)
    return await swept_by_job(
        dashboard,
        sweep_of(jobs, processes=processes, prestart=prestart, spare_resident=spare_resident, began=began),
    )


def sweep_of(
    jobs: Sequence[Mapping[str, Any]],
    *,
    processes: bool,
    prestart: bool,
    spare_resident: bool,
    began: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return what a sweep is given, by the rows of ``/api/jobs/``: which are warm interpreters, which was the first."""
    begun = [int(job["start_time"]) for job in jobs if job.get("start_time") and not _is_a_sweep(job)]
    return {
        "processes": processes,
        "prestart": prestart,
        "bound_s": BOUND_S,
        "spare": [owner.NAMESPACE, owner.PREFIX] if spare_resident else None,
        "first_ms": min(begun, default=None),
        "runners": [str(job["submission_id"]) for job in jobs if is_runner(job)],
        "began": began,
    }


async def swept_by_job(dashboard: Dashboard, given: dict[str, Any]) -> Swept:
    """Have the cluster swept by a job that ends with it.

    Raises:
        DashboardError: if it could not be run, or did not end well.
    """
    job = f"{PREFIX}{uuid.uuid4().hex[:12]}"
    await dashboard.submit(job, entrypoint(given))
    try:
        async with asyncio.timeout(JOB_BOUND_S):
            status = await ended(dashboard, job)
    except TimeoutError:
        await dashboard.stop_job(job)
        raise DashboardError(f"the sweep inside the cluster did not end within {JOB_BOUND_S:.0f} s") from None
    said = await said_by(dashboard, job)
    result = told_in(said)
    if status["status"] != "SUCCEEDED" or result is None:
        raise DashboardError(failed(said, status))
    return Swept.told(result)


def entrypoint(given: dict[str, Any], *, stays: bool = False) -> str:
    """Return the command line of the job."""
    return sweeper_command(json.dumps({"first": given, "stays": stays}))


def is_runner(job: Mapping[str, Any]) -> bool:
    """Tell whether a row of ``/api/jobs/`` is a warm interpreter that runs, and nothing that only calls itself so."""
    return _runs_as(job, runner.PREFIX) and job.get("entrypoint") == runner_command()


def is_sweeper(job: Mapping[str, Any]) -> bool:
    """Tell whether a row of ``/api/jobs/`` is a sweeper that stays, and nothing that only calls itself so."""
    return _runs_as(job, sweeper.STAYS) and str(job.get("entrypoint")).startswith(sweeper_command())


def _is_a_sweep(job: Mapping[str, Any]) -> bool:
    return str(job.get("submission_id")).startswith((PREFIX, sweeper.STAYS))


def _runs_as(job: Mapping[str, Any], prefix: str) -> bool:
    return str(job.get("submission_id")).startswith(prefix) and job["status"] not in ENDED


async def jobs_after_earlier(dashboard: Dashboard) -> list[dict[str, Any]]:
    """Return the rows of ``/api/jobs/``, and have Ray forget earlier sweeps among them: it never does by itself.

    Not at a sweep's own end: for a second Ray still watches over the job, and would record it anew, as failed.
    """
    jobs: list[dict[str, Any]] = await dashboard.get("/api/jobs/")
    over = [job for job in jobs if job["status"] in ENDED]
    ours = [str(job["submission_id"]) for job in over if _is_a_sweep(job)]
    await asyncio.gather(*(dashboard.delete_job(job) for job in ours), return_exceptions=True)
    return jobs


async def said_by(dashboard: Dashboard, job: str) -> str:
    """Return what a job has written.

    Raises:
        DashboardError: if that cannot be had.
    """
    return str((await dashboard.get(f"/api/jobs/{job}/logs"))["logs"])


def told_in(said: str) -> dict[str, Any] | None:
    """Return what a sweep has told in its job's log, None if it has not."""
    line = next((line for line in reversed(said.splitlines()) if line.startswith(sweeper.MARK)), None)
    told: dict[str, Any] | None = json.loads(line.removeprefix(sweeper.MARK)) if line is not None else None
    return told


def failed(said: str, status: Mapping[str, Any]) -> str:
    """Return what to say of a sweep that told nothing."""
    tail = (said.strip() or str(status.get("message") or "it said nothing"))[-300:]
    return f"the sweep inside the cluster failed: {tail}"


async def ended(dashboard: Dashboard, job: str) -> dict[str, Any]:
    """Return a job's row once it has ended.

    Raises:
        DashboardError: if it cannot be had.
    """
    pause_s = 0.1
    while True:
        found: dict[str, Any] = await dashboard.get(f"/api/jobs/{job}")
        if found["status"] in ENDED:
            return found
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 1.2, 0.5)

"""Runs `pool.inside.sweep` in a cluster, as one submitted job."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pool.backends.rayapi.dashboard import Dashboard, DashboardError
from pool.core.model import Wear
from pool.inside import files, owner, processes, runner, sweep, tables
from pool.inside.programs import runner_command
from pool.inside.sending import command_of

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
    spare = [owner.NAMESPACE, owner.PREFIX] if spare_resident else None
    given = {
        "processes": processes,
        "prestart": prestart,
        "bound_s": BOUND_S,
        "spare": spare,
        "runners": await _forget_earlier(dashboard),
        "began": began,
    }
    job = f"{PREFIX}{uuid.uuid4().hex[:12]}"
    await dashboard.submit(job, entrypoint(given))
    try:
        async with asyncio.timeout(JOB_BOUND_S):
            status = await _ended(dashboard, job)
    except TimeoutError:
        await dashboard.stop_job(job)
        raise DashboardError(f"the sweep inside the cluster did not end within {JOB_BOUND_S:.0f} s") from None
    said = str((await dashboard.get(f"/api/jobs/{job}/logs"))["logs"])
    result = next((line for line in reversed(said.splitlines()) if line.startswith(sweep.MARK)), None)
    if status["status"] != "SUCCEEDED" or result is None:
        tail = (said.strip() or str(status.get("message") or "it said nothing"))[-300:]
        raise DashboardError(f"the sweep inside the cluster failed: {tail}")
    return Swept.told(json.loads(result.removeprefix(sweep.MARK)))


def entrypoint(given: dict[str, Any]) -> str:
    """Return the command line of the job."""
    return command_of(processes, files, tables, sweep, given=json.dumps(given))


def is_runner(job: Mapping[str, Any]) -> bool:
    """Tell whether a row of ``/api/jobs/`` is a warm interpreter that runs, and nothing that only calls itself so."""
    return (
        str(job.get("submission_id")).startswith(runner.PREFIX)
        and job["status"] not in ENDED
        and job.get("entrypoint") == runner_command()
    )


async def _forget_earlier(dashboard: Dashboard) -> list[str]:
    """Have Ray forget earlier sweeps: it never does by itself. Return the ids of warm interpreters.

    Not at a sweep's own end: for a second Ray still watches over the job, and would record it anew, as failed.
    """
    jobs = await dashboard.get("/api/jobs/")
    ours = [job["submission_id"] for job in jobs if str(job["submission_id"]).startswith(PREFIX)]
    await asyncio.gather(*(dashboard.delete_job(job) for job in ours), return_exceptions=True)
    return [str(job["submission_id"]) for job in jobs if is_runner(job)]


async def _ended(dashboard: Dashboard, job: str) -> dict[str, Any]:
    pause_s = 0.1
    while True:
        found: dict[str, Any] = await dashboard.get(f"/api/jobs/{job}")
        if found["status"] in ENDED:
            return found
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * 1.2, 0.5)

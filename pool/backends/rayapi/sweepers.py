"""Sweeps of clusters whose nodes the daemon reaches: the job of a cluster's first one stays, and does the later ones.

Ray takes seconds to start a job, a sweep takes a fraction of one.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import structlog

from pool.backends.rayapi.dashboard import Dashboard, DashboardError
from pool.backends.rayapi.inside import (
    ENDED,
    JOB_BOUND_S,
    Swept,
    ended,
    entrypoint,
    failed,
    is_sweeper,
    jobs_after_earlier,
    said_by,
    sweep_of,
    swept_by_job,
    told_in,
)
from pool.inside import sweeper
from pool.inside.asking import NotReached, asked

log = structlog.get_logger(__name__)

REACH_S = 2.0
PAUSE_S = 0.1


class Sweepers:
    """What sweeps each cluster. One that was not reached is not tried again: there each sweep is a job of its own."""

    def __init__(self) -> None:
        self._unreached: set[str] = set()

    def forget(self, cluster_id: str) -> None:
        """Know nothing of a cluster that is gone."""
        self._unreached.discard(cluster_id)

    async def swept(
        self, dashboard: Dashboard, cluster_id: str, token: str, *, prestart: bool, spare_resident: bool
    ) -> Swept:
        """Have a cluster swept from inside.

        Args:
            dashboard: of the cluster.
            cluster_id: its id.
            token: its token.
            prestart: whether the nodes shall start idle workers afterwards.
            spare_resident: whether resident data stays, with its owners.

        Raises:
            DashboardError: if that could not be done, or did not end well.
        """
        jobs = await jobs_after_earlier(dashboard)
        given = sweep_of(jobs, processes=True, prestart=prestart, spare_resident=spare_resident)
        here = [str(job["submission_id"]) for job in jobs if is_sweeper(job)]
        # Two only where a daemon ended as it started one.
        for job in here[1:]:
            await _stopped(dashboard, job)
        if cluster_id in self._unreached:
            return await swept_by_job(dashboard, given)
        if not here:
            return Swept.told(await _first(dashboard, given))
        try:
            told = await _place(dashboard, here[0])
            message = given | {"token": token}
            place = str(told["host"]), int(told["port"])
            return Swept.told(await asked(*place, message, within_s=JOB_BOUND_S, reach_s=REACH_S))
        except NotReached as error:
            self._unreached.add(cluster_id)
            log.warning(
                "a cluster's sweeper is not reached: let the daemon reach the head's pod on every port, "
                "or each reset takes the start of a job",
                cluster=cluster_id,
                error=str(error),
            )
        except (OSError, DashboardError) as error:
            log.warning("a cluster's sweeper did not answer", cluster=cluster_id, error=str(error))
        # What it may have begun must not go on beside the next holder.
        await _stopped(dashboard, here[0])
        return await swept_by_job(dashboard, given)


async def _first(dashboard: Dashboard, given: dict[str, Any]) -> dict[str, Any]:
    """Start a sweeper, and return what its first sweep told."""
    job = f"{sweeper.STAYS}{uuid.uuid4().hex[:12]}"
    await dashboard.submit(job, entrypoint(given, stays=True))
    return await _place(dashboard, job)


async def _place(dashboard: Dashboard, job: str) -> dict[str, Any]:
    """Return what a sweeper told as it came to stay.

    Raises:
        DashboardError: if it did not.
    """
    try:
        async with asyncio.timeout(JOB_BOUND_S):
            while True:
                status = await dashboard.get(f"/api/jobs/{job}")
                said = await said_by(dashboard, job)
                told = told_in(said)
                if told is not None:
                    return told
                if status["status"] in ENDED:
                    raise DashboardError(failed(said, status))
                await asyncio.sleep(PAUSE_S)
    except TimeoutError:
        await dashboard.stop_job(job)
        raise DashboardError(f"the sweep inside the cluster did not end within {JOB_BOUND_S:.0f} s") from None


async def _stopped(dashboard: Dashboard, job: str) -> None:
    """Have a job end, and return once it has.

    Raises:
        DashboardError: if it does not.
    """
    try:
        async with asyncio.timeout(JOB_BOUND_S):
            await dashboard.stop_job(job)
            await ended(dashboard, job)
    except TimeoutError:
        raise DashboardError(f"job {job} does not end") from None

"""All attempts that this process drives, and the leases of those that an earlier one drove."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from pool.client import AcquireRefused, LeaseRequest, NotAllowed, Unreachable
from pool.connector.jobs import ENDED, Jobs, JobsError
from pool.connector.plan import PREFIX, Plan, base_of
from pool.connector.run import FAILED, Run, give_back
from pool.connector.status import Status, Tools
from pool.connector.warm import Warm
from pool.wire.views import LeaseView

if TYPE_CHECKING:
    from pool.client import AsyncLease

log = logging.getLogger("warmpool.connector")

KEPT_S = 3600.0
"""So long the end of an attempt is known here; after that the pool is asked."""
ORPHAN_S = 600.0
"""So long a lease is kept whose attempt the backend does not ask for, once its job is over."""
LOOK_S = 15.0


class Runs:
    """Every attempt has one run, made by whichever call comes first."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._runs: dict[str, Run] = {}
        self._found: dict[str, tuple[AsyncLease, float]] = {}
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return sum(1 for run in self._runs.values() if not run.status.phase.over)

    def start(self) -> None:
        """Take over the leases of an earlier process, and look after all of them from now on."""
        self._task = asyncio.create_task(self._look_after(), name="look after leases")

    def create(self, plan: Plan) -> None:
        """Begin with an attempt, unless it has begun."""
        self._run(plan)

    async def get(self, plan: Plan, bound_s: float) -> Status:
        """Return how an attempt is doing; the first time it has a cluster, once it is over or `bound_s` passed."""
        return await self._run(plan).settled(bound_s)

    async def delete(self, plan: Plan) -> None:
        """End an attempt, whether it has begun here, elsewhere, or not at all.

        Raises:
            Unreachable: if the daemon does not answer.
            NotAllowed: if it refuses the token.
        """
        run = self._runs.get(plan.id)
        if run is not None:
            await run.abort()
        else:
            await give_back(plan, self._tools)

    async def log(self, plan: Plan) -> str:
        """Return what an attempt's command has written.

        Raises:
            JobsError: if that cannot be had.
        """
        return await self._run(plan).log()

    async def leave(self) -> None:
        """Stop driving: leases and jobs stay as they are, for the process that comes next."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        for run in self._runs.values():
            run.leave()
        for lease, _ in self._found.values():
            self._tools.client.forget(lease)

    def _run(self, plan: Plan) -> Run:
        run = self._runs.get(plan.id)
        if run is None:
            run = self._runs[plan.id] = Run(plan, self._tools)
            if plan.id in self._found:
                # The run asks for it itself, and gets the same.
                self._tools.client.forget(self._found.pop(plan.id)[0])
        return run

    # --- leases of an earlier process ---

    async def _look_after(self) -> None:
        taken_over, said = False, ""
        while True:
            try:
                if not taken_over:
                    await self._take_over()
                    taken_over = True
                await self._give_up_orphans()
                self._forget_old()
                said = ""
            except (Unreachable, NotAllowed) as error:
                # Once: it is tried every second.
                if str(error) != said:
                    said = str(error)
                    log.warning("leases cannot be looked at, trying again: %s", said)
            except Exception:
                log.exception("leases could not be looked after")
            await asyncio.sleep(LOOK_S if taken_over else 1.0)

    async def _take_over(self) -> None:
        """Renew the leases of an earlier process: the backend may ask for their attempts only after they expired."""
        standing = self._tools.standing
        leases = await standing.leases(PREFIX)
        keys = await standing.keys() if leases else {}
        for lease in leases:
            attempt = base_of(lease.request_id)
            if attempt in self._runs or lease.pool not in keys:
                continue
            try:
                held = await self._tools.client.acquire(_request(lease, keys[lease.pool]), give_back=False)
            except AcquireRefused as error:
                # It ended meanwhile, or was asked for with another connector's token.
                log.info("lease %s is not taken over: %s", lease.id, error)
                continue
            log.info("took lease %s over: %s has it", lease.id, lease.holder)
            if attempt in self._runs:
                self._tools.client.forget(held)
            else:
                self._found[attempt] = held, time.monotonic()

    async def _give_up_orphans(self) -> None:
        for attempt, (lease, since) in list(self._found.items()):
            if lease.state != "active":
                log.warning("lease %s was lost before its attempt was asked for", lease.id)
            elif time.monotonic() - since > ORPHAN_S and not await self._works(lease, attempt):
                log.warning("lease %s is released: nobody asks for its attempt, and nothing runs", lease.id)
                await lease.release(note=FAILED)
            else:
                continue
            self._found.pop(attempt, None)

    async def _works(self, lease: AsyncLease, attempt: str) -> bool:
        """Tell whether an attempt's command runs, as a Ray job or in a warm interpreter, or may run."""
        jobs = Jobs(self._tools.http, lease.cluster)
        try:
            found = await jobs.status(attempt)
            if found is not None:
                return found["status"] not in ENDED
            return await Warm(jobs, lease.cluster, {}, ()).runs(attempt)
        except JobsError as error:
            # A cluster that is gone ends the lease: that is the daemon's to see.
            log.warning("attempt %s: whether it runs cannot be said: %s", attempt, error)
            return True

    def _forget_old(self) -> None:
        now = time.monotonic()
        for id_, run in list(self._runs.items()):
            if run.over_at is not None and now - run.over_at > KEPT_S:
                del self._runs[id_]


def _request(lease: LeaseView, key: dict[str, object]) -> LeaseRequest:
    shape = key.get("shape")
    return LeaseRequest(
        image=str(key["image"]),
        tenant=str(key["tenant"]),
        holder=lease.holder,
        shape=shape if isinstance(shape, dict) else {},
        group=lease.group,
        request_id=lease.request_id,
        cluster_type=str(key.get("cluster_type", "ray")),
    )

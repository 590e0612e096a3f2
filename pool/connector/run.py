"""One attempt of a task: its lease, its job, and how both are doing.

Nothing is known here alone: the plan comes from the backend with each call, the lease is the pool's and the job the
cluster's. So another process goes on with it where this one was killed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from pool.client import (
    AcquireRefused,
    ClientError,
    InvalidRequest,
    LeaseRequest,
    NotAllowed,
    Progress,
    RequestIdUsed,
    Unreachable,
)
from pool.client.residency import residency_of
from pool.connector.jobs import ENDED, Jobs, JobsError
from pool.connector.package import entrypoint, name_of, package
from pool.connector.plan import Plan
from pool.connector.status import Phase, Status, Tools
from pool.connector.warm import Lost, NotWarm, Warm
from pool.core.reasons import Reason
from pool.wire.views import LeaseView, WaiterView

if TYPE_CHECKING:
    from pool.client import AsyncLease

log = logging.getLogger("warmpool.connector")

TAIL_CHARACTERS = 2000
POLL_S = (0.1, 1.0)
"""How often a job is asked for: at first, and once it runs for long."""
RESET_S = 1.0
"""So long a backend's first question about an attempt waits for a cluster: most resets are over by then."""
NEVER_BEGUN = frozenset((Reason.WAITER_GONE, Reason.UNCLAIMED, Reason.UNDELIVERED))
"""A lease that ended so was never used: nothing ran on it."""
ASKED_ANEW = 20
DONE, FAILED, ABORTED = "the task's command ended", "the task's command failed", "aborted"
"""What a lease's end says: all that is left of an attempt when its lease is over."""
WROTE = "The task's command ended; its outputs, or its error, are where it wrote them."


class _Over(Exception):
    """The attempt is over as `status` says."""

    def __init__(self, phase: Phase, message: str) -> None:
        super().__init__(message)
        self.phase = phase


class Run:
    """Drives one attempt to its end.

    Attributes:
        plan: what to do.
        status: how it is doing.
        since: when it was first seen here (monotonic).
        over_at: when it ended (monotonic); None while it has not.
    """

    def __init__(self, plan: Plan, tools: Tools) -> None:
        self.plan = plan
        self.status = Status(Phase.WAITING, "A cluster is being asked for.")
        self.since = self._phase_since = time.monotonic()
        self.over_at: float | None = None
        self._tools = tools
        self._lease: AsyncLease | None = None
        self._jobs: Jobs | None = None
        self._warm: Warm | None = None
        self._changed = asyncio.Event()
        self._held = self._asked = False
        self._task = asyncio.create_task(self._drive(), name=plan.id)

    def __repr__(self) -> str:
        return f"<Run {self.plan.id} {self.status.phase}>"

    # --- what the backend asks ---

    async def settled(self, bound_s: float) -> Status:
        """Return the status. Once in an attempt, not before it is over, or `bound_s` passed.

        A short task so needs no second poll of the backend's; one that is not over by then is not a short one. Before
        there is a cluster, only the first answer is waited with, and for no longer than a reset takes.
        """
        if self._held:
            return self.status
        now = asyncio.get_running_loop().time()
        ends, waits_until = now + bound_s, now + (0.0 if self._asked else min(RESET_S, bound_s))
        self._asked = True
        with suppress(TimeoutError):
            while not self.status.phase.over:
                self._changed.clear()
                async with asyncio.timeout_at(waits_until if self.status.waits else ends):
                    await self._changed.wait()
        self._held = not self.status.waits
        return self.status

    async def abort(self) -> None:
        """End it: its lease is released, with which its job is stopped.

        Raises:
            Unreachable: if the daemon does not answer.
            NotAllowed: if it refuses the token.
        """
        if self.status.phase.over:
            return
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        if self._lease is not None:
            if self._warm is not None:
                # The reset would end it too, but has to find it first.
                await self._warm.kill(self.plan)
            await self._release(ABORTED)
        else:
            await give_back(self.plan, self._tools)
        self._say(Phase.ABORTED, "The task was aborted.")

    async def log(self) -> str:
        """Return what its command has written.

        Raises:
            JobsError: if that cannot be had, or not any more.
        """
        if self._jobs is None or self.status.phase.over:
            raise JobsError("The task's log is on its cluster, which the task does not have now.")
        if self._warm is not None:
            return await self._warm.log(self.plan)
        return await self._jobs.log(self.plan.id)

    def leave(self) -> None:
        """Do nothing more for it here: another process goes on with it."""
        self._task.cancel()
        if self._lease is not None:
            self._tools.client.forget(self._lease)

    # --- driving ---

    async def _drive(self) -> None:
        try:
            await self._run()
        except _Over as over:
            self._say(over.phase, str(over))
        except Exception as error:
            log.exception("attempt %s failed in the connector itself", self.plan.id)
            await self._release(FAILED)
            self._say(Phase.RETRYABLE_FAILED, f"The connector failed: {type(error).__name__}: {error}")

    async def _run(self) -> None:
        lease = self._lease = await self._acquire()
        about = {
            "lease": lease.id,
            "cluster": lease.cluster.id,
            "outcome": str(lease.outcome),
            "reason": str(lease.reason or ""),
            "job": self.plan.id,
            "waited_s": f"{lease.waited_s:.3f}",
        }
        self.status = replace(self.status, about=about, dashboard=lease.cluster.dashboard_url)
        said = f"{lease.cluster.id} was leased after {lease.waited_s:.1f} s ({lease.outcome})."
        self._say(Phase.INITIALIZING, said)
        if not lease.cluster.dashboard_url:
            await self._end(Phase.FAILED, f"{lease.cluster.id} has no dashboard, to which jobs are submitted.")
        self._jobs = Jobs(self._tools.http, lease.cluster)
        watching = asyncio.create_task(lease.wait_lost())
        working = asyncio.create_task(self._work(self._jobs, lease, said))
        try:
            await asyncio.wait((watching, working), return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                phase, note, message = working.result()
                await self._release(note)
                raise _Over(phase, message)
            try:
                lease.check()
            except ClientError as error:
                await self._release(FAILED)
                raise _Over(Phase.RETRYABLE_FAILED, f"The lease was lost: {error.detail}") from None
        finally:
            watching.cancel()
            working.cancel()
            await asyncio.gather(watching, working, return_exceptions=True)

    async def _acquire(self) -> AsyncLease:
        plan = self.plan
        request = LeaseRequest(
            image=plan.image,
            tenant=plan.tenant,
            holder=plan.holder,
            shape=plan.shape,
            group=plan.group,
            timeout_s=self._tools.wait_s,
            hold_s=plan.hold_s,
            request_id=plan.id,
        )
        nth = 1
        while True:
            try:
                return await self._tools.client.acquire(request, progress=self._progress, give_back=False)
            except RequestIdUsed as error:
                ended = await self._known_of(str(request.request_id))
                reason = ended.end_reason if isinstance(ended, LeaseView) else error.reason
                if nth >= ASKED_ANEW or reason not in NEVER_BEGUN:
                    raise self._told_by(ended, error) from None
            except AcquireRefused as error:
                if error.reason not in NEVER_BEGUN or nth >= ASKED_ANEW:
                    raise _Over(Phase.RETRYABLE_FAILED, f"No cluster was leased: {error}") from None
            except (InvalidRequest, NotAllowed) as error:
                raise _Over(Phase.FAILED, f"No cluster was leased: {error}") from None
            except Unreachable as error:
                # It may be back before the backend gives the task up: nothing of it has begun.
                self._say(Phase.WAITING, str(error), waits=True)
                await asyncio.sleep(POLL_S[1])
                continue
            except ClientError as error:
                raise _Over(Phase.RETRYABLE_FAILED, f"No cluster was leased: {error}") from None
            # Nothing ran under that id: the next one is as much this attempt's.
            nth += 1
            request = replace(request, request_id=f"{plan.id}-{nth}")

    async def _known_of(self, request_id: str) -> LeaseView | WaiterView | None:
        """Return what the pool knows of what was asked with a request id, as soon as it answers."""
        while True:
            try:
                return await self._tools.standing.lease(request_id, self.plan.holder)
            except (Unreachable, NotAllowed) as error:
                self._say(Phase.WAITING, str(error), waits=True)
                await asyncio.sleep(POLL_S[1])

    def _told_by(self, ended: object, error: RequestIdUsed) -> _Over:
        """Return how an attempt ended whose lease is over: what is known of it stands in the pool."""
        if not isinstance(ended, LeaseView):
            return _Over(
                Phase.RETRYABLE_FAILED, f"The attempt's lease is over, and the pool does not know how: {error}"
            )
        said = ended.end_explanation
        if ended.end_reason is Reason.RELEASED and said.startswith(DONE):
            return _Over(Phase.SUCCEEDED, said)
        phase = Phase.ABORTED if ended.end_reason in (Reason.CANCELLED,) or said == ABORTED else Phase.RETRYABLE_FAILED
        return _Over(phase, f"The attempt's lease {ended.id} is over: {said}")

    def _progress(self, progress: Progress) -> None:
        if progress.outcome is None:
            self._say(Phase.WAITING, str(progress), waits=True)

    async def _work(self, jobs: Jobs, lease: AsyncLease, said: str) -> tuple[Phase, str, str]:
        """Run the command, unless it has begun, and return how it ended: phase, note of the release, message."""
        try:
            warm = await self._begun_warm(jobs, lease)
        except NotWarm as error:
            self._about(how="ray_job", how_reason=error.reason)
            return await self._work_as_job(jobs, f"{said} It runs as Ray job {self.plan.id}, since {error}.")
        except Lost as error:
            return Phase.RETRYABLE_FAILED, FAILED, str(error)
        self._warm = warm
        self._about(how="warm_interpreter", how_reason="", runner=warm.job, node=warm.node)
        self._say(Phase.RUNNING, f"{said} It runs in the cluster's warm interpreter.")
        try:
            code, imported, found, left = await warm.ended(self.plan)
        except Lost as error:
            return Phase.RETRYABLE_FAILED, FAILED, str(error)
        if (seen := residency_of(left)) is not None:
            lease.tell_residency(seen)
        if self._tools.history is not None:
            self._about(imported=" ".join(imported), preloaded=" ".join(found))
            self._tools.history.heard(self.plan.image, (*found, *imported))
        if code == 0:
            return Phase.SUCCEEDED, DONE, WROTE
        tail = ""
        with suppress(JobsError):
            tail = (await warm.log(self.plan)).strip()[-TAIL_CHARACTERS:]
        return Phase.RETRYABLE_FAILED, FAILED, f"The task's command ended with code {code}. {tail}".strip()

    async def _begun_warm(self, jobs: Jobs, lease: AsyncLease) -> Warm:
        """Have the task run in the cluster's warm interpreter, and return that.

        Raises:
            NotWarm: if it is to run, or runs already, as a Ray job.
            Lost: if it ended with an interpreter that is gone.
        """
        if not self._tools.warm:
            raise NotWarm("off", "the connector was told so")
        if self.plan.runtime_env:
            raise NotWarm("runtime_env", "it has a runtime_env")
        while True:
            try:
                found = await jobs.status(self.plan.id)
                break
            except JobsError as error:
                log.warning("attempt %s: %s", self.plan.id, error)
                await asyncio.sleep(POLL_S[1])
        if found is not None:
            raise NotWarm("begun", "it has begun so")
        environment = self._tools.environment()
        history = self._tools.history
        warm = Warm(jobs, lease.cluster, environment, self._tools.preload, learns=history is not None)
        await warm.ready(self.plan.id)
        await warm.begin(self.plan, environment, history.names(self.plan.image) if history is not None else ())
        return warm

    def _about(self, **fields: str) -> None:
        self.status = replace(self.status, about={**self.status.about, **fields})

    async def _work_as_job(self, jobs: Jobs, said: str) -> tuple[Phase, str, str]:
        """Submit the job if it is not there, and return how it ended."""
        plan, pause_s = self.plan, POLL_S[0]
        submitted = False
        while True:
            try:
                if not submitted:
                    sent = (name_of(plan.id), package(plan, self._tools.environment()))
                    about = {"name": plan.name, "holder": plan.holder}
                    await jobs.submit(plan.id, entrypoint(), sent, plan.runtime_env, about)
                    submitted = True
                found = await jobs.status(plan.id)
            except JobsError as error:
                # While the lease lives the cluster may answer again; if it does not, the daemon ends the lease.
                log.warning("attempt %s: %s", plan.id, error)
                await asyncio.sleep(POLL_S[1])
                continue
            if found is None:
                return Phase.RETRYABLE_FAILED, FAILED, "Ray has forgotten the job: its cluster was replaced."
            status = str(found["status"])
            if status in ENDED:
                return await self._outcome(jobs, status, str(found.get("message") or ""))
            if status == "RUNNING":
                self._say(Phase.RUNNING, said)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 1.2, POLL_S[1])

    async def _outcome(self, jobs: Jobs, status: str, message: str) -> tuple[Phase, str, str]:
        if status == "SUCCEEDED":
            return Phase.SUCCEEDED, DONE, WROTE
        tail = ""
        with suppress(JobsError):
            tail = (await jobs.log(self.plan.id)).strip()[-TAIL_CHARACTERS:]
        return Phase.RETRYABLE_FAILED, FAILED, f"The task's command failed: {message} {tail}".strip()

    async def _end(self, phase: Phase, message: str) -> None:
        await self._release(FAILED)
        raise _Over(phase, message)

    async def _release(self, note: str) -> None:
        if self._lease is not None:
            await self._lease.release(note=note)

    def _say(self, phase: Phase, message: str, *, waits: bool = False) -> None:
        if (self.status.phase, self.status.message, self.status.waits) != (phase, message, waits):
            before, now = self.status.phase, time.monotonic()
            self.status = replace(self.status, phase=phase, message=message, waits=waits)
            if phase != before:
                log.info("attempt %s: %s", self.plan.id, message.partition("\n")[0][:300])
                self._tools.told(before, now - self._phase_since, self.status, now - self.since)
                self._phase_since = now
        if phase.over and self.over_at is None:
            self.over_at = time.monotonic()
        self._changed.set()


async def give_back(plan: Plan, tools: Tools) -> None:
    """Give back what was asked for under a plan's id, whoever asked: a place in the queue, or a lease.

    Raises:
        Unreachable: if the daemon does not answer.
        NotAllowed: if it refuses the token.
    """
    for nth in range(1, ASKED_ANEW + 1):
        request_id = plan.id if nth == 1 else f"{plan.id}-{nth}"
        found = await tools.standing.lease(request_id, plan.holder)
        if found is None:
            return
        if not isinstance(found, LeaseView):
            await tools.standing.cancel(found.id)
            # It may have been granted meanwhile.
            found = await tools.standing.lease(request_id, plan.holder)
        if isinstance(found, LeaseView) and found.ended_at is None:
            request = LeaseRequest(plan.image, plan.tenant, plan.holder, plan.shape, plan.group, request_id=request_id)
            with suppress(AcquireRefused):
                lease = await tools.client.acquire(request, give_back=False)
                await lease.release(note=ABORTED)

"""A cluster's warm interpreter: a submitted job of the connector's, `pool.inside.runner`.

The first task that finds none starts it, and it stays for the tasks of later leases.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pool.connector.jobs import ENDED, Jobs, JobsError
from pool.connector.package import packed
from pool.connector.plan import Plan
from pool.inside import runner
from pool.inside.asking import NotReached, asked
from pool.inside.programs import runner_command
from pool.wire.leases import ClusterAccess

log = logging.getLogger("warmpool.connector")

PRELOAD = ("ray", "flytekit.bin.entrypoint", "flytekitplugins.ray", "pydantic", "fsspec", "s3fs", "grpc.aio", "msgpack")
"""What tasks of both Flytes import. Flyte 2's own SDK starts a thread as it is imported: its tasks import that."""
READY_S = 30.0
"""So long a task waits for an interpreter that starts: a Ray job takes longer than what is left of that."""
WAIT_S = 10.0
CALL_S = 10.0
LOOK_S = 2.0
LINGER_S = 600.0
"""So long after its last task an interpreter that is to end can be asked how that ended."""


class NotWarm(Exception):
    """The task does not run in the warm interpreter, and nothing of it has begun there.

    Attributes:
        reason: a code, of few.
    """

    def __init__(self, reason: str, why: str) -> None:
        super().__init__(why)
        self.reason = reason


class Lost(Exception):
    """The task began in an interpreter that is gone, and ended with it."""


class Ended(NamedTuple):
    """How a task ended: its exit code, what of the image it imported, what it found imported, what it left.

    The last is of resident data, for `pool.client.residency`.
    """

    code: int
    imported: tuple[str, ...]
    found: tuple[str, ...]
    residency: tuple[str, ...]


class Warm:
    """The warm interpreter of one leased cluster.

    Attributes:
        job: id of its job, empty before it is ready. Each start has one of its own, since Ray goes on with the log of
            an earlier job of the same id, which tells another port.
        node: Ray's id of the node that it runs on, empty before it is ready.
    """

    def __init__(
        self,
        jobs: Jobs,
        cluster: ClusterAccess,
        environment: Mapping[str, str],
        preload: tuple[str, ...],
        *,
        learns: bool = True,
    ) -> None:
        given = {
            "environment": dict(environment),
            "preload": list(dict.fromkeys((*PRELOAD, *preload))),
            "learns": learns,
        }
        self._package = packed(runner.GIVEN, given)
        self._entrypoint = runner_command()
        digest = hashlib.sha256(self._entrypoint.encode() + self._package).hexdigest()[:24]
        # Another program, or other variables, are another interpreter.
        self._kind = runner.PREFIX + digest
        self.job = self.node = ""
        self._named, self._lacking = preload, list[str]()
        self._jobs = jobs
        self._token = cluster.token
        self._host, self._port = "", 0
        self._file = f"_ray_pkg_{digest}.zip"

    async def ready(self, task: str) -> None:
        """Have it serve: the one that has begun with a task of this id, whatever its variables, or one of this kind.

        Raises:
            NotWarm: if it does not, or not yet.
        """
        try:
            async with asyncio.timeout(READY_S):
                await self._started(task)
        except TimeoutError:
            raise NotWarm("not_ready", "it was not ready in time") from None
        except JobsError as error:
            raise NotWarm("not_ready", f"it could not be started: {error}") from None

    async def _started(self, task: str) -> None:
        self.job = await self._running(task)
        begun = not self.job
        if begun:
            self.job = f"{self._kind}-{secrets.token_hex(4)}"
            log.info("starting the warm interpreter %s", self.job)
            await self._jobs.submit(self.job, self._entrypoint, (self._file, self._package), {}, {})
        while True:
            said = await self._jobs.log(self.job)
            if self._told_where(said):
                if begun and self._lacking:
                    log.warning("--preload: not to be imported in %s: %s", self.job, ", ".join(self._lacking))
                self.node = self.node or _node(await self._jobs.status(self.job) or {})
                return
            found = await self._jobs.status(self.job)
            if found is None or found["status"] in ENDED:
                tail = said.strip().splitlines()[-1:] or ["it said nothing"]
                raise NotWarm("not_ready", f"it ended: {tail[0][:300]}")
            await asyncio.sleep(0.1)

    def _told_where(self, said: str) -> bool:
        """Take from an interpreter's log where it listens; tell whether it says so."""
        line = next((line for line in said.splitlines() if line.startswith(runner.MARK)), None)
        if line is None:
            return False
        told = json.loads(line.removeprefix(runner.MARK))
        self._lacking = [name for name in self._named if name not in told["loaded"]]
        self._host, self._port = str(told["host"]), int(told["port"])
        return True

    async def _running(self, task: str) -> str:
        """Return the id of the interpreter that is to have a task, empty for none; have others of this program end.

        One that has begun with the task, before the connector was started anew, has it still, also where it is of
        another version of the program: only a holder's own job could pretend to that, for its holder's own task.
        """
        found, others = "", []
        for job in await self._jobs.all():
            id_ = str(job.get("submission_id"))
            if not id_.startswith(runner.PREFIX) or job["status"] in ENDED:
                continue
            own = job.get("entrypoint") == self._entrypoint
            if own and id_.startswith(self._kind):
                found, self.node = id_, _node(job)
            elif await self._state_in(id_, task) in ("running", "ended"):
                self.node = _node(job)
                return id_
            elif own:
                others.append(id_)
        for id_ in others:
            await self._have_end(id_)
        return found

    async def _have_end(self, job: str) -> None:
        """Have an interpreter end once nothing runs in it: on a shared cluster others' tasks may."""
        try:
            if self._told_where(await self._jobs.log(job)):
                await self._ask("end", job, LOOK_S, after_s=LINGER_S)
                return
        except NotReached:
            pass
        except (OSError, JobsError) as error:
            # The next task asks again.
            log.warning("the warm interpreter %s, which is to end, does not answer: %s", job, error)
            return
        await self._jobs.stop(job)

    async def _state_in(self, job: str, task: str) -> str:
        """Return the state of a task in an interpreter; empty if that does not tell."""
        with contextlib.suppress(OSError, JobsError, KeyError, ValueError):
            if self._told_where(await self._jobs.log(job)):
                return str((await self._ask("wait", task, LOOK_S, bound_s=0))["state"])
        return ""

    async def runs(self, task: str) -> bool:
        """Tell whether a task runs in one of the cluster's interpreters, of whatever variables and version.

        Raises:
            JobsError: if it cannot be said.
        """
        for job in await self._jobs.all():
            id_ = str(job.get("submission_id"))
            if id_.startswith(runner.PREFIX) and job["status"] not in ENDED:
                state = await self._state_in(id_, task)
                if not state:
                    raise JobsError(f"the warm interpreter {id_} does not answer")
                if state == "running":
                    return True
        return False

    async def begin(self, plan: Plan, environment: Mapping[str, str], modules: Sequence[str] = ()) -> None:
        """Start a task, unless it has begun.

        Args:
            plan: what to run.
            environment: the connector's own variables; the task's win.
            modules: what tasks of this image import: the interpreter does too, once it is idle.

        Raises:
            NotWarm: if it cannot be one of its children.
            Lost: if it began in an earlier interpreter.
        """
        asked = {
            "command": plan.command,
            "environment": {**environment, **plan.environment},
            "unpacks": plan.unpacks,
            "modules": list(modules),
        }
        asked_before = False
        while True:
            try:
                answer = await self._ask("run", plan.id, CALL_S, **asked)
            except NotReached as error:
                if asked_before:
                    raise Lost("The warm interpreter ended as the task was to begin in it.") from None
                raise NotWarm("not_reached", f"it does not answer: {error}") from None
            except OSError:
                # It may have begun: asked again, it begins once only.
                asked_before = True
                await asyncio.sleep(1.0)
                continue
            if answer["state"] == "refused":
                raise NotWarm(str(answer["reason"]), str(answer["why"]))
            if answer["state"] == "error":
                raise NotWarm("not_reached", str(answer["why"]))
            self._check(answer)
            return

    async def ended(self, plan: Plan) -> Ended:
        """Return how a task that has begun ended, once it has.

        Raises:
            Lost: if the interpreter is gone, and the task with it.
        """
        while True:
            try:
                answer = await self._ask("wait", plan.id, WAIT_S + CALL_S, bound_s=WAIT_S)
            except OSError as error:
                # The lease is lost with the cluster; an interpreter that ended alone is told by its job.
                log.warning("attempt %s: the warm interpreter does not answer: %s", plan.id, error)
                await asyncio.sleep(1.0)
                found = None
                try:
                    found = await self._jobs.status(self.job)
                except JobsError:
                    continue
                if found is None or found["status"] in ENDED:
                    raise Lost("The warm interpreter ended, and the task with it.") from None
                continue
            self._check(answer)
            if answer["state"] == "ended":
                told = [tuple(map(str, answer.get(what, ()))) for what in ("imported", "found", "residency")]
                return Ended(int(answer["code"]), *told)

    async def kill(self, plan: Plan) -> None:
        """Have a task end, if it runs."""
        with contextlib.suppress(OSError):
            await self._ask("kill", plan.id, CALL_S)

    async def log(self, plan: Plan) -> str:
        """Return the end of what a task has written.

        Raises:
            JobsError: if that cannot be had.
        """
        try:
            return str((await self._ask("log", plan.id, CALL_S)).get("log", ""))
        except OSError as error:
            raise JobsError(f"the warm interpreter does not answer: {error}") from None

    @staticmethod
    def _check(answer: dict[str, Any]) -> None:
        if answer["state"] in ("lost", "unknown"):
            raise Lost("The task began in a warm interpreter that is gone, and ended with it.")
        if answer["state"] == "error":
            raise OSError(str(answer["why"]))

    async def _ask(self, verb: str, task: str, within_s: float, **fields: Any) -> dict[str, Any]:
        """Return an answer.

        Raises:
            OSError: if there is none.
        """
        message = {"token": self._token, "do": verb, "id": task, **fields}
        return await asked(self._host, self._port, message, within_s=within_s, reach_s=CALL_S)


def _node(job: Mapping[str, Any]) -> str:
    """Return Ray's id of the node that a job's driver runs on, empty if it does not say."""
    return str(job.get("driver_node_id") or "")

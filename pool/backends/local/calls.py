"""What the daemon has a short process of the clusters' Python ask of Ray's gRPC services. See `pool.inside.beside`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from typing import Any

from pool.backends.local import commands
from pool.backends.local.options import LocalOptions
from pool.backends.local.processes import CLUSTER_MARK, TEMP_MARK
from pool.backends.local.trail import Files, Trail
from pool.backends.rayapi.dashboard import DashboardError
from pool.backends.rayapi.inside import BOUND_S as SWEEP_BOUND_S
from pool.backends.rayapi.inside import Swept
from pool.core.errors import StartFailed
from pool.core.reasons import Reason
from pool.inside import beside, tables
from pool.inside.owner import NAMESPACE, PREFIX
from pool.inside.sending import program_of

BOUND_S = 30.0
"""A busy machine may take long to start a Python; the calls themselves have a bound of their own."""


class CallFailed(Exception):
    """A call was not answered, or the process that was to make it failed: the end of what it said."""


class Calls:
    """The calls to one cluster."""

    def __init__(self, files: Files, trail: Trail, options: LocalOptions) -> None:
        self._files = files
        self._trail = trail
        self._options = options

    async def check_strangers(self) -> None:
        """See the GCS refuse a call without the cluster's token.

        Raises:
            StartFailed: if it answers, or cannot be asked.
        """
        try:
            told = await self._run({"call": "strangers"})
        except CallFailed as failed:
            raise StartFailed(
                f"{self._trail.cluster_id}: whether its GCS refuses strangers could not be seen: {failed}"
            ) from None
        if told["answered"]:
            raise StartFailed(
                f"{self._trail.cluster_id}: its GCS answered a call without its token.",
                reason=Reason.OPEN_CLUSTER,
                remedy="Let the clusters run a Ray with token authentication (2.52 or newer).",
            )

    async def prestart_workers(self, idle: int) -> bool:
        """Have the nodes start idle workers until there are as many as cpus; return whether that was accepted.

        Args:
            idle: how many there are.
        """
        managers = commands.node_managers(self._trail)
        missing = sum(cpus for cpus, _ in managers) - idle
        workers = {}
        for cpus, port in managers:
            # Which node the idle ones are on does not matter much: this only saves time.
            count = min(cpus, missing)
            if count > 0:
                workers[f"127.0.0.1:{port}"] = count
                missing -= count
        try:
            if workers:
                await self._run({"call": "prestart", "token": str(self._files.token), "workers": workers})
        except CallFailed:
            return False
        return True

    async def sweep(self, spare_resident: bool) -> Swept:
        """End what outlived its driver, and see the object stores empty. No job of ours runs in the cluster for it.

        Args:
            spare_resident: whether resident data stays, with its owners.

        Raises:
            DashboardError: if that could not be done.
        """
        spare = [NAMESPACE, PREFIX] if spare_resident else None
        given = {"call": "sweep", "token": str(self._files.token), "bound_s": SWEEP_BOUND_S, "spare": spare}
        try:
            told = await self._run(given)
        except CallFailed as failed:
            raise DashboardError(f"the sweep of the cluster failed: {failed}") from None
        return Swept.told(told)

    async def _run(self, given: dict[str, Any]) -> dict[str, Any]:
        env = commands.environment(os.environ, self._trail, self._files.token, self._options)
        # It is no process of the cluster: a reset must not take it for something that a holder left.
        env = {name: value for name, value in env.items() if name not in (CLUSTER_MARK, TEMP_MARK)}
        gcs = {"gcs": f"127.0.0.1:{self._trail.ports.gcs}"}
        process = await asyncio.create_subprocess_exec(
            *(self._options.python, "-c", program_of(tables, beside), json.dumps(gcs | given)),
            env=env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(BOUND_S):
                said = (await process.communicate())[0].decode(errors="replace").strip()
        except TimeoutError:
            raise CallFailed(f"no answer within {BOUND_S:.0f} s") from None
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        last = said.rpartition("\n")[2]
        if process.returncode != 0 or not last.startswith(beside.TOLD):
            raise CallFailed(said[-300:] or f"it ended with {process.returncode}")
        told: dict[str, Any] = json.loads(last.removeprefix(beside.TOLD))
        return told

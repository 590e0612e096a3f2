"""What the daemon has a short process of the clusters' Python ask of Ray's gRPC services. See `rpc`."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

from pool.backends.local import commands, rpc
from pool.backends.local.options import LocalOptions
from pool.backends.local.processes import CLUSTER_MARK, TEMP_MARK
from pool.backends.local.trail import Files, Trail
from pool.core.errors import StartFailed
from pool.core.reasons import Reason

_PROGRAM = str(Path(rpc.__file__).resolve())

BOUND_S = 30.0
"""A busy machine may take long to start a Python; the calls themselves have a bound of their own."""


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
        code, said = await self._run("strangers", str(self._trail.ports.gcs))
        if code == rpc.ANSWERED:
            raise StartFailed(
                f"{self._trail.cluster_id}: its GCS answered a call without its token.",
                reason=Reason.OPEN_CLUSTER,
                remedy="Let the clusters run a Ray with token authentication (2.52 or newer).",
            )
        if code != 0:
            raise StartFailed(
                f"{self._trail.cluster_id}: whether its GCS refuses strangers could not be seen: {said[-300:]}"
            )

    async def prestart_workers(self, idle: int) -> bool:
        """Have the nodes start idle workers until there are as many as cpus; return whether that was accepted.

        Args:
            idle: how many there are.
        """
        managers = commands.node_managers(self._trail)
        missing = sum(cpus for cpus, _ in managers) - idle
        nodes = []
        for cpus, port in managers:
            # Which node the idle ones are on does not matter much: this only saves time.
            count = min(cpus, missing)
            if count > 0:
                nodes.append(f"{count}:{port}")
                missing -= count
        if not nodes:
            return True
        code, _ = await self._run("prestart", str(self._files.token), *nodes)
        return code == 0

    async def _run(self, *arguments: str) -> tuple[int, str]:
        env = commands.environment(os.environ, self._trail, self._files.token, self._options)
        # It is no process of the cluster: a reset must not take it for something that a holder left.
        env = {name: value for name, value in env.items() if name not in (CLUSTER_MARK, TEMP_MARK)}
        process = await asyncio.create_subprocess_exec(
            *(self._options.python, _PROGRAM, *arguments),
            env=env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(BOUND_S):
                said, _ = await process.communicate()
        except TimeoutError:
            return 1, f"no answer within {BOUND_S:.0f} s"
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        return process.returncode or 0, said.decode(errors="replace").strip()

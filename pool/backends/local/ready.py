"""From started to ready: look at the world again and again, and say how far it has come."""

from __future__ import annotations

import asyncio

import aiohttp

from pool.backends.base import Report
from pool.backends.local import cause
from pool.backends.local.calls import Calls
from pool.backends.local.processes import Process, kernel_boot
from pool.backends.local.trail import Files, Ready, Trail
from pool.backends.rayapi.dashboard import Dashboard, DashboardError
from pool.core.errors import StartFailed
from pool.core.reasons import Reason

LOOK_S = 0.05
_PROTECTED = ("/api/version", "/api/jobs/", "/api/v0/nodes")


class PortTaken(Exception):
    """Somebody else took one of the chosen ports."""


class Starting:
    """One cluster on its way to ready."""

    def __init__(
        self,
        files: Files,
        trail: Trail,
        supervisor: Process,
        http: aiohttp.ClientSession,
        token: str,
        calls: Calls,
        report: Report,
    ) -> None:
        self._files = files
        self._trail = trail
        self._supervisor = supervisor
        self._http = http
        self._dashboard = Dashboard(http, trail.dashboard_url, token)
        self._calls = calls
        self._report = report
        self._phase = ""

    async def wait(self) -> Ready:
        """Return once a job can be submitted, a driver can connect and all nodes are alive.

        Raises:
            StartFailed: with the cause that the log gives.
            PortTaken: if another choice of ports may help.
        """
        self._say("starting head")
        while not await self._gcs_answers():
            await self._pause()
        self._say("waiting for the dashboard")
        while (version := await self._version()) is None:
            await self._pause()
        agents = {node.name: node.agent_port for node in self._trail.nodes}
        while agents:
            workers = len(self._trail.nodes) - 1
            if "head" not in agents and workers:
                self._say(f"workers {workers - len(agents)} of {workers}")
            healthy = await asyncio.gather(*(self._agent_healthy(port) for port in agents.values()))
            agents = {name: port for (name, port), fine in zip(agents.items(), healthy, strict=True) if not fine}
            if agents:
                await self._pause()
        self._say("checking")
        while (head_ip := await self._all_alive()) is None:
            await self._pause()
        await asyncio.gather(self._refuses_strangers(), self._calls.check_strangers())
        head = self._files.running().head
        if head is None or not head.alive():
            await self._pause()  # tells why
            raise StartFailed("The head ended while it was checked.")
        return Ready(
            boot_id=boot_id(head, str(version["session_name"])),
            session_name=str(version["session_name"]),
            address=f"{head_ip}:{self._trail.ports.gcs}",
            client_address=f"ray://127.0.0.1:{self._trail.ports.client}",
            ray_version=str(version["ray_version"]),
        )

    def _say(self, phase: str) -> None:
        if phase != self._phase:
            self._phase = phase
            self._report(phase)

    async def _pause(self) -> None:
        """Wait a moment; tell if there is nothing to wait for any more."""
        if self._files.trail() is None:
            raise StartFailed(f"{self._trail.cluster_id} was stopped while {self._phase}.")
        ended = next(iter(self._files.running().ended.items()), None)
        if ended is None and not self._supervisor.alive():
            # Read again: it writes how its nodes ended and is gone a moment later.
            ended = next(iter(self._files.running().ended.items()), ("supervisor", "ended"))
        if ended is not None:
            node, how = ended
            why = cause.of(self._files, self._trail, node)
            if cause.port_was_taken(why):
                raise PortTaken(why)
            raise StartFailed(f"{self._trail.cluster_id}: {node} {how} while {self._phase}: {why}")
        await asyncio.sleep(LOOK_S)

    async def _gcs_answers(self) -> bool:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self._trail.ports.gcs)
        except OSError:
            return False
        writer.close()
        return True

    async def _version(self) -> dict[str, object] | None:
        try:
            answer = await self._dashboard.get("/api/version")
        except DashboardError as error:
            if error.status in (401, 403):
                raise StartFailed(
                    f"{self._trail.cluster_id} refuses its token: it was started with another one."
                ) from error
            return None
        return answer if isinstance(answer, dict) else None

    async def _agent_healthy(self, port: int) -> bool:
        # Jobs are started by the head's agent; a node without its agent cannot make runtime environments.
        try:
            timeout = aiohttp.ClientTimeout(total=5)
            async with self._http.get(f"http://127.0.0.1:{port}/api/local_raylet_healthz", timeout=timeout) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def _all_alive(self) -> str | None:
        """Return the head's address once all nodes are alive."""
        try:
            nodes = await self._dashboard.state("nodes", ("state", "=", "ALIVE"))
        except DashboardError:
            return None
        heads = [str(node["node_ip"]) for node in nodes if node["is_head_node"]]
        return heads[0] if heads and len(nodes) == len(self._trail.nodes) else None

    async def _refuses_strangers(self) -> None:
        try:
            refused = await asyncio.gather(*(self._dashboard.refuses_strangers(path) for path in _PROTECTED))
        except DashboardError as error:
            raise StartFailed(f"{self._trail.cluster_id} stopped answering: {error}") from error
        if not all(refused):
            path = _PROTECTED[refused.index(False)]
            raise StartFailed(
                f"{self._trail.cluster_id} answered GET {path} without its token.",
                reason=Reason.OPEN_CLUSTER,
                remedy="Let the clusters run a Ray with token authentication (2.52 or newer).",
            )


def boot_id(head: Process, session_name: str) -> str:
    """Return what names this run of this head, and no other."""
    return f"{kernel_boot()[:8]}-{head.pid}-{head.start}-{session_name}"

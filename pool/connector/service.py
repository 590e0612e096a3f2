"""The gRPC services that a Flyte backend calls, of Flyte 1 and of Flyte 2. They say the same in two protocols."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import grpc
from flyteidl.admin import agent_pb2
from flyteidl.core import execution_pb2 as execution1
from flyteidl.service import agent_pb2_grpc
from flyteidl2.connector import connector_pb2, service_pb2_grpc
from flyteidl2.core import execution_pb2 as execution2
from google.protobuf import struct_pb2

from pool.client import ClientError
from pool.connector.jobs import JobsError
from pool.connector.plan import Plan, decode, refusal
from pool.connector.runs import Runs
from pool.connector.status import Phase, Status
from pool.connector.task import TASK_TYPE, plan_of
from pool.core.errors import PoolError

log = logging.getLogger("warmpool.connector")

NAME = "warmpool"


@dataclass(frozen=True)
class Answering:
    """What both protocols share.

    Attributes:
        runs: the attempts.
        hold_s: how long the first answer about an attempt that has a cluster may wait for its end.
        link: template of the dashboard's URL as people reach it: ``{url}``, ``{cluster}``, ``{job}``; empty for the
            cluster's own.
    """

    runs: Runs
    hold_s: float
    link: str = ""

    def create(self, request: Any) -> bytes:
        """Begin with an attempt, and return its resource meta."""
        try:
            plan = plan_of(request)
        except PoolError as error:
            # An error would be taken for one of the connector's, and tried again.
            log.warning("task %s is refused: %s", request.template.id.name, error)
            return refusal(str(error))
        self.runs.create(plan)
        return plan.encode()

    async def get(self, meta: bytes) -> Status:
        """Return how an attempt is doing."""
        plan = decode(meta)
        if isinstance(plan, str):
            return Status(Phase.FAILED, plan)
        return await self.runs.get(plan, self.hold_s)

    async def delete(self, meta: bytes) -> None:
        """End an attempt; it may have ended already."""
        plan = decode(meta)
        if isinstance(plan, Plan):
            await self.runs.delete(plan)

    async def log(self, meta: bytes) -> list[str]:
        """Return the lines that an attempt's command has written."""
        plan = decode(meta)
        if isinstance(plan, str):
            return [plan]
        try:
            return (await self.runs.log(plan)).splitlines()
        except JobsError as error:
            return [str(error)]

    def links(self, status: Status) -> list[tuple[str, str]]:
        """Return names and URLs of what shows more of an attempt."""
        url, job = status.dashboard.rstrip("/"), status.about.get("job", "")
        if not url:
            return []
        if self.link:
            url = self.link.format(url=url, cluster=status.about.get("cluster", ""), job=job).rstrip("/")
        log_page = f"{url}/#/jobs/{job}"
        if status.about.get("how") == "warm_interpreter":
            where = urlencode({"nodeId": status.about.get("node", ""), "fileName": f"{job}.log"})
            log_page = f"{url}/#/logs/viewer?{where}"
        return [("Ray dashboard", url), ("Log of the task", log_page)]


def resource(status: Status, answering: Answering, messages: Any, execution: Any) -> Any:
    """Return a status in one of the protocols."""
    about = struct_pb2.Struct()
    about.update(dict(status.about))
    return messages.Resource(
        phase=execution.TaskExecution.Phase.Value(status.phase.value),
        message=status.message,
        log_links=[execution.TaskLog(name=name, uri=uri) for name, uri in answering.links(status)],
        custom_info=about,
    )


async def _refused(context: Any, error: Exception) -> None:
    code = grpc.StatusCode.INVALID_ARGUMENT if isinstance(error, ValueError) else grpc.StatusCode.UNAVAILABLE
    await context.abort(code, str(error))


class Tasks1(agent_pb2_grpc.AsyncAgentServiceServicer):  # type: ignore[misc]  # generated code has no types
    """Tasks of Flyte 1."""

    def __init__(self, answering: Answering) -> None:
        self._answering = answering

    async def CreateTask(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        """Begin with an attempt."""
        return agent_pb2.CreateTaskResponse(resource_meta=self._answering.create(request))

    async def GetTask(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Tell how an attempt is doing."""
        try:
            status = await self._answering.get(request.resource_meta)
        except (ValueError, ClientError) as error:
            return await _refused(context, error)
        return agent_pb2.GetTaskResponse(resource=resource(status, self._answering, agent_pb2, execution1))

    async def DeleteTask(self, request: Any, context: Any) -> Any:  # noqa: N802
        """End an attempt."""
        try:
            await self._answering.delete(request.resource_meta)
        except (ValueError, ClientError) as error:
            return await _refused(context, error)
        return agent_pb2.DeleteTaskResponse()

    async def GetTaskLogs(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        """Tell what an attempt's command has written."""
        lines = await self._answering.log(request.resource_meta)
        yield agent_pb2.GetTaskLogsResponse(body=agent_pb2.GetTaskLogsResponseBody(results=lines))


class Names1(agent_pb2_grpc.AgentMetadataServiceServicer):  # type: ignore[misc]
    """What this connector is, for Flyte 1."""

    _agent = agent_pb2.Agent(
        name=NAME,
        supported_task_types=[TASK_TYPE],
        supported_task_categories=[agent_pb2.TaskCategory(name=TASK_TYPE)],
    )

    async def ListAgents(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Tell what there is."""
        return agent_pb2.ListAgentsResponse(agents=[self._agent])

    async def GetAgent(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Tell of the one."""
        if request.name != NAME:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"There is no connector {request.name!r}, only {NAME!r}.")
        return agent_pb2.GetAgentResponse(agent=self._agent)


class Tasks2(service_pb2_grpc.AsyncConnectorServiceServicer):  # type: ignore[misc]
    """Tasks of Flyte 2."""

    def __init__(self, answering: Answering) -> None:
        self._answering = answering

    async def CreateTask(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Begin with an attempt."""
        return connector_pb2.CreateTaskResponse(resource_meta=self._answering.create(request))

    async def GetTask(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Tell how an attempt is doing."""
        try:
            status = await self._answering.get(request.resource_meta)
        except (ValueError, ClientError) as error:
            return await _refused(context, error)
        return connector_pb2.GetTaskResponse(resource=resource(status, self._answering, connector_pb2, execution2))

    async def DeleteTask(self, request: Any, context: Any) -> Any:  # noqa: N802
        """End an attempt."""
        try:
            await self._answering.delete(request.resource_meta)
        except (ValueError, ClientError) as error:
            return await _refused(context, error)
        return connector_pb2.DeleteTaskResponse()

    async def GetTaskLogs(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802
        """Tell what an attempt's command has written."""
        lines = await self._answering.log(request.resource_meta)
        yield connector_pb2.GetTaskLogsResponse(body=connector_pb2.GetTaskLogsResponseBody(results=lines))


class Names2(service_pb2_grpc.ConnectorMetadataServiceServicer):  # type: ignore[misc]
    """What this connector is, for Flyte 2."""

    _connector = connector_pb2.Connector(
        name=NAME, supported_task_categories=[connector_pb2.TaskCategory(name=TASK_TYPE)]
    )

    async def ListConnectors(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Tell what there is."""
        return connector_pb2.ListConnectorsResponse(connectors=[self._connector])

    async def GetConnector(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Tell of the one."""
        if request.name != NAME:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"There is no connector {request.name!r}, only {NAME!r}.")
        return connector_pb2.GetConnectorResponse(connector=self._connector)


def register(server: grpc.aio.Server, answering: Answering) -> None:
    """Have a server answer both protocols."""
    agent_pb2_grpc.add_AsyncAgentServiceServicer_to_server(Tasks1(answering), server)
    agent_pb2_grpc.add_AgentMetadataServiceServicer_to_server(Names1(), server)
    service_pb2_grpc.add_AsyncConnectorServiceServicer_to_server(Tasks2(answering), server)
    service_pb2_grpc.add_ConnectorMetadataServiceServicer_to_server(Names2(), server)

"""The label on this process's own pod that says whether it is the writer: the Service selects it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import structlog

from pool.core.errors import PoolError
from pool.core.reasons import Reason
from pool.kube.api import CORE, Api, ApiError

log = structlog.get_logger("warmpool.kube")

LABEL = "warmpool.io/role"
WRITER, STANDBY = "writer", "standby"
AGAIN_S = 1.0


@dataclass(frozen=True, slots=True)
class Pod:
    """A pod, as the downward API tells it of itself."""

    namespace: str
    name: str
    uid: str

    @classmethod
    def mine(cls, environ: Mapping[str, str] = os.environ) -> Pod:
        """Return the pod of ``WARMPOOL_POD_NAMESPACE``, ``_NAME`` and ``_UID``.

        Raises:
            PoolError: if one is missing.
        """
        try:
            return cls(*(environ[f"WARMPOOL_POD_{part}"] for part in ("NAMESPACE", "NAME", "UID")))
        except KeyError as error:
            remedy = "Set it from the pod's own metadata, as the chart does."
            raise PoolError(f"{error.args[0]} is not set.", reason=Reason.INVALID_REQUEST, remedy=remedy) from None


class RoleLabel:
    """Puts the role on the pod, again and again until Kubernetes has taken it.

    A process that was started anew in its pod may find there what the one before it was. So a standby is ready only
    once its pod says so, or the Service would send it calls that are the writer's to answer.
    """

    def __init__(self, pod: Pod, connect: Callable[[], Awaitable[Api]]) -> None:
        self._pod = pod
        self._connect = connect
        self._api: Api | None = None
        self._wanted = ""
        self._done: Callable[[], None] = lambda: None
        self._labelling: asyncio.Task[None] | None = None

    def writer(self) -> None:
        """Begin to say that this is the writer."""
        self._want(WRITER, lambda: None)

    def standby(self, done: Callable[[], None]) -> None:
        """Begin to say that this one stands by, and call `done` once the pod says it."""
        self._want(STANDBY, done)

    def _want(self, role: str, done: Callable[[], None]) -> None:
        self._wanted, self._done = role, done
        if self._labelling is None or self._labelling.done():
            self._labelling = asyncio.get_running_loop().create_task(self._label())

    async def _label(self) -> None:
        role = told = ""
        while role != self._wanted:
            # One write after the other: an earlier one that is on its way must not come last.
            role = self._wanted
            try:
                self._api = self._api or await self._connect()
                body = {"metadata": {"uid": self._pod.uid, "labels": {LABEL: role}}}
                await self._api.patch(f"{CORE}/namespaces/{self._pod.namespace}/pods/{self._pod.name}", body)
            except ApiError as error:
                if str(error) != told:
                    log.warning(f"this pod cannot be labelled as {role} yet, trying again", error=str(error))
                role, told = "", str(error)
                await asyncio.sleep(AGAIN_S)
        self._done()

    async def close(self) -> None:
        """End. The label stays: a pod that ends gets no calls."""
        if self._labelling is not None:
            self._labelling.cancel()
            await asyncio.wait([self._labelling])
        if self._api is not None:
            await self._api.close()

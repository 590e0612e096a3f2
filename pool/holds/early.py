"""Asks after the workflows for which something is held, and has what is held for those that have ended let go."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from pool.core.errors import PoolError
from pool.core.events import GroupEnded

log = structlog.get_logger("warmpool.holds")

AT_ONCE = 8
MOST = 200
"""So many workflows are asked after in one round: holds have an end of their own."""


class FlyteUnavailable(Exception):
    """Flyte's API gave no answer that says anything: why, without secrets."""


class Executions(Protocol):
    """What can tell of a workflow."""

    async def has_ended(self, project: str, domain: str, name: str) -> bool:
        """Tell whether it is over; raises `FlyteUnavailable`."""


class EarlyEnds:
    """Ends holds early.

    Args:
        executions: tells which workflows have ended.
        held: tenant and group of whatever is held for a group.
        submit: decides an event.
    """

    def __init__(
        self,
        executions: Executions,
        held: Callable[[], list[tuple[str, str]]],
        submit: Callable[[GroupEnded], Awaitable[object]],
    ) -> None:
        self._executions = executions
        self._held = held
        self._submit = submit
        self._silent = False

    async def look(self) -> None:
        """Ask after each workflow for which something is held. Never raises: holds end by themselves too."""
        slots = asyncio.Semaphore(AT_ONCE)

        async def ask(tenant: str, group: str, name: str) -> None:
            project, domain = tenant.split("/")
            async with slots:
                if not await self._executions.has_ended(project, domain, name):
                    return
            log.info(f"{group} has ended: nothing is held for it any more", tenant=tenant, group=group)
            await self._submit(GroupEnded(tenant, group))

        asked = [(tenant, group, name) for tenant, group in self._held() if (name := execution_of(tenant, group))]
        failed = [e for e in await asyncio.gather(*(ask(*one) for one in asked[:MOST]), return_exceptions=True) if e]
        known = (FlyteUnavailable, PoolError, OSError)
        for error in failed:
            if not isinstance(error, known):
                log.error("a workflow could not be asked after", error=repr(error))
        unavailable = next((error for error in failed if isinstance(error, known)), None)
        if unavailable is not None and not self._silent:
            log.warning(f"Flyte cannot be asked which workflows have ended, holds last their time: {unavailable}")
        if asked:
            self._silent = unavailable is not None


def execution_of(tenant: str, group: str) -> str:
    """Return the name of the execution or run that a group is; empty if it is none of a Flyte backend's."""
    prefix = f"{tenant}/"
    name = group.removeprefix(prefix)
    return name if group.startswith(prefix) and name and "/" not in name and tenant.count("/") == 1 else ""

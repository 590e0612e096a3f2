"""Heads that hang: their container goes on, so no pod's end tells of them, but nothing answers.

The kubelet asks every head all the time, and the watch brings what it finds: no head is asked from here as long as
Kubernetes has it ready. One that is not is asked directly as well, since a pod also counts as not ready while its
kubelet or the API server was away, or because of a sidecar: only a head that answers neither is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Protocol

import structlog

from pool.backends.kuberay.view import Doubt, View

log = structlog.get_logger(__name__)

PROBE_S = 3.0
SILENT_S = 12.0
"""A head that is not ready and has not answered for so long is lost."""
LOOK_S = 60.0


class Asked(Protocol):
    """A head that can be asked."""

    async def healthy(self) -> bool:
        """Tell whether it answers."""


class Health:
    """Asks the heads of a view that are in doubt.

    Args:
        view: tells which they are, and is told which of them hang.
        dashboard: makes a head's HTTP API of a doubt and the bound of an answer, in seconds.
    """

    def __init__(self, view: View, dashboard: Callable[[Doubt, float], Asked]) -> None:
        self._view, self._dashboard = view, dashboard
        self._silent_since: dict[str, float] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.create_task(self._run(), name="health of heads")

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            doubts = self._view.doubts()
            if not doubts:
                self._silent_since.clear()
                await self._view.changed(LOOK_S)
                continue
            now = asyncio.get_running_loop().time()
            self._silent_since = {doubt.boot_id: self._silent_since.get(doubt.boot_id, now) for doubt in doubts}
            try:
                await asyncio.gather(*(self._ask(doubt) for doubt in doubts))
            except Exception:
                log.exception("heads could not be asked for their health, trying again")
            await asyncio.sleep(PROBE_S)

    async def _ask(self, doubt: Doubt) -> None:
        healthy = await self._dashboard(doubt, PROBE_S).healthy()
        now = asyncio.get_running_loop().time()
        if healthy:
            self._silent_since[doubt.boot_id] = now
        elif (silent_s := now - self._silent_since[doubt.boot_id]) >= SILENT_S:
            self._view.hangs(
                doubt,
                f"its head runs and does not answer: neither Kubernetes' probes, nor the daemon for {silent_s:.0f} s",
            )

"""Heads that hang: their container goes on, so no pod's end tells of them, but nothing answers.

The kubelet asks every head all the time, and the watch brings what it finds: no head is asked from here as long as
Kubernetes has it ready. One that is not is asked directly as well, since a pod also counts as not ready while its
kubelet or the API server was away, or because of a sidecar: only a head that answers neither is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Protocol

import structlog

from pool.backends.kuberay.view import Doubt, View
from pool.backends.rayapi.dashboard import DashboardError

log = structlog.get_logger(__name__)

ASK_S, PAUSE_S = 8.0, 2.0
SILENT_S = 15.0
"""A head that is not ready and has not answered for so long is lost."""
# The probes' own path gives Ray's GCS a tenth of a second: a driver that takes all of the head's processor can fail it
# again and again. This one needs the GCS as well, and waits for it.
ASKED = "/api/jobs/"
LOOK_S = 60.0


class Asked(Protocol):
    """A head that can be asked."""

    async def get(self, path: str) -> Any:
        """Return the JSON that `path` answers; raise `DashboardError` if it does not."""


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
            await asyncio.sleep(PAUSE_S)

    async def _ask(self, doubt: Doubt) -> None:
        loop, detail = asyncio.get_running_loop(), ""
        try:
            await self._dashboard(doubt, ASK_S).get(ASKED)
        except DashboardError as error:
            detail = str(error)
        silent_s = loop.time() - self._silent_since[doubt.boot_id]
        if not detail:
            self._silent_since[doubt.boot_id] = loop.time()
        elif silent_s >= SILENT_S:
            witnesses = f"neither Kubernetes' probes nor, for {silent_s:.0f} s, the daemon"
            self._view.hangs(doubt, f"its head runs and answers {witnesses}: {detail}")

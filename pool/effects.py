"""Carries out what the core decided, at the backend, and tells the daemon what came of it.

At most one effect per cluster is under way: a stop first cancels a start or a reset. An effect that is lost with the
process is found again by reconcile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import partial

import structlog

from pool.backends.base import Backend, Clean
from pool.core import errors
from pool.core.decisions import Effect, Grow, Reset, Shrink, Start, Stop, StopOrphan
from pool.core.events import Event, Progress, ResetDone, ShrinkFailed, Shrunk, Started, StartFailed, StopFailed, Stopped
from pool.core.reasons import Reason

log = structlog.get_logger("warmpool.effects")

_Work = Callable[[], Coroutine[None, None, None]]


class Effects:
    """The effects under way, by cluster.

    Args:
        backend: where they happen.
        tell: given an event, puts it before the core.
    """

    def __init__(self, backend: Backend, tell: Callable[[Event], None]) -> None:
        self._backend = backend
        self._tell = tell
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._stopping: set[str] = set()
        # Also those that a stop has taken the place of, and that have not ended yet.
        self._running: set[asyncio.Task[None]] = set()

    @property
    def busy(self) -> frozenset[str]:
        """Ids of clusters on which an effect is under way."""
        return frozenset(self._tasks)

    def run(self, effect: Effect) -> None:
        """Begin to carry out one effect."""
        if isinstance(effect, Start | Grow):
            self._begin(effect.cluster.id, partial(self._bring, effect))
        elif isinstance(effect, Shrink):
            self._begin(effect.cluster.id, partial(self._shrink, effect))
        elif isinstance(effect, Reset):
            self._begin(effect.cluster.id, partial(self._reset, effect))
        elif isinstance(effect, Stop | StopOrphan):
            self._begin(effect.cluster_id, partial(self._stop, effect.cluster_id), stop=True)

    def _begin(self, cluster_id: str, work: _Work, *, stop: bool = False) -> None:
        before = self._tasks.get(cluster_id)
        if before is not None and (not stop or cluster_id in self._stopping):
            return
        if stop:
            self._stopping.add(cluster_id)
        doing = work() if before is None else _after(before, work)
        task = asyncio.get_running_loop().create_task(doing, name=f"effect {cluster_id}")
        self._tasks[cluster_id] = task
        self._running.add(task)
        task.add_done_callback(partial(self._forget, cluster_id))

    def _forget(self, cluster_id: str, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if self._tasks.get(cluster_id) is task:
            del self._tasks[cluster_id]
            self._stopping.discard(cluster_id)

    async def _bring(self, effect: Start | Grow) -> None:
        cluster_id = effect.cluster.id
        event: Started | StartFailed

        def report(phase: str) -> None:
            self._tell(Progress(cluster_id, phase))

        try:
            if isinstance(effect, Start):
                event = await self._backend.start(effect.cluster, effect.key, report, effect.resident_share)
            else:
                event = await self._backend.grow(effect.cluster, effect.key, report)
        except errors.StartFailed as error:
            event = StartFailed(cluster_id, error.reason, error.detail)
        except Exception as error:
            log.exception("a start or a growth failed in an unforeseen way", cluster=cluster_id)
            event = StartFailed(cluster_id, Reason.START_FAILED, f"{type(error).__name__}: {error}")
        self._tell(event)

    async def _reset(self, effect: Reset) -> None:
        cluster_id, result = effect.cluster.id, Clean(False, full=effect.full)
        try:
            async with asyncio.timeout(effect.timeout_s):
                result = await self._backend.reset(effect.cluster, effect.key, full=effect.full, span=effect.span)
        except TimeoutError:
            result = replace(result, left=f"the reset did not end within {effect.timeout_s:.0f} s")
        except Exception as error:
            log.exception("a reset failed in an unforeseen way", cluster=cluster_id)
            result = replace(result, left=f"the reset failed: {type(error).__name__}: {error}")
        self._tell(
            ResetDone(cluster_id, effect.epoch, result.clean, result.left, result.full, result.wear, result.evidence)
        )

    async def _shrink(self, effect: Shrink) -> None:
        cluster_id = effect.cluster.id
        event: Shrunk | ShrinkFailed
        try:
            event = await self._backend.shrink(effect.cluster, effect.key)
        except errors.PoolError as error:
            log.warning("workers could not be let go, reconcile will try again", cluster=cluster_id, error=error.detail)
            event = ShrinkFailed(cluster_id, error.detail)
        except Exception as error:
            log.exception("workers could not be let go, reconcile will try again", cluster=cluster_id)
            event = ShrinkFailed(cluster_id, f"{type(error).__name__}: {error}")
        self._tell(event)

    async def _stop(self, cluster_id: str) -> None:
        try:
            await self._backend.stop(cluster_id)
        except errors.PoolError as error:
            log.warning("a stop failed, reconcile will try again", cluster=cluster_id, cause=error.detail)
            self._tell(StopFailed(cluster_id, error.detail))
        except Exception as error:
            log.exception("a stop failed, reconcile will try again", cluster=cluster_id)
            self._tell(StopFailed(cluster_id, f"{type(error).__name__}: {error}"))
        else:
            self._tell(Stopped(cluster_id))

    async def close(self) -> None:
        """Cancel what is under way. Clusters that were starting go on; the next daemon adopts them."""
        tasks = list(self._running)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _after(before: asyncio.Task[None], work: _Work) -> None:
    before.cancel()
    await asyncio.wait([before])
    await work()

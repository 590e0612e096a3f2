"""What the daemon does by the clock beside its own timers: windows open and close, history is pruned.

APScheduler keeps the times. A job that comes late (a suspended machine) runs once, and looks at now: a window is
open because of the time it is, not because a job ran.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from pool.windows import Window, next_change, open_floors

log = structlog.get_logger("warmpool.schedule")

LOOK_S = 60.0
"""Windows are looked at this often even if nothing is expected to change: clocks are set, machines sleep."""

PRUNE_S = 3600.0


class Schedule:
    """Drives scheduled windows and the pruning of history.

    Args:
        clock_now: seconds since the epoch.
        set_floors: told `min_idle` by pool name whenever that changed.
        prune: deletes old history.
    """

    def __init__(
        self,
        clock_now: Callable[[], float],
        set_floors: Callable[[dict[str, int]], Awaitable[None]],
        prune: Callable[[], Awaitable[None]],
    ) -> None:
        self._now = clock_now
        self._set_floors = set_floors
        self._prune = prune
        self._windows: tuple[Window, ...] = ()
        self._floors: dict[str, int] = {}
        self._scheduler = AsyncIOScheduler(
            timezone=UTC, job_defaults={"coalesce": True, "misfire_grace_time": None, "max_instances": 1}
        )

    def floors(self, windows: Sequence[Window]) -> dict[str, int]:
        """Return what `windows` want now, and take them as the ones to drive (at the start, and after a reload)."""
        self._windows = tuple(windows)
        self._floors = open_floors(self._windows, self._now())
        self._plan()
        return self._floors

    def start(self) -> None:
        """Begin; an event loop must run."""
        self._scheduler.start()
        self._plan()
        self.every(LOOK_S, self.look, "look at windows")
        self.every(PRUNE_S, self.prune, "prune history")

    def close(self) -> None:
        """End. Jobs that run are left to end by themselves."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)

    async def look(self) -> None:
        """Compare what is open now with what was told last, and tell the difference."""
        floors = open_floors(self._windows, self._now())
        if floors != self._floors:
            try:
                await self._set_floors(floors)
            except Exception as error:
                log.warning("the windows open now could not be put into effect, trying again", error=str(error))
                return
            log.info("scheduled windows changed", floors=floors, before=self._floors)
            self._floors = floors
        self._plan()

    async def prune(self) -> None:
        """Delete old history; a failure is told and tried again in an hour."""
        try:
            await self._prune()
        except Exception as error:
            log.warning("old history could not be deleted, trying again in an hour", error=str(error))

    def _plan(self) -> None:
        if not self._scheduler.running:
            return
        change = next_change(self._windows, self._now())
        if change is not None:
            at = datetime.fromtimestamp(change, UTC)
            self._scheduler.add_job(self.look, "date", run_date=at, id="next change", replace_existing=True)

    def every(self, every_s: float, job: Callable[[], Awaitable[object]], name: str) -> None:
        """Have something done at intervals; a round that takes longer is not overtaken by the next."""
        first: Any = datetime.now(UTC) + timedelta(seconds=every_s)
        self._scheduler.add_job(job, "interval", seconds=every_s, next_run_time=first, id=name)

"""What happens by the clock: windows are put into effect, history is pruned."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

import pytest

from pool.schedule import Schedule
from pool.windows import Window

NIGHT = Window("a", "0 0 * * *", 3600, 2)
MIDNIGHT = datetime(2026, 6, 5, tzinfo=UTC).timestamp()


class Daemon:
    def __init__(self, now: float) -> None:
        self.now = now
        self.told: list[dict[str, int]] = []
        self.fails = False
        self.changed = asyncio.Event()
        self.schedule = Schedule(lambda: self.now, self.set_floors, self.prune)

    async def set_floors(self, floors: dict[str, int]) -> None:
        if self.fails:
            raise RuntimeError("the store is away")
        self.told.append(floors)
        self.changed.set()

    async def prune(self) -> None:
        raise RuntimeError("the store is away")


async def test_a_daemon_that_starts_in_the_middle_of_a_window_finds_it_open() -> None:
    assert Daemon(MIDNIGHT + 1800).schedule.floors([NIGHT]) == {"a": 2}
    assert Daemon(MIDNIGHT - 1800).schedule.floors([NIGHT]) == {}


async def test_only_changes_are_told() -> None:
    daemon = Daemon(MIDNIGHT - 60)
    daemon.schedule.floors([NIGHT])
    for seconds in (-30, 0, 1800, 3599, 3600, 3700):
        daemon.now = MIDNIGHT + seconds
        await daemon.schedule.look()
    assert daemon.told == [{"a": 2}, {}]


async def test_a_change_that_could_not_be_told_is_told_at_the_next_look() -> None:
    daemon = Daemon(MIDNIGHT - 60)
    daemon.schedule.floors([NIGHT])
    daemon.now, daemon.fails = MIDNIGHT, True
    await daemon.schedule.look()
    assert daemon.told == []
    daemon.fails = False
    await daemon.schedule.look()
    assert daemon.told == [{"a": 2}]


async def test_a_reload_replaces_the_windows() -> None:
    daemon = Daemon(MIDNIGHT)
    daemon.schedule.floors([NIGHT])
    assert daemon.schedule.floors([Window("b", "0 0 * * *", 60, 1)]) == {"b": 1}
    await daemon.schedule.look()
    assert daemon.told == []


async def test_a_prune_that_fails_is_not_the_end() -> None:
    await Daemon(MIDNIGHT).schedule.prune()


async def test_a_window_closes_by_itself_at_its_instant() -> None:
    # A window that has been open since midnight and closes soon, whatever time it is now.
    since_midnight = time.time() % 86_400
    closing = Window("a", "0 0 * * *", since_midnight + 1.0, 2)
    told = asyncio.Event()
    floors: list[dict[str, int]] = []

    async def set_floors(new: dict[str, int]) -> None:
        floors.append(new)
        told.set()

    async def prune() -> None:
        pytest.fail("it is not time yet")

    schedule = Schedule(time.time, set_floors, prune)
    assert schedule.floors([closing]) == {"a": 2}
    schedule.start()
    try:
        async with asyncio.timeout(30):
            await told.wait()
    finally:
        schedule.close()
    assert floors == [{}]

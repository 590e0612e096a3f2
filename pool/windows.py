"""Scheduled windows: "from this cron time, for so long, at least so many idle clusters".

Whether a window is open is a function of now, never of a timer that fired: a daemon that starts in the middle of a
window finds it open. Windows are half-open, ``[opens, opens + for_s)``; overlapping ones take the maximum. A window
opens at local time of its zone and lasts `for_s` real seconds, also over a change of the clocks: one whose time is
skipped opens an hour later, one whose time comes twice opens twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from apscheduler.triggers.cron import CronTrigger

_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat", "sun")
# A trigger finds an opening whose local time was skipped only if it is asked from before the gap.
_LONGEST_GAP_S = 7200.0
_DAYS = re.compile(r"^([0-7])(?:-([0-7]))?(?:/(\d+))?$")


@dataclass(frozen=True, slots=True)
class Window:
    """A window of a configured pool.

    Attributes:
        pool: name of the configured pool.
        cron: minute, hour, day of month, month, day of week, as crontab writes them (0 and 7 are Sunday).
        for_s: how long it stays open.
        min_idle: idle clusters wanted while it is open.
        timezone: an IANA name such as ``Europe/Berlin``.
    """

    pool: str
    cron: str
    for_s: float
    min_idle: int
    timezone: str = "UTC"


def zone(name: str) -> ZoneInfo:
    """Return the time zone of that name.

    Raises:
        ValueError: if there is none.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{name!r} is not a time zone; write one such as UTC or Europe/Berlin") from None


def _weekdays(text: str) -> str:
    """Return a crontab's days of the week by name: APScheduler counts from Monday, crontab from Sunday."""

    def names(part: str) -> str:
        match = _DAYS.match(part)
        if match is None:
            return part
        first, step = int(match[1]), int(match[3] or 1)
        last = int(match[2]) if match[2] else 6 if match[3] else first
        if last < first or step == 0:
            raise ValueError(f"{part!r} is not a range of days")
        return ",".join(_WEEKDAYS[day] for day in range(first, last + 1, step))

    return ",".join(names(part) for part in text.split(","))


@lru_cache(maxsize=1024)
def trigger(cron: str, timezone: str) -> CronTrigger:
    """Return the trigger of a crontab line.

    Raises:
        ValueError: if the line or the zone cannot be understood, or the line never comes true.
    """
    fields = cron.split()
    if len(fields) != 5:
        raise ValueError(
            f"{cron!r} is not a cron time; write minute, hour, day of month, month and day of week, "
            "such as '0 8 * * 1-5'"
        )
    minute, hour, day, month, weekday = fields
    if day != "*" and weekday != "*":
        raise ValueError(f"{cron!r} restricts both the day of month and the day of week; use two windows instead")
    tz = zone(timezone)
    try:
        made = CronTrigger(
            minute=minute, hour=hour, day=day, month=month.lower(), day_of_week=_weekdays(weekday.lower()), timezone=tz
        )
    except ValueError as error:
        raise ValueError(f"{cron!r} is not a cron time: {error}") from None
    if _next(made, 0.0) is None:
        raise ValueError(f"{cron!r} never comes true")
    return made


def _openings_after(window: Window, after: float) -> Iterator[float]:
    """Yield the openings later than `after`, in order (seconds since the epoch)."""
    when = trigger(window.cron, window.timezone)
    at = after - _LONGEST_GAP_S
    while (opens := _next(when, at)) is not None:
        if opens > after:
            yield opens
        at = opens + 1e-3


def _next(when: CronTrigger, at: float) -> float | None:
    fires: datetime | None = when.get_next_fire_time(None, datetime.fromtimestamp(at, when.timezone))
    return None if fires is None else fires.timestamp()


def _opening_in_force(window: Window, now: float) -> float | None:
    """Return the earliest opening from which the window is still open at `now`."""
    opens = next(_openings_after(window, now - window.for_s), None)
    return opens if opens is not None and opens <= now else None


def open_floors(windows: Iterable[Window], now: float) -> dict[str, int]:
    """Return `min_idle` by pool name as the windows that are open at `now` want it.

    Args:
        windows: of all pools.
        now: seconds since the epoch.
    """
    floors: dict[str, int] = {}
    for window in windows:
        if _opening_in_force(window, now) is not None:
            floors[window.pool] = max(window.min_idle, floors.get(window.pool, 0))
    return floors


def next_change(windows: Iterable[Window], now: float) -> float | None:
    """Return the next instant after `now` at which a window opens or closes, None if there is none."""
    instants = []
    for window in windows:
        opens = next(_openings_after(window, now), None)
        if opens is not None:
            instants.append(opens)
        in_force = _opening_in_force(window, now)
        if in_force is not None:
            instants.append(in_force + window.for_s)
    return min((at for at in instants if at > now), default=None)

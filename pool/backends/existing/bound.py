"""A cluster of the store and the entry of the configuration that it stands for."""

from __future__ import annotations

from dataclasses import dataclass, field

import aiohttp

from pool.backends.existing.options import Entry, ExistingOptions
from pool.backends.rayapi.dashboard import Dashboard
from pool.backends.rayapi.headclock import HeadClock
from pool.clock import WallClock
from pool.core.key import Shape

_OURS = WallClock()
"""Like the daemon's: it goes on evenly when the system's time is set."""


def boot_id(entry: Entry, session: str) -> str:
    """Return what names this run of this cluster: by it a restarted daemon finds the entry again."""
    return f"{entry.name}@{session}"


def named(boot: str) -> tuple[str, str]:
    """Return (entry's name, session) of a boot id."""
    name, _, session = boot.partition("@")
    return name, session


@dataclass(slots=True)
class Bound:
    """One cluster.

    Attributes:
        entry: None if the configuration did not name it any more when the daemon started.
        boot_id: of the run that was attached, empty before.
        seen_boot: of the run that answered last.
        shape: of its key.
        removed: the configuration no longer names it: it is let go once its lease has ended.
        silent_since: when it first did not answer, by the loop's clock; None while it does.
        missing: what it lacks of its key's shape, empty for nothing.
    """

    cluster_id: str
    entry: Entry | None
    boot_id: str = ""
    seen_boot: str = ""
    shape: Shape | None = None
    removed: bool = False
    silent_since: float | None = None
    missing: str = ""
    clock: HeadClock = field(default_factory=lambda: HeadClock(_OURS.now))

    def dashboard(self, http: aiohttp.ClientSession, options: ExistingOptions) -> Dashboard | None:
        """Return what asks it, None if nothing is known of how."""
        if self.entry is None:
            return None
        return Dashboard(http, self.entry.dashboard, self.entry.token, options.request_s, self.clock)

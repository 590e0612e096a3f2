"""What tenants were given while others waited for the same room: virtual time, as start-time fair queueing has it.

An estimate: it lives in memory, is not undone with a decision, and begins anew whenever nobody waits. A snapshot tells
it to a restart (`pool.core.snapshot`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class Shares:
    """Virtual time of the whole daemon, and of each tenant that is ahead of it.

    Attributes:
        clock: no tenant that waits is behind it; only rises.
        paid: by tenant, until when what it was given counts; only what is ahead of the clock matters.
        unsaved: whether it has changed since the last snapshot of it.
    """

    def __init__(self) -> None:
        self.clock = 0.0
        self.paid: dict[str, float] = {}
        self.unsaved: dict[str, None] = {}

    def begun(self, tenant: str) -> float:
        """Return the virtual time at which the next lease of a tenant begins."""
        return max(self.clock, self.paid.get(tenant, 0.0))

    def charge(self, tenant: str, takes: float, least_waiting: float) -> None:
        """Note that a tenant is given a lease while others wait.

        Args:
            tenant: whose lease it is.
            takes: its virtual seconds.
            least_waiting: the earliest virtual time at which a lease of those others begins.
        """
        begun = self.begun(tenant)
        # Not beyond who waits: a lease on a cluster that its tenant had anyway may be given out of turn.
        self.clock = max(self.clock, min(begun, least_waiting))
        self.paid[tenant] = begun + takes
        self.unsaved[""] = None

    def rest(self) -> None:
        """Nobody waits for what another one has: all begin anew, at the same time."""
        if self.paid:
            self.clock = max(self.clock, *self.paid.values())
            self.paid.clear()
            self.unsaved[""] = None

    def told(self, name: str) -> list[Any]:
        """Return all that a restart needs."""
        return [self.clock, self.paid]

    def recall(self, name: str, told: Sequence[Any], as_of: float) -> None:
        """Take over what was told.

        Raises:
            ValueError, TypeError: if it is not that.
        """
        clock, paid = told
        self.clock, self.paid = float(clock), {str(tenant): float(until) for tenant, until in dict(paid).items()}

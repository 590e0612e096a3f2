"""The clock of greedy-dual evictions: what is long unused ages, as it rises."""

from __future__ import annotations


class Ages:
    """The clock of greedy-dual policies, and where it stood when each cluster was used last.

    Estimates: they live in memory, are not undone with a decision, and begin anew with a restart.

    Attributes:
        clock: the value of what was evicted last; only rises.
    """

    def __init__(self) -> None:
        self.clock = 0.0
        self._of: dict[str, float] = {}

    def of(self, cluster_id: str) -> float:
        """Return where the clock stood when a cluster was used last."""
        return self._of.get(cluster_id, 0.0)

    def used(self, cluster_id: str) -> None:
        """Note that a cluster is used, or begun."""
        if self.clock:
            self._of[cluster_id] = self.clock

    def evicted(self, value: float) -> None:
        """Note that a cluster of this value is evicted."""
        self.clock = max(self.clock, value)

    def forget(self, cluster_id: str) -> None:
        """Note that a cluster is gone."""
        self._of.pop(cluster_id, None)

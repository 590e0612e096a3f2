"""The changes of a commit, reduced to what must be written: the last version of each record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from pool.core.decisions import Change
from pool.core.model import Cluster, Lease, Pool, Waiter


@dataclass(slots=True)
class Batch:
    """What a commit writes; a value of None deletes the row of that id."""

    pools: dict[str, Pool | None] = field(default_factory=dict)
    clusters: dict[str, Cluster] = field(default_factory=dict)
    leases: dict[str, Lease] = field(default_factory=dict)
    waiters: dict[str, Waiter | None] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.leases or self.clusters or self.waiters or self.pools)


def reduce(changes: Sequence[Change]) -> Batch:
    """Return what `changes` write.

    A cluster that stopped and a lease that ended are written like any other: their rows are the history.

    Raises:
        ValueError: a change deletes a cluster or a lease, which history keeps.
    """
    batch = Batch()
    for change in changes:
        if not change.durable:
            continue
        new = change.new
        if type(new) is Lease:
            batch.leases[new.id] = new
        elif type(new) is Cluster:
            batch.clusters[new.id] = new
        elif type(new) is Waiter:
            batch.waiters[new.id] = new
        elif type(new) is Pool:
            batch.pools[new.digest] = new
        elif isinstance(change.old, Waiter):
            batch.waiters[change.old.id] = None
        elif isinstance(change.old, Pool):
            batch.pools[change.old.digest] = None
        elif change.old is not None:
            raise ValueError(f"{change.old.id}: history keeps it; write it as ended or stopped instead of deleting it.")
    return batch

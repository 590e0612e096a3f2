"""What must hold of the ledger: clusters' seconds add up to their lives, and every lease was entered once."""

from __future__ import annotations

import math
from collections import Counter, defaultdict

from pool.store.books import Kind
from pool.store.memory import MemoryState


def check_books(disk: MemoryState) -> None:
    """Check a ledger beside the clusters and leases that it is of, none of which lives."""
    lives: defaultdict[str, float] = defaultdict(float)
    for cluster in disk.clusters.values():
        lives[cluster.pool] += cluster.changed_at - cluster.created_at
    seconds: defaultdict[str, float] = defaultdict(float)
    grants: Counter[tuple[str, str, str]] = Counter()
    for account, found in disk.ledger.items():
        if account.kind == Kind.TIME:
            seconds[account.pool] += found.seconds
        else:
            grants[account.pool, account.what, account.reason] += found.times
    assert set(seconds) <= set(lives)
    for pool, life in lives.items():
        assert math.isclose(seconds[pool], life, rel_tol=1e-6, abs_tol=1e-3), f"{pool}: {seconds[pool]} of {life} s"
    leases = disk.leases.values()
    assert grants == Counter((x.pool, x.outcome.value, x.miss.value if x.miss is not None else "") for x in leases)
    assert not disk.booked, disk.booked

"""Many leases one after the other on one real cluster: ``python -m tests.e2e.soak --leases 1000``.

What must hold of them: each finds the cluster clean, what a lease takes stays flat or the cluster is replaced, and at
the end nothing is left, neither processes nor directories.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
from pathlib import Path
from typing import Any

from benchmarks.leases import Used, leases
from pool.backends.local.processes import owned
from pool.core.reasons import Reason

RECYCLED = {Reason.MAX_USES, Reason.MAX_LIFETIME, Reason.HEAD_MEMORY, Reason.OPEN_FILES}
SLOWER = 3.0
"""Leases may come to cost so many times what they cost at first, on one cluster."""


async def soak(count: int, **settings: Any) -> list[Used]:
    """Take `count` leases, each used by a driver, and see what must hold of them.

    Args:
        count: how many.
        settings: of their pool.

    Returns:
        What each of them took.
    """
    used: list[Used] = []
    async with leases(**settings) as made:
        for number in range(1, count + 1):
            used.append(await made.one())
            if number % 50 == 0:
                print(f"{number} leases, the last one {used[-1]}", file=sys.stderr, flush=True)
        replaced = made.given_up.copy()
        temp_dirs = [trail.temp_dir for trail in made.trails()]
    assert {reason for _, reason, _ in replaced} <= RECYCLED, replaced
    _nothing_left(made.daemon.store_id, [str(made.state_dir), *temp_dirs])
    by_cluster: dict[str, list[Used]] = {}
    for one in used:
        by_cluster.setdefault(one.cluster, []).append(one)
    for several in by_cluster.values():
        assert [one.use for one in several] == [*range(1, len(several) + 1)]
        _flat(several)
    return used


def _nothing_left(store_id: str, directories: list[str]) -> None:
    assert not owned(store_id), "processes are left"
    assert not [path for path in directories if Path(path).exists()], "directories are left"


def _flat(used: list[Used]) -> None:
    """See that the last leases of a cluster cost not much more than its first, by their medians.

    In time of a core: how long they take depends on what else the machine does.
    """
    part = len(used) // 3
    if part < 5:
        return
    first, last = (statistics.median(one.cpu_s for one in some) for some in (used[:part], used[-part:]))
    assert last < SLOWER * first, f"leases cost {last:.2f} s after {len(used)} of them, and {first:.2f} s at first"


def main() -> None:
    """Run it, and say what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--leases", type=int, default=1000, help="how many")
    given = parser.parse_args()
    used = asyncio.run(soak(given.leases, max_uses=200))
    clusters = len({one.cluster for one in used})
    print(f"{len(used)} leases on {clusters} clusters, p50 {statistics.median(one.driver_s for one in used):.2f} s")


if __name__ == "__main__":
    main()

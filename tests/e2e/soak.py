"""Many leases one after the other on one real cluster: ``python -m tests.e2e.soak --leases 1000 --keep FILE``.

What must hold of them: each finds the cluster clean, what a lease takes stays flat or the cluster is replaced, and at
the end nothing is left, neither processes nor directories. What a lease takes is told by the hundred, and at the end as
one line of JSON. Each lease is written to FILE as it ends: a run that was broken off goes on there, on a fresh cluster.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from benchmarks.leases import Used, leases
from benchmarks.parts import PART, line, middle, part, parts
from pool.backends.local.processes import owned
from pool.core.reasons import Reason

RECYCLED = {Reason.MAX_USES, Reason.MAX_LIFETIME, Reason.HEAD_MEMORY, Reason.OPEN_FILES}
SLOWER = 3.0
"""Leases may come to cost so many times what they cost at first, on one cluster."""


async def soak(count: int, told: Callable[[Used], None] = lambda one: None, **settings: Any) -> list[Used]:
    """Take `count` leases, each used by a driver, and see what must hold of them.

    Args:
        count: how many.
        told: called with each as it ends.
        settings: of their pool.

    Returns:
        What each of them took; the names of their clusters are those of no other run.
    """
    used: list[Used] = []
    async with leases(**settings) as made:
        for _ in range(count):
            one = await made.one()
            used.append(replace(one, cluster=f"{made.daemon.store_id}/{one.cluster}"))
            told(used[-1])
        replaced = made.given_up.copy()
        temp_dirs = [trail.temp_dir for trail in made.trails()]
    assert {reason for _, reason, _ in replaced} <= RECYCLED, replaced
    _nothing_left(made.daemon.store_id, [str(made.state_dir), *temp_dirs])
    see_flat(used)
    return used


def see_flat(used: list[Used]) -> None:
    """See that what leases cost stayed flat on each of their clusters.

    Raises:
        AssertionError: with what they cost, if it did not.
    """
    by_cluster: dict[str, list[Used]] = {}
    for one in used:
        by_cluster.setdefault(one.cluster, []).append(one)
    for several in by_cluster.values():
        assert [one.use for one in several] == [*range(1, len(several) + 1)]
        _flat(several)


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


class Kept:
    """Leases in a file, one a line of JSON."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        text = path.read_text() if path is not None and path.exists() else ""
        # A run that was killed may have left half a line.
        self.used = [Used(**json.loads(row)) for row in text.splitlines(keepends=True) if row.endswith("\n")]
        if path is not None and not text.endswith("\n"):
            path.write_text("".join(f"{json.dumps(asdict(one))}\n" for one in self.used))

    def add(self, one: Used) -> None:
        """Add one, and tell about each hundred."""
        self.used.append(one)
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(f"{json.dumps(asdict(one))}\n")
        if len(self.used) % PART == 0:
            print(line(part(self.used[-PART:], len(self.used) - PART + 1)), file=sys.stderr, flush=True)


def main() -> None:
    """Run it, and say what it took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--leases", type=int, default=1000, help="how many, with those of FILE")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="where they are written, and gone on with")
    given = parser.parse_args()
    kept = Kept(given.keep)
    if len(kept.used) < given.leases:
        asyncio.run(soak(given.leases - len(kept.used), kept.add, max_uses=200))
    see_flat(kept.used)
    told = {
        "leases": len(kept.used),
        "clusters": len({one.cluster for one in kept.used}),
        "p50_s": middle(one.driver_s for one in kept.used),
        "by_hundred": parts(kept.used),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()

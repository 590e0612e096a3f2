"""What leases took, by parts of a hundred of them: medians, as rows of a result and as lines to watch."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.leases import Used

PART = 100
"""So many leases are one row."""


def middle(values: Iterable[float]) -> float:
    """Return the median, to three digits."""
    return round(statistics.median(values), 3)


def part(used: Sequence[Used], first: int) -> dict[str, Any]:
    """Return the medians of some leases in a row.

    Args:
        used: what they took.
        first: number of the first of them.
    """
    return {
        "leases": f"{first}-{first + len(used) - 1}",
        "lease_s": middle(one.driver_s for one in used),
        "first_tasks_s": middle(one.parts_s["tasks_s"] for one in used),
        "wait_s": middle(one.wait_s for one in used),
        "reset_s": middle(one.reset_s for one in used),
        "cpu_s": middle(one.cpu_s for one in used),
        "head_memory_mb": round(statistics.median(one.head_memory_bytes for one in used) / 1e6, 1),
        "open_files": int(statistics.median(one.open_files for one in used)),
    }


def parts(used: Sequence[Used], size: int = PART) -> list[dict[str, Any]]:
    """Return a row for each `size` leases, the last one for what is left."""
    return [part(used[at : at + size], at + 1) for at in range(0, len(used), size)]


def line(row: dict[str, Any]) -> str:
    """Return a row as a line to watch."""
    return (
        f"leases {row['leases']}, p50: {row['lease_s']:.2f} s a lease, {row['wait_s']:.3f} s until its grant, "
        f"{row['reset_s']:.2f} s its reset, {row['cpu_s']:.2f} s of a core; {row['head_memory_mb']:.0f} MB, "
        f"{row['open_files']} files"
    )

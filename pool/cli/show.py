"""Showing things: tables for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any


def as_json(data: Any) -> None:
    """Write JSON to stdout, and nothing else."""
    sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False) + "\n")


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], nothing: str) -> None:
    """Write a table to stdout, or the sentence `nothing` if it has no rows.

    A column whose name begins with ``>`` is aligned to the right. On a terminal it fits its width; into a pipe each
    row is one line.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    shown = [[Text(str(cell)) for cell in row] for row in rows]
    if not shown:
        print(nothing)
        return
    grid = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in columns:
        right = name.startswith(">")
        grid.add_column(name.lstrip(">"), justify="right" if right else "left", no_wrap=right, overflow="fold")
    for row in shown:
        grid.add_row(*row)
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=500)
    console.print(grid)


def share(part: float, whole: float) -> str:
    """Return a share as people read it: `-` of nothing."""
    return f"{part / whole:.1%}" if whole else "-"


def span(seconds: float | None) -> str:
    """Return a duration in at most two units: ``0.4 s``, ``12 s``, ``3 min 20 s``, ``5 h``, ``2 d 4 h``."""
    if seconds is None:
        return "-"
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    rest = round(seconds)
    parts = []
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def money(amount: float) -> str:
    """Return an amount of whatever prices are in, with two digits at least: ``1,204.30``, ``12.50``, ``0.0073``."""
    return f"{amount:,.2f}" if abs(amount) >= 0.1 or not amount else f"{amount:.2g}"


def hours(seconds: float) -> str:
    """Return a number of hours, with two digits at least where there are few: ``1,204.3``, ``12.5``, ``0.073``."""
    found = seconds / 3600
    return f"{found:,.1f}" if found >= 1 or found < 0.0005 else f"{found:.2g}"

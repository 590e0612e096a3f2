"""How every benchmark ends: what was measured, on what, as one line of JSON."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """Return what the figures depend on: processor, cores, memory, Python."""
    cpu = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_gib": round(memory_gib, 1),
        "python": platform.python_version(),
        "kernel": platform.release().split("-")[0],
    }


def commit() -> str:
    """Return the commit that was measured, marked if the tree had changes."""
    root = Path(__file__).parent

    def git(*args: str) -> str:
        done = subprocess.run(["git", *args], cwd=root, capture_output=True, text=True, check=False)
        return done.stdout.strip()

    # The results themselves are written by a run, and say nothing about the code.
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":!/benchmarks/results")
    return (git("rev-parse", "--short=12", "HEAD") or "unknown") + ("-dirty" if changed else "")


def finish(name: str, command: str, figures: dict[str, Any], detail: dict[str, Any]) -> None:
    """Write the result file of a benchmark and print its last line.

    Args:
        name: of the benchmark; the result goes to ``benchmarks/results/<name>.json``.
        command: that made it.
        figures: the named figures, printed as the last line.
        detail: everything else worth keeping.
    """
    RESULTS.mkdir(exist_ok=True)
    when = datetime.now(UTC).isoformat(timespec="seconds")
    result = {"command": command, "commit": commit(), "machine": machine(), "when": when, **figures, "detail": detail}
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(figures), flush=True)


def percentile(values: list[float], share: float) -> float:
    """Return the value below which `share` of `values` lie (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def fail(why: str) -> None:
    """End a benchmark that could not measure."""
    print(f"not measured: {why}", file=sys.stderr)
    raise SystemExit(1)

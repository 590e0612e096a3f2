"""What this machine has, and whether a shape fits on it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pool.backends.local.options import LocalOptions
from pool.core.errors import ShapeTooLarge
from pool.core.key import Node, Shape

MIN_OBJECT_STORE_BYTES = 78_643_200
"""The least that Ray's object store takes."""

_NO_LIMIT = 2**60


@dataclass(frozen=True, slots=True)
class Machine:
    """The limits that a single cluster must keep.

    Attributes:
        milli_cpu: cpus in thousandths, as the scheduler and the control group give them.
        memory_bytes: the machine's, or the control group's if that is less.
        gpu: NVIDIA devices.
    """

    milli_cpu: int
    memory_bytes: int
    gpu: int

    @classmethod
    def found(cls, options: LocalOptions) -> Machine:
        """Return this machine's limits, the given ones instead of those found."""
        return cls(
            _milli_cpu() if options.milli_cpu is None else options.milli_cpu,
            _memory_bytes() if options.memory_bytes is None else options.memory_bytes,
            _gpu() if options.gpu is None else options.gpu,
        )

    def check(self, shape: Shape, options: LocalOptions) -> None:
        """Refuse a shape that can never fit.

        Raises:
            ShapeTooLarge: with the sum.
        """
        parts = [("head", 1, shape.head), *((g.name, g.replicas, g.node) for g in shape.workers)]
        allowed = int(self.milli_cpu * options.cpu_overcommit)
        cpu = sum(count * node.milli_cpu for _, count, node in parts)
        if cpu > allowed:
            times = "" if options.cpu_overcommit == 1 else f" x {options.cpu_overcommit:g} (cpu_overcommit)"
            have = f"{self.milli_cpu / 1000:g}{times}"
            added = _added(parts, lambda node: f"{node.milli_cpu / 1000:g}")
            raise ShapeTooLarge(f"shape: {added} = {cpu / 1000:g} cpus, but this machine has {have}.")
        memory = sum(count * max(node.memory_bytes, node.object_store_bytes) for _, count, node in parts)
        if memory > self.memory_bytes:
            added = _added(parts, lambda node: _gib(max(node.memory_bytes, node.object_store_bytes)))
            have = _gib(self.memory_bytes)
            raise ShapeTooLarge(f"shape: {added} = {_gib(memory)} GiB of memory, but this machine has {have} GiB.")
        gpu = sum(count * node.gpu for _, count, node in parts)
        if gpu > self.gpu:
            added = _added(parts, lambda node: str(node.gpu))
            raise ShapeTooLarge(f"shape: {added} = {gpu} GPUs, but this machine has {self.gpu}.")


def _added(parts: list[tuple[str, int, Node]], say: Callable[[Node], str]) -> str:
    return " + ".join(f"{say(node)} ({name})" if n == 1 else f"{n} x {say(node)} ({name})" for name, n, node in parts)


def _gib(size: int) -> str:
    return f"{size / 2**30:.3g}"


def _milli_cpu() -> int:
    found = len(os.sched_getaffinity(0)) * 1000
    for group in _control_groups("cpu"):
        text = _first_line(group / "cpu.max")  # version 2: "QUOTA PERIOD" or "max PERIOD"
        quota, period = [*text.split(), "", ""][:2]
        if not text:
            quota, period = _first_line(group / "cpu.cfs_quota_us"), _first_line(group / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit() and int(period):
            found = min(found, int(quota) * 1000 // int(period))
    return found


def _memory_bytes() -> int:
    found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for group in _control_groups("memory"):
        text = _first_line(group / "memory.max") or _first_line(group / "memory.limit_in_bytes")
        if text.isdigit() and int(text) < _NO_LIMIT:
            found = min(found, int(text))
    return found


def _gpu() -> int:
    return sum(1 for path in Path("/dev").glob("nvidia*") if re.fullmatch(r"nvidia\d+", path.name))


def _control_groups(controller: str) -> list[Path]:
    """Return the directories of this process's control group and all above it, of either version."""
    found: list[Path] = []
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return found
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0":
            root = Path("/sys/fs/cgroup")
        elif controller in controllers.split(","):
            root = Path("/sys/fs/cgroup") / controller
        else:
            continue
        own = root / path.lstrip("/")
        found += [group for group in (own, *own.parents) if group.is_relative_to(root)]
    return found


def _first_line(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""

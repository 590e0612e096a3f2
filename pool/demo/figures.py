"""What a run of the example workflow took, and of what. All durations are seconds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pool.flyte.record import TaskRecord

DEFINITIONS = (
    "wait: from asking for a cluster to a connected Ray. body: the task's function, with its inputs and outputs. "
    "handed: of that, what it took to hand tables from task to task, with Flyte's own copy of each. "
    "outside: the whole command, from its start to its end, less the bodies."
)


def short(task: str) -> str:
    """Return a task's own name: Flyte writes its module before it."""
    return task.rsplit(".", 1)[-1]


def wait_s(record: TaskRecord) -> float:
    """Return how long a task waited, from asking for a cluster to a connected Ray."""
    return record.acquire_s + record.connect_s


def how(record: TaskRecord) -> str:
    """Return how a task came by its cluster: ``hit``, ``cold: no_cluster``."""
    if record.how == "fresh":
        return "own cluster"
    if record.how == "shared":
        return "shared"
    return f"{record.outcome}: {record.reason}" if record.reason else record.outcome


@dataclass(frozen=True)
class Run:
    """One run of the workflow.

    Attributes:
        name: ``cold``, ``warm`` or ``fresh``.
        began: when the command was started (epoch seconds).
        wall_s: of the whole command, interpreter start and imports included.
        tasks: as their task log has them, in order.
    """

    name: str
    began: float
    wall_s: float
    tasks: tuple[TaskRecord, ...]

    @property
    def bodies_s(self) -> float:
        """Sum of the task bodies."""
        return sum(record.body_s for record in self.tasks)

    @property
    def handover_s(self) -> float:
        """What the bodies spent on handing values from task to task, Flyte's copies included."""
        return sum(record.handover_s for record in self.tasks)

    @property
    def outside_s(self) -> float:
        """The whole command less the task bodies."""
        return self.wall_s - self.bodies_s

    @property
    def cluster_s(self) -> float:
        """What the clusters alone cost: asking, connecting, and giving back. No interpreter start, no imports."""
        return sum(wait_s(record) + record.release_s for record in self.tasks)

    @property
    def rest_s(self) -> float:
        """What is neither body nor cluster: starting interpreters, imports, exits, and Flyte's own work."""
        return self.outside_s - self.cluster_s

    @property
    def startup_s(self) -> float:
        """From the start of the command until its first task asks for a cluster: interpreter and imports."""
        return self.tasks[0].started - self.began if self.tasks else 0.0

    def totals(self) -> dict[str, float]:
        """Return the sums by name."""
        return {
            "wall_s": round(self.wall_s, 3),
            "bodies_s": round(self.bodies_s, 3),
            "handover_s": round(self.handover_s, 3),
            "durable_s": round(sum(record.durable_s for record in self.tasks), 3),
            "outside_s": round(self.outside_s, 3),
            "acquire_s": round(sum(record.acquire_s for record in self.tasks), 3),
            "connect_s": round(sum(record.connect_s for record in self.tasks), 3),
            "release_s": round(sum(record.release_s for record in self.tasks), 3),
            "cluster_s": round(self.cluster_s, 3),
            "rest_s": round(self.rest_s, 3),
            "startup_s": round(self.startup_s, 3),
        }

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {**self.totals(), "tasks": [asdict(record) for record in self.tasks]}


def verdict(runs: Sequence[Run]) -> str:
    """Return the sentence that the demo is about; empty if a run to compare with is missing."""
    by_name = {run.name: run for run in runs}
    warm, fresh = by_name.get("warm"), by_name.get("fresh")
    if warm is None:
        return ""
    if fresh is None:
        cold = by_name["cold"]
        return f"time outside task bodies: {cold.outside_s:.1f} s cold, {warm.outside_s:.1f} s warm"
    times = fresh.outside_s / warm.outside_s
    return (
        f"time outside task bodies: {warm.outside_s:.1f} s warm vs {fresh.outside_s:.1f} s with a cluster per task: "
        f"{times:.1f} times less. Handing tables over, within the bodies: {warm.handover_s:.2f} s warm vs "
        f"{fresh.handover_s:.2f} s"
    )


def read_records(log: Path, skip: int = 0) -> list[TaskRecord]:
    """Return the records of a task log, from the one after the first `skip` on; a line still being written is left."""
    try:
        text = log.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    lines = [line for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return list(_records(lines[skip:]))


def _records(lines: Iterable[str]) -> Iterable[TaskRecord]:
    known = TaskRecord.__dataclass_fields__
    for line in lines:
        yield TaskRecord(**{name: value for name, value in json.loads(line).items() if name in known})

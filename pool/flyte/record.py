"""One line of JSON per pooled task, for who wants to see where the time of a workflow went."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pool.client import Lease

LOG_VARIABLE = "WARMPOOL_TASK_LOG"


@dataclass
class TaskRecord:
    """Where the time of one task went. Durations are seconds.

    Attributes:
        task: its name.
        started: when it began to ask for a cluster (epoch seconds).
        how: ``leased``, ``shared`` (the lease of the task around or beside it) or ``fresh`` (a Ray of its own).
        outcome: of the lease: ``hit``, ``waited``, ``warm_head``, ``cold``; empty if it got none.
        reason, explanation: why it was not a hit.
        lease, cluster: their ids.
        acquire_s: until it had the lease.
        connect_s: ``ray.init``.
        body_s: its inputs, its body and its outputs.
        handover_s: of that, what its `Resident` inputs and outputs took, in memory and as Flyte's copies.
        durable_s: of that, Flyte's copies. Those that are written behind are not in it.
        behind: how many of Flyte's copies are written behind.
        behind_s: how long these took to write, beside the body and after it.
        cached: Flyte caches its outputs.
        release_s: ``ray.shutdown`` and the release.
        error: type of the error that ended it; empty if none.
    """

    task: str
    started: float
    how: str = "leased"
    outcome: str = ""
    reason: str = ""
    explanation: str = ""
    lease: str = ""
    cluster: str = ""
    acquire_s: float = 0.0
    connect_s: float = 0.0
    body_s: float = 0.0
    handover_s: float = 0.0
    durable_s: float = 0.0
    behind: int = 0
    behind_s: float = 0.0
    cached: bool = False
    release_s: float = 0.0
    error: str = ""

    @contextmanager
    def timed(self, field: str) -> Iterator[None]:
        """Add the time spent inside to `field`."""
        begun = time.perf_counter()
        try:
            yield
        finally:
            setattr(self, field, round(getattr(self, field) + time.perf_counter() - begun, 4))

    def handed(self, memory_s: float = 0.0, durable_s: float = 0.0) -> None:
        """Add what an input or an output took that goes from task to task."""
        self.handover_s = round(self.handover_s + memory_s + durable_s, 4)
        self.durable_s = round(self.durable_s + durable_s, 4)

    def written_behind(self, durable_s: float) -> None:
        """Add what writing a copy behind took, once it is complete."""
        self.behind_s = round(self.behind_s + durable_s, 4)

    def granted(self, lease: Lease) -> None:
        """Note the lease that the task runs on."""
        self.lease, self.cluster = lease.id, lease.cluster.id
        self.outcome, self.reason, self.explanation = str(lease.outcome), str(lease.reason or ""), lease.explanation

    def write(self) -> None:
        """Append it to the file that ``WARMPOOL_TASK_LOG`` names, if any; a full disk must not fail a task."""
        path = os.environ.get(LOG_VARIABLE)
        if path:
            with suppress(OSError), Path(path).open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(self)) + "\n")


current: ContextVar[TaskRecord | None] = ContextVar("warmpool_record", default=None)
"""The record of the task that this code works for."""

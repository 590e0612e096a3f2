"""What is happening, as far as it is known: fed with what the daemon and the task log say, drawn by `pool.demo.view`.

No clock and no I/O: times are arguments. Each change is also told as a sentence, for who has no terminal.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from pool.demo.figures import how, short, wait_s
from pool.flyte.record import TaskRecord
from pool.wire.views import ClusterView, LeaseView, WaiterView

PHASES = ("queued", "starting", "ready", "granted")
"""Of a start, in order, as the display shows them."""


class Stage(StrEnum):
    """Where a task or a run is."""

    LATER = "later"
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass
class Row:
    """One task of a run.

    Attributes:
        phase: of its waiting: ``queued`` or a phase of the start it waits for.
        reason: why it waits.
        since: when it came to its stage.
        record: once it ended.
    """

    task: str
    stage: Stage = Stage.LATER
    phase: str = ""
    reason: str = ""
    since: float = 0.0
    record: TaskRecord | None = None


@dataclass
class Act:
    """One run of the workflow as it goes.

    Attributes:
        name, title: `Run.name`, and what it is about.
        began, ended: None until then.
        alone: each task gets a cluster of its own: there is no daemon to ask how it goes.
    """

    name: str
    title: str
    alone: bool = False
    stage: Stage = Stage.LATER
    began: float | None = None
    ended: float | None = None
    note: str = ""
    rows: dict[str, Row] = field(default_factory=dict)

    def elapsed_s(self, now: float) -> float:
        """Return for how long it has run."""
        if self.began is None:
            return 0.0
        return (now if self.ended is None else self.ended) - self.began

    @property
    def done(self) -> int:
        """Tasks that ended."""
        return sum(row.record is not None for row in self.rows.values())


class Board:
    """All acts, and the one that runs.

    Attributes:
        acts: in order.
        current: the one that runs or ran last.
        start_phase: how far the start that a task waits for has come, by `PHASES`; empty if none does.
        start_detail: its phase in the backend's words.
    """

    def __init__(self, acts: Sequence[Act], tasks: Sequence[str], now: float) -> None:
        self.acts = list(acts)
        self.began = now
        self.current: Act | None = None
        self.start_phase = ""
        self.start_detail = ""
        self.start_since = now
        self.ended = False
        for act in self.acts:
            act.rows = {task: Row(task) for task in tasks}

    def begin(self, act: Act, now: float) -> list[str]:
        """Note that an act begins."""
        self.current, act.began, act.stage = act, now, Stage.RUNNING
        self.start_phase = self.start_detail = ""
        return [f"{act.name}: {act.title}"]

    def end(self, now: float, *, ok: bool) -> list[str]:
        """Note that the current act ended."""
        act = self._act
        act.ended, act.stage, act.note = now, Stage.DONE if ok else Stage.FAILED, ""
        self.start_phase = self.start_detail = ""
        return [f"{act.name}: {'done' if ok else 'failed'} in {act.elapsed_s(now):.1f} s"]

    def note(self, text: str) -> list[str]:
        """Say in a few words what the current act does besides its tasks."""
        act = self._act
        if act.note == text:
            return []
        act.note = text
        return [f"{act.name}: {text}"] if text else []

    def started(self, task: str, stage: Stage, now: float) -> list[str]:
        """Note that a task of the current act waits or runs."""
        row = self._row(task)
        if row.record is not None or row.stage is stage:
            return []
        row.stage, row.since = stage, now
        return [f"{self._act.name}: {row.task} {stage}"]

    def recorded(self, records: Iterable[TaskRecord], now: float) -> list[str]:
        """Note the tasks that ended."""
        news = []
        for record in records:
            row = self._row(record.task)
            row.record, row.since = record, now
            row.stage = Stage.FAILED if record.error else Stage.DONE
            news.append(
                f"{self._act.name}: {row.task} {row.stage}: waited {wait_s(record):.2f} s ({how(record)}), "
                f"ran {record.body_s:.2f} s"
            )
        return news

    def seen(
        self, waiters: Sequence[WaiterView], leases: Sequence[LeaseView], clusters: Sequence[ClusterView], now: float
    ) -> list[str]:
        """Note what the daemon says."""
        news = []
        for waiter in waiters:
            row = self._row(_task_of(waiter.holder))
            if row.record is not None:
                continue
            fresh = (row.phase, row.reason) != (waiter.phase, str(waiter.reason))
            if row.stage is not Stage.WAITING:
                row.stage, row.since = Stage.WAITING, now - waiter.waited_s
            if fresh:
                row.phase, row.reason = waiter.phase, str(waiter.reason)
                phase = waiter.phase or "queued"
                news.append(f"{self._act.name}: {row.task} waits, {phase}: {waiter.reason}")
        for lease in leases:
            row = self._row(_task_of(lease.holder))
            if row.record is None and row.stage is not Stage.RUNNING:
                row.stage, row.since = Stage.RUNNING, now
                why = f": {lease.reason}" if lease.reason else ""
                news.append(f"{self._act.name}: {row.task} granted {lease.cluster} ({lease.outcome}{why})")
        self._follow_start(waiters, leases, clusters, now)
        return news

    def _follow_start(
        self, waiters: Sequence[WaiterView], leases: Sequence[LeaseView], clusters: Sequence[ClusterView], now: float
    ) -> None:
        starting = next((cluster for cluster in clusters if cluster.state == "starting"), None)
        detail = ""
        if leases:
            phase = "granted"
        elif starting is not None:
            phase, detail = "starting", starting.phase
        elif waiters:
            phase = "queued"
        else:
            phase = "ready" if clusters else ""
        if (phase, detail) != (self.start_phase, self.start_detail):
            self.start_phase, self.start_detail, self.start_since = phase, detail, now

    @property
    def _act(self) -> Act:
        if self.current is None:
            raise RuntimeError("No act has begun.")
        return self.current

    def _row(self, task: str) -> Row:
        name = short(task)
        return self._act.rows.setdefault(name, Row(name))


def _task_of(holder: str) -> str:
    """Return the task of a local holder: ``user/process id/task``."""
    return holder.rsplit("/", 1)[-1]

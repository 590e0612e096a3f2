"""Traces: files that say who asked for what, when, and for how long.

`philly`: Microsoft's Philly traces as adaptdl's simulator has them (Jeon et al., USENIX ATC'19). `openb`: Alibaba's GPU
cluster trace of 2023 (Weng et al., USENIX ATC'23). `azure`: Azure Functions, the invocations of 2021 (Zhang et al.,
SOSP'21) or the counts per minute of 2019 (Shahrad et al., USENIX ATC'20). `requests`: anybody's own demand.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pool.core.errors import PoolError
from pool.core.key import ClusterKey, Node, Shape
from pool.core.reasons import Reason
from pool.replay.demand import Job

OPENB_BEGINS_S = 9.96e6
"""Pods created before it were there when the trace began: when they came is not known."""

_MINUTES = 1_440
_DURATIONS = ("invocations_per_function_md", "function_durations_percentiles")


class Unreadable(PoolError):
    """A trace cannot be read; the text names file, line and column."""

    reason = Reason.INVALID_REQUEST
    remedy = "Correct the file, or name its --format."


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a CSV file, read by the names in its first line."""

    path: Path
    line: int
    columns: Mapping[str, int]
    cells: list[str]

    def text(self, column: str) -> str:
        """Return a cell.

        Raises:
            Unreadable: the row is too short to have it, or it is no text.
        """
        at = self.columns[column]
        if at >= len(self.cells):
            raise self.wrong(column, f"is missing; the row has {len(self.cells)} of {len(self.columns)} columns")
        text = self.cells[at].strip()
        if "\ufffd" in text:
            raise self.wrong(column, "is not UTF-8 text")
        return text

    def number(self, column: str) -> float:
        """Return a finite number.

        Raises:
            Unreadable: it is none.
        """
        text = self.text(column)
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise self.wrong(column, f"{text!r} is not a number")
        return value

    def at_least_0(self, column: str) -> float:
        """Return a finite number that is not negative.

        Raises:
            Unreadable: it is none.
        """
        value = self.number(column)
        if value < 0:
            raise self.wrong(column, f"{self.text(column)!r} is less than 0")
        return value

    def count(self, column: str) -> int:
        """Return a whole number of at least 0.

        Raises:
            Unreadable: it is none.
        """
        value = self.at_least_0(column)
        if value != int(value):
            raise self.wrong(column, f"{self.text(column)!r} is not a whole number")
        return int(value)

    def time(self, column: str) -> float:
        """Return a date and time (UTC, unless it says otherwise) as seconds since the epoch.

        Raises:
            Unreadable: it is none.
        """
        text = self.text(column)
        try:
            when = datetime.fromisoformat(text)
        except ValueError:
            raise self.wrong(column, f"{text!r} is not a date and time such as 2017-10-03 14:30:00") from None
        return (when if when.tzinfo is not None else when.replace(tzinfo=UTC)).timestamp()

    def wrong(self, column: str, what: str) -> Unreadable:
        """Return the error about one cell."""
        return Unreadable(f"{self.path}, line {self.line}, column {self.columns[column] + 1} ({column}): {what}.")


def _rows(path: Path, needs: tuple[str, ...]) -> Iterator[Row]:
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        lines = csv.reader(file)
        try:
            names = [name.strip() for name in next(lines, [])]
            columns = {name: at for at, name in reversed(list(enumerate(names)))}
            for name in needs:
                if name not in columns:
                    found = ", ".join(names[:8]) or "nothing"
                    raise Unreadable(
                        f"{path}, line 1, column 1: there is no column {name}; the first line has {found}."
                    )
            for cells in lines:
                if cells:
                    yield Row(path, lines.line_num, columns, cells)
        except csv.Error as error:
            raise Unreadable(f"{path}, line {lines.line_num + 1}, column 1: {error}.") from None


def _key(image: str, tenant: str = "trace", *, cpu: int = 1000, memory_bytes: int = 0, gpu: int = 0) -> ClusterKey:
    return ClusterKey(image, Shape(head=Node(milli_cpu=cpu, memory_bytes=memory_bytes, gpu=gpu)), tenant)


def _philly(path: Path) -> Iterator[Job]:
    for row in _rows(path, ("timestamp", "duration", "num_gpus", "cluster")):
        key = _key("philly", row.text("cluster"), gpu=row.count("num_gpus"))
        yield Job(row.time("timestamp"), row.at_least_0("duration"), key)


def _openb(path: Path) -> Iterator[Job]:
    needs = ("cpu_milli", "memory_mib", "num_gpu", "gpu_milli", "gpu_spec", "creation_time", "deletion_time")
    for row in _rows(path, (*needs, "scheduled_time")):
        if not row.text("scheduled_time") or row.number("creation_time") < OPENB_BEGINS_S:
            continue
        begins_s, ends_s = row.number("scheduled_time"), row.number("deletion_time")
        if ends_s < begins_s:
            raise row.wrong("deletion_time", f"{ends_s:g} is before the pod was scheduled at {begins_s:g}")
        image = f"openb/{row.text('gpu_spec') or 'any'}:{row.count('gpu_milli')}"
        memory_bytes = row.count("memory_mib") * 2**20
        key = _key(image, cpu=row.count("cpu_milli"), memory_bytes=memory_bytes, gpu=row.count("num_gpu"))
        yield Job(row.number("creation_time"), ends_s - begins_s, key)


def _requests(path: Path) -> Iterator[Job]:
    for row in _rows(path, ("arrival_s", "duration_s", "key", "group", "tenant")):
        if not row.text("key"):
            raise row.wrong("key", "is empty")
        key = _key(row.text("key"), row.text("tenant") or "trace")
        yield Job(row.number("arrival_s"), row.at_least_0("duration_s"), key, row.text("group"))


def _azure(path: Path) -> Iterator[Job]:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        first = file.readline()
    if "end_timestamp" not in first:
        yield from _azure_2019(path)
        return
    for row in _rows(path, ("app", "func", "end_timestamp", "duration")):
        duration_s = row.at_least_0("duration")
        key = _key(f"azure/{row.text('app')}:{row.text('func')}", row.text("app") or "trace")
        yield Job(row.number("end_timestamp") - duration_s, duration_s, key)


def _azure_2019(path: Path) -> Iterator[Job]:
    """Counts per minute, spread evenly over it, each as long as its function takes on average."""
    needs = ("HashOwner", "HashApp", "HashFunction")
    beside = path.with_name(path.name.replace(*_DURATIONS))
    if beside == path or not beside.exists():
        raise Unreadable(
            f"{path}: counts per minute need the durations file of their day beside them.",
            remedy=f"Name the file {_DURATIONS[0]}.anon.d01.csv and put {_DURATIONS[1]}.anon.d01.csv beside it.",
        )
    average_s = {
        row.text("HashFunction"): row.at_least_0("Average") / 1000 for row in _rows(beside, (*needs, "Average"))
    }
    minutes = [str(minute) for minute in range(1, _MINUTES + 1)]
    for row in _rows(path, (*needs, *minutes)):
        function = row.text("HashFunction")
        key = _key(f"azure/{row.text('HashApp')}:{function}", row.text("HashOwner"))
        for minute, column in enumerate(minutes):
            count = row.count(column)
            for n in range(count):
                yield Job(60.0 * (minute + (n + 0.5) / count), average_s.get(function, 0.0), key)


FORMATS: Mapping[str, Callable[[Path], Iterator[Job]]] = {
    "philly": _philly,
    "openb": _openb,
    "azure": _azure,
    "requests": _requests,
}
"""How to read a trace, by the name of its format."""


def read(path: Path, format_: str) -> list[Job]:
    """Return the jobs of a trace, first come first; of those that come together, as the file has them.

    Args:
        path: of the file.
        format_: one of `FORMATS`.

    Raises:
        Unreadable: naming file, line and column.
        OSError: the file cannot be opened.
    """
    known: dict[ClusterKey, ClusterKey] = {}
    jobs = [job._replace(key=known.setdefault(job.key, job.key)) for job in FORMATS[format_](path)]
    if not jobs:
        raise Unreadable(f"{path}, line 2, column 1: there is no job in it.")
    jobs.sort(key=lambda job: job.arrival_s)
    return jobs

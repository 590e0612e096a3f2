"""Traces: files that say who asked for what, when, and for how long.

`philly`: Microsoft's Philly traces as adaptdl's simulator has them (Jeon et al., USENIX ATC'19). `openb`: Alibaba's GPU
cluster trace of 2023 (Weng et al., USENIX ATC'23). `azure`: Azure Functions, the invocations of 2021 (Zhang et al.,
SOSP'21) or the counts per minute of 2019 (Shahrad et al., USENIX ATC'20). `requests`: anybody's own demand.
`history`: what a daemon was asked (`warmpool history export`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from pool.core.key import ClusterKey, Node, Shape
from pool.replay.demand import Job
from pool.replay.history import read_history
from pool.replay.rows import Unreadable, rows

OPENB_BEGINS_S = 9.96e6
"""Pods created before it were there when the trace began: when they came is not known."""

_MINUTES = 1_440
_DURATIONS = ("invocations_per_function_md", "function_durations_percentiles")


@lru_cache(maxsize=65_536)
def _key(image: str, tenant: str = "trace", *, cpu: int = 1000, memory_bytes: int = 0, gpu: int = 0) -> ClusterKey:
    return ClusterKey(image, Shape(head=Node(milli_cpu=cpu, memory_bytes=memory_bytes, gpu=gpu)), tenant)


def _philly(path: Path) -> Iterator[Job]:
    for row in rows(path, ("timestamp", "duration", "num_gpus", "cluster")):
        key = _key("philly", row.text("cluster"), gpu=row.count("num_gpus"))
        yield Job(row.time("timestamp"), row.at_least_0("duration"), key)


def _openb(path: Path) -> Iterator[Job]:
    needs = ("cpu_milli", "memory_mib", "num_gpu", "gpu_milli", "gpu_spec", "creation_time", "deletion_time")
    for row in rows(path, (*needs, "scheduled_time")):
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
    for row in rows(path, ("arrival_s", "duration_s", "key", "group", "tenant")):
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
    for row in rows(path, ("app", "func", "end_timestamp", "duration")):
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
        row.text("HashFunction"): row.at_least_0("Average") / 1000 for row in rows(beside, (*needs, "Average"))
    }
    minutes = [str(minute) for minute in range(1, _MINUTES + 1)]
    for row in rows(path, (*needs, *minutes)):
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
    "history": read_history,
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
    _refuse_bytes(path)
    jobs = list(FORMATS[format_](path))
    if not jobs:
        raise Unreadable(f"{path}, line 2, column 1: there is no job in it.")
    jobs.sort(key=lambda job: job.arrival_s)
    return jobs


def _refuse_bytes(path: Path) -> None:
    """Refuse what is no text, such as a compressed file: its first line would be told as the names of its columns."""
    # A pipe is read once.
    if path.is_file():
        with path.open("rb") as file:
            head = file.read(4096)
        if b"\0" in head:
            raise Unreadable(
                f"{path}, line 1, column 1: it is no UTF-8 text.", remedy="If it is compressed, unpack it first."
            )

"""Which processes are Ray's own and which a holder's code started, and how much Ray's own have grown.

Its text is sent into clusters with that of `pool.inside.sweep`: it imports the standard library alone.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

# A worker that runs something carries its name: "ray::train", "ray::Actor.step".
RAYS_OWN = re.compile(r"^ray::(IDLE\w*|DashboardAgent|RuntimeEnvAgent|\w*(Spill|Restore)Worker)$")
WORKERS = frozenset(("default_worker.py", "setup_worker.py"))
AGENTS = frozenset(("agent.py", "main.py"))
NO_TITLE_YET = WORKERS | AGENTS
CLIENTS = "ray.util.client.server"
"""What accepts Ray Client's connections; it starts a driver for each, which is a holder's."""
BESIDE = frozenset((CLIENTS, "gcs_server", "dashboard.py", "log_monitor.py", "monitor.py"))
"""What `ray start` starts beside the raylet."""

OWNER = "ray::ResidentOwner"
"""Title of the worker of an owner of resident data."""
OF_CODE = "/runtime_resources/"
"""In the path of what Ray unpacked for a job."""
WATCHER = "while kill -s 0 "
"""In the command line of the shell that Ray has watch over a submitted job."""


def leftovers(
    table: dict[int, Process], own_pid: int, spared: Sequence[int] = (), runners: Sequence[int] = ()
) -> dict[tuple[int, float], str]:
    """Return what a holder's code started in this container and still runs, by pid and start time.

    Args:
        table: the container's processes by pid.
        own_pid: of the one that asks: it is part of a job of ours.
        spared: process ids of owners of resident data that stay, on whatever node.
        runners: process ids of the actors that watch over warm interpreters. These stay with what watches over them,
            and go with nothing of what they started.

    Ray's own are what began no later than the raylet, what Ray starts beside it, and the raylet's agents and idle
    workers. Whatever a worker started, and whatever lost its parent since, was started by a holder's code.
    """
    nodes = raylets(table)
    if not nodes:
        return {(0, 0.0): "processes that cannot be seen: there is no raylet among those"}
    raylet = nodes[0]
    roots = line(raylet.pid, table)[1:]
    mine = line(own_pid, table)
    # The job that this is: its worker, and beside this process what watches over it.
    job = {mine[mine.index(raylet.pid) - 1]} if raylet.pid in mine else {own_pid}
    found: dict[tuple[int, float], str] = {}
    for pid, process in table.items():
        chain = line(pid, table)
        # What was not started from below came from outside (kubectl exec, a probe): that is nothing of a holder's.
        if pid in roots or not job.isdisjoint(chain) or chain[-1] != roots[-1]:
            continue
        if pid in spared and process.command[0].startswith(OWNER):
            continue
        if of_a_runner(chain, table, runners):
            continue
        top = next(number for number in reversed(chain) if number not in roots)
        if top == raylet.pid:
            if pid == top or rays_own(table[chain[chain.index(top) - 1]], alone=pid == chain[chain.index(top) - 1]):
                continue
        elif (table[top].started_s <= raylet.started_s or BESIDE & programs(table[top].command)) and (
            pid == top or CLIENTS not in table[top].command
        ):
            continue
        title = process.command[0]
        kind = f"worker {title}" if title.startswith("ray::") else f"process {' '.join(process.command)[:80]!r}"
        found[pid, process.started_s] = f"{kind} (pid {pid})"
    return found


def of_a_runner(chain: list[int], table: dict[int, Process], runners: Sequence[int]) -> bool:
    """Tell whether a process, the first of its line, watches over a warm interpreter or is one."""
    if chain[0] in runners:
        return table[chain[0]].command[0].startswith("ray::JobSupervisor")
    if len(chain) > 1 and chain[1] in runners:
        return True
    return len(chain) > 2 and chain[2] in runners and any(WATCHER in part for part in table[chain[1]].command)


def rays_own(child: Process, *, alone: bool) -> bool:
    """Tell whether a child of the raylet is Ray's own; not `alone`: whether what it started is Ray's own too."""
    title, names = child.command[0], programs(child.command)
    agent = "Agent" in title or bool(AGENTS & names)
    known = RAYS_OWN.match(title) is not None or (not title.startswith("ray::") and bool(NO_TITLE_YET & names))
    return known and (alone or agent)


def for_code(pid: int) -> bool:
    """Tell whether a worker is for jobs of some code: it waits, or is to wait, in a directory that Ray unpacked."""
    with contextlib.suppress(OSError):
        home = Path(f"/proc/{pid}")
        return OF_CODE in str((home / "cwd").readlink()) or OF_CODE.encode() in (home / "cmdline").read_bytes()
    return False


class Process(NamedTuple):
    """One process: `started_s` is its time since boot."""

    pid: int
    parent: int
    started_s: float
    command: list[str]


def processes() -> dict[int, Process]:
    """Return the processes of this container by pid. Those that ended and wait for their parent are gone."""
    ticks_per_s = os.sysconf("SC_CLK_TCK")
    home = Path("/proc/self/ns/mnt").readlink()
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        pid = int(folder.name)
        try:
            # state, ppid, ..., starttime: the fields after the name, see proc_pid_stat(5).
            fields = (folder / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            command = (folder / "cmdline").read_bytes().rstrip(b"\0").decode(errors="replace").split("\0")
        except OSError:
            continue
        try:
            # Containers of one pod can share their processes, but not their files.
            if (folder / "ns/mnt").readlink() != home:
                continue
        except OSError:
            pass
        if fields[0] not in "ZX":
            found[pid] = Process(pid, int(fields[1]), int(fields[19]) / ticks_per_s, command)
    return found


def raylets(table: dict[int, Process]) -> list[Process]:
    """Return Ray's own processes that start workers, one for each node, by pid."""
    return sorted(process for process in table.values() if PurePath(process.command[0]).name == "raylet")


def line(pid: int, table: dict[int, Process]) -> list[int]:
    """Return the process and everything above it, in this order."""
    found: list[int] = []
    while pid in table and pid not in found:
        found.append(pid)
        pid = table[pid].parent
    return found


def programs(command: list[str]) -> set[str]:
    """Return the names of the files on a command line."""
    return {PurePath(part).name for part in command}


def rays(table: dict[int, Process], own_pid: int, left: Collection[int]) -> set[int]:
    """Return Ray's own processes of this container that live as long as it does: no workers, nothing of a holder's.

    Args:
        table: the container's processes by pid.
        own_pid: of the one that asks: it is part of a job of ours.
        left: process ids of what a holder left.
    """
    raylet = next((node.pid for node in raylets(table)), 0)
    top = line(raylet, table)[-1:]
    mine = line(own_pid, table)
    job = {mine[mine.index(raylet) - 1]} if raylet in mine else {own_pid}
    found = set()
    for pid, process in table.items():
        chain = line(pid, table)
        title = process.command[0]
        works = (title.startswith("ray::") and "Agent" not in title) or WORKERS & programs(process.command)
        if chain[-1:] == top and not works and pid not in left and job.isdisjoint(chain):
            found.add(pid)
    return found


def grown(pids: Iterable[int]) -> dict[str, int]:
    """Return how much processes have grown: ``head_memory_bytes`` together, ``open_files`` of the one with the most.

    Memory is what is theirs alone (`RssAnon` and `VmSwap` of proc_pid_status(5)): the object store, and libraries that
    many of them share, do not count. What cannot be read does not count either.
    """
    memory_bytes = most = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            for row in Path(f"/proc/{pid}/status").read_text().splitlines():
                if row.startswith(("RssAnon:", "VmSwap:")):
                    memory_bytes += int(row.split()[1]) * 1024
            most = max(most, len(os.listdir(f"/proc/{pid}/fd")))  # noqa: PTH208 - names alone, as fast as can be
    return {"head_memory_bytes": memory_bytes, "open_files": most}

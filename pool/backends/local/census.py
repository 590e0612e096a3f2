"""Which of a cluster's processes are Ray's own, and which a holder left. Blocking: run it in a thread.

Ray's own are the nodes' ``ray start``, what those started, and the agents and idle workers of each raylet. Whatever a
worker started, and whatever lost its parent (the supervisor adopts it), was started by a holder's code.
"""

from __future__ import annotations

import signal
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePath

from pool.backends.local.processes import Entry, Process, command, owned
from pool.backends.local.trail import Files, Running
from pool.core.model import Wear
from pool.inside.processes import NO_TITLE_YET, RAYS_OWN, WATCHER, WORKERS, for_code, grown


@dataclass(frozen=True, slots=True)
class Census:
    """The processes of one cluster.

    Attributes:
        own: process ids of Ray itself, its idle workers among them.
        busy: workers that run something of a holder, with their titles.
        left: what a holder started itself, with its command line.
        idle: how many workers wait for something to do.
        for_code: those of them that wait for jobs of some code.
        head: process ids of Ray itself on the head, without its workers.
        parents: process id by process id, of what a holder started.
    """

    own: frozenset[int]
    busy: tuple[tuple[Process, str], ...]
    left: tuple[tuple[Process, str], ...]
    idle: int = 0
    for_code: tuple[Process, ...] = ()
    head: frozenset[int] = frozenset()
    parents: Mapping[int, int] = field(default_factory=dict)

    def wear(self) -> Wear:
        """Return how much Ray's own processes on the head have grown, as of now."""
        return Wear(**grown(self.head))

    def said(self) -> list[str]:
        """Return a phrase for each process that is not Ray's own."""
        busy = [f"worker {title} (pid {process.pid})" for process, title in self.busy]
        return busy + [f"process {process.pid}: {title}" for process, title in self.left]

    def without(self, pids: Collection[int], watched: Collection[int] = ()) -> Census:
        """Return the same processes without some workers; also without what those of `watched` started themselves.

        That is a job's program and the shell that watches over it: what the program has started is another's.
        """
        watchers = {one.pid for one, title in self.left if self.parents.get(one.pid) in watched and WATCHER in title}
        spared = {*watched, *watchers}
        return replace(
            self,
            busy=tuple(worker for worker in self.busy if worker[0].pid not in pids),
            left=tuple(one for one in self.left if self.parents.get(one[0].pid) not in spared),
        )

    def end(self, *, workers: bool) -> None:
        """End what holders started themselves; with `workers` also the workers that still run something."""
        for process, _ in self.left + (self.busy if workers else ()):
            process.send(signal.SIGKILL)

    def end_idle_for_code(self) -> None:
        """End idle workers that wait for the last holder's code, so that Ray removes it; they never ran anything."""
        for process in self.for_code:
            process.send(signal.SIGKILL)


def take(store_id: str, cluster_id: str, files: Files) -> Census:
    """Look at every process of a cluster."""
    running = files.running()
    sessions = {process.pid: cluster_id for process in running.nodes.values()}
    return sort(owned(store_id, sessions).get(cluster_id, {}), running)


def sort(entries: dict[int, Entry], running: Running) -> Census:
    """Sort the processes of a cluster.

    Args:
        entries: its processes by process id.
        running: which of them its supervisor started.
    """
    children: dict[int, list[Entry]] = {}
    for entry in entries.values():
        children.setdefault(entry.parent, []).append(entry)
    roots = {process.pid for process in (running.supervisor, *running.nodes.values()) if process is not None}
    own = roots & entries.keys()
    raylets: list[int] = []
    supervisor = running.supervisor.pid if running.supervisor is not None else 0
    waiting = [entries[pid] for pid in own if pid != supervisor]
    while waiting:
        for child in children.get(waiting.pop().pid, []):
            if child.pid in own:
                continue
            own.add(child.pid)
            if PurePath(_title(child.pid)).name == "raylet":
                raylets.append(child.pid)
            else:
                waiting.append(child)
    busy: list[tuple[Process, str]] = []
    idle: set[int] = set()
    for worker in (child for raylet in raylets for child in children.get(raylet, [])):
        title = _title(worker.pid)
        if RAYS_OWN.match(title):
            own.add(worker.pid)
            if "Agent" in title:
                own |= _below(worker.pid, children)
            idle |= {worker.pid} if title.startswith("ray::IDLE") else set()
        elif title.startswith("ray::"):
            busy.append((worker.process, title))
        elif programs := {PurePath(part).name for part in command(worker.pid)} & NO_TITLE_YET:
            own.add(worker.pid)
            idle |= set() if programs.isdisjoint(WORKERS) else {worker.pid}
    workers = {process.pid for process, _ in busy}
    left = [
        (entry.process, " ".join(command(pid))[:120])
        for pid, entry in sorted(entries.items())
        if pid not in own and pid not in workers
    ]
    head = {running.head.pid} if running.head is not None else set()
    head |= {pid for root in head for pid in _below(root, children)}
    parents = {process.pid: entries[process.pid].parent for process, _ in left}
    waits = tuple(entries[pid].process for pid in sorted(idle) if for_code(pid))
    ours = frozenset((head & own) - idle)
    return Census(frozenset(own), tuple(busy), tuple(left), len(idle), waits, ours, parents)


def _title(pid: int) -> str:
    # Asked for once: the process may end between two readings.
    return next(iter(command(pid)), "")


def _below(pid: int, children: dict[int, list[Entry]]) -> set[int]:
    found: set[int] = set()
    waiting = [pid]
    while waiting:
        below = [child.pid for child in children.get(waiting.pop(), []) if child.pid not in found]
        found.update(below)
        waiting += below
    return found

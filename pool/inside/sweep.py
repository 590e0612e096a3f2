"""Remove what a holder left, from inside the cluster: actors, placement groups, processes, files; tell what stays.

Its text is sent into clusters with that of `pool.inside.sweeper`, so that Ray's own messages always have the cluster's
version: it imports the standard library and, inside functions, Ray.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Sequence
from typing import Any

from pool.inside.files import sweep_node_files
from pool.inside.processes import WORKERS, for_code, grown, leftovers, processes, programs, raylets, rays
from pool.inside.tables import Tables

PAUSE_S = 0.1
GRACE_S = 1.5
"""For so long things go by themselves: workers of what was removed, what watched over a job that ended."""


def sweep_cluster(given: dict[str, Any]) -> dict[str, Any]:
    """Sweep the whole cluster.

    Args:
        given:
            ``processes``  whether every process in the pid namespace of each node belongs to the cluster (true in
                           pods): those that are not Ray's own are ended, and the files removed that they wrote where
                           they ran
            ``prestart``   whether the nodes shall start as many idle workers as they have cpus, for the next holder
            ``bound_s``    how long to wait for what goes by itself, seconds
            ``first_ms``   when the cluster's first job began, and with it the first holder's code, milliseconds since
                           the epoch; null if there was none
            ``runners``    ids of the jobs of warm interpreters, which stay, though nothing that they started
            ``spare``      namespace and beginning of the name of the actors that stay, and their objects; null for none
            ``began``      null, or what alone is removed: actors and placement groups of drivers that began between
                           ``since_ms`` and ``until_ms``, or in one of the ``submissions`` (job ids)

    Returns:
        ``removed`` and ``left``, each a list of sentences, and ``wear``, as far as it was looked at: what
        `pool.core.model.Wear` has, by name.
    """
    bound_s, spare, tables = given["bound_s"], given["spare"], Tables()
    spared = tables.owners(spare) if spare else []
    runners = tables.supervisors(given["runners"]) if given["runners"] else []
    first_s = None if given["first_ms"] is None else given["first_ms"] / 1000
    sweeps = [Sweeps(bound_s, spared, runners, first_s, tables.nodes())] if given["processes"] else []
    removed, left = tables.sweep(bound_s, spare, given["began"])
    for sweep in sweeps:
        # What an actor that was there still started may have come after the look at its node.
        ended, stay = sweep.again() if removed else sweep.results()
        removed += ended
        left += stay
        sweep.close()
    wear = {}
    if given["processes"]:
        table = processes()
        # A warm interpreter is no growth of Ray's.
        wear = grown(rays(table, os.getpid(), [pid for pid, _ in leftovers(table, os.getpid(), spared)]))
    if not spared and not given["began"]:
        # What the spared own may stay, and whose the rest is cannot be said of an object.
        wear["store_left_bytes"] = tables.store_left_bytes(bound_s)
    if given["prestart"] and not left:
        tables.prestart()
    return {"removed": removed, "left": left, "wear": wear}


class Sweeps:
    """Ends what a holder's code started on each node: the other nodes are begun with at once."""

    def __init__(
        self, bound_s: float, spared: list[int], runners: list[int], first_s: float | None, nodes: list[Any]
    ) -> None:
        self._bound_s = bound_s
        self._first_s = first_s
        self._spared = spared
        self._runners = runners
        self._others = [node.node_id.hex() for node in nodes if not node.is_head_node]
        self._running: list[Any] = []
        if self._others:
            import ray

            # A driver in such a namespace is no activity of a holder's.
            ray.init(namespace="_ray_internal_warmpool", log_to_driver=False, configure_logging=False)
            self._begin()

    def _begin(self) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        run = ray.remote(num_cpus=0, max_retries=0)(sweep_node)
        self._running = [
            run.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False)).remote(
                self._bound_s, f"node {node_id[:8]}", self._spared, self._first_s
            )
            for node_id in self._others
        ]

    def results(self) -> tuple[list[str], list[str]]:
        """Return what was ended, and what would not end."""
        found = [sweep_node(self._bound_s, "head", self._spared, self._first_s, self._runners)]
        if self._running:
            import ray

            found += ray.get(self._running)
        return [said for ended, _ in found for said in ended], [said for _, left in found for said in left]

    def again(self) -> tuple[list[str], list[str]]:
        """Sweep once more, and return what was ended in both, and what would not end."""
        first, _ = self.results()
        if self._others:
            self._begin()
        second, left = self.results()
        return first + second, left

    def close(self) -> None:
        """End the driver."""
        if self._others:
            import ray

            ray.shutdown()


def sweep_node(
    bound_s: float, where: str, spared: list[int], first_s: float | None, runners: Sequence[int] = ()
) -> tuple[list[str], list[str]]:
    """End a holder's processes on this node, then remove his files; return what was removed, and what would not go."""
    ended, stay = sweep_processes(bound_s, where, spared, runners)
    end_idle_for_code()
    removed, left = sweep_node_files(processes(), where, first_s)
    return ended + removed, stay + left


def sweep_processes(
    bound_s: float, where: str, spared: list[int], runners: Sequence[int] = ()
) -> tuple[list[str], list[str]]:
    """End the processes of this pid namespace that a holder's code started; return those, and what would not end."""
    began = time.monotonic()
    seen: dict[tuple[int, float], str] = {}
    while True:
        now = leftovers(processes(), os.getpid(), spared, runners)
        seen |= now
        waited_s = time.monotonic() - began
        if not now or waited_s > bound_s:
            ended = [f"{said} on the {where}" for key, said in seen.items() if key not in now]
            return ended, [f"{said} on the {where}" for said in now.values()]
        for pid, _ in now:
            if waited_s > GRACE_S:
                # It may have ended by itself, or may not be killed: the next look tells.
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
        time.sleep(PAUSE_S)


def end_idle_for_code() -> None:
    """End idle workers that wait for the last holder's code, so that Ray removes it; they never ran anything."""
    table = processes()
    nodes = {node.pid for node in raylets(table)}
    for pid, process in table.items():
        waits = process.command[0].startswith("ray::IDLE") or WORKERS & programs(process.command)
        if waits and process.parent in nodes and for_code(pid):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)

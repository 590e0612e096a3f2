"""Remove what a holder left, from inside the cluster: actors, placement groups, processes, files; tell what stays.

Sent to the cluster as the entrypoint of one submitted job, so that Ray's own messages always have the cluster's
version. It is the text of this file and of those that it imports of ours, run by ``python -c``: they may import the
standard library and, inside functions, Ray.

Argument: a JSON object.

    ``processes``  whether every process in the pid namespace of each node belongs to the cluster (true in pods): those
                   that are not Ray's own are ended, and the files removed that they wrote where they ran
    ``prestart``   whether the nodes shall start as many idle workers as they have cpus, for the next holder
    ``bound_s``    how long to wait for what goes by itself, seconds
    ``runners``    ids of the jobs of warm interpreters, which stay, though nothing that they started
    ``spare``      namespace and beginning of the name of the actors that stay, and their objects; null for none
    ``began``      null, or what alone is removed: actors and placement groups of drivers that began between
                   ``since_ms`` and ``until_ms``, or in one of the ``submissions`` (job ids)

Prints, as its last line, `MARK` and a JSON object: ``removed`` and ``left``, each a list of sentences, and ``wear``, as
far as it was looked at: what `pool.core.model.Wear` has, by name.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any

from pool.inside.files import sweep_node_files
from pool.inside.processes import grown, leftovers, processes, rays

MARK = "warmpool-swept "
SUPERVISOR = "_ray_internal_job_actor_"
"""Ray keeps an actor of this name for each submitted job that runs."""

TIMEOUT_S = 5.0
KEEP_S = 30
"""So long no idle worker is ended; after that Ray keeps as many as the node has cpus."""
PAUSE_S = 0.1
GRACE_S = 1.5
"""For so long things go by themselves: workers of what was removed, what watched over a job that ended."""


def main(given: dict[str, Any]) -> dict[str, Any]:
    """Sweep the whole cluster, and return what was removed, what is left, and how much the cluster has grown."""
    bound_s, spare = given["bound_s"], given["spare"]
    spared = owners(spare) if spare else []
    runners = supervisors(given["runners"]) if given["runners"] else []
    sweeps = [Sweeps(bound_s, spared, runners)] if given["processes"] else []
    removed, left = sweep_tables(bound_s, spare, given["began"])
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
        wear["store_left_bytes"] = store_left_bytes(bound_s)
    if given["prestart"] and not left:
        prestart()
    return {"removed": removed, "left": left, "wear": wear}


# --- what Ray's tables know ---


def generated(service: str) -> tuple[Any, Any]:
    """Return Ray's own messages and stubs of a service."""
    name = f"ray.core.generated.{service}_pb2"
    return import_module(name), import_module(f"{name}_grpc")


def channel(address: str) -> Any:
    """Return a gRPC channel that proves itself with the cluster's token."""
    from ray._private.grpc_utils import init_grpc_channel

    # A proxy is for the world, not for the cluster.
    return init_grpc_channel(address, options=[("grpc.enable_http_proxy", 0)])


def gcs() -> Any:
    """Return a channel to the GCS, whose address Ray gives each job."""
    return channel(os.environ["RAY_ADDRESS"])


def stays(actor: Any, spare: list[str] | None) -> bool:
    """Tell whether an actor is of those that stay."""
    return spare is not None and actor.ray_namespace == spare[0] and actor.name.startswith(spare[1])


def living_actors() -> list[Any]:
    """Return the rows of the actors that are alive."""
    messages, services = generated("gcs_service")

    with gcs() as opened:
        asked = messages.GetAllActorInfoRequest(show_dead_jobs=False)
        stub = services.ActorInfoGcsServiceStub(opened)
        every = stub.GetAllActorInfo(asked, timeout=TIMEOUT_S).actor_table_data
    return [actor for actor in every if actor.state != actor.DEAD]


def owners(spare: list[str]) -> list[int]:
    """Return the process ids, each on its node, of the actors that stay."""
    return [actor.pid for actor in living_actors() if stays(actor, spare)]


def supervisors(jobs: list[str]) -> list[int]:
    """Return the process ids, on the head, of the actors with which Ray watches over submitted jobs."""
    names = {SUPERVISOR + job for job in jobs}
    return [actor.pid for actor in living_actors() if actor.name in names]


def drivers_of(table: Iterable[Any], began: dict[str, Any]) -> set[bytes]:
    """Return the ids of the jobs whose drivers began as `began` says; a submitted job's began with it."""
    submissions = set(began["submissions"])
    found = set()
    for job in table:
        submission = job.config.metadata.get("job_submission_id")
        mine = submission in submissions if submission else began["since_ms"] <= job.start_time <= began["until_ms"]
        if mine and not job.config.ray_namespace.startswith("_ray_internal_"):
            found.add(job.job_id)
    return found


def sweep_tables(bound_s: float, spare: list[str] | None, began: dict[str, Any] | None) -> tuple[list[str], list[str]]:
    """End actors and placement groups, and return those and the ones that are still there after `bound_s`.

    With `began`, only those of drivers that began then.
    """
    messages, services = generated("gcs_service")

    with gcs() as opened:
        actors = services.ActorInfoGcsServiceStub(opened)
        groups = services.PlacementGroupInfoGcsServiceStub(opened)
        only = None
        if began:
            jobs = services.JobInfoGcsServiceStub(opened)
            only = drivers_of(
                jobs.GetAllJobInfo(messages.GetAllJobInfoRequest(), timeout=TIMEOUT_S).job_info_list, began
            )
        removed: dict[bytes, str] = {}
        end = time.monotonic() + bound_s
        while True:
            found: dict[bytes, str] = {}
            asked = messages.GetAllActorInfoRequest(show_dead_jobs=False)
            for actor in actors.GetAllActorInfo(asked, timeout=TIMEOUT_S).actor_table_data:
                if actor.state == actor.DEAD or stays(actor, spare) or (only is not None and actor.job_id not in only):
                    continue
                if not actor.name.startswith(SUPERVISOR):
                    kind = "detached actor" if actor.is_detached else "actor"
                    found[actor.actor_id] = f"{kind} {actor.name or actor.class_name!r} of job {actor.job_id.hex()}"
                    kill = messages.KillActorViaGcsRequest(actor_id=actor.actor_id, force_kill=True, no_restart=True)
                    actors.KillActorViaGcs(kill, timeout=TIMEOUT_S)
            every = groups.GetAllPlacementGroup(messages.GetAllPlacementGroupRequest(), timeout=TIMEOUT_S)
            for group in every.placement_group_table_data:
                if only is not None and group.creator_job_id not in only:
                    continue
                if group.state != group.REMOVED:
                    group_id = group.placement_group_id
                    name = group.name or group_id.hex()[:12]
                    found[group_id] = f"placement group {name!r} of job {group.creator_job_id.hex()}"
                    remove = messages.RemovePlacementGroupRequest(placement_group_id=group_id)
                    groups.RemovePlacementGroup(remove, timeout=TIMEOUT_S)
            removed |= found
            if not found or time.monotonic() > end:
                return [said for key, said in removed.items() if key not in found], list(found.values())
            time.sleep(PAUSE_S)


def nodes() -> list[Any]:
    """Return the rows of the nodes that are alive."""
    messages, services = generated("gcs_service")

    with gcs() as opened:
        stub = services.NodeInfoGcsServiceStub(opened)
        found = stub.GetAllNodeInfo(messages.GetAllNodeInfoRequest(), timeout=TIMEOUT_S).node_info_list
    return [node for node in found if node.state == node.ALIVE]


def store_left_bytes(bound_s: float) -> int:
    """Return how much of the object stores is in use after `bound_s` at most. Its owners are gone: Ray frees it."""
    messages, services = generated("node_manager")

    end = time.monotonic() + bound_s
    while True:
        used = 0
        for node in nodes():
            with channel(f"{node.node_manager_address}:{node.node_manager_port}") as opened:
                asked = messages.GetNodeStatsRequest(include_memory_info=False)
                stats = services.NodeManagerServiceStub(opened).GetNodeStats(asked, timeout=TIMEOUT_S).store_stats
            if stats.num_local_objects:
                used += max(1, stats.object_store_bytes_used)
        if not used or time.monotonic() > end:
            return used
        time.sleep(PAUSE_S)


def prestart() -> None:
    """Have each node start idle workers: Ray ended those of the last holder with him, and starts none by itself."""
    messages, services = generated("node_manager")

    for node in nodes():
        with channel(f"{node.node_manager_address}:{node.node_manager_port}") as opened:
            asked = messages.PrestartWorkersRequest(
                keep_alive_duration_secs=KEEP_S, num_workers=int(node.resources_total.get("CPU", 0))
            )
            asked.runtime_env_info.serialized_runtime_env = "{}"
            services.NodeManagerServiceStub(opened).PrestartWorkers(asked, timeout=TIMEOUT_S)


# --- processes ---


class Sweeps:
    """Ends what a holder's code started on each node: the other nodes are begun with at once."""

    def __init__(self, bound_s: float, spared: list[int], runners: list[int]) -> None:
        self._bound_s = bound_s
        self._spared = spared
        self._runners = runners
        self._others = [node.node_id.hex() for node in nodes() if not node.is_head_node]
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
                self._bound_s, f"node {node_id[:8]}", self._spared
            )
            for node_id in self._others
        ]

    def results(self) -> tuple[list[str], list[str]]:
        """Return what was ended, and what would not end."""
        found = [sweep_node(self._bound_s, "head", self._spared, self._runners)]
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
    bound_s: float, where: str, spared: list[int], runners: Sequence[int] = ()
) -> tuple[list[str], list[str]]:
    """End a holder's processes on this node, then remove his files; return what was removed, and what would not go."""
    ended, stay = sweep_processes(bound_s, where, spared, runners)
    removed, left = sweep_node_files(processes(), where)
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


if __name__ == "__main__":
    print(MARK + json.dumps(main(json.loads(sys.argv[1]))), flush=True)

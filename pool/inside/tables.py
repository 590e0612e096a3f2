"""What Ray's own services know of a cluster and do in it: actors, placement groups, object stores, idle workers.

Its text runs with the cluster's Python, in the cluster (`pool.inside.sweep`) or beside it (`pool.inside.beside`): so
Ray's messages always have the cluster's version. It imports the standard library and, inside functions, Ray.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

SUPERVISOR = "_ray_internal_job_actor_"
"""Ray keeps an actor of this name for each submitted job that runs."""

TIMEOUT_S = 5.0
KEEP_S = 30
"""So long no idle worker is ended; after that Ray keeps as many as the node has cpus."""
PAUSE_S = 0.1


def channel(address: str) -> Any:
    """Return a gRPC channel as Ray itself opens it: with its token, and encrypted where its processes' calls are."""
    from ray._private.grpc_utils import init_grpc_channel

    # A proxy is for the world, not for the cluster.
    return init_grpc_channel(address, options=[("grpc.enable_http_proxy", 0)])


def generated(service: str) -> tuple[Any, Any]:
    """Return Ray's own messages and stubs of a service."""
    name = f"ray.core.generated.{service}_pb2"
    return import_module(name), import_module(f"{name}_grpc")


def stays(actor: Any, spare: list[str] | None) -> bool:
    """Tell whether an actor is of those that stay."""
    return spare is not None and actor.ray_namespace == spare[0] and actor.name.startswith(spare[1])


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


class Tables:
    """The services of one cluster.

    Args:
        address: of its GCS; None for what Ray gives each job.
        open_channel: how one of its services is called.
    """

    def __init__(self, address: str | None = None, open_channel: Callable[[str], Any] = channel) -> None:
        self._address = address or os.environ["RAY_ADDRESS"]
        self._open = open_channel

    def living_actors(self) -> list[Any]:
        """Return the rows of the actors that are alive."""
        messages, services = generated("gcs_service")

        with self._open(self._address) as opened:
            asked = messages.GetAllActorInfoRequest(show_dead_jobs=False)
            stub = services.ActorInfoGcsServiceStub(opened)
            every = stub.GetAllActorInfo(asked, timeout=TIMEOUT_S).actor_table_data
        return [actor for actor in every if actor.state != actor.DEAD]

    def owners(self, spare: list[str]) -> list[int]:
        """Return the process ids, each on its node, of the actors that stay."""
        return [actor.pid for actor in self.living_actors() if stays(actor, spare)]

    def supervisors(self, jobs: list[str]) -> list[int]:
        """Return the process ids, on the head, of the actors with which Ray watches over submitted jobs."""
        names = {SUPERVISOR + job for job in jobs}
        return [actor.pid for actor in self.living_actors() if actor.name in names]

    def sweep(
        self, bound_s: float, spare: list[str] | None, began: dict[str, Any] | None = None
    ) -> tuple[list[str], list[str]]:
        """End actors and placement groups, and return those and the ones that are still there after `bound_s`.

        With `began`, only those of drivers that began then.
        """
        messages, services = generated("gcs_service")

        with self._open(self._address) as opened:
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
                    if (
                        actor.state == actor.DEAD
                        or stays(actor, spare)
                        or (only is not None and actor.job_id not in only)
                    ):
                        continue
                    if not actor.name.startswith(SUPERVISOR):
                        kind = "detached actor" if actor.is_detached else "actor"
                        found[actor.actor_id] = f"{kind} {actor.name or actor.class_name!r} of job {actor.job_id.hex()}"
                        kill = messages.KillActorViaGcsRequest(
                            actor_id=actor.actor_id, force_kill=True, no_restart=True
                        )
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

    def nodes(self) -> list[Any]:
        """Return the rows of the nodes that are alive."""
        messages, services = generated("gcs_service")

        with self._open(self._address) as opened:
            stub = services.NodeInfoGcsServiceStub(opened)
            found = stub.GetAllNodeInfo(messages.GetAllNodeInfoRequest(), timeout=TIMEOUT_S).node_info_list
        return [node for node in found if node.state == node.ALIVE]

    def store_left_bytes(self, bound_s: float) -> int:
        """Return how much of the object stores is in use after `bound_s` at most. Its owners are gone: Ray frees it."""
        messages, services = generated("node_manager")

        end = time.monotonic() + bound_s
        while True:
            used = 0
            for node in self.nodes():
                with self._open(f"{node.node_manager_address}:{node.node_manager_port}") as opened:
                    asked = messages.GetNodeStatsRequest(include_memory_info=False)
                    stats = services.NodeManagerServiceStub(opened).GetNodeStats(asked, timeout=TIMEOUT_S).store_stats
                if stats.num_local_objects:
                    used += max(1, stats.object_store_bytes_used)
            if not used or time.monotonic() > end:
                return used
            time.sleep(PAUSE_S)

    def prestart(self, runtime_env: str = "{}", most: int | None = None) -> None:
        """Have each node start idle workers: Ray ended those of the last holder with him, and starts none by itself.

        Args:
            runtime_env: theirs, as Ray serializes it. A job of another one has no use for them.
            most: so many on a node; as many as it has cpus for None.
        """
        for node in self.nodes():
            count = int(node.resources_total.get("CPU", 0))
            count = count if most is None else min(count, most)
            self.prestart_on(f"{node.node_manager_address}:{node.node_manager_port}", count, runtime_env)

    def prestart_on(self, node_manager: str, count: int, runtime_env: str = "{}") -> None:
        """Have one node start so many idle workers."""
        messages, services = generated("node_manager")

        with self._open(node_manager) as opened:
            asked = messages.PrestartWorkersRequest(keep_alive_duration_secs=KEEP_S, num_workers=count)
            asked.runtime_env_info.serialized_runtime_env = runtime_env
            services.NodeManagerServiceStub(opened).PrestartWorkers(asked, timeout=TIMEOUT_S)

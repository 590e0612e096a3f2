"""Six short Flyte tasks in a row: on one leased cluster, against a RayJob per task as Flyte's Ray plugin creates it.

All run the same body with the same image and shape, by the command that their registration makes. Leased, a task goes
through the connector, unchanged, or is a pod that Flyte would have started, with the client and Ray Client in it. As a
RayJob, KubeRay makes a cluster, and a pod that submits the command to it. What counts is the time outside the body:
from the creation of the task, pod or RayJob until its success is known, less what the body took by its own clock.
"""

from __future__ import annotations

import base64
import importlib
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flyteidl.core import literals_pb2

from pool.kube.api import CORE, RAY
from tests.connector.requests import bundle
from tests.connector.sending import sent
from tests.kube.connecting import a_store, backend, in_pods, store_of, with_connector, with_store
from tests.kube.flyte import TASK_IMAGE
from tests.kube.registered import container
from tests.kube.release import Release, until_it_holds

RUN = """
set -e
mkdir -p /tmp/run/out && cp /files/chain.py /tmp/run/ && cd /tmp/run && touch inputs.pb
eval "$COMMAND" 2>&1
[ -f /tmp/run/out/outputs.pb ] || exit 1
[ ! -f /tmp/run/log ] || echo "took $(cat /tmp/run/log)"
"""
TASKS = 6
BOUND_S = 240.0
MODULE = """
import time
import ray
from flytekit import Resources, task
from flytekitplugins.ray import HeadNodeConfig, RayJobConfig, WorkerNodeConfig
from pool.flyte import Pooled

SMALL = dict(requests=Resources(cpu="100m", mem="512Mi"), limits=Resources(cpu="1", mem="2Gi"))
CONFIG = RayJobConfig(
    head_node_config=HeadNodeConfig(ray_start_params={"num-cpus": "1"}, **SMALL),
    worker_node_config=[
        WorkerNodeConfig(group_name="w", replicas=1, min_replicas=1, max_replicas=1,
                         ray_start_params={"num-cpus": "1"}, **SMALL)
    ],
)

def square(number):
    return number * number

def body() -> tuple[int, float]:
    began = time.monotonic()
    found = sum(ray.get([ray.remote(square).remote(number) for number in range(20)]))
    took_s = time.monotonic() - began
    print(f"body {took_s:.3f}", flush=True)
    return found, took_s

@task(task_config=Pooled(CONFIG))
def leased() -> tuple[int, float]:
    return body()

@task(task_config=CONFIG)
def own() -> tuple[int, float]:
    return body()
"""


@dataclass
class Task:
    """One task, in seconds: all of it, and its body."""

    wall_s: float
    body_s: float
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def outside_s(self) -> float:
        """Return the time outside the body."""
        return self.wall_s - self.body_s


async def measure(release: Release, home: Path) -> dict[str, Any]:
    """Run the chains, those of leased pods also on an empty pool.

    Args:
        release: to install.
        home: an empty directory, for certificates and what the connector's tasks read.

    Returns:
        ``chain_speedup`` (through the connector, on the cluster that was left warm), ``chain_speedup_pods`` and
        ``chain_speedup_cold`` (in pods, with a warm cluster and with an empty pool), and every task.
    """
    volume = store_of(release)
    address = await with_connector(release, home, template=with_store(volume), tenants=["tests/*"])
    code = {"metadata": {"name": "code"}, "data": {"chain.py": MODULE, "run.sh": RUN}}
    await release.api.create(f"{CORE}/namespaces/{release.tenants}/configmaps", code)
    # The first chain begins with an empty pool, the others with the cluster that the one before left warm.
    chains = {"cold": [await leased(release, f"cold-{number}", "cold") for number in range(TASKS)]}
    chains["pods"] = [await leased(release, f"pods-{number}", "pods") for number in range(TASKS)]
    async with a_store(release, volume):
        chains["connector"] = await connected(release, home, address, volume)
    chains["own"] = [await ray_job(release, f"own-{number}") for number in range(TASKS)]
    outside = {name: sum(task.outside_s for task in tasks) for name, tasks in chains.items()}
    return {
        "chain_speedup": round(outside["own"] / outside["connector"], 2),
        "chain_speedup_pods": round(outside["own"] / outside["pods"], 2),
        "chain_speedup_cold": round(outside["own"] / outside["cold"], 2),
        "outside_s": {name: round(seconds, 1) for name, seconds in outside.items()},
        "tasks": {name: [vars(task) for task in tasks] for name, tasks in chains.items()},
    }


async def connected(release: Release, home: Path, address: str, volume: dict[str, Any]) -> list[Task]:
    """Run the tasks through the connector, as a backend would that asks five times a second."""
    requests = [_request(home / "store", number) for number in range(TASKS)]
    found = await backend(release, home / "store", address, requests, volume, bound_s=TASKS * BOUND_S)
    tasks = []
    for attempt in found:
        if attempt["phase"] != "SUCCEEDED":
            raise RuntimeError(f"a task of the connector's failed: {attempt['message']}")
        made = literals_pb2.LiteralMap.FromString(base64.b64decode(attempt["outputs"])).literals
        body_s = made["o1"].scalar.primitive.float_value
        tasks.append(Task(attempt["known_s"], round(body_s, 3), attempt["about"]))
    return tasks


def _request(store: Path, number: int) -> Any:
    """Return what a backend sends for a task of one workflow's execution."""
    root = store / f"n{number}"
    root.mkdir(parents=True)
    (root / "chain.py").write_text(MODULE)
    bundle(store / "code.tar.gz", chain=MODULE)
    sys.path.insert(0, str(root))
    importlib.invalidate_caches()
    try:
        request = sent(importlib.import_module("chain").own, store, {}, f"n{number}")
    finally:
        sys.path.remove(str(root))
        sys.modules.pop("chain", None)
    execution = request.task_execution_metadata.task_execution_id.node_execution_id
    execution.node_id = f"n{number}"
    execution.execution_id.project, execution.execution_id.domain, execution.execution_id.name = "tests", "kube", "run"
    return in_pods(request, store)


async def leased(release: Release, name: str, execution: str) -> Task:
    """Run a task in a pod, as Flyte starts it, on a leased cluster."""
    began = time.monotonic()
    await release.pod(
        name, TASK_IMAGE, ["bash", "-c", RUN], files="code", **environment(MODULE, "leased", execution)
    )  # fmt: skip
    await release.until_pod(release.tenants, name, "Succeeded", BOUND_S)
    wall_s = time.monotonic() - began
    said = await release.said(release.tenants, name)
    return Task(round(wall_s, 2), _body_s(said), json.loads(said.rsplit("took ", 1)[-1].splitlines()[0]))


async def ray_job(release: Release, name: str) -> Task:
    """Run a task as a RayJob, made as Flyte's plugin makes it, and return when its success is known."""
    path = f"{RAY}/namespaces/{release.tenants}/rayjobs"
    began = time.monotonic()
    await release.api.create(path, _ray_job(name))
    found: dict[str, Any] = {}

    async def ended() -> bool:
        nonlocal found
        found = (await release.api.get(f"{path}/{name}")).get("status", {})
        return found.get("jobStatus") in ("SUCCEEDED", "FAILED") or found.get("jobDeploymentStatus") == "Failed"

    await until_it_holds(ended, BOUND_S)
    wall_s = time.monotonic() - began
    if found.get("jobStatus") != "SUCCEEDED":
        raise RuntimeError(f"the RayJob {name} failed: {found.get('message') or found}")
    said = ""

    async def told() -> bool:
        # The submitter's log is behind the job's end, and a second submitter goes on where the first one failed.
        nonlocal said
        pods = await release.api.get(f"{CORE}/namespaces/{release.tenants}/pods", labelSelector=f"job-name={name}")
        said = "\n".join([await release.said(release.tenants, pod["metadata"]["name"]) for pod in pods["items"]])
        return "\nbody " in said

    await until_it_holds(told, 30)
    await release.api.delete(f"{path}/{name}")

    async def gone() -> bool:
        left = await release.api.get(
            f"{CORE}/namespaces/{release.tenants}/pods", labelSelector="ray.io/is-ray-node=yes"
        )
        return not left["items"]

    # The next one shall find the node as free as this one did.
    await until_it_holds(gone, 60)
    return Task(round(wall_s, 2), _body_s(said))


def environment(code: str, task: str, execution: str) -> dict[str, str]:
    """Return what Flyte puts into the environment of a task's pod, and as ``COMMAND`` what it starts there."""
    return {
        **container(TASK_IMAGE, "chain", code, task),
        "WARMPOOL_IMAGE": TASK_IMAGE,
        "WARMPOOL_TASK_LOG": "/tmp/run/log",
        "FLYTE_INTERNAL_EXECUTION_ID": execution,
        "FLYTE_INTERNAL_EXECUTION_PROJECT": "tests",
        "FLYTE_INTERNAL_EXECUTION_DOMAIN": "kube",
        "FLYTE_ATTEMPT_NUMBER": "0",
    }


def _body_s(said: str) -> float:
    if "\nbody " not in f"\n{said}":
        raise RuntimeError(f"the task's body never ended: {said[-1500:]}")
    return float(f"\n{said}".rsplit("\nbody ", 1)[1].split()[0])


def _ray_job(name: str) -> dict[str, Any]:
    variables = environment(MODULE, "own", name)
    container = {
        "image": TASK_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "env": [{"name": key, "value": value} for key, value in variables.items()],
        "resources": {"limits": {"cpu": "1", "memory": "2Gi"}, "requests": {"cpu": "100m", "memory": "512Mi"}},
        "volumeMounts": [{"name": "files", "mountPath": "/files"}],
    }

    def template(role: str) -> dict[str, Any]:
        volumes = [{"name": "files", "configMap": {"name": "code"}}]
        return {"spec": {"containers": [{**container, "name": role}], "volumes": volumes, "restartPolicy": "Never"}}

    params = {"disable-usage-stats": "true", "num-cpus": "1"}
    cluster = {
        "enableInTreeAutoscaling": False,
        "headGroupSpec": {
            "rayStartParams": {"dashboard-host": "0.0.0.0", "include-dashboard": "true", **params},
            "serviceType": "NodePort",
            "template": template("ray-head"),
        },
        "workerGroupSpecs": [
            {
                "groupName": "w",
                "minReplicas": 1,
                "maxReplicas": 1,
                "replicas": 1,
                "rayStartParams": params,
                "template": template("ray-worker"),
            }
        ],
    }
    spec = {
        "backoffLimit": 0,
        "entrypoint": "bash /files/run.sh",
        "rayClusterSpec": cluster,
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": 3600,
    }
    return {"apiVersion": "ray.io/v1", "kind": "RayJob", "metadata": {"name": name}, "spec": spec}

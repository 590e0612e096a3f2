"""Where a task's driver runs: in its own pod by Ray Client, or submitted to the leased cluster as a job.

Both run the same body in ``pyflyte-execute`` with the same image, on the same warm cluster, from a pod that holds the
lease. Times are of one clock, that of the node: pod, head and this program are on one machine.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

from benchmarks.kube.chain import RUN, environment
from pool.flyte.shape import shape_of
from pool.kube.api import CORE
from tests.kube.flyte import TASK_IMAGE
from tests.kube.release import Release

TIMES = 5
BOUND_S = 240.0
MODULE = """
import time
import ray
from flytekit import Resources, task
from flytekitplugins.ray import HeadNodeConfig, RayJobConfig, WorkerNodeConfig
from pool.flyte import Pooled

SMALL = dict(requests=Resources(cpu="100m", mem="512Mi"), limits=Resources(cpu="1", mem="4Gi"))
CONFIG = RayJobConfig(
    head_node_config=HeadNodeConfig(ray_start_params={"num-cpus": "1"}, **SMALL),
    worker_node_config=[WorkerNodeConfig(group_name="w", replicas=0)],
)

def square(number):
    return number * number

def large():
    return bytes(50_000_000)

def body() -> int:
    print(f"\\nat body {time.time():.3f}", flush=True)
    found = ray.get(ray.remote(square).remote(3))
    print(f"at first {time.time():.3f}", flush=True)
    for number in range(200):
        ray.get(ray.put(number))
    print(f"at small {time.time():.3f}", flush=True)
    made = ray.remote(large).remote()
    ray.wait([made])
    print(f"at made {time.time():.3f}", flush=True)
    ray.get(made)
    print(f"at got {time.time():.3f}", flush=True)
    return found

@task(task_config=Pooled(CONFIG))
def leased() -> int:
    return body()

@task
def submitted() -> int:
    ray.init(address="auto")
    return body()
"""

# What a pod would do that only submits: no flytekit in it, and Ray neither.
SUBMIT = """
import hashlib, io, json, os, sys, time, zipfile
import httpx, pool

with pool.lease(image=sys.argv[1], tenant="tests/kube", holder=os.uname().nodename, group=sys.argv[2],
                shape=json.loads(sys.argv[3])) as lease:
    files = io.BytesIO()
    with zipfile.ZipFile(files, "w") as made:
        for name in ("chain.py", "run.sh"):
            made.writestr(zipfile.ZipInfo(name), open(f"/files/{name}").read())
    package = f"_ray_pkg_{hashlib.md5(files.getvalue()).hexdigest()[:16]}.zip"
    headers = {"Authorization": f"Bearer {lease.cluster.token}"}
    with httpx.Client(base_url=lease.cluster.dashboard_url, headers=headers, verify=False, timeout=30) as http:
        if http.get(f"/api/packages/gcs/{package}").status_code == 404:
            http.put(f"/api/packages/gcs/{package}", content=files.getvalue()).raise_for_status()
        env = {name: value for name, value in os.environ.items() if name.startswith("FLYTE_")}
        env["COMMAND"] = os.environ["SUBMITTED"]
        job = http.post("/api/jobs/", json={
            "entrypoint": "sed s,/files/,,g run.sh > here.sh && rm -rf /tmp/run && bash here.sh",
            "runtime_env": {"working_dir": f"gcs://{package}", "env_vars": env}}).json()["submission_id"]
        while (found := http.get(f"/api/jobs/{job}").json())["status"] in ("PENDING", "RUNNING"):
            time.sleep(0.1)
        print(http.get(f"/api/jobs/{job}/logs").json()["logs"])
    if found["status"] != "SUCCEEDED":
        raise SystemExit(found["message"])
"""


async def measure(release: Release) -> dict[str, Any]:
    """Run the task both ways in turns on one warm cluster.

    Returns:
        Medians by way, seconds: from the pod's creation until the body begins, its first remote result, 200 rounds of
        ``ray.get(ray.put(...))``, 50 MB by ``ray.get``, from the body's end until Kubernetes knows that the pod is
        done, and all together.
    """
    await release.install(ceiling={"clusters": 1})
    code = {"metadata": {"name": "code"}, "data": {"chain.py": MODULE, "run.sh": RUN, "submit.py": SUBMIT}}
    await release.api.create(f"{CORE}/namespaces/{release.tenants}/configmaps", code)
    defined: dict[str, Any] = {}
    # As far as the config: flytekit wants to read a task's source from a file.
    exec(MODULE.split("def square", 1)[0], defined)
    shape = shape_of(defined["CONFIG"]).model_dump_json(exclude_none=True)
    commands = {
        "client": ["bash", "-c", RUN],
        "job": ["python", "/files/submit.py", TASK_IMAGE, "tests/kube/drivers", shape],
    }
    taken: dict[str, list[dict[str, float]]] = {way: [] for way in commands}
    for number in range(-1, TIMES):
        for way, command in commands.items():
            parts = await _run(release, f"{way}-{number + 1}", command)
            if number >= 0:  # the first ones start the cluster and its workers
                taken[way].append(parts)
    return {
        way: {name: round(statistics.median(run[name] for run in runs), 3) for name in runs[0]} | {"runs": runs}
        for way, runs in taken.items()
    }


async def _run(release: Release, name: str, command: list[str]) -> dict[str, float]:
    submitted = environment(MODULE, "submitted", "drivers")["COMMAND"]
    variables = {**environment(MODULE, "leased", "drivers"), "SUBMITTED": submitted}
    began = time.time()
    await release.pod(name, TASK_IMAGE, command, files="code", **variables)
    await release.until_pod(release.tenants, name, "Succeeded", BOUND_S)
    ended = time.time()
    said = await release.said(release.tenants, name)
    at = {line.split()[1]: float(line.split()[2]) for line in said.splitlines() if line.startswith("at ")}
    return {
        "until_body_s": at["body"] - began,
        "first_result_s": at["first"] - at["body"],
        "small_values_s": at["small"] - at["first"],
        "get_50_mb_s": at["got"] - at["made"],
        "after_body_s": ended - at["got"],
        "all_s": ended - began,
    }

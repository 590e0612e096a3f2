"""A Flyte task in a pod, started as Flyte starts it, on a leased RayCluster through the daemon's Service."""

from __future__ import annotations

import json
import os

import pytest

from pool.kube.api import CORE
from tests.kube.release import NEEDS, Release

TASK_IMAGE = os.environ.get("WARMPOOL_TEST_TASK_IMAGE", "")
WITHOUT = "needs a task's image on the nodes: build deploy/task.Dockerfile and name it in WARMPOOL_TEST_TASK_IMAGE"

pytestmark = [
    pytest.mark.kube,
    pytest.mark.timeout(300),
    pytest.mark.xdist_group("kube"),
    NEEDS,
    pytest.mark.skipif(not TASK_IMAGE, reason=WITHOUT),
]

MODULE = """
import os
import ray
from flytekit import Resources, current_context, task
from flytekitplugins.ray import HeadNodeConfig, RayJobConfig, WorkerNodeConfig
from pool.flyte import Pooled

SMALL = RayJobConfig(
    head_node_config=HeadNodeConfig(
        requests=Resources(cpu="100m", mem="512Mi"), limits=Resources(cpu="1", mem="2Gi"),
        ray_start_params={"num-cpus": "1"},
    ),
    worker_node_config=[WorkerNodeConfig(group_name="w", replicas=0)],
)

def helper():
    return os.uname().nodename

@task(task_config=Pooled(SMALL))
def where() -> str:
    lease = current_context().ray_lease
    lease.check()
    # A function of the module: the workers must find it too.
    return ray.get(ray.remote(helper).remote()) + " " + lease.cluster.id + " " + str(lease.group_was_here)

@task(task_config=Pooled(SMALL))
def broken() -> str:
    if ray.get(ray.remote(helper).remote()):
        raise ValueError("the body is broken")
    return ""
"""

RUN = """
set -e
mkdir -p /tmp/run/out && cp /files/chain.py /tmp/run/ && cd /tmp/run && touch inputs.pb
pyflyte-execute --inputs /tmp/run/inputs.pb --output-prefix /tmp/run/out --raw-output-data-prefix /tmp/run/raw \
  --dynamic-addl-distro "" --dynamic-dest-dir "" \
  --resolver flytekit.core.python_auto_container.default_task_resolver -- task-module chain task-name $TASK 2>&1
python -c "
import glob
from flyteidl.core import literals_pb2, errors_pb2
for file in glob.glob('/tmp/run/out/outputs.pb'):
    made = literals_pb2.LiteralMap.FromString(open(file, 'rb').read())
    print('output', made.literals['o0'].scalar.primitive.string_value)
for file in glob.glob('/tmp/run/out/error.pb'):
    print('failed', errors_pb2.ErrorDocument.FromString(open(file, 'rb').read()).error.message)
"
echo "took $(cat /tmp/run/log)"
echo ended
"""


async def run(release: Release, pod: str, task: str) -> tuple[str, dict[str, float]]:
    await release.pod(
        pod,
        TASK_IMAGE,
        ["bash", "-c", RUN],
        files="code",
        TASK=task,
        WARMPOOL_IMAGE=TASK_IMAGE,
        WARMPOOL_TASK_LOG="/tmp/run/log",
        FLYTE_INTERNAL_EXECUTION_ID="execution-1",
        FLYTE_INTERNAL_EXECUTION_PROJECT="tests",
        FLYTE_INTERNAL_EXECUTION_DOMAIN="kube",
        FLYTE_ATTEMPT_NUMBER="0",
    )
    said = await release.until_said(pod, "ended", 120)
    return said, json.loads(said.rsplit("took ", 1)[1].splitlines()[0])


def output(said: str) -> list[str]:
    assert "output " in said, said
    return said.split("output ", 1)[1].splitlines()[0].split(" ")


async def test_two_tasks_of_an_execution_run_on_one_leased_cluster_and_a_third_fails_as_it_should(release: Release):
    await release.install()
    code = {"metadata": {"name": "code"}, "data": {"chain.py": MODULE}}
    await release.api.create(f"{CORE}/namespaces/{release.tenants}/configmaps", code)
    first, cold = await run(release, "first", "where")
    second, warm = await run(release, "second", "where")
    (node, cluster, _), (again, same, here) = (output(said) for said in (first, second))
    assert (node, cluster, here) == (again, same, "True")
    assert (cold["outcome"], warm["outcome"]) == ("cold", "hit")
    assert warm["acquire_s"] < cold["acquire_s"]
    failed, record = await run(release, "third", "broken")
    assert "the body is broken" in failed.split("failed ", 1)[1]
    assert record["outcome"] == "hit"
    print(cold, warm)

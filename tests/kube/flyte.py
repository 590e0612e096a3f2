"""Flyte tasks in pods, started as Flyte starts them."""

from __future__ import annotations

import json
import os
from typing import Any

from tests.kube.registered import container
from tests.kube.release import Release

TASK_IMAGE = os.environ.get("WARMPOOL_TEST_TASK_IMAGE", "")
WITHOUT = (
    "needs a task's image on the nodes: build deploy/task.Dockerfile with --build-arg EXTRAS=flyte,flyte2 "
    "and name it in WARMPOOL_TEST_TASK_IMAGE"
)

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

MODULE_2 = """
import os
import flyte
import ray
from flyteplugins.ray import HeadNodeConfig, RayJobConfig, WorkerNodeConfig
from pool.flyte import Pooled

SMALL = RayJobConfig(
    head_node_config=HeadNodeConfig(
        requests=flyte.Resources(cpu="100m", memory="512Mi"), limits=flyte.Resources(cpu="1", memory="2Gi"),
        ray_start_params={"num-cpus": "1"},
    ),
    worker_node_config=[WorkerNodeConfig(group_name="w", replicas=0)],
)
env = flyte.TaskEnvironment(name="pod", plugin_config=Pooled(SMALL))

def helper():
    return os.uname().nodename

@env.task
async def where() -> str:
    lease = flyte.ctx()["ray_lease"]
    lease.check()
    return ray.get(ray.remote(helper).remote()) + " " + lease.cluster.id + " " + str(lease.group_was_here)
"""

# What Flyte starts in a task's pod, and then what it finds there.
RUN = """
set -e
mkdir -p /tmp/run/out && cp /files/*.py /tmp/run/ && cd /tmp/run && touch inputs.pb
eval "$COMMAND" 2>&1
python -c "
import glob
from flyteidl.core import literals_pb2, errors_pb2
for file in glob.glob('/tmp/run/out/outputs.pb'):
    made = literals_pb2.LiteralMap.FromString(open(file, 'rb').read())
    print('output', made.literals['o0'].scalar.primitive.string_value)
for file in glob.glob('/tmp/run/out/error.pb'):
    print('failed', errors_pb2.ErrorDocument.FromString(open(file, 'rb').read()).error.message)
"
echo "deck $(tr -d '\n' < /tmp/run/out/deck.html)"
echo "took $(cat /tmp/run/log)"
echo ended
"""

RUN_2 = """
set -e
mkdir -p /tmp/run/out && cp /files/*.py /tmp/run/ && cd /tmp/run && touch inputs.pb
a0 --inputs /tmp/run/inputs.pb --outputs-path /tmp/run/out --version v1 --raw-data-path /tmp/run/raw \
  --checkpoint-path /tmp/run/raw/_flytecheckpoints --prev-checkpoint '""' --run-name '{{.runName}}' \
  --name '{{.actionName}}' --run-start-time '{{.runStartTime}}' \
  --resolver flyte._internal.resolvers.default.DefaultTaskResolver mod chain2 instance $TASK 2>&1
python -c "
from flyteidl2.task import common_pb2
made = common_pb2.Outputs.FromString(open('/tmp/run/out/outputs.pb', 'rb').read())
print('output', made.literals[0].value.scalar.primitive.string_value)
"
echo "deck $(tr -d '\n' < /tmp/run/out/report.html)"
echo "took $(cat /tmp/run/log)"
echo ended
"""


async def run(release: Release, pod: str, task: str, script: str = RUN) -> tuple[str, dict[str, Any]]:
    made = container(TASK_IMAGE, "chain", MODULE, task) if script == RUN else {}
    ids = {"PROJECT": "tests", "DOMAIN": "kube", "ID": "execution-1"}
    await release.pod(
        pod,
        TASK_IMAGE,
        ["bash", "-c", script],
        files="code",
        TASK=task,
        WARMPOOL_IMAGE=TASK_IMAGE,
        WARMPOOL_TASK_LOG="/tmp/run/log",
        FLYTE_ATTEMPT_NUMBER="0",
        RUN_NAME=ids["ID"],
        ACTION_NAME="a1",
        _U_RUN_BASE="/tmp/run/base",
        _U_ORG_NAME="tests",
        **{f"FLYTE_INTERNAL_EXECUTION_{name}": value for name, value in ids.items()},
        **{name: value for name, value in made.items() if name != "WARMPOOL_IMAGE"},
    )
    said = await release.until_said(pod, "ended", 120)
    return said, json.loads(said.rsplit("took ", 1)[1].splitlines()[0])


def output(said: str) -> list[str]:
    assert "output " in said, said
    return said.split("output ", 1)[1].splitlines()[0].split(" ")


def deck(said: str) -> str:
    return said.split("deck ", 1)[1].splitlines()[0]

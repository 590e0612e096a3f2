"""The chart's connector: what a Flyte backend recorded runs on a leased RayCluster, and nobody else gets through to it.

Not every network plugin enforces NetworkPolicies, so who may call is a matter of certificates here, and of the policy
where it is seen to hold.
"""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from flyteidl.core import literals_pb2

from pool.kube.api import CORE
from tests.certificates import certificates
from tests.connector.requests import request1
from tests.kube.release import NEEDS, Release
from tests.kube.test_kube_flyte import TASK_IMAGE, WITHOUT

pytestmark = [
    pytest.mark.kube,
    pytest.mark.flyte,
    pytest.mark.timeout(400),
    NEEDS,
    pytest.mark.skipif(not TASK_IMAGE, reason=WITHOUT),
]

STORE = "/store"

# As the backend does: puts down inputs and code, has the task made, asks until it is over, and reads what it wrote.
BACKEND = """
import base64, json, pathlib, time
import grpc
from flyteidl.admin import agent_pb2
from flyteidl.core import execution_pb2
from flyteidl.service import agent_pb2_grpc

given = json.loads(pathlib.Path("/files/given.json").read_text())
for name, content in given["store"].items():
    pathlib.Path("/store", name).write_bytes(base64.b64decode(content))
secret = lambda name: pathlib.Path("/certificates", name).read_bytes()
credentials = grpc.ssl_channel_credentials(secret("ca.crt"), secret("client.key"), secret("client.crt"))
attempts = []
with grpc.secure_channel(given["address"], credentials) as channel:
    tasks = agent_pb2_grpc.AsyncAgentServiceStub(channel)
    for request in given["requests"]:
        asked = agent_pb2.CreateTaskRequest.FromString(base64.b64decode(request))
        meta = tasks.CreateTask(asked, timeout=10, wait_for_ready=True).resource_meta
        category = agent_pb2.TaskCategory(name="ray")
        while True:
            again = agent_pb2.GetTaskRequest(task_type="ray", task_category=category, resource_meta=meta)
            found = tasks.GetTask(again, timeout=10).resource
            phase = execution_pb2.TaskExecution.Phase.Name(found.phase)
            if phase in ("SUCCEEDED", "FAILED", "RETRYABLE_FAILED", "ABORTED"):
                break
            time.sleep(0.2)
        outputs = pathlib.Path(asked.output_prefix, "outputs.pb")
        attempts.append({
            "phase": phase, "message": found.message, "about": dict(found.custom_info),
            "outputs": base64.b64encode(outputs.read_bytes() if outputs.exists() else b"").decode(),
        })
print("found", json.dumps({"attempts": attempts}))
"""

# As a tenant's pod that found out where the connector is, and has a certificate of its own making.
STRANGER = """
import json, pathlib, socket
import grpc
from flyteidl.admin import agent_pb2
from flyteidl.service import agent_pb2_grpc

given = json.loads(pathlib.Path("/files/given.json").read_text())

def connects(host, port):
    try:
        socket.create_connection((host, port), timeout=3).close()
    except OSError:
        return False
    return True

def answered(channel):
    with channel:
        try:
            agent_pb2_grpc.AgentMetadataServiceStub(channel).ListAgents(agent_pb2.ListAgentsRequest(), timeout=5)
        except grpc.RpcError as error:
            return error.code().name
    return "OK"

pair = [given["certificates"][f"stranger.{end}"].encode() for end in ("key", "crt")]
ca = given["certificates"]["ca.crt"].encode()
host, port = given["address"].rsplit(":", 1)
print("found", json.dumps({
    # Nobody may scrape it here: who connects to this port is held up by no policy.
    "policy_holds": not connects(given["pod"], 8001),
    "connects": connects(host, int(port)),
    "answers": {
        "plain": answered(grpc.insecure_channel(given["address"])),
        "no certificate": answered(grpc.secure_channel(given["address"], grpc.ssl_channel_credentials(ca))),
        "foreign": answered(grpc.secure_channel(given["address"], grpc.ssl_channel_credentials(ca, *pair))),
    },
}))
"""


HOST_PATH = {"name": "host", "hostPath": {"path": "/var/tmp"}}


@pytest.fixture
async def store(release: Release) -> AsyncIterator[dict[str, Any]]:
    """Make a directory of the node that everybody may write to, in place of a bucket; give it as a volume."""
    path = f"/var/tmp/{release.namespace}-store"
    volume = {"name": "store", "hostPath": {"path": path, "type": "DirectoryOrCreate"}}
    root = {"securityContext": {"runAsUser": 0}, "volumeMounts": [{"name": "store", "mountPath": "/store"}]}
    await release.run_once("open", ["import os; os.chmod('/store', 0o777)"], root, {"volumes": [volume]})
    yield volume
    root["volumeMounts"] = [{"name": "host", "mountPath": "/var/tmp"}]
    wipe = f"import shutil; shutil.rmtree({path!r})"
    await release.run_once("wipe-store", [wipe], root, {"volumes": [HOST_PATH]})


async def with_connector(release: Release, home: Path, **backend: Any) -> str:
    """Install the chart with the connector, for pods of the release's namespace that have a certificate.

    Returns:
        The connector's address.
    """
    host = f"pool-warmpool-connector.{release.namespace}.svc"
    certificates(home, host)
    own = {"tls.crt": "server.crt", "tls.key": "server.key", "ca.crt": "ca.crt"}
    for secret, files in {
        "own": own,
        "callers": {name: name for name in ("ca.crt", "client.key", "client.crt")},
    }.items():
        data = {name: (home / file).read_text() for name, file in files.items()}
        made = {"metadata": {"name": secret}, "stringData": data}
        await release.api.create(f"{CORE}/namespaces/{release.namespace}/secrets", made)
    release.extra = {
        "connector": {
            "enabled": True,
            "from": [{"podSelector": {"matchLabels": {"app": "flyte"}}}],
            "tenants": ["flytesnacks/*"],
            "tlsSecret": "own",
        }
    }
    await release.install(backend={"image_pull_policy": "IfNotPresent", **backend})
    return f"{host}:8000"


async def said(
    release: Release, name: str, code: str, given: dict[str, Any], volumes: dict[str, dict[str, Any]], **where: Any
) -> dict[str, Any]:
    """Run code in a pod with a file of what is given, and volumes by where they are mounted; return what it found."""
    namespace = where.get("namespace") or release.namespace
    files = {"metadata": {"name": name}, "data": {"given.json": json.dumps(given)}}
    await release.api.create(f"{CORE}/namespaces/{namespace}/configmaps", files)
    volumes = {"/files": {"name": "files", "configMap": {"name": name}}, **volumes}
    mounts = [{"name": volume["name"], "mountPath": path} for path, volume in volumes.items()]
    pod = {"volumes": list(volumes.values())}
    printed = await release.run_once(name, [code], {"volumeMounts": mounts}, pod, **where)
    return dict(json.loads(printed.rsplit("found ", 1)[1]))


async def test_flyte_1s_recorded_task_runs_on_a_leased_raycluster_and_the_next_attempt_finds_it_warm(
    release: Release, store: dict[str, Any], tmp_path: Path
) -> None:
    mounted = {"name": "ray-head", "volumeMounts": [{"name": "store", "mountPath": STORE}]}
    head = {"template": {"spec": {"containers": [mounted], "volumes": [store]}}}
    address = await with_connector(release, tmp_path, template={"spec": {"headGroupSpec": head}})
    requests = [in_pods(request1(tmp_path / "store", attempt), tmp_path / "store") for attempt in ("0", "1")]
    given = {
        "address": address,
        "store": {name: coded((tmp_path / "store" / name).read_bytes()) for name in ("inputs.pb", "code.tar.gz")},
        "requests": [coded(request.SerializeToString()) for request in requests],
    }
    certificates = {"name": "certificates", "secret": {"secretName": "callers"}}
    volumes = {"/certificates": certificates, STORE: store}
    found = await said(release, "backend", BACKEND, given, volumes, labels={"app": "flyte"}, bound_s=180)
    first, second = found["attempts"]
    for attempt in (first, second):
        assert attempt["phase"] == "SUCCEEDED", attempt
        assert attempt["about"]["how"] == "warm_interpreter", attempt
        made = literals_pb2.LiteralMap.FromString(base64.b64decode(attempt["outputs"])).literals
        assert {name: one.scalar.primitive.integer for name, one in made.items()} == {"o0": 46}
    assert (first["about"]["outcome"], second["about"]["outcome"]) == ("cold", "hit")
    assert second["about"]["cluster"] == first["about"]["cluster"]
    assert second["about"]["runner"] == first["about"]["runner"]
    assert len(await release.clusters()) == 1


async def test_a_tenants_pod_gets_no_answer_of_the_connector(release: Release, tmp_path: Path) -> None:
    address = await with_connector(release, tmp_path)
    selector = "app.kubernetes.io/name=warmpool-connector"
    pods = await release.api.get(f"{CORE}/namespaces/{release.namespace}/pods", labelSelector=selector)
    given = {
        "address": address,
        "pod": pods["items"][0]["status"]["podIP"],
        "certificates": {name: (tmp_path / name).read_text() for name in ("ca.crt", "stranger.key", "stranger.crt")},
    }
    found = await said(release, "stranger", STRANGER, given, {}, namespace=release.tenants)
    assert set(found["answers"].values()) <= {"UNAVAILABLE", "DEADLINE_EXCEEDED"}, found
    assert found["connects"] is not found["policy_holds"], found


def in_pods(request: Any, store: Path) -> Any:
    """Return a request with its storage where pods have it."""
    container = request.template.container
    container.image = TASK_IMAGE
    container.args[:] = [word.replace(str(store), STORE) for word in container.args]
    request.output_prefix = request.output_prefix.replace(str(store), STORE)
    return request


def coded(content: bytes) -> str:
    return base64.b64encode(content).decode()

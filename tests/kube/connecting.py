"""A release with the connector, and a Flyte backend in a pod that has tasks made through it."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from pool.kube.api import CORE
from tests.certificates import certificates
from tests.kube.flyte import TASK_IMAGE
from tests.kube.release import Release

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
        began, began_at = time.monotonic(), time.time()
        meta = tasks.CreateTask(asked, timeout=10, wait_for_ready=True).resource_meta
        category = agent_pb2.TaskCategory(name="ray")
        while True:
            again = agent_pb2.GetTaskRequest(task_type="ray", task_category=category, resource_meta=meta)
            found = tasks.GetTask(again, timeout=10).resource
            phase = execution_pb2.TaskExecution.Phase.Name(found.phase)
            if phase in ("SUCCEEDED", "FAILED", "RETRYABLE_FAILED", "ABORTED"):
                break
            time.sleep(0.2)
        known_s = time.monotonic() - began
        outputs = pathlib.Path(asked.output_prefix, "outputs.pb")
        attempts.append({
            "known_s": round(known_s, 3),
            "outputs_s": round(outputs.stat().st_mtime - began_at, 3) if outputs.exists() else None,
            "phase": phase, "message": found.message, "about": dict(found.custom_info),
            "outputs": base64.b64encode(outputs.read_bytes() if outputs.exists() else b"").decode(),
        })
print("found", json.dumps({"attempts": attempts}))
"""

HOST_PATH = {"name": "host", "hostPath": {"path": "/var/tmp"}}


@asynccontextmanager
async def a_store(release: Release, volume: dict[str, Any]) -> AsyncIterator[None]:
    """Have `volume`, a directory of the node in place of a bucket, be one that everybody may write to."""
    root = {"securityContext": {"runAsUser": 0}, "volumeMounts": [{"name": "store", "mountPath": STORE}]}
    await release.run_once("open", [f"import os; os.chmod({STORE!r}, 0o777)"], root, {"volumes": [volume]})
    yield
    root["volumeMounts"] = [{"name": "host", "mountPath": "/var/tmp"}]
    wipe = f"import shutil; shutil.rmtree({volume['hostPath']['path']!r})"
    await release.run_once("wipe-store", [wipe], root, {"volumes": [HOST_PATH]})


def store_of(release: Release) -> dict[str, Any]:
    """Return a directory of the node, of this release's own, as a volume."""
    path = f"/var/tmp/{release.namespace}-store"
    return {"name": "store", "hostPath": {"path": path, "type": "DirectoryOrCreate"}}


def with_store(volume: dict[str, Any]) -> dict[str, Any]:
    """Return the template of RayClusters whose heads have `volume`: there is where a task's command runs."""
    mounted = {"name": "ray-head", "volumeMounts": [{"name": "store", "mountPath": STORE}]}
    return {"spec": {"headGroupSpec": {"template": {"spec": {"containers": [mounted], "volumes": [volume]}}}}}


async def backend(
    release: Release, store: Path, address: str, requests: list[Any], volume: dict[str, Any], bound_s: float
) -> list[dict[str, Any]]:
    """Play a backend that has tasks made, one after the other; return what became of each.

    Args:
        release: with the connector, at `address`.
        store: the store's content to begin with.
        address: of the connector.
        requests: of Flyte 1, with the store where pods have it.
        volume: of the store.
        bound_s: for all of them together, in seconds.
    """
    given = {
        "address": address,
        "store": packed(store),
        "requests": [coded(request.SerializeToString()) for request in requests],
    }
    certificates = {"name": "certificates", "secret": {"secretName": "callers"}}
    volumes = {"/certificates": certificates, STORE: volume}
    found = await said(release, "backend", BACKEND, given, volumes, labels={"app": "flyte"}, bound_s=bound_s)
    return list(found["attempts"])


async def with_connector(
    release: Release, home: Path, *, template: dict[str, Any] | None = None, **connector: Any
) -> str:
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
            **connector,
        }
    }
    await release.install(backend={"image_pull_policy": "IfNotPresent", "template": template or {}})
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
    await release.api.delete(f"{CORE}/namespaces/{namespace}/configmaps/{name}")
    return dict(json.loads(printed.rsplit("found ", 1)[1]))


def in_pods(request: Any, store: Path) -> Any:
    """Return a request with its storage where pods have it."""
    container = request.template.container
    container.image = TASK_IMAGE
    container.args[:] = [word.replace(str(store), STORE) for word in container.args]
    request.output_prefix = request.output_prefix.replace(str(store), STORE)
    return request


def coded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def packed(store: Path) -> dict[str, str]:
    """Return the files of a directory, fit for JSON."""
    return {one.name: coded(one.read_bytes()) for one in store.iterdir() if one.is_file()}

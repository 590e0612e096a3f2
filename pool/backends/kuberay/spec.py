"""What is sent to Kubernetes for a cluster: the RayCluster and the Secret of its token. Pure."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import Any

from pool.backends.kuberay.merge import merged
from pool.backends.kuberay.options import KuberayOptions
from pool.core.errors import InvalidKey
from pool.core.key import ClusterKey, Node, WorkerGroup
from pool.inside.files import KEEP_NOTHING, UNPACKED
from pool.inside.owner import SHARE_VARIABLE

API_VERSION = "ray.io/v1"
STORE, CLUSTER, POOL, TENANT = "warmpool/store", "warmpool/cluster", "warmpool/pool", "warmpool/tenant"
HEAD, WORKER = "ray-head", "ray-worker"
OLDEST_RAY = (2, 52)
LONGEST_NAME = 53

Env = list[dict[str, Any]]
"""Variables of a container."""

_VERSION_TAG = re.compile(r":(\d+)\.(\d+)\.(\d+)[^:/]*$")
_NAMESPACE = re.compile(r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
_GROUP = re.compile(r"^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$")
_NOT_IN_LABELS = re.compile(r"[^A-Za-z0-9._-]+")


# Ray Client has a process in the head for each connection, forked from one that is full of gRPC's threads. With gRPC's
# support for forks, on by default, a thread of the child crashes now and then before it becomes the new program
# ("Starting Ray client server failed"). That support is for children that go on to use gRPC; these become others.
# Ray looks whether the process listens after 0, 1, 2.6, 5.2, 9.3, 15.9, 26.4 and 43.2 s (gRPC's backoff), and for 30 s;
# one that nobody comes to ends itself. On a busy head, one that took 16 s to start was gone before the next look when
# it waited for 10 s only. So it waits for longer than the pauses, and the looks go on. Ray's own 30 s of waiting would
# leave more of them behind a chain of short tasks.
CLIENT_SERVERS = (
    {"name": "GRPC_ENABLE_FORK_SUPPORT", "value": "false"},
    {"name": "TIMEOUT_FOR_SPECIFIC_SERVER_S", "value": "25"},
    {"name": "RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S", "value": "60"},
)


def name_of(store_id: str, cluster_id: str) -> str:
    """Return the RayCluster's name: the same one for the same cluster, and no other's."""
    return f"wp-{store_id[:8]}-{cluster_id.removeprefix('c-')}"


def namespace_of(tenant: str, options: KuberayOptions) -> str:
    """Return the namespace of a tenant's clusters.

    Raises:
        InvalidKey: if the tenant's name gives none that Kubernetes allows.
    """
    project, _, domain = tenant.partition("/")
    named = options.namespace.format(project=project, domain=domain, tenant=tenant.replace("/", "-")).strip("-")
    if not _NAMESPACE.match(named):
        raise InvalidKey(f"key.tenant: {tenant!r} would have its clusters in namespace {named!r}, which is not a name.")
    return named


def check(key: ClusterKey, options: KuberayOptions) -> None:
    """Refuse a key that KubeRay can never make a cluster of.

    Raises:
        InvalidKey: naming the field.
    """
    namespace_of(key.tenant, options)
    version = ray_version(key, options)
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST_RAY:
        raise InvalidKey(
            f"key.image: {key.image!r} has Ray {version}, which knows no token authentication; use 2.52 or newer."
        )
    for where, node in (("head", key.shape.head), *((f"workers.{g.name}", g.node) for g in key.shape.workers)):
        if "name" in _pod(node):
            raise InvalidKey(
                f"shape.{where}.pod: names the pod template {_pod(node)['name']!r}; give the template itself."
            )
    for group in key.shape.workers:
        if not _GROUP.match(group.name):
            raise InvalidKey(
                f"shape.workers.{group.name}: is not a group's name on Kubernetes (a-z, 0-9 and '-', at most 32)."
            )


def ray_version(key: ClusterKey, options: KuberayOptions) -> str:
    """Return the Ray version that the image's tag says, or the one of the options."""
    match = _VERSION_TAG.search(key.image)
    return ".".join(match.groups()) if match else options.ray_version


def labels(store_id: str, cluster_id: str, key: ClusterKey) -> dict[str, str]:
    """Return the labels of everything that belongs to a cluster."""
    tenant = _NOT_IN_LABELS.sub(".", key.tenant)[:63].strip("._-")
    return {STORE: store_id, CLUSTER: cluster_id, POOL: key.digest, TENANT: tenant}


def secret(store_id: str, cluster_id: str, key: ClusterKey, token: str, made: Mapping[str, Any]) -> dict[str, Any]:
    """Return the Secret that holds a cluster's token, under the name where KubeRay looks for it.

    It belongs to the RayCluster `made`, and goes with it.
    """
    meta = made["metadata"]
    owner = {"apiVersion": API_VERSION, "kind": "RayCluster", "name": meta["name"], "uid": meta["uid"]}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {
            "name": meta["name"],
            "namespace": meta["namespace"],
            "labels": labels(store_id, cluster_id, key),
            "ownerReferences": [owner],
        },
        "data": {"auth_token": base64.b64encode(token.encode()).decode()},
    }


def ray_cluster(
    store_id: str, cluster_id: str, key: ClusterKey, options: KuberayOptions, resident_share: float = 0.5
) -> dict[str, Any]:
    """Return the RayCluster of a key, laid over the operator's template.

    Args:
        store_id: whose it is.
        cluster_id: names it.
        key: what it is to be.
        options: of the backend.
        resident_share: of each node's object store that resident data may take.

    Raises:
        InvalidKey: if there can be none.
    """
    check(key, options)
    name = name_of(store_id, cluster_id)
    if len(name) > LONGEST_NAME:
        raise InvalidKey(f"{cluster_id}: the name {name} is longer than the {LONGEST_NAME} characters KubeRay allows.")
    marks = labels(store_id, cluster_id, key)
    env = [*_auth_env(name), {"name": SHARE_VARIABLE, "value": f"{resident_share:g}"}]
    template: Any = options.template
    below = dict(template.get("spec", {}))
    group_templates = below.pop("workerGroupSpecs", [])
    spec: dict[str, Any] = {
        "rayVersion": ray_version(key, options),
        # Of this, KubeRay 1.4 drops all and 1.5 the Secret's name without a word: the containers carry what they would
        # be given in any case. Where the name is known, KubeRay makes no Secret with a token of its own.
        "authOptions": {"mode": "token", "secretName": name},
        "headGroupSpec": {
            "rayStartParams": {"dashboard-host": "0.0.0.0", **_start_params(key.shape.head)},  # noqa: S104
            "template": _pod_template(HEAD, key.image, key.shape.head, marks, [*env, *CLIENT_SERVERS], options),
        },
    }
    if key.shape.autoscaling:
        auth = {"env": _auth_env(name)}
        asked = json.loads(key.shape.autoscaler_options) if key.shape.autoscaler_options else {}
        spec |= {"enableInTreeAutoscaling": True, "autoscalerOptions": merged(asked, auth)}
    spec = _over(below, spec, key.shape.head)
    spec["workerGroupSpecs"] = [
        _over(_group_template(group_templates, group.name), _group(key, group, marks, env, options), group.node)
        for group in key.shape.workers
    ]
    metadata = {
        "name": name,
        "namespace": namespace_of(key.tenant, options),
        "labels": marks,
        "annotations": {TENANT: key.tenant},
    }
    meta = merged(template.get("metadata", {}), metadata)
    return {"apiVersion": API_VERSION, "kind": "RayCluster", "metadata": meta, "spec": spec}


def _group(
    key: ClusterKey, group: WorkerGroup, marks: Mapping[str, str], env: Env, options: KuberayOptions
) -> dict[str, Any]:
    return {
        "groupName": group.name,
        "replicas": group.replicas,
        "minReplicas": group.min_replicas,
        "maxReplicas": group.max_replicas,
        "rayStartParams": _start_params(group.node),
        "template": _pod_template(WORKER, key.image, group.node, marks, env, options),
    }


def _group_template(templates: list[Mapping[str, Any]], name: str) -> dict[str, Any]:
    """Return what the operator's template says of a group: first what it says of all, then of this one."""
    out: dict[str, Any] = {}
    for wanted in ("", name):
        for template in templates:
            if template.get("groupName", "") == wanted:
                out = merged(out, template)
    return out


def _over(below: Mapping[str, Any], ours: dict[str, Any], node: Node) -> dict[str, Any]:
    """Lay the lease's pod template over the operator's, and what the daemon needs over both."""
    group, container = ("headGroupSpec", HEAD) if "headGroupSpec" in ours else ("", WORKER)

    def of_pods(template: dict[str, Any]) -> dict[str, Any]:
        return {group: {"template": template}} if group else {"template": template}

    usual = of_pods({"spec": {"containers": [{"name": container, "livenessProbe": LIVENESS}]}})
    out: dict[str, Any] = {}
    for layer in (usual, below, of_pods(_asked_template(node, container)), ours):
        out = merged(out, layer)
    return out


RAYLET_IS_WELL: dict[str, Any] = {"path": "/api/local_raylet_healthz", "port": 52365}
# As patient as KubeRay's own, which starts a shell in the container every 5 s.
LIVENESS = {
    "httpGet": RAYLET_IS_WELL,
    "initialDelaySeconds": 30,
    "periodSeconds": 5,
    "timeoutSeconds": 5,
    "failureThreshold": 120,
}


def _asked_template(node: Node, container: str) -> dict[str, Any]:
    pod = _pod(node)
    spec = dict(pod.get("spec", {}))
    containers = [dict(item) for item in spec.get("containers", [])]
    primary = pod.get("primary_container_name")
    for index, item in enumerate(containers):
        if item.get("name") == primary or (primary is None and index == 0):
            item["name"] = container
    if containers:
        spec["containers"] = sorted(containers, key=lambda item: item["name"] != container)
    if pod.get("service_account"):
        spec["serviceAccountName"] = pod["service_account"]
    metadata = {field: pod[field] for field in ("labels", "annotations") if pod.get(field)}
    return {"metadata": metadata, "spec": spec}


def _pod_template(
    container: str, image: str, node: Node, marks: Mapping[str, str], env: Env, options: KuberayOptions
) -> dict[str, Any]:
    ray: dict[str, Any] = {
        "name": container,
        "image": image,
        "resources": _resources(node),
        "env": env,
        "readinessProbe": _readiness(container),
        # The last lines of its log tell why it ended, without the right to read logs.
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    if options.image_pull_policy:
        ray["imagePullPolicy"] = options.image_pull_policy
    if container == HEAD:
        ports = {"gcs-server": 6379, "dashboard": 8265, "client": 10001, "metrics": 8080}
        ray["ports"] = [{"name": label, "containerPort": port} for label, port in ports.items()]
    # A container that restarts in place would be an empty cluster under the name of the old one.
    return {"metadata": {"labels": dict(marks)}, "spec": {"restartPolicy": "Never", "containers": [ray]}}


def _auth_env(name: str) -> Env:
    token = {"secretKeyRef": {"name": name, "key": "auth_token"}}
    return [
        {"name": "RAY_AUTH_MODE", "value": "token"},
        {"name": "RAY_AUTH_TOKEN", "valueFrom": token},
        {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"},
        *({"name": name, "value": KEEP_NOTHING} for name in UNPACKED),
    ]


def _readiness(container: str) -> dict[str, Any]:
    # With one of its own a container does not get KubeRay's, which waits 10 s before it looks.
    return {
        "httpGet": {"path": "/api/gcs_healthz", "port": 8265} if container == HEAD else RAYLET_IS_WELL,
        "initialDelaySeconds": 1,
        "periodSeconds": 2,
        "timeoutSeconds": 4,
        "failureThreshold": 8,
    }


def _resources(node: Node) -> dict[str, dict[str, str]]:
    pod = _pod(node)
    limits: dict[str, str] = {"cpu": f"{node.milli_cpu}m"} if node.milli_cpu else {}
    if node.memory_bytes:
        limits["memory"] = str(node.memory_bytes)
    if node.gpu:
        limits["nvidia.com/gpu"] = str(node.gpu)
    # Flyte counts shared memory among the resources; KubeRay makes it of what the container may have.
    limits |= {name: str(value) for name, value in pod.get("limits", {}).items() if name != "shm"}
    requests = limits | {name: str(value) for name, value in pod.get("requests", {}).items() if name != "shm"}
    return {"limits": limits, "requests": requests}


def _start_params(node: Node) -> dict[str, str]:
    params = {"num-cpus": str(-(-node.milli_cpu // 1000)), "num-gpus": str(node.gpu)}
    if node.memory_bytes:
        params["memory"] = str(node.memory_bytes)
    if node.object_store_bytes:
        params["object-store-memory"] = str(node.object_store_bytes)
    custom: dict[str, float] = dict(node.custom)
    if node.accelerator:
        custom.setdefault(f"accelerator_type:{node.accelerator}", 1.0)
    if custom:
        # KubeRay puts the value into a shell command as it is.
        params["resources"] = f"'{json.dumps(custom)}'"
    return {**params, **dict(node.start_params)}


def _pod(node: Node) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(node.pod) if node.pod else {}
    return found

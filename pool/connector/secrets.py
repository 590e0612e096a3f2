"""A task's secrets in the pods of its cluster, as Flyte has them put into pods of its own.

Flyte's webhook, with the secret manager that it comes with (`K8sSecretInjector`), takes a secret's group for the name
of a Kubernetes Secret in the pod's namespace, and its key for one of that: as a variable ``_FSEC_<GROUP>_<KEY>``, or
as a file ``/etc/flyte/secrets/<group>/<key>``. The SDKs look there. Other than Flyte's, a secret that is not there
holds up the start of the cluster: one without it would stay without it once it is made.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pool.connector.errors import Refused

DIRECTORY = "/etc/flyte/secrets"
VARIABLES = "_FSEC_"


def with_secrets(shape: dict[str, Any], secrets: Iterable[Any]) -> dict[str, Any]:
    """Return a shape whose every pod has secrets.

    Args:
        shape: as a request says it; not changed.
        secrets: of the task's security context.

    Raises:
        Refused: if one names no Kubernetes Secret, or no key of it.
    """
    wanted = sorted(secrets, key=lambda secret: (secret.group, secret.key))
    for secret in wanted:
        if not secret.group or not secret.key:
            raise Refused(
                f"security_context: the secret {secret.key or secret.group!r} names no Kubernetes Secret.",
                remedy="Say Secret(group=..., key=...): the name of a Secret in the clusters' namespace, and a key of "
                "it; or have it mounted by the daemon's `backend.template`, or give it to the connector by --env-dir.",
            )
    if not wanted:
        return shape
    head, workers = shape.get("head", {}), shape.get("workers", [])
    return {**shape, "head": _node(head, wanted), "workers": [_node(worker, wanted) for worker in workers]}


def _node(node: dict[str, Any], secrets: list[Any]) -> dict[str, Any]:
    env, volumes = _variables(secrets), _volumes(secrets)
    mounts = [{"name": name, "mountPath": f"{DIRECTORY}/{group.lower()}", "readOnly": True} for group, name in volumes]
    pod = node.get("pod", {})
    spec = pod.get("spec", {})
    # Of the containers the first one is the node's, if none is named as that.
    containers = [
        {
            **container,
            "env": [*container.get("env", []), *env],
            **({"volumeMounts": [*container.get("volumeMounts", []), *mounts]} if mounts else {}),
        }
        for container in spec.get("containers") or [{"name": pod.get("primary_container_name") or "ray"}]
    ]
    spec = {**spec, "containers": containers}
    if volumes:
        spec["volumes"] = [*spec.get("volumes", []), *(_volume(group, name, secrets) for group, name in volumes)]
    return {**node, "pod": {**pod, "spec": spec}}


def _is_file(secret: Any) -> bool:
    return bool(secret.mount_requirement != secret.ENV_VAR)


def _variables(secrets: list[Any]) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for secret in secrets:
        if _is_file(secret):
            found["FLYTE_SECRETS_DEFAULT_DIR"] = {"value": DIRECTORY}
            found["FLYTE_SECRETS_FILE_PREFIX"] = {"value": ""}
            given: dict[str, Any] = {"value": f"{DIRECTORY}/{secret.group.lower()}/{secret.key.lower()}"}
        else:
            found["FLYTE_SECRETS_ENV_PREFIX"] = {"value": VARIABLES}
            given = {"valueFrom": {"secretKeyRef": {"name": secret.group, "key": secret.key}}}
            found[f"{VARIABLES}{secret.group}_{secret.key}".upper()] = given
        if secret.env_var:
            found[secret.env_var] = given
    return [{"name": name, **value} for name, value in sorted(found.items())]


def _volumes(secrets: list[Any]) -> list[tuple[str, str]]:
    """Return the groups of which there are files, each with the name of its volume."""
    groups = sorted({secret.group for secret in secrets if _is_file(secret)})
    return [(group, f"flyte-secret-{number}") for number, group in enumerate(groups)]


def _volume(group: str, name: str, secrets: list[Any]) -> dict[str, Any]:
    keys = sorted({secret.key for secret in secrets if secret.group == group and _is_file(secret)})
    items = [{"key": key, "path": key.lower()} for key in keys]
    return {"name": name, "secret": {"secretName": group, "items": items}}

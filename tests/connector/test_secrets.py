"""Secrets of a task in the pods of its cluster: as Flyte's webhook mounts them."""

from __future__ import annotations

from typing import Any

import pytest

from pool.backends.kuberay.options import KuberayOptions
from pool.backends.kuberay.spec import ray_cluster
from pool.connector.secrets import with_secrets
from pool.connector.task import plan_of
from pool.core.key import key_from
from tests.connector.requests import recorded1, recorded2

ANY, VARIABLE, FILE = 0, 1, 2


def asked(recorded: Any, *secrets: dict[str, Any]) -> dict[str, Any]:
    """Return the shape of a recorded task that asks for secrets."""
    request = recorded()
    for secret in secrets:
        request.template.security_context.secrets.add(**secret)
    return plan_of(request).shape


def pods(shape: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the specs of the pods that Kubernetes would be given."""
    key = key_from({"image": "ray:2.60.0", "tenant": "ml/production", "shape": shape})
    made = ray_cluster("0" * 16, f"c-{key.digest}-1", key, KuberayOptions())["spec"]
    return [group["template"]["spec"] for group in (made["headGroupSpec"], *made["workerGroupSpecs"])]


def given(pod: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what variables and mounts of Flyte's secrets the one container has."""
    [container] = pod["containers"]
    env = {one.pop("name"): one for one in container["env"]}
    ours = {
        name: value for name, value in env.items() if not name.startswith(("RAY_", "WARMPOOL_", "GRPC_", "TIMEOUT_"))
    }
    return ours, {one["name"]: one for one in container.get("volumeMounts", [])}


@pytest.mark.parametrize("recorded", [recorded1, recorded2])
def test_a_secret_that_is_a_variable_is_one_in_every_pod(recorded: Any) -> None:
    shape = asked(
        recorded, {"group": "user-info", "key": "token", "mount_requirement": VARIABLE, "env_var": "MY_TOKEN"}
    )
    found = pods(shape)
    assert len(found) == 2
    reference = {"valueFrom": {"secretKeyRef": {"name": "user-info", "key": "token"}}}
    for pod in found:
        env, mounts = given(pod)
        assert env == {
            "FLYTE_SECRETS_ENV_PREFIX": {"value": "_FSEC_"},
            "_FSEC_USER-INFO_TOKEN": reference,
            "MY_TOKEN": reference,
        }
        assert (mounts, pod.get("volumes")) == ({}, None)


@pytest.mark.parametrize("kind", [ANY, FILE])
def test_a_secret_is_a_file_unless_it_is_to_be_a_variable_and_those_of_a_group_share_a_volume(kind: int) -> None:
    secrets = [{"group": "Info", "key": key, "mount_requirement": kind} for key in ("User", "Password")]
    other = {"group": "other", "key": "k", "mount_requirement": kind, "env_var": "WHERE"}
    for pod in pods(asked(recorded1, *secrets, other)):
        env, mounts = given(pod)
        assert env == {
            "FLYTE_SECRETS_DEFAULT_DIR": {"value": "/etc/flyte/secrets"},
            "FLYTE_SECRETS_FILE_PREFIX": {"value": ""},
            "WHERE": {"value": "/etc/flyte/secrets/other/k"},
        }
        volumes = {one["name"]: one["secret"] for one in pod["volumes"]}
        assert {mount["mountPath"]: volumes[name] for name, mount in mounts.items()} == {
            "/etc/flyte/secrets/info": {
                "secretName": "Info",
                "items": [{"key": "Password", "path": "password"}, {"key": "User", "path": "user"}],
            },
            "/etc/flyte/secrets/other": {"secretName": "other", "items": [{"key": "k", "path": "k"}]},
        }
        assert all(mount["readOnly"] for mount in mounts.values())


def test_what_a_pod_template_has_stays_beside_them() -> None:
    secret = recorded1().template.security_context.secrets.add(group="g", key="k")
    container = {
        "name": "mine",
        "env": [{"name": "A", "value": "b"}],
        "volumeMounts": [{"name": "v", "mountPath": "/v"}],
    }
    volume = {"name": "v", "emptyDir": {}}
    sidecar = {"name": "sidecar", "image": "s"}
    spec = {"containers": [sidecar, container], "volumes": [volume], "nodeSelector": {"zone": "a"}}
    shape = {"head": {"pod": {"spec": spec, "primary_container_name": "mine"}}}
    [pod] = pods(with_secrets(shape, [secret]))
    main, beside = pod["containers"]
    assert (main["name"], beside["name"]) == ("ray-head", "sidecar")
    assert {"name": "A", "value": "b"} in main["env"]
    # Flyte mounts them into every container of a pod.
    assert [mount["mountPath"] for mount in main["volumeMounts"]] == ["/v", "/etc/flyte/secrets/g"]
    assert [mount["mountPath"] for mount in beside["volumeMounts"]] == ["/etc/flyte/secrets/g"]
    assert [one["name"] for one in pod["volumes"]] == ["v", "flyte-secret-0"]
    assert pod["nodeSelector"] == {"zone": "a"}
    assert shape["head"]["pod"]["spec"] is spec
    assert "env" not in sidecar


def test_tasks_with_other_secrets_never_share_a_cluster_and_the_order_of_them_does_not_matter() -> None:
    one, two = {"group": "g", "key": "k"}, {"group": "g", "key": "l"}
    digests = [
        key_from({"image": "i", "tenant": "t/d", "shape": asked(recorded1, *secrets)}).digest
        for secrets in ((), (one,), (two,), (one, two), (two, one))
    ]
    assert len(set(digests)) == 4
    assert digests[-1] == digests[-2]
